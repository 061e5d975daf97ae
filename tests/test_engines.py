"""The port equals two independent engines at every layer, and the comparison can fail."""

import numpy as np
import pytest

from alexnet_lib.caffe.caffemodel import read_caffemodel
from alexnet_lib.images.preprocessing import preprocess_input
from alexnet_lib.port.alexnet import AlexNet
from alexnet_lib.port.architecture import LAYERS
from alexnet_lib.port.engines import (
    keras_activations,
    onnx_activations,
    opencv_activations,
    relative_error,
)

LIMIT = 1e-5
NAMES = [layer.name for layer in LAYERS]


@pytest.fixture(scope="module")
def model(caffemodel):
    return AlexNet(caffemodel)


@pytest.fixture(scope="module")
def ours(model, images):
    return keras_activations(model, images)


@pytest.fixture(scope="module")
def opencv(caffemodel, images):
    return opencv_activations(caffemodel, images)


def assert_parity(actual, expected):
    errors = {name: relative_error(actual[name], expected[name]) for name in expected}
    too_large = {name: error for name, error in errors.items() if not error <= LIMIT}
    assert not too_large


def test_parity_with_opencv(ours, opencv):
    assert list(ours) == list(opencv) == NAMES
    assert all(np.ptp(y) > 0 for y in opencv.values())  # no layer is dead
    assert_parity(ours, opencv)


def test_parity_with_onnx_runtime(ours, caffemodel, images):
    onnx = onnx_activations(read_caffemodel(caffemodel), images)
    assert list(onnx) == NAMES
    assert_parity(ours, onnx)


def test_a_wrong_network_breaks_parity_from_its_first_wrong_layer(
    model, images, opencv, monkeypatch
):
    layer = model.get_layer("norm1")
    monkeypatch.setattr(layer, "alpha", 5 * layer.alpha)
    wrong = keras_activations(model, images)
    errors = {name: relative_error(wrong[name], opencv[name]) for name in NAMES}
    assert max(errors["conv1"], errors["relu1"]) <= LIMIT
    assert errors["norm1"] > 0.1
    assert errors["fc8"] > 0.01


def test_activations_of_the_convolutions_alone(caffemodel, images, ours):
    features = keras_activations(AlexNet(caffemodel, include_top=False), images)
    assert list(features) == NAMES[: NAMES.index("pool5") + 1]
    assert_parity(features, {name: ours[name] for name in features})


def test_relative_error():
    assert relative_error(np.array([1.0, -4.5]), np.array([1.0, -4.0])) == 0.125
    with pytest.raises(ValueError, match=r"expected shape \(2,\), got \(1,\)"):
        relative_error(np.ones(1), np.ones(2))
    assert not relative_error(np.array([np.nan, 1]), np.ones(2)) <= LIMIT


def test_parity_on_the_real_convolutions(trained):
    pixels = np.random.default_rng(0).integers(0, 256, (1, 227, 227, 3), np.uint8)
    images = preprocess_input(pixels)
    model = AlexNet(trained, include_top=False)
    assert_parity(keras_activations(model, images), opencv_activations(trained, images, "pool5"))
