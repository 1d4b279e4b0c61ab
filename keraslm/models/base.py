"""What GPT, BERT and Transformer have in common: inputs by name, config, compile defaults."""

import functools
from collections.abc import Callable
from typing import Any, Self

import keras
import numpy as np

from keraslm._compat import forget_initial_epoch
from keraslm.layers.masks import AttentionMask, SegmentPositions
from keraslm.models.config import TransformerConfig
from keraslm.models.loading import check_not_quantized
from keraslm.models.presets import FAMILIES, sized
from keraslm.training.optimizer import default_optimizer, exclude_from_decay
from keraslm.training.recipe import Recipe
from keraslm.training.steps import StepStatistics, scope_of, train_step


class TransformerModel(keras.Model):
    """A functional ``keras.Model`` on token ids that also takes a bare array.

    Subclasses set ``family`` (a row of `FAMILIES`) and build their graph in ``__init__``.

    ``type(model).from_config(model.get_config())`` makes another of the kind. Keras'
    ``clone_model(model)`` makes a plain functional model of the same layers, whose inputs, as Keras
    copies them, must all be given.

    Inputs, by name, each of shape ``(batch, seq)``; all but ``token_ids`` may be missing:
        token_ids: int.
        padding_mask: bool, True for real tokens; padding stands on the right.
        segment_ids: int, the document of each token in a packed row: tokens see only their own
            document and positions restart with it.
    """

    family: str = ""
    # What the steps of ``fit`` saw, for callbacks to read; see `keraslm.training.steps`.
    step_statistics: StepStatistics | None = None
    # How a task trained it last, if it did; kept in bundles.
    recipe: Recipe | None = None

    @classmethod
    def make_config(cls, **fields: Any) -> TransformerConfig:
        """A `TransformerConfig` of this family.

        Raises:
            ValueError: an unknown field.
        """
        unknown = sorted(set(fields) - set(TransformerConfig.field_names()))
        if unknown:
            raise ValueError(
                f"{cls.__name__} has no argument {unknown[0]!r}. It takes "
                f"{', '.join(TransformerConfig.field_names())}."
            )
        if cls.family != "bert" and fields.get("token_types"):
            raise ValueError(f"{cls.__name__} takes no token_types: that is an input of BERT.")
        return TransformerConfig(**{**FAMILIES[cls.family], **fields})

    @classmethod
    def sized(cls, size: str, vocab_size: int, **fields: Any) -> Self:
        """A model of a named size.

        Args:
            size: ``"nano"``, ``"tiny"``, ``"mini"``, ``"small"`` or ``"medium"``.
            vocab_size: number of tokens.
            fields: whatever else the class takes; wins over the size.

        Example:
            >>> keraslm.models.GPT.sized("tiny", vocab_size=4096).count_params()
            2615424
        """
        return cls(vocab_size=vocab_size, **{**sized(size), **fields})

    def _finish(self, trunk, config, embeddings_initializer):
        """Keep what ``step`` and ``get_config`` need, after the functional graph is there."""
        self.trunk = trunk
        self.input_names = tuple(self.input)
        self.transformer_config = config
        self._embeddings_initializer = embeddings_initializer

    @property
    def max_length(self) -> int:
        """Longest sequence; of a decoder, prompt and continuation together."""
        return self.transformer_config.max_length

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return self.transformer_config.vocab_size

    # === Inputs ===

    @property
    def input_spec(self):
        # Functional would check for a dict; call() takes a bare array too.
        return None

    @input_spec.setter
    def input_spec(self, value):
        pass

    def as_inputs(self, inputs: Any) -> dict[str, Any]:
        """The dict of inputs, with None for the missing ones."""
        if isinstance(inputs, (list, tuple)) and not isinstance((*inputs, None)[0], (int, float)):
            raise ValueError(
                f"Inputs must be an array of token ids or a dict with the keys "
                f"{self.input_names}; received a {type(inputs).__name__}."
            )
        inputs = dict(inputs) if isinstance(inputs, dict) else {"token_ids": inputs}
        unknown = sorted(set(inputs) - set(self.input_names))
        if unknown or inputs.get("token_ids") is None:
            problem = f"unknown input {unknown[0]!r}" if unknown else "token_ids is missing"
            raise ValueError(
                f"{problem}: {type(self).__name__} takes token_ids and, if wanted, "
                f"{', '.join(self.input_names[1:])}; received {sorted(inputs)}."
            )
        if not hasattr(inputs["token_ids"], "shape"):
            raise ValueError(
                "token_ids must be an array (batch, seq); received a "
                f"{type(inputs['token_ids']).__name__}. Write numpy.array(token_ids)."
            )
        length = inputs["token_ids"].shape[-1]
        if self.transformer_config.positions in ("sinusoidal", "learned") and (
            length is not None and length > self.transformer_config.max_length
        ):
            raise ValueError(
                f"token_ids has {length} positions, more than max_length="
                f"{self.transformer_config.max_length}. Shorten the input or build the model "
                "with a larger max_length."
            )
        return {name: inputs.get(name) for name in self.input_names}

    def __call__(self, inputs, *args, **kwargs):
        # Checked here: Keras adds a page about its arguments to errors raised inside call().
        self.check_ids(inputs)
        return super().__call__(self.as_inputs(inputs), *args, **kwargs)

    def call(self, inputs, training=None, mask=None):
        return super().call(self.as_inputs(inputs), training=training)

    def compute_output_spec(self, inputs, training=None, mask=None):
        inputs = self.as_inputs(inputs)
        if all(value is not None for value in inputs.values()):
            return super().compute_output_spec(inputs)
        # Functional compares shapes, which None has not: trace the call instead.
        return keras.Operation.compute_output_spec(self, inputs)

    def fit(self, x=None, *args, **kwargs):
        self.check_ids(x)
        self.check_labels(args[0] if args else kwargs.get("y"))
        if type(x).__name__.endswith("Dataset"):
            # Keras warns that its own shuffling does not apply to a tf.data.Dataset.
            kwargs.setdefault("shuffle", False)
        if self.step_statistics is not None:
            self.step_statistics.reset()
        try:
            return super().fit(x, *args, **kwargs)
        except BaseException:
            self._forget_interrupted(kwargs.get("callbacks", args[4] if len(args) > 4 else None))
            raise
        finally:
            forget_initial_epoch(self)  # of BackupAndRestore

    def _forget_interrupted(self, callbacks):
        """Leave the model as it was: Keras ends its callbacks only after a fit that went through.

        A callback that has something to give back does so in ``on_train_interrupted``.
        """
        self.train_function = self.test_function = None
        callbacks = getattr(callbacks, "callbacks", callbacks)  # a CallbackList
        for callback in callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]:
            end = getattr(callback, "on_train_interrupted", None)
            if end is not None:
                end()

    def evaluate(self, x=None, *args, **kwargs):
        self.check_ids(x)
        self.check_labels(args[0] if args else kwargs.get("y"))
        return super().evaluate(x, *args, **kwargs)

    def predict(self, x, *args, **kwargs):
        if x is None:
            raise ValueError("x is missing: predict needs token ids, an array (batch, seq).")
        self.check_ids(x)
        return super().predict(x, *args, **kwargs)

    def check_ids(self, inputs: Any) -> None:
        """Raise a ValueError if a NumPy array holds fractions, or ids outside the vocabulary.

        TensorFlow's own message for it names neither the argument nor the vocabulary, and under
        XLA there is none.
        """
        ids = inputs.get("token_ids") if isinstance(inputs, dict) else inputs
        if not (isinstance(ids, np.ndarray) and ids.size):
            return
        is_whole = ids.dtype.kind in "iu" or (
            ids.dtype.kind == "f" and np.array_equal(ids, np.rint(ids))
        )
        if not is_whole:
            raise ValueError(
                f"token_ids must be whole numbers; received an array of {ids.dtype}"
                f"{' with fractions' if ids.dtype.kind == 'f' else ''}. Encode texts with the "
                "model's tokenizer."
            )
        low, high = int(ids.min()), int(ids.max())
        if low < 0 or high >= self.transformer_config.vocab_size:
            raise ValueError(
                f"token_ids must be from 0 to {self.transformer_config.vocab_size - 1}; "
                f"received {low if low < 0 else high}. Was the text encoded with another "
                "tokenizer?"
            )

    def check_labels(self, labels: Any) -> None:
        """Raise a ValueError if a NumPy array holds labels that are no class of the output.

        Under XLA the loss of such a label, by ``SparseCategoricalCrossentropy``, is NaN, without
        an error.
        """
        loss = getattr(self, "loss", None)
        is_sparse = isinstance(loss, keras.losses.SparseCategoricalCrossentropy)
        if not (is_sparse or loss == "sparse_categorical_crossentropy"):
            return
        is_number = isinstance(labels, np.ndarray) and labels.dtype.kind in "iuf"
        if not (is_number and labels.size) or isinstance(self.output, dict):
            return
        classes = self.output.shape[-1]
        is_class = (labels >= 0) & (labels < classes) & (labels == np.rint(labels))
        if (ignored := getattr(loss, "ignore_class", None)) is not None:
            is_class |= labels == ignored
        if not is_class.all():
            raise ValueError(
                f"labels must be whole numbers from 0 to {classes - 1}, one of {classes} classes; "
                f"received {labels[~is_class][0]}."
            )

    # === Keras ===

    def default_loss(self) -> Any:
        """The loss of ``compile()`` without one."""
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def compile(self, optimizer: Any = "auto", loss: Any = "auto", **kwargs: Any) -> None:
        """``keras.Model.compile`` with defaults for language models.

        ``optimizer="auto"``: AdamW, learning rate 3e-4, weight decay 0.1 for matrices only,
        gradients clipped at norm 1 (Radford et al. 2019, Brown et al. 2020).
        ``loss="auto"``: cross-entropy from logits.
        """
        if isinstance(loss, str) and loss == "auto":
            loss = self.default_loss()
        with scope_of(self):
            if isinstance(optimizer, str) and optimizer == "auto":
                optimizer = default_optimizer()
            super().compile(optimizer=optimizer, loss=loss, **kwargs)
            on_tensorflow = keras.backend.backend() == "tensorflow"
            self.step_statistics = StepStatistics() if on_tensorflow else None
        self.recipe = None
        # Not a dict: Keras would take the metrics in it for metrics of a layer.
        self._compile_as: Callable[..., None] = functools.partial(self.compile, loss=loss, **kwargs)

    def compile_again(self, optimizer: Any, **changes: Any) -> None:
        """``compile`` with another optimizer, and the loss, metrics and settings of the last time.

        Args:
            optimizer: as in ``compile``; one that is in use goes on where it is.
            changes: other arguments of ``compile`` to change.
        """
        self._compile_as(optimizer, **changes)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training=training)
        if self.step_statistics is not None:
            self.step_statistics.count(self, loss, y, sample_weight, bool(training))
        return loss

    def train_step(self, *args):
        if self.step_statistics is None:  # another backend than TensorFlow
            return super().train_step(*args)
        return train_step(self, *args)

    def compile_from_config(self, config):
        config = dict(config)
        decays_matrices = config.pop("default_optimizer", False)  # files of version 0.1
        self.compile(**keras.saving.deserialize_keras_object(config))
        if decays_matrices:  # Keras' own AdamW, whose config does not keep what it excludes
            # In mixed_float16 Keras wraps it to scale the loss.
            optimizer = getattr(self.optimizer, "inner_optimizer", self.optimizer)
            exclude_from_decay(optimizer, self.trainable_variables)
        self.optimizer.build(self.trainable_variables)

    def save(self, filepath, *args, **kwargs):
        check_not_quantized(self)  # before Keras opens the file
        return super().save(filepath, *args, **kwargs)

    def get_config(self):
        check_not_quantized(self)
        config = {
            "name": self.name,
            "trainable": self.trainable,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            **self.transformer_config.to_config(),
        }
        if self._embeddings_initializer is not None:
            config["embeddings_initializer"] = keras.initializers.serialize(
                self._embeddings_initializer
            )
        return config

    @classmethod
    def from_config(cls, config, custom_objects=None):
        config = dict(config)
        for name, get in (
            ("dtype", keras.dtype_policies.get),
            ("embeddings_initializer", keras.initializers.get),
        ):
            if isinstance(config.get(name), dict):
                config[name] = get(config[name])
        return cls(**TransformerConfig.without_useless(config, FAMILIES.get(cls.family)))


def optional_input(name, dtype):
    """A symbolic ``(batch, seq)`` input that may be missing."""
    return keras.Input((None,), dtype=dtype, name=name, optional=True)


def symbolic_inputs(dtype):
    """What all models begin with: the dict of inputs, the attention mask, the positions."""
    inputs = {
        "token_ids": keras.Input((None,), dtype="int32", name="token_ids"),
        "padding_mask": optional_input("padding_mask", "bool"),
        "segment_ids": optional_input("segment_ids", "int32"),
    }
    mask = AttentionMask(name="attention_mask", dtype=dtype)(**inputs)
    positions = SegmentPositions(name="segment_positions", dtype=dtype)(inputs["segment_ids"])
    return inputs, mask, positions
