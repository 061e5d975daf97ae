"""What each of Caffe's layers computes, in NumPy and written for reading.

Every rule follows the C++ source of BVLC/caffe, src/caffe/layers (Permute and Normalize: SSD's
fork, weiliu89/caffe), in Caffe's own layout: batch, channels, height, width. It is the oracle for
layers that OpenCV's importer computes in another way, and slow: use it to check, not to run.
"""

import itertools

import numpy as np

from alexnet_lib.errors import InputError

__all__ = ["RULES", "forward", "pooled_size", "reshaped", "run", "slice_bounds", "window"]


def window(param):
    """Return kernel, stride, pad and dilation of a convolution or pooling, each (height, width)."""

    def pair(field, suffix):
        given = [f"{suffix}_h", f"{suffix}_w"]
        if any(param.HasField(name) for name in given):
            return tuple(getattr(param, name) for name in given)
        value = getattr(param, field, [])
        values = [value] if isinstance(value, int) else list(value)
        default = {"kernel": 0, "pad": 0}.get(suffix, 1)
        return tuple((values * 2)[:2]) or (default, default)

    dilation = (list(getattr(param, "dilation", [])) * 2)[:2] or (1, 1)
    return pair("kernel_size", "kernel"), pair("stride", "stride"), pair("pad", "pad"), (*dilation,)


def pooled_size(sizes, param):
    """Return what pooling makes of (height, width): rounded up, unless a window starts in padding.

    `ceil_mode: false` of forks, and `round_mode: FLOOR`, round down.
    """
    kernel, stride, pad, _ = window(param)
    down = param.round_mode == 1 or not param.ceil_mode
    result = []
    for n, k, s, p in zip(sizes, kernel, stride, pad, strict=True):
        span = n + 2 * p - k
        count = (span if down else span + s - 1) // s + 1
        if any(pad) and (count - 1) * s >= n + p:
            count -= 1
        result.append(count)
    return tuple(result)


def reshaped(shape, param):
    """Return the shape that `reshape_param` makes of `shape`; 0 copies a dimension, -1 fits one.

    Raises:
        ValueError: where the numbers of values differ.
    """
    start = param.axis if param.axis >= 0 else param.axis + len(shape) + 1
    stop = len(shape) if param.num_axes == -1 else start + param.num_axes
    dims = [shape[start + i] if dim == 0 else dim for i, dim in enumerate(param.shape.dim)]
    result = [*shape[:start], *dims, *shape[stop:]]
    if result.count(-1) == 1:
        known = -int(np.prod(result))
        result[result.index(-1)] = int(np.prod(shape)) // max(known, 1)
    if min(result, default=0) < 0 or np.prod(result) != np.prod(shape):
        raise InputError(f"expected a shape of {np.prod(shape)} values, got {tuple(result)}")
    return tuple(result)


