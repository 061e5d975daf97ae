"""An image file or a PIL image becomes BGR pixels, or the error says what it is and what to do."""

import contextlib
import io
import os
import re
import threading
from pathlib import Path

import cv2
import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    SunImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from alexnet_lib.errors import InputError, MissingFileError
from alexnet_lib.images.depth import deep_pixels
from alexnet_lib.images.file_kinds import image_format
from alexnet_lib.images.tiff import TiffLayout, check_alpha, tiff_layout

__all__ = ["image_pixels", "read_image"]

MAX_PIXELS = 1 << 30  # OpenCV's limit

# Pillow's openers are called one by one: `Image.open` would warn of large images, without a name.
_OPENERS = {
    "AVIF": AvifImagePlugin.AvifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "JPEG 2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "PNM": PpmImagePlugin.PpmImageFile,
    "Sun raster": SunImagePlugin.SunImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
}
# Pillow's modes whose values are not 0-255, and the range of their format, if it has one.
_DEEP_MODES = {"I;16": 65535, "I;16L": 65535, "I;16B": 65535, "I;16N": 65535, "I": None, "F": None}

# A PPM image whose largest value is 65535; smaller ones are taken at their word.
_PPM_16 = re.compile(rb"P[36](\s+(#.*\n)?\s*\d+){2}\s+(#.*\n)?\s*65535\s")
_quiet = {"lock": threading.Lock(), "users": 0}  # of `_opencv_quiet`


def read_image(path, white=None):
    """Read an image file: JPEG, PNG, TIFF, WebP, GIF, BMP, PNM, JPEG 2000, AVIF, Radiance HDR.

    Only a file's content counts, not its ending. The orientation that a camera stored is applied.
    Shades of grey, palettes and CMYK become BGR. What is transparent shows a white background. Of
    an animation, the first frame is read. A fourth band of a TIFF without a stated meaning is
    ignored.

    Args:
        path: the file.
        white: the value that stands for white in images of more than 8 bits: 4095 for a 12-bit
            sensor, 10000 for reflectance x 10000, 1.0 for floating point up to 1. Larger values
            become white and values below 0 black. None takes 65535 for 16 bits, and raises an error
            where the values do not use that range. Images of 8 bits ignore it.

    Returns:
        uint8 array (height, width, 3), BGR.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: says what the file is, or what is damaged, and what to do.
    """
    data = _content(path)
    try:
        return _decode(data, white)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def image_pixels(image, white=None):
    """Convert a PIL image of any mode, as `read_image` does with files.

    Pillow itself drops half of the bits of 16-bit colours, and repairs damaged JPEG files without a
    word: `read_image` is the safer way to read a file.

    Args:
        image: a `PIL.Image.Image`; the orientation stored with it is applied.
        white: as for `read_image`.

    Returns:
        uint8 array (height, width, 3), BGR.

    Raises:
        ValueError: for an image that is damaged, or whose white is not known.
    """
    with _damage_named(image.format or "PIL image's"):
        image.load()
    if image.mode in _DEEP_MODES:
        values = np.asarray(image)
        transparent = image.info.get("transparency")
        alpha = None if transparent is None else values != transparent
        full = 65535 if image.format == "PPM" else _DEEP_MODES[image.mode]
        return _turn(deep_pixels(values, white, full, alpha), _orientation(image))
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        rgb = Image.alpha_composite(Image.new("RGBA", image.size, "white"), layer)
    else:
        rgb = image
    pixels = cv2.cvtColor(np.asarray(rgb.convert("RGB")), cv2.COLOR_RGB2BGR)
    return _turn(pixels, _orientation(image))


