"""Text in the browser: the same tokens and the same pieces as in Python, for every tokenizer."""

import dataclasses
import json
import shutil

import keras
import pytest
import tokenizers
from tokenizer_kinds import KINDS, LINES, cases, metaspace
from tokenizers import decoders, pre_tokenizers

from keraslm import export
from keraslm.export.proof import TEXTS
from keraslm.export.to_web.browser import run_in_browser
from keraslm.export.to_web.exporter import web
from keraslm.export.to_web.readable import check_tokenizer
from keraslm.generation.config import GenerationConfig
from keraslm.models import GPT
from keraslm.tasks import TextGenerator
from keraslm.tokenizers import TextStream, Tokenizer
from keraslm.tokenizers.spacing import is_chinese
from keraslm.tokenizers.stream import continuation

peer = pytest.mark.peer
CHINESE = [
    "今天天气很好，我们去公园玩吧。",
    "明天，天气不好 GPT 我们不去公园。",
    "北京是中国的首都。",
]
SAMPLES = [
    *LINES, *CHINESE, *(text for text in TEXTS if len(text) < 400), " a  b\n\n\tc ",
    "<|endoftext|>x[CLS] <s>y</s>", "\ufeff\U00020000\U0002b740\u3000", "I do not know",
    "qqq zzz  \u0e01\u0e02 \u0e03",
]  # fmt: skip


def all_kinds():
    """Tokenizers by name, with and without clean-up of blanks."""
    engines = {kind: make() for kind, make in KINDS.items()}
    engines["metaspace never"] = metaspace("never")
    kinds = {"bpe": 400, "wordpiece": 130, "word": None, "char": None, "jieba": None}
    for kind, size in kinds.items():
        engines[f"trained {kind}"] = Tokenizer.train([*LINES, *CHINESE] * 5, kind, size).engine
    # It has no blank and no Latin letter: two unknown words side by side are two tokens.
    engines["trained jieba, Chinese only"] = Tokenizer.train(CHINESE[:1], "jieba", None).engine
    for name, engine in engines.items():
        for clean_up in (False, True):
            roles = dataclasses.replace(
                Tokenizer(engine).roles, clean_up_tokenization_spaces=clean_up
            )
            yield f"{name}, {clean_up}", Tokenizer(engine, roles)


def pieces_of(tokenizer, before, new, **options):
    stream = TextStream(tokenizer, before, **options)
    return [*map(stream.add, new), stream.close()]


TOKENIZE = """
import { TextStream, TextTokenizer } from "/keraslm.js";

export default (kinds) => kinds.map(({ json, cleansUp, texts, cases }) => {
  const tokenizer = new TextTokenizer(json, { cleansUp });
  return {
    ids: texts.map((text) => tokenizer.encode(text)),
    plain: texts.map((text) => tokenizer.encode(text, { allowControlTokens: false })),
    texts: cases.map(([prompt, ids]) => tokenizer.decode([...prompt, ...ids])),
    pieces: cases.map(([before, ids, stop, prompt]) => {
      const stream = new TextStream(tokenizer, before, { stop, prompt });
      return [...ids.map((id) => stream.add(id)), stream.close()];
    }),
  };
});
"""


@peer
def test_tokens_texts_and_pieces_of_all_kinds_of_tokenizers(site):
    names, asked, expected = [], [], []
    for name, tokenizer in all_kinds():
        tries = [(prompt, new, [], "") for prompt, new in cases(tokenizer, 60)]
        whole = continuation(tokenizer, [], ids := tokenizer.encode("".join(LINES)))
        stops = [whole[begin : begin + 4] for begin in (7, 40, 90)]
        tries += [([], ids, stop, "") for stop in (*stops, [stops[1], "nowhere"])]
        tries.append(([], ids * 3, [], ""))
        for prompt in ("the cat ", "broken \ufffd"):
            tries.append((tokenizer.encode(prompt), ids, [], prompt))
        names.append(name)
        asked.append(
            {
                "json": json.loads(tokenizer.to_json()),
                "cleansUp": tokenizer.cleans_up,
                "texts": SAMPLES,
                "cases": tries,
            }
        )
        expected.append(
            {
                "ids": tokenizer.encode_batch(SAMPLES),
                "plain": tokenizer.encode_batch(SAMPLES, allow_control_tokens=False),
                "texts": [tokenizer.decode([*prompt, *new]) for prompt, new, *_ in tries],
                "pieces": [
                    pieces_of(tokenizer, before, new, stop=stop, prompt=prompt)
                    for before, new, stop, prompt in tries
                ],
            }
        )
    for name, found, want in zip(
        names, run_in_browser(site, TOKENIZE, asked), expected, strict=True
    ):
        for what, values in want.items():
            assert found[what] == values, f"{name}: {what}"


