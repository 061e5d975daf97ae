"""Split images into training, validation and test, or into k folds, and store splits as CSV."""

import csv
import re
import unicodedata
import warnings

import numpy as np

from alexnet_lib.errors import InputError
from alexnet_lib.files import CARRIED, atomic_path, prefix_errors
from alexnet_lib.images.listing import header_of, read_rows, subset_of

__all__ = [
    "SUBSETS",
    "UCMERCED_SPLIT",
    "apply_split",
    "check_split",
    "fill_split",
    "k_folds",
    "match_split",
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
    try:
        right = len(fractions) == 3 and min(fractions) >= 0 and np.isclose(sum(fractions), 1)
    except TypeError:  # not numbers
        right = False
    if not right:
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


def fill_split(given, labels, groups=None, seed=0):
    """Make a whole split of the subsets that folders, a list or a CSV give.

    Where there are no test images, those of validation become the test images: they are the only
    ones that were set aside. Where there are none for validation then, a ninth of the training
    images is taken for it, as `split` does. Nothing that is for test is used in training.

    Args:
        given: (images,), "train" and at least one of "validation" and "test".
        labels: as in `split`.
        groups: as in `split`; it holds for images taken from the training ones.
        seed: as in `split`.

    Returns:
        str array (images,) of "train", "validation" and "test"; and a text that says how.

    Raises:
        ValueError: without training images, or others, or too few.
    """
    given, labels = np.array(given, dtype="<U10"), np.asarray(labels)
    found = set(given.tolist())
    if "train" not in found or len(found) < 2 or found - set(SUBSETS):
        raise InputError(
            "expected images for train and for validation or test, found "
            f"{', '.join(sorted(found))}"
        )
    how = ["as given"]
    if "test" not in found:
        given[given == "validation"] = "test"
        how.append("the validation images are the test, since no others are independent")
    if "validation" not in given:
        inside = np.flatnonzero(given == "train")
        inner = None if groups is None else np.asarray(groups)[inside]
        part = split(labels[inside], inner, (8 / 9, 1 / 9, 0), seed)
        given[inside[part == "validation"]] = "validation"
        how.append("a ninth of the training images is the validation, to choose the epoch")
    return given, "; ".join(how)


def check_split(images, subset_of, groups):
    """Refuse a split that cannot be trained on; warn of what makes its test less telling.

    Args:
        images: `Images`.
        subset_of: dict from name to subset.
        groups: as `duplicate_groups` returns it.

    Raises:
        InputError: for classes without a training image.
    """
    subsets = np.array([subset_of[name] for name in images.names])
    for subset in SUBSETS:
        here = set(images.labels[subsets == subset].tolist())
        if not (lacking := [name for i, name in enumerate(images.classes) if i not in here]):
            continue
        if subset == "train":
            raise InputError(
                f"{images.folder}: expected training images of every class, found none of "
                f"{_few(lacking)}. Is a class spelt in two ways? Add images, or remove the class"
            )
        warnings.warn(f"no {subset} image of {_few(lacking)}", stacklevel=2)
    pairs = [
        f"{images.names[first]} ({subsets[first]}) = {images.names[i]} ({subsets[i]})"
        for i, first in enumerate(groups)
        if subsets[i] != subsets[first]
    ]
    if pairs:
        warnings.warn(
            f"{len(pairs)} time(s) the same pixels are in two subsets, so the accuracy may be too "
            f"good: {_few(pairs)}",
            stacklevel=2,
        )


def _few(texts):
    return ", ".join(texts[:5]) + (f" and {len(texts) - 5} more" if len(texts) > 5 else "")


def write_split(path, names, subsets):
    """Write a split as CSV with the columns file, class and subset, atomically.

    Args:
        path: the file.
        names: "class/stem" of each image, perhaps after other folders.
        subsets: for each image "train", "validation" or "test", or the number of its fold.
    """
    with atomic_path(path) as partial, open(partial, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for name, subset in zip(names, subsets, strict=True):
            writer.writerow([name, name.split("/")[-2], subset])


def read_split(path=UCMERCED_SPLIT):
    """Read a split: a CSV of file and subset, as `write_split` and spreadsheets write it.

    Columns may be in any order, have the names that `read_list` knows, and be separated by commas,
    semicolons or tabs. A file is "class/stem", with or without its extension, or the file alone
    beside its class.

    Returns:
        A dict from name, "class/stem", to "train", "validation" or "test", or to a fold's number
        as a string.

    Raises:
        ValueError: if the file is not a split; the message names the line and what was expected.
    """
    found = {}
    with prefix_errors(path):
        rows = read_rows(path, ("file", "subset"))
        if rows is None:
            found = header_of(path)
            raise InputError(f"line 1: expected {','.join(HEADER)}, found {found!r}")
        for line, row in rows:
            name, own = row["file"], row.get("class")
            if own and "/" not in name.replace("\\", "/"):
                name = f"{own}/{name}"
            subset = row["subset"].strip()
            subset = subset if subset.isdecimal() else subset_of(subset)
            parts = (name if "/" in name else name.replace("\\", "/")).split("/")
            if len(parts) < 2 or (own or parts[-2]).strip() != parts[-2].strip():
                wanted = "class/stem, the same class"
            elif subset is None:
                wanted = f"one of {', '.join(SUBSETS)} or a fold's number"
            elif name in found:
                wanted = "every file once"
            else:
                found[name] = subset
                continue
            raise InputError(f"line {line}: expected {wanted}, found {list(row.values())}")
        if not found:
            raise InputError("expected images and their subsets, found a header alone")
    return found


def match_split(images, split):
    """Return a split with the images' own names as its keys, in their order.

    A split may spell a name with its extension, with Windows' separators, or with accents in
    another form of Unicode.

    Args:
        images: `Images`, or anything else with `names`.
        split: what `read_split` returns.

    Raises:
        ValueError: if the images and the split do not name the same images.
    """
    names, matched = set(images.names), {}
    for key, subset in split.items():
        name = next((spelling for spelling in _spellings(key) if spelling in names), key)
        if name in matched:
            raise InputError(f"the split names {name} twice, once as {key}. Remove one of them.")
        matched[name] = subset
    for missing, text in (
        (sorted(names - set(matched)), "images that the split does not name"),
        (sorted(set(matched) - names), "images of the split that are not there"),
    ):
        if missing:
            raise InputError(
                f"{len(missing)} {text}: {', '.join(missing[:5])}"
                f"{' ...' if len(missing) > 5 else ''}. Make a split of these images with `split`."
            )
    return {name: matched[name] for name in images.names}


def _spellings(name):
    plain = unicodedata.normalize("NFC", name.strip().replace("\\", "/")).removeprefix("./")
    # An extension, not the end of a stem such as 1.2.
    return name, plain, re.sub(r"\.[A-Za-z]\w{1,4}$", "", plain)


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
    subsets = np.array(list(match_split(images, split).values()))
    return {str(subset): np.flatnonzero(subsets == subset) for subset in np.unique(subsets)}
