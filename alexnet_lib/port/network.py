"""Build a Keras model from a Caffe network's description and weights, layer by layer.

Blobs of four axes are kept as batch, height, width, channels, and any other in Caffe's own order.
Where Caffe reads a blob's values in a row (Flatten, Reshape, InnerProduct), they go through Caffe's
order. Plain Keras layers serve wherever they compute exactly what Caffe does.
"""

import math
import re
import warnings

import keras
import numpy as np

from alexnet_lib.errors import InputError
from alexnet_lib.files import prefix_errors
from alexnet_lib.port.caffe_layers import (
    Cut,
    FrozenBatchNormalization,
    L2Normalization,
    MeanVarianceNormalization,
    PaddedPooling2D,
    Pointwise,
    Scale,
    ZeroInsertion2D,
)
from alexnet_lib.port.caffemodel import read_caffemodel
from alexnet_lib.port.description import (
    compare,
    describe_caffemodel,
    normalize,
    read_description,
    share_weights,
)
from alexnet_lib.port.layers import FullyConnected, GroupedConv2D, LocalResponseNormalization
from alexnet_lib.port.layouts import transpose_dense
from alexnet_lib.port.reference import pooled_size, reshaped, slice_bounds, window

__all__ = ["blob_shapes", "build", "keras_names", "port", "read_network", "top_shapes"]

K = keras.layers
LAST = (0, 2, 3, 1)  # Caffe's axes in the order in which four of them are kept here


def keras_names(net):
    """Return, by the name of each top of a network, the name of the Keras layer that makes it.

    They are equal, but for characters that TensorFlow does not allow, which become `_`: Caffe's
    "conv1/7x7_s2" is "conv1_7x7_s2". Where two would be the same, the later gets a number.
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
    net, blobs=None, skip=(), name=None, kernel_initializer="he_normal", kernel_regularizer=None
):
    """Build a Keras model of a network.

    Args:
        net: a `NetParameter` in the normal form of `description.normalize`.
        blobs: a dict from layer name to that layer's blobs in Caffe's layout, as `read_caffemodel`
            returns it; or None for fresh weights. Layers that the network lacks are left out, with
            a warning that names them.
        skip: names of layers that start fresh, whatever the weights hold.
        name: the model's name; by default the network's.
        kernel_initializer: Keras initializer of fresh kernels; biases start at 0.
        kernel_regularizer: Keras regularizer of the kernels of Convolution and InnerProduct.

    Returns:
        A `keras.Model`, channels last, whose layers bear Caffe's names (see `keras_names`). Its
        inputs are the network's, and its outputs those that `net.output` lists or, where it lists
        none, the blobs that no layer takes, in order.

    Raises:
        ValueError: for a layer that cannot be built, or whose weights do not fit; names the layer,
            what was expected and what came.
    """
    options = {"kernel_initializer": kernel_initializer, "kernel_regularizer": kernel_regularizer}
    return _Builder(net, options).model(blobs, skip, name)


def blob_shapes(net):
    """Return the shapes of the blobs that a network's layers need, by layer name."""
    builder = _Builder(net)
    return {name: shapes for name, (_, shapes, _) in builder.weights.items()}


def top_shapes(net):
    """Return the shape of every top of a network in Caffe's order, by name."""
    builder = _Builder(net)
    return {top: builder.shape(x) for top, x in builder.tops.items()}


