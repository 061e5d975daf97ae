"""Features of frozen convolutions: pool5, computed once and reused, with one byte per value."""

import dataclasses

import numpy as np

from alexnet_lib.errors import InputError
from alexnet_lib.files import CARRIED, atomic_path
from alexnet_lib.images.data import AUGMENTATIONS, check_augmentation, view_numbers
from alexnet_lib.port.layouts import open_npz

__all__ = ["Features", "compute_features", "decode", "encode", "load_features", "save_features"]

# pool5 of all 2,100 images of UC Merced, one view, through BVLC's convolutions.
UCMERCED_FEATURES = CARRIED / "ucmerced_pool5.npz"


@dataclasses.dataclass(frozen=True, eq=False)
class Features:
    """pool5 of a set of images, as one kind of `Data`.

    Attributes:
        codes: uint8 (views, rows, 6, 6, 256), square roots of the activations in units of `step`;
            see `encode`.
        step: float, the unit.
        labels: int64 (images,), indices into `classes`.
        classes: the names of the classes, sorted.
        names: "class/stem" of each image.
        rows: int64 (images,), the row of `codes` that holds each image; in order by default.
        white: as in `Images`; files of features do not keep it.
    """

    codes: np.ndarray
    step: float
    labels: np.ndarray
    classes: tuple[str, ...]
    names: tuple[str, ...]
    rows: np.ndarray | None = None
    white: int | None = None

    layer = "pool5"

    def __post_init__(self):
        if self.rows is None:
            object.__setattr__(self, "rows", np.arange(len(self.names)))

    def __len__(self):
        return len(self.names)

    @property
    def views(self):
        """How many views of each image there are."""
        return len(self.codes)

    @property
    def augment(self):
        """The augmentation that the views at hand allow, one of `AUGMENTATIONS`."""
        return max((n, name) for name, n in AUGMENTATIONS.items() if n <= self.views)[1]

    def augmented(self, augment):
        """Return the same features, of which training draws fewer views; nothing is copied."""
        views = AUGMENTATIONS[check_augmentation(augment)]
        if views > self.views:
            raise InputError(
                f"augment={augment!r} needs features in {views} views, these are in {self.views}. "
                f"Compute them with `compute_features(model, images, {views})`"
            )
        numbers = view_numbers(views, self.views)
        step = numbers[1] - numbers[0] if views > 1 else 1
        return dataclasses.replace(self, codes=self.codes[: numbers[-1] + 1 : step])

    def subset(self, indices):
        """Return the features of some images; their codes are shared, not copied."""
        indices = np.asarray(indices, np.int64)
        return dataclasses.replace(
            self,
            labels=self.labels[indices],
            names=tuple(self.names[i] for i in indices),
            rows=self.rows[indices],
        )

    def pool5(self, indices=slice(None), views=0):
        """Return float32 (indices, 6, 6, 256); `views` is one for all or one for each image."""
        return decode(self.codes[views, self.rows[indices]], self.step)

    def batches(self, batch_size, training=False, seed=0, epoch=0, shard=(0, 1)):
        """Iterate over one epoch, as `Data` says; training draws one of the views of each image."""
        order, views = np.arange(len(self)), np.zeros(len(self), np.int64)
        if training:
            generator = np.random.default_rng([seed, epoch])
            order = generator.permutation(order)
            views = generator.integers(0, self.views, len(self))
        for start in range(0, len(self), batch_size):
            part = slice(start + shard[0], start + batch_size, shard[1])
            yield self.pool5(order[part], views[part]), self.labels[order[part]]

    def view_batches(self, batch_size, views=1, size=None):
        """Iterate over the images in order, as `Data` says."""
        for start in range(0, len(self), batch_size):
            part = slice(start, start + batch_size)
            yield np.stack([self.pool5(part, view) for view in view_numbers(views, self.views)])


def encode(pool5, step):
    """Encode non-negative activations as one byte each.

    The square root is rounded to a multiple of `step`. This gives the many small values more codes
    than a linear scale would. The root's error is at most half a step, except for values above
    (255 step)**2, which saturate.

    Args:
        pool5: float array of any shape.
        step: unit of the square root.

    Returns:
        uint8 array of the same shape.
    """
    return np.clip(np.rint(np.sqrt(pool5) / step), 0, 255).astype(np.uint8)


def decode(codes, step):
    """Return float32 activations of `encode`'s codes."""
    table = (np.arange(256, dtype=np.float32) * np.float32(step)) ** 2
    return table[codes]


def compute_features(model, images, views=1, batch_size=64, progress=True):
    """Run images once through the convolutions of `model`.

    Args:
        model: `AlexNet`, with or without its top.
        images: `Images`, as `read_folder` returns it.
        views: 1; 2, with the mirror image; or 8 for all flips and rotations, in the order of
            `eight_views`.
        batch_size: images in a batch.
        progress: show a progress bar.

    Returns:
        `Features`.

    Raises:
        ValueError: for another number of views.
    """
    import keras
    import tensorflow as tf
    from tqdm import tqdm

    from alexnet_lib.images.batches import image_dataset, some_views
    from alexnet_lib.port.compilation import compiled

    if views not in AUGMENTATIONS.values():
        raise InputError(f"views must be 1, 2 or 8. Received: views={views}")
    convolutions = keras.Model(model.input, model.get_layer("pool5").output)

    @compiled
    def forward(batch):
        turned = tf.unstack(some_views(batch, views))
        return tf.stack([convolutions(view, training=False) for view in turned])

    count = len(images)
    pool5 = np.empty((views, count, 6, 6, 256), np.float16)
    done = 0
    data = image_dataset(images, batch_size=batch_size)
    for batch, _ in tqdm(data, "pool5", len(data), unit="batch", disable=not progress):
        pool5[:, done : done + len(batch)] = forward(batch)
        done += len(batch)
    step = float(np.sqrt(np.float32(pool5.max())) / 255)
    codes = np.empty(pool5.shape, np.uint8)
    for view in range(views):  # one at a time, because the square roots are float32
        codes[view] = encode(pool5[view].astype(np.float32), step)
    return Features(codes, step, images.labels, images.classes, images.names, white=images.white)


def save_features(path, features):
    """Store features as a compressed `.npz` without pickles, atomically."""
    with atomic_path(path) as partial:
        np.savez_compressed(
            partial,
            codes=features.codes[:, features.rows],
            step=features.step,
            labels=features.labels,
            classes=np.array(features.classes),
            names=np.array(features.names),
        )


def load_features(path=UCMERCED_FEATURES):
    """Load features that `save_features` stored; by default those of UC Merced in one view.

    Raises:
        ValueError: if the file has another content or its arrays are inconsistent.
    """
    with open_npz(path, "features of `save_features`") as file:
        codes, step, labels, classes, names = (
            file[name] for name in ("codes", "step", "labels", "classes", "names")
        )
        if codes.shape[1:] != (len(labels), 6, 6, 256) or len(names) != len(labels):
            raise InputError(
                f"expected codes of (views, {len(labels)}, 6, 6, 256) and as many names, "
                f"got {codes.shape} and {len(names)}"
            )
        if not (
            np.issubdtype(labels.dtype, np.integer) and set(labels) <= set(range(len(classes)))
        ):
            raise InputError(f"expected labels from 0 to {len(classes) - 1}, got {set(labels)}")
    return Features(codes, float(step), labels, tuple(map(str, classes)), tuple(map(str, names)))