def _content(path):
    """Return the bytes of a file."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise MissingFileError(f"{path}: expected an image file, found nothing") from None
    except OSError as error:
        if os.path.isdir(path):
            raise InputError(f"{path}: expected an image file, found a folder") from error
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _decode(data, white):
    """Return the pixels of an image file's bytes."""
    kind = image_format(data)
    if kind in ("PFM", "Radiance HDR"):
        return deep_pixels(_opencv_values(data, kind), white, None)
    layout = tiff_layout(data) if kind == "TIFF" else None
    if layout and layout.deep:  # Pillow drops half of the bits, or refuses
        return _deep_bands(data, kind, white, layout)
    image = _open(data, kind)
    if layout and layout.plain:  # Pillow's decoder writes to stderr
        pixels = _opencv_values(data, kind)
        return pixels if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    if kind == "JPEG":
        from alexnet_lib.images.jpeg import decode_jpeg  # only they need `simplejpeg`

        with _damage_named(kind):
            pixels = decode_jpeg(data)
        return _turn(pixels, _orientation(image))
    with _damage_named(kind):
        if kind == "PNG":
            _open(data, kind).verify()  # every checksum; loading skips the pixels' ones
        image.load()
    if _has_16_bit_colors(data, kind, image.mode):
        return _turn(_deep_bands(data, kind, white), _orientation(image))
    if layout and image.mode == "RGBA":
        check_alpha(np.asarray(image.getchannel("A")), 255)
    return image_pixels(image, white)


def _open(data, kind):
    """Return a PIL image of which only the head is read."""
    with _damage_named(kind):
        image = _OPENERS[kind](io.BytesIO(data))
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{width}x{height} pixels, more than the {MAX_PIXELS:,} that can be read at once: cut "
            "it into tiles, or make it smaller"
        )
    return image


@contextlib.contextmanager
def _damage_named(kind):
    """Turn whatever a decoder raises into an error that says what is damaged."""
    try:
        yield
    except Exception as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise InputError(
            f"a {kind} file that is damaged or of a rare kind ({reason}): replace it by an intact "
            "copy, or convert it to PNG"
        ) from error


def _has_16_bit_colors(data, kind, mode):
    """Return whether a file has 16 bits for each colour, of which Pillow returns 8."""
    if mode == "I;16":
        return False
    if kind == "JPEG 2000":
        size = data.find(b"\xff\x51")
        return data[size + 40] & 0x7F == 15
    return (kind == "PNG" and data[24] == 16) or (kind == "PNM" and bool(_PPM_16.match(data)))


def _deep_bands(data, kind, white, layout=None):
    """Return the pixels of a file with more than 8 bits a value, or of signed or real numbers."""
    values = _opencv_values(data, kind)
    bands = values.shape[2] if values.ndim == 3 else 1
    if layout is None:
        layout = TiffLayout(True, False, bands, 65535, alpha=bands == 4)
    if bands != layout.bands:
        raise InputError(f"a {kind} file of which {bands} of {layout.bands} bands were decoded")
    alpha = None
    if layout.alpha:
        check_alpha(values[..., 3], layout.full)
        alpha = values[..., 3] / layout.full
    return deep_pixels(
        values if bands == 1 else values[..., :3],
        white,
        layout.full,
        alpha,
        layout.premultiplied,
        layout.inverted,
    )


def _opencv_values(data, kind):
    """Return an image as it is stored, by OpenCV."""
    with _opencv_quiet(), _damage_named(kind):
        values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if values is None:
            raise ValueError("OpenCV cannot decode it")
        return values


@contextlib.contextmanager
def _opencv_quiet():
    """Keep OpenCV's log, which names no file, off stderr; its level is one for all threads."""
    logging = cv2.utils.logging
    with _quiet["lock"]:
        if not _quiet["users"]:
            _quiet["level"] = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
        _quiet["users"] += 1
    try:
        yield
    finally:
        with _quiet["lock"]:
            _quiet["users"] -= 1
            if not _quiet["users"]:
                logging.setLogLevel(_quiet["level"])


def _orientation(image):
    """Return a number from 1 to 8, as Exif defines it; 1 where none can be read."""
    try:
        return image.getexif().get(0x0112, 1)
    except Exception:  # damage in what a camera adds leaves the pixels intact
        return 1


def _turn(pixels, orientation):
    """Return (height, width, 3) as it is meant to be seen."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)
