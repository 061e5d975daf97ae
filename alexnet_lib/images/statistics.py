"""Statistics of activations: what a readout sees of each image, computed once."""

import dataclasses

import numpy as np

from alexnet_lib.errors import InputError

__all__ = ["Statistics", "compute_statistics"]


@dataclasses.dataclass(frozen=True, eq=False)
class Statistics:
    """Statistics of a set of images, as one kind of `Data`; they have no views left to choose.

    Attributes:
        values: float32 (images, statistics).
        labels: int64 (images,), indices into `classes`.
        classes: the names of the classes, sorted.
        names: "class/stem" of each image.
        white: as in `Images`.
        augment: that of the images, over whose views the statistics are averaged.
    """

    values: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    names: tuple[str, ...]
    white: float | None = None
    augment: str = "none"

    layer = "statistics"
    views = 1

    def __len__(self):
        return len(self.names)

    def subset(self, indices):
        """Return the statistics of some images."""
        indices = np.asarray(indices, np.int64)
        return dataclasses.replace(
            self,
            values=self.values[indices],
            labels=self.labels[indices],
            names=tuple(self.names[i] for i in indices),
        )

    def augmented(self, augment):
        """Return the same statistics, if they were computed so; their views cannot be changed."""
        if augment != self.augment:
            raise InputError(
                f"statistics are averages over the views of {self.augment!r} and cannot be "
                f"augmented by {augment!r}. Compute them with a `readout_model` of other views"
            )
        return self

    def batches(self, batch_size, training=False, seed=0, epoch=0, shard=(0, 1)):
        """Iterate over one epoch, as `Data` says."""
        order = np.arange(len(self))
        if training:
            order = np.random.default_rng([seed, epoch]).permutation(order)
        for start in range(0, len(self), batch_size):
            part = order[start + shard[0] : start + batch_size : shard[1]]
            yield self.values[part], self.labels[part]

    def view_batches(self, batch_size, views=1, size=None):
        """Iterate over the images in order, as `Data` says."""
        for start in range(0, len(self), batch_size):
            yield self.values[None, start : start + batch_size]


def compute_statistics(model, images, batch_size=8, progress=True):
    """Run images once through the convolutions of a readout, in all its sizes and views.

    Args:
        model: of `readout_model`.
        images: `Images`.
        batch_size: images in a batch; each is seen in every size and view at once.
        progress: show a progress bar.

    Returns:
        `Statistics`.
    """
    import keras
    from tqdm import tqdm

    from alexnet_lib.port.compilation import compiled

    network = keras.Model(model.input, model.get_layer(Statistics.layer).output)

    @compiled
    def forward(x):
        return network(x, training=False)

    values = np.empty((len(images), network.output.shape[1]), np.float32)
    done = 0
    batches = images.view_batches(batch_size, size=model.input_shape[1])
    with tqdm(total=len(images), desc="statistics", unit="image", disable=not progress) as bar:
        for (batch,) in batches:
            values[done : done + len(batch)] = forward(batch)
            done += len(batch)
            bar.update(len(batch))
    about = images.labels, images.classes, images.names, images.white, images.augment
    return Statistics(values, *about)
