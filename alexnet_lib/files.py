"""Files: the data directory, atomic writes, checksums, and BVLC's weights found by checksum.

Every command reads this module, so it loads at the top only what they all need.
"""

import contextlib
import os
from pathlib import Path

from alexnet_lib.errors import InputError, MissingFileError

__all__ = [
    "CAFFEMODEL",
    "CAFFEMODEL_SHA1",
    "RESULTS",
    "UCMERCED_CLASSIFIER",
    "atomic_path",
    "checksum",
    "data_directory",
    "find_caffemodel",
    "find_imagenet_weights",
    "versions",
]

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED = (_PACKAGE / "data").is_dir()  # from a wheel, which carries a copy of a clone's data/
_ROOT = _PACKAGE if _INSTALLED else _PACKAGE.parent
#: The folder of the data that the library carries.
CARRIED = _ROOT / "data"
#: Results of the book's runs, with settings, seeds and versions; only in a clone.
RESULTS = CARRIED / "results"
#: All layers fine-tuned on UC Merced, with a small head, stored in half precision: ``finetune -o
#: runs/small --recipe all-layers --fc-units 256 --float16`` wrote it.
UCMERCED_CLASSIFIER = CARRIED / "ucmerced_classifier.npz"

#: Name of BVLC's official weights file.
CAFFEMODEL = "bvlc_alexnet.caffemodel"
#: From BVLC/caffe, models/bvlc_alexnet/readme.md; the model is released for unrestricted use.
CAFFEMODEL_SHA1 = "9116a64c0fbe4459d18f4bb6b56d647b63920377"


def data_directory():
    """Return the absolute `Path` of the directory for downloads.

    It is the variable ALEXNET_DATA if that is set; else `data/downloads` in a clone of the book;
    else, if the library was installed from a wheel, the user's cache folder of the platform.

    A relative ALEXNET_DATA is looked for in the current folder, then in the one that the shell was
    in (PWD), then in the clone: Jupyter runs a notebook in the notebook's own folder. Where there
    is none, it is in the current folder.
    """
    if folder := os.environ.get("ALEXNET_DATA"):
        folder = Path(folder).expanduser()
        places = (Path.cwd(), Path(os.environ.get("PWD", "")), _ROOT)
        found = (place / folder for place in places if (place / folder).is_dir())
        return next(found, folder).resolve()
    if not _INSTALLED:
        return CARRIED / "downloads"
    import platformdirs

    return platformdirs.user_cache_path("alexnet_lib")


@contextlib.contextmanager
def atomic_path(path):
    """Write a file completely or not at all.

    Args:
        path: the file to write; an existing one is replaced only if the block succeeds.

    Yields:
        A temporary `Path` to write to, in the same folder and with the same suffix. It is moved to
        `path` at the end of the block, or removed after an exception.
    """
    path = Path(path)
    partial = path.with_name(f".{os.urandom(16).hex()}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def prefix_errors(path):
    """Prefix the message of a `ValueError` with `path`, unless it contains it already."""
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error


def write_csv(path, table):
    """Write a `pandas.DataFrame` without its index, atomically."""
    with atomic_path(path) as partial:
        table.to_csv(partial, index=False)


def in_threads(function, items, what):
    """Yield `function(item)` in order, run in threads, with a progress bar on a terminal.

    Args:
        function: called with each item; it should release Python's lock, as OpenCV does.
        items: a sequence.
        what: the bar's title.
    """
    from concurrent.futures import ThreadPoolExecutor

    from tqdm import tqdm

    with ThreadPoolExecutor() as pool:
        yield from tqdm(
            pool.map(function, items), what, len(items), unit="images", disable=None, leave=False
        )


def checksum(path, algorithm="sha1"):
    """Return a file's checksum as a hexadecimal string; `hashlib` lists the algorithms."""
    import hashlib

    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def versions(*packages):
    """Return the versions of what decides a result's digits, and of other packages.

    Returns:
        A dict from "python" and each package's name to its version.
    """
    import platform
    from importlib import metadata

    names = ("tensorflow", "keras", "numpy", "opencv-python-headless", *packages)
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


def find_caffemodel():
    """Return the best `.caffemodel` in the data directory, or None.

    BVLC's official file, recognized by its checksum, is preferred to others, such as a file of only
    the convolutions.
    """
    return _best_caffemodel()[1]


def _best_caffemodel():
    """Return whether the best `.caffemodel` is an unofficial one, and its path."""
    found = data_directory().glob("*.caffemodel")
    return min(((checksum(path) != CAFFEMODEL_SHA1, path) for path in found), default=(True, None))


def find_imagenet_weights():
    """Find BVLC's official `.caffemodel` in the data directory by its checksum, not its name.

    Returns:
        The file's `Path`.

    Raises:
        FileNotFoundError: if no file has that checksum; the message names the download command.
    """
    (other, best), folder = _best_caffemodel(), data_directory()
    if not other:
        return best
    seen = "none" if best is None else f"{best.name} with another checksum"
    raise MissingFileError(
        f"{folder}: expected {CAFFEMODEL} with SHA-1 {CAFFEMODEL_SHA1}, found {seen}. "
        "Run `python -m alexnet_lib fetch alexnet` to download it (244 MB), or set ALEXNET_DATA "
        "to the folder that has it."
    )
