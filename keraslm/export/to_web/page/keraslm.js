// A language model in the browser: LiteRT.js runs model.tflite, tokenizers.js reads tokenizer.json.
//
//   import { load } from "./keraslm.js";
//   const lm = await load("./");
//   for await (const piece of lm.generate("Once upon a time", { maxNewTokens: 40 })) show(piece);

import {
  getGlobalLiteRtPromise, loadAndCompile, loadLiteRt, supportsFeature, Tensor,
} from "./vendor/litertjs-core/index.js";
import { nextToken, resolveSeed } from "./sampling.js";
import { TextStream } from "./stream.js";
import { TextTokenizer } from "./tokenizer.js";

export { TextStream, TextTokenizer };

const FORMAT_VERSION = 1;
const WASM = new URL("./vendor/litertjs-core/wasm/", import.meta.url).href;

/** An error for the user: a code and values, for those who translate it, and an English message. */
export class LanguageModelError extends Error {
  constructor(code, message, values = {}) {
    super(message);
    Object.assign(this, { name: "LanguageModelError", code, values });
  }
}

/**
 * Load a model.
 * @param {string} folder the URL of the folder with model.json.
 * @param options onProgress(loaded, total): bytes of model.tflite so far; threads: whether to use
 *     them (default: where the page is cross-origin isolated and the browser can).
 * @return {Promise<LanguageModel>}
 */
export async function load(folder = "./", { onProgress = () => {}, threads } = {}) {
  const base = new URL(folder, document.baseURI);
  const info = JSON.parse(new TextDecoder().decode(await download(new URL("model.json", base))));
  if (info.format_version > FORMAT_VERSION) {
    throw new LanguageModelError(
      "newer", `model.json has format ${info.format_version}, which is newer than this page.`);
  }
  const file = (name, progress) => checkedFile(base, name, info.files[name], progress);
  const [tokenizerJson, model, withThreads] = await Promise.all([
    file("tokenizer.json"), file("model.tflite", onProgress), startLiteRt(threads),
  ]);
  const tokenizer = new TextTokenizer(JSON.parse(new TextDecoder().decode(tokenizerJson)), {
    cleansUp: Boolean(info.clean_up_tokenization_spaces),
  });
  try {
    const compiled = await loadAndCompile(model, { accelerator: "wasm" });
    return new LanguageModel(info, tokenizer, compiled, withThreads);
  } catch (error) {
    throw new LanguageModelError(
      "unreadable", `LiteRT cannot run model.tflite: ${error?.message ?? error}.`);
  }
}

/** The runtime, once for the page. Resolves to whether it has threads. */
let runtime;
function startLiteRt(threads) {
  runtime ??= (async () => {
    const able = globalThis.crossOriginIsolated && (await supportsFeature("relaxedSimd"));
    const wanted = (threads ?? true) && able;
    await (getGlobalLiteRtPromise() ?? loadLiteRt(WASM, { threads: wanted }));
    return wanted;
  })();
  return runtime;
}

// === Files ===

async function checkedFile(base, name, expected, onProgress) {
  const url = new URL(name, base);
  url.search = `v=${expected.sha256.slice(0, 8)}`; // so that no cache answers with an older file
  const content = await download(url, expected.bytes, onProgress);
  const isWhole = content.length === expected.bytes;
  if (!isWhole || (await sha256(content) ?? expected.sha256) !== expected.sha256) {
    throw new LanguageModelError(
      "corrupt",
      `${name} is not the file that model.json describes (${content.length} of ` +
        `${expected.bytes} bytes). Copy the whole folder again.`,
      { name });
  }
  return content;
}

async function download(url, total, onProgress) {
  const name = url.pathname.split("/").pop();
  const response = await fetch(url, { cache: "no-cache" }).catch((error) => error);
  if (!response.ok) {
    const reason = response.status ?? response.message;
    throw new LanguageModelError(
      "missing", `${name} cannot be loaded (${reason}). Copy the whole folder again.`,
      { name, reason });
  }
  if (!onProgress) return new Uint8Array(await response.arrayBuffer());
  const parts = [];
  let loaded = 0;
  for (const reader = response.body.getReader(); ;) {
    const { done, value } = await reader.read();
    if (done) return new Uint8Array(await new Blob(parts).arrayBuffer());
    parts.push(value);
    onProgress((loaded += value.length), total);
  }
}

/** As hexadecimal digits. Browsers compute it on https and localhost only; elsewhere: null. */
async function sha256(content) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// === The model ===

