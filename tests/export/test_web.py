"""The web folder: what is written, and, in a headless Chromium, that it gives what Python gives."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from keraslm import export
from keraslm.export.to_web import exporter as to_web
from keraslm.export.to_web.browser import find_browser, run_in_browser
from keraslm.export.to_web.exporter import IMPORT, PACKAGES, VENDORED, web
from keraslm.generation.config import GenerationConfig

# === What is written, without a browser and with packages that hold nothing ===


@pytest.fixture(scope="module")
def hollow(tmp_path_factory):
    """A node_modules folder with the right names and versions."""
    modules = tmp_path_factory.mktemp("node_modules")
    for package, files in VENDORED.items():
        for file in files:
            (modules / package / file).parent.mkdir(parents=True, exist_ok=True)
            (modules / package / file).write_text(f"import {{ x }} from {IMPORT};")
        description = {"name": package, "version": PACKAGES[package]}
        (modules / package / "package.json").write_text(json.dumps(description))
    (modules / "@huggingface" / "tokenizers" / "LICENSE").write_text("Apache License")
    return modules


@pytest.fixture(scope="module")
def bundle(lm, hollow, tmp_path_factory):
    folder = lm.save(tmp_path_factory.mktemp("mine"))
    assert web(lm, folder, packages=hollow, verify=False) == folder / "web"
    return folder


def test_the_folder_is_whole_and_described(lm, bundle):
    folder = bundle / "web"
    parts = {name.rstrip("/") for name in to_web.PARTS}
    assert {entry.name for entry in folder.iterdir()} == parts
    info = json.loads((folder / "model.json").read_text())
    assert info["name"] == bundle.name
    assert (info["context"], info["vocab_size"]) == (160, lm.model.vocab_size)
    assert info["start_id"] == lm.tokenizer.bos_id
    assert info["generation"] == lm.generation_config.to_dict()
    assert info["packages"] == PACKAGES
    for name, file in info["files"].items():
        content = (folder / name).read_bytes()
        assert file == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert "@litertjs/core 2.5.3, Apache-2.0" in (folder / "README.md").read_text()
    assert (folder / "vendor" / "LICENSE").read_text() == "Apache License"


def test_packages_find_each_other_without_an_import_map(bundle):
    core = bundle / "web" / "vendor" / "litertjs-core"
    path = (core / "index.js").read_text().split('"')[1]
    assert (core / path).is_file()


def test_the_page_names_no_other_host(bundle):
    for file in to_web.PAGE_FILES:
        text = (bundle / "web" / file).read_text(encoding="utf-8")
        assert "://" not in text.replace("http://127.0.0.1", ""), file


def test_an_own_folder_is_replaced_and_other_files_and_an_edited_page_stay(lm, hollow, bundle):
    old = (bundle / "web" / "model.json").stat().st_ino
    web(lm, bundle, packages=hollow, prefill_lengths=(8,), cache_length=32, verify=False)
    file = bundle / "web" / "model.json"
    assert file.stat().st_ino != old and json.loads(file.read_text())["context"] == 32
    (bundle / "web" / "thesis.txt").write_text("years of work")
    page = (bundle / "web" / "index.html").read_text(encoding="utf-8")
    (bundle / "web" / "index.html").write_text("<h1>My page</h1>", encoding="utf-8")
    web(lm, bundle, packages=hollow, prefill_lengths=(8,), verify=False)
    assert json.loads(file.read_text())["context"] == 160
    assert (bundle / "web" / "index.html").read_text(encoding="utf-8") == "<h1>My page</h1>"
    assert (bundle / "web" / "thesis.txt").read_text() == "years of work"
    (bundle / "web" / "thesis.txt").unlink()
    (bundle / "web" / "index.html").write_text(page, encoding="utf-8")


def test_another_page_is_no_folder_of_ours(lm, tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(FileExistsError, match="index.html was not written by keraslm"):
        web(lm, tmp_path)
    assert (tmp_path / "index.html").read_text() == "mine"


def test_wrong_packages_are_named_and_nothing_is_left(lm, hollow, tmp_path):
    modules = shutil.copytree(hollow, tmp_path / "node_modules")
    (modules / "@litertjs" / "core" / "package.json").write_text('{"version": "1.0.0"}')
    with pytest.raises(ValueError, match=r"@litertjs/core 2.5.3; received 1.0.0"):
        web(lm, tmp_path / "site", packages=modules)
    with pytest.raises(ValueError, match="received none"):
        web(lm, tmp_path / "site", packages=tmp_path / "nowhere")
    assert [entry.name for entry in tmp_path.iterdir()] == ["node_modules"]


def test_without_npm_the_command_is_told(lm, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="there is no npm. Run 'npm install.*@litertjs/core@2"):
        web(lm, tmp_path / "site")
    npm = tmp_path / "npm"
    npm.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(RuntimeError, match="could not install.*no network"):
        web(lm, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_without_a_browser_a_warning(lm, hollow, tmp_path, monkeypatch):
    monkeypatch.setattr(to_web, "find_browser", lambda: None)
    with pytest.warns(UserWarning, match="not tried in a browser"):
        path = web(lm, tmp_path / "site", packages=hollow, prefill_lengths=(8,))
    assert (path / "model.tflite").is_file()


def test_needs_a_text_generator(lm, tmp_path):
    with pytest.raises(ValueError, match="must be a keraslm.tasks.TextGenerator; received GPT"):
        web(lm.model, tmp_path)


# === In Chromium ===

peer = pytest.mark.peer


@peer
@pytest.mark.parametrize("quantization", [None, "int8"])
def test_verified_export(lm, packages, quantization, tmp_path):
    path = web(lm, tmp_path / "site", packages=packages, quantization=quantization)
    entry = json.loads((path / "manifest.json").read_text())["exports"]["."]["verification"]
    assert entry["target"] == "web" and entry["quantization"] == quantization
    assert entry["tokens"] > 60 and entry["tokens_per_second"] > 1
    if quantization is None:
        assert entry["equal_tokens"] == entry["tokens"]
    assert entry["agreeing_tokens"] >= 0.9 * entry["judged_tokens"] > 0
    assert entry["max_difference"] < (1e-4 if quantization is None else 1)
    assert entry["num_bytes"] < 32e6


@peer
def test_verify_notices_other_weights(lm, site):
    import keras

    from keraslm.models import GPT
    from keraslm.tasks import TextGenerator

    keras.utils.set_random_seed(9)
    other = TextGenerator(GPT.from_config(lm.model.get_config()), lm.tokenizer)
    result = export.verify(site, other)
    assert not result.passed and "FAILED" in str(result)


GENERATE = """
import { load } from "/keraslm.js";

