"""Damaged files end in the library's error, which names them, or give what was stored."""

import errno
import json
import os
import resource
import struct
import warnings
import zipfile
from collections import Counter
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import pandas as pd
import pytest
from damage import mutations
from small import write_image, write_pictures

from alexnet_lib.caffe.caffemodel import read_caffemodel, write_caffemodel
from alexnet_lib.damaged import kind_of, reading
from alexnet_lib.errors import AlexNetError, InputError
from alexnet_lib.files import write_csv
from alexnet_lib.finetuning import classifier as classifiers
from alexnet_lib.finetuning import cross_validation
from alexnet_lib.finetuning.checkpoint import Checkpoint
from alexnet_lib.finetuning.classifier import (
    Classifier,
    classifier_augmentation,
    load_classifier,
    read_classifier,
    save_classifier,
)
from alexnet_lib.finetuning.recipes import Recipe
from alexnet_lib.finetuning.settings import check_run, settings_of, write_settings
from alexnet_lib.finetuning.trainer import Trainer
from alexnet_lib.images.features import Features, load_features, save_features
from alexnet_lib.images.folder import read_folder
from alexnet_lib.images.records import check_records, write_records
from alexnet_lib.images.splits import SUBSETS, apply_split, read_split, write_split
from alexnet_lib.port.alexnet import load_weights
from alexnet_lib.port.architecture import weight_layers
from alexnet_lib.port.exchange import save_model
from alexnet_lib.port.layers import FullyConnected
from alexnet_lib.port.layouts import load_npz, model_weights, save_npz


def tiny_network():
    """A network with AlexNet's names, of two units each."""
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((3,))
    for name in weight_layers():
        x = FullyConnected(2, name=name)(x)
    return keras.Model(inputs, x)


def bits(arrays):
    return {name: (array.shape, array.tobytes()) for name, array in arrays.items()}


class Layer:
    """A layer that only keeps what it is given; Keras takes a hundred times as long."""

    def __init__(self, layer):
        self.name, self.weights, self.kept = layer.name, layer.weights, None

    def set_weights(self, arrays):
        self.kept = arrays


def into(network):
    """Return a function that loads weights from a path into a network, and returns them."""

    def load(path):
        layers = [Layer(layer) for layer in network.layers]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of layers that the file lacks
            fresh = load_weights(SimpleNamespace(layers=layers), path)
        return fresh, {
            layer.name: [(array.shape, array.astype(np.float32).tobytes()) for array in layer.kept]
            for layer in layers
            if layer.kept
        }

    return load


def a_classifier(folder, network):

    def load(path):
        with pytest.MonkeyPatch.context() as patch:  # the whole network would take its time
            patch.setattr(classifiers, "check_weights", lambda weights: weights)
            found, classes = read_classifier(path)
        return classifier_augmentation(path), classes, bits(found)

    save_classifier(folder / "a.npz", Classifier(network, ("a", "b")), augment="mirror")
    return folder / "a.npz", load


def features(folder, _):
    codes = np.arange(2 * 3 * 9216).reshape(2, 3, 6, 6, 256).astype(np.uint8)
    save_features(
        folder / "f.npz",
        Features(codes, 0.5, np.array([0, 0, 1]), ("a", "b"), ("a/1", "a/2", "b/1")),
    )

    def load(path):
        found = load_features(path)
        arrays = {"codes": found.codes, "labels": found.labels, "rows": found.rows}
        return found.classes, found.names, found.step, bits(arrays)

    return folder / "f.npz", load


def npz_weights(folder, network):
    save_npz(folder / "w.npz", model_weights(network))
    return folder / "w.npz", into(network)


def h5_weights(folder, network):
    save_model(network, folder / "a.weights.h5")
    return folder / "a.weights.h5", into(network)


def keras_model(folder, network):
    save_model(network, folder / "a.keras")
    return folder / "a.keras", into(network)


def a_checkpoint(folder, network):
    trainer = Trainer(network, Recipe(optimizer="momentum"))
    checkpoint = Checkpoint(folder, trainer)
    row = dict.fromkeys(("epoch", "loss", "accuracy", "val_loss", "val_accuracy"), 1)
    checkpoint.save([row | {"learning_rate": 0.1}], trainer.snapshot(), improved=False)

    def load(_):
        for variable in trainer.state().values():
            variable.assign(variable * 0)
        history, best = checkpoint.restore()
        return history, bits(best), bits({k: v.numpy() for k, v in trainer.state().items()})

    return folder / "checkpoint.npz", load


