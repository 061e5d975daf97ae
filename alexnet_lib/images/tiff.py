"""What a TIFF file says about its bands, which decoders drop or mix up without a word."""

import dataclasses
import struct

from alexnet_lib.errors import InputError

__all__ = ["TiffLayout", "check_alpha", "tiff_layout"]

# TIFF 6.0: PhotometricInterpretation, and how many bands the colours of each take.
_COLORS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3, 8: 3}
_INVERTED_GRAY, _RGB, _CAMERA = 0, 2, (32803, 34892)
# SampleFormat: unsigned, signed, floating point, undefined.
_UNSIGNED, _FLOAT = (1, 4), 3
_FORMS = {1: "integers", 2: "signed integers", 3: "floating point", 4: "integers"}
# The types of numbers, as `struct` names them: BYTE, SHORT, LONG.
_NUMBERS = {1: "B", 3: "H", 4: "I"}


@dataclasses.dataclass(frozen=True)
class TiffLayout:
    """How the pixels of a TIFF file are stored.

    Attributes:
        deep: whether values are other than unsigned numbers of up to 8 bits.
        plain: whether they are 8-bit grey or RGB without more.
        bands: number of bands.
        full: the largest value, or None for signed numbers and floating point.
        alpha: whether the last band is transparency.
        premultiplied: whether the colours are multiplied by it.
        inverted: whether 0 is white.
    """

    deep: bool
    plain: bool
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
    bands, planar = tags.get(277, (1,))[0], tags.get(284, (1,))[0]
    bits, form = tags.get(258, (1,))[0], tags.get(339, (1,))[0]
    photometric, extra = tags.get(262, (1,))[0], tags.get(338, ())
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
        if bands > 1 and planar == 2:
            raise InputError(
                f"{bands} bands of {kind}, stored one after the other: store them pixel by pixel, "
                "for example `gdal_translate -co INTERLEAVE=PIXEL`"
            )
    return TiffLayout(
        deep=deep,
        plain=not deep and bits == 8 and more == 0 and photometric in (1, 2) and planar == 1,
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
    """Return the numbers of the first image's tags, {tag: (number, ...)}.

    Pillow would warn of a directory that is cut short, without a name, and go on.
    """
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")  # BigTIFF: offsets and counts of 8 bytes
    word, entry, head = ("Q", "HHQ", 8) if big else ("I", "HHI", 4)
    tags = {}
    try:
        (place,) = struct.unpack_from(order + word, data, head)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, place)
        place += 8 if big else 2
        for _ in range(count):
            tag, kind, numbers = struct.unpack_from(order + entry, data, place)
            code = _NUMBERS.get(kind, "")
            size = struct.calcsize(code or "B") * numbers
            at = place + struct.calcsize(order + entry)
            place = at + struct.calcsize(word)
            if size > struct.calcsize(word):
                (at,) = struct.unpack_from(order + word, data, at)
            if at + size > len(data):
                raise ValueError(f"the data of tag {tag} lie behind the file's end")
            if code and 0 < numbers <= 64:
                tags[tag] = struct.unpack_from(f"{order}{numbers}{code}", data, at)
    except (struct.error, ValueError) as error:
        raise InputError(
            f"a TIFF file that is damaged ({error}): replace it by an intact copy"
        ) from error
    return tags