export default async function (calls) {
  const lm = await load("/");
  const found = [];
  for (const { prompt, settings } of calls) {
    const ids = [];
    for await (const id of lm.generateIds(prompt, settings)) ids.push(id);
    found.push(ids);
  }
  return { found, threads: lm.threads };
}
"""
SETTINGS = [
    {},
    {"temperature": 0.8, "seed": 6},
    {"temperature": 0.8, "seed": 2**31 + 5},
    {"top_k": 20, "top_p": 0.9, "seed": -3},
    {"top_k": 7, "seed": 11},
    {"top_p": 0.7, "temperature": 1.3, "seed": 12},
    {"min_p": 0.1, "repetition_penalty": 1.3, "seed": 4},
    {"repetition_penalty": 1.5},
]


def camel(name):
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@peer
@pytest.mark.parametrize("threads", [True, False])
def test_the_same_tokens_as_in_python(lm, site, threads):
    rng = np.random.default_rng(0)
    prompts = [rng.integers(1, lm.model.vocab_size, n).tolist() for n in (9, 1, 130, 155)]
    all_calls = {"max_new_tokens": 24, "stop_ids": []}
    calls = [(prompts[0], {**all_calls, **s}) for s in SETTINGS]
    calls += [(p, {**all_calls, "temperature": 0.8, "seed": 6}) for p in prompts[1:]]
    wanted = [lm.generator.generate([p], GenerationConfig(**s))[0].ids for p, s in calls]
    assert [len(ids) for ids in wanted[-2:]] == [24, 5]  # then the context was full
    calls.append((calls[1][0], {**calls[1][1], "stop_ids": [wanted[1][7]]}))
    wanted.append(wanted[1][: wanted[1].index(wanted[1][7])])
    data = [{"prompt": p, "settings": {camel(k): v for k, v in s.items()}} for p, s in calls]
    answer = run_in_browser(site, GENERATE, data, threads=threads)
    assert answer["threads"] == threads
    assert answer["found"] == wanted


SAMPLE = """
import { nextToken, uniform } from "/sampling.js";

