"""Scale images of more than 8 bits to 0-255; where white cannot be known, refuse to guess it."""

import cv2
import numpy as np

from alexnet_lib.errors import InputError

__all__ = ["deep_pixels"]


def deep_pixels(values, white, full, alpha=None, premultiplied=False, inverted=False):
    """Scale an image of more than 8 bits, or of floating point, to 0-255.

    Args:
        values: numbers, (height, width) or (height, width, 3), BGR.
        white: as for `read_image`.
        full: the largest value of the format, such as 65535, or None if it has none.
        alpha: (height, width), from 0 for transparent to 1; None if all is opaque. What is
            transparent becomes white, and its values do not count.
        premultiplied: the values are multiplied by `alpha` already.
        inverted: 0 is white, and `white` black.

    Returns:
        uint8 array (height, width, 3), BGR.

    Raises:
        InputError: where `white` is needed or cannot be right.
    """
    shown = values if alpha is None else values[alpha > 0]
    if not np.isfinite(shown).all():
        raise InputError("values that are not finite (NaN or infinite): replace them first")
    if white is None:
        if shown.size:
            _check_range(shown, full)
        white = full or 1
    elif not (np.isscalar(white) and np.isfinite(white) and white > 0):
        raise InputError(f"white must be a positive number. Received: white={white!r}")
    elif shown.size:
        _check_white(shown, white)
    pixels = np.clip(np.nan_to_num(values.astype(np.float32)) * np.float32(255 / white), 0, 255)
    pixels = 255 - pixels if inverted else pixels
    if alpha is not None:
        alpha = np.asarray(alpha, np.float32)
        alpha = alpha if values.ndim == 2 else alpha[..., None]
        pixels = np.minimum((1 if premultiplied else alpha) * pixels + 255 * (1 - alpha), 255)
    pixels = np.rint(pixels).astype(np.uint8)
    return pixels if pixels.ndim == 3 else cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)


def _check_range(shown, full):
    """Refuse values that do not use the range of their format: white would be a guess."""
    low, high = shown.min(), shown.max()
    if full is None:
        raise InputError(
            f"values from {low:g} to {high:g} ({shown.dtype}), in which white can be any value. "
            + _remedy("1.0" if high <= 1 else "255" if 127 < high <= 255 else f"{high:g}")
        )
    rest = shown[shown != full]  # which often marks "no data", or a pixel that is broken
    # A photograph reaches half of the range at least somewhere. Of UC Merced, 99.6 % do, and all
    # have a thousandth of their values above a quarter.
    if (
        rest.size
        and (top := rest.max()) > 0
        and (top < full / 2 or np.quantile(rest, 0.999) < full / 4)
    ):
        usual = float(np.quantile(rest, 0.999)) if top >= full / 2 else float(top)
        bits = next(bits for bits in (8, 10, 12, 14, 15) if usual < 1 << bits)
        raise InputError(
            f"values from {low} to {high}, 99.9 % of them up to {usual:g}, where the format's "
            f"white is {full}: this looks like {bits}-bit data. "
            + _remedy(f"{(1 << bits) - 1}")
            + f" White is 10000 for reflectance x 10000, and {full} if the image is that dark."
        )


def _check_white(shown, white):
    """Refuse a white that turns most of an image white, and values that are not brightness."""
    if (above := (shown > white).mean()) > 0.5:
        raise InputError(
            f"{above:.0%} of the values are above white={white:g}, up to {shown.max():g}. "
            "Give the value of white, larger than almost all others."
        )
    if (below := (shown < 0).mean()) > 0.01:
        raise InputError(
            f"{below:.0%} of the values are below 0, which is black, down to {shown.min():g}. "
            'Replace values that mean "no data", and add an offset to others.'
        )


def _remedy(white):
    return (
        f"Give the value of white: read_image(path, white={white}), or --white {white} on the "
        "command line."
    )
