"""Build a Keras model from a Caffe network's description and weights, layer by layer.

Blobs of four axes are kept as batch, height, width, channels, and any other in Caffe's own order.
Where Caffe reads a blob's values in a row (Flatten, Reshape, InnerProduct), they go through Caffe's
order. `image_rules` and `blob_rules` say how a layer of each type is built.
"""

import re
import warnings

import numpy as np

from alexnet_lib.caffe.network_files import read_network
from alexnet_lib.errors import InputError
from alexnet_lib.files import prefix_errors
from alexnet_lib.port.backend import keras
from alexnet_lib.port.blob_rules import BLOB_RULES
from alexnet_lib.port.image_rules import IMAGE_RULES
from alexnet_lib.port.model import Network

__all__ = ["RULES", "blob_shapes", "build", "keras_names", "port", "top_shapes"]

#: From the type of a Caffe layer to the rule that builds it.
RULES = IMAGE_RULES | BLOB_RULES
LAST = (0, 2, 3, 1)  # Caffe's axes in the order in which four of them are kept here


def keras_names(net):
    """Return, by the name of each top of a network, the name of the Keras layer that makes it.

    The two are equal, except that characters which TensorFlow forbids become `_`: Caffe's
    "conv1/7x7_s2" is "conv1_7x7_s2". If two names become the same, the later gets a number.
    """
    names = {}
    for layer in net.layer:
        for top in layer.top:
            names[top] = _unique(_clean(top), set(names.values()))
    return names


def _clean(name):
    clean = re.sub(r"[^A-Za-z0-9_.\-]", "_", name)
    return clean if clean[:1].isalnum() else f"layer{clean}"


def _unique(name, taken):
    number, result = 1, name
    while result in taken:
        number += 1
        result = f"{name}_{number}"
    return result


def build(
    net,
    blobs=None,
    skip=(),
    name=None,
    kernel_initializer="he_normal",
    kernel_regularizer=None,
    initializers=None,
):
    """Build a Keras model of a network.

    Args:
        net: a `NetParameter` in the normal form of `normalize`.
        blobs: a dict from layer name to that layer's blobs in Caffe's layout, as `read_caffemodel`
            returns it; or None for fresh weights. A warning names layers that the network lacks.
        skip: names of layers that start fresh, whatever the weights hold.
        name: the model's name; by default the network's.
        kernel_initializer: Keras initializer of fresh kernels; biases start at 0.
        kernel_regularizer: Keras regularizer of the kernels, which Scale and PReLU do not have.
        initializers: a dict from names of layers to initializers of their own.

    Returns:
        A `Network`, which is a `keras.Model`, channels last, whose layers have Caffe's names (see
        `keras_names`). Its inputs are the network's, and its outputs those that `net.output` lists
        or, where it lists none, the blobs that no layer takes, in order.

    Raises:
        ValueError: for a layer that cannot be built, or whose weights do not fit; names the layer,
            what was expected and what came.
    """
    options = {"kernel_initializer": kernel_initializer, "kernel_regularizer": kernel_regularizer}
    return _Builder(net, options, initializers).model(blobs, skip, name)


def check_channels_last():
    """Raise InputError where Keras is set to put channels first."""
    if keras.config.image_data_format() != "channels_last":
        raise InputError(
            "networks are built channels last: call keras.config.set_image_data_format("
            "'channels_last'), or set image_data_format to it in keras.json"
        )


def blob_shapes(net):
    """Return the shapes of the blobs that a network's layers need, by layer name."""
    return {name: shapes for name, (_, shapes, _) in _Builder(net).weights.items()}


def top_shapes(net):
    """Return the shape of every top of a network in Caffe's order, by name."""
    builder = _Builder(net)
    return {top: builder.shape(x) for top, x in builder.tops.items()}


