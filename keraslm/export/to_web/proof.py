"""A web folder in a headless Chromium, with the page's own code, beside its Keras model."""

import json

import numpy as np

from keraslm.export.decoder_proof import equal_tokens, judged_parts, keras_logits, text_for
from keraslm.export.facts import differing
from keraslm.export.proof import NEW_TOKENS, TEXTS, written_prompts
from keraslm.export.to_tflite.proof import quantization_of
from keraslm.export.to_web.browser import run_in_browser
from keraslm.export.to_web.stated import asked_of, said_of, stated_in, written_alike
from keraslm.export.verification import Verification, check_limits
from keraslm.generation.config import GenerationConfig
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.tokenizers.stream import TextStream

TOKENS = 96  # of the text: all logits of Keras go to the browser
SCRIPT = """
import { load, Run, TextStream } from "/keraslm.js";

export default async function ({ windows, prompts, lengths, texts, asked }) {
  const lm = await load("/");
  const size = lm.info.vocab_size;
  const references = new Float32Array(await (await fetch("./binary")).arrayBuffer());
  const result = {
    tokens: 0, agreeing: 0, difference: 0, divergence: 0, logProbs: [0, 0], seconds: 0,
    free: [], streamed: [], asked: [],
  };
  for (const ids of windows) {
    const run = new Run(lm);
    for (const [i, wanted] of ids.slice(1).entries()) {
      const started = performance.now();
      const logits = await run.decode(ids[i]);
      result.seconds += (performance.now() - started) / 1000;
      const reference = references.subarray(result.tokens * size, ++result.tokens * size);
      result.agreeing += logits.indexOf(largest(logits)) === reference.indexOf(largest(reference));
      const differences = logits.map((x, j) => Math.abs(x - reference[j]));
      result.difference = Math.max(result.difference, largest(differences));
      const [p, q] = [logSoftmax(reference), logSoftmax(logits)];
      result.divergence += p.reduce((sum, x, j) => sum + Math.exp(x) * (x - q[j]), 0);
      result.logProbs[0] += q[wanted];
      result.logProbs[1] += p[wanted];
    }
    run.delete();
  }
  for (const [i, prompt] of prompts.entries()) {
    const [ids, pieces] = [[], []];
    const settings = {
      temperature: 0, maxNewTokens: lengths[i], stopIds: [], repetitionPenalty: 1,
      onToken: (id) => ids.push(id),
    };
    for await (const piece of lm.generate(prompt, settings)) pieces.push(piece);
    result.free.push(ids);
    result.streamed.push(pieces);
  }
  for (const settings of asked) {
    const ids = [];
    for await (const id of lm.generateIds(lm.promptIds(prompts[0]), settings)) ids.push(id);
    result.asked.push(ids);
  }
  for (const ids of windows) {
    const stream = new TextStream(lm.tokenizer);
    result.streamed.push([...ids.map((id) => stream.add(id)), stream.close()].filter(Boolean));
  }
  result.promptIds = prompts.map((prompt) => lm.promptIds(prompt));
  result.ids = texts.map((text) => lm.tokenizer.encode(text));
  result.texts = windows.map((ids) => lm.tokenizer.decode(ids));
  return result;
}

const largest = (values) => values.reduce((a, b) => (a > b ? a : b)); // NaN stays to the end

function logSoftmax(logits) {
  const top = largest(logits);
  const total = Math.log(logits.reduce((sum, x) => sum + Math.exp(x - top), 0));
  return Float64Array.from(logits, (x) => x - top - total);
}
"""


