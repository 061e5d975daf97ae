"""Statistics of activations are what NumPy makes of the layers' outputs, at any input size."""

import keras
import numpy as np
import pytest

from alexnet_lib.images.preprocessing import preprocess_input
from alexnet_lib.port.alexnet import AlexNet
from benchmarks.statistics import CHANNELS, PAIRS, parts, statistics_of

COUNT = 3 * 1376 + 256 * 257 // 2


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    return AlexNet(include_top=False)


@pytest.fixture(scope="module")
def images():
    return list(np.random.default_rng(0).integers(0, 256, (3, 227, 227, 3), np.uint8))


def test_at_227_they_are_those_of_the_layers_outputs(model, images):
    found = statistics_of(model, images, 227)
    assert found.shape == (3, COUNT)
    assert found.dtype == np.float32
    outputs = keras.Model(model.input, [model.get_layer(layer).output for layer in CHANNELS])
    slices = parts()
    for layer, x in zip(CHANNELS, map(np.asarray, outputs(preprocess_input(images))), strict=True):
        for kind, value in (
            ("mean", x.mean((1, 2))),
            ("maximum", x.max((1, 2))),
            ("rms", np.sqrt((x**2).mean((1, 2)))),
        ):
            np.testing.assert_allclose(found[:, slices[layer, kind]], value, rtol=1e-3, atol=1e-3)
    pool5 = np.asarray(keras.Model(model.input, model.output)(preprocess_input(images)))
    root = np.sqrt(pool5).reshape(3, 36, 256)
    pairs = np.einsum("npc,npd->ncd", root, root) / 36
    got = found[:, slices["pool5", "pairs"]]
    np.testing.assert_allclose(got, pairs[:, PAIRS[0], PAIRS[1]], rtol=1e-3, atol=1e-3)
    own = PAIRS[0] == PAIRS[1]
    np.testing.assert_allclose(got[:, own], pool5.mean((1, 2)), rtol=1e-3, atol=1e-3)


def test_another_size_and_a_batch_that_is_cut_give_as_many(model, images):
    found = statistics_of(model, images * 11, 96)
    assert found.shape == (33, COUNT)
    np.testing.assert_allclose(found[30:], found[:3], rtol=1e-3, atol=1e-3)
    assert np.isfinite(found).all()


def test_views_are_averaged(model, images):
    each = [statistics_of(model, images[:2], 67, [view]) for view in (0, 3, 6)]
    assert not np.allclose(each[0], each[1])
    together = statistics_of(model, images[:2], 67, [0, 3, 6])
    np.testing.assert_allclose(together, np.mean(each, axis=0), rtol=1e-3, atol=1e-3)


def test_a_turned_image_has_the_statistics_of_its_view(model, images):
    turned = [np.ascontiguousarray(images[0][::-1, ::-1])]
    np.testing.assert_allclose(
        statistics_of(model, turned, 67),
        statistics_of(model, images[:1], 67, [3]),
        rtol=1e-3,
        atol=1e-3,
    )


def test_the_model_is_as_it_was(model, images):
    statistics_of(model, images[:1], 96)
    assert model.get_layer("pool5").output.shape == (None, 6, 6, 256)


def test_a_size_that_leaves_no_positions_is_refused(model, images):
    with pytest.raises(ValueError, match=r"at least 67\. Received: size=66"):
        statistics_of(model, images, 66)