export class LanguageModel {
  constructor(info, tokenizer, model, threads) {
    Object.assign(this, { info, tokenizer, model, threads });
    this.contextLength = info.context;
    this.prefills = Object.keys(model.signatures)
      .filter((name) => name.startsWith("prefill_"))
      .map((name) => ({ name, length: Number(name.slice("prefill_".length)) }))
      .sort((a, b) => a.length - b.length);
    const inputs = model.signatures.decode.getInputDetails();
    this.cacheInputs = inputs.filter(({ name }) => name !== "tokens" && name !== "input_pos");
  }

  /** Free the memory. Other models of the page stay. */
  delete() {
    this.model.delete();
  }

  /**
   * Continue a text.
   * @param {string} text the prompt; an empty one starts a new text.
   * @param settings maxNewTokens, maxLength (prompt and continuation together), temperature
   *     (0: greedy), topK, topP, minP, repetitionPenalty, seed, stopIds: as in Python, where they
   *     are written max_new_tokens and so on. Those not given are the model's own. stop: a string
   *     or strings at which to stop, no part of the text. allowControlTokens: see `promptIds`.
   *     onToken(id): called for each new token.
   * @yields {string} pieces; a piece waits until its characters are whole. Leave the loop to stop.
   */
  async *generate(text, options = {}) {
    const { stop = [], allowControlTokens = true, onToken = () => {}, ...settings } = options;
    const ids = this.promptIds(text, { allowControlTokens });
    const stream = new TextStream(this.tokenizer, ids, { stop: checkedStop(stop), prompt: text });
    for await (const id of this.generateIds(ids, settings)) {
      onToken(id);
      const piece = stream.add(id);
      if (piece) yield piece;
      if (stream.stopped) return;
    }
    const rest = stream.close();
    if (rest) yield rest;
  }

  /**
   * Ids of a prompt, with the tokens that the tokenizer puts around it.
   * @param options allowControlTokens: whether <|endoftext|> and the like in the text are tokens;
   *     false for prompts that others wrote.
   */
  promptIds(text, { allowControlTokens = true } = {}) {
    const { before, after } = this.info.prompt_template ?? { before: [], after: [] };
    const ids = [...before, ...this.tokenizer.encode(text, { allowControlTokens }), ...after];
    if ((!text || !ids.length) && this.info.start_id != null) return [this.info.start_id];
    if (ids.length) return ids;
    throw new LanguageModelError(
      "empty",
      "The prompt is empty, and the tokenizer has no token that starts a text. Give at least one " +
        "character.");
  }

  /** Continue token ids; see `generate`. Yields ids. */
  async *generateIds(prompt, settings = {}) {
    const { maxNewTokens, maxLength, stopIds, ...how } = complete(settings, this.info.generation);
    this.check(prompt);
    const most = mostNewTokens(settings, maxNewTokens, maxLength, this.info, prompt.length);
    const seen = new Set(prompt);
    const run = new Run(this);
    try {
      await run.prefill(prompt.slice(0, -1));
      let token = prompt.at(-1);
      for (let step = 0; step < Math.min(most, this.contextLength - prompt.length); step++) {
        token = nextToken(await run.decode(token), how, seen, step);
        if (stopIds.includes(token)) return;
        seen.add(token);
        yield token;
      }
    } finally {
      run.delete();
    }
  }

  check(prompt) {
    const context = this.contextLength;
    if (!prompt.length) {
      throw new LanguageModelError("empty", "The prompt has no tokens.");
    }
    if (prompt.length >= context) {
      const tokens = prompt.length;
      throw new LanguageModelError(
        "full",
        `The prompt has ${tokens} tokens and fills the context of ${context}: nothing can ` +
          "follow. Shorten the prompt.",
        { tokens, context });
    }
    const odd = prompt.find((id) => !(Number.isInteger(id) && id >= 0 && id < this.info.vocab_size));
    if (odd !== undefined) {
      throw new LanguageModelError(
        "id", `Token ids must be from 0 to ${this.info.vocab_size - 1}; received ${odd}.`);
    }
  }
}

/** One text: its cache goes from call to call inside the memory of the runtime. Needs `delete`. */
export class Run {
  constructor({ model, prefills, cacheInputs, contextLength }) {
    Object.assign(this, { model, prefills, contextLength, position: 0, cache: {} });
    for (const { name, shape } of cacheInputs) {
      const size = shape.reduce((a, b) => a * b, 1);
      this.cache[name] = new Tensor(new Float32Array(size), [...shape]);
    }
  }

  delete() {
    for (const tensor of Object.values(this.cache)) tensor.delete();
  }