export default ({ calls, seeds }) => ({
  tokens: calls.map(([logits, settings, step]) =>
    nextToken(Float32Array.from(logits), settings, new Set(), step)),
  shares: seeds.map(([seed, row, step]) => uniform(seed, row, step)),
});
"""


@peer
def test_many_draws(site):
    """The random numbers to the bit, and tokens on both sides of every filter."""
    from keraslm.generation.random import uniform
    from keraslm.generation.sampling import method_of, next_token, settings_of

    rng = np.random.default_rng(1)
    calls, wanted = [], []
    for i in range(240):
        logits = (rng.normal(size=50) * 2).round(1).astype("float32")  # with ties
        settings = {"temperature": float(rng.choice([0.5, 1.0, 1.7])), "seed": i * 7919}
        settings |= [{}, {"top_k": 9}, {"top_p": 0.6}, {"min_p": 0.2}][i % 4]
        config = GenerationConfig(**settings)
        method, how = method_of(config, 50), settings_of(config)
        token = next_token(logits[None], method, how, np.zeros(1, "int32"), np.int32(i))
        wanted.append(int(token[0]))
        calls.append([logits.tolist(), {camel(k): v for k, v in settings.items()}, i])
    seeds = [[int(s), int(r), int(n)] for s, r, n in rng.integers(0, 2**31 - 1, (200, 3))]
    seeds += [[0, 0, 0], [2**31 - 2, 0, 46336], [46337, 1, 46337]]
    found = run_in_browser(site, SAMPLE, {"calls": calls, "seeds": seeds})
    assert found["tokens"] == wanted
    shares = [uniform(np.int32(s), np.array([r], "int32"), np.int32(n))[0] for s, r, n in seeds]
    assert found["shares"] == [float(share) for share in shares]


STREAM = """
import { load } from "/keraslm.js";

