"""From a trained model to what phones, browsers and servers run, with proof that it is equal."""

import keras  # noqa: F401  (first: see keraslm/_registration.py)

from keraslm.export.runner import LiteRTEncoder, LiteRTModel
from keraslm.export.to_litertlm import litertlm
from keraslm.export.to_mediapipe import mediapipe
from keraslm.export.to_saved_model import saved_model
from keraslm.export.to_tflite import tflite
from keraslm.export.to_web import web
from keraslm.export.verification import Verification, verify
from keraslm.export.verify_litertlm import LiteRTLM

__all__ = [
    "LiteRTEncoder",
    "LiteRTLM",
    "LiteRTModel",
    "Verification",
    "litertlm",
    "mediapipe",
    "saved_model",
    "tflite",
    "verify",
    "web",
]
