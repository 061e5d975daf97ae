"""Local response normalization on conv1's output for a batch of 32, in compiled functions."""

import numpy as np

from benchmarks.compare import check_equal, row, time_in_turns

RUNS = 25
SHAPE = (32, 55, 55, 96)
COPY = "reading and writing as much"  # what two passes over memory must carry
REACH = {"forward": 1.6, "forward and gradient": 3.0}


def rows(quick=False):
    """Yield the rows of the table, after a check that results and gradients are equal."""
    import tensorflow as tf

    from alexnet_lib.port.compilation import compiled
    from alexnet_lib.port.layers import local_response_normalization
    from benchmarks.networks import TF_LRN

    sync = tf.test.experimental.sync_devices  # nothing on a CPU; a GPU works on behind the call
    random = np.random.default_rng(0)
    shape = (1, *SHAPE[1:]) if quick else SHAPE
    # As large as activations of real pictures, so that the denominator is far from 1.
    x = tf.Variable(np.maximum(100 * random.standard_normal(shape, np.float32), 0))
    upstream = tf.constant(random.standard_normal(shape, np.float32))

    def forward(normalize):
        return compiled(lambda: normalize(x, **TF_LRN))

    def with_gradient(normalize):
        @compiled
        def run():
            with tf.GradientTape() as tape:
                y = normalize(x, **TF_LRN)
            # Both, as a training step needs: our gradient does without y, and TensorFlow would not
            # compute it.
            return y, tape.gradient(y, x, upstream)

        return run

    # Forward, x is read and y written; the gradient reads x and what arrives, and writes one more.
    works = {
        "forward": (forward, tf.function(lambda: x + 1.0)),
        "forward and gradient": (with_gradient, tf.function(lambda: (x + 1.0, x + upstream))),
    }
    for work, (make, copy) in works.items():
        functions = {"ours": make(local_response_normalization), "tf.nn.lrn": make(tf.nn.lrn)}
        results = [tf.nest.flatten(function()) for function in functions.values()]
        for ours, theirs in zip(*results, strict=True):
            check_equal(f"LRN {work}", ours, theirs, limit=1e-6)
        functions[COPY] = copy
        times = time_in_turns(
            {name: lambda f=function: (f(), sync()) for name, function in functions.items()},
            1 if quick else RUNS,
        )
        name = f"LRN {'x'.join(map(str, shape))}, {work}"
        yield row(name, "ours", "tf.nn.lrn", times, limit=COPY, reach=REACH[work])
