"""One training step on N workers: run `python -m benchmarks.scaling` on a quiet machine.

Each worker has one core, as if it were a machine of its own, and the loopback device is the
network between them. So N is at most the number of cores. Steps are timed with all layers on images
and with the fully connected ones on features, on whole batches of several sizes; and so is the sum
of as many numbers as the network has parameters, the all-reduce alone. One worker is timed twice:
without a strategy, and in the strategy that several workers need, to tell the two costs apart.
"""

import csv
import json
import os
import sys
import tempfile
from collections import namedtuple
from pathlib import Path

import numpy as np

from alexnet_lib.files import RESULTS
from alexnet_lib.quiet import import_tensorflow
from benchmarks.compare import machine, time_in_turns, write

FIELDS = ("strategy", "workers", "work", "batch", "parameters", "median_ms", "spread_ms", "runs")
Step = namedtuple("Step", FIELDS)
NONE, MULTI_WORKER = "none", "multi-worker"
CLASSES = 21
BATCHES = (16, 32, 64)
RUNS = 7


def main():
    """Measure with one worker, two and so on; write one table."""
    os.environ["TF_NUM_INTRAOP_THREADS"] = "1"  # before TensorFlow is loaded
    from alexnet_lib.finetuning.launch import run_workers

    about = machine()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        most = min(4, os.cpu_count())
        for strategy, workers in ((NONE, 1), *((MULTI_WORKER, n + 1) for n in range(most))):
            path = Path(folder) / f"{strategy}{workers}.csv"
            run_workers([sys.executable, "-m", "benchmarks.scaling", strategy, str(path)], workers)
            rows += (Step(*row) for row in csv.reader(path.open(newline="")))
    write(RESULTS / "scaling.csv", rows, about)


def measure(strategy, path):
    """Be one worker; the first prints and writes the rows."""
    if hasattr(os, "sched_setaffinity"):  # before TensorFlow starts its threads, which inherit it
        worker = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[worker]})
    import_tensorflow()
    from alexnet_lib.finetuning.replicas import Replicas, default_strategy

    replicas = Replicas(default_strategy() if strategy == MULTI_WORKER else None)
    with open(path, "w", newline="") if replicas.chief else open(os.devnull, "w") as file:
        writer = csv.writer(file, lineterminator="\n")
        for work, batch, parameters, function in works(replicas):
            times = time_in_turns({work: function}, RUNS + 1)[work][1:]
            low, median, high = np.percentile(times, (25, 50, 75))
            row = (strategy, replicas.count, work, batch, parameters, f"{median:.4g}",
                   f"{(high - low) / 2:.2g}", RUNS)  # fmt: skip
            writer.writerow(row)
            if replicas.chief:
                print(*row, flush=True)


def works(replicas):
    """Yield what is timed: its name, the whole batch's size, its parameters and a function."""
    import tensorflow as tf

    from alexnet_lib.finetuning.recipes import RECIPES
    from alexnet_lib.finetuning.runs import fresh_model
    from alexnet_lib.finetuning.trainer import Trainer

    with replicas.scope():
        model = fresh_model(CLASSES)
    total = model.count_params()
    if replicas.count > 1:
        numbers = replicas.strategy.experimental_distribute_values_from_function(
            lambda _: tf.ones(total)
        )
        add = replicas.function(lambda x: (x,))
        yield "all-reduce", "", total, lambda: add(numbers)[0][0].numpy()
    for recipe, layer in (("all-layers", None), ("recommended", "pool5")):
        with replicas.scope():
            trainer = Trainer(model, RECIPES[recipe], layer, replicas=replicas)
        input_shape = trainer.network.input_shape[1:]
        parameters = sum(weight.shape.num_elements() for weight in model.trainable_weights)
        for batch in BATCHES:
            rows = len(range(replicas.shard[0], batch, replicas.shard[1]))
            random = np.random.default_rng(replicas.shard[0])
            x = random.uniform(-100, 100, (rows, *input_shape)).astype(np.float32)
            labels = tf.constant(random.integers(0, CLASSES, rows))
            arguments = (
                replicas.scatter(tf.constant(x)),
                replicas.scatter(labels),
                tf.constant(batch),
            )
            yield (
                recipe, batch, parameters,
                lambda trainer=trainer, a=arguments: float(trainer.step(*a, tf.constant(0))[0]),
            )  # fmt: skip


if __name__ == "__main__":
    measure(*sys.argv[1:]) if sys.argv[1:] else main()
