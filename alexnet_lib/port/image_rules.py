"""How the layers of images are built: convolution, pooling and normalization.

A rule takes the builder of `network`, a layer's description and its inputs, channels last, and
returns the output of Keras layers that compute exactly the same.
"""

import numpy as np

from alexnet_lib.caffe.parameters import decimal, pooled_size, window
from alexnet_lib.errors import InputError
from alexnet_lib.port.backend import keras
from alexnet_lib.port.caffe_layers import (
    L2Normalization,
    MeanVarianceNormalization,
    PaddedPooling2D,
    Pointwise,
    Scale,
    ZeroInsertion2D,
)
from alexnet_lib.port.layers import GroupedConv2D, LocalResponseNormalization

__all__ = ["IMAGE_RULES"]

K = keras.layers


def _checked_window(p, channels):
    """Return kernel, stride, pad and dilation of a convolution as arrays."""
    kernel, stride, pad, dilation = np.array(window(p))
    if min(*kernel, *stride, *dilation, p.num_output, p.group) < 1 or p.axis != 1:
        raise InputError(
            "expected positive num_output, kernel_size, stride, dilation and group, and axis 1"
        )
    if channels % p.group or p.num_output % p.group:
        raise InputError(
            f"{p.group} groups do not divide {channels} channels or {p.num_output} outputs"
        )
    return kernel, stride, pad, dilation


