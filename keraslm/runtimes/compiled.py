"""LiteRT's compiled model of a ``.tflite``, and its signatures as functions of arrays."""

import atexit
import functools
import os

import numpy as np

from keraslm._files import checked_path
from keraslm.litert.conversion import quiet
from keraslm.litert.trial import check_runs


def compiled(path, num_threads):
    """LiteRT's compiled model of a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a ``.tflite``, or a damaged one.
    """
    from ai_edge_litert.compiled_model import CompiledModel
    from ai_edge_litert.hardware_accelerator import HardwareAccelerator
    from ai_edge_litert.options import CpuOptions, Options

    path = checked_path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No file {path}. Export one with keraslm.export.tflite.")
    options = Options(
        hardware_accelerators=HardwareAccelerator.CPU,
        cpu_options=CpuOptions(num_threads=num_threads),
    )
    try:
        check_structure(path)
        check_runs(path)
        with quiet():  # it announces its accelerators on stderr, and the wrapper's own once more
            model = CompiledModel.from_file(str(path), environment=_environment(), options=options)
            _write_once(model)
            return model
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"{path} is not a .tflite file, or is damaged: {error}. Export the model again."
        ) from error


def _write_once(model):
    """Have the runtime say now what it says at the first write to a buffer."""
    name, tensors = next(iter(model.get_signature_list().items()))
    for tensor in tensors["inputs"][:1]:
        detail = model.get_input_tensor_details(name)[tensor]
        buffer = model.create_input_buffer_by_name(name, tensor)
        buffer.write(np.zeros(detail["shape"], detail["dtype"]))


def check_structure(path):
    """Raise a ValueError for a file that is no whole flatbuffer: a compiled model would crash."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    with quiet():
        Interpreter(
            model_path=str(path),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )


@functools.cache
def _environment():
    """The runtime's environment, one for all models."""
    from ai_edge_litert.environment import Environment, EnvironmentOptions

    # When the program ends, LiteRT's own objects write lines to stderr: after this, nowhere.
    atexit.register(lambda: os.dup2(os.open(os.devnull, os.O_WRONLY), 2))
    return Environment.create(options=EnvironmentOptions())


class Signature:
    """One signature of a compiled model, with its buffers.

    Args:
        model: from `compiled`.
        name: of the signature.
        shared: buffers by tensor name, which stand for an input and an output at once.
    """

    def __init__(self, model, name, shared=None):
        shared = shared or {}
        self.model, self.name = model, name
        self.details = model.get_input_tensor_details(name)
        self.results = model.get_output_tensor_details(name)
        self.inputs = {
            key: shared.get(key) or model.create_input_buffer_by_name(name, key)
            for key in self.details
        }
        self.outputs = {
            key: shared.get(key) or model.create_output_buffer_by_name(name, key)
            for key in self.results
        }

    def __call__(self, **values):
        """Write these inputs and run."""
        for key, value in values.items():
            dtype = self.details[key]["dtype"]
            self.inputs[key].write(np.ascontiguousarray(value, dtype))
        self.model.run_by_name(self.name, self.inputs, self.outputs)

    def output(self, key):
        """An output as an array."""
        shape, dtype = self.results[key]["shape"], np.dtype(self.results[key]["dtype"])
        return self.outputs[key].read(int(np.prod(shape)), dtype).reshape(shape)
