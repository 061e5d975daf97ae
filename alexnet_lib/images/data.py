"""What training and evaluation ask of data: images in a folder and cached features both answer."""

from typing import Protocol

import numpy as np

__all__ = ["VIEWS", "Data"]

VIEWS = 8  #: the flips and rotations of a square


class Data(Protocol):
    """Labelled images, as `Images` reads them or as `Features` remembers what a layer made of them.

    Attributes:
        names: "class/stem" of each image.
        labels: int64 (images,), indices into `classes`.
        classes: the classes' names, sorted.
        layer: the name of the layer whose output the batches are; None for the network's input.
        views: how many views of each image there are.
        white: the value of white in images of more than 8 bits, as in `read_image`.
    """

    names: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    layer: str | None
    views: int
    white: int | None

    def __len__(self):
        """Return the number of images."""

    def subset(self, indices):
        """Return the same kind of data for these images, without copying pixels or features.

        Args:
            indices: int (images,), in any order.
        """

    def batches(self, batch_size, training=False, seed=0, epoch=0, shard=(0, 1)):
        """Iterate over one epoch of inputs and labels.

        Args:
            batch_size: the last batch may be smaller.
            training: shuffle, and draw another view or augmentation of each image; otherwise the
                order is that of `names`, and the view the first.
            seed: of order and augmentation.
            epoch: another epoch draws anew; so a later one can be had without the earlier ones.
            shard: (number, of): a worker's rows of every batch.

        Yields:
            float32 (batch, 227, 227, 3) or (batch, 6, 6, 256), and int64 (batch,).
        """

    def view_batches(self, batch_size, views=1):
        """Iterate over the images in order, each in the first `views` views.

        Yields:
            float32 (views, batch, ...).
        """
