"""From raw text to a GPT that generates in LiteRT: what `make demo` does, in plain sight.

    python examples/text_to_phone.py [OUT]

Takes about five minutes on two CPU cores. Source of the text: the extract of the English Wikipedia
that gensim ships.
"""

import argparse

import keras

from keraslm import callbacks, data, embeddings, export, models, tasks, tokenizers, training

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("out", nargs="?", default="saved_models/text_to_phone", help="folder")
out = parser.parse_args().out
keras.utils.set_random_seed(0)

# 1. Text: clean articles, some held out.
articles = data.read_texts(data.wikipedia_sample())
train, held_out = data.split_texts(articles, validation=0.05)

# 2. Tokenizer.
tokenizer = tokenizers.Tokenizer.train(train, "bpe", vocab_size=2048)

# 3. Word vectors on the same tokens.
names = tokenizer.vocabulary
sentences = [[names[i] for i in ids] for ids in tokenizer.encode_batch(train)]
vectors = embeddings.train_word2vec(sentences, vector_size=128, report=print)
start = embeddings.VectorInitializer(vectors, tokenizer)
print(start.coverage)

# 4. A GPT from our layers, and its text side.
gpt = models.GPT(
    vocab_size=tokenizer.vocab_size, num_layers=3, d_model=128, num_heads=4, max_length=256,
    embeddings_initializer=start,
)  # fmt: skip
lm = tasks.TextGenerator(gpt, tokenizer)

# 5. Training: rows of 256 tokens without padding, watched by TensorBoard.
stream = data.encode_documents(train, tokenizer)
recipe = training.Recipe(learning_rate=2e-3, batch_size=8, length=256, epochs=3)
lm.fit(
    data.pack(stream, length=recipe.length),
    validation=data.pack(data.encode_documents(held_out, tokenizer), length=recipe.length),
    recipe=recipe,
    callbacks=[
        callbacks.Samples(lm, "The city of"),
        callbacks.TensorBoard(f"{out}/logs", lm=lm, bytes_per_token=stream.bytes_per_token),
        callbacks.TimeLimit(minutes=5),
    ],
)
print(lm.evaluate(held_out))

# 6. Generating in Python, saving, exporting with proof.
print(lm.generate("The city of", max_new_tokens=40, temperature=0.8, top_k=50, seed=0))
lm.save(out)
print(export.verify(export.tflite(lm, out), lm))
print(export.verify(export.saved_model(lm, out), lm))

# 7. Generating from the .tflite.
config = lm.generation_config.replace(max_new_tokens=40, temperature=0.8, top_k=50, seed=0)
ids = export.LiteRTModel(f"{out}/model.tflite").generate(tokenizer.encode("The city of"), config)
print("The city of" + tokenizer.decode(list(ids)))