class _Builder:
    """Builds one network; `tops` are the tensors so far by Caffe's names."""

    def __init__(self, net, options=None):
        self.net, self.options = net, options or {}
        self.names, self.tops, self.weights = keras_names(net), {}, {}
        self.taken = set(self.names.values())
        self.inputs, self.batch = [], None
        for layer in net.layer:
            self.layer = layer
            if layer.type == "Input":
                self.add_inputs()
                continue
            if layer.type not in RULES:
                raise InputError(
                    f"layer {layer.name!r}: its type {layer.type!r} cannot be ported. Stop before "
                    "it: --stop-at LAYER, or stop_at= in Python. Known types: "
                    f"{', '.join(sorted(RULES))}"
                )
            bottoms = [self.tops[name] for name in layer.bottom]
            try:
                tops = RULES[layer.type](self, layer, *bottoms)
            except InputError as error:
                if repr(layer.name) in str(error):
                    raise
                raise InputError(f"layer {layer.name!r} ({layer.type}): {error}") from error
            except (TypeError, ValueError, IndexError) as error:
                shapes = [self.shape(x) for x in bottoms]
                raise InputError(
                    f"layer {layer.name!r} ({layer.type}): inputs of {shapes} do not fit: {error}"
                ) from error
            tops = tops if isinstance(tops, list) else [tops]
            self.tops |= zip(layer.top, tops, strict=True)

    def add_inputs(self):
        shapes = self.layer.input_param.shape
        for top, shape in zip(self.layer.top, shapes, strict=True):
            batch, *rest = shape.dim
            self.batch = self.batch or batch
            rest = [*rest[1:], rest[0]] if len(rest) == 3 else rest
            self.tops[top] = keras.Input(rest, name=self.names[top])
            self.inputs.append(self.tops[top])

    def model(self, blobs, skip, name):
        taken = {bottom for layer in self.net.layer for bottom in layer.bottom}
        inputs = {top for layer in self.net.layer if layer.type == "Input" for top in layer.top}
        outputs = list(self.net.output) or [top for top in self.tops if top not in taken | inputs]
        if not outputs or inputs.issuperset(outputs):
            raise InputError(f"network {self.net.name!r}: expected a layer that computes something")
        inputs, outputs = self.inputs, [self.tops[top] for top in outputs]
        model = keras.Model(
            inputs[0] if len(inputs) == 1 else inputs,
            outputs[0] if len(outputs) == 1 else outputs,
            name=name or _clean(self.net.name or "network"),
        )
        if blobs is not None:
            self.load(blobs, skip)
        return model

    def load(self, blobs, skip):
        """Give every layer its weights, when all have been found to fit."""
        ready = []
        if strange := sorted(set(skip) - {layer.name for layer in self.net.layer}):
            raise InputError(f"skip: the network has no layer {', '.join(map(repr, strange))}")
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

    # What the rules below are written with.

    def last(self):
        """Name the Keras layer that makes the Caffe layer's only top."""
        return self.names[self.layer.top[0]]

    def helper(self, what):
        """Name a Keras layer on the way to the top."""
        return self.free(f"{self.last()}_{what}")

    def free(self, name):
        """Return `name`, or with a number where there is a layer of this name."""
        name = _unique(name, self.taken)
        self.taken.add(name)
        return name

    def shape(self, x):
        """Return a tensor's shape in Caffe's order, with the description's batch."""
        shape = (self.batch, *x.shape[1:])
        return (shape[0], shape[3], *shape[1:3]) if len(shape) == 4 else shape

    def axis(self, axis, x, batch=False):
        """Return a Caffe axis of `x`, counted from 0; the batch's is no axis for a Keras layer."""
        rank = len(x.shape)
        if not -rank <= axis < rank or (axis % rank == 0 and not batch):
            raise InputError(f"axis {axis} of {self.shape(x)}: expected 1 to {rank - 1}")
        return axis % rank

    def ours(self, axis, x):
        """Return where Caffe's axis of `x` is kept."""
        return LAST.index(axis) if len(x.shape) == 4 else axis

    def caffe_order(self, x):
        """Bring the values of `x` into Caffe's order."""
        return K.Permute((3, 1, 2), name=self.helper("chw"))(x) if len(x.shape) == 4 else x

    def reshape(self, x, shape, name=None):
        """Give `x`, in Caffe's order, a shape that keeps the batch, and bring it into ours."""
        if shape[0] != self.batch:
            raise InputError(
                f"its shape {tuple(shape)} does not keep the batch of {self.batch} apart"
            )
        if len(shape) != 4:
            return K.Reshape(shape[1:], name=name or self.last())(x)
        x = K.Reshape(shape[1:], name=self.helper("shape"))(x)
        return K.Permute((2, 3, 1), name=name or self.last())(x)

    def weigh(self, layer, shapes, convert):
        """Note which blobs a Keras layer takes, and how they become its weights."""
        self.weights[self.layer.name] = layer, shapes, convert
        return layer

    def image(self, x):
        """Check that `x` is an image."""
        if len(x.shape) != 4:
            raise InputError(f"expected a blob of 4 axes, got {self.shape(x)}")
        return x.shape[1:3], x.shape[3]


