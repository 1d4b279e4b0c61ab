"""How a model is trained, as one value."""

import dataclasses
import inspect
import math
import numbers
from collections.abc import Collection, Mapping
from typing import Any

import keras

from keraslm.training.optimizer import DECAYED, SGD, AdamW, Lion
from keraslm.training.schedules import warmup_cosine
from keraslm.training.steps import scope_of

WHOLE = ("batch_size", "length", "epochs", "steps", "seed")

# Name → class, and the settings in which ours differs from Keras' own.
OPTIMIZERS: dict[str, tuple[type, dict[str, Any]]] = {
    "adamw": (AdamW, {"beta_2": 0.95}),  # Brown et al. 2020
    "lion": (Lion, {}),
    "sgd": (SGD, {"momentum": 0.9}),
}
SCHEDULES = {
    "warmup_cosine": warmup_cosine,
    "constant": lambda peak, steps, warmup, final: peak,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """A training recipe: what ``lm.fit`` does with the texts.

    Args:
        optimizer: ``"adamw"``, ``"lion"`` or ``"sgd"``.
        optimizer_settings: other arguments of the Keras optimizer, such as ``{"beta_2": 0.99}``.
        learning_rate: highest learning rate.
        schedule: ``"warmup_cosine"``: up in a line, then down along a cosine; ``"constant"``.
        warmup: share of the steps spent going up.
        final: learning rate at the end, as a share of ``learning_rate``.
        weight_decay: share of a weight taken off per step, times the learning rate.
        decayed: what is decayed: ``"matrices"`` (neither norms, biases nor embeddings) or
            ``"all"``.
        clip_norm: longest gradient, all weights together; ``None``: not clipped.
        batch_size: rows of a step. This and the other counts may be floats that are whole.
        length: tokens of a row; ``None``: the model's ``max_length``.
        epochs: passes over the texts.
        steps: train for so many steps instead; ``epochs`` does not count then.
        seed: of the order of the rows.

    Raises:
        ValueError: a value out of range, or a setting that the optimizer does not have.

    Example:
        >>> recipe = keraslm.training.Recipe(learning_rate=2e-3, batch_size=16, length=32)
        >>> history = lm.fit(texts, recipe=recipe, verbose=0)
        >>> recipe.replace(learning_rate=1e-4).batch_size
        16
    """

    optimizer: str = "adamw"
    optimizer_settings: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    learning_rate: float = 1e-3
    schedule: str = "warmup_cosine"
    warmup: float = 0.05
    final: float = 0.1
    weight_decay: float = 0.1
    decayed: str = "matrices"
    clip_norm: float | None = 1.0
    batch_size: int = 8
    length: int | None = None
    epochs: int = 1
    steps: int | None = None
    seed: int = 0

    def __post_init__(self):
        count = ("a positive whole number", lambda v: v == int(v) and v >= 1)
        checks = (
            ("optimizer", *_one_of(OPTIMIZERS)),
            ("optimizer_settings", "a dict", lambda v: isinstance(v, Mapping)),
            ("learning_rate", "above 0", lambda v: 0 < v < math.inf),
            ("schedule", *_one_of(SCHEDULES)),
            ("warmup", "in [0, 1)", lambda v: 0 <= v < 1),
            ("final", "from 0 to 1", lambda v: 0 <= v <= 1),
            ("weight_decay", "0 or more", lambda v: 0 <= v < math.inf),
            ("decayed", *_one_of(DECAYED)),
            ("clip_norm", "above 0, or None", lambda v: v is None or v > 0),
            ("batch_size", *count),
            ("length", f"{count[0]}, or None", lambda v: v is None or count[1](v)),
            ("epochs", *count),
            ("steps", f"{count[0]}, or None", lambda v: v is None or count[1](v)),
            ("seed", "a whole number, 0 or more", lambda v: v == int(v) and v >= 0),
        )
        for name, meaning, check in checks:
            value = getattr(self, name)
            try:
                good = not isinstance(value, bool) and check(value)
            except (ArithmeticError, TypeError, ValueError):
                good = False
            if not good:
                raise ValueError(f"{name} must be {meaning}; received {value!r}.")
            if isinstance(value, numbers.Real):  # plain numbers: files hold no others
                whole = name in WHOLE
                object.__setattr__(self, name, int(round(value)) if whole else float(value))
        self._check_settings()

    def _check_settings(self):
        """Refuse settings that the optimizer has not; put ours in, so that all are written down."""
        cls, ours = OPTIMIZERS[self.optimizer]
        known = inspect.signature(cls.__bases__[1]).parameters  # Keras' own class
        elsewhere = ("kwargs", "learning_rate", "weight_decay", "global_clipnorm", "name")
        for name in self.optimizer_settings:
            if name not in known or name in elsewhere:
                raise ValueError(
                    f"optimizer_settings has {name!r}, which is no setting of {self.optimizer}. "
                    f"It has {', '.join(k for k in known if k not in elsewhere)}."
                )
        object.__setattr__(self, "optimizer_settings", {**ours, **self.optimizer_settings})

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Names of all fields."""
        return tuple(field.name for field in dataclasses.fields(cls))

    def replace(self, **changes: Any) -> "Recipe":
        """A copy with some fields changed. Another ``optimizer`` begins with its own settings.

        Raises:
            ValueError: an unknown field or a value out of range.
        """
        self._check_names(changes)
        if changes.get("optimizer", self.optimizer) != self.optimizer:
            changes.setdefault("optimizer_settings", {})
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Recipe":
        """The recipe that `to_dict` wrote.

        Raises:
            ValueError: an unknown field or a value out of range.
        """
        cls._check_names(fields)
        return cls(**fields)

    @classmethod
    def _check_names(cls, fields):
        if not isinstance(fields, Mapping):
            raise ValueError(f"fields must be a dict; received {fields!r:.80}.")
        unknown = sorted(set(fields) - set(cls.field_names()))
        if unknown:
            raise ValueError(
                f"A recipe has no field {unknown[0]!r}. Fields are {', '.join(cls.field_names())}."
            )

    # === What the fields mean ===

    def num_steps(self, steps_per_epoch: int) -> int:
        """Steps in all."""
        return self.steps or self.epochs * steps_per_epoch

    def num_epochs(self, steps_per_epoch: int) -> int:
        """Passes over the texts, the last one perhaps not whole."""
        return math.ceil(self.num_steps(steps_per_epoch) / max(1, steps_per_epoch))

    def make_optimizer(self, steps: int) -> keras.optimizers.Optimizer:
        """The optimizer, new.

        Args:
            steps: steps in all, for the schedule.
        """
        rate = SCHEDULES[self.schedule](self.learning_rate, steps, self.warmup, self.final)
        return OPTIMIZERS[self.optimizer][0](
            float(rate) if self.schedule == "constant" else rate,
            weight_decay=self.weight_decay,
            global_clipnorm=self.clip_norm,
            decayed=self.decayed,
            **self.optimizer_settings,
        )


# The fields of which a compiled model's optimizer is made.
OPTIMIZER_FIELDS = frozenset(Recipe.field_names()) - set(WHOLE)


def compile_with(
    model: keras.Model,
    recipe: Recipe,
    steps_per_epoch: int,
    *,
    jit_compile: bool | str | None = None,
    changed: Collection[str] = OPTIMIZER_FIELDS,
) -> None:
    """Compile a model for a training, and note the recipe as ``model.recipe``.

    A model that is compiled keeps its loss and metrics; and its optimizer, with its state and
    where it is in its schedule, if no field of the optimizer is among the changed ones.

    Args:
        model: compiled or not.
        recipe: how it is trained.
        steps_per_epoch: for the schedule.
        jit_compile: as in ``keras.Model.compile``; ``None``: as it is compiled.
        changed: fields of the recipe that were asked for; default, all.
    """
    steps = recipe.num_steps(steps_per_epoch)
    known: Recipe | None = recipe
    jit = {} if jit_compile is None else {"jit_compile": jit_compile}
    new = not model.compiled or bool(OPTIMIZER_FIELDS & set(changed))
    if new:
        with scope_of(model):
            optimizer = recipe.make_optimizer(steps)
    else:  # of somebody else's optimizer no recipe is known
        optimizer, before = model.optimizer, getattr(model, "recipe", None)
        kept = {
            name: getattr(recipe, name) for name in set(Recipe.field_names()) - OPTIMIZER_FIELDS
        }
        known = before and before.replace(**kept)
    if not model.compiled:
        model.compile(optimizer, **jit)
    elif new or jit_compile not in (None, "auto", model.jit_compile):
        if hasattr(model, "compile_again"):
            model.compile_again(optimizer, **jit)
        else:
            arguments = keras.saving.deserialize_keras_object(model.get_compile_config())
            model.compile(**{**arguments, "optimizer": optimizer, **jit})
    model.recipe = known


def _one_of(names):
    return f"one of {', '.join(names)}", lambda value: value in names
