"""Bring the official files into the data directory, each whole or not at all."""

import contextlib
import os
import re
import shutil
import stat
import zipfile
import zlib
from pathlib import PurePosixPath

from tqdm import tqdm

from alexnet_lib.download import FetchError, OfficialFile, verified_copy
from alexnet_lib.errors import InputError
from alexnet_lib.files import CAFFEMODEL, CAFFEMODEL_SHA1, data_directory, find_imagenet_weights

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

CLASSES, IMAGES = 21, 2100
IMAGE = re.compile(r"UCMerced_LandUse/Images/([a-z]+)/\1[0-9]{2}\.tif")
LARGEST_IMAGE = 1 << 19  # bytes; the official ones have about 210,000
MOST_MEMBERS = 5000  # room for folders and the like beside the images

# What `zipfile` raises for damage, for encryption and for a compression that it does not know.
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)


def fetch_imagenet_weights():
    """Download BVLC's official `.caffemodel` (244 MB) into the data directory.

    Returns:
        The file's `Path`. Where one with the right checksum is there already, nothing is done. A
        wrong file of the official name is replaced, once the right one has been verified.

    Raises:
        FetchError: no mirror gave the right file, or the data directory cannot be written to.
    """
    with contextlib.suppress(FileNotFoundError):
        return find_imagenet_weights()
    target = data_directory() / ALEXNET.name
    with verified_copy(ALEXNET) as part:
        os.replace(part, target)
    return target


def fetch_ucmerced():
    """Download the UC Merced Land Use images (332 MB) and unpack them into the data directory.

    Returns:
        The `Path` of the folder `UCMerced_LandUse`, with `Images/<class>/<class>NN.tif` in it.
        Where all 2,100 images are there already, of whatever type, nothing is done.

    Raises:
        FetchError: no mirror gave the right file, the archive is not what it should be, the data
            directory cannot be written to, or an incomplete folder of that name is in the way.
    """
    home = data_directory() / "UCMerced_LandUse"
    if (found := _count_images(home)) == IMAGES:
        return home
    if home.exists():
        raise FetchError(
            f"{home}: expected {IMAGES:,} images in {CLASSES} folders below Images, found "
            f"{found:,}. Move that folder away and fetch again; it is never overwritten."
        )
    with verified_copy(UCMERCED) as part:
        _unpack(part, home)
        part.unlink()
    return home


def _count_images(home):
    """Return how many images of different names, none empty, the class folders of `home` hold."""
    images = home.glob("Images/*/*[0-9][0-9].*")
    return len({(image.parent.name, image.stem) for image in images if image.stat().st_size})


def _unpack(archive, home):
    """Unpack the images, and nothing else, into a folder that appears whole or not at all."""
    staging = home.with_name(f"{home.name}.unpacking")
    shutil.rmtree(staging, ignore_errors=True)  # of a run that was killed
    try:
        with zipfile.ZipFile(archive) as contents:
            for member in tqdm(_checked_images(contents), "unpacking", unit=" images"):
                image = staging / PurePosixPath(member.filename).relative_to(home.name)
                image.parent.mkdir(parents=True, exist_ok=True)
                with contents.open(member) as source:
                    # No more than it declares, however much its stream holds; then CRC is checked.
                    image.write_bytes(source.read(member.file_size))
        os.rename(staging, home)
    except _BROKEN as error:
        raise FetchError(f"{archive}: not the archive that it should be: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _checked_images(contents):
    """Return the members that are images, after a look at every member.

    Raises:
        ValueError: names the member that leads out of the folder, is a link, is empty, too large
            or there twice, or says how many images were found.
    """
    members, images = contents.infolist(), {}
    if len(members) > MOST_MEMBERS:
        raise InputError(f"{len(members):,} members, expected at most {MOST_MEMBERS:,}")
    for member in members:
        path = PurePosixPath(member.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in member.filename:
            raise InputError(f"{member.filename!r} leads out of the folder")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f"{member.filename!r} is a link")
        if not IMAGE.fullmatch(member.filename):
            continue
        if member.filename in images:
            raise InputError(f"{member.filename!r} is there twice")
        if not 0 < member.file_size <= LARGEST_IMAGE:
            raise InputError(f"{member.filename!r} has {member.file_size:,} bytes")
        images[member.filename] = member
    classes = {PurePosixPath(name).parent for name in images}
    if (len(classes), len(images)) != (CLASSES, IMAGES):
        raise InputError(
            f"{len(images):,} images of {len(classes)} classes, expected {IMAGES:,} of {CLASSES}"
        )
    return list(images.values())
