"""AlexNet as a Keras model, with the interface of `keras.applications`."""

import io
import os
import warnings
import zipfile

import h5py
import numpy as np

from alexnet_lib.caffe.description import parse_description
from alexnet_lib.damaged import read_dataset, reading
from alexnet_lib.errors import InputError
from alexnet_lib.files import find_imagenet_weights
from alexnet_lib.port.alexnet_files import imagenet_classes, read_alexnet
from alexnet_lib.port.architecture import (
    CLASSES,
    DROPOUT,
    FC6_SCALE,
    FC_UNITS,
    INPUT_SIZE,
    prototxt,
    weight_layers,
)
from alexnet_lib.port.backend import keras
from alexnet_lib.port.caffe_layers import PaddedPooling2D
from alexnet_lib.port.layouts import load_npz, only_weights
from alexnet_lib.port.model import Network
from alexnet_lib.port.network import build

__all__ = ["LEAST_SIDE", "AlexNet", "decode_predictions", "load_weights"]

#: Side of the smallest image without the top, in pixels.
LEAST_SIDE = 63
# He's initializer, `FC6_SCALE` times as wide: the same draws, times a power of two.
FC6_INITIALIZER = {
    "class_name": "VarianceScaling",
    "config": {"scale": 2 * FC6_SCALE**2, "mode": "fan_in", "distribution": "truncated_normal"},
}


def AlexNet(
    weights=None,
    include_top=True,
    classes=None,
    dropout=DROPOUT,
    fc_units=None,
    classifier_activation="softmax",
    kernel_initializer=None,
    kernel_regularizer=None,
    name="alexnet",
    input_tensor=None,
    input_shape=None,
    pooling=None,
):
    """Build BVLC's two-group AlexNet, with Caffe's layer names: conv1 ... fc8, prob.

    Args:
        weights: None for random weights; "imagenet" for BVLC's official `.caffemodel` in the data
            directory; or a path to a `.caffemodel`, to an `.npz` that `save_npz` or
            `save_classifier` wrote, or to a `.keras` or `.weights.h5` file of Keras. Layers that
            are missing in the file, and fc layers of another size, keep random weights; a warning
            names them. `keras.applications` has this argument second.
        include_top: if False, the model ends at pool5.
        classes: number of outputs of fc8; by default that of the file, else 1,000.
        dropout: rate of drop6 and drop7, at least 0 and less than 1.
        fc_units: number of outputs of fc6 and of fc7, by default those of the file, else 4,096;
            fewer make a smaller head.
        classifier_activation: "softmax", or None for logits.
        kernel_initializer: Keras initializer of all kernels; biases start at 0. By default He's,
            and for fc6 `FC6_SCALE` times that.
        kernel_regularizer: Keras regularizer of all kernels, convolutions and fc.
        name: the model's name.
        input_tensor: Keras tensor (batch, height, width, 3) to build on, such as `keras.Input`'s
            or a preprocessing layer's output.
        input_shape: (height, width, 3). With the top only (227, 227, 3); without, sides from
            `LEAST_SIDE` on, or None for any. Pooling rounds up, as Caffe's does.
        pooling: without the top, "avg" or "max" of pool5 over all positions, (batch, 256); None
            keeps the positions, (batch, 6, 6, 256) at 227.

    Returns:
        A `keras.Model` from float32 (batch, 227, 227, 3), made by `preprocess_input`, to
        probabilities (batch, classes), or to pool5.

    Raises:
        ValueError: for arguments out of range or a file that does not match.
        FileNotFoundError: if the weights are missing; the message says how to get them.
    """
    _check_arguments(weights, include_top, classes, fc_units, dropout, pooling)
    shape = _check_input(include_top, input_tensor, input_shape)
    path, arrays = None, {}
    if weights is not None:
        path = os.fspath(find_imagenet_weights() if weights == "imagenet" else weights)
        arrays = _read_weights(path)
    classes = classes or _outputs_of(arrays, "fc8") or CLASSES
    fc_units = fc_units or _outputs_of(arrays, "fc6") or FC_UNITS
    text = prototxt("fc8" if include_top else "pool5", classes, fc_units=fc_units, dropout=dropout)
    description = parse_description(text)
    description.layer[0].input_param.shape[0].dim[2:] = [side or INPUT_SIZE for side in shape[:2]]
    model = build(
        description,
        kernel_initializer=kernel_initializer or "he_normal",
        kernel_regularizer=kernel_regularizer,
        initializers=None if kernel_initializer else {"fc6": FC6_INITIALIZER},
    )
    inputs, x = model.input, model.output
    if input_tensor is not None or None in shape:
        inputs, x = _rebuild(model, input_tensor, shape)
    if include_top:
        x = keras.layers.Activation(classifier_activation, name="prob")(x)
    elif pooling:
        pool = {"avg": "GlobalAveragePooling2D", "max": "GlobalMaxPooling2D"}[pooling]
        x = getattr(keras.layers, pool)(name=f"{pooling}_pool")(x)
    model = Network(inputs, x, name=name)
    if path:
        _assign(model, path, arrays)
    return model


