"""Generating text: a decoder with its tokenizer."""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from keraslm._text import checked_count, checked_list, checked_text, checked_texts, is_whole
from keraslm._types import StrPath
from keraslm.generation.config import GenerationConfig, checked_config, stated_length
from keraslm.generation.generator import Generated, Generator
from keraslm.tasks import bundle
from keraslm.tokenizers.stream import TextStream, continuation

if TYPE_CHECKING:
    from keraslm.training.evaluation import Evaluation
    from keraslm.training.recipe import Recipe


class Score(NamedTuple):
    """How likely a model finds a text: natural log-probability of each token but the first.

    Example:
        >>> score = lm.score("The city of London")
        >>> len(score.tokens) == len(score.log_probs), score.perplexity > 1
        (True, True)
    """

    tokens: list[str]
    log_probs: list[float]

    @property
    def total(self) -> float:
        """Log-probability of the whole text."""
        return sum(self.log_probs)

    @property
    def perplexity(self) -> float:
        """The exponential of the mean negative log-probability."""
        return math.exp(-self.total / len(self.log_probs))


class TextGenerator:
    """A language model that takes and gives text.

    Args:
        model: a `keraslm.models.GPT`, or another model with ``init_cache`` and ``step``.
        tokenizer: a `keraslm.tokenizers.Tokenizer`; ``None``, and only ``.model`` and
            ``.generator`` work.
        generation_config: default settings of `generate`; default, greedy, up to one of the
            tokenizer's ``eos_ids``.
        jit_compile: compile generation with XLA; see `keraslm.generation.Generator`.
        stated: settings that the ``generation_config.json`` of a Hugging Face folder states, as
            it spells them; given back by `save_huggingface`.

    Attributes:
        sample: some of the text that `fit` was given, at most 4,000 characters, on which exports
            are judged; the bundle keeps it. ``None``: there is none; set it so before `save` where
            the bundle must not hold any of the text.

    Example:
        >>> lm = keraslm.tasks.TextGenerator(gpt, tokenizer)
        >>> text = lm.generate("The AI language model is", max_new_tokens=20)
        >>> folder = lm.save("saved_models/mine")
    """

    heads = ("lm",)
    sample: list[str] | None = None
    example = 'lm.generate("Once upon a time", max_new_tokens=40)'  # on a model card

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        generation_config: GenerationConfig | None = None,
        *,
        jit_compile: bool = False,
        stated: Mapping[str, Any] | None = None,
    ) -> None:
        self.generator = Generator(model, jit_compile=jit_compile)
        if tokenizer is not None and tokenizer.vocab_size > model.vocab_size:
            raise ValueError(
                f"The tokenizer has {tokenizer.vocab_size} tokens, the model "
                f"{model.vocab_size}. Build the model with vocab_size=tokenizer.vocab_size."
            )
        self.model = model
        self.tokenizer = tokenizer
        if generation_config is None:
            stop = () if tokenizer is None else tokenizer.eos_ids
            generation_config = GenerationConfig(stop_ids=stop)
        self.generation_config = checked_config(generation_config, "generation_config")
        self.stated = dict(stated or {})

    # === Generating ===

    def generate(
        self,
        text: str | Sequence[str],
        *,
        max_new_tokens: int | None = None,
        max_length: int | None = None,
        num_return_sequences: int = 1,
        stop: str | Sequence[str] = (),
        return_log_probs: bool = False,
        allow_control_tokens: bool = True,
        **settings: Any,
    ) -> Any:
        """Continue a text, or several.

        Args:
            text: the prompt, or a list of prompts. An empty one starts a new text.
            max_new_tokens: at most so many new tokens (default 50).
            max_length: prompt and continuation together, in tokens, as in Hugging Face.
            num_return_sequences: continuations of each prompt. More than one needs sampling;
                without a sampling setting, ``temperature=1`` is switched on, with a warning.
            stop: a string or strings at which to stop; they are not part of the result.
            return_log_probs: give `Generated` (ids, log-probabilities) instead of text.
            allow_control_tokens: whether ``<|endoftext|>`` and the like in a prompt are tokens;
                ``False`` for prompts that others wrote.
            settings: fields of `GenerationConfig`: ``temperature``, ``top_k``, ``top_p``,
                ``min_p``, ``repetition_penalty``, ``seed``, ``stop_ids``.

        Returns:
            prompt and continuation as text, a str for a str; a list for a list of prompts or
            ``num_return_sequences > 1``, the continuations of a prompt side by side.

        Raises:
            ValueError: a prompt that fills the context, or a setting out of range or no setting.
        """
        prompts = checked_texts(text)
        ids = self.prompt_ids(prompts, allow_control_tokens=allow_control_tokens)
        config = self._config(ids, max_new_tokens, max_length, settings)
        num_return_sequences = checked_count(num_return_sequences, "num_return_sequences")
        if num_return_sequences > 1 and not config.is_sampled:
            warnings.warn(
                "num_return_sequences > 1 without sampling would repeat one text: sampling with "
                "temperature=1. Set temperature, top_k or top_p to choose.",
                stacklevel=2,
            )
            config = config.replace(temperature=1.0)
        prompts = [p for p in prompts for _ in range(num_return_sequences)]
        rows = [p for p in ids for _ in range(num_return_sequences)]
        if stop:
            results = self._until(stop, prompts, rows, config)
        else:
            results = self.generator.generate(ids, config, num_return_sequences)
        if not return_log_probs:
            results = [
                p + continuation(self.tokenizer, before, r.ids, stop=stop, prompt=p)
                for p, before, r in zip(prompts, rows, results, strict=True)
            ]
        single = isinstance(text, str) and num_return_sequences == 1
        return results[0] if single else results

    def _until(self, stop, prompts, ids, config):
        """Generate until every row has ended or holds a stop string."""
        rows: list[Generated] = [Generated([], []) for _ in ids]
        texts = [
            TextStream(self.tokenizer, before, stop, prompt=prompt)
            for before, prompt in zip(ids, prompts, strict=True)
        ]
        open_rows = set(range(len(ids)))
        for tokens in self.generator.stream(ids, config):
            for i in sorted(open_rows):
                drawn = tokens[i]
                if drawn is None:
                    open_rows.discard(i)
                    continue
                rows[i].ids.append(drawn[0])
                rows[i].log_probs.append(drawn[1])
                texts[i].add(drawn[0])
                if texts[i].stopped:
                    open_rows.discard(i)
            if not open_rows:
                break
        return rows

    def stream(
        self,
        text: str,
        *,
        max_new_tokens: int | None = None,
        max_length: int | None = None,
        stop: str | Sequence[str] = (),
        allow_control_tokens: bool = True,
        **settings: Any,
    ) -> Iterator[str]:
        """Continue a text, giving each piece as soon as it is there.

        Takes what `generate` takes; joined, the pieces are the same continuation.

        Yields:
            text; a piece waits until its characters are whole.
        """
        ids = self.prompt_ids([checked_text(text)], allow_control_tokens=allow_control_tokens)
        config = self._config(ids, max_new_tokens, max_length, settings)
        pieces = TextStream(self.tokenizer, ids[0], stop, prompt=text)
        return self._stream(ids, config, pieces)

    def _stream(self, ids, config, pieces):
        for (drawn,) in self.generator.stream(ids, config):
            if drawn is not None and (piece := pieces.add(drawn[0])):
                yield piece
            if pieces.stopped:
                return
        if piece := pieces.close():
            yield piece

    # === Scoring ===

    def score(self, text: str, *, allow_control_tokens: bool = True) -> Score:
        """How likely the model finds a text of two tokens or more.

        The tokens are those of a prompt, of which the first has no probability. With a tokenizer
        that keraslm made, the token that starts texts is put before them.

        Args:
            text: what to score.
            allow_control_tokens: as in `generate`.

        Raises:
            ValueError: fewer than two tokens, or more than the context.
        """
        ids = self.prompt_ids([text], allow_control_tokens=allow_control_tokens)[0]
        start = None if self.tokenizer.roles.prompt == "whole" else self.tokenizer.bos_id
        if start is not None and ids[0] != start:
            ids = [start, *ids]
        log_probs = self.generator.score([ids])[0]
        return Score([self.tokenizer.id_to_token(i) for i in ids[1:]], log_probs)

    def evaluate(
        self, texts: Iterable[str], *, length: int | None = None, batch_size: int = 8
    ) -> "Evaluation":
        """Token-weighted loss, perplexity and bits per byte on texts.

        Args:
            texts: documents.
            length: tokens of a row; default the model's ``max_length``, less for short texts.
            batch_size: rows at a time.

        Returns:
            a `keraslm.training.Evaluation`.
        """
        from keraslm.data.packing import encode_documents, pack
        from keraslm.training.evaluation import evaluate

        bundle.check_tokenizer(self)
        if length is not None and not is_whole(length, 1):
            raise ValueError(f"length must be a whole number, at least 1; received {length!r}.")
        stream = encode_documents(texts, self.tokenizer)
        length = min(length or self.model.max_length, max(1, stream.num_tokens - 1))
        rows = pack(stream, length=length).dataset(batch_size, shuffle=False)
        return evaluate(self.model, rows, stream.bytes_per_token)

    # === Training ===

    @property
    def recipe(self) -> "Recipe | None":
        """How `fit` trained the model last, here or before it was saved; ``None``: it did not."""
        return getattr(self.model, "recipe", None)

    def fit(
        self,
        texts: Any,
        *,
        validation: Any = None,
        recipe: "Recipe | None" = None,
        batch_size: int | None = None,
        length: int | None = None,
        epochs: int | None = None,
        learning_rate: float | None = None,
        seed: int | None = None,
        jit_compile: bool | str | None = None,
        rescue: StrPath | None = "auto",
        **arguments: Any,
    ) -> Any:
        """Train the model: encode, pack, ``compile`` (where needed), ``fit``.

        The end of the ``validation`` texts, else of ``texts``, becomes the `sample`.

        A first ``fit`` compiles with the recipe's optimizer. A later one goes on with that
        optimizer, its state and where it stands in its schedule, as in Keras, unless it is given
        a ``recipe`` or a field of the optimizer: then the optimizer and its schedule are new.

        Args:
            texts: documents, or rows packed already (`keraslm.data.PackedTokens`).
            validation: likewise, to validate on after each epoch; Keras' ``validation_data`` and
                ``validation_split``, the share of the texts to hold out, are taken too.
            recipe: a `keraslm.training.Recipe`; default, one without arguments.
            batch_size, length, epochs, learning_rate, seed: fields of the recipe, instead of its
                own.
            jit_compile: as in ``keras.Model.compile``; default, as the model is compiled.
            rescue: folder in which the model is saved as it is if an error, Ctrl-C or SIGTERM
                ends the training; ``"auto"``: a new folder ``interrupted-DATE-TIME``, but none
                where Python is typed line by line; ``None``: none.
            arguments: other fields of the recipe, such as ``weight_decay``; the rest is passed on
                to ``model.fit``, such as ``callbacks``.

        Returns:
            the Keras ``History``.

        Raises:
            ValueError: too little text, rows of another vocabulary or too long for the model, no
                recipe, or a loss that became NaN.
        """
        from keraslm.tasks.fitting import fit

        named = {"batch_size": batch_size, "length": length, "epochs": epochs,
                 "learning_rate": learning_rate, "seed": seed}  # fmt: skip
        fields = {name: value for name, value in named.items() if value is not None}
        return fit(self, texts, validation, recipe, fields, jit_compile, rescue, arguments)

    # === Saving ===

    @property
    def settings(self) -> dict:
        """What the bundle keeps beside model, tokenizer and generation settings."""
        return {"stated": self.stated} if self.stated else {}

    @classmethod
    def stated_settings(cls, folder: Path, config: dict[str, Any], model: Any) -> dict:
        """The settings that a Hugging Face folder states; see `Task.stated_settings`."""
        from keraslm.interop.generation_files import generation_config_of, stated_generation

        return {
            "generation_config": generation_config_of(folder, config),
            "stated": stated_generation(folder, config),
        }

    def save_huggingface(self, folder: StrPath) -> Path:
        """Write a folder that `transformers` loads; see `keraslm.interop.save_huggingface`."""
        from keraslm.interop.huggingface import save_huggingface

        return save_huggingface(
            self.model,
            folder,
            tokenizer=self.tokenizer,
            generation_config=self.generation_config,
            stated=self.stated,
        )

    def save(self, folder: StrPath, card: str | None = None) -> Path:
        """Write a bundle that `keraslm.from_pretrained` reads; see `keraslm.tasks.bundle`."""
        return bundle.write(self, folder, card)

    def get_config(self) -> dict:
        """Settings beside model and tokenizer; Keras registers only classes that have this."""
        return self.generation_config.to_dict()

    # === Inside ===

    def prompt_ids(
        self, texts: Sequence[str], *, allow_control_tokens: bool = True
    ) -> list[list[int]]:
        """Ids of prompts, as the model gets them; see `keraslm.tokenizers.Tokenizer.prompt_ids`.

        For a Hugging Face folder they are ``AutoTokenizer.from_pretrained(folder)(text)``.

        Args:
            texts: prompts.
            allow_control_tokens: as in `generate`.

        Raises:
            ValueError: no prompt, or one without any token.
        """
        texts = checked_list(texts)
        if not texts:
            raise ValueError("There is no prompt: give a text or a list of texts.")
        bundle.check_tokenizer(self)
        return [
            self.tokenizer.prompt_ids(text, allow_control_tokens=allow_control_tokens)
            for text in texts
        ]

    _prompt_ids = prompt_ids

    def _config(self, prompts, max_new_tokens, max_length, settings):
        if max_new_tokens is not None and max_length is not None:
            raise ValueError("Give max_new_tokens or max_length, not both.")
        stated = stated_length(self.generation_config, self.stated)
        if stated and max_new_tokens is None and max_length is None:
            max_length = max(stated, 1 + max(len(ids) for ids in prompts))  # it bounds no prompt
        if max_length is not None:
            longest = max(len(ids) for ids in prompts)
            max_new_tokens = checked_count(max_length, "max_length") - longest
            if max_new_tokens < 1:
                raise ValueError(
                    f"max_length={max_length} counts the prompt, which has {longest} tokens. "
                    "Use a larger max_length, or max_new_tokens."
                )
        if max_new_tokens is not None:
            settings["max_new_tokens"] = max_new_tokens
        config = self.generation_config.replace(**settings)
        if "stop_ids" in settings and max(config.stop_ids, default=0) >= self.model.vocab_size:
            raise ValueError(
                f"stop_ids must be from 0 to {self.model.vocab_size - 1}; received "
                f"{max(config.stop_ids)}."
            )
        return config