def settings(folder, network):
    """Of a run that has a checkpoint, so that they are compared with what is asked for."""
    a_checkpoint(folder, network)
    asked = settings_of([Recipe(optimizer="momentum")], 0, 2)
    write_settings(folder, asked)

    def load(path):
        check_run(path.parent, asked)
        return {name: asked[name] for name in ("seed", "recipes", "fc_units")}

    return folder / "settings.json", load


def folds(folder, _):
    asked = settings_of([Recipe(optimizer="momentum")], 0, 2)
    texts = asked | {"recipes": json.dumps(asked["recipes"])}
    write_csv(folder / "folds.csv", pd.DataFrame([{"fold": 0}, {"fold": 1}]).assign(**texts))
    write_csv(folder / "predictions.csv", pd.DataFrame({"fold": [0, 1], "image": ["a/1", "b/1"]}))

    def load(path):
        rows, tables = cross_validation._finished(path.parent, asked)
        return rows, [table.to_dict("records") for table in tables]

    return folder / "folds.csv", load


def predictions(folder, network):
    _, load = folds(folder, network)
    return folder / "predictions.csv", load


def a_split(folder, _):
    names = [f"{name}/{name}{i}" for name in ("beach", "river") for i in range(10)]
    write_split(folder / "s.csv", names, np.array(SUBSETS)[np.arange(20) % 3])

    def load(path):
        found = apply_split(SimpleNamespace(names=names), read_split(path))
        return {subset: indices.tolist() for subset, indices in found.items()}

    return folder / "s.csv", load


def an_index(folder, _):
    images = read_folder(write_pictures(folder / "images", 2, side=8))
    write_records(folder, images, shards=2)
    return folder / "train.json", lambda path: check_records(path.parent)


def plain_h5_weights(folder, network):
    network.save_weights(folder / "a.weights.h5")
    return folder / "a.weights.h5", into(network)


def a_snapshot(folder, network):
    with h5py.File(folder / "a.caffemodel.h5", "w") as file:
        for layer in network.layers[1:]:
            for i, weight in enumerate(layer.get_weights()):
                file[f"data/{layer.name}/{i}"] = weight
    return folder / "a.caffemodel.h5", lambda path: str(read_caffemodel(path))


#: What the library writes, and how it reads it.
OURS = [
    a_classifier,
    features,
    npz_weights,
    h5_weights,
    keras_model,
    a_checkpoint,
    a_split,
    an_index,
    settings,
]
#: What carries no checksum.
OTHERS = [plain_h5_weights, a_snapshot, folds, predictions]


def outcomes(make, folder, count, seed=0):
    """Damage a file in many ways; yield the bytes, and "refused", "equal" or what else came."""
    path, load = make(folder, tiny_network())
    whole = path.read_bytes()
    expected = load(path)
    for damaged in mutations(whole, count, seed):
        path.write_bytes(damaged)
        try:
            found = load(path)
        except AlexNetError as error:
            named = str(path) in str(error) or make in (a_split, an_index, settings, folds)
            yield damaged, "refused" if named else repr(error)
        else:
            yield damaged, "equal" if found == expected else "different"


