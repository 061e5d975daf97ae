"""What each of Caffe's layers computes, in NumPy and written for reading.

Every rule follows the C++ source of BVLC/caffe, src/caffe/layers (Permute and Normalize: SSD's
fork, weiliu89/caffe), in Caffe's own layout: batch, channels, height, width. It is the oracle for
layers that OpenCV's importer gets wrong, and slow: use it to check, not to run.
"""

import functools

import numpy as np

from alexnet_lib.caffe.parameters import (
    crop_starts,
    flattened,
    permutation,
    pooled_size,
    reshaped,
    slice_bounds,
    window,
)
from alexnet_lib.errors import InputError

__all__ = ["forward", "run"]


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


RULES = {
    # Both are the identity in the TEST phase; while training, Caffe's dropout scales what it keeps.
    "Dropout": lambda layer, x, blobs: x,
    "Split": lambda layer, x, blobs: [x] * len(layer.top),
    "BNLL": lambda layer, x, blobs: np.logaddexp(0, x),
    "Sigmoid": lambda layer, x, blobs: 0.5 * np.tanh(0.5 * x) + 0.5,
    "TanH": lambda layer, x, blobs: np.tanh(x),
    "AbsVal": lambda layer, x, blobs: np.abs(x),
    "Concat": lambda layer, *bottoms, blobs: np.concatenate(bottoms, layer.concat_param.axis),
    "Reshape": lambda layer, x, blobs: x.reshape(reshaped(x.shape, layer.reshape_param)),
    "Flatten": lambda layer, x, blobs: x.reshape(flattened(x.shape, layer.flatten_param)),
    "Permute": lambda layer, x, blobs: x.transpose(permutation(x.ndim, layer.permute_param)),
}


def _rule(function):
    RULES[function.__name__] = function
    return function


def _along(vector, axis, rank):
    """Shape `vector` so that its first axis meets axis `axis` of a blob of `rank` axes."""
    return vector.reshape((1,) * axis + vector.shape + (1,) * (rank - axis - vector.ndim))


