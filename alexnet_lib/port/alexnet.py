"""AlexNet as a Keras model, with the interface of `keras.applications`."""

import io
import os
import warnings
import zipfile

import h5py
import keras
import numpy as np

from alexnet_lib.caffe.description import parse_description
from alexnet_lib.damaged import read_dataset, reading
from alexnet_lib.errors import InputError
from alexnet_lib.files import find_imagenet_weights
from alexnet_lib.port.alexnet_files import imagenet_classes, read_alexnet
from alexnet_lib.port.architecture import (
    CLASSES,
    DROPOUT,
    FC_UNITS,
    prototxt,
    weight_layers,
)
from alexnet_lib.port.layouts import load_npz
from alexnet_lib.port.network import build

__all__ = ["AlexNet", "decode_predictions", "load_weights"]


def AlexNet(
    weights=None,
    include_top=True,
    classes=CLASSES,
    dropout=DROPOUT,
    fc_units=FC_UNITS,
    classifier_activation="softmax",
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    name="alexnet",
):
    """Build BVLC's two-group AlexNet, with Caffe's layer names: conv1 ... fc8, prob.

    Args:
        weights: None for random weights; "imagenet" for BVLC's official `.caffemodel` in the data
            directory; or a path to a `.caffemodel`, to an `.npz` that `save_npz` wrote, or to a
            `.keras` or `.weights.h5` file of Keras. Layers that are missing in the file, and fc
            layers of another size, keep random weights; a warning names them.
        include_top: if False, the model ends at pool5, (6, 6, 256).
        classes: number of outputs of fc8.
        dropout: rate of drop6 and drop7, at least 0 and less than 1.
        fc_units: number of outputs of fc6 and of fc7; fewer make a smaller head.
        classifier_activation: "softmax", or None for logits.
        kernel_initializer: Keras initializer of all kernels; biases start at 0.
        kernel_regularizer: Keras regularizer of all kernels, convolutions and fc.
        name: the model's name.

    Returns:
        A `keras.Model` from float32 (batch, 227, 227, 3), made by `preprocess_input`, to
        probabilities (batch, classes), or to pool5.

    Raises:
        ValueError: for arguments out of range or a file that does not match.
        FileNotFoundError: if the weights are missing; the message says how to get them.
    """
    for name_, value in (("classes", classes), ("fc_units", fc_units)):
        if not isinstance(value, int) or value < 1:
            raise InputError(f"{name_} must be a positive integer. Received: {name_}={value!r}")
    if not 0 <= dropout < 1:
        raise InputError(f"dropout must be from 0 to below 1. Received: dropout={dropout}")
    if weights is not None and not isinstance(weights, str | os.PathLike):
        raise InputError(
            "weights must be None, 'imagenet' or a path to a weights file. "
            f"Received: weights={type(weights).__name__}"
        )

    text = prototxt("fc8" if include_top else "pool5", classes, fc_units=fc_units, dropout=dropout)
    model = build(
        parse_description(text),
        kernel_initializer=kernel_initializer,
        kernel_regularizer=kernel_regularizer,
        name=name,
    )
    if include_top:
        prob = keras.layers.Activation(classifier_activation, name="prob")(model.output)
        model = keras.Model(model.input, prob, name=name)
    if weights is not None:
        load_weights(model, find_imagenet_weights() if weights == "imagenet" else weights)
    return model


