"""Names of types for annotations, of what a type checker cannot know or shall not import."""

import os
from typing import Any

StrPath = str | os.PathLike[str]

# Any, to a type checker: Keras, TensorFlow and gensim come without types, and are imported late.
Tensor = Any  # of the backend that Keras runs on; symbolic, or a NumPy array, as well
Dataset = Any  # tf.data.Dataset
KeyedVectors = Any  # gensim.models.KeyedVectors