def verify_web(path, lm, mode="quick", texts=None, limits=None) -> Verification:
    """`keraslm.export.verify` for a web folder.

    Raises:
        RuntimeError: there is no Chromium, the page fails in it, or it gives other tokens of a
            text, or another text of tokens, than Python.
    """
    context = json.loads((path / "model.json").read_text(encoding="utf-8"))["context"]
    judged = judged_parts(lm)
    tokenizer = lm.tokenizer
    text = text_for(judged, texts, context, TOKENS)
    references = [keras_logits(judged.model, ids[:-1]) for ids in text.windows]
    prompts = _prompts(judged, context - 1)
    ids = [tokenizer.prompt_ids(prompt) for prompt in prompts]
    lengths = [min(NEW_TOKENS, context - len(prompt)) for prompt in ids]
    expected = [
        judged.generator.generate([prompt], GenerationConfig(max_new_tokens=length))[0].ids
        for prompt, length in zip(ids, lengths, strict=True)
    ]
    quantization = quantization_of(LiteRTFile((path / "model.tflite").read_bytes()))
    samples = [*TEXTS, *tokenizer.decode_batch(text.windows)]
    found = run_in_browser(
        path,
        SCRIPT,
        {
            "windows": text.windows,
            "prompts": prompts,
            "lengths": lengths,
            "texts": samples,
            "asked": asked_of(lm),
        },
        binary=np.concatenate(references).astype("<f4").tobytes(),
    )
    _check_text(tokenizer, prompts, text.windows, samples, found)
    pairs = [
        equal_tokens(new, free, keras_logits(judged.model, prompt + new)[len(prompt) - 1 :])
        for prompt, new, free in zip(ids, expected, found["free"], strict=True)
    ]
    if quantization is None:
        pairs += written_alike(judged, lm, prompts[0], context, found["asked"])
    tokens = found["tokens"]
    ours, keras = np.exp(-np.array([_number(x) for x in found["logProbs"]]) / tokens)
    return Verification(
        "web",
        len(prompts),
        sum(equal for equal, _ in pairs),
        sum(compared for _, compared in pairs),
        _number(found["difference"]),
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        tokens / found["seconds"],
        quantization=quantization,
        kl=_number(found["divergence"]) / tokens,
        perplexity=float(ours),
        keras_perplexity=float(keras),
        limits=check_limits(limits),
        agreeing_tokens=found["agreeing"],
        judged_tokens=tokens,
        judged_on=text.name,
        differing=differing(stated_in(path), said_of(path, lm)),
    )


def _prompts(judged, longest):
    """Texts that the model writes itself, and whose prompts have tokens that fit."""
    prompts = []
    for ids in written_prompts(judged.generator, judged.start, longest):
        prompt = judged.tokenizer.decode(ids)
        while (length := _length(judged.tokenizer, prompt)) > longest:
            prompt = prompt[: len(prompt) * longest // length]
        if length:
            prompts.append(prompt)
    return prompts


def _length(tokenizer, prompt):
    """Tokens of a prompt; 0 if it cannot be one."""
    try:
        return len(tokenizer.prompt_ids(prompt))
    except ValueError:
        return 0


def _check_text(tokenizer, prompts, windows, samples, found):
    """Refuse other tokens of a text, or another text of tokens, than Python's.

    Raises:
        RuntimeError: with the first that differs.
    """
    prompt_ids = [tokenizer.prompt_ids(prompt) for prompt in prompts]
    streams = [
        TextStream(tokenizer, ids, prompt=prompt)
        for ids, prompt in zip(prompt_ids, prompts, strict=True)
    ]
    streams += [TextStream(tokenizer) for _ in windows]
    pieces = [
        [piece for piece in (*map(stream.add, ids), stream.close()) if piece]
        for stream, ids in zip(streams, [*found["free"], *windows], strict=True)
    ]
    for name, expected in (
        ("promptIds", prompt_ids),
        ("ids", tokenizer.encode_batch(samples)),
        ("texts", tokenizer.decode_batch(windows)),
        ("streamed", pieces),
    ):
        for ours, theirs in zip(found[name], expected, strict=True):
            if ours != theirs:
                raise RuntimeError(
                    f"The page gives another text than Python ({name}): {_short(ours)} instead of "
                    f"{_short(theirs)}. Use a tokenizer of keraslm.tokenizers.Tokenizer.train, "
                    "such as a byte-level BPE."
                )


def _short(value):
    text = repr(value)
    return text if len(text) < 200 else f"{text[:200]}…"


def _number(value):
    """JSON has no NaN."""
    return float("nan") if value is None else value
