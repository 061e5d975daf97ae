"""Download UC Merced's images and BVLC's weights: from mirrors, resumed, retried, verified.

A download grows in `NAME.part` in the data directory. Only the pinned checksum decides whether its
bytes are the right ones, from whatever source. So a later run, or another mirror, can resume an
interrupted download, and wrong bytes are discarded. Files are installed atomically.
"""

import contextlib
import os
import re
import shutil
import sys
import time
import zipfile
from pathlib import PurePosixPath
from typing import NamedTuple

import requests
from filelock import FileLock, Timeout
from tqdm import tqdm

from alexnet_lib.errors import AlexNetError, InputError
from alexnet_lib.files import (
    CAFFEMODEL,
    CAFFEMODEL_SHA1,
    checksum,
    data_directory,
    find_imagenet_weights,
)

__all__ = ["FetchError", "OfficialFile", "fetch_imagenet_weights", "fetch_ucmerced"]

TIMEOUT = 30  # seconds to connect, and between two reads
TRIES = 4  # consecutive requests to a mirror that bring no new byte
PAUSE = 1  # seconds before the second try; doubles with each
PIECE = 1 << 16  # bytes between two writes
LARGEST = 1 << 29  # bytes, if neither we nor the host know the length


class OfficialFile(NamedTuple):
    """A file on the web: name, mirrors in order, checksum, and its length if that is known."""

    name: str
    mirrors: tuple
    algorithm: str
    checksum: str
    size: int | None = None


# Checksum and size from tensorflow-datasets, the second address from torchgeo.
UCMERCED = OfficialFile(
    "UCMerced_LandUse.zip",
    (
        "http://weegee.vision.ucmerced.edu/datasets/UCMerced_LandUse.zip",
        "https://hf.co/datasets/torchgeo/ucmerced/resolve/"
        "7c5ef3454d9b1cccfa7ccde0c01fc8f00a45909a/UCMerced_LandUse.zip",
    ),
    "sha256",
    "06c539ef28703a58fb07bd2837991ac7c48b813b00bb12ac197efd813a18daeb",
    332_468_434,
)
# The second address from dusty-nv/jetson-inference.
ALEXNET = OfficialFile(
    CAFFEMODEL,
    (
        f"http://dl.caffe.berkeleyvision.org/{CAFFEMODEL}",
        "https://nvidia.box.com/shared/static/5j264j7mky11q8emy4q14w3r8hl5v6zh.caffemodel",
    ),
    "sha1",
    CAFFEMODEL_SHA1,
)
IMAGES = 2100
IMAGE = re.compile(r"UCMerced_LandUse/Images/([a-z]+)/\1[0-9]{2}\.tif")


class FetchError(AlexNetError, OSError):
    """A file could not be downloaded or installed; the message gives the reason for each mirror."""


def fetch_imagenet_weights():
    """Download BVLC's official `.caffemodel` (244 MB) into the data directory.

    Returns:
        The file's `Path`. If a file with the right checksum exists, nothing is downloaded. A wrong
        file with the official name is replaced once the right one is verified.

    Raises:
        FetchError: if no mirror has the right file or the data directory cannot be written to.
    """
    with contextlib.suppress(FileNotFoundError):
        return find_imagenet_weights()
    target = data_directory() / ALEXNET.name
    with _verified_part(ALEXNET) as part:
        os.replace(part, target)
    return target


def fetch_ucmerced():
    """Download the UC Merced Land Use images (332 MB) and unpack them into the data directory.

    Returns:
        The `Path` of the folder `UCMerced_LandUse`, which holds `Images/<class>/<class>NN.tif`. If
        it has all 2,100 images already, in any format, nothing is downloaded.

    Raises:
        FetchError: if no mirror has the right file, the data directory cannot be written to, or an
            incomplete folder with that name exists.
    """
    home = data_directory() / "UCMerced_LandUse"
    if (found := _count_images(home)) == IMAGES:
        return home
    if home.exists():
        raise FetchError(
            f"{home}: expected {IMAGES:,} images in class folders below Images, found {found:,}. "
            "Move that folder away and fetch again; it is never overwritten."
        )
    with _verified_part(UCMERCED) as part:
        _unpack(part, home)
        part.unlink()
    return home


def _count_images(home):
    """Return the number of images in the class folders of `home`: not empty, of distinct names."""
    images = home.glob("Images/*/*[0-9][0-9].*")
    return len({(image.parent.name, image.stem) for image in images if image.stat().st_size})


