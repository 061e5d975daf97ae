"""A process of `test_replicas.py`: trains on several replicas and stores what came of it.

Usage: python replica_worker.py FOLDER REPLICAS STAGE ...

With TF_CONFIG it is one of several workers, else it trains with MirroredStrategy. A stage trains on
what `RECIPES` names, or, on features: "stop" with checkpoints until all workers fail in epoch 1,
"resume" on from there, "differ" with another seed in each worker, "cut" with checkpoints until the
last worker kills itself in epoch 1, and "take over" on from there.
"""

import contextlib
import os
import signal
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from small import small_features, small_network

from alexnet_lib.errors import InputError
from alexnet_lib.finetuning.recipes import Recipe
from alexnet_lib.finetuning.replicas import Replicas, WorkerLost, default_strategy
from alexnet_lib.finetuning.trainer import Trainer
from alexnet_lib.finetuning.training import finetune
from alexnet_lib.images.folder import read_folder

# In neither do batches divide by 3 or 4 replicas, and the last is smaller than these.
RECIPES = {
    "features": Recipe(
        optimizer="adamw", learning_rate=1e-3, weight_decay=0.05, l2=1e-4, label_smoothing=0.1,
        batch_size=13, epochs=3, class_weights="balanced",
    ),
    "images": Recipe(
        layers=("conv1", "conv2", "fc6", "fc7", "fc8"), optimizer="momentum", learning_rate=1e-5,
        conv_learning_rate=1e-6, batch_size=5, epochs=2,
    ),
}  # fmt: skip


def subsets(kind, folder):
    """Return training and validation data: 41 and 19 features, or 11 and 5 images of `folder`.

    The features' classes have 26 and 15 images, and 4 and 15.
    """
    if kind == "images":
        images = read_folder(Path(folder) / "pictures")
        return images.subset(range(11)), images.subset(range(11, 16))
    features = small_features()
    order = np.r_[0:52:2, 1:31:2, 52:60:2, 31:60:2]
    return features.subset(order[:41]), features.subset(order[41:])


def train(kind, folder, strategy=None, checkpoints=None, seed=0):
    """Train the small network; return the history's losses and the weights."""
    with Replicas(strategy).scope():
        model = small_network(dropout=0.5 if kind == "features" else 0)
    history = finetune(
        model, *subsets(kind, folder), RECIPES[kind], checkpoints, seed, False, strategy
    )
    result = {
        name: history[name].to_numpy() for name in history if name.startswith(("loss", "val"))
    }
    for weight in model.weights:
        if "seed" not in weight.path:
            result[weight.path.replace("/", "_")] = weight.numpy()
    return result


def _use_virtual_processors(count):
    """Let this process have so many devices, and several workers all of theirs.

    TensorFlow gives a worker without GPUs one device. The tests want the case of several, which is
    that of machines with several GPUs.
    """
    from tensorflow.python.distribute import collective_all_reduce_strategy as multi_worker

    one = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(
        one, [tf.config.LogicalDeviceConfiguration()] * count
    )
    multi_worker.CollectiveAllReduceExtended._initialize_local_devices = lambda *arguments: (
        tuple(f"{arguments[2]}/device:CPU:{i}" for i in range(count)),
        "CPU",
    )


class Stopped(Exception):
    """What all workers raise in the stage "stop"."""


def _stop(_):
    raise Stopped("in epoch 1")


def _die_in_the_next_step(trainer):
    trainer.step = lambda *_: os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def _before_epoch_1(act):
    """Call `act` with the trainer when epoch 1 begins."""
    train_epoch = Trainer.train_epoch

    def act_and_train(trainer, data, epoch):
        if epoch == 1:
            act(trainer)
        return train_epoch(trainer, data, epoch)

    Trainer.train_epoch = act_and_train
    try:
        yield
    finally:
        Trainer.train_epoch = train_epoch


def main(folder, count, stages):
    """Run the stages one after the other."""
    _use_virtual_processors(count)
    if os.environ.get("TF_CONFIG"):
        strategy = default_strategy()
    else:
        strategy = tf.distribute.MirroredStrategy([f"/cpu:{i}" for i in range(count)])
    replicas = Replicas(strategy)
    worker, workers = replicas.shard
    assert replicas.count == workers * count
    last = worker == workers - 1
    acts = {"stop": _stop, "cut": _die_in_the_next_step if last else lambda _: None}
    places = {"stop": "stopped", "resume": "stopped", "cut": "cut", "take over": "cut"}
    for stage in stages:
        seed = worker if stage == "differ" else 0
        checkpoints = Path(folder, places[stage]) if stage in places else None
        kind = stage if stage in RECIPES else "features"
        try:
            with _before_epoch_1(acts[stage]) if stage in acts else contextlib.nullcontext():
                result = train(kind, folder, strategy, checkpoints, seed)
        except (WorkerLost, InputError, Stopped) as error:
            result = {"error": np.array(f"{type(error).__name__}: {error}")}
        np.savez(Path(folder) / f"{stage}-{workers}-{worker}.npz", **result)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
