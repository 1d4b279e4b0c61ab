// The page: reads the form, shows the text as it comes. All that computes is in keraslm.js.

import { load } from "./keraslm.js";
import { isSampled } from "./sampling.js";
import { translate } from "./words.js";

const byId = (id) => document.getElementById(id);
const words = translate(document);
const numbers = ["maxNewTokens", "temperature", "topK", "topP", "seed"];
let isRunning = false;

function tell(text, isRead = true) {
  byId("status").ariaLive = isRead ? "polite" : "off";
  byId("status").textContent = text;
}

function complain(error) {
  byId("error").textContent = error ? words.error(error) : "";
  byId("error").hidden = !error;
}

/** The model's own settings, as the form shows them; of what it does not state, a good start. */
function fill({ name, generation: own, max_length: maxLength, start = {} }) {
  if (name) byId("name").textContent = document.title = name;
  const sampled = isSampled({
    temperature: own.temperature, topK: own.top_k, topP: own.top_p, minP: own.min_p,
  });
  byId("maxNewTokens").value = maxLength == null ? own.max_new_tokens : "";
  byId("maxNewTokens").placeholder = maxLength == null ? "" : words.withPrompt(maxLength);
  byId("maxNewTokens").required = maxLength == null;
  byId("prompt").value = start.prompt ?? "";
  byId("temperature").value = sampled ? own.temperature ?? 1 : start.temperature ?? 0;
  byId("topK").value = own.top_k ?? start.top_k ?? "";
  byId("topP").value = own.top_p ?? "";
  byId("seed").value = own.seed ?? "";
}

/** What the form says; an empty field limits nothing. */
function settings(vocabSize) {
  const given = numbers.map((id) => [id, byId(id).value]).filter(([, value]) => value !== "");
  return { topK: vocabSize, topP: 1, ...Object.fromEntries(given.map(([k, v]) => [k, Number(v)])) };
}

async function generate(lm) {
  const prompt = byId("prompt").value;
  const output = byId("output");
  const before = Object.assign(document.createElement("span"), { className: "prompt" });
  before.textContent = prompt;
  output.replaceChildren(before);
  output.hidden = false;
  output.ariaBusy = "true"; // read aloud when it is whole
  tell(words.reading);
  let [count, first] = [0, 0];
  const onToken = () => {
    first ||= performance.now();
    count += 1;
  };
  const rate = () => (count > 1 ? ((count - 1) * 1000) / (performance.now() - first) : null);
  for await (const piece of lm.generate(prompt, { ...settings(lm.info.vocab_size), onToken })) {
    if (!isRunning) break;
    output.append(piece);
    tell(words.progress(count, rate()), false);
  }
  tell(words.done(count, rate()));
}

async function run(lm) {
  complain(null);
  setRunning(true);
  try {
    await generate(lm);
  } catch (error) {
    tell("");
    byId("output").hidden = true;
    complain(error);
  } finally {
    byId("output").ariaBusy = "false";
    setRunning(false);
  }
}

function setRunning(running) {
  isRunning = running;
  byId("generate").disabled = running;
  byId("stop").disabled = !running;
}

async function start() {
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
  tell(words.loading("", ""));
  const onProgress = (done, all) => tell(words.loading(megabytes(done), megabytes(all)), false);
  const lm = await load("./", { onProgress });
  fill(lm.info);
  byId("form").addEventListener("submit", (event) => {
    event.preventDefault();
    run(lm);
  });
  byId("prompt").addEventListener("keydown", (event) => {
    const wanted = event.key === "Enter" && (event.ctrlKey || event.metaKey);
    if (wanted && !isRunning) byId("form").requestSubmit();
  });
  byId("stop").addEventListener("click", () => (isRunning = false));
  setRunning(false);
  tell(words.ready(lm.threads));
}

start().catch((error) => {
  tell("");
  complain(error);
});
