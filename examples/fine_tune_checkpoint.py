"""A checkpoint of Hugging Face's, trained on with your text, to the phone and back to the hub.

    python examples/fine_tune_checkpoint.py openai-community/gpt2 my.txt --out saved_models/mine

The model is a name on the hub, or a folder with config.json, model.safetensors and tokenizer.json.
"""

import argparse
import pathlib

import keraslm


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("text", help="file or folder; empty lines separate documents")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--prompt", default="Once upon a time")
    parser.add_argument("--length", type=int, help="tokens of a training row")
    parser.add_argument("--prune", action="store_true", help="leave out tokens you do not need")
    args = parser.parse_args()

    print(keraslm.tasks.info(args.model))
    lm = keraslm.from_pretrained(args.model)
    texts = list(keraslm.data.read_texts(args.text, separator="\n\n"))
    train, held_out = keraslm.data.split_texts(texts, 0.1)
    if args.prune:
        lm, pruning = keraslm.tasks.prune(lm, texts)
        print(pruning)

    print("before:", lm.evaluate(held_out, length=args.length))
    lm.fit(
        train,
        epochs=1,
        batch_size=4,
        length=args.length,
        learning_rate=5e-5,
        callbacks=[keraslm.callbacks.TensorBoard(args.out / "logs", lm=lm)],
    )
    print("after:", lm.evaluate(held_out, length=args.length))
    print(lm.generate(args.prompt, max_new_tokens=40, temperature=0.8, seed=0))

    lm.save(args.out)  # keraslm.from_pretrained reads it
    keraslm.export.tflite(lm, args.out, quantization="int8")
    print(keraslm.export.Verification.from_manifest(args.out / "model.tflite"))
    print(lm.save_huggingface(args.out.with_name(args.out.name + "_huggingface")))


if __name__ == "__main__":
    main()