def _zip(path, **contents):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def test_what_a_file_looks_like(tmp_path):
    network, path = tiny_network(), tmp_path / "x"
    made = [make(tmp_path, network)[0] for make in OURS]
    _zip(tmp_path / "z", a="1", b="2")
    write_caffemodel(tmp_path / "w", {"conv1": [np.zeros((1, 1), np.float32)]})
    np.savez(tmp_path / "n.npz")
    found = [kind_of(each) for each in [*made, *(tmp_path / name for name in ("z", "w", "n.npz"))]]
    assert found == [
        "a classifier of `finetune`",
        "features of `save_features`",
        "weights of conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8",
        "an HDF5 file (.weights.h5, .caffemodel.h5?)",
        "a model saved by Keras",
        "a checkpoint of `finetune`",
        "a split (.csv)",
        "JSON",
        "JSON",
        "an archive of a, b",
        "a .caffemodel",
        None,  # a zip archive of nothing has only its end
    ]
    for content, kind in (
        (b"", "an empty file"),
        (b"\x00" * 9, None),
        (b"PK\x03\x04" + bytes(99), "a damaged or incomplete zip archive"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer; run `git lfs pull`"),
        (b"\x89PNG\r\n", "an image"),
        (b"\xff\xd8\xff\xe0", "an image"),
        (b"RIFF\x10\n\0\0WEBP", "an image"),
        (b"<!DOCTYPE html>", "HTML or XML, perhaps the error page of a failed download"),
    ):
        path.write_bytes(content)
        assert kind_of(path) == kind


def test_a_file_of_another_kind_is_named(tmp_path):
    weights, _ = npz_weights(tmp_path, tiny_network())
    with pytest.raises(InputError, match=r"w\.npz: it has weights, but no array 'classes'"):
        load_classifier(weights)
    with pytest.raises(
        InputError, match=r"f\.npz: expected a classifier.*, found features of `save"
    ):
        load_classifier(features(tmp_path, None)[0])
    with pytest.raises(InputError, match=r"expected features.*, found weights of .*lacks 'codes'"):
        load_features(weights)
    image = tmp_path / "a.keras"
    write_image(image, np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(
        InputError, match=r"a\.keras: expected a model saved by Keras, found an ima"
    ):
        load_weights(tiny_network(), image)


def test_what_is_wrong_with_the_disk_stays_so(tmp_path):
    for ending in (".npz", ".keras", ".weights.h5"):
        with pytest.raises(FileNotFoundError, match=f"absent{ending}"):
            load_weights(None, tmp_path / f"absent{ending}")
        (tmp_path / f"folder{ending}").mkdir()
        with pytest.raises(IsADirectoryError, match=f"folder{ending}"):
            load_weights(None, tmp_path / f"folder{ending}")
    with pytest.raises(OSError, match=r"Input/output error: 'a\.npz'"), reading("a.npz", "weights"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    with pytest.raises(KeyboardInterrupt), reading("a.npz", "weights"):
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (10**15,), }", "expected .* zip|malf"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000000,), }", "allocate"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000,), }", "EOF|allocate"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "expected 12 bytes, found m"),
        ("{'descr': '|O', 'fortran_order': False, 'shape': (4,), }", "Object arrays"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (4,)", "EOF in multi-line|header"),
        ("(" * 900, "EOF in multi-line|header|nested"),
    ],
)
def test_headers_that_do_not_fit_their_array(header, message, tmp_path):
    """Their checksums are right: only the number of bytes tells."""
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + bytes(16)
    _zip(tmp_path / "w.npz", **{"conv1/bias.npy": npy})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=rf"w\.npz.*({message})"):
        load_npz(tmp_path / "w.npz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_arrays_that_the_list_has_lost_are_missed(tmp_path):
    """The list's third entry claims a comment that is as long as all entries after it."""
    path, _ = npz_weights(tmp_path, tiny_network())
    whole, at = path.read_bytes(), 0
    for _ in range(3):
        at = whole.index(b"PK\x01\x02", at + 1)
    rest = whole.index(b"PK\x05\x06") - whole.index(b"PK\x01\x02", at + 1)
    path.write_bytes(whole[: at + 32] + struct.pack("<H", rest) + whole[at + 34 :])
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 3
    with pytest.raises(InputError, match=r"w\.npz: expected a list of 16 arrays, found 3"):
        load_npz(path)


def test_numbers_that_are_not_stored_are_not_zeros(tmp_path):
    path, load = plain_h5_weights(tmp_path, tiny_network())
    with h5py.File(path, "a") as file:
        place = file["layers/fully_connected/vars"]
        del place["0"]
        place.create_dataset("0", (10**9, 10**6), np.float32)
    with pytest.raises(
        InputError, match=r"a\.weights\.h5.*vars/0: expected 4000000000000000 bytes"
    ):
        load(path)


def test_a_layer_that_comes_twice_is_refused(tmp_path):
    path, load = plain_h5_weights(tmp_path, tiny_network())
    with h5py.File(path, "a") as file:
        file["layers/fully_connected/vars"].attrs["name"] = "fc7"
    with pytest.raises(InputError, match=r"a\.weights\.h5: .*found 'fc7' twice"):
        load(path)


@pytest.mark.parametrize("make", [*OURS, *OTHERS])
def test_damaged_files_are_refused_or_give_what_was_stored(make, tmp_path):
    allowed = {"refused", "equal"} | ({"different"} if make in OTHERS else set())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tally = Counter()
    for number, (_, outcome) in enumerate(outcomes(make, tmp_path, 100)):
        tally[outcome] += 1
        assert outcome in allowed, f"damage {number}: {outcome}"
    assert tally["refused"] > 20
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 200_000, f"{grown} kB"
