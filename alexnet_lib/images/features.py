"""Features of frozen convolutions: pool5 computed once, kept for every epoch, one byte a value."""

from typing import NamedTuple

import numpy as np

from alexnet_lib.errors import InputError
from alexnet_lib.files import CARRIED, atomic_path
from alexnet_lib.port.layouts import open_npz

# pool5 of all 2,100 images of UC Merced, one view, through BVLC's convolutions.
UCMERCED_FEATURES = CARRIED / "ucmerced_pool5.npz"
VIEWS = 8


class Features(NamedTuple):
    """pool5 of a set of images.

    Attributes:
        codes: uint8 (views, images, 6, 6, 256), square roots of the activations in units of
            `step`; see `encode`.
        step: float, the unit.
        labels: int64 (images,), indices into `classes`.
        classes: the names of the classes, sorted.
        names: "class/stem" of each image.
    """

    codes: np.ndarray
    step: float
    labels: np.ndarray
    classes: tuple[str, ...]
    names: tuple[str, ...]

    def pool5(self, indices, views=0):
        """Return float32 (indices, 6, 6, 256); `views` is one for all or one for each image."""
        return decode(self.codes[views, indices], self.step)


def encode(pool5, step):
    """Code activations of 0 and more as one byte each.

    The square root spreads the many small values and bounds the error of the large ones: it is at
    most half a step of the root everywhere. Larger values than (255 step)**2 saturate.

    Args:
        pool5: float array of any shape.
        step: unit of the coded square root.

    Returns:
        uint8 array of the same shape.
    """
    return np.clip(np.rint(np.sqrt(pool5) / step), 0, 255).astype(np.uint8)


def decode(codes, step):
    """Return float32 activations of `encode`'s codes."""
    table = (np.arange(256, dtype=np.float32) * np.float32(step)) ** 2
    return table[codes]


def compute_features(model, images, views=1, batch_size=64, progress=True):
    """Run images through the convolutions of `model`, once.

    Args:
        model: `AlexNet`, with or without its top.
        images: `Images`, as `read_folder` returns it.
        views: 1, or 8 for all flips and rotations in the order of `eight_views`.
        batch_size: images in a batch.
        progress: show a bar.

    Returns:
        `Features`.

    Raises:
        ValueError: for another number of views.
    """
    import keras
    import tensorflow as tf
    from tqdm import tqdm

    from alexnet_lib.images.batches import eight_views, image_dataset
    from alexnet_lib.port.compilation import compiled

    if views not in (1, VIEWS):
        raise InputError(f"views must be 1 or {VIEWS}. Received: views={views}")
    convolutions = keras.Model(model.input, model.get_layer("pool5").output)

    @compiled
    def forward(batch):
        turned = eight_views(batch) if views == VIEWS else batch[None]
        return tf.stack([convolutions(view, training=False) for view in tf.unstack(turned)])

    count = len(images.files)
    pool5 = np.empty((views, count, 6, 6, 256), np.float16)
    done = 0
    data = image_dataset(images, batch_size=batch_size)
    for batch, _ in tqdm(data, "pool5", len(data), unit="batch", disable=not progress):
        pool5[:, done : done + len(batch)] = forward(batch)
        done += len(batch)
    step = float(np.sqrt(np.float32(pool5.max())) / 255)
    codes = np.empty(pool5.shape, np.uint8)
    for view in range(views):  # one at a time: the square roots are float32
        codes[view] = encode(pool5[view].astype(np.float32), step)
    return Features(codes, step, images.labels, images.classes, images.names)


def save_features(path, features):
    """Store features as a compressed `.npz` without pickles; whole or not at all."""
    with atomic_path(path) as partial:
        arrays = features._asdict() | {
            "classes": np.array(features.classes),
            "names": np.array(features.names),
        }
        np.savez_compressed(partial, **arrays)


def load_features(path=UCMERCED_FEATURES):
    """Load features that `save_features` stored; by default those that the book carries.

    Raises:
        ValueError: where the file is something else or its parts disagree.
    """
    with open_npz(path, "features of `save_features`") as file:
        loaded = {name: file[name] for name in Features._fields}
    codes, labels, names = loaded["codes"], loaded["labels"], loaded["names"]
    if codes.shape[1:] != (len(labels), 6, 6, 256) or len(names) != len(labels):
        raise InputError(
            f"{path}: expected codes of (views, {len(labels)}, 6, 6, 256) and as many names, "
            f"got {codes.shape} and {len(names)}"
        )
    return Features(
        codes,
        float(loaded["step"]),
        labels,
        tuple(map(str, loaded["classes"])),
        tuple(map(str, names)),
    )
