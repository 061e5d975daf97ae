"""The layers of Caffe that Keras lacks; all take channels last and load without registering."""

import keras
import tensorflow as tf

_registered = keras.saving.register_keras_serializable(package="alexnet_lib")


class _Configured(keras.layers.Layer):
    """A layer whose arguments are its attributes; `ARGUMENTS` names them."""

    ARGUMENTS = ()

    def get_config(self):
        """Return what rebuilds this layer."""
        return super().get_config() | {name: getattr(self, name) for name in self.ARGUMENTS}


@_registered
class FrozenBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization by the stored statistics, also while training: Caffe's TEST phase."""

    def call(self, inputs, training=None, mask=None):
        """Normalize by the moving mean and variance, which stay as they are."""
        return super().call(inputs, training=False, mask=mask)


@_registered
class Scale(_Configured):
    """Multiply by trained factors, add trained addends, or both: Caffe's Scale and Bias.

    Args:
        shape: of the factors; it must broadcast with the input.
        multiply: whether there are factors.
        add: whether there are addends.
    """

    ARGUMENTS = ("shape", "multiply", "add")

    def __init__(self, shape, multiply=True, add=True, **kwargs):
        super().__init__(**kwargs)
        self.shape, self.multiply, self.add = tuple(shape), multiply, add

    def build(self, input_shape):
        """Make the weights: gamma of ones, beta of zeros."""
        make = self.add_weight
        self.gamma = (
            make(shape=self.shape, initializer="ones", name="gamma") if self.multiply else 1
        )
        self.beta = make(shape=self.shape, initializer="zeros", name="beta") if self.add else 0

    def call(self, inputs):
        """Scale a float tensor."""
        y = inputs * self.gamma if self.multiply else inputs
        return y + self.beta if self.add else y


@_registered
class Pointwise(_Configured):
    """Compute function(scale * x + shift) ** power.

    Args:
        function: None, "abs", "exp", or "log".
        scale, shift, power: numbers.
    """

    ARGUMENTS = ("function", "scale", "shift", "power")

    def __init__(self, function=None, scale=1.0, shift=0.0, power=1.0, **kwargs):
        super().__init__(**kwargs)
        self.function, self.scale, self.shift, self.power = function, scale, shift, power

    def call(self, inputs):
        """Transform each value of a float tensor."""
        y = inputs if self.scale == 1 else self.scale * inputs
        y = y if self.shift == 0 else y + self.shift
        y = y if self.function is None else getattr(tf.math, self.function)(y)
        if self.power == 2:
            return tf.square(y)  # a general power is much slower
        return y if self.power == 1 else y**self.power


@_registered
class PaddedPooling2D(_Configured):
    """Pooling with explicit padding: padding never wins a maximum, and counts in an average.

    Args:
        mode: "max" or "average".
        kernel, strides: (height, width).
        pad: (height, width), on both sides.
        overhang: (height, width): what windows reach beyond the padding at the end. It counts
            neither in a maximum nor in an average.
    """

    ARGUMENTS = ("mode", "kernel", "strides", "pad", "overhang")

    def __init__(self, mode, kernel, strides, pad, overhang, **kwargs):
        super().__init__(**kwargs)
        self.mode, self.kernel, self.strides, self.pad, self.overhang = (
            mode, tuple(kernel), tuple(strides), tuple(pad), tuple(overhang),
        )  # fmt: skip

    def call(self, inputs):
        """Pool (batch, height, width, channels)."""
        sides = [(p, p + o) for p, o in zip(self.pad, self.overhang, strict=True)]
        lowest = inputs.dtype.min if self.mode == "max" else 0
        x = tf.pad(inputs, [(0, 0), *sides, (0, 0)], constant_values=lowest)
        pool = tf.nn.max_pool2d if self.mode == "max" else tf.nn.avg_pool2d
        y = pool(x, self.kernel, self.strides, "VALID")
        if self.mode == "max" or not any(self.overhang):
            return y
        for axis, (size, kernel, stride, over) in enumerate(
            zip(y.shape[1:3], self.kernel, self.strides, self.overhang, strict=True)
        ):
            end = x.shape[1 + axis] - over
            counts = [min(i * stride + kernel, end) - i * stride for i in range(size)]
            factors = tf.constant([kernel / count for count in counts], y.dtype)
            y *= tf.reshape(factors, (-1, 1, 1) if axis == 0 else (-1, 1))
        return y


