"""A fine-tuned AlexNet in one file, with the names of its classes; the book carries one.

Reading a file's arrays needs no TensorFlow; only a model of Keras does.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from alexnet_lib.errors import InputError
from alexnet_lib.files import UCMERCED_CLASSIFIER, prefix_errors
from alexnet_lib.port.inference import check_weights
from alexnet_lib.port.layouts import model_weights, open_npz, save_npz

if TYPE_CHECKING:
    import keras

__all__ = ["Classifier", "load_classifier", "read_classifier", "save_classifier"]


class Classifier(NamedTuple):
    """A model and what its outputs mean.

    Attributes:
        model: `AlexNet` with its top.
        classes: the names of its classes, in the order of its outputs.
    """

    model: "keras.Model"
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


def read_classifier(path=UCMERCED_CLASSIFIER):
    """Read the arrays of a classifier that `save_classifier` stored, and its classes.

    Args:
        path: of the file; by default that of the classifier that the book carries.

    Returns:
        A dict of float32 arrays in TensorFlow's layout, and the classes' names.

    Raises:
        FileNotFoundError: where there is no such file.
        ValueError: where the file is something else, or its parts disagree.
    """
    with open_npz(path, "a classifier of `finetune`") as file:
        classes = tuple(map(str, file["classes"]))
        weights = {name: file[name] for name in file.files if "/" in name}
    with prefix_errors(path):
        weights = check_weights(weights)
        if len(classes) != (outputs := weights["fc8/bias"].size):
            raise InputError(f"expected {outputs} names of classes, one an output, got {classes}")
    return weights, classes


def load_classifier(path=UCMERCED_CLASSIFIER):
    """Load a classifier as a model of Keras; arguments and errors are those of `read_classifier`.

    Returns:
        `Classifier`; the model computes in float32.
    """
    from alexnet_lib.port.alexnet import AlexNet

    weights, classes = read_classifier(path)
    # Zeros, since all is overwritten: drawing the full head's 54 million numbers takes a second.
    model = AlexNet(
        classes=len(classes), fc_units=weights["fc6/bias"].size, kernel_initializer="zeros"
    )
    for name in dict.fromkeys(key.split("/")[0] for key in weights):
        model.get_layer(name).set_weights([weights[f"{name}/kernel"], weights[f"{name}/bias"]])
    return Classifier(model, classes)
