"""The two layers of AlexNet that Keras lacks: LRN, and convolution in groups on any device."""

import functools

import keras
import numpy as np
import tensorflow as tf

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "alexnet_lib needs Keras on TensorFlow: unset KERAS_BACKEND or set it to 'tensorflow'. "
        f"Received: {keras.backend.backend()!r}"
    )


def local_response_normalization(x, depth_radius=5, bias=1.0, alpha=1.0, beta=0.5):
    """Normalize each channel by the energy of its neighbours; the same as `tf.nn.lrn`, faster.

    With n = `depth_radius`, and channels beyond the first and last counted as zero::

        y[c] = x[c] / (bias + alpha * (x[c - n]**2 + ... + x[c + n]**2)) ** beta

    The sum over neighbours is one matrix product with a banded matrix, as in `tf.nn.lrn`; AlexNet's
    power is two square roots instead of `exp` and `log`, and the gradient is written out by hand,
    where `tf.nn.lrn` walks channel by channel. On a CPU, XLA makes one loop of the gradient. It
    would of the forward pass, too, but exporters cannot look into a function compiled by XLA.

    Args:
        x: float tensor (..., channels), of known channel count.
        depth_radius: neighbours on each side; 2 is a window of 5 channels.
        bias: what is added to the sum; k in Krizhevsky et al. (2012).
        alpha: multiplies the plain sum, as in that paper and in TensorFlow. Caffe's is divided by
            the window's size first: see `LocalResponseNormalization.from_caffe`.
        beta: the exponent.

    Returns:
        A tensor of the shape and dtype of `x`. Half precision is computed in float32.
    """
    x = tf.convert_to_tensor(x)
    channels = x.shape[-1]
    wide = tf.float64 if x.dtype == tf.float64 else tf.float32
    index = np.arange(channels)
    window = np.abs(index[:, None] - index) <= depth_radius
    band = tf.constant(alpha * window, wide)
    gradient = _gradient(channels, depth_radius, bias, alpha, beta)

    @tf.custom_gradient
    def normalize(flat):
        scale, _ = _scale_and_inverse(tf.square(flat) @ band + bias, beta)
        return flat * scale, lambda upstream: gradient(flat, upstream)

    flat = tf.reshape(tf.cast(x, wide), [-1, channels])
    return tf.cast(tf.reshape(normalize(flat), tf.shape(x)), x.dtype)


def _scale_and_inverse(total, beta):
    """Return total**-beta and 1 / total."""
    if beta == 0.75:  # AlexNet's; two square roots are much faster than a power
        root = tf.math.rsqrt(total)
        return root * tf.sqrt(root), tf.square(root)
    return total**-beta, 1 / total


@functools.cache
def _gradient(channels, depth_radius, bias, alpha, beta):
    """Return the gradient as a function of (pixels, channels) and what arrives at the output."""

    def window_sum(x):
        padded = tf.pad(x, [[0, 0], [depth_radius, depth_radius]])
        return tf.add_n([padded[:, i : i + channels] for i in range(2 * depth_radius + 1)])

    def gradient(x, upstream):
        total = alpha * window_sum(tf.square(x)) + bias
        scale, inverse = _scale_and_inverse(total, beta)
        # The window is symmetric: who is my neighbour has me for a neighbour.
        spread = window_sum(upstream * x * scale * inverse)
        return upstream * scale - (2 * alpha * beta) * x * spread

    on_cpu = not tf.config.list_physical_devices("GPU")
    return tf.function(gradient, jit_compile=on_cpu or None, reduce_retracing=True)


def check_caffe_window(local_size):
    """Return the depth_radius of Caffe's `local_size`; an even one has no middle channel."""
    if local_size < 1 or local_size % 2 == 0:
        raise ValueError(
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
        self.depth_radius = depth_radius
        self.bias = bias
        self.alpha = alpha
        self.beta = beta

    @classmethod
    def from_caffe(cls, local_size=5, alpha=1.0, beta=0.75, k=1.0, **kwargs):
        """Make the layer from Caffe's `lrn_param`; Caffe divides alpha by local_size.

        Raises:
            ValueError: where `local_size` is even or not positive.
        """
        return cls(check_caffe_window(local_size), k, alpha / local_size, beta, **kwargs)

    def call(self, inputs):
        """Normalize a float tensor (batch, ..., channels)."""
        return local_response_normalization(
            inputs, self.depth_radius, self.bias, self.alpha, self.beta
        )

    def compute_output_shape(self, input_shape):
        """Return the input's shape."""
        return input_shape

    def get_config(self):
        """Return what rebuilds this layer."""
        own = {name: getattr(self, name) for name in ("depth_radius", "bias", "alpha", "beta")}
        return super().get_config() | own


@functools.cache
def _kernels_take_groups():
    """Try whether this machine's convolution kernels take grouped filters, forward and backward.

    The forward try is a graph with bias and ReLU, because graphs fuse the three, and the fused
    kernel may refuse where the plain one serves.
    """

    @tf.function
    def forward(x, kernel):
        return tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernel, 1, "SAME"), tf.ones([4])))

    with tf.init_scope():
        x, kernel = tf.ones([1, 3, 3, 4]), tf.ones([3, 3, 2, 4])
        try:
            forward(x, kernel)
            with tf.GradientTape() as tape:
                tape.watch([x, kernel])
                y = tf.nn.conv2d(x, kernel, 1, "SAME")
            tape.gradient(y, [x, kernel])
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True


@keras.saving.register_keras_serializable(package="alexnet_lib")
class GroupedConv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` whose `groups` run on TensorFlow's own kernels.

    Keras sends grouped convolutions on a CPU through XLA, which is slower. TensorFlow's kernels
    take grouped filters directly where oneDNN or cuDNN serves them; elsewhere the input is split,
    convolved group by group and concatenated, which is what two groups mean.
    """

    def convolution_op(self, inputs, kernel):
        """Convolve (batch, height, width, inputs) with an HWIO kernel; Keras calls this."""
        if self.groups == 1 or self.data_format != "channels_last":
            return super().convolution_op(inputs, kernel)

        def convolve(x, filters):
            return tf.nn.conv2d(
                x, filters, self.strides, self.padding.upper(), dilations=self.dilation_rate
            )

        inputs, kernel = tf.convert_to_tensor(inputs), tf.convert_to_tensor(kernel)
        if _kernels_take_groups():
            return convolve(inputs, kernel)
        parts = zip(
            tf.split(inputs, self.groups, axis=-1),
            tf.split(kernel, self.groups, axis=-1),
            strict=True,
        )
        return tf.concat([convolve(x, filters) for x, filters in parts], axis=-1)
