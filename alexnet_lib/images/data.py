"""What training and evaluation ask of data: images in a folder and cached features both answer."""

from typing import TYPE_CHECKING, Protocol

from alexnet_lib.errors import InputError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["AUGMENTATIONS", "VIEWS", "Data", "check_augmentation", "default_augmentation"]

VIEWS = 8  #: the flips and rotations of a square
#: How many views of an image each augmentation allows: the image as it is; and its mirror image,
#: left-right; or all flips and rotations, the symmetries of a view from above.
AUGMENTATIONS = {"none": 1, "mirror": 2, "aerial": VIEWS}
# The classes of UC Merced, for which nothing but aerial images are known.
UCMERCED = (
    "agricultural", "airplane", "baseballdiamond", "beach", "buildings", "chaparral",
    "denseresidential", "forest", "freeway", "golfcourse", "harbor", "intersection",
    "mediumresidential", "mobilehomepark", "overpass", "parkinglot", "river", "runway",
    "sparseresidential", "storagetanks", "tenniscourt",
)  # fmt: skip


def default_augmentation(classes):
    """Return "aerial" for exactly UC Merced's 21 classes, else "mirror", as for photographs."""
    return "aerial" if tuple(classes) == UCMERCED else "mirror"


def check_augmentation(augment):
    """Return the name of one of `AUGMENTATIONS`, or raise InputError."""
    if augment not in AUGMENTATIONS:
        raise InputError(
            f"augment must be one of {', '.join(AUGMENTATIONS)}. Received: augment={augment!r}"
        )
    return augment


def view_numbers(views, at_hand=VIEWS):
    """Return the numbers of the first `views` views among those at hand.

    Two views are the image and its mirror image, left-right, which is number 2 of `eight_views`.
    """
    return (0, 2) if (views, at_hand) == (2, VIEWS) else tuple(range(views))


class Data(Protocol):
    """Labelled images, as `Images` reads them or as `Features` remembers what a layer made of them.

    Attributes:
        names: "class/stem" of each image.
        labels: int64 (images,), indices into `classes`.
        classes: the classes' names, sorted.
        layer: the name of the layer whose output the batches are; None for the network's input.
        augment: how training varies the images, one of `AUGMENTATIONS`.
        views: how many views of each image that allows.
        white: the value of white in images of more than 8 bits, as in `read_image`.
    """

    names: tuple[str, ...]
    labels: "np.ndarray"
    classes: tuple[str, ...]
    layer: str | None
    augment: str
    views: int
    white: int | None

    def __len__(self):
        """Return the number of images."""

    def subset(self, indices):
        """Return the same kind of data for these images, without copying pixels or features.

        Args:
            indices: int (images,), in any order.
        """

    def augmented(self, augment):
        """Return the same images with another augmentation.

        Args:
            augment: one of `AUGMENTATIONS`; features must hold as many views.
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

    def view_batches(self, batch_size, views=1, size=227):
        """Iterate over the images in order, each in 1, 2 or 8 views.

        Two views are the image and its mirror image, left-right. Images are resized to squares of
        `size` pixels; features are as they were computed.

        Yields:
            float32 (views, batch, ...).
        """