class _Builder:
    """Builds one network, layer by layer; `tops` holds the tensors so far, by Caffe's names."""

    def __init__(self, net, options=None, initializers=None):
        check_channels_last()
        self.net, self.general, self.initializers = net, options or {}, initializers or {}
        self.names, self.tops, self.weights = keras_names(net), {}, {}
        self.taken = set(self.names.values())
        self.inputs, self.batch = [], None
        for layer in net.layer:
            self.layer = layer
            tops = self.add_inputs() if layer.type == "Input" else self.add_layer()
            self.tops |= zip(layer.top, tops, strict=True)

    def add_inputs(self):
        for top, shape in zip(self.layer.top, self.layer.input_param.shape, strict=True):
            batch, *rest = shape.dim
            self.batch = self.batch or batch
            rest = [*rest[1:], rest[0]] if len(rest) == 3 else rest
            self.inputs.append(keras.Input(rest, name=self.names[top]))
        return self.inputs[-len(self.layer.top) :]

    def add_layer(self):
        layer = self.layer
        if layer.type not in RULES:
            raise InputError(
                f"layer {layer.name!r}: its type {layer.type!r} cannot be ported. Stop before it: "
                "--stop-at LAYER, or stop_at= in Python. Known types: " + ", ".join(sorted(RULES))
            )
        bottoms = [self.tops[name] for name in layer.bottom]
        try:
            tops = RULES[layer.type](self, layer, *bottoms)
        except (TypeError, ValueError, IndexError) as error:
            shapes = [self.shape(x) for x in bottoms]
            own = isinstance(error, InputError)  # or Keras'
            what = (
                f"{error}; inputs: {shapes}" if own else f"inputs of {shapes} do not fit: {error}"
            )
            raise InputError(f"layer {layer.name!r} ({layer.type}): {what}") from error
        return tops if isinstance(tops, list) else [tops]

    def model(self, blobs, skip, name):
        taken = {bottom for layer in self.net.layer for bottom in layer.bottom}
        inputs = {top for layer in self.net.layer if layer.type == "Input" for top in layer.top}
        outputs = list(self.net.output) or [top for top in self.tops if top not in taken | inputs]
        if not outputs or inputs.issuperset(outputs):
            raise InputError(f"network {self.net.name!r}: expected a layer that computes something")
        inputs, outputs = self.inputs, [self.tops[top] for top in outputs]
        model = Network(
            inputs[0] if len(inputs) == 1 else inputs,
            outputs[0] if len(outputs) == 1 else outputs,
            name=name or _clean(self.net.name or "network"),
        )
        if blobs is not None:
            self.load(blobs, skip)
        return model

    def load(self, blobs, skip):
        """Give every layer its weights, once all are known to fit."""
        ready = []
        if unknown := sorted(set(skip) - {layer.name for layer in self.net.layer}):
            raise InputError(f"skip: the network has no layer {', '.join(map(repr, unknown))}")
        for name, (layer, shapes, convert) in self.weights.items():
            if name in skip:
                continue
            found = blobs.get(name, [])
            sizes = [blob.shape for blob in found]
            # Files of the old generations pad shapes with ones.
            if [_squeezed(size) for size in sizes] != [_squeezed(shape) for shape in shapes]:
                raise InputError(
                    f"layer {name!r}: expected blobs of {shapes}, got {sizes or 'none'}. "
                    "If the weights call the layer by another name: --rename OLD=NEW. To start it "
                    "fresh: --skip LAYER. To stop before it: --stop-at LAYER"
                )
            ready.append((layer, shapes, convert, found))
        surplus = [name for name, own in blobs.items() if own and name not in self.weights]
        if surplus:
            warnings.warn(
                f"weights of layers that the network does not have: {', '.join(surplus)}",
                stacklevel=4,
            )
        for layer, shapes, convert, found in ready:
            found = [blob.reshape(shape) for blob, shape in zip(found, shapes, strict=True)]
            layer.set_weights(convert(*found))

    # The methods below are for the rules.

    @property
    def options(self):
        """The options of the kernel of the layer that is being built."""
        own = self.initializers.get(self.layer.name)
        return self.general | ({"kernel_initializer": own} if own else {})

    def name(self, what=""):
        """Name the Keras layer of the Caffe layer's only top, or a helper on the way to it."""
        top = self.names[self.layer.top[0]]
        return self.free(f"{top}_{what}") if what else top

    def free(self, name):
        """Return `name`, with a number where a layer has this name already."""
        name = _unique(name, self.taken)
        self.taken.add(name)
        return name

    def kept(self, x):
        """Return Caffe's axes in the order in which `x` keeps them."""
        return LAST if len(x.shape) == 4 else tuple(range(len(x.shape)))

    def ours(self, axis, x):
        """Return which axis of `x` is Caffe's `axis`."""
        return self.kept(x).index(axis)

    def shape(self, x):
        """Return a tensor's shape in Caffe's order, with the description's batch."""
        shape = (self.batch, *x.shape[1:])
        return tuple(shape[self.ours(axis, x)] for axis in range(len(shape)))

    def axis(self, axis, x, batch=False):
        """Return a Caffe axis of `x`, counted from 0; Keras layers cannot work on the batch's."""
        rank = len(x.shape)
        if not -rank <= axis < rank or (axis % rank == 0 and not batch):
            raise InputError(f"axis {axis}: expected 1 to {rank - 1}")
        return axis % rank

    def image(self, x):
        """Return (height, width), as an array, and the channels of an image."""
        if len(x.shape) != 4:
            raise InputError(f"expected 4 axes, got {len(x.shape)}")
        return np.array(x.shape[1:3]), x.shape[3]

    def caffe_order(self, x):
        """Bring the values of `x` into Caffe's order."""
        permute = keras.layers.Permute
        return permute((3, 1, 2), name=self.name("chw"))(x) if len(x.shape) == 4 else x

    def reshape(self, x, shape, what=""):
        """Give `x` a shape in Caffe's order that keeps the batch."""
        if shape[0] != self.batch:
            raise InputError(f"its shape {shape} does not keep the batch of {self.batch} apart")
        x = self.caffe_order(x)
        if len(shape) != 4:
            return keras.layers.Reshape(shape[1:], name=self.name(what))(x)
        x = keras.layers.Reshape(shape[1:], name=self.name("shape"))(x)
        return keras.layers.Permute((2, 3, 1), name=self.name(what))(x)

    def with_weights(self, layer, shapes, convert=lambda *blobs: list(blobs)):
        """Return a Keras layer whose weights `convert` will make of blobs of these shapes."""
        self.weights[self.layer.name] = layer, shapes, convert
        return layer

    def with_kernel(self, layer, p, shape, convert):
        """Return a Keras layer whose kernel `convert` will make of a blob of `shape`."""
        shapes = [shape] + [(p.num_output,)] * p.bias_term
        return self.with_weights(layer, shapes, lambda kernel, *bias: [convert(kernel), *bias])


def _squeezed(shape):
    return tuple(size for size in shape if size != 1)


def port(prototxt, caffemodel=None, input_shape=None, stop_at=None, rename=None, skip=()):
    """Port a Caffe network to Keras.

    Args:
        prototxt: path of the network's description, or None where `caffemodel` describes itself.
        caffemodel: path of its weights; None leaves the layers fresh.
        input_shape: (N, C, H, W), for descriptions that lack it or another size of images.
        stop_at: layers to stop at, separated by commas; what comes after them is left out.
        rename: a dict from names of layers in the weights to those in the description.
        skip: names of layers that start fresh.

    Returns:
        A `keras.Model`, channels last, as `build` makes it: ready to predict, to fine-tune and to
        save as `.keras`.

    Raises:
        ValueError: where the network cannot be ported, or description and weights disagree; names
            file, line or layer, and what to do.
        OSError: where a file cannot be read.
    """
    net, blobs = read_network(prototxt, caffemodel, input_shape, stop_at, rename)
    with prefix_errors(" and ".join(str(path) for path in (prototxt, caffemodel) if path)):
        return build(net, blobs, skip)
