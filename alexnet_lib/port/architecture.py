"""AlexNet as a table, from which the model, its figures and the proofs are derived.

The network is BVLC's two-group AlexNet, as trained with Caffe (Krizhevsky et al., 2012; Jia et
al., 2014). This module does not need TensorFlow.
"""

import math
from typing import NamedTuple

from alexnet_lib.errors import InputError

__all__ = [
    "CLASSES",
    "DROPOUT",
    "FC6_SCALE",
    "FC_UNITS",
    "INPUT_SIZE",
    "LAYERS",
    "LRN",
    "Layer",
    "LayerSummary",
    "describe",
    "prototxt",
    "weight_layers",
]

#: Side of the square input image, in pixels.
INPUT_SIZE = 227
#: Number of ImageNet's classes.
CLASSES = 1000
#: Number of outputs of fc6 and of fc7.
FC_UNITS = 4096

#: Caffe's `lrn_param`, in Caffe's convention, which divides alpha by local_size.
LRN = {"local_size": 5, "alpha": 1e-4, "beta": 0.75, "k": 1.0}
#: How much smaller fc6's fresh weights are than He's, which suit inputs of about 1: pool5's reach
#: 200. Larger ones give logits so large that training begins by undoing them, or ends in NaN.
FC6_SCALE = 1 / 32
#: Rate of drop6 and drop7.
DROPOUT = 0.5


class Layer(NamedTuple):
    """One layer in Caffe's terms; `type` is Caffe's name for this kind of layer."""

    name: str
    type: str
    outputs: int = 0
    kernel: int = 1
    stride: int = 1
    pad: int = 0
    groups: int = 1


#: The 23 layers of AlexNet in order: for each its name, its Caffe type and its hyperparameters. All
#: shapes, counts and pictures follow from this table.
LAYERS = (
    Layer("conv1", "Convolution", outputs=96, kernel=11, stride=4),
    Layer("relu1", "ReLU"),
    Layer("norm1", "LRN"),
    Layer("pool1", "Pooling", kernel=3, stride=2),
    Layer("conv2", "Convolution", outputs=256, kernel=5, pad=2, groups=2),
    Layer("relu2", "ReLU"),
    Layer("norm2", "LRN"),
    Layer("pool2", "Pooling", kernel=3, stride=2),
    Layer("conv3", "Convolution", outputs=384, kernel=3, pad=1),
    Layer("relu3", "ReLU"),
    Layer("conv4", "Convolution", outputs=384, kernel=3, pad=1, groups=2),
    Layer("relu4", "ReLU"),
    Layer("conv5", "Convolution", outputs=256, kernel=3, pad=1, groups=2),
    Layer("relu5", "ReLU"),
    Layer("pool5", "Pooling", kernel=3, stride=2),
    Layer("fc6", "InnerProduct", outputs=FC_UNITS),
    Layer("relu6", "ReLU"),
    Layer("drop6", "Dropout"),
    Layer("fc7", "InnerProduct", outputs=FC_UNITS),
    Layer("relu7", "ReLU"),
    Layer("drop7", "Dropout"),
    Layer("fc8", "InnerProduct", outputs=CLASSES),
    Layer("prob", "Softmax"),
)


class LayerSummary(NamedTuple):
    """One layer with its shapes, counts and receptive field.

    `output_shape` is (height, width, channels), or (units,) from fc6 on. `kernel_shape` is in
    TensorFlow's layout, HWIO or (inputs, outputs), and empty for a layer without parameters.
    `macs` counts multiply-accumulates for one image. `receptive_field` and `jump` are in pixels of
    the input: the side of the window that one output sees, and the distance between the windows
    of adjacent outputs.
    """

    layer: Layer
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    kernel_shape: tuple[int, ...]
    parameters: int
    macs: int
    receptive_field: int
    jump: int


