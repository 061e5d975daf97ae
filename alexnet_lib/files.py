"""Where data lies, and how files come to be: found by checksum, written atomically."""

import contextlib
import hashlib
import os
import uuid
from pathlib import Path

from alexnet_lib.errors import InputError, MissingFileError

CARRIED = Path(__file__).resolve().parent.parent / "data"
# Results of the book's own runs, with settings, seeds and versions.
RESULTS = CARRIED / "results"
# All layers fine-tuned on UC Merced by the book, with a light head and stored in half precision:
# python -m alexnet_lib finetune -o runs/small --recipe all-layers --fc-units 256 --float16
UCMERCED_CLASSIFIER = CARRIED / "ucmerced_classifier.npz"

CAFFEMODEL = "bvlc_alexnet.caffemodel"
# From BVLC/caffe, models/bvlc_alexnet/readme.md; the model is released for unrestricted use.
CAFFEMODEL_SHA1 = "9116a64c0fbe4459d18f4bb6b56d647b63920377"


def data_directory():
    """Return the directory of downloaded data: $ALEXNET_DATA, else the book's `data/downloads`."""
    return Path(os.environ.get("ALEXNET_DATA") or CARRIED / "downloads")


@contextlib.contextmanager
def atomic_path(path):
    """Give a temporary path beside `path` to write to, moved into place when all went well.

    Args:
        path: the file that shall appear whole or not at all; an old one stays until then.

    Yields:
        A `Path` in the same folder and with the same ending. After an exception it is removed.
    """
    path = Path(path)
    partial = path.with_name(f".{uuid.uuid4().hex}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


@contextlib.contextmanager
def naming(path):
    """Put `path` in front of the message of a `ValueError` that does not name it yet."""
    try:
        yield
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error


def write_csv(path, table):
    """Write a `pandas.DataFrame` without its index; whole or not at all."""
    with atomic_path(path) as partial:
        table.to_csv(partial, index=False)


def checksum(path, algorithm="sha1"):
    """Return a file's checksum, by an algorithm that `hashlib` knows, as a hexadecimal string."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def find_caffemodel():
    """Return the best `.caffemodel` in the data directory, or None.

    BVLC's official file, known by its checksum, goes before others, such as a file of the
    convolutions alone.
    """
    return _best_caffemodel()[1]


def _best_caffemodel():
    """Return whether the best `.caffemodel` is another than the official one, and its path."""
    found = data_directory().glob("*.caffemodel")
    return min(((checksum(path) != CAFFEMODEL_SHA1, path) for path in found), default=(True, None))


def find_imagenet_weights():
    """Find BVLC's official `.caffemodel` in the data directory, by checksum and not by name.

    Returns:
        The file's `Path`.

    Raises:
        FileNotFoundError: where no file there has the checksum; says which command brings it.
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
