"""The targets of export, one row each: what a target is called in a bundle.

The code of a target is the folder ``keraslm/export/to_NAME``, whose ``export``, ``verify`` and
``is_at`` `keraslm.export.TARGETS` takes. Here are only the names, so that the command line and
bundles know them without importing TensorFlow.
"""

# Target → its file or folder in a bundle. Of a path that fits several, the first is taken.
TARGETS = {
    "mediapipe": "mediapipe.tflite",
    "tflite": "model.tflite",
    "litertlm": "model.litertlm",
    "saved_model": "saved_model",
    "web": "web",
}
# What `keraslm.export.mediapipe` calls its file in a folder, by what it is.
MEDIAPIPE_FILES = {"classifier": "classifier.tflite", "embedder": "embedder.tflite"}