def _squeezed(shape):
    return tuple(size for size in shape if size != 1)


def _decimal(number):
    """Return the number that someone wrote: the shortest that float32 rounds to this one."""
    return float(str(np.float32(number)))


RULES = {}


def _rule(*types):
    def register(function):
        RULES.update(dict.fromkeys(types, function))
        return function

    return register


def _is_same(size, reach, stride, pad, count):
    """Tell whether TensorFlow's SAME pads one axis as Caffe does; it costs no pass over memory."""
    total = max((count - 1) * stride + reach - size, 0)
    return count == -(-size // stride) and total // 2 == pad


def _convolution_window(p, channels):
    """Return kernel, stride, pad, dilation and reach of a convolution that is possible."""
    kernel, stride, pad, dilation = window(p)
    if min(*kernel, *stride, *dilation, p.num_output, p.group) < 1 or p.axis != 1:
        raise InputError(
            "expected positive num_output, kernel_size, stride, dilation and group, and axis 1"
        )
    if channels % p.group or p.num_output % p.group:
        raise InputError(
            f"{p.group} groups do not divide {channels} channels or {p.num_output} outputs"
        )
    return (
        kernel,
        stride,
        pad,
        dilation,
        [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)],
    )


def _convolve(b, x, p, pad, stride, turn=lambda kernel: kernel, shape=None):
    """Add a convolution's Keras layers; `turn` makes its kernel of a blob of `shape`."""
    size, channels = b.image(x)
    kernel, _, _, dilation, reach = _convolution_window(p, channels)
    counts = [(n + 2 * q - r) // s + 1 for n, q, r, s in zip(size, pad, reach, stride, strict=True)]
    if min(counts) < 1:
        raise InputError(f"its window of {kernel} does not fit into {b.shape(x)}")
    padding = "valid"
    if any(pad):
        if all(map(_is_same, size, reach, stride, pad, counts)):
            padding = "same"
        else:
            x = K.ZeroPadding2D(pad, name=b.helper("pad"))(x)
    apart = max(dilation) > 1 and max(stride) > 1  # Keras does one or the other
    name = b.helper("dense") if apart else b.last()
    steps = (1, 1) if apart else stride
    options = {"padding": padding, "dilation_rate": dilation, "use_bias": p.bias_term, "name": name}
    depthwise = p.group == channels > 1 and steps[0] == steps[1]
    if depthwise:
        layer = K.DepthwiseConv2D(
            kernel,
            steps,
            depth_multiplier=p.num_output // channels,
            **{key.replace("kernel", "depthwise"): value for key, value in b.options.items()},
            **options,
        )
    else:
        layer = GroupedConv2D(p.num_output, kernel, steps, groups=p.group, **b.options, **options)

    def convert(weights, *bias):
        weights = turn(weights)
        if depthwise:
            weights = weights.reshape(channels, -1, *kernel)
            return [weights.transpose(2, 3, 0, 1), *bias]
        return [weights.transpose(2, 3, 1, 0), *bias]

    shape = shape or (p.num_output, channels // p.group, *kernel)
    b.weigh(layer, [shape] + [(p.num_output,)] * p.bias_term, convert)
    x = layer(x)
    return K.MaxPooling2D(1, stride, name=b.last())(x) if apart else x


@_rule("Convolution")
def _convolution(b, layer, x):
    p = layer.convolution_param
    _, stride, pad, _, _ = _convolution_window(p, b.image(x)[1])
    return _convolve(b, x, p, pad, stride)


@_rule("Deconvolution")
def _deconvolution(b, layer, x):
    p = layer.convolution_param
    channels = b.image(x)[1]
    kernel, stride, pad, dilation, reach = _convolution_window(p, channels)
    if (
        p.group == 1
        and max(dilation) == 1
        and all(k - s == 2 * q for k, s, q in zip(kernel, stride, pad, strict=True))
    ):
        deconvolution = K.Conv2DTranspose(
            p.num_output, kernel, stride, padding="same", use_bias=p.bias_term, name=b.last()
        )
        return _transposed(b, deconvolution, p, (channels, p.num_output, *kernel))(x)
    if p.group == 1 and max(dilation) == 1:
        # TensorFlow makes room for `stride` pixels even where the kernel is smaller.
        extra = [max(s - k, 0) for k, s in zip(kernel, stride, strict=True)]
        cut = [(q, q + e) for q, e in zip(pad, extra, strict=True)]
        whole = not any(sum(cut, ()))
        deconvolution = K.Conv2DTranspose(
            p.num_output, kernel, stride, use_bias=p.bias_term,
            name=b.last() if whole else b.helper("whole"),
        )  # fmt: skip
        x = _transposed(b, deconvolution, p, (channels, p.num_output, *kernel))(x)
        return x if whole else K.Cropping2D(cut, name=b.last())(x)
    around = [r - 1 - q for r, q in zip(reach, pad, strict=True)]
    if min(around) < 0:
        raise InputError(f"its pad of {pad} is larger than its kernel reaches, {reach}")
    x = ZeroInsertion2D(stride, around, name=b.helper("zeros"))(x)

    def turn(blob):
        blob = blob.reshape(p.group, channels // p.group, -1, *kernel).swapaxes(1, 2)
        return blob.reshape(p.num_output, -1, *kernel)[:, :, ::-1, ::-1]

    shape = (channels, p.num_output // p.group, *kernel)
    return _convolve(b, x, p, (0, 0), (1, 1), turn, shape)


def _transposed(b, layer, p, shape):
    shapes = [shape] + [(p.num_output,)] * p.bias_term
    return b.weigh(layer, shapes, lambda kernel, *bias: [kernel.transpose(2, 3, 1, 0), *bias])


@_rule("Pooling")
def _pooling(b, layer, x):
    p = layer.pooling_param
    size, _ = b.image(x)
    if p.pool == 2:
        raise InputError("stochastic pooling cannot be ported: it samples, also in the TEST phase")
    mode = "max" if p.pool == 0 else "average"
    if p.global_pooling:
        pool = K.GlobalMaxPooling2D if mode == "max" else K.GlobalAveragePooling2D
        return pool(keepdims=True, name=b.last())(x)
    kernel, stride, pad, _ = window(p)
    counts = pooled_size(size, p)
    if min(*kernel, *stride, *counts) < 1 or any(q >= k for q, k in zip(pad, kernel, strict=True)):
        raise InputError(
            f"its window of {kernel}, stride {stride}, pad {pad} does not fit into {b.shape(x)}"
        )
    # How far the last window reaches beyond the padding.
    overhang = [
        max((m - 1) * s + k - n - 2 * q, 0)
        for m, s, k, n, q in zip(counts, stride, kernel, size, pad, strict=True)
    ]
    pool = K.MaxPooling2D if mode == "max" else K.AveragePooling2D
    same = all(map(_is_same, size, kernel, stride, pad, counts))
    if not any(pad) and not any(overhang):
        return pool(kernel, stride, "valid", name=b.last())(x)
    if same and (mode == "max" or not any(pad)):  # SAME leaves padding out of averages
        return pool(kernel, stride, "same", name=b.last())(x)
    if mode == "average" and not any(overhang):
        x = K.ZeroPadding2D(pad, name=b.helper("pad"))(x)
        return pool(kernel, stride, "valid", name=b.last())(x)
    return PaddedPooling2D(mode, kernel, stride, pad, overhang, name=b.last())(x)


@_rule("LRN")
def _lrn(b, layer, x):
    p = layer.lrn_param
    b.image(x)
    if p.norm_region == 0:
        numbers = map(_decimal, (p.alpha, p.beta, p.k))
        return LocalResponseNormalization.from_caffe(p.local_size, *numbers, name=b.last())(x)
    if p.local_size % 2 == 0:
        raise InputError(f"expected an odd local_size, got {p.local_size}")
    square = Pointwise(power=2, name=b.helper("square"))(x)
    padded = K.ZeroPadding2D(p.local_size // 2, name=b.helper("pad"))(square)
    mean = K.AveragePooling2D(p.local_size, 1, name=b.helper("mean"))(padded)
    scale = Pointwise(None, p.alpha, 1.0, -p.beta, name=b.helper("scale"))(mean)
    return K.Multiply(name=b.last())([x, scale])


@_rule("InnerProduct")
def _inner_product(b, layer, x):
    p = layer.inner_product_param
    axis = b.axis(p.axis, x)
    shape = b.shape(x)
    length = math.prod(shape[axis:])
    image = x.shape[1:] if axis == 1 and len(x.shape) == 4 else (1, 1, length)
    if axis == 1:
        # The kernel's inputs are put into our order, so that the values may stay in it.
        x = K.Flatten(name=b.free("flatten"))(x) if len(x.shape) > 2 else x
    else:
        x = b.caffe_order(x)
        if axis < len(shape) - 1:
            x = b.reshape(x, (*shape[:axis], length), b.helper("flatten"))
    name = b.last() if axis < 3 else b.helper("product")
    dense = FullyConnected(p.num_output, use_bias=p.bias_term, name=name, **b.options)
    blob = (length, p.num_output) if p.transpose else (p.num_output, length)
    b.weigh(
        dense,
        [blob] + [(p.num_output,)] * p.bias_term,
        lambda kernel, *bias: [transpose_dense(kernel.T if p.transpose else kernel, image), *bias],
    )
    x = dense(x)
    return K.Permute((2, 3, 1), name=b.last())(x) if axis == 3 else x


@_rule("BatchNorm")
def _batch_norm(b, layer, x):
    p = layer.batch_norm_param
    if p.HasField("use_global_stats") and not p.use_global_stats:
        raise InputError(
            "`use_global_stats: false` normalizes by the batch's own statistics, also in the TEST "
            "phase; remove it to use the stored ones"
        )
    axis = b.ours(1, x)
    layer = FrozenBatchNormalization(
        axis, epsilon=_decimal(p.eps), center=False, scale=False, trainable=False, name=b.last()
    )
    channels = (x.shape[axis],)

    def convert(mean, variance, factor):
        factor = 0 if factor[0] == 0 else 1 / factor[0]
        return [mean * factor, variance * factor]

    return b.weigh(layer, [channels, channels, (1,)], convert)(x)


def _affine(b, x, axis, num_axes, multiply, add):
    """Add a Scale layer whose coefficients meet Caffe's axes `axis` to `axis + num_axes`."""
    rank, shape = len(x.shape), b.shape(x)
    axis = b.axis(axis, x, batch=num_axes == 0)
    stop = rank if num_axes == -1 else axis + num_axes
    if stop > rank:
        raise InputError(f"axes {axis} to {stop - 1} are not in {shape}")
    full = [1] * axis + list(shape[axis:stop]) + [1] * (rank - stop)
    order = LAST if rank == 4 else range(rank)
    ours = [full[i] for i in order][1:]
    while len(ours) > 1 and ours[0] == 1:
        ours.pop(0)
    scale = Scale(ours, multiply, add, name=b.last())
    shapes = [shape[axis:stop]] * (multiply + add)
    b.weigh(
        scale,
        shapes,
        lambda *blobs: [blob.reshape(full).transpose(order).reshape(ours) for blob in blobs],
    )
    return scale(x)


def _other(b, x, y, axis):
    """Bring the second input of Scale or Bias to the rank of the first."""
    rank, own = len(x.shape), len(y.shape)
    if axis % rank or b.shape(y) != b.shape(x)[:own]:
        raise InputError(
            f"a second input of {b.shape(y)} must begin as the first, {b.shape(x)}, with axis 0"
        )
    if own == rank:
        return y
    shape = (*b.shape(y), *(1,) * (rank - own))
    return b.reshape(b.caffe_order(y), shape, b.helper("other"))


@_rule("Scale")
def _scale(b, layer, x, y=None):
    p = layer.scale_param
    if y is None:
        return _affine(b, x, p.axis, p.num_axes, True, p.bias_term)
    if p.bias_term:
        raise InputError("a second input beside `bias_term` cannot be ported: split it in two")
    return K.Multiply(name=b.last())([x, _other(b, x, y, p.axis)])


@_rule("Bias")
def _bias(b, layer, x, y=None):
    p = layer.bias_param
    if y is None:
        return _affine(b, x, p.axis, p.num_axes, False, True)
    return K.Add(name=b.last())([x, _other(b, x, y, p.axis)])


@_rule("Eltwise")
def _eltwise(b, layer, *xs):
    p = layer.eltwise_param
    if len({x.shape for x in xs}) != 1 or len(xs) < 2:
        raise InputError(
            f"expected two or more inputs of one shape, got {[b.shape(x) for x in xs]}"
        )
    if p.operation != 1:
        return (K.Multiply if p.operation == 0 else K.Maximum)(name=b.last())(list(xs))
    factors = list(p.coeff) or [1] * len(xs)
    if len(factors) != len(xs):
        raise InputError(f"expected {len(xs)} coefficients, got {factors}")
    xs = [
        x if factor == 1 else Pointwise(scale=factor, name=b.helper("times"))(x)
        for x, factor in zip(xs, factors, strict=True)
    ]
    return K.Add(name=b.last())(xs)


@_rule("Concat")
def _concat(b, layer, *xs):
    axis = b.axis(layer.concat_param.axis, xs[0])
    if len(xs) == 1:
        return K.Identity(name=b.last())(xs[0])
    return K.Concatenate(b.ours(axis, xs[0]), name=b.last())(list(xs))


@_rule("Slice")
def _slice(b, layer, x):
    axis = b.axis(layer.slice_param.axis, x)
    place = b.ours(axis, x) - 1
    tops = []
    for top, (start, stop) in zip(
        layer.top, slice_bounds(b.shape(x)[axis], layer.slice_param, len(layer.top)), strict=True
    ):
        starts, sizes = [0] * (len(x.shape) - 1), list(x.shape[1:])
        starts[place], sizes[place] = start, stop - start
        tops.append(Cut(starts, sizes, name=b.names[top])(x))
    return tops


@_rule("Split")
def _split(b, layer, x):
    return [K.Identity(name=b.names[top])(x) for top in layer.top]


@_rule("Crop")
def _crop(b, layer, x, reference):
    axis = b.axis(layer.crop_param.axis, x)
    shape, sizes = b.shape(x), list(b.shape(reference))
    offsets = list(layer.crop_param.offset) or [0]
    offsets = offsets * (len(shape) - axis) if len(offsets) == 1 else offsets
    starts = [0] * axis + offsets
    sizes[:axis] = shape[:axis]
    if not len(starts) == len(sizes) == len(shape) or any(
        a + n > size for a, n, size in zip(starts, sizes, shape, strict=True)
    ):
        raise InputError(f"a part of {tuple(sizes)} at {starts} is not in {shape}")
    order = (LAST if len(shape) == 4 else range(len(shape)))[1:]
    return Cut([starts[i] for i in order], [sizes[i] for i in order], name=b.last())(x)


@_rule("Flatten")
def _flatten(b, layer, x):
    p = layer.flatten_param
    first, last = b.axis(p.axis, x), b.axis(p.end_axis, x)
    shape = b.shape(x)
    shape = (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])
    return b.reshape(b.caffe_order(x), shape)


@_rule("Reshape")
def _reshape(b, layer, x):
    return b.reshape(b.caffe_order(x), reshaped(b.shape(x), layer.reshape_param))


@_rule("Permute")
def _permute(b, layer, x):
    order, rank = list(layer.permute_param.order), len(x.shape)
    order += [axis for axis in range(rank) if axis not in order]
    if sorted(order) != list(range(rank)) or order[0] != 0:
        raise InputError(f"expected an order of the axes 0 to {rank - 1} that keeps 0, got {order}")
    kept = LAST if rank == 4 else range(rank)
    return K.Permute([b.ours(order[axis], x) for axis in kept][1:], name=b.last())(x)


@_rule("Softmax")
def _softmax(b, layer, x):
    return K.Softmax(b.ours(b.axis(layer.softmax_param.axis, x), x), name=b.last())(x)


@_rule("PReLU")
def _prelu(b, layer, x):
    axes = range(1, len(x.shape))
    shared = layer.prelu_param.channel_shared
    channel = b.ours(1, x)
    prelu = K.PReLU(shared_axes=[axis for axis in axes if shared or axis != channel], name=b.last())
    shape = [x.shape[axis] if axis == channel and not shared else 1 for axis in axes]
    return b.weigh(prelu, [(max(shape),)], lambda slope: [slope.reshape(shape)])(x)


SIMPLE = {
    "Dropout": lambda p, name: K.Dropout(_decimal(p.dropout_param.dropout_ratio), name=name),
    "ReLU": lambda p, name: K.ReLU(negative_slope=_decimal(p.relu_param.negative_slope), name=name),
    "ELU": lambda p, name: K.ELU(p.elu_param.alpha, name=name),
    "Sigmoid": lambda p, name: K.Activation("sigmoid", name=name),
    "TanH": lambda p, name: K.Activation("tanh", name=name),
    "BNLL": lambda p, name: K.Activation("softplus", name=name),
    "AbsVal": lambda p, name: Pointwise("abs", name=name),
    "Power": lambda p, name: Pointwise(
        None, p.power_param.scale, p.power_param.shift, p.power_param.power, name=name
    ),
}


@_rule(*SIMPLE)
def _simple(b, layer, x):
    return SIMPLE[layer.type](layer, b.last())(x)


@_rule("Exp")
def _exp(b, layer, x):
    p = layer.exp_param
    log = 1.0 if p.base == -1 else math.log(p.base)
    return Pointwise("exp", p.scale * log, p.shift * log, name=b.last())(x)


@_rule("Log")
def _log(b, layer, x):
    p = layer.log_param
    if p.base == -1:
        return Pointwise("log", p.scale, p.shift, name=b.last())(x)
    x = Pointwise("log", p.scale, p.shift, name=b.helper("log"))(x)
    return Pointwise(scale=1 / math.log(p.base), name=b.last())(x)


@_rule("Normalize")
def _normalize(b, layer, x):
    p = layer.norm_param
    _, channels = b.image(x)
    x = L2Normalization(p.across_spatial, p.eps, name=b.helper("unit"))(x)
    shape = (1 if p.channel_shared else channels,)
    scale = Scale(shape, add=False, name=b.last())
    return b.weigh(scale, [shape], lambda factor: [factor])(x)


@_rule("MVN")
def _mvn(b, layer, x):
    p = layer.mvn_param
    b.image(x)
    return MeanVarianceNormalization(p.across_channels, p.normalize_variance, p.eps, name=b.last())(
        x
    )


def read_network(prototxt, caffemodel=None, input_shape=None, stop_at=None, rename=None):
    """Read a network: its description in normal form, and its weights.

    Args:
        prototxt: path of the description, or None where the weights describe themselves.
        caffemodel: path of the weights, or None for a description alone.
        input_shape: as for `description.normalize`.
        stop_at: as for `description.normalize`.
        rename: a dict from names of layers in the weights to those in the description.

    Returns:
        A `NetParameter` and a dict of blobs by layer name, or None without weights.

    Raises:
        ValueError: where a file is not what it should be, or the two belong to other networks.
    """
    if prototxt is None and caffemodel is None:
        raise InputError("expected a prototxt, a .caffemodel, or both. Received: neither")
    read = None if caffemodel is None else describe_caffemodel(caffemodel)
    net = read if prototxt is None else read_description(prototxt)
    net = normalize(net, input_shape, stop_at)
    if caffemodel is None:
        return net, None
    if prototxt is not None:
        compare(net, read, rename)
    blobs = read_caffemodel(caffemodel)
    if strange := sorted(set(rename or {}) - set(blobs)):
        raise InputError(
            f"{caffemodel}: rename: expected layers with weights, which are "
            f"{', '.join(blobs)}. Received: {', '.join(strange)}"
        )
    return net, share_weights(net, {(rename or {}).get(n, n): own for n, own in blobs.items()})


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
    with prefix_errors(caffemodel or prototxt):
        return build(net, blobs, skip)
