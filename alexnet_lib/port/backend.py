"""Keras for the modules that build on it: `from alexnet_lib.port.backend import keras`.

Keras chooses its backend when it is imported, by $KERAS_BACKEND or keras.json. This library's
layers need TensorFlow, and say so before Keras looks for another backend's package.
"""

import importlib

from alexnet_lib.errors import AlexNetError

__all__ = ["BackendError"]


class BackendError(AlexNetError, ImportError):
    """Keras is set to run on something else than TensorFlow."""


def __getattr__(name):
    if name != "keras":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        keras = importlib.import_module("keras")
    except (ImportError, ValueError) as error:
        if getattr(error, "name", None) == "tensorflow":
            raise
        raise _not_tensorflow(error) from None
    if keras.backend.backend() != "tensorflow":
        raise _not_tensorflow(f"Keras runs on {keras.backend.backend()!r}")
    return keras


def _not_tensorflow(what):
    return BackendError(
        "alexnet_lib needs Keras on TensorFlow: set KERAS_BACKEND=tensorflow before Keras is "
        f'imported, or "backend": "tensorflow" in keras.json. Received: {what}'
    )
