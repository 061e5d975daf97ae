"""Local response normalization on conv1's output for a batch of 32, under `tf.function`."""

import numpy as np

from benchmarks.compare import row, time_in_turns

RUNS = 25
SHAPE = (32, 55, 55, 96)


def rows():
    """Yield the rows of the table, after a check that results and gradients are equal."""
    import tensorflow as tf

    from alexnet_lib.architecture import LRN
    from alexnet_lib.layers import check_caffe_window, local_response_normalization

    sync = tf.test.experimental.sync_devices  # nothing on a CPU; a GPU works on behind the call
    parameters = {
        "depth_radius": check_caffe_window(LRN["local_size"]),
        "bias": LRN["k"],
        "alpha": LRN["alpha"] / LRN["local_size"],
        "beta": LRN["beta"],
    }
    random = np.random.default_rng(0)
    # As large as activations of real pictures, so that the denominator is far from 1.
    x = tf.constant(np.maximum(100 * random.standard_normal(SHAPE, np.float32), 0))
    upstream = tf.constant(random.standard_normal(SHAPE, np.float32))

    def forward(normalize):
        return tf.function(lambda: normalize(x, **parameters))

    def with_gradient(normalize):
        @tf.function
        def run():
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = normalize(x, **parameters)
            return tape.gradient(y, x, upstream)

        return run

    for work, make in {"forward": forward, "forward and gradient": with_gradient}.items():
        functions = {"ours": make(local_response_normalization), "tf.nn.lrn": make(tf.nn.lrn)}
        ours, theirs = (function().numpy() for function in functions.values())
        error = np.abs(ours - theirs).max() / np.abs(theirs).max()
        assert error < 1e-6, f"{work} differs from tf.nn.lrn by {error:.1e}"
        times = time_in_turns(
            {name: lambda f=function: (f(), sync()) for name, function in functions.items()}, RUNS
        )
        yield row(f"LRN {'x'.join(map(str, SHAPE))}, {work}", "ours", "tf.nn.lrn", times)
