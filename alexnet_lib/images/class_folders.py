"""What lies in a folder: class folders, perhaps inside folders of train, validation and test."""

import unicodedata
from pathlib import Path

from alexnet_lib.errors import InputError
from alexnet_lib.images.image_files import visible
from alexnet_lib.images.listing import Found, Image, subset_of

__all__ = ["find_images"]


def find_images(folder):
    """Find the files in class folders, which may lie in folders of train, validation and test.

    Args:
        folder: its subfolders are the classes; or they are train, val or test (or training, valid,
            validation, testing, in any case), and the classes are in them.

    Returns:
        `Found`; what else lies there, and names that cannot be used, are its problems.

    Raises:
        InputError: where the class folders are elsewhere, or two of them have one name.
    """
    folder = Path(folder)
    beside = visible(folder)
    inside = [path for path in beside if path.is_dir()]
    problems = [f"{path}: a file beside the class folders" for path in beside if path.is_file()]
    if beside and not inside:
        raise InputError(
            f"{folder}: expected class folders, found {len(beside)} files and no folder. Put the "
            "images of each class into a folder with the class's name, or give a list: a CSV of "
            "file and class"
        )
    if not _holds_subsets(folder):
        _check_depth(folder, inside)
        return _collect(Found(folder, [], [], problems), inside, None)
    found, taken = Found(folder, [], [], problems), {}
    for path in inside:
        subset = subset_of(path.name)
        classes = [each for each in visible(path) if each.is_dir()]
        if subset is None:
            problems.append(f"{path}: a folder beside those of train, validation and test")
        elif subset in taken:
            raise InputError(
                f"{folder}: {taken[subset].name} and {path.name} are both the {subset} images. "
                "Remove or rename one"
            )
        elif not classes:
            problems.append(f"{path}: no class folders in it, so these images have no class")
        else:
            taken[subset] = path
            problems += [
                f"{each}: a file beside the class folders"
                for each in visible(path)
                if each not in classes
            ]
            _collect(found, classes, subset)
    return found


def _holds_subsets(folder):
    """Return whether the classes lie in folders of train and test or validation."""
    subsets = {subset_of(path.name): path for path in visible(folder) if path.is_dir()}
    if "train" not in subsets or len(subsets.keys() - {None}) < 2:
        return False
    if any(path.is_dir() for path in visible(subsets["train"])):
        return True
    if None in subsets:  # classes, of which one is called train
        return False
    raise InputError(
        f"{folder}: expected class folders in {subsets['train'].name}, found none. Put the images "
        "of each class into a folder with the class's name, or give a list: a CSV of file, class "
        "and subset"
    )


def _holds_files(folder):
    return any(path.is_file() for path in visible(folder))


def _check_depth(folder, inside):
    """Raise InputError where no subfolder holds files, but subfolders of theirs do."""
    if not inside or any(_holds_files(path) for path in inside):
        return
    level = inside
    for _ in range(3):
        fit = [
            path
            for path in level
            if _holds_subsets(path)
            or any(_holds_files(each) for each in visible(path) if each.is_dir())
        ]
        if fit:
            raise InputError(
                f"{folder}: expected class folders that hold images, found only folders in "
                f"{inside[0].name}{' and others' if len(inside) > 1 else ''}. Give "
                f"{' or '.join(map(str, fit[:5]))}, whose subfolders are the classes"
            )
        level = [each for path in level for each in visible(path) if each.is_dir()]


def _collect(found, class_folders, subset):
    """Add the images of class folders to `found`, and return it."""
    named = {}
    for folder in class_folders:
        label = unicodedata.normalize("NFC", folder.name)
        if label in named:
            raise InputError(
                f"{folder.parent}: two class folders are called {label}, with its accents in two "
                "forms of Unicode. Move the images of one into the other"
            )
        named[label] = folder
        if fault := _unusable(folder):
            found.problems.append(fault)
            continue
        found.class_folders.append(folder)
        for path in visible(folder):
            if path.is_dir():
                found.problems.append(
                    f"{path}: a folder in a class folder, which must hold images directly"
                )
            elif fault := _unusable(path):
                found.problems.append(fault)
            else:
                found.images.append(Image(path, label, subset))
    return found


def _unusable(path):
    """Return what is wrong with a name, or None."""
    kinds = {unicodedata.category(character) for character in path.name}
    if "Cs" in kinds:  # Python's stand-ins for bytes that are not UTF-8
        return f"{path}: its name is not UTF-8, so no list can name it. Rename it"
    if "Cc" in kinds:
        return f"{str(path)!r}: its name holds a control character. Rename it"
    return None
