"""Running a SavedModel that takes and gives text, from Python."""

from collections.abc import Iterator, Sequence
from typing import Any

from keraslm._files import checked_path
from keraslm._text import checked_text
from keraslm._types import StrPath
from keraslm.generation.config import GenerationConfig
from keraslm.generation.random import resolve_seed
from keraslm.runtimes.streaming import Piece, cut, with_settings


class SavedTextModel:
    """A generator's SavedModel, written by `keraslm.export.saved_model`, in TensorFlow.

    Args:
        path: the folder.

    Raises:
        FileNotFoundError: no SavedModel there.
        ValueError: it does not load, or does not generate text.

    Example:
        >>> path = keraslm.export.saved_model(lm, "saved_models/mine", verify=False)
        >>> model = SavedTextModel(path)
        >>> continuation = "".join(model.stream("The city of", 20))
    """

    # What else changes the text is fixed when the SavedModel is made.
    supports = frozenset({"temperature", "top_k", "top_p"})

    def __init__(self, path: StrPath) -> None:
        import tensorflow as tf

        path = checked_path(path)
        if not (path / "saved_model.pb").is_file():
            raise FileNotFoundError(
                f"No SavedModel at {path}. Make one with keraslm.export.saved_model."
            )
        try:
            self._model = tf.saved_model.load(str(path))
        except Exception as error:  # TensorFlow has a class for every kind of damage
            raise ValueError(
                f"{path} does not load: {str(error).splitlines()[0]}. Export it again."
            ) from error
        if "generate" not in self._model.signatures:
            raise ValueError(
                f"{path} does not generate text; it has the signatures "
                f"{', '.join(self._model.signatures)}."
            )
        self._generate = self._model.signatures["generate"]

    def stream(
        self,
        text: str,
        max_new_tokens: int | None = None,
        config: GenerationConfig | None = None,
        *,
        stop: str | Sequence[str] = (),
        **settings: Any,
    ) -> Iterator[Piece]:
        """Continue a text; a SavedModel gives all of it at once.

        The same text as in Keras, for the same settings and seed.

        Args:
            text, max_new_tokens, config, stop, settings: as in `keraslm.runtimes.Runtime.stream`;
                ``stop_ids`` are those of the file; others are refused.
        """
        import tensorflow as tf

        checked_text(text)
        config = with_settings(
            GenerationConfig() if config is None else config,
            max_new_tokens, settings, self.supports, "A SavedModel", self._stop_ids,
        )  # fmt: skip
        temperature = 1.0 if config.temperature is None else config.temperature
        values = {
            "max_new_tokens": min(config.max_new_tokens, 2**31 - 1),
            "temperature": float(temperature if config.is_sampled else 0.0),
            "top_k": min(config.top_k or 0, 2**31 - 1),
            "top_p": float(config.top_p or 1.0),
            "seed": resolve_seed(config.seed),
        }
        found = self._generate(
            text=tf.constant([text]), **{k: tf.constant(v) for k, v in values.items()}
        )
        whole = found["text"][0].numpy().decode("utf-8", "replace")
        return cut([whole[len(text) :]], stop)

    def _stop_ids(self):
        """Ids of the stop tokens, which are constants of the graph; -1 stands for none."""
        import tensorflow as tf

        found: set[int] = set()
        for function in self._generate.graph.as_graph_def().library.function:
            for node in function.node_def:
                if node.op == "Const" and node.name.split("/")[0] == "stop_ids":
                    found.update(tf.make_ndarray(node.attr["value"].tensor).ravel().tolist())
        return found - {-1}
