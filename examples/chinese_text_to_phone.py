"""From Chinese text to a GPT on a phone and in a web page, word by word with jieba.

    pip install jieba
    python examples/chinese_text_to_phone.py         # 宋词, which 'make zoo-data' fetches
    python examples/chinese_text_to_phone.py novel.txt --encoding gb18030 --separator '\n\n'

Takes about five minutes on two CPU cores. The web page needs npm.

从中文文本到手机和网页上的 GPT，用 jieba 按词切分。默认用“make zoo-data”取来的宋词，
也可以给出自己的文件。
"""

import argparse
import json
import shutil
from pathlib import Path

import keras

from keraslm import callbacks, data, embeddings, export, models, tasks, tokenizers, training

parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
parser.add_argument("text", nargs="?", help="file or folder; default, 宋词")
parser.add_argument("--encoding", default="utf-8")
parser.add_argument("--separator", help="between documents of a file")
parser.add_argument("--out", default="saved_models/chinese", help="folder")
parser.add_argument("--minutes", type=float, default=4, help="of training at most")
args = parser.parse_args()
keras.utils.set_random_seed(0)

# 1. Text, some of it held out. 文本，留出一部分。
if args.text:
    separator = args.separator and args.separator.replace(r"\n", "\n")
    texts = list(data.read_texts(args.text, encoding=args.encoding, separator=separator))
else:
    files = sorted(Path("build/zoo/chinese-poetry/songci").glob("ci.song.*.json"))
    poems = [poem for file in files for poem in json.loads(file.read_text(encoding="utf-8"))]
    texts = ["\n".join([poem["rhythmic"], *poem["paragraphs"]]) for poem in poems]
    if not texts:
        raise SystemExit("Give a text, or fetch 宋词 with 'make zoo-data'.")
train, held_out = data.split_texts([data.clean_text(text) for text in texts], validation=0.05)

# 2. A tokenizer of Chinese words; its file needs no jieba. 按词的分词器，文件不依赖 jieba。
tokenizer = tokenizers.Tokenizer.train(train, "jieba", vocab_size=6000)
print([tokenizer.decode([i]) for i in tokenizer.encode(held_out[0])[:20]])

# 3. Word vectors, and a token table that starts from them. 词向量，用来初始化词元表。
vectors = embeddings.train_word2vec(train, 128, unit="jieba", min_count=2, report=print)
start = embeddings.VectorInitializer(vectors, tokenizer)
print(start.coverage)
for word in ("明月", "江南", "离愁"):
    if word in vectors:
        print(word, [near for near, _ in vectors.most_similar(word, topn=5)])

# 4. A GPT, trained; after each epoch it writes on. 训练 GPT，每轮之后续写。
gpt = models.GPT.sized("nano", tokenizer.vocab_size, embeddings_initializer=start)
lm = tasks.TextGenerator(gpt, tokenizer)
prompt = "明月几时有" if not args.text else held_out[0][:5]
lm.fit(
    train,
    validation=held_out,
    recipe=training.Recipe(learning_rate=2e-3, batch_size=16, length=128, epochs=3),
    callbacks=[callbacks.Samples(lm, prompt), callbacks.TimeLimit(args.minutes)],
)
print(lm.evaluate(held_out))
print(lm.generate(prompt, max_new_tokens=40, temperature=0.8, top_k=50, seed=0))

# 5. For a phone and a page, with proof. 导出到手机和网页，附证明。
lm.save(args.out)
print(export.verify(export.tflite(lm, args.out, quantization="int8"), lm))
if shutil.which("npm"):
    page = export.web(lm, args.out, quantization="int8")
    print(f"python {page}/serve.py, then open http://127.0.0.1:8000/")
