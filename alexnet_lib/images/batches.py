"""Batches of images: `tf.data` pipelines and augmentation, reproducible from a seed.

All randomness depends only on (seed, epoch, place in the epoch), so a run that resumes at epoch 7
gets the same batches as one that was never interrupted.
"""

import os

import numpy as np
import tensorflow as tf

from alexnet_lib.errors import InputError
from alexnet_lib.images.data import VIEWS, check_augmentation, default_augmentation
from alexnet_lib.images.preprocessing import (
    IMAGENET_MEAN,
    RESIZES,
    SHORT_SIDE,
    resize_image,
)
from alexnet_lib.images.records import PARALLEL, check_records, seed_pair, shuffle, stream_records
from alexnet_lib.port.architecture import INPUT_SIZE

__all__ = ["augment", "batches", "eight_views", "image_dataset", "record_dataset", "some_views"]


def image_dataset(images, batch_size=32, shard=(0, 1), **options):
    """Make batches from image files.

    Args:
        images: `Images`.
        batch_size: the last batch of an epoch may be smaller.
        shard: (number, of): read only every `of`-th image of each batch, starting with image
            `number`. These images are the same as in the whole batch. A last batch without an
            image for this shard is left out.
        **options: of `batches`: training=False, seed=0, resize="stretch", epochs=1,
            first_epoch=0, augmentation=images.augment. With training=True, images are shuffled and
            augmented; otherwise they keep their order.

    Returns:
        As `batches`.
    """
    files = tf.constant([os.fsencode(file) for file in images.files])
    labels = tf.constant(images.labels)
    places = np.arange(len(images))
    places = places[places % batch_size % shard[1] == shard[0]]

    def load(i):
        image = tf.numpy_function(
            lambda file: images.read(os.fsdecode(file)), [files[i]], tf.uint8, stateful=False
        )
        return image, labels[i]

    def source(seed):
        order = tf.range(len(images))
        order = order if seed is None else shuffle(order, seed)
        order = tf.gather(order, places)
        return tf.data.Dataset.from_tensor_slices(order).map(load, **PARALLEL)

    options = {"augmentation": images.augment} | options
    return batches(source, len(images), batch_size, shard=shard, **options)


def record_dataset(folder, subset="train", **options):
    """Make batches from the files that `write_records` wrote, after `check_records`.

    Args:
        folder: as in `write_records`.
        subset: as in `write_records`.
        **options: as in `image_dataset`, except `shard`; the augmentation is by default that of the
            classes, as `Images` has it.

    Returns:
        As `image_dataset`; without training, in the order of the files.

    Raises:
        FileNotFoundError, ValueError: as `check_records`.
    """
    index = check_records(folder, subset)

    def source(seed):
        return stream_records(folder, index, seed).map(lambda image, label, name: (image, label))

    options = {"augmentation": default_augmentation(index["classes"])} | options
    return batches(source, index["records"], **options)


def batches(
    source,
    count,
    batch_size=32,
    training=False,
    seed=0,
    resize="stretch",
    epochs=1,
    first_epoch=0,
    shard=(0, 1),
    size=INPUT_SIZE,
    augmentation="aerial",
):
    """Resize, batch, augment and subtract the mean, as `preprocess_input` does.

    Args:
        source: function that takes an epoch's seed, or None, and returns a dataset of the images
            and labels of the shard.
        count: number of images in all shards together.
        batch_size: the last batch of an epoch may be smaller.
        training: shuffle, differently in each epoch, and `augment`.
        seed: of shuffling and augmentation.
        resize: "stretch", "center" or "caffe", as in `preprocess_input`; for training to 256x256,
            from which `augment` crops 227x227.
        epochs: number of consecutive epochs. A new iteration starts with the first one again.
        first_epoch: its number, to resume a run.
        shard: as in `image_dataset`.
        augmentation: of training: "mirror" or "aerial", as in `augment`, or "none", which shows the
            images as without training, in another order.
        size: side of the images, in pixels; augmented ones always have 227.

    Returns:
        A `tf.data.Dataset` of images, float32 (batch, size, size, 3), BGR, ImageNet's mean
        subtracted, and labels, int64 (batch,).
    """
    if resize not in RESIZES:
        raise InputError(f"resize must be one of {RESIZES}. Received: resize={resize!r}")
    varied = training and check_augmentation(augmentation) != "none"
    size = SHORT_SIDE if varied else size
    totals = [min(batch_size, count - start) for start in range(0, count, batch_size)]
    rows = [len(range(shard[0], total, shard[1])) for total in totals]

    def square(image, label):
        image = tf.numpy_function(
            lambda image: resize_image(image, resize, size), [image], tf.uint8, stateful=False
        )
        return tf.ensure_shape(image, (size, size, 3)), label

    def one_epoch(epoch):
        epoch_seed = tf.random.fold_in(seed_pair(seed), epoch)
        data = source(epoch_seed if training else None)
        data = data.map(square, **PARALLEL).batch(max([1, *rows])).enumerate()

        def finish(number, batch):
            pixels, labels = batch
            if varied:
                total = tf.constant(totals)[number]
                batch_seed = tf.random.fold_in(epoch_seed, number)
                pixels = augment(
                    pixels, batch_seed, shard=shard, total=total, augmentation=augmentation
                )
            return tf.cast(pixels, tf.float32) - IMAGENET_MEAN, labels

        return data.map(finish, **PARALLEL)

    data = tf.data.Dataset.range(first_epoch, first_epoch + epochs).flat_map(one_epoch)
    length = tf.data.experimental.assert_cardinality(epochs * np.count_nonzero(rows))
    return data.apply(length).prefetch(tf.data.AUTOTUNE)


