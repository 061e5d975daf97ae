"""Tell by its first bytes which kind of file this is: an image that is read, or what else."""

import re

from alexnet_lib.errors import InputError

__all__ = ["image_format"]

_CONVERT = "convert it to JPEG or PNG"
_FRAMES = "write the frames that you need as JPEG or PNG files"
_UNPACK = "unpack it, and give the images in it"

# What the first bytes of the formats that are read look like.
_IMAGES = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "TIFF": rb"II[*+]\x00|MM\x00[*+]",
    "WebP": rb"RIFF....WEBP",
    "GIF": rb"GIF8[79]a",
    "BMP": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\x00\x00\x00",
    "PNM": rb"P[1-6]\s",
    "PFM": rb"P[Ff]\s",
    "Radiance HDR": rb"#\?(RADIANCE|RGBE)",
    "JPEG 2000": rb"\x00\x00\x00\x0cjP  |\xff\x4f\xff\x51",
    "Sun raster": rb"\x59\xa6\x6a\x95",
    "AVIF": rb"....ftyp(avif|avis|(mif1|msf1).{4,40}avi[fs])",
}
# Likewise for what is not: its name, and what to do.
_OTHERS = (
    (rb"version https://git-lfs", "a Git LFS pointer to an image", "run `git lfs pull`"),
    (rb"....ftyp(hei|hev|mif1|msf1)", "a HEIC photograph", _CONVERT),
    (rb"....ftyp(crx )", "a camera's raw file", "develop it to JPEG or PNG"),
    (rb"....ftyp|....moov|....mdat", "a video (MP4 or MOV)", _FRAMES),
    (rb"\x1aE\xdf\xa3|RIFF....AVI |\x00\x00\x01\xba|FLV", "a video", _FRAMES),
    (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "a JPEG XL image", _CONVERT),
    (rb"v/1\x01", "an OpenEXR image", "convert it to PNG, or to a TIFF and give white="),
    (rb"%PDF", "a PDF document", "export its pages or pictures as PNG"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "a PostScript file", _CONVERT),
    (rb"8BPS", "a Photoshop document", _CONVERT),
    (rb"\x00\x00[\x01\x02]\x00", "a Windows icon or cursor", _CONVERT),
    (rb"qoif|DDS |farbfeld|gimp xcf|BPG\xfb|AT&TFORM", "an image of another format", _CONVERT),
    (rb"PK(\x03\x04|\x05\x06)", "a zip archive", _UNPACK),
    (rb"Rar!|7z\xbc\xaf|\x1f\x8b|BZh|\xfd7zXZ", "an archive", _UNPACK),
    (rb"\x89HDF|CDF[\x01\x02]", "an HDF5 or NetCDF file", "write its picture as PNG or TIFF"),
    (rb"\x93NUMPY", "a NumPy array", "load it with np.load and give it to preprocess_input"),
    (rb".{128}DICM", "a DICOM image", "write its picture as PNG"),
    (rb"SIMPLE  =", "a FITS image", "write its picture as PNG"),
    (rb"NITF|NSIF", "a NITF image", "convert it to TIFF"),
    (rb"\x00+\Z", "zeros only, as a download that was cut short leaves", "get the file again"),
)
_HTML = re.compile(
    rb"\s*(<!--.*?-->\s*)*<(!doctype html|html|head|body)", re.IGNORECASE | re.DOTALL
)
_SVG = re.compile(rb"\s*(<\?xml.*?>|<!.*?>|\s)*<svg", re.IGNORECASE | re.DOTALL)


def image_format(data):
    """Return the format of an image file.

    Args:
        data: the file's bytes.

    Returns:
        "JPEG", "PNG", "TIFF", "WebP", "GIF", "BMP", "PNM", "PFM", "Radiance HDR", "JPEG 2000",
        "Sun raster" or "AVIF".

    Raises:
        InputError: for anything else; says what it is, and what to do.
    """
    for name, start in _IMAGES.items():
        if re.match(start, data, re.DOTALL):
            return name
    if not data:
        raise InputError("expected an image file, found an empty file: get the file again")
    for start, what, remedy in _OTHERS:
        if re.match(start, data, re.DOTALL):
            raise InputError(f"expected an image file, found {what}: {remedy}")
    text = data[:2000].removeprefix(b"\xef\xbb\xbf")
    if _SVG.match(text):
        raise InputError("expected an image file, found an SVG drawing: export it as PNG")
    if _HTML.match(text):
        raise InputError(
            "expected an image file, found a web page, as a failed download leaves: get the "
            "image itself"
        )
    try:
        words = text[:40].decode()
    except UnicodeDecodeError:
        words = "\0"
    if words.translate({ord(blank): None for blank in "\n\r\t"}).isprintable():
        raise InputError(f"expected an image file, found text that begins {words!r}: remove it")
    raise InputError(
        f"expected an image file, found {len(data)} bytes of an unknown format that begin "
        f"{data[:8]!r}: {_CONVERT}, or get the file again"
    )
