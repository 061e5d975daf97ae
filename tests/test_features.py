"""Coded features stay close to what the convolutions gave, and the carried ones are real."""

import dataclasses

import numpy as np
import pytest
from small import noise_features, small_network, write_pictures

from alexnet_lib.images.features import (
    compute_features,
    decode,
    encode,
    load_features,
    save_features,
)
from alexnet_lib.images.folder import read_folder
from alexnet_lib.port.alexnet import AlexNet


def test_error_of_the_code_is_half_a_step_of_the_root():
    values = np.concatenate([[0], np.geomspace(1e-4, 150, 10_000)]).astype(np.float32)
    step = float(np.sqrt(150) / 255)
    back = decode(encode(values, step), step)
    assert back.dtype == np.float32
    assert np.abs(np.sqrt(back) - np.sqrt(values)).max() <= step / 2 * (1 + 1e-5)
    assert back[0] == 0


def test_large_values_saturate():
    assert encode(np.array([1e6]), 0.1).tolist() == [255]


@pytest.fixture
def features():
    return noise_features([0, 0, 1, 1, 1])


def test_round_trip(features, tmp_path):
    save_features(tmp_path / "f.npz", features)
    loaded = load_features(tmp_path / "f.npz")
    for name in ("codes", "step", "labels", "classes", "names", "rows"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(features, name))
    save_features(tmp_path / "f.npz", features.subset([3, 1]))
    np.testing.assert_array_equal(load_features(tmp_path / "f.npz").pool5(), features.pool5([3, 1]))
    assert isinstance(loaded.step, float)


def test_pool5_takes_a_view_for_each_image(features):
    mixed = features.pool5([3, 1], views=np.array([7, 2]))
    np.testing.assert_array_equal(mixed[0], features.pool5([3], views=7)[0])
    np.testing.assert_array_equal(mixed[1], features.pool5([1], views=2)[0])
    np.testing.assert_array_equal(features.pool5([4]), decode(features.codes[0, [4]], 0.05))


def test_other_files_are_refused(features, tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match=r"other\.npz: expected features of `save_features`"):
        load_features(tmp_path / "other.npz")
    save_features(tmp_path / "short.npz", dataclasses.replace(features, labels=np.zeros(4, int)))
    with pytest.raises(ValueError, match=r"short\.npz: expected codes of \(views, 4, 6, 6, 256\)"):
        load_features(tmp_path / "short.npz")


def test_carried_features_are_of_all_images():
    carried = load_features()
    assert carried.codes.shape == (1, 2100, 6, 6, 256)
    assert carried.codes.dtype == np.uint8
    assert np.bincount(carried.labels).tolist() == [100] * 21
    assert carried.names == tuple(sorted(carried.names))
    for name, label in zip(carried.names, carried.labels, strict=True):
        assert name.split("/")[0] == carried.classes[label]
    first, second = (carried.names.index(f"airplane/airplane0{i}") for i in (1, 2))
    np.testing.assert_array_equal(*carried.codes[0, [first, second]])  # the one duplicate
    assert len(np.unique(carried.codes[0].reshape(2100, -1), axis=0)) == 2099


def test_carried_features_agree_with_images_and_weights(ucmerced, trained):
    carried, images = load_features(), read_folder(ucmerced)
    assert (images.names, images.classes) == (carried.names, carried.classes)
    few = np.arange(0, 2100, 50)
    subset = images.subset(few)
    model = AlexNet(trained, include_top=False)
    turned = compute_features(model, subset, views=8)
    real, kept = turned.pool5(np.arange(len(few))), carried.pool5(few)
    # Another file of the same network correlates less: its weights are not rounded.
    assert np.corrcoef(real.ravel(), kept.ravel())[0, 1] > 0.99
    # A view is the image turned, so its features differ.
    assert np.corrcoef(turned.pool5([0], 0).ravel(), turned.pool5([0], 5).ravel())[0, 1] < 0.99
    with pytest.raises(ValueError, match="views must be 1, 2 or 8"):
        compute_features(model, subset, views=4)


def test_fewer_views_are_those_of_fewer_flips(tmp_path):
    images = read_folder(write_pictures(tmp_path / "pictures", per_class=2, side=50))
    model = small_network()
    eight, two, one = (
        compute_features(model, images, views, progress=False) for views in (8, 2, 1)
    )
    assert [each.augment for each in (eight, two, one)] == ["aerial", "mirror", "none"]
    np.testing.assert_allclose(two.pool5(), one.pool5(), atol=0.02 * one.pool5().max())
    for some, numbers in ((eight.augmented("mirror"), [0, 2]), (eight.augmented("none"), [0])):
        np.testing.assert_array_equal(some.codes, eight.codes[numbers])
        assert np.shares_memory(some.codes, eight.codes)
    np.testing.assert_allclose(
        two.pool5(views=1), eight.pool5(views=2), atol=0.02 * two.pool5().max()
    )
    for features, numbers in ((eight, [0, 2]), (two, [0, 1])):
        (views,) = features.view_batches(9, views=2)
        expected = [features.pool5(views=number) for number in numbers]
        np.testing.assert_array_equal(views, expected)
    with pytest.raises(ValueError, match=r"augment='aerial' needs features in 8 views, .* in 2"):
        two.augmented("aerial")
    with pytest.raises(ValueError, match=r"1, 2 or 8\. Received: views=4"):
        compute_features(model, images, 4)


def test_one_view_is_the_default(features):
    found = np.concatenate(list(features.view_batches(2)), axis=1)
    np.testing.assert_array_equal(found, features.pool5()[None])
