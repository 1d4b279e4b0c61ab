"""From a trained model to what phones, browsers and servers run, with proof that it is equal."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.export.targets import TARGETS, Target, verify
from keraslm.export.to_litertlm.exporter import litertlm
from keraslm.export.to_mediapipe.exporter import mediapipe
from keraslm.export.to_saved_model.exporter import saved_model
from keraslm.export.to_tflite.exporter import tflite
from keraslm.export.to_web.exporter import web
from keraslm.export.verification import Verification
from keraslm.runtimes import LiteRTEncoder, LiteRTLM, LiteRTModel

__all__ = [
    "TARGETS",
    "LiteRTEncoder",
    "LiteRTLM",
    "LiteRTModel",
    "Target",
    "Verification",
    "litertlm",
    "mediapipe",
    "saved_model",
    "tflite",
    "verify",
    "web",
]