CHARACTERS = """
import { joinChinese } from "/spacing.js";

export default function () {
  const found = [];
  for (let i = 0; i <= 0x10ffff; i++) {
    if (joinChinese(`\\u4e2d ${String.fromCodePoint(i)}`)[1] !== " ") found.push(i);
  }
  return found;
}
"""


@peer
def test_the_same_characters_are_chinese(site):
    chinese = [i for i in range(0x110000) if is_chinese(chr(i))]
    assert run_in_browser(site, CHARACTERS) == chinese


# === A whole model ===


def with_template(engine, single):
    """The same engine with a template, such as that of Llama 2."""
    names = [name for name in single.split() if not name.startswith("$")]
    engine.post_processor = tokenizers.processors.TemplateProcessing(
        single=single, special_tokens=[(name, engine.token_to_id(name)) for name in names]
    )
    return engine


def generator_of(tokenizer, stated=None, **settings):
    keras.utils.set_random_seed(3)
    model = GPT(tokenizer.vocab_size, num_layers=1, d_model=16, num_heads=2, max_length=48)
    for weight in model.trainable_weights:
        weight.assign(weight + keras.random.normal(weight.shape, stddev=0.3, seed=1))
    stop = tokenizer.eos_ids + tuple(range(20, 22))
    config = GenerationConfig(stop_ids=stop, **settings)
    return TextGenerator(model, tokenizer, config, stated=stated)


def chinese(kind, size=None):
    return Tokenizer.train([*CHINESE, *LINES] * 5, kind, size)


def from_files(kind, single, **fields):
    engine = with_template(KINDS[kind](), single)
    roles = Tokenizer(engine).roles
    return Tokenizer(engine, dataclasses.replace(roles, prompt="whole", source="files", **fields))


SAMPLED = {"temperature": 1.2, "top_k": 40, "top_p": 0.95, "seed": 5}
GENERATORS = {
    "Chinese wordpiece": lambda: generator_of(chinese("wordpiece", 130), **SAMPLED),
    "words": lambda: generator_of(chinese("word"), min_p=0.01, seed=2),
    "characters": lambda: generator_of(chinese("char"), repetition_penalty=1.3),
    "llama 2": lambda: generator_of(from_files("llama 2", "<s> $A"), {"max_length": 20}, **SAMPLED),
    "wordpiece between tokens": lambda: generator_of(
        from_files("wordpiece", "[CLS] $A [SEP]", clean_up_tokenization_spaces=True), **SAMPLED
    ),
}
PROMPTS = ["今天", "", "the cat ", "it 's", "<s>[CLS]<|endoftext|>", "naïve 👩"]
WAYS = [
    {},
    {"stop_ids": [], "max_new_tokens": 40},
    {"max_length": 30, "seed": 11, "temperature": 0.9},
    {"stop": ["天", " a", "e"], "stop_ids": []},
    {"allow_control_tokens": False, "temperature": 0},
]

GENERATE = """
import { load } from "/keraslm.js";

export default async function (calls) {
  const lm = await load("/");
  const found = [];
  for (const [prompt, settings] of calls) {
    const pieces = [];
    for await (const piece of lm.generate(prompt, settings)) pieces.push(piece);
    found.push(pieces);
  }
  return found;
}
"""


def camel(name):
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@peer
@pytest.mark.slow
@pytest.mark.parametrize("name", GENERATORS)
def test_a_proved_export_writes_what_python_writes(name, packages, tmp_path):
    lm = GENERATORS[name]()
    site = web(lm, tmp_path / "site", packages=packages, prefill_lengths=(16,))
    calls = [(prompt, way) for prompt in PROMPTS for way in WAYS]
    expected = [list(lm.stream(prompt, **way)) for prompt, way in calls]
    data = [(prompt, {camel(k): v for k, v in way.items()}) for prompt, way in calls]
    assert run_in_browser(site, GENERATE, data) == expected
    assert sum(len(pieces) for pieces in expected) > 100