export default async function ({ text, settings }) {
  const lm = await load("/");
  const result = { pieces: [], tokens: 0, errors: [] };
  const onToken = () => result.tokens++;
  for await (const piece of lm.generate(text, { ...settings, onToken })) result.pieces.push(piece);
  for await (const piece of lm.generate("", { maxNewTokens: 3 })) result.empty = piece;
  const wrong = [["word ".repeat(400), {}], ["a", { topP: 2 }], ["a", { top: 1 }]];
  for (const [prompt, settings] of wrong) {
    try {
      await lm.generate(prompt, settings).next();
    } catch (error) {
      result.errors.push([error.code, error.message]);
    }
  }
  return result;
}
"""


@peer
def test_text_streams_as_in_python(lm, site):
    text = "\u4eca\u5929\u5929\u6c14\u5f88\u597d"
    settings = {"max_new_tokens": 60, "temperature": 3.0, "seed": 5, "stop_ids": []}
    wanted = list(lm.stream(text, **settings))
    answer = run_in_browser(
        site, STREAM, {"text": text, "settings": {camel(k): v for k, v in settings.items()}}
    )
    assert answer["pieces"] == wanted
    assert answer["tokens"] == 60 > len(wanted)  # some waited for the rest of a character
    assert any(ord(c) > 127 for c in "".join(wanted))
    assert answer["empty"]
    (full, says), (odd, range_), (unknown, names) = answer["errors"]
    assert (full, odd, unknown) == ("full", "setting", "setting")
    assert "fills the context of 160: nothing can follow" in says
    assert range_ == "topP must be above 0 and at most 1; received 2."
    assert names.startswith(
        "There is no setting top. Settings are maxNewTokens, maxLength, temperature"
    )


PAGE = """
export default async function (prompts) {
  const frame = document.body.appendChild(document.createElement("iframe"));
  const violations = [];
  frame.src = "/index.html";
  await new Promise((resolve) => (frame.onload = resolve));
  const page = frame.contentDocument;
  page.addEventListener("securitypolicyviolation", (e) => violations.push(e.blockedURI));
  const byId = (id) => page.getElementById(id);
  const until = async (condition) => {
    while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
  };
  await until(() => !byId("generate").disabled || !byId("error").hidden);
  const result = { language: page.documentElement.lang, ready: byId("status").textContent };
  result.label = page.querySelector("label[for=prompt]").textContent;
  result.start = ["prompt", "temperature", "topK"].map((id) => byId(id).value);
  result.seen = [];
  if (!byId("error").hidden) return { ...result, error: byId("error").textContent };
  for (const [prompt, settings] of prompts) {
    byId("prompt").value = prompt;
    for (const [id, value] of Object.entries(settings)) byId(id).value = value;
    byId("generate").click();
    await until(() => !byId("generate").disabled);
    result.seen.push({
      text: byId("output").hidden ? null : byId("output").textContent,
      status: byId("status").textContent,
      error: byId("error").hidden ? null : byId("error").textContent,
    });
  }
  const entries = frame.contentWindow.performance.getEntriesByType("resource");
  result.foreign = entries.map((e) => e.name).filter((name) => !name.startsWith(location.origin));
  result.files = entries.length;
  return { ...result, violations };
}
"""


@peer
def test_the_page(lm, site):
    settings = {"maxNewTokens": 20, "temperature": 0.9, "topK": 30, "topP": 0.95, "seed": 3}
    first = ["The government", {"temperature": 0, "topK": ""}]
    prompts = [first, ["\u4f60\u597d", settings], ["word " * 400, {}]]
    answer = run_in_browser(site, PAGE, prompts)
    assert (answer["language"], answer["label"]) == ("en", "Prompt")
    assert answer["ready"] == "Ready, with threads."
    words = lm.sample[0].split()
    assert answer["start"] == [" ".join(words[:3]), "0.8", "40"]
    greedy, sampled, long = answer["seen"]
    assert greedy["text"] == lm.generate("The government")
    assert greedy["status"].startswith("Done: ") and greedy["status"].endswith(" tokens/s")
    own = {"temperature": 0.9, "top_k": 30, "top_p": 0.95, "seed": 3}
    assert sampled["text"] == lm.generate("\u4f60\u597d", max_new_tokens=20, **own)
    assert long["text"] is None and "fills the context of 160" in long["error"]
    assert greedy["error"] is None and sampled["error"] is None
    assert answer["files"] > 8 and answer["foreign"] == [] and answer["violations"] == []


@peer
def test_the_page_in_chinese_and_on_one_thread(lm, site):
    greedy = {"maxNewTokens": 3, "temperature": 0, "topK": ""}
    prompts = [["The government", greedy], ["word " * 400, {}]]
    answer = run_in_browser(site, PAGE, prompts, language="zh-CN", threads=False)
    assert (answer["language"], answer["label"]) == ("zh", "\u63d0\u793a\u6587\u672c")
    assert "\u5355\u7ebf\u7a0b" in answer["ready"]
    short, long = answer["seen"]
    assert short["text"] == lm.generate("The government", max_new_tokens=3)
    assert "160" in long["error"] and "\u4e0a\u4e0b\u6587" in long["error"]


def shorter(content):
    return content[:-100]


def flipped(content):
    return content[:-100] + bytes([content[-100] ^ 1]) + content[-99:]


@peer
@pytest.mark.parametrize(
    "change, message",
    [
        (shorter, "model.tflite is not the file that model.json describes"),
        (flipped, "model.tflite is not the file that model.json describes"),
        (None, "model.tflite cannot be loaded (404)"),
        ("other", "LiteRT cannot run model.tflite"),
    ],
)
def test_a_damaged_folder_is_told(site, tmp_path, change, message):
    copy = shutil.copytree(site, tmp_path / "site")
    model, info = copy / "model.tflite", copy / "model.json"
    if change == "other":
        model.write_bytes(b"nonsense" * 99)
        described = json.loads(info.read_text())
        content = model.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        described["files"]["model.tflite"] = {"bytes": len(content), "sha256": digest}
        info.write_text(json.dumps(described))
    elif change is None:
        model.unlink()
    else:
        model.write_bytes(change(model.read_bytes()))
    answer = run_in_browser(copy, PAGE, [])
    assert message in answer["error"] and answer["ready"] == ""


@peer
def test_an_error_of_the_script_is_told(tmp_path):
    if find_browser() is None:
        pytest.skip("no Chromium")
    with pytest.raises(RuntimeError, match="The page failed: .*no such thing"):
        run_in_browser(tmp_path, "export default () => { throw Error('no such thing'); }")
    assert run_in_browser(tmp_path, "export default (x) => x + 1", 2) == 3


def test_no_browser_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="There is no browser"):
        run_in_browser(tmp_path, "")


EXAMPLE = Path(__file__).parents[2] / "examples" / "on_device" / "generate.html"
OPEN_EXAMPLE = """
export default async function (prompt) {
  const frame = document.body.appendChild(document.createElement("iframe"));
  frame.src = `/example.html?prompt=${encodeURIComponent(prompt)}`;
  for (let i = 0; i < 600; i++) {
    const page = frame.contentDocument;
    if (page?.title.endsWith("a second")) return page.querySelector("#out").textContent;
    await new Promise((wake) => setTimeout(wake, 100));
  }
  return frame.contentDocument.body.textContent;
}
"""


@peer
def test_the_example_page(lm, site, tmp_path):
    folder = tmp_path / "site"
    shutil.copytree(site, folder)
    shutil.copy(EXAMPLE, folder / "example.html")
    found = run_in_browser(folder, OPEN_EXAMPLE, "The government")
    assert found == lm.generate("The government", max_new_tokens=40, temperature=0)
