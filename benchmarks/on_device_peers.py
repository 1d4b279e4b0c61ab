"""One runtime of on_device.py, in a process of its own, so that none sees another's threads.

    python on_device_peers.py RUNTIME FOLDER THREADS

A line of standard input is a request, ``[prompt, new_tokens]``; the answer is a line of standard
output: the new tokens, the seconds they took, and the peak of resident memory so far.
"""

import functools
import json
import os
import re
import sys
import time
from pathlib import Path

WORD = "w"  # token 7 is the word "w7", where a runtime takes text


def use_litert_lm(folder, threads, quantization):
    import litert_lm

    litert_lm.set_min_log_severity(litert_lm.LogSeverity.ERROR)
    engine = litert_lm.Engine(
        str(folder / f"{quantization}.litertlm"), litert_lm.Backend.CPU(thread_count=threads)
    )
    greedy = litert_lm.SamplerConfig(top_k=1, top_p=1.0, temperature=1.0)

    def generate(prompt, new_tokens):
        with engine.create_session(
            apply_prompt_template=False, sampler_config=greedy, max_output_tokens=new_tokens
        ) as session:
            session.run_prefill([as_text(prompt)])
            return [int(i) for i in re.findall(rf"{WORD}(\d+)", session.run_decode().texts[0])]

    return generate


def use_litert(folder, threads, quantization):
    from keraslm.export import LiteRTModel
    from keraslm.generation import GenerationConfig

    model = LiteRTModel(folder / f"{quantization}.tflite", num_threads=threads)
    return lambda prompt, new_tokens: list(
        model.generate(prompt, GenerationConfig(max_new_tokens=new_tokens))
    )


def use_ctranslate2(folder, threads, quantization):
    import ctranslate2

    generator = ctranslate2.Generator(
        str(folder / f"ctranslate2_{quantization}"),
        compute_type=quantization,
        intra_threads=threads,
        inter_threads=1,
    )

    def generate(prompt, new_tokens):
        (result,) = generator.generate_batch(
            [[f"{WORD}{i}" for i in prompt]],
            max_length=new_tokens,
            min_length=new_tokens,
            sampling_topk=1,
            include_prompt_in_result=False,
        )
        return result.sequences_ids[0]

    return generate


def use_hugging_face(folder, threads):
    import torch
    from transformers import GPT2LMHeadModel

    torch.set_num_threads(threads)
    model = GPT2LMHeadModel.from_pretrained(folder / "hugging_face").eval()
    return functools.partial(generate_with_hugging_face, model)


def generate_with_hugging_face(model, prompt, new_tokens):
    """New tokens of a `transformers` model."""
    import torch

    inputs = torch.tensor([prompt])
    with torch.inference_mode():
        text = model.generate(
            inputs,
            attention_mask=torch.ones_like(inputs),
            do_sample=False,
            min_new_tokens=new_tokens,
            max_new_tokens=new_tokens,
            pad_token_id=0,
        )
    return text[0, len(prompt) :].tolist()


def use_keras_hub(folder, threads, jit):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    import generate_vs_peers
    from peers import make_keras_hub

    backbone = make_keras_hub(**json.loads((folder / "shape.json").read_text()))
    backbone.load_weights(folder / "keras_hub.weights.h5")

    @functools.cache  # a length of prompt or text is compiled once
    def prepared(prompt, new_tokens):
        return generate_vs_peers.use_keras_hub(backbone, jit, list(prompt), new_tokens)

    return lambda prompt, new_tokens: prepared(tuple(prompt), new_tokens)()


RUNTIMES = {
    f"{name}-{quantization}": functools.partial(use, quantization=quantization)
    for name, use, quantizations in (
        ("litert-lm", use_litert_lm, ("float32", "int8", "int4")),
        ("litert", use_litert, ("float32", "int8", "int4")),
        ("ctranslate2", use_ctranslate2, ("float32", "int8")),
    )
    for quantization in quantizations
} | {
    "hugging-face-float32": use_hugging_face,
    "keras-hub-float32": functools.partial(use_keras_hub, jit=False),
    "keras-hub-xla-float32": functools.partial(use_keras_hub, jit=True),
}


def as_text(ids):
    """Words that a tokenizer of these words turns into these ids."""
    return " ".join(f"{WORD}{i}" for i in ids)


def peak_memory():
    """Megabytes, or 0 where the system does not say.

    Not ``ru_maxrss``: that starts with what the parent held.
    """
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else 0.0


def main(name, folder, threads):
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    generate = RUNTIMES[name](Path(folder), int(threads))
    for line in sys.stdin:
        prompt, new_tokens = json.loads(line)
        started = time.perf_counter()
        ids = generate(prompt, new_tokens)
        seconds = time.perf_counter() - started
        print(json.dumps([ids, seconds, peak_memory()]), file=answers, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