def _windows(x, kernel, pad):
    """Return all windows (batch, channels, height, width, *kernel) of an image padded by zeros."""
    x = np.pad(x, ((0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2))
    return np.lib.stride_tricks.sliding_window_view(x, kernel, axis=(2, 3))


@_rule
def Convolution(layer, x, blobs):
    p = layer.convolution_param
    kernel, stride, pad, dilation = np.array(window(p))
    windows = _windows(x, dilation * (kernel - 1) + 1, pad)
    windows = windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    inputs = np.split(windows, p.group, axis=1)
    weights = np.split(np.reshape(blobs[0], (p.num_output, -1, *kernel)), p.group)
    pairs = zip(inputs, weights, strict=True)
    y = np.concatenate([np.einsum("nchwij,ocij->nohw", *pair, optimize=True) for pair in pairs], 1)
    return y + _along(np.ravel(blobs[1]), 1, 4) if p.bias_term else y


@_rule
def Deconvolution(layer, x, blobs):
    p = layer.convolution_param
    kernel, stride, pad, dilation = np.array(window(p))
    batch, channels, *size = x.shape
    x = x.reshape(batch, p.group, channels // p.group, *size)
    weights = np.reshape(blobs[0], (p.group, channels // p.group, -1, *kernel))
    reach = stride * (np.array(size) - 1) + 1
    full = reach + dilation * (kernel - 1)
    y = np.zeros((batch, p.group, p.num_output // p.group, *full), x.dtype)
    for i, j in np.ndindex(*kernel):  # each input adds its kernel to the output
        (top, left), (down, right) = dilation * (i, j), dilation * (i, j) + reach
        part = np.einsum("ngchw,gco->ngohw", x, weights[..., i, j])
        y[..., top : down : stride[0], left : right : stride[1]] += part
    y = y.reshape(batch, p.num_output, *full)
    y = y[:, :, pad[0] : full[0] - pad[0], pad[1] : full[1] - pad[1]]
    return y + _along(np.ravel(blobs[1]), 1, 4) if p.bias_term else y


@_rule
def Pooling(layer, x, blobs):
    p = layer.pooling_param
    if p.global_pooling:
        return (x.max if p.pool == 0 else x.mean)((2, 3), keepdims=True)
    kernel, stride, pad, _ = np.array(window(p))
    size = pooled_size(x.shape[2:], p)
    y = np.empty((*x.shape[:2], *size), x.dtype)
    for i, j in np.ndindex(*size):
        start = stride * (i, j) - pad
        # Padding counts in an average, what hangs over it at the end does not.
        stop = np.minimum(start + kernel, x.shape[2:] + pad)
        (top, left), (down, right) = np.maximum(start, 0), stop
        seen = x[:, :, top:down, left:right]
        if p.pool == 0:
            y[:, :, i, j] = seen.max((2, 3), initial=-np.finfo(np.float32).max)
        else:
            y[:, :, i, j] = seen.sum((2, 3)) / np.prod(stop - start)
    return y


@_rule
def LRN(layer, x, blobs):
    p = layer.lrn_param
    n, beside = p.local_size, (p.local_size // 2,) * 2
    if p.norm_region == 1:  # within a channel: a mean over space; k is not used
        return x * (1 + p.alpha * _windows(x * x, (n, n), beside).mean((4, 5))) ** -p.beta
    padded = np.pad(x * x, ((0, 0), beside, (0, 0), (0, 0)))
    total = np.lib.stride_tricks.sliding_window_view(padded, n, axis=1).sum(-1)
    return x * (p.k + p.alpha / n * total) ** -p.beta


@_rule
def InnerProduct(layer, x, blobs):
    p = layer.inner_product_param
    shape = (-1, p.num_output) if p.transpose else (p.num_output, -1)
    kernel = np.reshape(blobs[0], shape)
    rows = x.reshape(*x.shape[: p.axis % x.ndim], -1)
    y = rows @ (kernel if p.transpose else kernel.T)
    return y + np.ravel(blobs[1]) if p.bias_term else y


@_rule
def BatchNorm(layer, x, blobs):
    mean, variance, factor = (np.ravel(blob).astype(x.dtype) for blob in blobs)
    factor = 0 if factor[0] == 0 else 1 / factor[0]
    mean, variance = (_along(blob * factor, 1, x.ndim) for blob in (mean, variance))
    return (x - mean) / np.sqrt(variance + layer.batch_norm_param.eps)


def _coefficients(p, x, other, blobs):
    """Return the second input, if any, and the blobs of Scale or Bias in the rank of `x`."""
    axis = p.axis % x.ndim
    stop = x.ndim if p.num_axes == -1 else axis + p.num_axes
    shape = x.shape[axis:stop] if other is None else other.shape
    first = [] if other is None else [other]
    return [_along(np.reshape(blob, shape), axis, x.ndim) for blob in (*first, *blobs)]


@_rule
def Scale(layer, x, other=None, blobs=()):
    factor, *bias = _coefficients(layer.scale_param, x, other, blobs)
    return x * factor + sum(bias)


@_rule
def Bias(layer, x, other=None, blobs=()):
    (bias,) = _coefficients(layer.bias_param, x, other, blobs)
    return x + bias


@_rule
def Eltwise(layer, *bottoms, blobs):
    p = layer.eltwise_param
    if p.operation == 1:
        return sum(c * x for c, x in zip(p.coeff or [1] * len(bottoms), bottoms, strict=True))
    return functools.reduce(np.multiply if p.operation == 0 else np.maximum, bottoms)


@_rule
def Slice(layer, x, blobs):
    p = layer.slice_param
    bounds = slice_bounds(x.shape[p.axis], p, len(layer.top))
    return [x.take(range(*pair), p.axis) for pair in bounds]


@_rule
def Crop(layer, x, reference, blobs):
    axis = layer.crop_param.axis % x.ndim
    sizes = x.shape[:axis] + reference.shape[axis:]
    starts = crop_starts(x.ndim, layer.crop_param)
    return x[tuple(slice(a, a + n) for a, n in zip(starts, sizes, strict=True))]


@_rule
def Softmax(layer, x, blobs):
    axis = layer.softmax_param.axis
    y = np.exp(x - x.max(axis, keepdims=True))
    return y / y.sum(axis, keepdims=True)


@_rule
def ReLU(layer, x, blobs):
    return np.where(x > 0, x, layer.relu_param.negative_slope * x)


@_rule
def PReLU(layer, x, blobs):
    return np.where(x > 0, x, _along(np.ravel(blobs[0]), 1, x.ndim) * x)


@_rule
def ELU(layer, x, blobs):
    return np.where(x > 0, x, layer.elu_param.alpha * np.expm1(np.minimum(x, 0)))


@_rule
def Power(layer, x, blobs):
    p = layer.power_param
    return (p.shift + p.scale * x) ** p.power


@_rule
def Exp(layer, x, blobs):
    p = layer.exp_param
    return np.exp((p.shift + p.scale * x) * (1 if p.base == -1 else np.log(p.base)))


@_rule
def Log(layer, x, blobs):
    p = layer.log_param
    return np.log(p.shift + p.scale * x) / (1 if p.base == -1 else np.log(p.base))


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
