"""A web folder in a headless Chromium, with the page's own code, beside its Keras model."""

import json

import numpy as np

from keraslm.export.decoder_proof import equal_tokens, judged_parts, keras_logits, text_for
from keraslm.export.proof import NEW_TOKENS, written_prompts
from keraslm.export.to_tflite.verify import quantization_of
from keraslm.export.to_web.browser import run_in_browser
from keraslm.export.verification import Verification, check_limits
from keraslm.generation.config import GenerationConfig
from keraslm.litert.flatbuffer import LiteRTFile

TOKENS = 96  # of the text: all logits of Keras go to the browser
SCRIPT = """
import { load, Run } from "/keraslm.js";

export default async function ({ windows, prompts, room, texts }) {
  const lm = await load("/");
  const size = lm.info.vocab_size;
  const references = new Float32Array(await (await fetch("./binary")).arrayBuffer());
  const result = {
    tokens: 0, agreeing: 0, difference: 0, divergence: 0, logProbs: [0, 0], seconds: 0, free: [],
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
    const ids = [];
    const settings = { temperature: 0, maxNewTokens: room[i], stopIds: [], repetitionPenalty: 1 };
    for await (const id of lm.generateIds(prompt, settings)) ids.push(id);
    result.free.push(ids);
  }
  result.read = texts.map((text) => lm.tokenizer.encode(text));
  result.written = result.free.map((ids) => lm.tokenizer.decode(ids));
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
        RuntimeError: there is no Chromium, the page fails in it, or its tokenizer gives other
            tokens or text than Python's.
    """
    context = json.loads((path / "model.json").read_text(encoding="utf-8"))["context"]
    judged = judged_parts(lm)
    text = text_for(judged, texts, context, TOKENS)
    references = [keras_logits(judged.model, ids[:-1]) for ids in text.windows]
    prompts = written_prompts(judged.generator, lm.tokenizer.bos_id or 0, context - 1)
    lengths = [min(NEW_TOKENS, context - len(prompt)) for prompt in prompts]
    configs = [GenerationConfig(max_new_tokens=length) for length in lengths]
    expected = [
        judged.generator.generate([prompt], config)[0].ids
        for prompt, config in zip(prompts, configs, strict=True)
    ]
    read = lm.tokenizer.decode_batch(prompts)
    found = run_in_browser(
        path,
        SCRIPT,
        {"windows": text.windows, "prompts": prompts, "room": lengths, "texts": read},
        binary=np.concatenate(references).astype("<f4").tobytes(),
    )
    if [lm.tokenizer.encode(text) for text in read] != found["read"] or (
        lm.tokenizer.decode_batch(found["free"]) != found["written"]
    ):
        raise RuntimeError(
            "The tokenizer gives other tokens or text in the browser than in Python. Use one of "
            "keraslm.tokenizers.Tokenizer.train, such as a byte-level BPE."
        )
    pairs = [
        equal_tokens(ids, free, keras_logits(judged.model, prompt + ids)[len(prompt) - 1 :])
        for prompt, ids, free in zip(prompts, expected, found["free"], strict=True)
    ]
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
        quantization=quantization_of(LiteRTFile((path / "model.tflite").read_bytes())),
        kl=_number(found["divergence"]) / tokens,
        perplexity=float(ours),
        keras_perplexity=float(keras),
        limits=check_limits(limits),
        agreeing_tokens=found["agreeing"],
        judged_tokens=tokens,
        judged_on=text.name,
    )


def _number(value):
    """JSON has no NaN."""
    return float("nan") if value is None else value
