"""Read a folder of class folders, or a list, as a data set, and find its duplicates.

Images are named "class/stem", without the file extension: the official UC Merced is .tif, other
copies are .webp, and a split must name the same images in all of them.
"""

import dataclasses
import functools
import hashlib
import itertools
import os
import re
import unicodedata
import warnings
from pathlib import Path

import numpy as np

from alexnet_lib.errors import InputError, MissingFileError, printable
from alexnet_lib.files import data_directory, in_threads
from alexnet_lib.images.class_folders import find_images
from alexnet_lib.images.data import AUGMENTATIONS, check_augmentation, default_augmentation
from alexnet_lib.images.listing import read_list
from alexnet_lib.images.reading import read_image
from alexnet_lib.port.architecture import INPUT_SIZE

__all__ = ["Images", "duplicate_groups", "find_ucmerced", "read_folder"]


@dataclasses.dataclass(frozen=True, eq=False)
class Images:
    """The images of a folder of class folders or a list, in the order of names; a kind of `Data`.

    Attributes:
        folder: where the class folders lie.
        files: "class/stem.ending" of each image, or any other path in the folder.
        labels: int64 (images,), indices into `classes`.
        classes: the names of the classes, sorted.
        white: the value of white in images of more than 8 bits, as in `read_image`.
        given: "train", "validation" or "test" of each image, where folders or a list say it; else
            None.
        augment: how training varies the images, one of `AUGMENTATIONS`: "none" shows them as they
            are, "mirror" as well left-right, "aerial" in all 8 flips and rotations; the last two
            crop and relight them too. By default, "aerial" for UC Merced's 21 classes, else
            "mirror".
    """

    folder: Path
    files: tuple[str, ...]
    labels: np.ndarray
    classes: tuple[str, ...]
    white: int | None = None
    given: tuple[str, ...] | None = None
    augment: str | None = None

    layer = None  # the network's input

    def __post_init__(self):
        augment = self.augment or default_augmentation(self.classes)
        object.__setattr__(self, "augment", check_augmentation(augment))

    @property
    def views(self):
        """How many views of an image the augmentation allows."""
        return AUGMENTATIONS[self.augment]

    def __len__(self):
        return len(self.files)

    @functools.cached_property
    def names(self):
        """The images' names, by which splits and features refer to them.

        A name is "class/stem", after other folders, such as "train/class/stem". Where an image does
        not lie in a folder of its class, the class is inserted. Accents are in Unicode's form NFC.
        """
        return tuple(map(self._name, self.files, self.labels))

    def _name(self, file, label):
        *parents, stem = unicodedata.normalize("NFC", os.path.splitext(file)[0]).split("/")
        own = self.classes[label]
        return "/".join([*parents, stem] if parents[-1:] == [own] else [*parents, own, stem])

    def read(self, file):
        """Return the pixels of one of `files`, as `read_image` does."""
        return read_image(self.folder / file, self.white)

    def subset(self, indices):
        """Return some of the images, in the order of `indices`."""
        return dataclasses.replace(
            self,
            files=tuple(self.files[i] for i in indices),
            labels=self.labels[np.asarray(indices, np.int64)],
            given=self.given and tuple(self.given[i] for i in indices),
        )

    def with_classes(self, classes):
        """Return the same images with their labels as indices into `classes`, a tuple of names.

        Raises:
            InputError: if it lacks a class of theirs.
        """
        if strangers := [name for name in self.classes if name not in classes]:
            raise InputError(
                f"{self.folder}: expected folders of the model's classes, {', '.join(classes)}, "
                f"got {', '.join(strangers)}"
            )
        place = np.array([classes.index(name) for name in self.classes], np.int64)
        return dataclasses.replace(self, labels=place[self.labels], classes=tuple(classes))

    def augmented(self, augment):
        """Return the same images with another augmentation."""
        return dataclasses.replace(self, augment=check_augmentation(augment))

    def batches(self, batch_size, training=False, seed=0, epoch=0, shard=(0, 1)):
        """Iterate over one epoch, as `Data` says; training augments."""
        from alexnet_lib.images.batches import image_dataset

        return iter(
            image_dataset(self, batch_size, shard, training=training, seed=seed, first_epoch=epoch)
        )

    def view_batches(self, batch_size, views=1, size=INPUT_SIZE):
        """Iterate over the images in order, as `Data` says, in the first views of `eight_views`."""
        from alexnet_lib.images.batches import image_dataset, some_views

        for images, _ in image_dataset(self, batch_size, size=size):
            yield some_views(images, views)


