"""Damaged files and files of another kind: whatever a reader raises becomes one error."""

import contextlib
import errno
import os
import re
import zipfile

from alexnet_lib.errors import AlexNetError, InputError

__all__ = ["LOOKALIKES", "check_listing", "kind_of", "read_dataset", "reading"]

#: What people hand to a reader of weights instead of weights, by how it begins.
LOOKALIKES = {
    rb"PK\x03\x04": "a zip archive (.npz, .keras?)",
    rb"<": "HTML or XML, perhaps the error page of a failed download",
    rb"\s*(#[^\n]*\n\s*)*(name|input|input_dim|input_shape|force_backward|state|layers?)\s*[:{]": (
        "a prototxt, the network's description; the weights are in the .caffemodel"
    ),
    rb"version https://git-lfs": "a Git LFS pointer; run `git lfs pull`",
    rb"\x1f\x8b|BZh|\xfd7zXZ": "a compressed archive, such as an export of DIGITS; unpack it "
    "(`tar xzf FILE`) and take the .caffemodel and the deploy.prototxt that are in it",
    rb"\x93NUMPY|\x80[\x02-\x05]": "a pickled .npy or pickle, as old converters wrote them; "
    "pickles can run any code and are not opened here. Take the .caffemodel that it was made from",
}
OTHERS = LOOKALIKES | {
    rb"\x89HDF\r\n\x1a\n": "an HDF5 file (.weights.h5, .caffemodel.h5?)",
    rb"\n[\x01-\x7f][ -~]{1,127}(\x12|\xa2\x06)": "a .caffemodel",
    rb"\x89PNG|\xff\xd8\xff|GIF8|BM|II\*\0|MM\0\*|RIFF....WEBP": "an image",
    rb"(\xef\xbb\xbf)?file,class,subset\s": "a split (.csv)",
    rb"\s*[{\[]": "JSON",
}
# What is in the `.npz` files that this library writes, by names that no other has.
ARCHIVES = {
    frozenset(["settings", "history"]): "a checkpoint of `finetune`",
    frozenset(["codes", "step", "labels"]): "features of `save_features`",
    frozenset(["classes", "fc8/kernel"]): "a classifier of `finetune`",
}


@contextlib.contextmanager
def reading(path, expected):
    """Turn whatever a reader raises over a damaged file into an error that names the file.

    Parsers of zip, HDF5 and NumPy's headers raise nearly any exception when they meet random bytes,
    from `NotImplementedError` to `MemoryError` for an array of 10**15 numbers.

    Args:
        path: of the file that the block reads.
        expected: what it should be, such as "features of `save_features`".

    Raises:
        InputError: instead of any other exception of the block; it says what was expected, and
            what the file looks like. Errors of the library keep their type and words.
        OSError: as it came, with the path, where the file is missing or cannot be read.
    """
    try:
        yield
    except AlexNetError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error
    except Exception as error:
        # HDF5 gives no number for bad content; a wild offset in a header is an invalid argument.
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            error.filename = error.filename or os.fspath(path)
            raise
        said = str(error.args[0] if isinstance(error, KeyError) and error.args else error)
        kind = kind_of(path)
        raise InputError(
            f"{path}: expected {expected}{f', found {kind}' if kind else ''}: "
            f"{said or type(error).__name__}"
        ) from error


def check_listing(archive):
    """Check that a zip archive lists as many files as it says at its end.

    A damaged length in the list makes readers skip what follows, and no checksum covers the list.

    Args:
        archive: `zipfile.ZipFile`.

    Raises:
        InputError: where the numbers differ.
    """
    end = 22 + len(archive.comment)
    with open(archive.filename, "rb") as file:
        file.seek(-end, os.SEEK_END)
        count = int.from_bytes(file.read(end)[10:12], "little")
    if min(len(archive.infolist()), 0xFFFF) != count:
        raise InputError(f"expected a list of {count} arrays, found {len(archive.infolist())}")


def read_dataset(dataset):
    """Read numbers of an HDF5 file.

    Where HDF5 finds nothing stored, it fills in zeros, for as many numbers as a header says.

    Args:
        dataset: `h5py.Dataset`.

    Raises:
        InputError: where it holds no numbers, or fewer than its shape says.
    """
    stored = dataset.id.get_storage_size()
    if dataset.dtype.kind not in "fiu" or (dataset.nbytes > stored and not dataset.compression):
        raise InputError(
            f"{dataset.name}: expected {dataset.nbytes} bytes of numbers for {dataset.shape} of "
            f"{dataset.dtype}, found {stored}"
        )
    return dataset[()]


def kind_of(path):
    """Say what a file looks like, such as "an image", or return None for unknown content."""
    with open(path, "rb") as file:
        start = file.read(1000)
    if not start:
        return "an empty file"
    if start.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    kinds = (kind for pattern, kind in OTHERS.items() if re.match(pattern, start, re.DOTALL))
    return next(kinds, None)


def _kind_of_zip(path):
    """Say what a zip archive holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            files = archive.namelist()
    except Exception:  # the reader's own message says more
        return "a damaged or incomplete zip archive"
    if "model.weights.h5" in files:
        return "a model saved by Keras"
    names = [file.removesuffix(".npy") for file in files]
    for typical, kind in ARCHIVES.items():
        if typical <= set(names):
            return kind
    layers = dict.fromkeys(name.split("/")[0] for name in names)
    weights = all(name.endswith(("/kernel", "/bias")) for name in names)
    listed = ", ".join([*layers][:8]) + (" ..." if len(layers) > 8 else "")
    return f"weights of {listed}" if weights and names else f"an archive of {listed or 'nothing'}"
