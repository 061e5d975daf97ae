"""Split images into training, validation and test, or into k folds, and store splits as CSV."""

import csv

import numpy as np

from alexnet_lib.errors import InputError
from alexnet_lib.files import CARRIED, atomic_path

__all__ = [
    "SUBSETS",
    "UCMERCED_SPLIT",
    "apply_split",
    "k_folds",
    "read_split",
    "split",
    "write_split",
]

#: The parts of a split.
SUBSETS = ("train", "validation", "test")
#: Path of the book's own 80/10/10 split of UC Merced: `split` with seed 0, its one pair of
#: duplicates together.
UCMERCED_SPLIT = CARRIED / "ucmerced_split.csv"
HEADER = ["file", "class", "subset"]


def split(labels, groups=None, fractions=(0.8, 0.1, 0.1), seed=0):
    """Split each class into training, validation and test, without dividing a group.

    Args:
        labels: (images,), the classes.
        groups: (images,), equal for images that must stay together; see `duplicate_groups`.
        fractions: of training, validation and test; they sum to 1. Each class is split into the
            nearest whole numbers, unless a group is too large for that.
        seed: another seed gives another split.

    Returns:
        str array (images,) of "train", "validation" and "test".

    Raises:
        ValueError: for inconsistent arguments, or if a subset would be empty.
    """
    if len(fractions) != 3 or min(fractions) < 0 or not np.isclose(sum(fractions), 1):
        raise InputError(
            f"fractions must be three numbers that sum to 1. Received: fractions={fractions}"
        )
    part = _assign(labels, groups, fractions, seed)
    for subset, fraction, count in zip(
        SUBSETS, fractions, np.bincount(part, minlength=3), strict=True
    ):
        if fraction > 0 and count == 0:
            raise InputError(
                f"subset {subset!r} would be empty: fractions={fractions} of {len(part)} images. "
                "Use more images or other fractions."
            )
    return np.array(SUBSETS)[part]


def k_folds(labels, groups=None, k=5, seed=0):
    """Split images into k folds with the same mix of classes, without dividing a group.

    Args:
        labels: (images,), the classes.
        groups: (images,), equal for images that must stay together; see `duplicate_groups`.
        k: number of folds, at least 2. Folds differ by at most one image in each class and by at
            most one in total, unless a group is too large for that.
        seed: another seed gives other folds.

    Returns:
        int64 array (images,) of fold numbers, 0 to k - 1.

    Raises:
        ValueError: for inconsistent arguments, or more folds than images.
    """
    if not isinstance(k, int) or k < 2:
        raise InputError(f"k must be an integer of at least 2. Received: k={k!r}")
    fold = _assign(labels, groups, [1 / k] * k, seed)
    if np.unique(fold).size < k:
        raise InputError(f"{len(fold)} images are too few for {k} folds. Received: k={k}")
    return fold


def _assign(labels, groups, fractions, seed):
    """Return for each image the index of the fraction that it is assigned to."""
    labels = np.unique(labels, return_inverse=True)[1]
    if groups is None:
        groups = np.arange(len(labels))
    else:  # number groups by first appearance, so the result does not depend on their ids
        _, first, groups = np.unique(groups, return_index=True, return_inverse=True)
        groups = np.argsort(np.argsort(first))[groups]
    if labels.ndim != 1 or not labels.size or groups.shape != labels.shape:
        raise InputError(
            "expected labels and groups of (images,), at least one. "
            f"Received: shapes {labels.shape} and {groups.shape}"
        )
    room = _quotas(np.bincount(labels), np.asarray(fractions, float))
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(np.bincount(groups))[:-1])
    # Only `random`, whose stream is the same in every version of NumPy.
    generator = np.random.default_rng(seed)
    part = np.empty(len(labels), np.int64)
    # Large groups first, while there is room; single images then fill the rest exactly.
    for group in np.lexsort((generator.random(len(members)), [-len(each) for each in members])):
        present, counts = np.unique(labels[members[group]], return_counts=True)
        left = (room[present] - counts[:, None]).min(axis=0)
        weights = room[present].sum(axis=0) * (left >= 0)
        if not weights.any():
            weights = left == left.max()
        chosen = np.cumsum(weights)
        chosen = np.searchsorted(chosen, generator.random() * chosen[-1], side="right")
        part[members[group]] = chosen
        room[present, chosen] -= counts
    return part


def _quotas(counts, fractions):
    """Round counts times fractions to whole numbers (classes, fractions), keeping all totals."""
    exact = np.outer(counts, fractions)
    quotas = np.floor(exact).astype(np.int64)
    behind = np.zeros(len(fractions))  # accumulated rounding error
    for count, wanted, given in zip(counts, exact, quotas, strict=True):
        behind += wanted - given
        for _ in range(count - given.sum()):
            rest = wanted - given
            part = np.lexsort((behind.round(9), rest.round(9)))[-1]
            given[part] += 1
            behind[part] -= 1
    return quotas


def write_split(path, names, subsets):
    """Write a split as CSV with the columns file, class and subset, atomically.

    Args:
        path: the file.
        names: "class/stem" of each image.
        subsets: for each image "train", "validation" or "test", or the number of its fold.
    """
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for name, subset in zip(names, subsets, strict=True):
            writer.writerow([name, name.split("/")[0], subset])


def read_split(path=UCMERCED_SPLIT):
    """Read a split that `write_split` wrote; by default the book's split of UC Merced.

    Returns:
        A dict from name, "class/stem", to "train", "validation" or "test", or to a fold's number
        as a string.

    Raises:
        ValueError: if the file is not a split; the message names the line and what was expected.
    """
    found = {}
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            if (header := next(reader, None)) != HEADER:
                raise InputError(f"line 1: expected {','.join(HEADER)}, found {header}")
            for row in reader:
                if len(row) != 3 or row[0].split("/")[0] != row[1] or row[0].count("/") != 1:
                    wanted = "class/stem, the same class, a subset"
                elif row[2] not in SUBSETS and not row[2].isdecimal():
                    wanted = f"one of {', '.join(SUBSETS)} or a fold's number"
                elif row[0] in found:
                    wanted = "every file once"
                else:
                    found[row[0]] = row[2]
                    continue
                raise InputError(f"line {reader.line_num}: expected {wanted}, found {row}")
    except (csv.Error, ValueError) as error:
        raise InputError(f"{path}: {error}") from error
    return found


def apply_split(images, split):
    """Return the indices of each subset of a split.

    Args:
        images: `Images`, or anything else with `names`.
        split: what `read_split` returns.

    Returns:
        A dict from subset to the indices of its images, int64 and ascending.

    Raises:
        ValueError: if the images and the split do not name the same images.
    """
    names = set(images.names)
    for missing, text in (
        (sorted(names - set(split)), "images that the split does not name"),
        (sorted(set(split) - names), "images of the split that are not there"),
    ):
        if missing:
            raise InputError(
                f"{len(missing)} {text}: {', '.join(missing[:5])}"
                f"{' ...' if len(missing) > 5 else ''}. Make a split of these images with `split`."
            )
    subsets = np.array([split[name] for name in images.names])
    return {str(subset): np.flatnonzero(subsets == subset) for subset in np.unique(subsets)}