def describe(classes=CLASSES, input_size=INPUT_SIZE, fc_units=FC_UNITS):
    """Derive shapes, parameters, MACs and receptive fields of every layer.

    Args:
        classes: number of outputs of fc8.
        input_size: side of the square input image, in pixels.
        fc_units: number of outputs of fc6 and of fc7.

    Returns:
        A list of `LayerSummary`, one for each layer, in the order of `LAYERS`.

    Raises:
        ValueError: if `input_size` is too small for a layer's window.
    """
    shape, field, jump = (input_size, input_size, 3), 1, 1
    rows = []
    heads = {"fc6": fc_units, "fc7": fc_units, "fc8": classes}
    for layer in LAYERS:
        layer = layer._replace(outputs=heads.get(layer.name, layer.outputs))
        given, kernel_shape, positions = shape, (), 1
        if layer.type in ("Convolution", "Pooling"):
            side = (shape[0] + 2 * layer.pad - layer.kernel) // layer.stride + 1
            if side < 1:
                raise InputError(
                    f"{layer.name}: its {layer.kernel}x{layer.kernel} window does not fit into "
                    f"{shape[0]}x{shape[1]}; use a larger input. Received: input_size={input_size}"
                )
            shape, positions = (side, side, layer.outputs or shape[2]), side * side
            field += (layer.kernel - 1) * jump
            jump *= layer.stride
        if layer.type == "Convolution":
            inputs = given[2] // layer.groups
            kernel_shape = (layer.kernel, layer.kernel, inputs, layer.outputs)
        elif layer.type == "InnerProduct":
            shape, kernel_shape = (layer.outputs,), (math.prod(given), layer.outputs)
            if len(given) == 3:  # fc6 sees every position of pool5
                field += (given[0] - 1) * jump
        weights = math.prod(kernel_shape) if kernel_shape else 0
        rows.append(
            LayerSummary(
                layer,
                input_shape=given,
                output_shape=shape,
                kernel_shape=kernel_shape,
                parameters=weights + layer.outputs,
                macs=positions * weights,
                receptive_field=field,
                jump=jump,
            )
        )
    return rows


def weight_layers(classes=CLASSES):
    """Return the `LayerSummary` of the eight layers that have parameters, by name."""
    return {row.layer.name: row for row in describe(classes) if row.kernel_shape}


def prototxt(last="prob", classes=CLASSES, batch=1, fc_units=FC_UNITS, dropout=DROPOUT):
    """Write the network in Caffe's text format, for engines that import Caffe models.

    Every layer has its own top (Caffe's files compute ReLU and dropout in place), so an engine can
    return the output of each layer by name.

    Args:
        last: name of the last layer to write; "pool5" omits the classifier.
        classes: number of outputs of fc8.
        batch: number of images in a batch.
        fc_units: number of outputs of fc6 and of fc7.
        dropout: rate of drop6 and drop7.

    Returns:
        The text of a `deploy.prototxt` whose input blob "data" has shape (batch, 3, 227, 227).

    Raises:
        ValueError: if `last` is not a layer of AlexNet.
    """
    names = [layer.name for layer in LAYERS]
    if last not in names:
        raise InputError(f"last must be one of {', '.join(names)}. Received: last={last!r}")
    dims = " ".join(f"dim: {size}" for size in (batch, 3, INPUT_SIZE, INPUT_SIZE))
    text = [
        'name: "AlexNet"',
        f'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}',
    ]
    bottom, lrn = "data", " ".join(f"{key}: {value}" for key, value in LRN.items())
    for row in describe(classes, fc_units=fc_units)[: names.index(last) + 1]:
        layer = row.layer
        window = f"kernel_size: {layer.kernel} stride: {layer.stride}"
        parameters = {
            "Convolution": f"convolution_param {{ num_output: {layer.outputs} {window} "
            f"pad: {layer.pad} group: {layer.groups} }}",
            "LRN": f"lrn_param {{ {lrn} }}",
            "Pooling": f"pooling_param {{ pool: MAX {window} }}",
            "InnerProduct": f"inner_product_param {{ num_output: {layer.outputs} }}",
            "Dropout": f"dropout_param {{ dropout_ratio: {dropout} }}",
        }.get(layer.type, "")
        text.append(
            f'layer {{ name: "{layer.name}" type: "{layer.type}" '
            f'bottom: "{bottom}" top: "{layer.name}" {parameters} }}'
        )
        bottom = layer.name
    return "\n".join(text) + "\n"