@_registered
class Cut(_Configured):
    """Take a part of a tensor: Caffe's Crop and Slice.

    Args:
        start, size: of every axis but the batch's.
    """

    ARGUMENTS = ("start", "size")

    def __init__(self, start, size, **kwargs):
        super().__init__(**kwargs)
        self.start, self.size = tuple(start), tuple(size)

    def call(self, inputs):
        """Cut (batch, ...)."""
        parts = [slice(a, a + n) for a, n in zip(self.start, self.size, strict=True)]
        return inputs[(slice(None), *parts)]


@_registered
class ZeroInsertion2D(_Configured):
    """Put zeros between pixels and around them: a deconvolution is this and a convolution.

    Args:
        strides: (height, width); `stride - 1` zeros go between two pixels.
        pad: (height, width), on both sides.
    """

    ARGUMENTS = ("strides", "pad")

    def __init__(self, strides, pad, **kwargs):
        super().__init__(**kwargs)
        self.strides, self.pad = tuple(strides), tuple(pad)

    def call(self, inputs):
        """Spread (batch, height, width, channels)."""
        (_, height, width, channels), (down, across) = inputs.shape, self.strides
        x = tf.reshape(inputs, (-1, height, 1, width, 1, channels))
        x = tf.pad(x, [(0, 0), (0, 0), (0, down - 1), (0, 0), (0, across - 1), (0, 0)])
        x = tf.reshape(x, (-1, height * down, width * across, channels))
        x = x[:, : (height - 1) * down + 1, : (width - 1) * across + 1]
        return tf.pad(x, [(0, 0), *((p, p) for p in self.pad), (0, 0)])


@_registered
class L2Normalization(_Configured):
    """Divide by the Euclidean norm over the channels, or over the whole image.

    Args:
        across_spatial: whether the norm is that of the whole image.
        epsilon: added to the sum of squares.
    """

    ARGUMENTS = ("across_spatial", "epsilon")

    def __init__(self, across_spatial=False, epsilon=1e-10, **kwargs):
        super().__init__(**kwargs)
        self.across_spatial, self.epsilon = across_spatial, epsilon

    def call(self, inputs):
        """Normalize (batch, height, width, channels)."""
        axes = (1, 2, 3) if self.across_spatial else -1
        total = tf.reduce_sum(tf.square(inputs), axes, keepdims=True)
        return inputs * tf.math.rsqrt(total + self.epsilon)


@_registered
class MeanVarianceNormalization(_Configured):
    """Subtract the mean over an image, and divide by the standard deviation: Caffe's MVN.

    Args:
        across_channels: whether all channels share one mean.
        variance: whether to divide.
        epsilon: added to the standard deviation, not to the variance.
    """

    ARGUMENTS = ("across_channels", "variance", "epsilon")

    def __init__(self, across_channels=False, variance=True, epsilon=1e-9, **kwargs):
        super().__init__(**kwargs)
        self.across_channels, self.variance, self.epsilon = across_channels, variance, epsilon

    def call(self, inputs):
        """Normalize (batch, height, width, channels)."""
        axes = (1, 2, 3) if self.across_channels else (1, 2)
        y = inputs - tf.reduce_mean(inputs, axes, keepdims=True)
        if not self.variance:
            return y
        return y / (tf.sqrt(tf.reduce_mean(tf.square(y), axes, keepdims=True)) + self.epsilon)
