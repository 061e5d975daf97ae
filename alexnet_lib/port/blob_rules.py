"""How the layers of blobs of any shape are built, as `image_rules` does for those of images."""

import math

from alexnet_lib.caffe.parameters import (
    crop_starts,
    decimal,
    flattened,
    permutation,
    reshaped,
    slice_bounds,
)
from alexnet_lib.errors import InputError
from alexnet_lib.port.backend import keras
from alexnet_lib.port.caffe_layers import Cut, FrozenBatchNormalization, Pointwise, Scale
from alexnet_lib.port.layers import FullyConnected
from alexnet_lib.port.layouts import transpose_dense

__all__ = ["BLOB_RULES"]

K = keras.layers


def _power(p, name):
    p = p.power_param
    return Pointwise(None, p.scale, p.shift, p.power, name=name)


def _exp(p, name):
    p = p.exp_param
    base = 1 if p.base == -1 else math.log(p.base)
    return Pointwise("exp", p.scale * base, p.shift * base, name=name)


def _log(p, name):
    p = p.log_param
    base = 1 if p.base == -1 else math.log(p.base)
    return Pointwise("log", p.scale, p.shift, factor=1 / base, name=name)


# Types that are one Keras layer, whatever their input is.
SIMPLE = {
    "Dropout": lambda p, name: K.Dropout(decimal(p.dropout_param.dropout_ratio), name=name),
    "ReLU": lambda p, name: K.ReLU(negative_slope=decimal(p.relu_param.negative_slope), name=name),
    "ELU": lambda p, name: K.ELU(p.elu_param.alpha, name=name),
    "Sigmoid": lambda p, name: K.Activation("sigmoid", name=name),
    "TanH": lambda p, name: K.Activation("tanh", name=name),
    "BNLL": lambda p, name: K.Activation("softplus", name=name),
    "AbsVal": lambda p, name: Pointwise("abs", name=name),
    "Power": _power,
    "Exp": _exp,
    "Log": _log,
}


def _simple(b, layer, x):
    return SIMPLE[layer.type](layer, b.name())(x)


def _inner_product(b, layer, x):
    p = layer.inner_product_param
    axis, shape = b.axis(p.axis, x), b.shape(x)
    length = math.prod(shape[axis:])
    image = x.shape[1:] if axis == 1 and len(shape) == 4 else (1, 1, length)
    if axis > 1:
        x = b.caffe_order(x)
        if axis < len(shape) - 1:
            x = K.Reshape((*shape[1:axis], length), name=b.name("flatten"))(x)
    elif len(shape) > 2:
        # The kernel's rows are put into our order, so that the values may stay in it.
        x = K.Flatten(name=b.free("flatten"))(x)
    dense = FullyConnected(
        p.num_output, use_bias=p.bias_term, name=b.name("product" if axis == 3 else ""), **b.options
    )
    blob = (length, p.num_output) if p.transpose else (p.num_output, length)

    def convert(kernel):
        return transpose_dense(kernel.T if p.transpose else kernel, image)

    x = b.with_kernel(dense, p, blob, convert)(x)
    return K.Permute((2, 3, 1), name=b.name())(x) if axis == 3 else x


def _batch_norm(b, layer, x):
    p = layer.batch_norm_param
    if p.HasField("use_global_stats") and not p.use_global_stats:
        raise InputError(
            "`use_global_stats: false` normalizes by the batch's own statistics, also in the TEST "
            "phase; remove it to use the stored ones"
        )
    axis = b.ours(1, x)
    layer = FrozenBatchNormalization(
        axis, epsilon=decimal(p.eps), center=False, scale=False, trainable=False, name=b.name()
    )
    channels = (x.shape[axis],)

    def convert(mean, variance, factor):
        factor = 0 if factor[0] == 0 else 1 / factor[0]
        return [mean * factor, variance * factor]

    return b.with_weights(layer, [channels, channels, (1,)], convert)(x)


def _scale(b, layer, x, y=None):
    return _affine(b, x, y, layer.scale_param, True, layer.scale_param.bias_term)


def _bias(b, layer, x, y=None):
    return _affine(b, x, y, layer.bias_param, False, True)


