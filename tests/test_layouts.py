"""Conversion keeps every number and puts it where the other framework looks for it."""

import re
from pathlib import Path

import numpy as np
import pytest

from alexnet_lib.caffe.caffemodel import read_caffemodel
from alexnet_lib.port.layouts import caffe_to_tensorflow, load_npz, save_npz, tensorflow_to_caffe
from alexnet_lib.teaching.stand_in import stand_in_weights
from benchmarks.compare import in_own_process


@pytest.fixture(scope="module")
def blobs(weights):
    return tensorflow_to_caffe(weights)


def test_convolution_is_hwio(weights, blobs):
    kernel, blob = weights["conv4/kernel"], blobs["conv4"][0]
    assert blob.shape == (384, 192, 3, 3)
    for o, i, y, x in np.random.default_rng(0).integers(0, blob.shape, (500, 4)):
        assert kernel[y, x, i, o] == blob[o, i, y, x]


def test_fc6_rows_go_from_chw_to_hwc(weights, blobs):
    kernel, blob = weights["fc6/kernel"], blobs["fc6"][0].reshape(4096, 256, 6, 6)
    for o, c, y, x in np.random.default_rng(0).integers(0, blob.shape, (500, 4)):
        assert kernel[(y * 6 + x) * 256 + c, o] == blob[o, c, y, x]


def test_fc7_is_transposed(weights, blobs):
    np.testing.assert_array_equal(weights["fc7/kernel"], blobs["fc7"][0][0, 0].T)


def test_round_trip_is_bit_exact_and_contiguous(weights, blobs):
    back = caffe_to_tensorflow(blobs)
    assert list(back) == list(weights)
    for name, array in weights.items():
        assert back[name].tobytes() == array.tobytes(), name
        assert back[name].dtype == np.float32
        assert back[name].flags.c_contiguous


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="needs Linux's account of memory"
)
def test_a_file_is_not_in_memory_beside_its_copy(caffemodel):
    mib = float(in_own_process("benchmarks.reading", "open and convert", caffemodel))
    assert 1 <= mib * 2**20 / caffemodel.stat().st_size < 1.3


def test_views_can_be_read_after_the_conversion(weights, caffemodel):
    blobs = read_caffemodel(caffemodel)
    for _ in range(2):
        converted = caffe_to_tensorflow(blobs)["fc7/kernel"]
        np.testing.assert_array_equal(converted, weights["fc7/kernel"])


def test_dimensions_of_newer_files_convert_alike(blobs):
    newer = {
        name: [w.reshape(w.shape[-2:]), b.ravel()] for name, (w, b) in blobs.items() if "fc" in name
    }
    expected = caffe_to_tensorflow({name: blobs[name] for name in newer})
    for name, array in caffe_to_tensorflow(newer).items():
        np.testing.assert_array_equal(array, expected[name])


def test_another_head_is_welcome(blobs):
    head = {"fc8": [np.zeros((21, 4096), np.float32), np.zeros(21, np.float32)]}
    assert caffe_to_tensorflow(head)["fc8/kernel"].shape == (4096, 21)


@pytest.mark.parametrize(
    ("layer", "shapes", "message"),
    [
        ("conv6", [(1, 1), (1,)], r"'conv6': expected one of AlexNet's conv1, .* another network"),
        ("conv1", [(96, 3, 11, 11)], r"'conv1': expected \[weights, bias\], got 1 blobs"),
        ("conv1", [(64, 3, 11, 11), (64,)], r"'conv1': expected weights \(96, 3, 11, 11\)"),
        ("conv2", [(256, 96, 5, 5), (256,)], r"got \(256, 96, 5, 5\) and \(256,\)"),
        ("fc7", [(4096, 4096), (1, 1, 1, 4095)], r"bias \(4096,\), got .* \(1, 1, 1, 4095\)"),
        ("fc7", [(2, 1, 4096, 2048), (4096,)], "expected weights"),
        ("fc8", [(21, 4095), (21,)], r"expected weights \(21, 4096\)"),
        ("fc8", [(4096,), (21,)], "expected weights"),
    ],
)
def test_what_does_not_fit_is_named(layer, shapes, message):
    with pytest.raises(ValueError, match=message):
        caffe_to_tensorflow({layer: [np.zeros(shape, np.float32) for shape in shapes]})


def test_npz_round_trip(weights, tmp_path):
    save_npz(tmp_path / "w.npz", weights)
    loaded = load_npz(tmp_path / "w.npz")
    assert list(loaded) == list(weights)
    assert all(loaded[name].tobytes() == array.tobytes() for name, array in weights.items())
    assert [path.name for path in tmp_path.iterdir()] == ["w.npz"]


class Explosive:
    """Would run code when a pickle of it is loaded."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


def test_pickles_are_refused(tmp_path):
    path = tmp_path / "objects.npz"
    np.savez(path, kernel=np.array([Explosive()], dtype=object))
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: .*allow_pickle=False"):
        load_npz(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"\x80\x04.", b"text"])
def test_what_is_no_npz_is_refused(content, tmp_path):
    (tmp_path / "w.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"w\.npz: expected an \.npz of plain arrays"):
        load_npz(tmp_path / "w.npz")


def test_a_single_array_is_no_npz(tmp_path):
    with open(tmp_path / "w.npz", "wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"w\.npz: expected an \.npz"):
        load_npz(tmp_path / "w.npz")


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "w.npz"
    save_npz(path, {"conv1/bias": np.arange(3)})

    class Unwritable:
        def __array__(self, dtype=None, copy=None):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        save_npz(path, {"conv1/bias": np.zeros(3), "conv1/kernel": Unwritable()})
    np.testing.assert_array_equal(load_npz(path)["conv1/bias"], np.arange(3))
    assert [file.name for file in tmp_path.iterdir()] == ["w.npz"]
    with pytest.raises(ValueError, match=r"ends in \.npz.*weights\.bin"):
        save_npz(tmp_path / "weights.bin", {})


def test_stand_in_weights_are_seeded():
    first, again, other = (stand_in_weights(seed, classes=5) for seed in (0, 0, 1))
    assert first["fc8/kernel"].shape == (4096, 5)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["fc6/kernel"], other["fc6/kernel"])
    # 96 filters, no two alike
    assert len(np.unique(first["conv1/kernel"].reshape(-1, 96).T, axis=0)) == 96