def eight_views(images):
    """Return square images in all 8 flips and rotations, the symmetries of a view from above.

    Args:
        images: (batch, side, side, channels).

    Returns:
        (8, batch, side, side, channels): unchanged, flipped up-down, left-right, both ways (half a
        turn); then the same four with rows and columns exchanged.

    Raises:
        ValueError: for images that are not square.
    """
    images = tf.convert_to_tensor(images)
    if images.shape.rank != 4 or images.shape[1] != images.shape[2]:
        raise InputError(
            f"expected images of (batch, side, side, channels). Received: shape={images.shape}"
        )
    both = images, tf.transpose(images, [0, 2, 1, 3])
    return tf.stack([tf.reverse(view, axes) for view in both for axes in ([], [1], [2], [1, 2])])


def some_views(images, views):
    """Return images in the first 1, 2 or 8 views, (views, batch, height, width, channels).

    The second of two is the mirror image, left-right; 8 are those of `eight_views`.
    """
    if views == VIEWS:
        return eight_views(images)
    return images[None] if views == 1 else tf.stack([images, tf.reverse(images, [2])])


def augment(
    images, seed, area=(0.6, 1.0), brightness=0.1, contrast=0.2, shard=(0, 1), total=None,
    augmentation="aerial",
):  # fmt: skip
    """Randomly crop, flip, rotate and relight images, each differently.

    Args:
        images: (batch, height, width, 3), pixels 0-255.
        seed: an integer, or a pair for TensorFlow's stateless operations; the same seed gives the
            same result.
        area: smallest and largest fraction of the image's area that a crop covers. The crop has the
            image's aspect ratio and a random place, and is shown in a random one of `some_views`.
        brightness: largest shift, as a fraction of 255.
        contrast: largest change of the distance from the image's mean, as a fraction.
        shard: (number, of): `images` are every `of`-th image of a batch, starting with image
            `number`; they are augmented as they would be in the whole batch.
        total: number of images in the whole batch; by default the number of `images`.
        augmentation: "aerial" for all flips and rotations, "mirror" for left-right flips alone.

    Returns:
        float32 (batch, 227, 227, 3), pixels 0-255; the mean is not subtracted yet.

    Raises:
        ValueError: for strengths out of range, or another augmentation.
    """
    if augmentation not in ("mirror", "aerial"):
        raise InputError(
            f"augmentation must be mirror or aerial. Received: augmentation={augmentation!r}"
        )
    if not 0 < area[0] <= area[1] <= 1 or brightness < 0 or not 0 <= contrast <= 1:
        raise InputError(
            "expected 0 < area[0] <= area[1] <= 1, brightness from 0 and contrast from 0 to 1. "
            f"Received: area={area}, brightness={brightness}, contrast={contrast}"
        )
    images = tf.cast(images, tf.float32)
    count = tf.shape(images)[0]
    seed = seed_pair(seed) if isinstance(seed, int) else seed
    total = count if total is None else total
    draw = tf.random.stateless_uniform((total, 8), seed, alg="philox")[shard[0] :: shard[1]]
    side = tf.sqrt(area[0] + (area[1] - area[0]) * draw[:, :1])
    near = (1 - side) * draw[:, 1:3]
    far = near + side
    # A box with its ends exchanged gives a flipped crop.
    flip = draw[:, 3:5] < ((0.5, 0.5) if augmentation == "aerial" else (0, 0.5))
    boxes = tf.concat([tf.where(flip, far, near), tf.where(flip, near, far)], axis=1)
    # Shrink a little: a box that rounding pushes over the border would be filled with black.
    boxes = 0.5 + (boxes - 0.5) * (1 - 1e-5)
    pixels = tf.image.crop_and_resize(images, boxes, tf.range(count), (INPUT_SIZE, INPUT_SIZE))
    if augmentation == "aerial":
        turn = (draw[:, 5] < 0.5)[:, None, None, None]
        pixels = tf.where(turn, tf.transpose(pixels, [0, 2, 1, 3]), pixels)
    factor = 1 + contrast * (2 * draw[:, 6] - 1)[:, None, None, None]
    shift = 255 * brightness * (2 * draw[:, 7] - 1)[:, None, None, None]
    mean = tf.reduce_mean(pixels, axis=[1, 2, 3], keepdims=True)
    return tf.clip_by_value(mean + factor * (pixels - mean) + shift, 0, 255)
