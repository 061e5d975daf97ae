"""What a TIFF file says about its bands, which decoders drop or mix up without a word."""

import dataclasses
import io

from PIL.TiffImagePlugin import ImageFileDirectory_v2

from alexnet_lib.errors import InputError

__all__ = ["TiffLayout", "check_alpha", "tiff_layout"]

# TIFF 6.0: PhotometricInterpretation, and how many bands the colours of each take.
_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}
_INVERTED_GRAY, _RGB, _CAMERA = 0, 2, (32803, 34892)
# SampleFormat: unsigned, signed, floating point, undefined.
_UNSIGNED, _FLOAT = (1, 4), 3
_FORMS = {1: "integers", 2: "signed integers", 3: "floating point", 4: "integers"}


@dataclasses.dataclass(frozen=True)
class TiffLayout:
    """How the pixels of a TIFF file are stored.

    Attributes:
        deep: whether values are other than unsigned numbers of up to 8 bits.
        bands: number of bands.
        full: the largest value, or None for signed numbers and floating point.
        alpha: whether the last band is transparency.
        premultiplied: whether the colours are multiplied by it.
        inverted: whether 0 is white.
    """

    deep: bool
    bands: int
    full: int | None
    alpha: bool
    premultiplied: bool = False
    inverted: bool = False


def tiff_layout(data):
    """Read how the first image of a TIFF file is stored.

    Args:
        data: the file's bytes.

    Returns:
        `TiffLayout`.

    Raises:
        InputError: for bands that are not shades of grey or red, green and blue, and for forms that
            no decoder here gets right.
    """
    tags = _tags(data)
    bands = tags.get(277, 1)
    bits, form = tags.get(258, (1,))[0], tags.get(339, (1,))[0]
    photometric, extra = tags.get(262, 1), tags.get(338, ())
    if 50706 in tags or photometric in _CAMERA:
        raise InputError("a camera's raw file (DNG): develop it to JPEG or PNG")
    more = bands - _COLORS.get(photometric, 1)
    alpha = more == 1 and (extra[0] in (1, 2) if extra else photometric == _RGB)
    if more > 1 or (more == 1 and not alpha and photometric != _RGB):
        few = bands == 2
        raise InputError(
            f"{bands} bands, expected 1 (shades of grey) or 3 (red, green, blue): write "
            f"{'one' if few else 'three'} of them, for example with `gdal_translate "
            f"{'-b 1' if few else '-b 3 -b 2 -b 1 -co PHOTOMETRIC=RGB'}`"
        )
    deep = bits > 8 or form not in _UNSIGNED
    if deep:
        kind = f"{bits}-bit {_FORMS.get(form, 'values')}"
        if bits not in (16, 32, 64)[form == _FLOAT :] or (form in _UNSIGNED and bits > 16):
            raise InputError(f"{kind}: store them as 16-bit integers or 32-bit floating point")
        if photometric not in (0, 1, 2) or (alpha and (bits, bands) != (16, 4)):
            raise InputError(f"{kind} in other colours than grey or RGB: convert it to 8-bit RGB")
        if bands > 1 and tags.get(284, 1) == 2:
            raise InputError(
                f"{bands} bands of {kind}, stored one after the other: store them pixel by pixel, "
                "for example `gdal_translate -co INTERLEAVE=PIXEL`"
            )
    return TiffLayout(
        deep=deep,
        bands=bands,
        full=(1 << bits) - 1 if form in _UNSIGNED and bits <= 16 else None,
        alpha=alpha,
        premultiplied=alpha and extra[:1] == (1,),
        inverted=photometric == _INVERTED_GRAY,
    )


def check_alpha(alpha, opaque):
    """Refuse a fourth band that is declared as transparency but looks like a picture.

    Some programs declare any fourth band so, near infrared too. Real transparency is mostly 0 or
    opaque.

    Args:
        alpha: the band, (height, width).
        opaque: its largest value.
    """
    if (between := ((alpha > 0) & (alpha < opaque)).mean()) > 0.5:
        raise InputError(
            f"its fourth band is declared as transparency, but {between:.0%} of it is neither "
            "transparent nor opaque, as in a band of near infrared: write the three bands to show"
        )


def _tags(data):
    try:
        stream = io.BytesIO(data)
        head = stream.read(16 if data[2:4] in (b"+\0", b"\0+") else 8)
        tags = ImageFileDirectory_v2(head)
        stream.seek(tags.next)
        tags.load(stream)
        return dict(tags)
    except Exception as error:  # whatever a damaged directory leads to
        raise InputError(f"a damaged TIFF file ({error}): replace it by an intact copy") from error
