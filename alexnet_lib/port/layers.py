"""AlexNet's layers: LRN, which Keras lacks, and faster grouped `Conv2D` and `Dense`.

What makes them fast, without changing what they compute, is in `compilation`.
"""

import functools

import numpy as np
import tensorflow as tf

from alexnet_lib.errors import InputError
from alexnet_lib.port.backend import keras
from alexnet_lib.port.compilation import fused, inverse_power, lrn_loops, on_cpu, runs_fused

__all__ = [
    "FullyConnected",
    "GroupedConv2D",
    "LocalResponseNormalization",
    "check_caffe_window",
    "local_response_normalization",
]


def local_response_normalization(x, depth_radius=5, bias=1.0, alpha=1.0, beta=0.5):
    """Divide each value by a power of its neighbouring channels' energy, as `tf.nn.lrn`, faster.

    With n = `depth_radius`, and zeros before the first channel and after the last::

        y[c] = x[c] / (bias + alpha * (x[c - n]**2 + ... + x[c + n]**2)) ** beta

    Args:
        x: float tensor (..., channels), of known channel count.
        depth_radius: neighbours on each side; 2 is a window of 5 channels.
        bias: added to the sum; k in Krizhevsky et al. (2012).
        alpha: multiplies the plain sum, as in that paper and in TensorFlow. Caffe divides its alpha
            by the window's size first: see `LocalResponseNormalization.from_caffe`.
        beta: the exponent.

    Returns:
        A tensor of the shape and dtype of `x`. Half precision is computed in float32.
    """
    x = tf.convert_to_tensor(x)
    channels = x.shape[-1]
    wide = tf.float64 if x.dtype == tf.float64 else tf.float32
    forward_loop, gradient_loop = lrn_loops(channels, depth_radius, bias, alpha, beta)

    def forward(flat):
        index = np.arange(channels)
        window = np.abs(index[:, None] - index) <= depth_radius
        band = tf.constant(alpha * window, wide)  # sums over neighbours by a matrix product
        return flat * inverse_power(tf.square(flat) @ band + bias, beta)

    @tf.custom_gradient
    def normalize(flat):
        y = forward_loop(flat) if runs_fused() else forward(flat)
        return y, lambda upstream: gradient_loop(flat, upstream)

    flat = tf.reshape(tf.cast(x, wide), [-1, channels])
    return tf.cast(tf.reshape(normalize(flat), tf.shape(x)), x.dtype)


def check_caffe_window(local_size):
    """Return the depth_radius of Caffe's `local_size`; an even one has no middle channel."""
    if local_size < 1 or local_size % 2 == 0:
        raise InputError(
            "local_size must be odd and positive, so that the window has a middle channel: "
            f"local_size = 2 * depth_radius + 1. Received: local_size={local_size}"
        )
    return (local_size - 1) // 2


@keras.saving.register_keras_serializable(package="alexnet_lib")
class LocalResponseNormalization(keras.layers.Layer):
    """Krizhevsky's local response normalization across channels, in TensorFlow's parameters.

    Args:
        depth_radius: neighbours on each side.
        bias, alpha, beta: as in `local_response_normalization`.
    """

    def __init__(self, depth_radius=5, bias=1.0, alpha=1.0, beta=0.5, **kwargs):
        super().__init__(**kwargs)
        self.supports_jit = not on_cpu()
        self.depth_radius = depth_radius
        self.bias = bias
        self.alpha = alpha
        self.beta = beta

    @classmethod
    def from_caffe(cls, local_size=5, alpha=1.0, beta=0.75, k=1.0, **kwargs):
        """Make the layer from Caffe's `lrn_param`; Caffe divides alpha by local_size.

        Raises:
            ValueError: if `local_size` is even or not positive.
        """
        return cls(check_caffe_window(local_size), k, alpha / local_size, beta, **kwargs)

    def call(self, inputs, training=None):
        """Normalize a float tensor (batch, ..., channels); nobody exports what trains."""
        normalize = local_response_normalization
        if training:
            normalize = fused(normalize)
        return normalize(inputs, self.depth_radius, self.bias, self.alpha, self.beta)

    def compute_output_shape(self, input_shape):
        """Return the shape of the input, which does not change."""
        return input_shape

    def get_config(self):
        """Return the arguments that rebuild this layer."""
        own = {name: getattr(self, name) for name in ("depth_radius", "bias", "alpha", "beta")}
        return super().get_config() | own