def _is_same(size, reach, stride, pad, counts):
    """Return whether TensorFlow's SAME pads as Caffe does; it costs no pass over memory."""
    total = np.maximum((counts - 1) * stride + reach - size, 0)
    return np.array_equal(counts, -(-size // stride)) and np.array_equal(total // 2, pad)


def _convolve(b, x, p, stride, dilation, padding="valid", shape=None, turn=None):
    """Add a convolution; `turn` makes Caffe's usual kernel of a blob of another `shape`."""
    channels, kernel = x.shape[3], window(p)[0]
    apart = max(dilation) > 1 and max(stride) > 1  # Keras does one or the other
    steps = (1, 1) if apart else tuple(stride.tolist())
    options = {
        "strides": steps, "padding": padding, "dilation_rate": dilation.tolist(),
        "use_bias": p.bias_term, "name": b.name("dense" if apart else ""),
    }  # fmt: skip
    usual, order = (p.num_output, channels // p.group, *kernel), (2, 3, 1, 0)
    if p.group == channels > 1 and steps[0] == steps[1]:
        usual, order = (channels, -1, *kernel), (2, 3, 0, 1)
        own = {key.replace("kernel", "depthwise"): value for key, value in b.options.items()}
        multiplier = p.num_output // channels
        layer = K.DepthwiseConv2D(kernel, depth_multiplier=multiplier, **own, **options)
    else:
        layer = GroupedConv2D(p.num_output, kernel, groups=p.group, **b.options, **options)

    def convert(blob):
        return (turn(blob) if turn else blob).reshape(usual).transpose(order)

    shape = shape or (p.num_output, channels // p.group, *kernel)
    x = b.with_kernel(layer, p, shape, convert)(x)
    return K.MaxPooling2D(1, stride.tolist(), name=b.name())(x) if apart else x


def _convolution(b, layer, x):
    p = layer.convolution_param
    size, channels = b.image(x)
    kernel, stride, pad, dilation = _checked_window(p, channels)
    reach = dilation * (kernel - 1) + 1
    counts = (size + 2 * pad - reach) // stride + 1
    if min(counts) < 1:
        raise InputError(f"its window of {tuple(kernel.tolist())} does not fit into the image")
    padding = "valid"
    if any(pad):
        apart = max(dilation) > 1 and max(stride) > 1  # then the padding meets a stride of 1
        if not apart and _is_same(size, reach, stride, pad, counts):
            padding = "same"
        else:
            x = K.ZeroPadding2D(pad.tolist(), name=b.name("pad"))(x)
    return _convolve(b, x, p, stride, dilation, padding)


def _deconvolution(b, layer, x):
    p = layer.convolution_param
    _, channels = b.image(x)
    kernel, stride, pad, dilation = _checked_window(p, channels)
    shape = (channels, p.num_output // p.group, *kernel.tolist())
    if p.group == max(dilation) == 1:
        same = np.array_equal(kernel - stride, 2 * pad)
        # TensorFlow makes room for `stride` pixels even where the kernel is smaller.
        extra = np.maximum(stride - kernel, 0)
        cut = np.stack([pad, pad + extra], axis=1)
        crop = not same and cut.any()
        layer = K.Conv2DTranspose(
            p.num_output, kernel.tolist(), stride.tolist(), padding="same" if same else "valid",
            use_bias=p.bias_term, name=b.name("whole" if crop else ""), **b.options,
        )  # fmt: skip
        x = b.with_kernel(layer, p, shape, lambda blob: blob.transpose(2, 3, 1, 0))(x)
        return K.Cropping2D(cut.tolist(), name=b.name())(x) if crop else x
    around = dilation * (kernel - 1) - pad
    if min(around) < 0:
        raise InputError(f"its pad of {tuple(pad.tolist())} is larger than its kernel reaches")

    def turn(blob):
        groups = blob.reshape(p.group, channels // p.group, -1, *kernel).swapaxes(1, 2)
        return groups[..., ::-1, ::-1]

    x = ZeroInsertion2D(stride.tolist(), around.tolist(), name=b.name("zeros"))(x)
    return _convolve(b, x, p, np.array([1, 1]), dilation, shape=shape, turn=turn)


def _pooling(b, layer, x):
    p = layer.pooling_param
    size, _ = b.image(x)
    if p.pool == 2:
        raise InputError("stochastic pooling cannot be ported: it samples, also in the TEST phase")
    largest = p.pool == 0
    if p.global_pooling:
        pool = K.GlobalMaxPooling2D if largest else K.GlobalAveragePooling2D
        return pool(keepdims=True, name=b.name())(x)
    kernel, stride, pad, _ = np.array(window(p))
    if min(*kernel, *stride) < 1 or any(pad >= kernel) or min(pooled_size(size, p)) < 1:
        raise InputError(
            f"a kernel of {kernel.tolist()}, stride {stride.tolist()} and pad {pad.tolist()} "
            "does not fit"
        )
    counts = np.array(pooled_size(size, p))
    # How far the last window reaches beyond the padding.
    overhang = np.maximum((counts - 1) * stride + kernel - size - 2 * pad, 0)
    # SAME leaves padding out of averages.
    same = (largest or not any(pad)) and _is_same(size, kernel, stride, pad, counts)
    kernel, stride = kernel.tolist(), stride.tolist()
    if same or (not any(pad) and not any(overhang)):
        pool = K.MaxPooling2D if largest else K.AveragePooling2D
        padding = "same" if any(pad) or any(overhang) else "valid"
        return pool(kernel, stride, padding, name=b.name())(x)
    mode = "max" if largest else "average"
    return PaddedPooling2D(mode, kernel, stride, pad.tolist(), overhang.tolist(), name=b.name())(x)


def _lrn(b, layer, x):
    p = layer.lrn_param
    b.image(x)
    if p.norm_region == 0:
        numbers = map(decimal, (p.alpha, p.beta, p.k))
        return LocalResponseNormalization.from_caffe(p.local_size, *numbers, name=b.name())(x)
    if p.local_size % 2 == 0:
        raise InputError(f"expected an odd local_size, got {p.local_size}")
    square = Pointwise(power=2, name=b.name("square"))(x)
    padded = K.ZeroPadding2D(p.local_size // 2, name=b.name("pad"))(square)
    mean = K.AveragePooling2D(p.local_size, 1, name=b.name("mean"))(padded)
    factor = Pointwise(None, p.alpha, 1.0, -p.beta, name=b.name("factor"))(mean)
    return K.Multiply(name=b.name())([x, factor])


def _normalize(b, layer, x):
    p = layer.norm_param
    _, channels = b.image(x)
    shape = (1 if p.channel_shared else channels,)
    x = L2Normalization(p.across_spatial, p.eps, name=b.name("unit"))(x)
    return b.with_weights(Scale(shape, add=False, name=b.name()), [shape])(x)


def _mvn(b, layer, x):
    p = layer.mvn_param
    b.image(x)
    across, variance = p.across_channels, p.normalize_variance
    return MeanVarianceNormalization(across, variance, p.eps, name=b.name())(x)


#: From a layer's type to its rule; every rule of images.
IMAGE_RULES = {
    "Convolution": _convolution,
    "Deconvolution": _deconvolution,
    "Pooling": _pooling,
    "LRN": _lrn,
    "Normalize": _normalize,
    "MVN": _mvn,
}
