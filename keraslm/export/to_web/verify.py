"""A web folder in a headless Chromium, with the page's own code, beside its Keras model."""

import json

import numpy as np

from keraslm.export.proof import NEW_TOKENS, written_prompts
from keraslm.export.to_tflite.verify import keras_logits, quantization_of
from keraslm.export.to_web.browser import run_in_browser
from keraslm.export.verification import Verification
from keraslm.generation.config import GenerationConfig
from keraslm.litert.flatbuffer import LiteRTFile

SCRIPT = """
import { load, Run } from "/keraslm.js";

export default async function ({ prompts, expected, texts }) {
  const lm = await load("/");
  const size = lm.info.vocab_size;
  const references = new Float32Array(await (await fetch("./binary")).arrayBuffer());
  const result = { equal: 0, tokens: 0, difference: 0, divergence: 0, seconds: 0 };
  for (const [i, prompt] of prompts.entries()) {
    const run = new Run(lm);
    await run.prefill(prompt.slice(0, -1));
    let token = prompt.at(-1);
    for (const wanted of expected[i]) {
      const started = performance.now();
      const logits = await run.decode(token);
      result.seconds += (performance.now() - started) / 1000;
      const reference = references.subarray(result.tokens * size, ++result.tokens * size);
      result.equal += logits.indexOf(largest(logits)) === wanted;
      const differences = logits.map((x, j) => Math.abs(x - reference[j]));
      result.difference = Math.max(result.difference, largest(differences));
      result.divergence += divergence(reference, logits);
      token = wanted;
    }
    run.delete();
  }
  result.read = texts.map((text) => lm.tokenizer.encode(text));
  result.written = expected.map((ids) => lm.tokenizer.decode(ids));
  return result;
}

const largest = (values) => values.reduce((a, b) => (a > b ? a : b)); // NaN stays to the end

function divergence(reference, other) {
  const [p, q] = [logSoftmax(reference), logSoftmax(other)];
  return p.reduce((sum, x, i) => sum + Math.exp(x) * (x - q[i]), 0);
}

function logSoftmax(logits) {
  const top = largest(logits);
  const total = Math.log(logits.reduce((sum, x) => sum + Math.exp(x - top), 0));
  return Float64Array.from(logits, (x) => x - top - total);
}
"""


def verify_web(path, lm, mode="quick", texts=None) -> Verification:
    """`keraslm.export.verify` for a web folder.

    Raises:
        RuntimeError: there is no Chromium, the page fails in it, or its tokenizer gives other
            tokens or text than Python's.
    """
    context = json.loads((path / "model.json").read_text(encoding="utf-8"))["context"]
    prompts = written_prompts(lm.generator, lm.tokenizer.bos_id or 0, context - 1)
    expected, references = [], []
    for prompt in prompts:
        config = GenerationConfig(max_new_tokens=min(NEW_TOKENS, context - len(prompt)))
        expected.append(lm.generator.generate([prompt], config)[0].ids)
        rows = keras_logits(lm.model, prompt + expected[-1])
        references.append(rows[len(prompt) - 1 : -1])
    texts = lm.tokenizer.decode_batch(prompts)
    found = run_in_browser(
        path,
        SCRIPT,
        {"prompts": prompts, "expected": expected, "texts": texts},
        binary=np.concatenate(references).astype("<f4").tobytes(),
    )
    if [lm.tokenizer.encode(text) for text in texts] != found["read"] or (
        lm.tokenizer.decode_batch(expected) != found["written"]
    ):
        raise RuntimeError(
            "The tokenizer gives other tokens or text in the browser than in Python. Use one of "
            "keraslm.tokenizers.Tokenizer.train, such as a byte-level BPE."
        )
    return Verification(
        "web",
        len(prompts),
        found["equal"],
        found["tokens"],
        _number(found["difference"]),
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()),
        found["tokens"] / found["seconds"],
        quantization=quantization_of(LiteRTFile((path / "model.tflite").read_bytes())),
        kl=_number(found["divergence"]) / found["tokens"],
    )


def _number(value):
    """JSON has no NaN."""
    return float("nan") if value is None else value
