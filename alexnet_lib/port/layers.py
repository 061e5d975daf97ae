"""What Keras lacks for AlexNet: LRN, convolution in groups on any device, a quick way back."""

import contextvars
import functools

import keras
import numpy as np
import tensorflow as tf

from alexnet_lib.errors import InputError

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        "alexnet_lib needs Keras on TensorFlow: unset KERAS_BACKEND or set it to 'tensorflow'. "
        f"Received: {keras.backend.backend()!r}"
    )


def local_response_normalization(x, depth_radius=5, bias=1.0, alpha=1.0, beta=0.5):
    """Normalize each channel by the energy of its neighbours; the same as `tf.nn.lrn`, faster.

    With n = `depth_radius`, and channels beyond the first and last counted as zero::

        y[c] = x[c] / (bias + alpha * (x[c - n]**2 + ... + x[c + n]**2)) ** beta

    AlexNet's power is two square roots instead of `exp` and `log`, and the gradient is written out
    by hand, where `tf.nn.lrn` walks channel by channel. On a CPU, XLA makes one loop of the
    gradient and, inside `fused`, of the forward pass, which then reads and writes memory once.
    Any other forward pass sums over neighbours by a product with a banded matrix, as `tf.nn.lrn`.

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
    forward, gradient = _loops(channels, depth_radius, bias, alpha, beta)

    def banded(flat):
        index = np.arange(channels)
        window = np.abs(index[:, None] - index) <= depth_radius
        band = tf.constant(alpha * window, wide)
        return flat * _scale(tf.square(flat) @ band + bias, beta)

    @tf.custom_gradient
    def normalize(flat):
        y = forward(flat) if _fuse.get() and _on_cpu() else banded(flat)
        return y, lambda upstream: gradient(flat, upstream)

    flat = tf.reshape(tf.cast(x, wide), [-1, channels])
    return tf.cast(tf.reshape(normalize(flat), tf.shape(x)), x.dtype)


_fuse = contextvars.ContextVar("_fuse", default=False)


def fused(function):
    """Let XLA make one loop of each local response normalization inside `function`, on a CPU.

    Exporters cannot look into what XLA has compiled. So a model by itself, and `tf.function` of it,
    are of plain operations; this is for functions that run here.
    """

    @functools.wraps(function, updated=())  # a Keras model has much that need not be copied
    def run(*args, **kwargs):
        token = _fuse.set(True)
        try:
            return function(*args, **kwargs)
        finally:
            _fuse.reset(token)

    return run


def compiled(function):
    """Compile as `tf.function` does, and local response normalization as `fused` does."""
    return tf.function(fused(function), reduce_retracing=True, autograph=False)


def _scale(total, beta):
    """Return total**-beta; AlexNet's by two square roots, which are much faster than a power."""
    if beta != 0.75:
        return total**-beta
    root = tf.math.rsqrt(total)
    return root * tf.sqrt(root)


def _power(total, beta):
    """Return total**beta."""
    return tf.sqrt(total * tf.sqrt(total)) if beta == 0.75 else total**beta


def _on_cpu():
    return not tf.config.list_physical_devices("GPU")


def one_loop(function):
    """Compile a function with XLA where there is no GPU, so that it passes over memory once."""
    xla = _on_cpu() or None
    return tf.function(function, jit_compile=xla, reduce_retracing=True, autograph=False)


@functools.cache
def _loops(channels, depth_radius, bias, alpha, beta):
    """Return LRN of (pixels, channels), and its gradient, given what arrives at the output."""

    def window_sum(x):
        # Out of sums of 1, 2, 4, ... neighbours; a window of 5 is 4 and 1.
        sums = tf.pad(x, [[0, 0], [depth_radius, depth_radius]])
        result, place, width = 0, 0, 1
        while place <= 2 * depth_radius:
            if (2 * depth_radius + 1) & width:
                result += sums[:, place : place + channels]
                place += width
            sums, width = sums[:, :-width] + sums[:, width:], 2 * width
        return result

    def forward(x):
        return x * _scale(alpha * window_sum(tf.square(x)) + bias, beta)

    def gradient(x, upstream):
        total = alpha * window_sum(tf.square(x)) + bias
        # The window is symmetric: who is my neighbour has me for a neighbour. `_power` and not
        # `_scale` again, because XLA would keep in memory what two formulas share.
        spread = window_sum(upstream * x / (total * _power(total, beta)))
        return upstream * _scale(total, beta) - (2 * alpha * beta) * x * spread

    return one_loop(forward), one_loop(gradient)


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


@keras.saving.register_keras_serializable(package="alexnet_lib")
class FullyConnected(keras.layers.Dense):
    """`keras.layers.Dense` whose way back is quicker on a CPU; forward it is the same.

    The gradient of the input is a product with the transposed kernel. With a kernel of fc6's size,
    oneDNN is several times slower at that than at a product with a transposed copy, which `einsum`
    makes.
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
