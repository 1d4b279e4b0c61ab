"""Options of layers and models: each is declared once, with its default, check and meaning.

An option is a field of a frozen dataclass. From it come the argument, the attribute and the config
of a layer, the field of `keraslm.models.TransformerConfig`, its check and its entry in ``help``. A
new one takes its declaration and the line that uses it.
"""

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar, cast

import keras

from keraslm.layers.common import flag, initializer, positive, rate, regularizer

REQUIRED = dataclasses.MISSING


def option(
    default: Any, check: Callable[[str, Any], Any], meaning: str, *, later: bool = False
) -> Any:
    """A field of an `Options` class.

    Args:
        default: its value where none is given; `REQUIRED`: there must be one.
        check: gets name and value; returns the value to keep or raises a ValueError. ``None``
            passes where it is the default.
        meaning: what it does, in whole sentences.
        later: newer than the first files: left out of configs while it has its default, so that
            earlier versions read them.

    Example:
        >>> import dataclasses
        >>> @dataclasses.dataclass(frozen=True, kw_only=True)
        ... class Scaled(keraslm.layers.options.Options):
        ...     gain: float = option(1.0, keraslm.layers.common.above_zero, "Factor.", later=True)
        >>> Scaled(gain=2).to_config(), Scaled().to_config()
        ({'gain': 2}, {})
    """
    return dataclasses.field(
        default=default, metadata={"check": check, "meaning": meaning, "later": later}
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all: values are checked when it is made, and it gives them back as plain data.

    Attributes:
        depends: options that count only beside others: whether they do, and what they need.
    """

    depends: ClassVar[Mapping[str, tuple[Callable[[Mapping[str, Any]], bool], str]]] = {}

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None or field.default is not None:
                self._set(field.name, field.metadata["check"](field.name, value))

        for name in self._useless(self.to_dict()):
            raise ValueError(f"{name}={getattr(self, name)!r} needs {self.depends[name][1]}.")

    @classmethod
    def _useless(cls, given: Mapping[str, Any]) -> list[str]:
        """Options that are given and do not count."""
        defaults = {field.name: field.default for field in dataclasses.fields(cls)}
        values = {**defaults, **given}
        return [
            name
            for name, (counts, _) in cls.depends.items()
            if values[name] != defaults[name] and not counts(values)
        ]

    @classmethod
    def without_useless(
        cls, config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """A stored config without options that do not count: older versions took and kept them.

        Args:
            config: options, among other things.
            defaults: of what the config does not say, where they are not those of the options.
        """
        useless = cls._useless({**(defaults or {}), **config})
        return {name: value for name, value in config.items() if name not in useless}

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    @classmethod
    def field_names(cls) -> tuple[str, ...]:
        """Names of the options."""
        return tuple(field.name for field in dataclasses.fields(cls))

    def to_dict(self) -> dict[str, Any]:
        """Every option by name."""
        return {name: getattr(self, name) for name in self.field_names()}

    def to_config(self) -> dict[str, Any]:
        """What Keras files and bundles store: plain data, without the defaults of later options."""
        config = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata["later"] and value == field.default:
                continue
            is_object = callable(value)  # an initializer or a regularizer
            config[field.name] = keras.saving.serialize_keras_object(value) if is_object else value
        return config

    def part(self, kind: type["AnyOptions"], **changes: Any) -> "AnyOptions":
        """Options of a part: those that it shares with the whole, with some changed."""
        shared = set(kind.field_names()) & set(self.field_names())
        return kind(**{**{name: getattr(self, name) for name in shared}, **changes})

    def replace(self, **changes: Any) -> Self:
        """The same with some options changed."""
        return dataclasses.replace(self, **changes)


AnyOptions = TypeVar("AnyOptions", bound=Options)


def regularizer_data(name: str, value: Any) -> Any:
    """A Keras regularizer as plain data."""
    return keras.regularizers.serialize(regularizer(name, value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape(Options):
    """What all parts of a block have, and a model's config states, too."""

    d_model: int = option(REQUIRED, positive, "Width of input and output.")
    dropout: float = option(0.0, rate, "Share of values dropped in training.")
    use_bias: bool = option(True, flag, "Whether the projections have a bias.")
    kernel_regularizer: Any = option(
        None, regularizer, 'Regularizer of the projections, such as ``"l2"``.'
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Initializers(Options):
    """What layers take and a model sets itself."""

    kernel_initializer: Any = option(
        "glorot_uniform", initializer, "Initializer of the projections."
    )
    output_initializer: Any = option(
        None, initializer,
        "Initializer of the projections that write to the residual; default "
        "``kernel_initializer``.",
    )  # fmt: skip


# === From declarations to layers ===


def documented(cls: type[AnyOptions]) -> type[AnyOptions]:
    """Class decorator: the meanings of the options, as ``Args`` of the docstring."""
    cls.__doc__ = _with_arguments(cls.__doc__, cls)
    return cls


class TakesOptions:
    """Mixin of a layer: its arguments, attributes and config are the fields of its options.

    A class states its ``options_class`` and passes on to this ``__init__`` what its own is given.
    ``inspect`` and ``help`` then show every option as an argument.
    """

    options_class: type[Options]
    _by_place: tuple[str, ...] = ()

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """The options are attributes."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "options_class" not in vars(cls):
            return
        if "__init__" in vars(cls):
            names = inspect.signature(cls.__init__).parameters
            cls._by_place = tuple(n for n in names if n in cls.options_class.field_names())
            init: Any = cls.__init__
            init.__signature__ = _signature(cls)
        cls.__doc__ = _with_arguments(cls.__doc__, cls.options_class, cls._by_place)

    def __init__(self, options: Options | None = None, **arguments: Any) -> None:
        kind, given = self.options_class, {}
        for name in kind.field_names():
            value = arguments.pop(name, None if name in self._by_place else REQUIRED)
            if value is not REQUIRED and (value is not None or name not in self._by_place):
                given[name] = value
        super().__init__(**arguments)
        self.options = self._options(kind, options, given)
        for name, value in self.options.to_dict().items():
            setattr(self, name, value)
        self.supports_masking = True

    def _options(self, kind: type[Options], options: Any, given: dict[str, Any]) -> Options:
        """The options as one value, from one or from arguments."""
        if options is None:
            for field in dataclasses.fields(kind):
                if field.default is REQUIRED and field.name not in given:
                    raise TypeError(f"{field.name} is missing: {type(self).__name__} needs it.")
            return kind(**given)
        if not isinstance(options, kind):
            raise ValueError(
                f"options must be a keraslm.layers.{kind.__name__}; received {options!r}."
            )
        if given:
            raise ValueError(
                f"{next(iter(given))} is given beside options, which has one, too. Write "
                f"options=options.replace({next(iter(given))}=…)."
            )
        return options

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """A layer of what `get_config` gave."""
        config = cls.options_class.without_useless(config)
        return super().from_config(config)  # type: ignore[misc]  # a layer's

    def get_config(self) -> dict[str, Any]:
        """The arguments as plain data."""
        return {**super().get_config(), **self.options.to_config()}  # type: ignore[misc]  # a layer's


def _signature(cls: type[TakesOptions]) -> inspect.Signature:
    """The signature of ``__init__`` with every option spelled out."""
    own = inspect.signature(cls.__init__).parameters
    rest = own["fields"].replace(name="kwargs", annotation=Any)
    options = _parameters(cls.options_class, cls._by_place)
    return inspect.Signature([own["self"], *options, own["options"], rest], return_annotation=None)


def _parameters(kind: type[Options], by_place: tuple[str, ...]) -> list[inspect.Parameter]:
    """Every option as a parameter; those that may be given by place come first."""
    fields = {field.name: field for field in dataclasses.fields(kind)}
    found = []
    for name in (*by_place, *(name for name in fields if name not in by_place)):
        place = inspect.Parameter.POSITIONAL_OR_KEYWORD
        found.append(
            inspect.Parameter(
                name,
                place if name in by_place else inspect.Parameter.KEYWORD_ONLY,
                default=_missing_as(inspect.Parameter.empty, fields[name].default),
                annotation=fields[name].type,
            )
        )
    return found


def _missing_as(value: Any, default: Any) -> Any:
    return value if default is REQUIRED else default


def also_by_place(*names: str) -> Callable[[type[AnyOptions]], type[AnyOptions]]:
    """Class decorator: these options may be given without their names, too, in this order."""

    def decorate(cls: type[AnyOptions]) -> type[AnyOptions]:
        by_name, changed = cls.__init__, cast(Any, cls)

        def init(self: Any, *args: Any, **fields: Any) -> None:
            if len(args) > len(names):
                raise TypeError(f"{cls.__name__} takes {len(names)} arguments by place.")
            by_name(self, **dict(zip(names, args, strict=False)), **fields)

        own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        changed.__init__ = init
        changed.__init__.__signature__ = inspect.Signature(
            [own, *_parameters(cls, names)], return_annotation=None
        )
        return cls

    return decorate


def _with_arguments(
    doc: str | None, kind: type[Options], first: tuple[str, ...] = ()
) -> str | None:
    """A docstring with the options below ``Args:``, before its other sections if it has none."""
    if doc is None:  # python -OO
        return None
    lines = []
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in (*first, *(name for name in fields if name not in first)):
        field = fields[name]
        default = _missing_as(None, field.default)
        shown = "" if default is None else f" Default ``{default!r}``."
        text = f"{field.name}: {field.metadata['meaning']}{shown}"
        lines.append(
            textwrap.fill(
                text, 100, initial_indent=" " * 8, subsequent_indent=" " * 12,
                break_on_hyphens=False, break_long_words=False,
            )
        )  # fmt: skip
    section = "    Args:\n" + "\n".join(lines) + "\n"
    head, found, tail = doc.partition("    Args:\n")
    if found:
        return head + section + tail
    section_after = re.search(r"^    (Raises|Example):$", doc, re.MULTILINE)
    place = section_after.start() if section_after else len(doc)
    return f"{doc[:place].rstrip()}\n\n{section}\n{doc[place:]}"
