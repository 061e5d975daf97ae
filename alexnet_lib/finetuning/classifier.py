"""A fine-tuned AlexNet in one file, with the names of its classes; the book carries one."""

import warnings
from typing import NamedTuple

import keras
import numpy as np

from alexnet_lib.errors import InputError
from alexnet_lib.files import UCMERCED_CLASSIFIER
from alexnet_lib.port.alexnet import AlexNet, load_weights
from alexnet_lib.port.layouts import model_weights, open_npz, save_npz

__all__ = ["Classifier", "load_classifier", "save_classifier"]


class Classifier(NamedTuple):
    """A model and what its outputs mean.

    Attributes:
        model: `AlexNet` with its top.
        classes: the names of its classes, in the order of its outputs.
    """

    model: keras.Model
    classes: tuple[str, ...]


def save_classifier(path, classifier, dtype="float32"):
    """Store a classifier as an `.npz` without pickles; whole or not at all.

    Args:
        path: ends in .npz.
        classifier: `Classifier`.
        dtype: "float32", or "float16" for half the size; half precision keeps 11 bits of each
            weight.

    Raises:
        ValueError: where names and outputs differ in number, or a weight is too large for `dtype`.
    """
    weights = model_weights(classifier.model)
    with np.errstate(over="ignore"):  # named below
        weights = {name: array.astype(dtype) for name, array in weights.items()}
    if strange := [name for name, array in weights.items() if not np.isfinite(array).all()]:
        raise InputError(f"{strange[0]}: not finite as {dtype}; store the classifier as float32")
    outputs = classifier.model.get_layer("fc8").units
    if len(classifier.classes) != outputs:
        raise InputError(
            f"expected {outputs} names of classes, one an output. "
            f"Received: {len(classifier.classes)}"
        )
    save_npz(path, weights | {"classes": np.array(classifier.classes)})


def load_classifier(path=UCMERCED_CLASSIFIER):
    """Load a classifier that `save_classifier` stored; by default the one that the book carries.

    Args:
        path: of the file.

    Returns:
        `Classifier`; the model computes in float32.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is something else, or its parts disagree.
    """
    with open_npz(path, "a classifier of `finetune`") as file:
        classes, fc_units = tuple(map(str, file["classes"])), file["fc6/bias"].size
    # Zeros, since all is overwritten: drawing the full head's 54 million numbers takes a second.
    model = AlexNet(classes=len(classes), fc_units=fc_units, kernel_initializer="zeros")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # said below, as an error
        lacking = load_weights(model, path)
    if lacking:
        raise InputError(f"{path}: expected weights of all layers, lacks {', '.join(lacking)}")
    return Classifier(model, classes)
