"""Speed on a CPU: one loop, compiled by XLA, in place of many operations.

TensorFlow runs operation after operation, and each reads and writes its whole tensor. LRN and an
optimizer's update do little arithmetic for each value, so their time is memory traffic. XLA
compiles each into one loop that reads every value once. On two cores of an AMD EPYC:

====================================  ==============  ========
work                                  operations      one loop
====================================  ==============  ========
LRN of (32, 55, 55, 96)               19 ms           8 ms
the same with its gradient            109 ms          18 ms
Adam's update of 16.8 million values  53 ms           18 ms
====================================  ==============  ========

The operations of the first two rows are those of `tf.nn.lrn`. They come from
`data/results/speed.csv`, which `make bench` writes, and the third from chapter 12. GPUs have fast
kernels of their own, so nothing here changes what they run.
"""

import contextvars
import functools

import tensorflow as tf

__all__ = ["compiled", "fused", "one_loop"]

_fuse = contextvars.ContextVar("_fuse", default=False)


def one_loop(function):
    """Compile a function as `tf.function` does, and with XLA if there is no GPU."""
    xla = on_cpu() or None
    return tf.function(function, jit_compile=xla, reduce_retracing=True, autograph=False)


def fused(function):
    """Make XLA compile each local response normalization inside `function` into one loop.

    Exporters cannot read what XLA has compiled, so a model, and `tf.function` of it, consist of
    ordinary operations by default. Use this for functions that only run in this process. On a GPU
    it changes nothing.
    """

    @functools.wraps(function, updated=())  # a Keras model's attributes need not be copied
    def run(*args, **kwargs):
        token = _fuse.set(True)
        try:
            return function(*args, **kwargs)
        finally:
            _fuse.reset(token)

    return run


def compiled(function):
    """Compile a function as `tf.function` does, with `fused` normalization inside."""
    return tf.function(fused(function), reduce_retracing=True, autograph=False)


def runs_fused():
    """Return whether this code runs inside a `fused` function, on a machine without a GPU."""
    return _fuse.get() and on_cpu()


def inverse_power(total, beta):
    """Return total**-beta; AlexNet's 0.75 by two square roots, which are faster than a power."""
    if beta != 0.75:
        return total**-beta
    root = tf.math.rsqrt(total)
    return root * tf.sqrt(root)


@functools.cache
def lrn_loops(channels, depth_radius, bias, alpha, beta):
    """Return two compiled functions for (pixels, channels): LRN's forward pass and its gradient.

    With s = bias + alpha * (sum of x**2 over the window) and the upstream gradient u, the gradient
    is u * s**-beta - 2 * alpha * beta * x * (sum of u * x * s**(-beta - 1) over the window). Both
    sums use the same window because the window is symmetric.
    """

    def window_sum(x):
        # From sums of 1, 2, 4, ... neighbours: a window of 5 is 4 and 1.
        sums = tf.pad(x, [[0, 0], [depth_radius, depth_radius]])
        result, place, width = 0, 0, 1
        while place <= 2 * depth_radius:
            if (2 * depth_radius + 1) & width:
                result += sums[:, place : place + channels]
                place += width
            sums, width = sums[:, :-width] + sums[:, width:], 2 * width
        return result

    def forward(x):
        return x * inverse_power(alpha * window_sum(tf.square(x)) + bias, beta)

    def gradient(x, upstream):
        total = alpha * window_sum(tf.square(x)) + bias
        # Not `inverse_power` twice: XLA would store the shared part in memory.
        power = tf.sqrt(total * tf.sqrt(total)) if beta == 0.75 else total**beta
        spread = window_sum(upstream * x / (total * power))
        return upstream * inverse_power(total, beta) - (2 * alpha * beta) * x * spread

    return one_loop(forward), one_loop(gradient)


def on_cpu():
    """Return whether this machine has no GPU."""
    return not tf.config.list_physical_devices("GPU")