def _unpack(archive, home):
    """Unpack only the images, into a folder that appears complete or not at all."""
    staging = home.with_name(f"{home.name}.unpacking")
    shutil.rmtree(staging, ignore_errors=True)  # left by a run that was killed
    try:
        with zipfile.ZipFile(archive) as contents:
            names = [name for name in contents.namelist() if IMAGE.fullmatch(name)]
            for name in tqdm(names, "unpacking", unit=" images"):
                image = staging / PurePosixPath(name).relative_to(home.name)
                image.parent.mkdir(parents=True, exist_ok=True)
                image.write_bytes(contents.read(name))
        os.rename(staging, home)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def _verified_part(official):
    """Yield the path of a complete and verified `NAME.part`, for the caller to install.

    Raises:
        FetchError: if no mirror has the right file, another run is downloading it, or the data
            directory cannot be written to, by the caller either.
    """
    folder = data_directory()
    path = folder / f"{official.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{official.name}.lock", timeout=0), open(path, "a+b") as part:
            if checksum(path, official.algorithm) != official.checksum:
                _download(part, official)
            os.fsync(part.fileno())
            yield path
    except FetchError:
        raise
    except Timeout as error:
        raise FetchError(f"{path}: another run is downloading this file.") from error
    except OSError as error:
        raise FetchError(
            f"{error.filename or folder}: cannot be written: {error.strerror or error}. Free some "
            "space or set ALEXNET_DATA to another folder; the next call resumes the download."
        ) from error


def _download(part, official):
    """Complete `part` from the first mirror that can."""
    complaints = []
    for url in official.mirrors:
        try:
            return _complete(part, url, official)
        except (requests.RequestException, ValueError) as error:
            complaints.append(f"\n  {url}: {_reason(error)}")
    if kept := _length(part):
        complaints.append(f"\n{kept:,} bytes are kept in {part.name} for the next call.")
    raise FetchError(
        f"{official.name}: no mirror has the right file; nothing was installed."
        f"{''.join(complaints)}"
    )


def _complete(part, url, official):
    """Complete `part` from one mirror, resuming after each interruption.

    Raises:
        requests.RequestException: if the mirror does not answer or does not have the file.
        ValueError: if it has another file.
    """
    failures, restarted = 0, False
    while True:
        before = _length(part)
        try:
            _receive(part, url, official)
        except requests.RequestException as error:
            answer = error.response
            if answer is not None and answer.status_code < 500 and answer.status_code != 429:
                raise
            failures = 1 if _length(part) > before else failures + 1
            if failures == TRIES:
                raise
            pause = PAUSE * 2 ** (failures - 1)
            tqdm.write(f"{url}: {_reason(error)}; trying again in {pause} s", sys.stderr)
            time.sleep(pause)
            continue
        part.flush()
        found = checksum(part.name, official.algorithm)
        if found == official.checksum:
            return
        part.truncate(0)
        if before == 0 or restarted:
            raise InputError(f"{official.algorithm} {found}, expected {official.checksum}")
        restarted = True  # the first bytes may be from elsewhere, or older than a change


def _receive(part, url, official):
    """Append the missing bytes to `part`, with one request that starts at its end.

    A host that ignores ranges sends the whole file. The bytes that `part` has are then skipped, not
    rewritten, so a host that sends a short error page instead destroys nothing.
    """
    position = _length(part)
    response = _get(url, {"Range": f"bytes={position}-"} if position else {})
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    resumed = response.status_code == 206 and span is not None and int(span[1]) == position
    if response.status_code in (206, 416) and not resumed:  # it does not have that range
        response.close()
        response = _get(url, {})
    with response:
        if response.status_code != 200 and not resumed:
            message = f"{response.status_code} {response.reason}"
            raise requests.HTTPError(message, response=response)
        declared = span[2] if resumed else response.headers.get("Content-Length", "")
        total = int(declared) if declared.isdecimal() else official.size
        limit = official.size or LARGEST
        if total is not None and (total > limit or official.size not in (None, total)):
            raise InputError(f"offers {total:,} bytes, expected {limit:,}")
        skip = 0 if resumed else position
        with tqdm(None, official.name, total, initial=position, unit="B", unit_scale=True) as bar:
            for piece in response.iter_content(PIECE):
                new, skip = piece[skip:], max(0, skip - len(piece))
                position += len(new)
                if new and position > limit:
                    raise InputError(f"sends more than {limit:,} bytes")
                part.write(new)
                bar.update(len(new))
        if position < (total or 0):  # old versions of urllib3 do not raise
            raise requests.ConnectionError(f"cut off after {position:,} of {total:,} bytes")


def _get(url, headers):
    headers = {"Accept-Encoding": "identity"} | headers
    return requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)


def _length(part):
    return part.seek(0, os.SEEK_END)


def _reason(error):
    """Return the root cause of a failed request, which `requests` wraps, as one line."""
    while error.__context__ is not None:
        error = error.__context__
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