def _check_arguments(weights, include_top, classes, fc_units, dropout, pooling):
    """Refuse arguments out of range; None stands for a default."""
    if isinstance(weights, bool):
        raise InputError(
            "weights come first here, and include_top second: AlexNet(weights=None, "
            f"include_top={weights}). Received: weights={weights}"
        )
    if weights is not None and not isinstance(weights, str | os.PathLike):
        raise InputError(
            "weights must be None, 'imagenet' or a path to a weights file. "
            f"Received: weights={type(weights).__name__}"
        )
    for name, value in (("classes", classes), ("fc_units", fc_units)):
        integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
        if value is not None and (not integer or value < 1):
            raise InputError(f"{name} must be a positive integer. Received: {name}={value!r}")
    if include_top and weights == "imagenet" and classes not in (None, CLASSES):
        raise InputError(
            f"weights='imagenet' with include_top=True needs classes={CLASSES}; for a fresh head, "
            f"give the path of the file. Received: classes={classes}"
        )
    if not 0 <= dropout < 1:
        raise InputError(f"dropout must be from 0 to below 1. Received: dropout={dropout}")
    if pooling not in (None, "avg", "max"):
        raise InputError(f"pooling must be None, 'avg' or 'max'. Received: pooling={pooling!r}")


def _check_input(include_top, tensor, shape):
    """Return the shape of one image, (height, width, 3); a side is None where any is right."""
    if tensor is not None:
        if not isinstance(tensor, keras.KerasTensor):
            raise InputError(
                "input_tensor must be a Keras tensor, such as keras.Input(shape); to run the "
                f"network on other tensors, call the model. Received: {type(tensor).__name__}"
            )
        if shape is not None and tuple(shape) != tuple(tensor.shape[1:]):
            raise InputError(
                f"input_shape and input_tensor differ. Received: {shape}, {tensor.shape[1:]}"
            )
        shape = tensor.shape[1:]
    standard = (INPUT_SIZE, INPUT_SIZE, 3)
    if shape is None:
        return standard
    sides = tuple(shape)
    if include_top and sides != standard:
        raise InputError(
            f"AlexNet takes {INPUT_SIZE}: with include_top=True, input_shape must be {standard}, "
            "because fc6 has weights for each of pool5's 6x6 positions. Resize the images, as "
            f"preprocess_input does, or take include_top=False. Received: input_shape={shape}"
        )
    good = len(sides) == 3 and sides[2] == 3
    if not good or any(side is not None and side < LEAST_SIDE for side in sides[:2]):
        raise InputError(
            f"input_shape must be (height, width, 3), each side at least {LEAST_SIDE}, or None for "
            f"any. Received: input_shape={shape}"
        )
    return sides


def _outputs_of(arrays, layer):
    """Return how many outputs a layer has in a file, or None."""
    kernel, bias = (arrays.get(f"{layer}/{part}") for part in ("kernel", "bias"))
    if kernel is None or kernel.ndim != 2 or bias is None or bias.shape != kernel.shape[1:]:
        return None  # `_assign` says what is wrong
    return bias.size or None


def _rebuild(model, tensor, shape):
    """Apply the layers of a chain to another input; return that input and the output."""
    inputs = x = keras.Input(shape) if tensor is None else tensor
    for layer in model.layers[1:]:
        if isinstance(layer, keras.layers.MaxPooling2D) and None in shape:
            # One row and column more: the last window is whole there or is not computed.
            layer = PaddedPooling2D("max", [3, 3], [2, 2], [0, 0], [1, 1], name=layer.name)
        else:
            layer = type(layer).from_config(layer.get_config())
        x = layer(x)
    return (inputs if tensor is None else keras.utils.get_source_inputs(tensor)), x


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
    return _assign(model, path, _read_weights(path))


def _assign(model, path, arrays):
    """Give layers the arrays of a file; see `load_weights`."""
    if strangers := {key.split("/")[0] for key in arrays} - set(weight_layers()):
        raise InputError(
            f"{path}: layers that AlexNet does not have: {', '.join(sorted(strangers))}"
        )
    if strange := [name for name, array in arrays.items() if array.dtype.kind != "f"]:
        raise InputError(
            f"{path}: {strange[0]}: expected floating-point numbers, got "
            f"{arrays[strange[0]].dtype}. A quantized model is loaded by keras.saving.load_model"
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
        return only_weights(load_npz(path))
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
