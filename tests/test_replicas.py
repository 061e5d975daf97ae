"""Many replicas train as one device does; a lost worker is an error, and the run goes on from it.

What the processes of `replica_worker.py` store is compared with training in this one.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from replica_worker import RECIPES, subsets, train
from small import small_network, write_pictures

from alexnet_lib.finetuning.replicas import Replicas
from alexnet_lib.finetuning.training import finetune

WORKER = Path(__file__).with_name("replica_worker.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with 16 pictures, for the processes' results too."""
    folder = tmp_path_factory.mktemp("replicas")
    write_pictures(folder / "pictures")
    return folder


@pytest.fixture(scope="module")
def expected(folder):
    """What one device makes of both kinds of data."""
    return {kind: train(kind, folder) for kind in RECIPES}


def start(folder, replicas, stages, config=None):
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TF_CONFIG", None)
    if config:
        environment["TF_CONFIG"] = json.dumps(config)
    command = [sys.executable, WORKER, folder, str(replicas), *stages]
    return subprocess.Popen(command, env=environment)


@pytest.fixture(scope="module")
def pair(folder):
    """The exit statuses of two workers, with two replicas each, that went through these stages."""
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in (one, two)]
    cluster = {"worker": addresses}
    stages = ["images", "stop", "resume", "differ", "cut"]
    pair = [
        start(folder, 2, stages, {"cluster": cluster, "task": {"type": "worker", "index": i}})
        for i in range(2)
    ]
    try:
        return [worker.wait(600) for worker in pair]
    finally:
        for worker in pair:
            worker.kill()


def epochs(folder):
    """Return how many epochs a folder of checkpoints has."""
    return len((folder / "history.csv").read_text().splitlines()) - 1


@pytest.fixture(scope="module")
def single(folder, pair):
    """A process of three replicas that took the killed run over; that run's number of epochs."""
    done = epochs(folder / "cut")
    assert start(folder, 3, ["images", "take over"]).wait(600) == 0
    return done


def load(folder, stage, workers=2, worker=0):
    with np.load(folder / f"{stage}-{workers}-{worker}.npz") as file:
        return dict(file)


def assert_same(got, wanted):
    """Compare loss curves and weights to 1e-5, in the norm of each array.

    AdamW moves a weight as far for a gradient that is all rounding as for a large one, so that a
    few weights of a million differ by more.
    """
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        error, size = np.linalg.norm(got[name] - array), np.linalg.norm(array)
        assert error <= 1e-5 * size, f"{name} differs by {error:.1e} of {size:.1e}"


@pytest.mark.usefixtures("pair")
def test_two_workers_of_two_replicas_train_as_one_device(folder, expected):
    for worker in range(2):
        assert_same(load(folder, "images", worker=worker), expected["images"])


@pytest.mark.usefixtures("pair")
def test_workers_that_stopped_end_as_one_device_that_did_not(folder, expected):
    for worker in range(2):
        assert str(load(folder, "stop", worker=worker)["error"]) == "Stopped: in epoch 1"
        assert_same(load(folder, "resume", worker=worker), expected["features"])
    assert epochs(folder / "stopped") == 3


@pytest.mark.usefixtures("single")
def test_three_replicas_of_one_process_train_as_one_device(folder, expected):
    assert_same(load(folder, "images", workers=1), expected["images"])


@pytest.mark.usefixtures("pair")
def test_workers_that_differ_are_told_so(folder):
    for worker in range(2):
        assert str(load(folder, "differ", worker=worker)["error"]).startswith(
            "InputError: the workers differ in seed. Give"
        )


def test_a_killed_worker_is_an_error_and_another_process_goes_on(folder, expected, pair, single):
    assert pair == [0, -signal.SIGKILL]
    error = str(load(folder, "cut")["error"])
    assert error.startswith("WorkerLost: another worker has ended or no longer answers")
    assert single == 1
    assert_same(load(folder, "take over", workers=1), expected["features"])
    assert epochs(folder / "cut") == 3


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", RECIPES)
def test_shards_share_every_batch_without_loss_or_repetition(kind, training, folder):
    """Three workers' rows, taken in turns, are the batches of one, augmentation included."""
    data, options = subsets(kind, folder)[0], {"seed": 3, "epoch": 1, "training": training}
    size = RECIPES[kind].batch_size
    whole = list(data.batches(size, **options))
    shards = [
        [batch for batch in data.batches(size, shard=(w, 3), **options) if len(batch[1])]
        for w in range(3)
    ]
    for number, (x, labels) in enumerate(whole):
        for worker, shard in enumerate(shards):
            if worker < len(labels):
                # Means of one image and of many at once may round differently; pixels go to 255.
                np.testing.assert_allclose(shard[number][0], x[worker::3], rtol=1e-6, atol=1e-3)
                np.testing.assert_array_equal(shard[number][1], labels[worker::3])
            else:
                assert len(shard) == number


def test_the_model_and_the_batch_must_fit_the_strategy(folder):
    strategy = tf.distribute.MirroredStrategy(["/cpu:0"])
    recipe, data = RECIPES["features"], subsets("features", folder)
    with pytest.raises(ValueError, match=r"inside `with strategy\.scope\(\):`"):
        finetune(small_network(), *data, recipe, strategy=strategy)
    with strategy.scope():
        model = small_network()
    replicas = Replicas(strategy)
    replicas.count = 3
    with pytest.raises(ValueError, match=r"all 3 replicas .* Received: 2"):
        replicas.check(model, batch_size=2)
