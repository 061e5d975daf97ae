"""Read a folder of class folders as a data set, and find its duplicates.

Images are named "class/stem", without the file extension: the official UC Merced is .tif, other
copies are .webp, and a split must name the same images in all of them.
"""

import dataclasses
import functools
import hashlib
import itertools
import os
import warnings
from pathlib import Path

import numpy as np

from alexnet_lib.errors import InputError, MissingFileError
from alexnet_lib.files import data_directory, in_threads
from alexnet_lib.images.data import VIEWS
from alexnet_lib.images.preprocessing import read_image
from alexnet_lib.port.architecture import INPUT_SIZE

__all__ = ["Images", "duplicate_groups", "find_ucmerced", "read_folder"]


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """The images of a folder of class folders, in the order of class and stem; one kind of `Data`.

    Attributes:
        folder: where the class folders lie.
        files: "class/stem.ending" of each image.
        labels: int64 (images,), indices into `classes`.
        classes: the names of the classes, sorted.
    """

    folder: Path
    files: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]

    layer = None  # the network's input
    views = VIEWS

    def __len__(self):
        return len(self.files)

    @functools.cached_property
    def names(self):
        """The images' names, "class/stem", by which splits and features refer to them."""
        return tuple(os.path.splitext(file)[0] for file in self.files)

    def subset(self, indices):
        """Return some of the images, in the order of `indices`."""
        files = tuple(self.files[i] for i in indices)
        return dataclasses.replace(
            self, files=files, labels=self.labels[np.asarray(indices, np.int64)]
        )

    def batches(self, batch_size, training=False, seed=0, epoch=0, shard=(0, 1)):
        """Iterate over one epoch, as `Data` says; training augments."""
        from alexnet_lib.images.batches import image_dataset

        return iter(
            image_dataset(self, batch_size, shard, training=training, seed=seed, first_epoch=epoch)
        )

    def view_batches(self, batch_size, views=1, size=INPUT_SIZE):
        """Iterate over the images in order, as `Data` says, in the views of `eight_views`."""
        from alexnet_lib.images.batches import eight_views, image_dataset

        for images, _ in image_dataset(self, batch_size, size=size):
            yield eight_views(images) if views == VIEWS else images[None]


def find_ucmerced():
    """Return the folder of UC Merced's 21 class folders in the data directory, or None."""
    folder = data_directory() / "UCMerced_LandUse" / "Images"
    return folder if folder.is_dir() else None


def read_folder(folder, skip_broken=False):
    """Find the images in a folder of class folders, and check that each can be decoded.

    File extensions do not matter, only whether OpenCV decodes a file. Hidden files are ignored.

    Args:
        folder: its subfolders are the classes, and the files in them the images.
        skip_broken: leave out files that are not images, and empty classes, with a warning that
            names them, instead of raising an error.

    Returns:
        `Images`, without pixels.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: for a broken image, a file that is not an image, an empty class, fewer than two
            classes, or two files with the same stem in a class.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(f"{folder}: expected a folder whose subfolders are the classes")
    beside = _visible(folder)
    class_folders = [path for path in beside if path.is_dir()]
    paths = [path for class_folder in class_folders for path in _visible(class_folder)]
    faults = dict(zip(paths, in_threads(_fault, paths, "decode"), strict=True))
    good = sorted((path.parent.name, path.stem, path.name) for path in paths if not faults[path])
    classes = tuple(sorted({image[0] for image in good}))
    problems = [f"{path}: a file beside the class folders" for path in beside if path.is_file()]
    problems += [fault for fault in faults.values() if fault]
    problems += [f"{path}: no image in it" for path in class_folders if path.name not in classes]
    if problems:
        listed = "\n  ".join(problems[:50])
        listed += f"\n  and {len(problems) - 50} more" if len(problems) > 50 else ""
        if not skip_broken:
            raise InputError(
                f"{folder}: expected class folders with nothing but images:\n  {listed}\n"
                "Remove or replace these; in Python, skip_broken=True leaves them out."
            )
        warnings.warn(f"{folder}: left out:\n  {listed}", stacklevel=2)
    if len(classes) < 2:
        raise InputError(
            f"{folder}: expected at least two class folders with images, found "
            f"{', '.join(classes) or 'none'}. Give the folder whose subfolders are the classes."
        )
    for one, other in itertools.pairwise(good):
        if one[:2] == other[:2]:
            raise InputError(
                f"{folder / one[0]}: {one[2]} and {other[2]} differ only in their extension, "
                "which names do not include. Remove or rename one of them."
            )
    labels = np.array([classes.index(image[0]) for image in good], np.int64)
    return Images(folder, tuple(f"{name}/{file}" for name, _, file in good), labels, classes)


def _visible(folder):
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _fault(path):
    """Return what is wrong with an image file, or None."""
    try:
        read_image(path)
    except (OSError, ValueError) as error:
        return str(error) if str(path) in str(error) else f"{path}: {error}"


def duplicate_groups(images):
    """Group images with exactly the same pixels.

    Returns:
        int64 (images,): for each image, the index of the first image with the same pixels.
    """

    def digest(file):
        pixels = read_image(images.folder / file)
        return pixels.shape, hashlib.sha256(pixels).digest()

    first = {}
    digests = in_threads(digest, images.files, "compare")
    return np.array([first.setdefault(key, i) for i, key in enumerate(digests)], np.int64)
