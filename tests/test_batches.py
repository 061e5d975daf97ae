"""Batches keep the pre-processing contract; augmentation keeps its promises, one by one."""

import dataclasses

import cv2
import numpy as np
import pytest
import tensorflow as tf
from small import write_image

from alexnet_lib.images.batches import (
    augment,
    eight_views,
    image_dataset,
    record_dataset,
    some_views,
)
from alexnet_lib.images.data import default_augmentation
from alexnet_lib.images.folder import read_folder
from alexnet_lib.images.preprocessing import IMAGENET_MEAN, preprocess_input
from alexnet_lib.images.reading import read_image
from alexnet_lib.images.records import write_records
from alexnet_lib.images.splits import read_split

COUNT = 11


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Eleven smooth images of two classes; each has its own size."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(COUNT):
        small = generator.integers(0, 256, (6, 6, 3), np.uint8)
        pixels = cv2.resize(small, (250 + 3 * number, 262 - number), interpolation=cv2.INTER_CUBIC)
        write_image(folder / "ab"[number % 2] / f"{number:02d}.png", pixels)
    return read_folder(folder)


@pytest.fixture(scope="module")
def recorded(images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    write_records(folder, images, shards=2)
    return folder


def gather(dataset):
    batches = [(x.numpy(), y.numpy()) for x, y in dataset]
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def expected(images, indices, resize="stretch"):
    return np.concatenate(
        [preprocess_input(read_image(images.folder / images.files[i]), resize) for i in indices]
    )


@pytest.mark.parametrize("resize", ["stretch", "center", "caffe"])
def test_batches_keep_the_contract_exactly(images, resize):
    dataset = image_dataset(images, batch_size=4, resize=resize)
    assert dataset.element_spec[0].shape.as_list() == [None, 227, 227, 3]
    assert [len(y) for _, y in dataset] == [4, 4, 3]
    assert len(dataset) == 3
    x, y = gather(dataset)
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(x, expected(images, range(COUNT), resize))
    np.testing.assert_array_equal(y, images.labels)


def test_indices_choose_and_order(images):
    x, y = gather(image_dataset(images.subset([7, 2, 2, 10]), batch_size=3))
    np.testing.assert_array_equal(x, expected(images, [7, 2, 2, 10]))
    np.testing.assert_array_equal(y, images.labels[[7, 2, 2, 10]])


def by_content(x):
    return x[np.lexsort(x[:, ::50, ::50].reshape(len(x), -1).T)]


def test_records_and_files_give_the_same_images(images, recorded):
    x, y = gather(record_dataset(recorded, batch_size=4))
    assert len(record_dataset(recorded, batch_size=4)) == 3
    np.testing.assert_array_equal(by_content(x), by_content(expected(images, range(COUNT))))
    assert np.bincount(y).tolist() == np.bincount(images.labels).tolist()
    matching = [
        y[np.abs(x - image).max(axis=(1, 2, 3)) == 0] for image in expected(images, range(COUNT))
    ]
    assert [label.tolist() for label in matching] == [[label] for label in images.labels]


@pytest.mark.parametrize("source", ["files", "records"])
def test_training_is_a_function_of_seed_and_epoch(images, recorded, source):
    def run(**options):
        options = {"batch_size": 4, "training": True, **options}
        if source == "files":
            return gather(image_dataset(images, **options))
        return gather(record_dataset(recorded, **options))

    x, y = run(seed=1)
    tf.random.set_seed(99)  # must not matter
    again = run(seed=1)
    np.testing.assert_array_equal(x, again[0])
    np.testing.assert_array_equal(y, again[1])
    assert np.abs(run(seed=2)[0] - x).mean() > 5

    # Three epochs in a row, and the last two as a run that goes on sees them.
    whole, rest = run(seed=1, epochs=3), run(seed=1, epochs=2, first_epoch=1)
    assert len(whole[1]) == 3 * COUNT
    np.testing.assert_array_equal(whole[0][:COUNT], x)
    np.testing.assert_array_equal(whole[0][COUNT:], rest[0])
    np.testing.assert_array_equal(whole[1][COUNT:], rest[1])
    assert np.abs(whole[0][:COUNT] - whole[0][COUNT : 2 * COUNT]).mean() > 5
    for epoch in range(3):  # every image once in each
        labels = whole[1][epoch * COUNT : (epoch + 1) * COUNT]
        assert np.bincount(labels).tolist() == np.bincount(images.labels).tolist()


def test_training_shuffles_every_epoch(images):
    """Without augmentation's help: sixteen epochs of labels are hardly ever in the same order."""
    labels = gather(image_dataset(images, batch_size=4, training=True, epochs=16))[1]
    orders = {tuple(order) for order in labels.reshape(16, COUNT)}
    assert len(orders) >= 12


def test_every_batch_has_its_own_draws(images):
    x = gather(image_dataset(images.subset([0] * 8), batch_size=2, training=True))[0][:, ::20, ::20]
    distances = np.abs(x[:, None] - x[None]).mean((2, 3, 4))
    assert distances[~np.eye(8, dtype=bool)].min() > 1


def test_training_images_stay_in_the_contracts_range(images):
    x = gather(image_dataset(images, training=True))[0] + IMAGENET_MEAN
    assert x.shape == (COUNT, 227, 227, 3)
    assert x.min() >= -1e-4
    assert x.max() <= 255 + 1e-4
    assert x.std() > 20


def test_a_file_that_vanished_is_named(images):
    gone = dataclasses.replace(images, files=("a/gone.png", *images.files[1:]))
    with pytest.raises(tf.errors.OpError, match=r"gone\.png"):
        gather(image_dataset(gone))


def test_unknown_resize(images):
    with pytest.raises(ValueError, match=r"one of \('stretch', .* Received: resize='crop'"):
        image_dataset(images, resize="crop")


def letter(size=5):
    """An image without any symmetry."""
    return np.arange(size * size * 3, dtype=np.float32).reshape(1, size, size, 3)


def test_eight_views_are_all_different_and_in_the_promised_order():
    image = letter()
    views = eight_views(image).numpy()
    assert views.shape == (8, 1, 5, 5, 3)
    assert len({view.tobytes() for view in views}) == 8
    swapped = image.transpose(0, 2, 1, 3)
    for position, view in enumerate(
        image_
        for x in (image, swapped)
        for image_ in (x, x[:, ::-1], x[:, :, ::-1], x[:, ::-1, ::-1])
    ):
        np.testing.assert_array_equal(views[position], view)
    turns = {np.rot90(image, k, (1, 2)).tobytes() for k in range(4)}
    assert turns < {view.tobytes() for view in views}


def test_eight_views_form_a_group():
    """View of a view is a view, every view undoes one, and some two do not commute."""
    base = [view.tobytes() for view in eight_views(letter()).numpy()]
    products = np.array(
        [
            [base.index(view.tobytes()) for view in eight_views(first).numpy()]
            for first in eight_views(letter()).numpy()
        ]
    )
    for side in (products, products.T):
        assert (np.sort(side, axis=1) == np.arange(8)).all()
    assert (products != products.T).any()
    assert (
        sorted(np.diag(products).tolist()).count(0) == 6
    )  # two quarter turns do not undo themselves


def test_eight_views_of_a_batch_are_those_of_each_image():
    batch = np.concatenate([letter(), letter() ** 2])
    views = eight_views(batch).numpy()
    for position in range(2):
        np.testing.assert_array_equal(
            views[:, position], eight_views(batch[position : position + 1]).numpy()[:, 0]
        )
    with pytest.raises(ValueError, match=r"Received: shape=\(1, 4, 5, 3\)"):
        eight_views(np.zeros((1, 4, 5, 3), np.float32))


def smooth(count=1, size=256, seed=0):
    small = np.random.default_rng(seed).integers(0, 256, (count, 6, 6, 3), np.uint8)
    return np.stack(
        [cv2.resize(image, (size, size), interpolation=cv2.INTER_CUBIC) for image in small]
    )


def test_augment_is_a_function_of_its_seed():
    images = smooth(6)
    one = augment(images, 5).numpy()
    assert (one.shape, one.dtype) == ((6, 227, 227, 3), np.float32)
    np.testing.assert_array_equal(one, augment(images, 5).numpy())
    np.testing.assert_array_equal(one, augment(images, tf.constant([5, 0], tf.int64)).numpy())
    in_graph = tf.function(augment)(images, tf.constant([5, 0], tf.int64)).numpy()
    np.testing.assert_allclose(one, in_graph, atol=0.01)
    assert np.abs(one - augment(images, 6).numpy()).mean() > 5


def test_augment_draws_for_each_image():
    results = augment(smooth().repeat(20, 0), 0).numpy()
    distances = np.abs(results[:, None, ::20, ::20] - results[None, :, ::20, ::20]).mean((2, 3, 4))
    assert distances[~np.eye(20, dtype=bool)].min() > 1


def test_without_crop_and_colour_augment_shows_one_of_the_eight_views():
    image = smooth(size=227)
    results = augment(image.repeat(64, 0), 0, area=(1, 1), brightness=0, contrast=0).numpy()
    views = eight_views(image.astype(np.float32)).numpy()[:, 0]
    distances = np.abs(results[:, None] - views[None]).max(axis=(2, 3, 4))
    assert distances.min(axis=1).max() < 0.1  # each is one of them
    assert set(distances.argmin(axis=1)) == set(range(8))  # and all occur


def test_mirror_shows_each_image_and_its_mirror_image_and_nothing_else():
    image = smooth(size=227)
    options = {"area": (1, 1), "brightness": 0, "contrast": 0, "augmentation": "mirror"}
    results = augment(image.repeat(32, 0), 0, **options).numpy()
    views = some_views(image.astype(np.float32), 2).numpy()[:, 0]
    np.testing.assert_array_equal(views[1], image[0, :, ::-1])
    distances = np.abs(results[:, None] - views[None]).max(axis=(2, 3, 4))
    assert distances.min(axis=1).max() < 0.1
    assert set(distances.argmin(axis=1)) == {0, 1}
    crops = augment(image.repeat(32, 0), 0, augmentation="mirror").numpy()
    assert np.abs(crops - views[distances.argmin(axis=1)]).mean() > 5  # cropped and relit
    for wrong in ("none", "all"):
        with pytest.raises(ValueError, match=f"mirror or aerial. Received: augmentation='{wrong}'"):
            augment(image, 0, augmentation=wrong)


def test_views_begin_with_the_image_and_its_mirror_image():
    image = letter()
    eight = eight_views(image).numpy()
    np.testing.assert_array_equal(some_views(image, 8).numpy(), eight)
    np.testing.assert_array_equal(some_views(image, 1), eight[:1])
    np.testing.assert_array_equal(some_views(image, 2), eight[[0, 2]])


def test_without_augmentation_training_shows_the_images_as_they_are(images, recorded):
    x, y = gather(image_dataset(images.augmented("none"), batch_size=4, training=True, seed=1))
    assert y.tolist() != images.labels.tolist()  # shuffled
    plain = expected(images, range(COUNT))
    np.testing.assert_array_equal(by_content(x), by_content(plain))
    x, _ = gather(record_dataset(recorded, training=True, augmentation="none"))
    np.testing.assert_array_equal(by_content(x), by_content(plain))


def test_the_default_augmentation_fits_the_classes(images, recorded):
    assert (images.augment, images.views) == ("mirror", 2)
    some = images.subset([1, 4]).augmented("aerial")
    assert (some.augment, some.views, some.subset([0]).augment) == ("aerial", 8, "aerial")
    aerial = {name.split("/")[0] for name in read_split()}
    assert default_augmentation(sorted(aerial)) == "aerial"
    assert default_augmentation(sorted(aerial)[1:]) == "mirror"
    with pytest.raises(ValueError, match=r"none, mirror, aerial\. Received: augment='both'"):
        images.augmented("both")
    # Both kinds of batches take it.
    options = {"training": True, "batch_size": COUNT, "seed": 3}
    for dataset, data in ((image_dataset, images), (record_dataset, recorded)):
        default, _ = gather(dataset(data, **options))
        mirror, _ = gather(dataset(data, augmentation="mirror", **options))
        aerial, _ = gather(dataset(data, augmentation="aerial", **options))
        np.testing.assert_array_equal(default, mirror)
        assert np.abs(default - aerial).mean() > 5


def test_crops_are_of_the_promised_area_and_lie_everywhere():
    """An image of its own coordinates shows, at its corners, what was cut."""
    size = 256
    y, x = np.mgrid[:size, :size].astype(np.float32) * 255 / (size - 1)
    image = np.stack([y, x, 0 * x], axis=-1)[None].repeat(400, 0)
    cut = augment(image, 0, area=(0.1, 0.9), brightness=0, contrast=0).numpy()[..., :2]
    corners = np.stack([cut[:, 0, 0], cut[:, -1, -1], cut[:, 0, -1], cut[:, -1, 0]])
    low, high = corners.min(0), corners.max(0)
    sides = (high - low) / 255
    np.testing.assert_allclose(sides[:, 0], sides[:, 1], atol=1e-3)
    area = sides.prod(axis=1)
    assert 0.099 < area.min() < 0.12
    assert 0.88 < area.max() < 0.901
    assert area.mean() == pytest.approx(0.5, abs=0.04)  # uniform in area, not in side
    place = low / (255 - (high - low))  # 0 at one edge, 1 at the other
    assert place.min() < 0.02
    assert place.max() > 0.98
    np.testing.assert_allclose(place.mean(axis=0), 0.5, atol=0.05)
    assert abs(np.corrcoef(place.T)[0, 1]) < 0.15


@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("size", [227, 256, 300])
def test_no_crop_reaches_beyond_the_image(value, size):
    """Were one to, black would come in at the edge of white."""
    plain = np.full((64, size, size, 3), value, np.uint8)
    result = augment(plain, 0, area=(0.98, 1), brightness=0, contrast=0).numpy()
    np.testing.assert_allclose(result, value, atol=0.01)


def test_light_changes_within_limits_and_never_leaves_the_range():
    images = smooth(32)
    plain = augment(images, 0, brightness=0, contrast=0).numpy()
    shifted = augment(images, 0, brightness=0.1, contrast=0).numpy()
    inside = (shifted > 0) & (shifted < 255)
    change = np.where(inside, shifted - plain, np.nan)
    change = np.nanmedian(change, axis=(1, 2, 3))
    assert 15 < np.abs(change).max() <= 25.5 + 1e-3
    assert change.min() < 0 < change.max()

    grey = (plain / 4 + 96).astype(np.float32)  # nothing is clipped
    ratio = augment(grey, 1, brightness=0, contrast=0.2).numpy().std((1, 2, 3))
    ratio /= augment(grey, 1, brightness=0, contrast=0).numpy().std((1, 2, 3))
    assert 0.8 - 1e-3 <= ratio.min() < 0.85
    assert 1.15 < ratio.max() <= 1.2 + 1e-3

    wild = augment(images, 0, brightness=0.9, contrast=1).numpy()
    assert wild.min() == 0
    assert wild.max() == 255


@pytest.mark.parametrize(
    "options",
    [
        {"area": (0, 1)},
        {"area": (0.9, 0.5)},
        {"area": (0.5, 1.1)},
        {"brightness": -1},
        {"contrast": 2},
    ],
)
def test_strengths_out_of_range(options):
    with pytest.raises(ValueError, match=r"expected 0 < area.* Received: area="):
        augment(smooth(), 0, **options)


def test_the_real_ucmerced_through_both_ways(ucmerced, tmp_path):
    images = read_folder(ucmerced)
    some = np.arange(0, 2100, 35)
    x, y = gather(image_dataset(images.subset(some)))
    np.testing.assert_array_equal(x, expected(images, some))
    write_records(tmp_path, images.subset(some))
    again, labels = gather(record_dataset(tmp_path))
    np.testing.assert_array_equal(by_content(again), by_content(x))
    assert np.bincount(labels).tolist() == np.bincount(y).tolist()


def test_a_worker_reads_its_rows_of_every_batch(images):
    whole = list(image_dataset(images, batch_size=4, training=True, seed=3))
    for number in range(2):
        mine = list(image_dataset(images, 4, (number, 2), training=True, seed=3))
        assert len(mine) == len(whole) == 3
        for (x, labels), (all_x, all_labels) in zip(mine, whole, strict=True):
            np.testing.assert_array_equal(labels, all_labels[number::2])
            np.testing.assert_allclose(x, all_x[number::2], atol=1e-3)