@keras.saving.register_keras_serializable(package="alexnet_lib")
class GroupedConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` whose `groups` run on TensorFlow's own kernels.

    With g groups, output channels are divided into g equal parts, and each part sees only the
    matching part of the input channels: split, convolve, concatenate. TensorFlow's kernels do this
    in one call where oneDNN or cuDNN is in use. Keras uses XLA for it on a CPU, which is slower; so
    this layer tells Keras there not to compile its model with XLA. `tf.function` still can.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.supports_jit = not on_cpu()

    def convolution_op(self, inputs, kernel):
        """Convolve (batch, height, width, inputs) with an HWIO kernel; Keras calls this."""
        if self.groups == 1 or self.data_format != "channels_last":
            return super().convolution_op(inputs, kernel)

        def convolve(x, filters):
            return tf.nn.conv2d(
                x, filters, self.strides, self.padding.upper(), dilations=self.dilation_rate
            )

        inputs, kernel = tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel)
        if _kernels_take_groups(inputs.dtype):
            return convolve(inputs, kernel)
        parts = zip(
            tf.split(inputs, self.groups, axis=-1),
            tf.split(kernel, self.groups, axis=-1),
            strict=True,
        )
        return tf.concat([convolve(x, filters) for x, filters in parts], axis=-1)


@functools.cache
def _kernels_take_groups(dtype):
    """Return whether this machine's kernels of a dtype take grouped filters in both passes.

    The forward pass is tried in a graph with bias and ReLU: TensorFlow fuses the three there, and
    the fused kernel may reject groups that the plain one accepts. oneDNN's kernels take groups in
    float32 alone. XLA compiles either form.
    """

    @tf.function
    def forward(x, kernel):
        bias = tf.ones([4], dtype)
        return tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), bias))

    with tf.init_scope():
        x, kernel = tf.ones([1, 3, 3, 4], dtype), tf.ones([3, 3, 2, 4], dtype)
        try:
            y = forward(x, kernel)
            # By name, because no tape records inside `init_scope`.
            window = {"strides": [1, 1, 1, 1], "padding": "SAME", "out_backprop": y}
            tf.raw_ops.Conv2DBackpropInput(input_sizes=x.shape, filter=kernel, **window)
            tf.raw_ops.Conv2DBackpropFilter(input=x, filter_sizes=kernel.shape, **window)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True


@keras.saving.register_keras_serializable(package="alexnet_lib")
class FullyConnected(keras.layers.Dense):
    """`keras.layers.Dense` with a backward pass that is faster on many CPUs.

    The input's gradient is a product with the transposed kernel, and `einsum` copies the kernel
    into transposed order first (chapter 12). For fc7's kernel on two cores, the copy brings
    oneDNN's time from 41 ms to 13 on one processor and changes nothing on another.
    """

    def call(self, inputs, training=None):
        """Multiply (batch, inputs) by the kernel and add the bias."""
        if len(inputs.shape) != 2:
            return super().call(inputs, training)

        @tf.custom_gradient
        def multiply(x, kernel):
            def gradient(upstream):
                of_x = tf.einsum("bo,io->bi", upstream, kernel)
                return of_x, tf.matmul(x, upstream, transpose_a=True)

            return tf.matmul(x, kernel), gradient

        x = multiply(tf.convert_to_tensor(inputs), tf.convert_to_tensor(self.kernel))
        if self.bias is not None:
            x = tf.nn.bias_add(x, tf.convert_to_tensor(self.bias))
        return x if self.activation is None else self.activation(x)

    def quantize(self, mode=None, type_check=True, config=None):
        """Quantize the kernel as `keras.layers.Dense` does, which refuses its subclasses."""
        return super().quantize(mode, type_check=False, config=config)