def slice_bounds(size, param, tops):
    """Return where Slice cuts an axis of `size`: `tops` pairs of start and stop."""
    points = list(param.slice_point) or [size * i // tops for i in range(1, tops)]
    edges = [0, *points, size]
    if (
        len(points) != tops - 1
        or edges != sorted(set(edges))
        or (not param.slice_point and size % tops)
    ):
        raise InputError(f"expected {tops} slices of {size} channels, got points {points}")
    return list(itertools.pairwise(edges))


def forward(layer, bottoms, blobs=()):
    """Compute one layer.

    Args:
        layer: a `LayerParameter`, today's form.
        bottoms: the layer's inputs, arrays in Caffe's layout; their dtype is kept.
        blobs: the layer's weights in Caffe's layout.

    Returns:
        A list of arrays, the layer's tops.

    Raises:
        ValueError: for a layer type without a rule here.
    """
    if layer.type not in RULES:
        raise InputError(f"layer {layer.name!r}: there is no reference for type {layer.type!r}")
    tops = RULES[layer.type](layer, *bottoms, blobs=blobs)
    return tops if isinstance(tops, list) else [tops]


def run(net, blobs, inputs):
    """Compute a whole network.

    Args:
        net: a `NetParameter` in normal form.
        blobs: a dict from layer name to its blobs.
        inputs: a dict from the name of each input to an array in Caffe's layout.

    Returns:
        A dict from each blob's name to its array, inputs included.
    """
    values = dict(inputs)
    for layer in net.layer:
        if layer.type != "Input":
            tops = forward(
                layer, [values[name] for name in layer.bottom], blobs.get(layer.name, ())
            )
            values |= zip(layer.top, tops, strict=True)
    return values


RULES = {}


def _rule(function):
    RULES[function.__name__.strip("_")] = function
    return function


def _along(vector, axis, rank):
    """Shape `vector` so that its first axis meets axis `axis` of a blob of `rank` axes."""
    return vector.reshape((1,) * axis + vector.shape + (1,) * (rank - axis - vector.ndim))


def _axis(axis, x):
    return axis % x.ndim


@_rule
def Convolution(layer, x, blobs):
    p = layer.convolution_param
    kernel, stride, pad, dilation = window(p)
    weights = np.reshape(blobs[0], (p.num_output, -1, *kernel))
    x = np.pad(x, ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    parts = [
        np.tensordot(part, filters, ([1, 4, 5], [1, 2, 3]))
        for part, filters in zip(
            np.split(windows, p.group, axis=1), np.split(weights, p.group), strict=True
        )
    ]
    y = np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)
    return y + _along(np.ravel(blobs[1]), 1, 4) if p.bias_term else y


@_rule
def Deconvolution(layer, x, blobs):
    p = layer.convolution_param
    kernel, stride, pad, dilation = window(p)
    batch, channels, *size = x.shape
    x = x.reshape(batch, p.group, channels // p.group, *size)
    weights = np.reshape(blobs[0], (p.group, channels // p.group, -1, *kernel))
    full = [
        s * (n - 1) + d * (k - 1) + 1
        for n, k, s, d in zip(size, kernel, stride, dilation, strict=True)
    ]
    y = np.zeros((batch, p.group, p.num_output // p.group, *full), x.dtype)
    for i in range(kernel[0]):  # each input adds its kernel to the output
        for j in range(kernel[1]):
            rows = slice(
                i * dilation[0], i * dilation[0] + stride[0] * (size[0] - 1) + 1, stride[0]
            )
            columns = slice(
                j * dilation[1], j * dilation[1] + stride[1] * (size[1] - 1) + 1, stride[1]
            )
            y[..., rows, columns] += np.einsum("ngchw,gco->ngohw", x, weights[..., i, j])
    y = y.reshape(batch, p.num_output, *full)
    y = y[:, :, pad[0] : full[0] - pad[0], pad[1] : full[1] - pad[1]]
    return y + _along(np.ravel(blobs[1]), 1, 4) if p.bias_term else y


@_rule
def Pooling(layer, x, blobs):
    p = layer.pooling_param
    if p.global_pooling:
        return (x.max if p.pool == 0 else x.mean)((2, 3), keepdims=True)
    kernel, stride, pad, _ = window(p)
    size = pooled_size(x.shape[2:], p)
    y = np.empty((*x.shape[:2], *size), x.dtype)
    for i, j in np.ndindex(*size):
        start = i * stride[0] - pad[0], j * stride[1] - pad[1]
        # Padding counts in an average, what hangs over it at the end does not.
        stop = [
            min(a + k, n + q) for a, k, n, q in zip(start, kernel, x.shape[2:], pad, strict=True)
        ]
        seen = x[:, :, max(start[0], 0) : stop[0], max(start[1], 0) : stop[1]]
        if p.pool == 0:
            y[:, :, i, j] = seen.max((2, 3), initial=-np.finfo(np.float32).max)
        else:
            y[:, :, i, j] = seen.sum((2, 3)) / ((stop[0] - start[0]) * (stop[1] - start[1]))
    return y


@_rule
def LRN(layer, x, blobs):
    p = layer.lrn_param
    n = p.local_size
    if p.norm_region == 1:  # within a channel: a mean over space; k is not used
        padded = np.pad(x * x, ((0, 0), (0, 0), (n // 2,) * 2, (n // 2,) * 2))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (n, n), axis=(2, 3))
        return x * (1 + p.alpha * windows.mean((-1, -2))) ** -p.beta
    padded = np.pad(x * x, ((0, 0), (n // 2,) * 2, (0, 0), (0, 0)))
    total = np.lib.stride_tricks.sliding_window_view(padded, n, axis=1).sum(-1)
    return x * (p.k + p.alpha / n * total) ** -p.beta


@_rule
def InnerProduct(layer, x, blobs):
    p = layer.inner_product_param
    axis = _axis(p.axis, x)
    rows = x.reshape(*x.shape[:axis], -1)
    if p.transpose:
        y = rows @ np.reshape(blobs[0], (-1, p.num_output))
    else:
        y = rows @ np.reshape(blobs[0], (p.num_output, -1)).T
    return y + np.ravel(blobs[1]) if p.bias_term else y


@_rule
def BatchNorm(layer, x, blobs):
    mean, variance, factor = (np.ravel(blob).astype(x.dtype) for blob in blobs)
    factor = 0 if factor[0] == 0 else 1 / factor[0]
    mean, variance = (_along(blob * factor, 1, x.ndim) for blob in (mean, variance))
    return (x - mean) / np.sqrt(variance + layer.batch_norm_param.eps)


def _coefficients(p, x, factor, blob):
    axis = _axis(p.axis, x)
    if factor is not None:
        return _along(factor, axis, x.ndim)
    stop = x.ndim if p.num_axes == -1 else axis + p.num_axes
    return _along(np.reshape(blob, x.shape[axis:stop]), axis, x.ndim)


@_rule
def Scale(layer, x, factor=None, blobs=()):
    p = layer.scale_param
    own = list(blobs)
    first = None if factor is not None else own.pop(0)
    y = x * _coefficients(p, x, factor, first)
    if not p.bias_term:
        return y
    bias = np.reshape(own[0], np.shape(factor) if factor is not None else np.shape(first))
    return y + _coefficients(p, x, bias if factor is not None else None, bias)


@_rule
def Bias(layer, x, addend=None, blobs=()):
    return x + _coefficients(layer.bias_param, x, addend, None if addend is not None else blobs[0])


@_rule
def Eltwise(layer, *bottoms, blobs):
    p = layer.eltwise_param
    if p.operation == 1:
        return sum(c * x for c, x in zip(p.coeff or [1] * len(bottoms), bottoms, strict=True))
    combine = np.multiply if p.operation == 0 else np.maximum
    result = bottoms[0]
    for x in bottoms[1:]:
        result = combine(result, x)
    return result


@_rule
def Slice(layer, x, blobs):
    axis = _axis(layer.slice_param.axis, x)
    bounds = slice_bounds(x.shape[axis], layer.slice_param, len(layer.top))
    return [x.take(range(*pair), axis) for pair in bounds]


@_rule
def Softmax(layer, x, blobs):
    axis = layer.softmax_param.axis
    y = np.exp(x - x.max(axis, keepdims=True))
    return y / y.sum(axis, keepdims=True)


RULES |= {
    # Both are the identity in the TEST phase; while training, Caffe's dropout scales what it keeps.
    "Dropout": lambda layer, x, blobs: x,
    "Split": lambda layer, x, blobs: [x] * len(layer.top),
    "ReLU": lambda layer, x, blobs: np.where(x > 0, x, layer.relu_param.negative_slope * x),
    "PReLU": lambda layer, x, blobs: np.where(x > 0, x, _along(np.ravel(blobs[0]), 1, x.ndim) * x),
    "ELU": lambda layer, x, blobs: np.where(
        x > 0, x, layer.elu_param.alpha * np.expm1(np.minimum(x, 0))
    ),
    "BNLL": lambda layer, x, blobs: np.logaddexp(0, x),
    "Sigmoid": lambda layer, x, blobs: 0.5 * np.tanh(0.5 * x) + 0.5,
    "TanH": lambda layer, x, blobs: np.tanh(x),
    "AbsVal": lambda layer, x, blobs: np.abs(x),
    "Power": lambda layer, x, blobs: (
        (layer.power_param.shift + layer.power_param.scale * x) ** layer.power_param.power
    ),
    "Concat": lambda layer, *bottoms, blobs: np.concatenate(bottoms, layer.concat_param.axis),
    "Reshape": lambda layer, x, blobs: x.reshape(reshaped(x.shape, layer.reshape_param)),
}


@_rule
def Exp(layer, x, blobs):
    p = layer.exp_param
    return np.exp((p.shift + p.scale * x) * (1 if p.base == -1 else np.log(p.base)))


@_rule
def Log(layer, x, blobs):
    p = layer.log_param
    return np.log(p.shift + p.scale * x) / (1 if p.base == -1 else np.log(p.base))


@_rule
def Flatten(layer, x, blobs):
    first, last = (
        _axis(axis, x) for axis in (layer.flatten_param.axis, layer.flatten_param.end_axis)
    )
    return x.reshape(*x.shape[:first], -1, *x.shape[last + 1 :])


@_rule
def Permute(layer, x, blobs):
    order = list(layer.permute_param.order)
    return x.transpose(order + [axis for axis in range(x.ndim) if axis not in order])


@_rule
def Crop(layer, x, reference, blobs):
    axis = _axis(layer.crop_param.axis, x)
    offsets = list(layer.crop_param.offset) or [0]
    offsets = offsets * (x.ndim - axis) if len(offsets) == 1 else offsets
    cuts = [slice(o, o + n) for o, n in zip(offsets, reference.shape[axis:], strict=True)]
    return x[(slice(None),) * axis + tuple(cuts)]


@_rule
def Normalize(layer, x, blobs):
    p = layer.norm_param
    axes = (1, 2, 3) if p.across_spatial else 1
    norm = np.sqrt((x * x).sum(axes, keepdims=True) + p.eps)
    return x / norm * _along(np.ravel(blobs[0]).astype(x.dtype), 1, 4)


@_rule
def MVN(layer, x, blobs):
    p = layer.mvn_param
    axes = (1, 2, 3) if p.across_channels else (2, 3)
    y = x - x.mean(axes, keepdims=True)
    return y / (np.sqrt((y * y).mean(axes, keepdims=True)) + p.eps) if p.normalize_variance else y
