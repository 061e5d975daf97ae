"""Ported models in other programs' formats, and the commands `port`, `prove` and `predict`."""

import sys

import cv2
import keras
import numpy as np
import pytest
from click.testing import CliRunner

from alexnet_lib.__main__ import main
from alexnet_lib.caffe.caffemodel import write_caffemodel
from alexnet_lib.errors import InputError
from alexnet_lib.port import exchange
from alexnet_lib.port.exchange import FORMATS, ExchangeError, save_model
from alexnet_lib.port.network import RULES, port

NETWORK = """
input: "b" input_shape { dim: 1 dim: 3 dim: 9 dim: 8 }
input: "a" input_shape { dim: 1 dim: 2 dim: 9 dim: 8 }
layer { name: "c1" type: "Convolution" bottom: "a" top: "c1"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "c2" type: "Convolution" bottom: "b" top: "c2"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "c1" bottom: "c2" top: "sum" }
layer { name: "p" type: "Pooling" bottom: "sum" top: "p"
  pooling_param { kernel_size: 3 stride: 2 pad: 1 pool: AVE } }
layer { name: "q" type: "PReLU" bottom: "sum" top: "q" }
"""
# The end of a small AlexNet: one input, so that a photograph can be run.
SMALL = """
layer { name: "data" type: "Input" top: "data" input_param { shape {
  dim: 1 dim: 3 dim: 20 dim: 16 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "n" type: "LRN" bottom: "conv" top: "n" lrn_param { k: 2 alpha: 0.1 } }
layer { name: "fc" type: "InnerProduct" bottom: "n" top: "fc"
  inner_product_param { num_output: 5 } }
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network with two inputs and two outputs, and layers of our own."""
    path = tmp_path_factory.mktemp("net") / "net.prototxt"
    path.write_text(NETWORK)
    model = port(path)
    generator = np.random.default_rng(0)
    model.set_weights([generator.standard_normal(w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Paths of a prototxt and its caffemodel."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "net.prototxt").write_text(SMALL)
    generator = np.random.default_rng(0)
    shapes = {"conv": [(4, 3, 3, 3), (4,)], "fc": [(5, 4 * 18 * 14), (5,)]}
    blobs = {
        name: [generator.standard_normal(shape, np.float32) / 10 for shape in own]
        for name, own in shapes.items()
    }
    write_caffemodel(folder / "net.caffemodel", blobs)
    return folder / "net.prototxt", folder / "net.caffemodel"


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_is_opened_and_computes_the_same(model, tmp_path, ending):
    for package in exchange.OPTIONAL.get(ending, ((),))[0]:
        pytest.importorskip(package)
    path = tmp_path / f"net{ending}"
    for _ in range(2):  # the second time, over the first
        assert save_model(model, path) <= 1e-5
        assert [item.name for item in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("ending", FORMATS)
def test_file_with_other_weights_is_refused_and_not_left(model, tmp_path, monkeypatch, ending):
    for package in exchange.OPTIONAL.get(ending, ((),))[0]:
        pytest.importorskip(package)
    write, check = FORMATS[ending]

    def write_another(model, path):
        other = keras.models.clone_model(model)
        other.set_weights([w * 1.001 for w in model.get_weights()])
        other([np.zeros((1, *x.shape[1:]), np.float32) for x in model.inputs])
        write(other, path)

    monkeypatch.setitem(FORMATS, ending, (write_another, check))
    with pytest.raises(ExchangeError, match=r"differs from the model|other values than"):
        save_model(model, tmp_path / f"net{ending}")
    assert list(tmp_path.iterdir()) == []


def test_model_from_a_file_needs_no_registration(model, tmp_path):
    save_model(model, tmp_path / "net.keras")
    again = keras.saving.load_model(tmp_path / "net.keras")
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]


def test_missing_package_says_what_to_install(model, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ExchangeError, match="needs the package tf2onnx: pip install tf2onnx"):
        save_model(model, tmp_path / "net.onnx")


def test_other_targets_are_refused(model, tmp_path):
    with pytest.raises(InputError, match=r"expected an ending of .*Received: \.h5"):
        save_model(model, tmp_path / "net.h5")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("keep")
    with pytest.raises(InputError, match="found other files"):
        save_model(model, tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "keep"


def test_port_command(small, tmp_path):
    done = run("port", *small, tmp_path / "net.keras")
    assert done.exit_code == 0, done.output
    assert "opened and compared, largest difference 0.0e+00" in done.output
    assert keras.saving.load_model(tmp_path / "net.keras").output_shape == (None, 5)
    done = run("port", *small, tmp_path / "n.npz", "--stop-at", "conv", "--input", "2,3,6,7")
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "n.npz") as file:
        assert sorted(file) == ["conv/bias", "conv/kernel"]


MISTAKES = {
    ("net.h5",): (1, "expected an ending of"),
    ("net.keras", "--input", "1,3,x"): (2, "expected [NAME=]N,C,H,W. Received: 1,3,x"),
    ("net.keras", "--input", "1,3,4,4", "--input", "x=1,3,4,4"): (2, "name each of several"),
    ("net.keras", "--input", "x=1,3,4,4"): (1, "no input x; there are data"),
    ("net.keras", "--rename", "fc"): (2, "expected OLD=NEW. Received: fc"),
    ("net.keras", "--rename", "fc=fd"): (1, "layer 'fc'"),
    ("net.keras", "--stop-at", "fd"): (1, "no layer or blob 'fd'"),
    ("net.keras", "--skip", "fd"): (1, "fd"),
    ("net.keras", "--input", "1,3,10,10"): (1, "layer 'fc'"),
}


@pytest.mark.parametrize("arguments", MISTAKES)
def test_mistakes_of_the_port_command(small, tmp_path, arguments):
    status, message = MISTAKES[arguments]
    done = run("port", *small, tmp_path / arguments[0], *arguments[1:])
    assert (done.exit_code, message in done.output) == (status, True), done.output
    assert list(tmp_path.iterdir()) == []


def test_swapped_files_are_called_by_their_names(small, tmp_path):
    prototxt, caffemodel = small
    done = run("port", caffemodel, prototxt, tmp_path / "net.keras")
    assert "this looks like a prototxt" in done.output
    done = run("port", caffemodel, caffemodel, tmp_path / "net.keras")
    assert "found a binary file; a .caffemodel goes where" in done.output


def test_prove_command(small, tmp_path):
    table, picture, photograph = (tmp_path / name for name in ("t.csv", "t.png", "i.png"))
    done = run("prove", *small, "--csv", table, "--picture", picture)
    assert done.exit_code == 0, done.output
    assert "All 3 layers hold" in done.output
    assert table.read_text().splitlines()[0] == "layer,type,shape,oracle,error"
    assert cv2.imread(str(picture)) is not None
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    cv2.imwrite(str(photograph), pixels)
    done = run("prove", *small, "--image", photograph, "--mean", "104,117,123")
    assert done.exit_code == 0, done.output
    cv2.imwrite(str(photograph), pixels.astype(np.uint16) * 16)
    done = run("prove", *small, "--image", photograph)
    assert "this looks like 12-bit data" in done.output
    done = run("prove", *small, "--image", photograph, "--white", "4095")
    assert done.exit_code == 0, done.output
    for option in ("--mean", "--white"):
        done = run("prove", *small, option, "104")
        assert done.exit_code == 2
        assert f"{option} goes with --image" in done.output


def test_prove_command_names_the_first_broken_layer(small, monkeypatch):
    def forget(builder, layer, x):
        return keras.layers.Identity(name=builder.name())(x)

    monkeypatch.setitem(RULES, "LRN", forget)
    done = run("prove", *small)
    assert done.exit_code == 1
    assert "n is the first layer whose error is not at most 1e-05" in done.output
