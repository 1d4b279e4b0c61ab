"""The ``.tflite`` file: read, rewritten, quantised, converted. Knows no model."""

from keraslm.litert.conversion import to_litert
from keraslm.litert.flatbuffer import LiteRTFile
from keraslm.litert.quantization import quantize_file
from keraslm.litert.rewriting import simplify

__all__ = ["LiteRTFile", "quantize_file", "simplify", "to_litert"]
