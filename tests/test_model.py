"""Keras habits: `predict`, `fit`, copies, files and settings of the models the library makes."""

import copy
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from running import try_program
from small import small_network

from alexnet_lib.port.alexnet import AlexNet
from alexnet_lib.port.compilation import compiled
from alexnet_lib.port.model import Network


@pytest.fixture(scope="module")
def model():
    small = small_network(dropout=0)
    return Network(small.input, keras.layers.Softmax()(small.output), name="small")


@pytest.fixture(scope="module")
def x():
    return np.random.default_rng(0).uniform(-100, 100, (5, 227, 227, 3)).astype(np.float32)


def test_predict_equals_a_compiled_call(model, x):
    expected = compiled(model)(x, training=False)
    for batch_size in (None, 2):
        for images in (x, tf.constant(x), tf.data.Dataset.from_tensor_slices(x).batch(2)):
            if isinstance(images, tf.data.Dataset) and batch_size:
                continue
            found = model.predict(images, batch_size=batch_size, verbose=0)
            np.testing.assert_allclose(found, expected, atol=1e-6)
    assert model.predict(x[:1], verbose=0).shape == (1, 2)


def test_predict_shows_a_bar_and_calls_callbacks(model, x, capsys):
    model.predict(x, batch_size=2)
    assert "3/3" in capsys.readouterr().out
    seen = []
    callback = keras.callbacks.LambdaCallback()
    callback.on_predict_batch_end = lambda batch, logs: seen.append(batch)
    model.predict(x, batch_size=2, verbose=0, callbacks=[callback])
    assert seen == [0, 1, 2]


def test_what_predict_cannot_take_is_said(model, x):
    with pytest.raises(ValueError, match=r"\(batch, 227, 227, 3\), got \(1, 224, 224, 3\)"):
        model.predict(np.zeros((1, 224, 224, 3), np.float32), verbose=0)
    with pytest.raises(ValueError, match=r"got \(227, 227, 3\)"):
        model.predict(x[0], verbose=0)
    with pytest.warns(UserWarning, match="preprocess_input makes of pixels"):
        model.predict(np.zeros((1, 227, 227, 3), np.uint8), verbose=0)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_fit_equals_keras(model, x, optimizer):
    y = np.array([0, 1, 0, 1, 1])
    found = []
    for kind in (Network, keras.Model):
        keras.utils.set_random_seed(0)
        own = keras.models.clone_model(model)
        own.set_weights(model.get_weights())
        own = kind(own.input, own.output)
        own.compile(
            {"sgd": keras.optimizers.SGD(1e-6, momentum=0.9), "adam": keras.optimizers.Adam(1e-5)}[
                optimizer
            ],
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
        )
        assert not own.jit_compile  # XLA's convolutions take three times as long on a CPU
        weight = np.array([1.0, 2, 1, 1, 0.5])
        history = own.fit(x, y, batch_size=3, epochs=2, verbose=0, sample_weight=weight)
        found.append((history.history, own.evaluate(x, y, verbose=0), own.get_weights()))
    ours, theirs = found
    for name, values in theirs[0].items():
        np.testing.assert_allclose(ours[0][name], values, rtol=1e-3, err_msg=name)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-3)
    for a, b in zip(ours[2], theirs[2], strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_copies_and_files_stay_networks(model, x, tmp_path):
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    for other in (clone, copy.deepcopy(model), keras.saving.load_model(tmp_path / "model.keras")):
        assert type(other) is Network
        np.testing.assert_allclose(other.predict(x, verbose=0), expected, atol=1e-6)


def test_quantize_takes_the_fully_connected_layers(model, x, tmp_path):
    other = copy.deepcopy(model)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Layer|.*quantize")
        other.quantize("int8")
    assert [layer.name for layer in other.layers if layer.quantization_mode] == [
        "fc6", "fc7", "fc8",
    ]  # fmt: skip
    found = other.predict(x, verbose=0)
    np.testing.assert_allclose(found, model.predict(x, verbose=0), atol=0.05)
    other.save(tmp_path / "int8.keras")
    again = keras.saving.load_model(tmp_path / "int8.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), found, atol=1e-6)
    with pytest.raises(ValueError, match=r"expected floating-point numbers, got int8"):
        AlexNet(tmp_path / "int8.keras")


def test_channels_first_is_refused_with_the_remedy():
    keras.config.set_image_data_format("channels_first")
    try:
        with pytest.raises(ValueError, match=r"set_image_data_format\('channels_last'\)"):
            AlexNet(include_top=False)
    finally:
        keras.config.set_image_data_format("channels_last")


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_is_refused_with_the_remedy(backend):
    """Whether that backend's package is installed or not."""
    program = "from alexnet_lib.port.alexnet import AlexNet"
    status, written = try_program(program, KERAS_BACKEND=backend)
    assert status == 1
    last = written.strip().splitlines()[-1]
    assert last.startswith("alexnet_lib.port.backend.BackendError: alexnet_lib needs Keras on Ten")
    assert "KERAS_BACKEND=tensorflow" in last
    assert "During handling" not in written
