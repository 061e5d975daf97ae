"""The layers of Caffe that Keras lacks; all take channels last and load without registering."""

import tensorflow as tf

from alexnet_lib.port.backend import keras

__all__ = [
    "Cut",
    "FrozenBatchNormalization",
    "L2Normalization",
    "MeanVarianceNormalization",
    "PaddedPooling2D",
    "Pointwise",
    "Scale",
    "ZeroInsertion2D",
]

_registered = keras.saving.register_keras_serializable(package="alexnet_lib")


class _Configured(keras.layers.Layer):
    """A layer that keeps its arguments as attributes; a subclass's header names them."""

    def __init_subclass__(cls, **defaults):
        super().__init_subclass__()
        cls.defaults = defaults

    def __init__(self, *values, **kwargs):
        own = self.defaults | dict(zip(self.defaults, values, strict=False))
        own |= {name: kwargs.pop(name) for name in self.defaults if name in kwargs}
        super().__init__(**kwargs)
        for name, value in own.items():
            setattr(self, name, tuple(value) if isinstance(value, list) else value)

    def get_config(self):
        """Return the arguments that rebuild this layer."""
        return super().get_config() | {name: getattr(self, name) for name in self.defaults}


@_registered
class FrozenBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalization by the stored statistics, also while training: Caffe's TEST phase."""

    def call(self, inputs, training=None, mask=None):
        """Normalize by the moving mean and variance, which stay as they are."""
        return super().call(inputs, training=False, mask=mask)


@_registered
class Scale(_Configured, shape=(), multiply=True, add=True):
    """Multiply by trained factors, add trained addends, or both: Caffe's Scale and Bias.

    Args:
        shape: of the factors and addends; it must broadcast with the input.
        multiply, add: whether there are factors, and addends.
    """

    def build(self, input_shape):
        """Make the weights: gamma of ones, beta of zeros."""
        if self.multiply:
            self.gamma = self.add_weight(shape=self.shape, initializer="ones", name="gamma")
        if self.add:
            self.beta = self.add_weight(shape=self.shape, initializer="zeros", name="beta")

    def call(self, inputs):
        """Scale a float tensor."""
        y = inputs * self.gamma if self.multiply else inputs
        return y + self.beta if self.add else y


@_registered
class Pointwise(_Configured, function=None, scale=1.0, shift=0.0, power=1.0, factor=1.0):
    """Compute factor * function(scale * x + shift) ** power.

    Args:
        function: None, "abs", "exp" or "log".
        scale, shift, power, factor: numbers.
    """

    def call(self, inputs):
        """Transform each value of a float tensor."""
        y = inputs if self.scale == 1 else self.scale * inputs
        y = y if self.shift == 0 else y + self.shift
        y = y if self.function is None else getattr(tf.math, self.function)(y)
        if self.power != 1:
            y = tf.square(y) if self.power == 2 else y**self.power  # a general power is slow
        return y if self.factor == 1 else self.factor * y


@_registered
class PaddedPooling2D(_Configured, mode=None, kernel=None, strides=None, pad=None, overhang=None):
    """Pooling with explicit padding: padding never wins a maximum, and counts in an average.

    Args:
        mode: "max" or "average".
        kernel, strides: (height, width).
        pad: (height, width), on both sides.
        overhang: (height, width): what windows reach beyond the padding at the end. It counts
            neither in a maximum nor in an average.
    """

    def call(self, inputs):
        """Pool (batch, height, width, channels)."""
        sides = [(p, p + o) for p, o in zip(self.pad, self.overhang, strict=True)]
        lowest = inputs.dtype.min if self.mode == "max" else 0
        x = tf.pad(inputs, [(0, 0), *sides, (0, 0)], constant_values=lowest)
        pool = tf.nn.max_pool2d if self.mode == "max" else tf.nn.avg_pool2d
        y = pool(x, self.kernel, self.strides, "VALID")
        if self.mode == "max" or not any(self.overhang):
            return y
        for axis, (kernel, stride, over) in enumerate(
            zip(self.kernel, self.strides, self.overhang, strict=True), start=1
        ):
            starts = tf.range(y.shape[axis]) * stride
            counts = tf.minimum(starts + kernel, x.shape[axis] - over) - starts
            factors = kernel / tf.cast(counts, y.dtype)
            y *= tf.reshape(factors, (-1, 1, 1) if axis == 1 else (-1, 1))
        return y


@_registered
class Cut(_Configured, start=(), size=()):
    """Take a part of a tensor: Caffe's Crop and Slice.

    Args:
        start, size: of every axis but the batch's.
    """

    def call(self, inputs):
        """Cut (batch, ...)."""
        parts = [slice(a, a + n) for a, n in zip(self.start, self.size, strict=True)]
        return inputs[(slice(None), *parts)]


@_registered
class ZeroInsertion2D(_Configured, strides=(1, 1), pad=(0, 0)):
    """Put zeros between pixels and around them: a deconvolution is this and a convolution.

    Args:
        strides: (height, width); `stride - 1` zeros go between two pixels.
        pad: (height, width), on both sides.
    """

    def call(self, inputs):
        """Spread (batch, height, width, channels)."""
        (_, height, width, channels), (down, across) = inputs.shape, self.strides
        row = width * across * channels
        # A pixel is followed by zeros along its channels, a row along its pixels: LiteRT pads at
        # most four axes.
        x = tf.pad(inputs, [(0, 0), (0, 0), (0, 0), (0, channels * (across - 1))])
        x = tf.pad(tf.reshape(x, (-1, height, row)), [(0, 0), (0, 0), (0, row * (down - 1))])
        x = tf.reshape(x, (-1, height * down, width * across, channels))
        x = x[:, : (height - 1) * down + 1, : (width - 1) * across + 1]
        return tf.pad(x, [(0, 0), *((p, p) for p in self.pad), (0, 0)])


@_registered
class L2Normalization(_Configured, across_spatial=False, epsilon=1e-10):
    """Divide by the Euclidean norm over the channels, or over the whole image.

    Args:
        across_spatial: whether the norm is that of the whole image.
        epsilon: added to the sum of squares.
    """

    def call(self, inputs):
        """Normalize (batch, height, width, channels)."""
        axes = (1, 2, 3) if self.across_spatial else -1
        total = tf.reduce_sum(tf.square(inputs), axes, keepdims=True)
        return inputs * tf.math.rsqrt(total + self.epsilon)


@_registered
class MeanVarianceNormalization(_Configured, across_channels=False, variance=True, epsilon=1e-09):
    """Subtract the mean over an image, and divide by the standard deviation: Caffe's MVN.

    Args:
        across_channels: whether all channels share one mean.
        variance: whether to divide.
        epsilon: added to the standard deviation, not to the variance.
    """

    def call(self, inputs):
        """Normalize (batch, height, width, channels)."""
        axes = (1, 2, 3) if self.across_channels else (1, 2)
        y = inputs - tf.reduce_mean(inputs, axes, keepdims=True)
        if not self.variance:
            return y
        return y / (tf.sqrt(tf.reduce_mean(tf.square(y), axes, keepdims=True)) + self.epsilon)