def _affine(b, x, y, p, multiply, add):
    """Multiply by factors, add addends, or both; they are weights, or the second input `y`."""
    shape, rank = b.shape(x), len(x.shape)
    if y is not None:
        other = b.shape(y)
        if multiply and add:
            raise InputError("a second input beside `bias_term` cannot be ported: split it in two")
        if p.axis % rank or other != shape[: len(other)]:
            raise InputError("expected the second input's shape to begin the first's, with axis 0")
        if len(other) < rank:
            y = b.reshape(y, (*other, *(1,) * (rank - len(other))), "other")
        return (K.Multiply if multiply else K.Add)(name=b.name())([x, y])
    axis = b.axis(p.axis, x, batch=p.num_axes == 0)
    stop = rank if p.num_axes == -1 else axis + p.num_axes
    if stop > rank:
        raise InputError(f"axes {axis} to {stop - 1} are not in its input")
    full = [1] * axis + list(shape[axis:stop]) + [1] * (rank - stop)
    order = b.kept(x)
    ours = [full[i] for i in order][1:]
    while len(ours) > 1 and ours[0] == 1:
        ours.pop(0)
    scale = Scale(ours, multiply, add, name=b.name())
    return b.with_weights(
        scale,
        [shape[axis:stop]] * (multiply + add),
        lambda *blobs: [blob.reshape(full).transpose(order).reshape(ours) for blob in blobs],
    )(x)


def _eltwise(b, layer, *xs):
    p = layer.eltwise_param
    if len({x.shape for x in xs}) != 1 or len(xs) < 2:
        raise InputError("expected two or more inputs of one shape")
    if p.operation != 1:
        return (K.Multiply if p.operation == 0 else K.Maximum)(name=b.name())(list(xs))
    factors = list(p.coeff) or [1] * len(xs)
    if len(factors) != len(xs):
        raise InputError(f"expected {len(xs)} coefficients, got {factors}")
    scaled = [
        x if factor == 1 else Pointwise(scale=factor, name=b.name("times"))(x)
        for x, factor in zip(xs, factors, strict=True)
    ]
    return K.Add(name=b.name())(scaled)


def _concat(b, layer, *xs):
    axis = b.axis(layer.concat_param.axis, xs[0])
    if len(xs) == 1:
        return K.Identity(name=b.name())(xs[0])
    return K.Concatenate(b.ours(axis, xs[0]), name=b.name())(list(xs))


def _slice(b, layer, x):
    axis, (_, *shape) = b.axis(layer.slice_param.axis, x), x.shape
    place = b.ours(axis, x) - 1
    tops = []
    bounds = slice_bounds(shape[place], layer.slice_param, len(layer.top))
    for top, (start, stop) in zip(layer.top, bounds, strict=True):
        starts, sizes = [0] * len(shape), list(shape)
        starts[place], sizes[place] = start, stop - start
        tops.append(Cut(starts, sizes, name=b.names[top])(x))
    return tops


def _split(b, layer, x):
    return [K.Identity(name=b.names[top])(x) for top in layer.top]


def _crop(b, layer, x, reference):
    axis, shape = b.axis(layer.crop_param.axis, x), b.shape(x)
    starts = crop_starts(len(shape), layer.crop_param)
    sizes = shape[:axis] + b.shape(reference)[axis:]
    if not len(starts) == len(sizes) == len(shape) or any(
        start + size > whole for start, size, whole in zip(starts, sizes, shape, strict=True)
    ):
        raise InputError(f"a part of {sizes} at {starts} is not in its first input")
    order = b.kept(x)[1:]
    return Cut([starts[i] for i in order], [sizes[i] for i in order], name=b.name())(x)


def _flatten(b, layer, x):
    p = layer.flatten_param
    b.axis(p.axis, x), b.axis(p.end_axis, x)
    return b.reshape(x, flattened(b.shape(x), p))


def _reshape(b, layer, x):
    return b.reshape(x, reshaped(b.shape(x), layer.reshape_param))


def _permute(b, layer, x):
    rank = len(x.shape)
    order = permutation(rank, layer.permute_param)
    if sorted(order) != list(range(rank)) or order[0] != 0:
        raise InputError(f"expected an order of the axes 0 to {rank - 1} that keeps 0, got {order}")
    return K.Permute([b.ours(order[axis], x) for axis in b.kept(x)][1:], name=b.name())(x)


def _softmax(b, layer, x):
    return K.Softmax(b.ours(b.axis(layer.softmax_param.axis, x), x), name=b.name())(x)


def _prelu(b, layer, x):
    axes, channel = range(1, len(x.shape)), b.ours(1, x)
    shared = [i for i in axes if layer.prelu_param.channel_shared or i != channel]
    shape = [1 if i in shared else x.shape[i] for i in axes]
    prelu = K.PReLU(shared_axes=shared, name=b.name())
    return b.with_weights(prelu, [(max(shape),)], lambda slope: [slope.reshape(shape)])(x)


#: From a layer's type to its rule; all but those of images.
BLOB_RULES = {
    "InnerProduct": _inner_product,
    "BatchNorm": _batch_norm,
    "Scale": _scale,
    "Bias": _bias,
    "Eltwise": _eltwise,
    "Concat": _concat,
    "Slice": _slice,
    "Split": _split,
    "Crop": _crop,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "Softmax": _softmax,
    "PReLU": _prelu,
    **dict.fromkeys(SIMPLE, _simple),
}
