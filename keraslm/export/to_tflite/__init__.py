"""Export to a ``.tflite`` file, and its proof."""