FORM = """
export default async function (prompt) {
  const frame = document.body.appendChild(document.createElement("iframe"));
  frame.src = "/index.html";
  await new Promise((resolve) => (frame.onload = resolve));
  const byId = (id) => frame.contentDocument.getElementById(id);
  const ready = async () => {
    while (byId("generate").disabled) await new Promise((resolve) => setTimeout(resolve, 20));
  };
  await ready();
  const { value, placeholder } = byId("maxNewTokens");
  byId("prompt").value = prompt;
  [byId("temperature").value, byId("topK").value] = [0, ""];
  byId("generate").click();
  await ready();
  return { value, placeholder, text: byId("output").textContent };
}
"""


@peer
def test_a_stated_length_holds_in_the_form_too(lm, site, tmp_path):
    copy = shutil.copytree(site, tmp_path / "site")
    changed("model.json", '"max_length": null', '"max_length": 20')(copy)
    found = run_in_browser(copy, FORM, "The government")
    text = lm.generate("The government", max_length=20)
    assert found == {"value": "", "placeholder": "20 with the prompt", "text": text}
    assert text != lm.generate("The government")


def changed(file, old, new):
    """A change of a file of the page."""

    def change(folder):
        text = (folder / file).read_text(encoding="utf-8")
        assert text.count(old) == 1
        (folder / file).write_text(text.replace(old, new), encoding="utf-8")

    return change


@peer
@pytest.mark.parametrize(
    "change, what",
    [
        (
            changed("stream.js", "= this.stable(raw, text);", "= text.length;"),
            r"Python \(streamed\)",
        ),
        (
            changed("stream.js", "this.keep(this.fresh, 0);", "this.window = [];"),
            r"Python \(streamed\)",
        ),
        (changed("model.json", '"before": []', '"before": [7]'), r"Python \(promptIds\)"),
        (
            changed("tokenizer.js", '"utf-8", { ignoreBOM: true });', '"latin1");'),
            r"Python \(texts\)",
        ),
    ],
)
def test_the_proof_refuses_a_page_that_gives_another_text(lm, site, tmp_path, change, what):
    copy = shutil.copytree(site, tmp_path / "site")
    change(copy)
    with pytest.raises(RuntimeError, match=what):
        export.verify(copy, lm, texts=CHINESE)


# === Refusals, without a browser ===


def changed_parts(**parts):
    data = json.loads(KINDS["metaspace always"]().to_str())
    model = parts.pop("model", {})
    data.update(parts)
    data["model"].update(model)
    return tokenizers.Tokenizer.from_str(json.dumps(data))


def with_single_word():
    engine = KINDS["words"]()
    engine.add_tokens([tokenizers.AddedToken("ab", single_word=True)])
    return engine


def with_truncation():
    engine = KINDS["words"]()
    engine.enable_truncation(8)
    return engine


REGEX = {"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"}


def with_part(name, part):
    engine = KINDS["words"]()
    setattr(engine, name, part)
    return engine


@pytest.mark.parametrize(
    "named, make",
    [
        ("decoder: CTC", lambda: with_part("decoder", decoders.CTC())),
        ("decoder: Replace with the regular expression 'a", lambda: changed_parts(decoder=REGEX)),
        (
            "pre_tokenizer: UnicodeScripts",
            lambda: with_part(
                "pre_tokenizer", pre_tokenizers.Sequence([pre_tokenizers.UnicodeScripts()])
            ),
        ),
        (
            "model: Unigram with byte_fallback=True",
            lambda: changed_parts(model={"byte_fallback": True}),
        ),
        ("truncation: .*no_truncation", with_truncation),
        ("added_tokens: 'ab' with single_word", with_single_word),
    ],
)
def test_what_the_page_cannot_read_is_refused_by_name(named, make, tmp_path):
    lm = generator_of(Tokenizer(make()))
    with pytest.raises(ValueError, match=f"tokenizer.json has {named}"):
        web(lm, tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_all_our_own_kinds_can_be_read():
    for _, tokenizer in all_kinds():
        check_tokenizer(tokenizer)