def load_weights(model, path):
    """Load weights from a file into the layers with the same names.

    Args:
        model: a model of `AlexNet`.
        path: a `.caffemodel`, `.npz`, `.keras` or `.weights.h5`.

    Returns:
        The names of the layers that keep their previous weights because they are missing in the
        file, or are fc layers of another size. A warning names them too.

    Raises:
        ValueError: if the file has no layer of this model, has layers that AlexNet does not have,
            or has an array of another shape; the model is left unchanged.
        OSError: if the file cannot be read.
    """
    path = os.fspath(path)
    arrays = _read_weights(path)
    if strangers := {key.split("/")[0] for key in arrays} - set(weight_layers()):
        raise InputError(
            f"{path}: layers that AlexNet does not have: {', '.join(sorted(strangers))}"
        )
    ready, fresh = [], {}
    for layer in model.layers:
        if not layer.weights:
            continue
        found = [arrays.get(f"{layer.name}/{part}") for part in ("kernel", "bias")]
        expected = [tuple(weight.shape) for weight in layer.weights]
        got = [None if array is None else array.shape for array in found]
        if got == [None, None]:
            fresh[layer.name] = "not in the file"
        elif got == expected:
            ready.append((layer, found))
        elif _is_fc_of_another_size(layer.name, got, expected, fresh):
            what = "classes" if layer.name == "fc8" else "units"
            fresh[layer.name] = f"{got[0][1]} {what} in the file, {expected[0][1]} in the model"
        else:
            raise InputError(
                f"{path}: layer {layer.name!r}: expected kernel and bias of {expected}, got {got}"
            )
    if not ready:
        raise InputError(f"{path}: expected weights of AlexNet, found none of the model's layers")
    for layer, found in ready:
        layer.set_weights(found)
    if fresh:
        reasons = ", ".join(f"{name} ({why})" for name, why in fresh.items())
        warnings.warn(f"{path}: these layers start fresh: {reasons}", stacklevel=3)
    return list(fresh)


def _is_fc_of_another_size(name, got, expected, fresh):
    """Return whether an fc layer is well-formed and differs only in its units or its inputs."""
    kernel, bias = got
    return (
        name in ("fc6", "fc7", "fc8")
        and kernel is not None
        and len(kernel) == 2
        and bias == kernel[1:]
        and (kernel[0] == expected[0][0] or bool({"fc6", "fc7"} & set(fresh)))
    )


def _read_weights(path):
    """Read a weights file of any supported format, in TensorFlow's layout."""
    if path.endswith(".caffemodel"):
        return read_alexnet(path)
    if path.endswith(".npz"):
        arrays = load_npz(path)
        about = ("classes", "augment", "white")
        return {name: array for name, array in arrays.items() if name not in about}
    if path.endswith(".weights.h5"):
        with reading(path, "weights saved by Keras"):
            return _read_keras_weights(path)
    if path.endswith(".keras"):
        with reading(path, "a model saved by Keras"), zipfile.ZipFile(path) as archive:
            return _read_keras_weights(io.BytesIO(archive.read("model.weights.h5")))
    raise InputError(
        "weights must be 'imagenet' or a path that ends in .caffemodel, .npz, .keras or "
        f".weights.h5. Received: {path!r}"
    )


def _read_keras_weights(file):
    """Read the arrays from Keras 3's HDF5 layout without running code from the file."""
    arrays = {}

    def visit(_, group):
        layer = group.attrs.get("name")
        if isinstance(group, h5py.Group) and layer is not None and "0" in group:
            for part, index in (("kernel", "0"), ("bias", "1")):
                if f"{layer}/{part}" in arrays:
                    raise InputError(f"expected every layer once, found {layer!r} twice")
                arrays[f"{layer}/{part}"] = read_dataset(group[index])

    with h5py.File(file) as opened:
        opened["layers"].visititems(visit)
    return arrays


def decode_predictions(preds, top=5):
    """Return the most probable ImageNet classes of each image.

    Args:
        preds: array (batch, 1000) of probabilities, in Caffe's class order.
        top: number of classes for each image.

    Returns:
        For each image, a list of `top` tuples (WordNet id, first name, probability), best first.

    Raises:
        ValueError: for another shape, such as that of a head with other classes.
    """
    preds = np.asarray(preds)
    if preds.ndim != 2 or preds.shape[1] != CLASSES:
        raise InputError(
            f"expected predictions of (batch, {CLASSES}), ImageNet's classes. "
            f"Received: shape={preds.shape}"
        )
    classes = imagenet_classes()
    best = np.argsort(-preds, axis=1, kind="stable")[:, :top]
    return [
        [(classes[i][0], classes[i][1].split(",")[0], float(row[i])) for i in indices]
        for row, indices in zip(preds, best, strict=True)
    ]