  /** Read tokens without asking for logits, in the largest steps that fit. */
  async prefill(ids) {
    while (ids.length) {
      const { name, length } = this.stepFor(ids.length);
      const step = ids.slice(0, length);
      ids = ids.slice(length);
      const { logits } = await this.call(name, step, length);
      logits?.delete(); // of "decode", where no prefill signature fits
    }
  }

  /** Logits of the whole vocabulary after one more token. */
  async decode(token) {
    const { logits } = await this.call("decode", [token], 1);
    const values = await logits.data();
    logits.delete();
    return values;
  }

  stepFor(wanted) {
    // Padding must not cross the end of the cache: the write would slide back over real slots.
    const room = this.contextLength - this.position;
    const fitting = this.prefills.filter(({ length }) => length <= room);
    return fitting.find(({ length }) => length >= wanted) ?? fitting.at(-1) ??
      { name: "decode", length: 1 };
  }

  async call(name, tokens, length) {
    await breathe();
    const padded = new Int32Array(length);
    padded.set(tokens);
    // Padding must not change a recurrent state: its position is no next slot.
    const positions = Int32Array.from(padded, (_, i) => (i < tokens.length ? this.position + i : -1));
    const inputs = {
      tokens: new Tensor(padded, [1, length]),
      input_pos: new Tensor(positions, [length]),
      ...this.cache,
    };
    const { logits, ...cache } = await this.model.run(name, inputs);
    for (const tensor of Object.values(inputs)) tensor.delete();
    this.cache = cache;
    this.position += tokens.length;
    return { logits };
  }
}

// Each call of the runtime blocks the page. In between it must get the chance to draw and to react;
// a timer would make it wait 4 ms each time.
const waiting = [];
const { port1, port2 } = new MessageChannel();
port1.onmessage = () => waiting.shift()();
function breathe() {
  return new Promise((resolve) => {
    waiting.push(resolve);
    port2.postMessage(null);
  });
}

// === Settings ===

const isWhole = Number.isSafeInteger;
const LIMITS = {
  maxNewTokens: ["a positive whole number", (x) => isWhole(x) && x >= 1],
  maxLength: ["a positive whole number", (x) => isWhole(x) && x >= 1],
  temperature: ["0 (greedy) or more", (x) => x >= 0],
  topK: ["0 (off) or a positive whole number", (x) => isWhole(x) && x >= 0],
  topP: ["above 0 and at most 1", (x) => x > 0 && x <= 1],
  minP: ["from 0 to 1", (x) => x >= 0 && x <= 1],
  repetitionPenalty: ["above 0", (x) => x > 0],
  seed: ["a whole number", (x) => isWhole(x) || typeof x === "bigint"],
  stopIds: ["an array of token ids", (x) => Array.isArray(x) && x.every(isWhole)],
};

/** The settings with the model's own where none is given, checked, and a seed. */
function complete(given, own) {
  const unknown = Object.keys(given).find((name) => !(name in LIMITS));
  if (unknown) {
    throw new LanguageModelError(
      "setting",
      `There is no setting ${unknown}. Settings are ${Object.keys(LIMITS).join(", ")}.`,
      { name: unknown });
  }
  const settings = {};
  for (const [name, [meaning, isRight]] of Object.entries(LIMITS)) {
    const value = given[name] ?? own[snakeCase(name)];
    if (value != null && (typeof value === "string" || !isRight(value))) {
      throw new LanguageModelError(
        "setting", `${name} must be ${meaning}; received ${value}.`, { name, value });
    }
    settings[name] = value;
  }
  settings.seed = resolveSeed(settings.seed);
  return settings;
}

/** At most so many new tokens: `maxLength`, given or the model's own, counts the prompt too. */
function mostNewTokens(given, maxNewTokens, maxLength, info, promptLength) {
  if (maxLength == null && given.maxNewTokens == null && info.max_length != null) {
    return Math.max(info.max_length - promptLength, 1); // it bounds no prompt
  }
  if (maxLength == null) return maxNewTokens;
  if (given.maxNewTokens != null) {
    throw new LanguageModelError("setting", "Give maxNewTokens or maxLength, not both.");
  }
  if (maxLength > promptLength) return maxLength - promptLength;
  throw new LanguageModelError(
    "setting",
    `maxLength=${maxLength} counts the prompt, which has ${promptLength} tokens. Use a larger ` +
      "maxLength, or maxNewTokens.");
}

function checkedStop(stop) {
  if ([stop].flat().every((one) => typeof one === "string")) return stop;
  throw new LanguageModelError(
    "setting", `stop must be a string or an array of strings; received ${stop}.`, { name: "stop" });
}

const snakeCase = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
