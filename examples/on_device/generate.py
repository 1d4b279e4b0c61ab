"""Greedy text from a `.tflite` in LiteRT, without keraslm, Keras or TensorFlow.

    pip install ai-edge-litert tokenizers
    python generate.py saved_models/mine "The city of"

The folder holds model.tflite and tokenizer.json, as `keraslm export` writes them.
"""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.hardware_accelerator import HardwareAccelerator
from ai_edge_litert.options import CpuOptions, Options
from tokenizers import Tokenizer

if len(sys.argv) < 3 or sys.argv[1] in ("-h", "--help"):
    sys.exit(__doc__)
folder, prompt = Path(sys.argv[1]), sys.argv[2]
new_tokens = int(sys.argv[3]) if len(sys.argv) > 3 else 30
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
options = Options(
    hardware_accelerators=HardwareAccelerator.CPU, cpu_options=CpuOptions(num_threads=2)
)
model = CompiledModel.from_file(str(folder / "model.tflite"), options=options)

# The cache: one buffer for each tensor, input and output of every call, so nothing is copied.
details = model.get_input_tensor_details("decode")
cache = {}
for name in details:
    if name.startswith("kv_cache"):
        cache[name] = model.create_input_buffer_by_name("decode", name)
        cache[name].write(np.zeros(details[name]["shape"], "float32"))
length = details["kv_cache_k_0"]["shape"][2]
tokens = model.create_input_buffer_by_name("decode", "tokens")
position = model.create_input_buffer_by_name("decode", "input_pos")
logits = model.create_output_buffer_by_name("decode", "logits")
vocab_size = model.get_output_tensor_details("decode")["logits"]["shape"][-1]


def next_token(token, at):
    """The likeliest token after ``token``, which stands in slot ``at`` of the cache."""
    tokens.write(np.array([[token]], "int32"))
    position.write(np.array([at], "int32"))
    inputs = {"tokens": tokens, "input_pos": position, **cache}
    model.run_by_name("decode", inputs, {"logits": logits, **cache})
    return int(np.argmax(logits.read(vocab_size, np.float32)))


ids = tokenizer.encode(prompt, add_special_tokens=False).ids
for at, token in enumerate(ids):
    best = next_token(token, at)
new = []
while len(new) < new_tokens and len(ids) + len(new) < length:
    new.append(best)
    best = next_token(best, len(ids) + len(new) - 1)
print(prompt + tokenizer.decode(new))
