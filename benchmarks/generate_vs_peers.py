"""Generation with the same GPT-2 in keraslm and KerasHub, in turns: batch 1, greedy, float32.

    python benchmarks/generate_vs_peers.py [--models 14M 124M] [--rounds 5] [--small]

Where torch and transformers are installed, Hugging Face is measured too. All have the same
weights and should write the same text.
"""

import argparse
from functools import partial

from peers import (
    OURS,
    THEIRS,
    Stopwatch,
    hugging_face_gpt2,
    make_gpts,
    show_shape,
    show_versions,
)  # first: sets the backend

# isort: split
import keras_hub
import numpy as np
from on_device_peers import generate_with_hugging_face

from keraslm.generation import GenerationConfig, Generator

HUGGING_FACE = "Hugging Face"
MODELS = {
    "14M": dict(num_layers=6, d_model=384, num_heads=6, vocab_size=8192, max_length=256),
    "124M": dict(num_layers=12, d_model=768, num_heads=12, vocab_size=50257, max_length=256),
}
SMALL = dict(num_layers=2, d_model=32, num_heads=2, vocab_size=256, max_length=64)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rounds", type=int, default=5, help="timed calls of each contestant")
    parser.add_argument("--small", action="store_true", help="a tiny model, to try the script")
    args = parser.parse_args()
    show_versions()
    if not can_import_hugging_face():
        print("Hugging Face is left out: torch and transformers are not installed.")
    for name in ["small"] if args.small else args.models:
        print()
        compare(
            SMALL if args.small else MODELS[name],
            args.rounds,
            *((8, 16) if args.small else (32, 128)),
        )


def compare(shape, rounds, prompt_length, new_tokens):
    """Measure one model and print the table."""
    ours, backbone = make_gpts(**shape)
    show_shape(ours, backbone)
    prompt = np.random.default_rng(2).integers(0, shape["vocab_size"], prompt_length).tolist()
    contestants = {}
    for jit in (False, True):
        contestants[OURS, jit] = use_keraslm(ours, jit, prompt, new_tokens)
        contestants[THEIRS, jit] = use_keras_hub(backbone, jit, prompt, new_tokens)
    if can_import_hugging_face():
        contestants[HUGGING_FACE, False] = partial(
            generate_with_hugging_face, hugging_face_gpt2(ours), prompt, new_tokens
        )

    texts = {key: generate() for key, generate in contestants.items()}  # compiles
    for key, text in texts.items():
        if len(text) != new_tokens:
            raise SystemExit(f"{key} gave {len(text)} new tokens, not {new_tokens}.")
    watch = Stopwatch()
    for _ in range(rounds):
        for key, generate in contestants.items():
            watch.run(key, generate)
    print(f"prompt {prompt_length}, {new_tokens} new tokens (checked), greedy, batch 1")
    watch.table("text", new_tokens)
    reference = texts[OURS, False]
    same = [sum(a == b for a, b in zip(reference, t, strict=True)) for t in texts.values()]
    print(f"tokens equal to the first's: {', '.join(map(str, same))} of {new_tokens}")
    print(f"different tokens in the text: {len(set(reference))}")


def use_keraslm(model, jit, prompt, new_tokens):
    generator = Generator(model, jit_compile=jit)
    config = GenerationConfig(max_new_tokens=new_tokens)
    return lambda: generator.generate([prompt], config)[0].ids


def use_keras_hub(backbone, jit, prompt, new_tokens):
    model = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    model.compile(sampler="greedy", jit_compile=jit)
    token_ids = np.array([prompt + [0] * new_tokens], "int32")
    padding_mask = np.array([[1] * len(prompt) + [0] * new_tokens], "int32")

    def generate():
        inputs = {"token_ids": token_ids, "padding_mask": padding_mask}
        return model.generate(inputs, stop_token_ids=None)["token_ids"][0, len(prompt) :].tolist()

    return generate


def can_import_hugging_face():
    try:
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError:
        return False
    return True


if __name__ == "__main__":
    main()
