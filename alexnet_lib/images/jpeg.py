"""Decode JPEG files strictly: damage is an error, not grey or noise in the picture.

A JPEG has no checksum. libjpeg notices what does not add up, such as data that end too early, and
`simplejpeg` turns its remark into an error. But Huffman codes fall back into step after damage, so
half of the files with a short run of zeros decode without a remark. Such a run, which disks and
downloads leave where a block is missing, is looked for in the coded data: in a picture's codes it
stands for dozens of equal coefficients in a row, unless zeros are the code of a flat block. Damage
of a few bytes, or in what only refines a progressive file, may stay unseen.
"""

import cv2
import numpy as np
import simplejpeg

from alexnet_lib.errors import InputError

__all__ = ["decode_jpeg"]

# Bytes of zeros in a row that the codes of a picture do not have: more than 30 coefficients.
_ZEROS = bytes(16)
_SCAN, _QUANTIZATION, _HUFFMAN, _END = 0xDA, 0xDB, 0xC4, 0xD9
_RESTARTS = range(0xD0, 0xD8)
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
# Remarks of libjpeg on a file's head that do not concern the pixels.
_HARMLESS = ("unknown JFIF revision", "Unknown Adobe color transform", "Invalid SOS parameters")


def decode_jpeg(data):
    """Decode the bytes of a JPEG file; its orientation is not applied.

    Returns:
        uint8 array (height, width, 3), BGR, the same numbers as OpenCV's.

    Raises:
        InputError: says what is damaged, in libjpeg's words where it is libjpeg that noticed.
    """
    try:
        pixels = _decode(data, strict=True)
    except ValueError as error:
        if not any(remark in str(error) for remark in _HARMLESS):
            raise InputError(str(error)) from error
        pixels = _decode(data, strict=False)
    _check_zeros(data)
    return pixels


def _decode(data, strict):
    """Decode by `simplejpeg`; CMYK, whose forms it does not all know, by OpenCV."""
    try:
        cmyk = simplejpeg.decode_jpeg_header(data, strict=strict)[2] in ("CMYK", "YCCK")
        pixels = simplejpeg.decode_jpeg(data, "CMYK" if cmyk else "BGR", strict=strict)
        if not cmyk:
            return pixels
    except ValueError as error:
        if "determine subsampling" not in str(error) or _components(data) != 4:
            raise
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if pixels is None:
        raise ValueError("OpenCV cannot decode it")
    return pixels


def _components(data):
    """Return how many colours the frame's head says there are, or None without one."""
    frames = (content for marker, content, _ in _segments(data) if marker in _FRAMES)
    return next((content[5] for content in frames if len(content) > 5), None)


def _check_zeros(data):
    """Raise an error for zeros in the quantization tables, or for a run of them in the codes."""
    zero_code = {}  # each Huffman table's symbol whose code is all zeros: its first
    for marker, content, start in _segments(data):
        if marker == _HUFFMAN:
            while len(content) > 17:
                zero_code[content[0]] = content[17]
                content = content[17 + sum(content[1:17]) :]
        elif marker == _QUANTIZATION:
            while content:
                kind = np.dtype(">u2" if content[0] >> 4 else "u1")
                if 0 in np.frombuffer(content[1 : 1 + 64 * kind.itemsize], kind):
                    raise InputError("zeros in a quantization table")
                content = content[1 + 64 * kind.itemsize :]
        elif marker == _SCAN:
            last_coefficient, refines = content[-2], content[-1] >> 4
            if not last_coefficient or refines:  # means alone, or bits that may all be zero
                continue
            tables = [0x10 | content[2 + 2 * i] & 15 for i in range(content[0])]
            at = data.find(_ZEROS, start, _end_of_codes(data, start))
            if at >= 0 and not all(_ends_block(zero_code.get(table, 0)) for table in tables):
                raise InputError(f"a run of zeros at byte {at}")


def _segments(data):
    """Yield marker, content and the place behind it, for each segment of a file that decodes."""
    place = 2
    while (place := data.find(b"\xff", place)) >= 0 and place + 4 <= len(data):
        marker = data[place + 1]
        if marker == _END:
            return
        if marker in (0x00, 0xFF) or marker in _RESTARTS:  # of the coded data, or filling
            place += 1 if marker == 0xFF else 2
            continue
        end = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        yield marker, data[place + 4 : end], end
        place = end


def _ends_block(symbol):
    """Return whether a symbol of an AC table ends the block; 0xF0 stands for 16 zeros instead."""
    return symbol & 15 == 0 and symbol != 0xF0


def _end_of_codes(data, place):
    """Return where the coded data end: at the next marker that is not a restart."""
    while (place := data.find(b"\xff", place)) >= 0 and place + 1 < len(data):
        if data[place + 1] and data[place + 1] not in _RESTARTS:
            return place
        place += 2
    return len(data)
