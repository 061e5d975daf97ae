"""Tensors are preprocessed as arrays are: the same numbers, the same refusals, and in exports."""

import subprocess
import sys

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf

from alexnet_lib.images.preprocessing import RESIZES, preprocess_input
from alexnet_lib.images.tensors import Preprocess


def photograph(height=256, width=256):
    coarse = np.random.default_rng(0).uniform(0, 255, (12, 12, 3)).astype(np.float32)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    pixels += np.random.default_rng(1).normal(0, 12, pixels.shape)
    return np.clip(pixels, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize(
    "size", [(256, 256), (242, 257), (60, 100), (451, 300), (200, 300), (300, 200), (227, 300)]
)
def test_resizing_gives_the_numbers_of_arrays(resize, size):
    """Both sides shrunk, both enlarged, and one of each."""
    image = photograph(*size)
    found = preprocess_input(tf.constant(image), resize)
    assert found.shape == (1, 227, 227, 3)
    np.testing.assert_allclose(found, preprocess_input(image, resize), atol=1.001)  # rounding
    real = image.astype(np.float32)
    found = preprocess_input(tf.constant(real), resize)
    np.testing.assert_allclose(found, preprocess_input(real, resize), atol=0.02)


def test_tensors_of_the_right_size_are_exact():
    image = photograph(227, 227)
    mean = np.random.default_rng(0).uniform(0, 255, (3, 256, 256))
    for options in ({}, {"channels": "rgb"}, {"mean": mean}, {"mean": [1, 2, 3]}):
        expected = preprocess_input(image, **options)
        for dtype in (tf.uint8, tf.int32, tf.float16, tf.float64):
            found = preprocess_input(tf.cast(image, dtype), **options)
            assert found.dtype == tf.float32
            np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(preprocess_input(tf.Variable(image)), preprocess_input(image))


def test_in_a_data_set():
    image = photograph()
    data = tf.data.Dataset.from_generator(
        lambda: [(image[..., ::-1], 7), (photograph(300, 100), 8)],
        output_signature=(tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int64)),
    )
    data = data.map(lambda x, y: (preprocess_input(x, "stretch", channels="rgb"), y))
    assert data.element_spec[0].shape == (1, 227, 227, 3)
    (first, label), (second, _) = data
    assert int(label) == 7
    np.testing.assert_allclose(first, preprocess_input(image, "stretch"), atol=1.001)
    assert second.shape == (1, 227, 227, 3)


def test_in_a_keras_lambda_and_compiled():
    image = photograph()[None]
    expected = preprocess_input(image, "center")
    inputs = keras.Input((None, None, 3))
    outputs = keras.layers.Lambda(lambda x: preprocess_input(x, "center"))(inputs)
    assert outputs.shape == (None, 227, 227, 3)
    model = keras.Model(inputs, outputs)
    found = model.predict(image.astype(np.float32), verbose=0)
    np.testing.assert_allclose(found, expected, atol=1.001)
    fused = tf.function(lambda x: preprocess_input(x, "center"), jit_compile=True)
    np.testing.assert_allclose(fused(tf.constant(image)), expected, atol=1.001)


WRONG = [
    (photograph(227, 227) / 255, "scaled to 0-1: multiply by 255"),
    (photograph(227, 227) - 300.0, "expected pixels from 0 to 255"),
    (photograph(227, 227) * np.float32(np.nan), "expected pixels from 0 to 255"),
    (photograph(227, 227).astype(np.int32) * 16, "expected pixels from 0 to 255"),
]


@pytest.mark.parametrize(("pixels", "message"), WRONG)
def test_wrong_values_are_refused_when_they_are_there(pixels, message):
    with pytest.raises(ValueError, match=message):
        preprocess_input(tf.constant(pixels))
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        tf.function(lambda x: preprocess_input(x))(tf.constant(pixels))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (tf.zeros((3, 227, 227)), "channels-first"),
        (tf.zeros((227, 227)), "Repeat a grey"),
        (tf.zeros((1, 227, 227, 3), tf.bool), "multiply a mask by 255"),
        (tf.constant("cat.jpg"), "numbers from 0 to 255"),
        (tf.zeros((256, 256, 3)), "Received: 256x256"),
        (tf.ragged.constant([[[1]]]), "expected a dense tensor"),
    ],
)
def test_wrong_forms_are_refused_at_once(pixels, message):
    with pytest.raises(ValueError, match=message):
        preprocess_input(pixels)


def test_a_number_of_axes_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"tf\.ensure_shape"):
        tf.function(lambda x: preprocess_input(x), autograph=False).get_concrete_function(
            tf.TensorSpec(None, tf.float32)
        )


def test_a_model_carries_its_preprocessing(tmp_path):
    """Saved and loaded by Keras, exported and run by TensorFlow, for images of any size."""
    inputs = keras.Input((None, None, 3), dtype="uint8")
    outputs = preprocess_input(inputs, "stretch", channels="rgb")
    assert outputs.shape == (None, 227, 227, 3)
    model = keras.Model(inputs, outputs)
    assert isinstance(model.layers[-1], Preprocess)
    model.save(tmp_path / "model.keras")
    model.export(tmp_path / "exported", verbose=False)
    again = keras.saving.load_model(tmp_path / "model.keras")
    exported = tf.saved_model.load(tmp_path / "exported")
    for size in ((256, 256), (100, 400)):
        image = photograph(*size)
        expected = preprocess_input(image, "stretch", channels="rgb")
        batch = tf.constant(image[None])
        for outcome in (model(batch), again(batch), exported.serve(batch)):
            np.testing.assert_allclose(outcome, expected, atol=1.001)


def test_half_precision_starts_behind_the_layer():
    image = photograph()[None].astype(np.float32)
    found = Preprocess("bgr", dtype="mixed_float16")(image)
    assert found.dtype == tf.float16
    np.testing.assert_allclose(found, preprocess_input(image, "stretch"), atol=0.1)


def test_wrong_arguments_of_the_layer_are_refused():
    for options in ({"channels": "RGB"}, {"channels": "rgb", "resize": "crop"}):
        with pytest.raises(ValueError, match="must be"):
            Preprocess(**options)
    with pytest.raises(ValueError, match="channels-first"):
        Preprocess("rgb")(np.zeros((1, 3, 256, 256), np.float32))


def test_arrays_need_no_tensorflow():
    program = (
        "import sys, numpy; from alexnet_lib.images.preprocessing import preprocess_input;"
        "preprocess_input(numpy.zeros((9, 9, 3), numpy.uint8), 'stretch');"
        "print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "False"