def find_ucmerced():
    """Return the folder of UC Merced's 21 class folders in the data directory, or None."""
    folder = data_directory() / "UCMerced_LandUse" / "Images"
    return folder if folder.is_dir() else None


def read_folder(folder, skip_broken=False, white=None):
    """Find the images in a folder of class folders or a list, and check that each can be decoded.

    File extensions do not matter, only whether `read_image` can read a file. Hidden files, and
    those that systems leave behind, such as Thumbs.db, are ignored.

    Args:
        folder: its subfolders are the classes, and the files in them the images. The class folders
            may lie in folders of train, val and test; see `find_images`. Or a list of images, CSV
            or lines of "path label"; see `read_list`.
        skip_broken: leave out files that are not images, and empty classes, with a warning that
            names them, instead of raising an error.
        white: the value of white in images of more than 8 bits, as in `read_image`.

    Returns:
        `Images`, without pixels. Their classes are sorted; those of a list by number, if all are
        numbers.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: for a broken image, a file that is not an image, an empty class, fewer than two
            classes, or two images of one name.
    """
    folder = Path(folder)
    if not folder.exists():
        raise MissingFileError(
            f"{folder}: expected a folder whose subfolders are the classes, or a list of images"
        )
    found = find_images(folder) if folder.is_dir() else read_list(folder)
    paths = [image.path for image in found.images]
    check = functools.partial(_fault, white=white)
    faults = list(in_threads(check, paths, "decode"))
    good = [image for image, fault in zip(found.images, faults, strict=True) if not fault]
    problems = found.problems + [fault for fault in faults if fault]
    filled = {image.path.parent for image in good}
    problems += [f"{path}: no image in it" for path in found.class_folders if path not in filled]
    if problems:
        listed = "\n  ".join(problems[:50])
        listed += f"\n  and {len(problems) - 50} more" if len(problems) > 50 else ""
        if not skip_broken:
            raise InputError(
                f"{folder}: expected nothing but images and their class folders:\n  {listed}\n"
                "Remove, rename or replace these, or leave them out with --skip-broken (in Python, "
                "skip_broken=True)."
            )
        warnings.warn(printable(f"{folder}: left out:\n  {listed}"), stacklevel=2)
    classes = {image.label for image in good}
    if len(classes) < 2:
        raise InputError(
            f"{folder}: expected at least two class folders with images, found "
            f"{', '.join(classes) or 'none'}. Give the folder whose subfolders are the classes."
        )
    numbered = folder.is_file() and all(re.fullmatch(r"\d+", label) for label in classes)
    classes = sorted(classes, key=(lambda label: (int(label), label)) if numbered else None)
    return _in_order(found.folder, good, tuple(classes), white)


def _in_order(folder, good, classes, white):
    """Return the images in the order of the parts of their names."""
    files = [image.path.relative_to(folder).as_posix() for image in good]
    numbers = {label: number for number, label in enumerate(classes)}
    labels = np.array([numbers[image.label] for image in good], np.int64)
    images = Images(folder, tuple(files), labels, classes, white)
    order = sorted(range(len(good)), key=lambda i: (images.names[i].split("/"), files[i]))
    for one, other in itertools.pairwise(order):
        if images.names[one] == images.names[other]:
            pair = [folder / files[i] for i in (one, other)]
            raise InputError(
                f"{pair[0].parent}: {pair[0].name} and {pair[1].name} differ only in their "
                "extension or in the form of their accents, which names do not include. Remove or "
                "rename one of them."
                if pair[0].parent == pair[1].parent
                else f"{pair[0]} and {pair[1]} have one name, {images.names[one]}. Rename one."
            )
    given = tuple(image.subset for image in good)
    if set(given) - {None, "train"}:
        images = dataclasses.replace(images, given=given)
    return images.subset(order)


def _fault(path, white=None):
    """Return what is wrong with an image file, or None."""
    try:
        read_image(path, white)
    except (OSError, ValueError) as error:
        return str(error) if str(path) in str(error) else f"{path}: {error}"


def duplicate_groups(images):
    """Group images with exactly the same pixels.

    Returns:
        int64 (images,): for each image, the index of the first image with the same pixels.
    """

    def digest(file):
        pixels = images.read(file)
        return pixels.shape, hashlib.sha256(pixels).digest()

    first = {}
    digests = in_threads(digest, images.files, "compare")
    return np.array([first.setdefault(key, i) for i, key in enumerate(digests)], np.int64)
