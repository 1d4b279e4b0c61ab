"""nanoGPT's CPU example in Keras: a model of Shakespeare's characters.

    python examples/char_shakespeare.py input.txt [--steps 2000]

The text is karpathy/char-rnn's data/tinyshakespeare/input.txt (1.1 MB). The settings are those of
nanoGPT's README for a CPU (4 layers, 4 heads, width 128, 64 characters, batch 12, 2000 steps, no
dropout), where the validation loss is 1.88. The optimizer is ours, not nanoGPT's: twice its
learning rate, beta2 0.95, embeddings not decayed. With nanoGPT's, it reaches 1.884 to 1.905.
"""

import argparse
import pathlib
import time

import keras
import numpy as np
import tensorflow as tf

import keraslm
from keraslm.tokenizers import Tokenizer
from keraslm.training import Recipe

LENGTH, BATCH = 64, 12
RECIPE = Recipe(learning_rate=2e-3, batch_size=BATCH, length=LENGTH, steps=2000)


def random_windows(ids, seed=0):
    """Batch after batch of windows from anywhere in the text, and the characters that follow."""
    ids = tf.constant(ids)

    def batch(step):
        last = len(ids) - LENGTH
        start = tf.random.stateless_uniform((BATCH, 1), (seed, step), 0, last, tf.int64)
        window = tf.gather(ids, start + tf.range(LENGTH + 1, dtype=tf.int64))  # (B, T + 1)
        return window[:, :-1], window[:, 1:]

    return tf.data.Dataset.counter().map(batch).prefetch(2)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=RECIPE.steps)
    args = parser.parse_args()
    keras.utils.set_random_seed(0)

    text = args.text.read_text(encoding="utf-8")
    tokenizer = Tokenizer.train([text], kind="char", vocab_size=None)
    ids = np.array(tokenizer.encode(text), "int32")
    train, held_out = np.split(ids, [int(0.9 * len(ids))])
    rows = (len(held_out) - 1) // LENGTH
    held_out = [held_out[i:][: rows * LENGTH].reshape(rows, LENGTH) for i in (0, 1)]

    gpt = keraslm.models.GPT(
        tokenizer.vocab_size, num_layers=4, num_heads=4, d_model=128, max_length=LENGTH
    )
    gpt.compile(RECIPE.make_optimizer(args.steps), jit_compile=True)
    start = time.perf_counter()
    gpt.fit(random_windows(train), steps_per_epoch=args.steps, verbose=2)
    print(f"{args.steps} steps in {time.perf_counter() - start:.0f} s")
    print(f"validation loss {gpt.evaluate(*held_out, batch_size=67, verbose=0):.3f}")

    writer, sample = keraslm.tasks.TextGenerator(gpt, tokenizer), "\n"
    while len(sample) < 200:  # the model sees 64 characters: go on from the last 32
        prompt = sample[-32:]
        sample += writer.generate(prompt, max_new_tokens=32, temperature=0.8)[len(prompt) :]
    print(sample[:200])


if __name__ == "__main__":
    main()
