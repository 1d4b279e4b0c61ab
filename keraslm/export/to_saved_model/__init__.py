"""Export to a TensorFlow SavedModel that takes and gives strings, and its proof."""
