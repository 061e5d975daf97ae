"""Every layer on its own: its arithmetic, the bytes it must move, and its time, below two roofs."""

from typing import NamedTuple

import numpy as np

from benchmarks.compare import sgemm, time_in_turns

RUNS = {32: 11, 1: 51}
COPY_MIB = 256
SGEMM, COPY = "SGEMM", "copy"


class LayerTime(NamedTuple):
    """One measured layer, or one of the two roofs.

    `gflop` is 2 for each multiply-accumulate, 0 where there is none; `gbyte` is what must be read
    and written at least once: inputs, parameters and results.
    """

    layer: str
    batch: int
    gflop: float
    gbyte: float
    ms: float


def layers(quick=False):
    """Yield a `LayerTime` for each layer and batch size, after the two roofs.

    A ReLU runs with the layer before it, in one kernel.
    """
    import tensorflow as tf

    from alexnet_lib.port.alexnet import AlexNet
    from alexnet_lib.port.architecture import INPUT_SIZE, describe

    numbers = tf.Variable(tf.zeros([COPY_MIB << 18]))
    peak = sgemm()
    roofs = {SGEMM: peak.run, COPY: tf.function(lambda: numbers + 1.0)}
    model = AlexNet()
    for batch, runs in {2: 1}.items() if quick else RUNS.items():
        functions, costs = {}, {}
        x = tf.random.stateless_uniform((batch, INPUT_SIZE, INPUT_SIZE, 3), (0, 0), -128, 128)
        rows = describe()
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            if row.layer.type in ("ReLU", "Dropout", "Softmax"):
                continue
            steps = [model.get_layer(row.layer.name)]
            if row.layer.name == "fc6":
                steps.insert(0, model.get_layer("flatten"))
            if following.layer.type == "ReLU":
                steps.append(model.get_layer(following.layer.name))
            functions[row.layer.name] = _chain(steps, x)
            x = functions[row.layer.name]()
            values = batch * (np.prod(row.input_shape) + np.prod(row.output_shape))
            gbyte = 4e-9 * float(values + row.parameters)
            costs[row.layer.name] = 2e-9 * batch * row.macs, gbyte
        values = peak.m * peak.k + peak.k * peak.n + peak.m * peak.n
        costs[SGEMM] = 2e-9 * peak.macs, 4e-9 * values
        costs[COPY] = 0.0, 2e-9 * (COPY_MIB << 20)
        # No pause: here no engine's threads disturb another's, and in a network no layer waits.
        times = time_in_turns(roofs | functions, runs, pause=0)
        for name, values in times.items():
            yield LayerTime(name, batch, *costs[name], float(np.median(values)))


def _chain(steps, x):
    """Return a function that runs layers one after the other, compiled together."""
    from alexnet_lib.port.compilation import compiled

    @compiled
    def run(x):
        for step in steps:
            x = step(x)
        return x

    return lambda: run(x)
