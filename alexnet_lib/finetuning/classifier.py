"""A fine-tuned AlexNet in one file, with the names of its classes; the book carries one.

Reading a file's arrays needs no TensorFlow; only a model of Keras does.
"""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from alexnet_lib.errors import InputError, MissingFileError
from alexnet_lib.files import UCMERCED_CLASSIFIER, prefix_errors
from alexnet_lib.images.data import check_augmentation
from alexnet_lib.port.inference import check_weights
from alexnet_lib.port.layouts import model_weights, open_npz, save_npz

if TYPE_CHECKING:
    import keras

__all__ = [
    "Classifier",
    "classifier_augmentation",
    "classifier_white",
    "find_classifier",
    "load_classifier",
    "read_classifier",
    "save_classifier",
]


class Classifier(NamedTuple):
    """A model and what its outputs mean.

    Attributes:
        model: `AlexNet` with its top, or of `readout_model`.
        classes: the names of its classes, in the order of its outputs.
    """

    model: "keras.Model"
    classes: tuple[str, ...]


def save_classifier(path, classifier, dtype="float32", augment=None, white=None):
    """Store a classifier as an `.npz` without pickles; whole or not at all.

    Args:
        path: ends in .npz.
        classifier: `Classifier`.
        dtype: "float32", or "float16" for half the size; half precision keeps 11 bits of each
            weight.
        augment: with which it was trained, one of `AUGMENTATIONS`; None where that is unknown.
        white: with which its images were read, as in `read_image`.

    Raises:
        ValueError: where names and outputs differ in number, or a weight is too large for `dtype`.
    """
    weights = model_weights(classifier.model)
    with np.errstate(over="ignore"):  # named below
        weights = {name: array.astype(dtype, copy=False) for name, array in weights.items()}
    if strange := [name for name, array in weights.items() if not np.isfinite(array).all()]:
        raise InputError(f"{strange[0]}: not finite as {dtype}; store the classifier as float32")
    outputs = classifier.model.output.shape[-1]
    if len(classifier.classes) != outputs:
        raise InputError(
            f"expected {outputs} names of classes, one an output. "
            f"Received: {len(classifier.classes)}"
        )
    more = {"classes": np.array(classifier.classes)}
    if "readout/kernel" in weights:
        from alexnet_lib.finetuning.readout_model import sizes_and_views

        sizes, views = map(np.array, sizes_and_views(classifier.model))
        more |= {"readout/sizes": sizes, "readout/views": views}
        augment = "none"  # its views are inside
    if augment is not None:
        more["augment"] = np.array(augment)
    if white is not None:
        more["white"] = np.array(float(white))
    save_npz(path, weights | more)


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
        if "fc8/bias" not in file and "readout/bias" not in file:
            raise KeyError("it lacks 'fc8/bias'")
        if "classes" not in file:
            raise InputError(
                "it has weights, but no array 'classes' with the names of their outputs. Take the "
                "run's classifier.npz; `AlexNet` loads the weights alone"
            )
        classes = tuple(map(str, file["classes"]))
        weights = {name: file[name] for name in file if "/" in name}
    with prefix_errors(path):
        weights = check_weights(weights)
        last = "readout/bias" if "readout/bias" in weights else "fc8/bias"
        if len(classes) != (outputs := weights[last].size):
            raise InputError(f"expected {outputs} names of classes, one an output, got {classes}")
    return weights, classes


def load_classifier(path=UCMERCED_CLASSIFIER):
    """Load a classifier as a model of Keras; arguments and errors are those of `read_classifier`.

    Returns:
        `Classifier`; the model computes in float32.
    """
    from alexnet_lib.finetuning.readout_model import readout_model
    from alexnet_lib.port.alexnet import AlexNet

    weights, classes = read_classifier(path)
    if "readout/kernel" in weights:
        sizes, views = weights.pop("readout/sizes"), weights.pop("readout/views")
        model = readout_model(len(classes), sizes=sizes, views=int(views))
    else:
        # Zeros, since all is overwritten: drawing 54 million numbers takes a second.
        units = weights["fc6/bias"].size
        model = AlexNet(classes=len(classes), fc_units=units, kernel_initializer="zeros")
    for name in dict.fromkeys(key.split("/")[0] for key in weights):
        model.get_layer(name).set_weights([weights[f"{name}/kernel"], weights[f"{name}/bias"]])
    return Classifier(model, classes)


def classifier_augmentation(path=UCMERCED_CLASSIFIER):
    """Return the augmentation that a classifier's file was trained with, one of `AUGMENTATIONS`.

    Files that do not say so are of times when there was none but "aerial".

    Raises:
        FileNotFoundError, ValueError: as `load_classifier`.
    """
    with open_npz(path, "a classifier of `finetune`") as file:
        return check_augmentation(str(file["augment"])) if "augment" in file else "aerial"


def classifier_white(path=UCMERCED_CLASSIFIER):
    """Return the value of white that a classifier's training images were read with, or None.

    Raises:
        FileNotFoundError, ValueError: as `load_classifier`.
    """
    with open_npz(path, "a classifier of `finetune`") as file:
        if "white" not in file:
            return None
        if not (white := float(file["white"])) > 0:
            raise InputError(f"white must be a number above 0, found {white}")
        return white


def find_classifier(path):
    """Return the classifier's file that a path means, and what a user needs to know about it.

    Args:
        path: a file, or a folder that `train_classifier` or `finetune` wrote. Of a run that has not
            ended, the weights of the best epoch so far are taken, of its last stage if that has
            begun.

    Returns:
        The file's `Path`, and a line that says that its run has not ended, or "".

    Raises:
        FileNotFoundError: where the folder has no classifier.
    """
    path = Path(path)
    if path.is_dir():
        names = ("classifier.npz", "best.npz", "stage1/best.npz")
        found = [path / name for name in names if (path / name).exists()]
        if not found:
            raise MissingFileError(
                f"{path}: expected classifier.npz of a run that has ended, or best.npz of one that "
                "has finished an epoch; neither is there. Name the folder that `finetune` wrote"
            )
        path = found[0]
    folder = path.parent
    if folder.name == "epochs":
        folder = folder.parent
    run = folder.parent if folder.name == "stage1" else folder
    if not (folder / "checkpoint.npz").exists() or (run / "classifier.npz").exists():
        return path, ""
    epochs = len((folder / "history.csv").read_text("utf-8").splitlines()) - 1
    stage = "its head's training, the first stage" if run != folder else "training"
    which = "the best one's" if path.name == "best.npz" else f"epoch {path.stem}'s"
    return path, (
        f"{path}: the run has stored no classifier.npz yet. These are {which} weights, after "
        f"{epochs} epochs of {stage}; the same `finetune` command goes on"
    )
