"""Files as people have them: each becomes BGR pixels, or an error that names it and a remedy."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from alexnet_lib.images.reading import image_pixels, read_image


def photograph(height=64, width=96, seed=0):
    """A picture with the smooth areas and the edges of a photograph, uint8, BGR."""
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(0, 255, (height // 8, width // 8, 3)).astype(np.float32)
    pixels = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(pixels + generator.normal(0, 6, pixels.shape), 0, 255).astype(np.uint8)


def read(path, data, **options):
    path = path / "file.bin"  # an ending says nothing
    path.write_bytes(data)
    return read_image(path, **options)


def encoded(ending, pixels, *options):
    return cv2.imencode(ending, pixels, options)[1].tobytes()


def saved(image, form, **options):
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def pil(pixels):
    return Image.fromarray(np.ascontiguousarray(pixels[..., ::-1]))


def chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def png(pixels, color_type, more=b""):
    """A PNG of uint8 or uint16 values in the file's own order, with more chunks."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    height, width = pixels.shape[:2]
    bits = 8 * pixels.itemsize
    rows = b"".join(b"\0" + row.astype(pixels.dtype.newbyteorder(">")).tobytes() for row in pixels)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + head + more + data + chunk(b"IEND", b"")


def tiff(pixels, photometric, more=(), extra=()):
    """An uncompressed TIFF of values in the file's own order; `more` are tags of SHORT numbers."""
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    height, width, bands = pixels.shape
    form = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    tags = {256: [width], 257: [height], 258: [8 * pixels.itemsize] * bands, 259: [1]}
    tags |= {262: [photometric], 277: [bands], 278: [height], 339: [form] * bands} | dict(more)
    tags |= {338: list(extra)} if extra else {}
    tags |= {273: None, 279: None}
    values, entries = b"", b""
    behind = 8 + 2 + 12 * len(tags) + 4
    lists = {t: v for t, v in tags.items() if v and len(v) > 2}
    pixels_at = behind + sum(2 * len(v) for v in lists.values())
    for tag in sorted(tags):
        if tags[tag] is None:
            number = pixels_at if tag == 273 else pixels.nbytes
            entries += struct.pack("<HHII", tag, 4, 1, number)
        elif tag in lists:
            entries += struct.pack("<HHII", tag, 3, len(lists[tag]), behind + len(values))
            values += struct.pack(f"<{len(lists[tag])}H", *lists[tag])
        else:
            short = struct.pack(f"<{len(tags[tag])}H", *tags[tag]).ljust(4, b"\0")
            entries += struct.pack("<HHI", tag, 3, len(tags[tag])) + short
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    return head + entries + bytes(4) + values + pixels.tobytes()


@pytest.mark.parametrize("ending", [".png", ".tif", ".bmp", ".ppm", ".ras"])
def test_lossless_formats_give_their_pixels(ending, tmp_path):
    pixels = photograph()
    np.testing.assert_array_equal(read(tmp_path, encoded(ending, pixels)), pixels)


@pytest.mark.parametrize("form", ["JPEG", "WEBP", "GIF", "AVIF", "JPEG2000", "TIFF", "PNG"])
def test_every_format_gives_colours_in_the_order_bgr(form, tmp_path):
    red = np.zeros((64, 64, 3), np.uint8) + np.array([10, 20, 200], np.uint8)
    found = read(tmp_path, saved(pil(red), form))
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, red, atol=6)


def test_jpeg_gives_the_numbers_of_opencv(tmp_path):
    for options in ({}, {"progressive": True}, {"subsampling": "4:4:4"}, {"quality": 30}):
        data = saved(pil(photograph()), "JPEG", **options)
        expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(read(tmp_path, data), expected)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_every_mode_becomes_bgr(mode, tmp_path):
    image = pil(photograph()).convert(mode)
    expected = np.asarray(image.convert("RGB"))[..., ::-1]
    np.testing.assert_array_equal(image_pixels(image), expected)
    form = "TIFF" if mode in ("CMYK", "YCbCr") else "PNG"
    np.testing.assert_allclose(read(tmp_path, saved(image, form)), expected, atol=3)


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_jpeg_of_other_colours(mode, tmp_path):
    image = pil(photograph(seed=1)).convert(mode)
    expected = np.asarray(image.convert("RGB"))[..., ::-1]
    found = read(tmp_path, saved(image, "JPEG", quality=98, subsampling=0))
    assert np.abs(found.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_stored_orientation_is_applied(form, orientation, tmp_path):
    """A white corner, at top left of what the sensor saw: Exif says where it is to be."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    sensor = np.zeros((32, 64, 3), np.uint8)
    sensor[:16, :16] = 255
    data = saved(pil(sensor), form, exif=exif)
    found = read(tmp_path, data)
    assert found.shape == ((32, 64, 3) if orientation < 5 else (64, 32, 3))
    corners = found[[4, 4, -4, -4], [4, -4, 4, -4], 0] > 127
    corner = {1: 0, 2: 1, 3: 3, 4: 2, 5: 0, 6: 1, 7: 3, 8: 2}[orientation]
    np.testing.assert_array_equal(corners, np.arange(4) == corner)
    np.testing.assert_array_equal(image_pixels(Image.open(io.BytesIO(data))), found)


def test_an_animation_shows_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (40, 30), color) for color in ("red", "blue")]
    for form in ("GIF", "WEBP", "PNG", "TIFF"):
        data = saved(frames[0], form, save_all=True, append_images=frames[1:])
        np.testing.assert_allclose(read(tmp_path, data)[15, 20], [0, 0, 255], atol=4)


# Transparency: the left half is transparent and hides red, the right half is opaque grey.
def half_transparent():
    rgba = np.zeros((16, 16, 4), np.uint8)
    rgba[:, :8, 0] = 255
    rgba[:, 8:] = (80, 80, 80, 255)
    return rgba


def transparent_images():
    rgba = Image.fromarray(half_transparent())
    gray = np.full((16, 16), 80, np.uint8)
    gray[:, :8] = 7
    wide = half_transparent().astype(np.uint16) * 257
    wide[wide == 80 * 257] = 40560
    red = struct.pack(">3H", 255, 0, 0)
    return {
        "RGBA PNG": saved(rgba, "PNG"),
        "RGBA WebP": saved(rgba, "WEBP", lossless=True, exact=True),
        "RGBA TIFF": tiff(half_transparent(), 2, extra=[2]),
        "LA PNG": saved(rgba.convert("LA"), "PNG"),
        "palette PNG": saved(rgba.quantize(8), "PNG"),
        "palette GIF": saved(rgba, "GIF"),
        "gray PNG with tRNS": png(gray, 0, chunk(b"tRNS", struct.pack(">H", 7))),
        "RGB PNG with tRNS": png(half_transparent()[..., :3], 2, chunk(b"tRNS", red)),
        "16-bit RGBA PNG": png(wide, 6),
        "16-bit RGBA TIFF": tiff(wide, 2, extra=[2]),
        "16-bit gray PNG with tRNS": png(
            np.where(gray == 7, 7, 40560).astype(np.uint16), 0, chunk(b"tRNS", struct.pack(">H", 7))
        ),
        "16-bit RGB PNG with tRNS": png(
            np.where(half_transparent()[..., 3:] == 0, [65535, 0, 0], [40560] * 3).astype(
                np.uint16
            ),
            2,
            chunk(b"tRNS", struct.pack(">3H", 65535, 0, 0)),
        ),
    }


@pytest.mark.parametrize("name", transparent_images())
def test_what_is_transparent_is_white(name, tmp_path):
    data = transparent_images()[name]
    found = read(tmp_path, data)
    np.testing.assert_array_equal(found[:, :8], 255)
    gray = 158 if "16-bit" in name else 80
    np.testing.assert_allclose(found[:, 8:], gray, atol=1)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_transparency_of_pil_images(mode):
    image = Image.fromarray(half_transparent())
    image = image.convert("LA").convert("La") if mode == "La" else image.convert(mode)
    found = image_pixels(image)
    np.testing.assert_array_equal(found[:, :8], 255)
    np.testing.assert_allclose(found[:, 8:], 80, atol=1)


def test_half_transparent_black_is_gray_and_premultiplied_colours_too(tmp_path):
    rgba = np.zeros((8, 16, 4), np.uint16)
    rgba[..., 3] = 65535
    rgba[:, :6] = (20000, 20000, 20000, 32768)
    straight = tiff(rgba, 2, extra=[2])
    associated = tiff(rgba, 2, extra=[1])
    np.testing.assert_array_equal(read(tmp_path, straight, white=65535)[0, 0], [166] * 3)
    np.testing.assert_array_equal(read(tmp_path, associated, white=65535)[0, 0], [205] * 3)
    eight = (rgba >> 8).astype(np.uint8)
    np.testing.assert_allclose(read(tmp_path, tiff(eight, 2, extra=[2]))[0, 0], 166, atol=1)
    np.testing.assert_allclose(read(tmp_path, tiff(eight, 2, extra=[1]))[0, 0], 205, atol=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_near_infrared_is_not_taken_for_transparency(dtype, tmp_path):
    picture = np.dstack([photograph(), photograph(seed=1)[..., :1]]).astype(dtype)
    picture = picture if dtype == np.uint8 else picture * 257
    with pytest.raises(ValueError, match="fourth band is declared as transparency"):
        read(tmp_path, tiff(picture, 2, extra=[2]))
    found = read(tmp_path, tiff(picture, 2, extra=[0]))  # no stated meaning: ignored
    np.testing.assert_array_equal(found, photograph()[..., ::-1])


def deep(pixels, white):
    return np.rint(pixels / 255.0 * white).astype(np.uint16)


@pytest.mark.parametrize("form", ["png", "tif", "gray png", "gray tif"])
@pytest.mark.parametrize(
    ("white", "bits"), [(1023, 10), (4095, 12), (16383, 14), (255, 8), (10000, 14)]
)
def test_values_of_a_sensor_are_refused_without_white(form, white, bits, tmp_path):
    pixels = photograph()
    pixels[0, 0] = 255  # saturated
    if "gray" in form:
        pixels = np.repeat(pixels[..., :1], 3, axis=2)
        data = encoded("." + form[5:], deep(pixels[..., 0], white))
    else:
        data = encoded("." + form, deep(pixels, white))
    with pytest.raises(
        ValueError, match=rf"file\.bin: values from \d+ to {white}, .*{bits}-bit"
    ) as e:
        read(tmp_path, data)
    assert f"white={(1 << bits) - 1}" in str(e.value)
    assert f"--white {(1 << bits) - 1}" in str(e.value)
    np.testing.assert_allclose(read(tmp_path, data, white=white), pixels, atol=0.51)


def test_broken_pixels_and_no_data_do_not_hide_the_range(tmp_path):
    values = deep(photograph(), 4095)
    values[:20] = 65535
    values[30, 30] = 50000
    with pytest.raises(ValueError, match=r"to 65535, .*12-bit"):
        read(tmp_path, encoded(".png", values))


@pytest.mark.parametrize("ending", [".png", ".tif", ".ppm"])
def test_16_bits_that_are_used_need_no_white(ending, tmp_path):
    pixels = photograph()
    data = encoded(ending, pixels.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read(tmp_path, data), pixels)
    black_and_white = np.where(pixels > 127, 65535, 0).astype(np.uint16)
    found = read(tmp_path, encoded(ending, black_and_white))
    np.testing.assert_array_equal(found, np.where(pixels > 127, 255, 0))
    assert not read(tmp_path, encoded(ending, np.zeros((9, 9, 3), np.uint16))).any()


def test_values_of_the_format_itself_are_known(tmp_path):
    """A PGM says in its head which value is white."""
    values = deep(photograph(), 4095)[..., 1]
    data = b"P5\n96 64\n4095\n" + values.astype(">u2").tobytes()
    np.testing.assert_allclose(read(tmp_path, data)[..., 0], photograph()[..., 1], atol=1)


def test_0_can_be_white(tmp_path):
    pixels = photograph()[..., 0]
    found = read(tmp_path, tiff((255 - pixels).astype(np.uint16) * 257, 0))
    np.testing.assert_array_equal(found[..., 1], pixels)
    np.testing.assert_array_equal(read(tmp_path, tiff(255 - pixels, 0))[..., 1], pixels)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32])
def test_floating_point_and_signed_numbers_need_white(dtype, tmp_path):
    white = 1.0 if np.dtype(dtype).kind == "f" else 2000
    pixels = photograph()
    for values in (pixels, pixels[..., 0]):
        data = tiff((values / 255.0 * white).astype(dtype)[..., ::-1], 2 if values.ndim == 3 else 1)
        if values.ndim == 2:
            data = tiff((values / 255.0 * white).astype(dtype), 1)
        with pytest.raises(ValueError, match=r"values from .*white can be any value.*--white"):
            read(tmp_path, data)
        found = read(tmp_path, data, white=white)
        expected = values if values.ndim == 3 else np.repeat(values[..., None], 3, axis=2)
        np.testing.assert_allclose(found, expected, atol=0.6)


def test_some_values_may_be_beyond_white_but_not_most(tmp_path):
    values = deep(photograph(), 4095)
    bright = (values > 3000).mean()
    found = read(tmp_path, encoded(".png", values), white=3000)
    assert (found == 255).mean() == pytest.approx(bright, abs=0.01)
    with pytest.raises(ValueError, match=r"9\d% of the values are above white=255, up to 4\d+"):
        read(tmp_path, encoded(".png", values), white=255)
    with pytest.raises(ValueError, match="white must be a positive number"):
        read(tmp_path, encoded(".png", values), white=0)


@pytest.mark.parametrize(("bad", "message"), [(np.nan, "NaN"), (np.inf, "NaN"), (-9999, "below 0")])
def test_values_that_mean_no_data_are_named(bad, message, tmp_path):
    values = photograph().astype(np.float32) / 255
    values[:5] = bad
    with pytest.raises(ValueError, match=message):
        read(tmp_path, tiff(values, 2), white=1)


@pytest.mark.parametrize("bands", [2, 4, 5, 13])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_bands_are_counted(bands, dtype, tmp_path):
    values = np.ones((8, 8, bands), dtype)
    message = rf"file\.bin: {bands} bands, expected 1 .* or 3 .*write (one|three) of them"
    with pytest.raises(ValueError, match=message):
        read(tmp_path, tiff(values, 1, extra=[0] * (bands - 1)))
    if bands > 4:
        with pytest.raises(ValueError, match=message):
            read(tmp_path, tiff(values, 2, extra=[0] * (bands - 3)))


def test_forms_that_decoders_get_wrong_are_refused(tmp_path):
    values = np.full((8, 8, 3), 60000, np.uint16)
    with pytest.raises(ValueError, match="INTERLEAVE=PIXEL"):
        read(tmp_path, tiff(values, 2, more={284: [2]}))
    with pytest.raises(ValueError, match="16-bit integers in other colours"):
        read(tmp_path, tiff(np.full((8, 8, 4), 60000, np.uint16), 5))
    with pytest.raises(ValueError, match="32-bit integers: store them as 16-bit"):
        read(tmp_path, tiff(values.astype(np.uint32), 2))
    with pytest.raises(ValueError, match=r"camera's raw file \(DNG\)"):
        read(tmp_path, tiff(values[..., 0], 32803))


def damaged(data, start, content):
    assert data[start : start + len(content)] != content
    return data[:start] + content + data[start + len(content) :]


@pytest.mark.parametrize(
    "options", [{}, {"quality": 95}, {"progressive": True}, {"optimize": True}, {"subsampling": 0}]
)
def test_a_jpeg_with_zeros_inside_is_damaged(options, tmp_path, capfd):
    """Wherever they are; half of these decode without a remark of libjpeg."""
    data = saved(pil(photograph(256, 256)), "JPEG", **options)
    first = data.index(b"\xff\xda") + 14
    last = len(data)
    if "progressive" in options:  # its second scan: zeros may be meant in that of the means
        first = data.index(b"\xff\xda", first) + 14
        last = data.index(b"\xff\xc4", first)
    for start in np.linspace(first, last - 70, 40).astype(int):
        for length in (32, 64) if "progressive" in options else (16, 64):
            with pytest.raises(ValueError, match=r"file\.bin: a JPEG file that is damaged"):
                read(tmp_path, damaged(data, start, bytes(length)))
    assert capfd.readouterr().err == ""


def test_zeros_that_are_the_code_of_flat_areas_are_no_damage(tmp_path):
    """Optimized codes write white paper as zeros."""
    pixels = np.full((512, 512, 3), 255, np.uint8)
    cv2.putText(pixels, "text", (40, 100), cv2.FONT_HERSHEY_SIMPLEX, 2, (0, 0, 0), 3)
    ramp = np.repeat(np.linspace(0, 255, 600).astype(np.uint8)[None, :, None], 200, axis=0)
    runs = 0
    for options in (
        {"optimize": True},
        {"progressive": True},
        {},
        {"progressive": True, "quality": 90, "subsampling": 1},
    ):
        images = (pil(pixels), pil(pixels).convert("L"), pil(pixels).convert("CMYK"))
        for image in (*images, pil(ramp.repeat(3, axis=2))):
            data = saved(image, "JPEG", **options)
            runs += bytes(16) in data
            assert read(tmp_path, data).shape == (*image.size[::-1], 3)
    assert runs >= 2


def test_other_damage_of_jpeg_files_is_named(tmp_path, capfd):
    data = saved(pil(photograph(256, 256)), "JPEG")
    scan = data.index(b"\xff\xda") + 14
    middle = (scan + len(data)) // 2
    table = data.index(b"\xff\xdb") + 10
    for broken in (
        data[:middle],
        data[:-2],
        data[:300],
        damaged(data, middle, b"\xff" * 8),
        damaged(data, middle, b"\xff\xd8"),
        damaged(data, scan - 12, b"\xff\xff\xff"),
        damaged(data, table, bytes(20)),
        damaged(data, middle, np.random.default_rng(0).bytes(512)),
    ):
        with pytest.raises(ValueError, match=r"file\.bin: a JPEG file that is damaged"):
            read(tmp_path, broken)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "TIFF 16", "GIF", "BMP", "JPEG2000"])
def test_a_file_that_is_cut_short_is_named(form, tmp_path, capfd, recwarn):
    if form == "TIFF 16":
        data = encoded(".tif", photograph().astype(np.uint16) * 257)
    elif form == "TIFF":
        data = encoded(".tif", photograph())
    else:
        data = saved(pil(photograph()), form)
    for size in (len(data) // 2, len(data) * 9 // 10, 60):
        with pytest.raises(ValueError, match=r"file\.bin: .*damaged") as error:
            read(tmp_path, data[:size])
        assert "intact copy" in str(error.value)
    assert capfd.readouterr().err == ""
    assert not recwarn.list


def test_a_png_whose_checksum_is_wrong_is_damaged(tmp_path):
    data = encoded(".png", photograph(), cv2.IMWRITE_PNG_COMPRESSION, 0)
    middle = len(data) // 2
    with pytest.raises(ValueError, match="a PNG file that is damaged"):
        read(tmp_path, damaged(data, middle, bytes([data[middle] ^ 1])))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file: get the file again"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "run `git lfs pull`"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "HEIC photograph: convert it to JPEG or PNG"),
        (b"\0\0\0\x18ftypisom\0\0\2\0", r"a video \(MP4 or MOV\): write the frames"),
        (b"RIFF\0\0\0\0AVI LIST", "a video: write the frames"),
        (b"%PDF-1.7\n", "a PDF document: export its pages"),
        (b'<?xml version="1.0"?>\n<!-- x -->\n<svg xmlns="', "an SVG drawing: export it as PNG"),
        (b"\xef\xbb\xbf\n<!DOCTYPE html><html>", "a web page, .*get the image itself"),
        (b"PK\3\4\x14\0\0\0", "a zip archive: unpack it"),
        (b"\x1f\x8b\x08\0", "an archive: unpack it"),
        (b"\x93NUMPY\1\0", "a NumPy array: load it with np.load"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 or NetCDF file"),
        (b"\xff\x0a\xfa", "a JPEG XL image: convert it"),
        (b"8BPS\0\1", "a Photoshop document: convert it"),
        (bytes(5000), "zeros only, .*get the file again"),
        (b"<annotation>\n", "text that begins '<annotation>.n': remove it"),
        (b"\x01\x02\xff\xfe\0\0", r"6 bytes of an unknown format that begin b'.x01"),
    ],
)
def test_what_is_no_image_is_named(content, what, tmp_path):
    with pytest.raises(ValueError, match=rf"file\.bin: expected an image file, found .*{what}"):
        read(tmp_path, content)


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="expected an image file, found a folder"):
        read_image(tmp_path)
    with pytest.raises(FileNotFoundError, match="absent"):
        read_image(tmp_path / "absent.png")


@pytest.mark.parametrize("form", ["png", "bmp"])
def test_what_is_too_large_is_named(form, tmp_path):
    """A head that says 40,000 by 40,000 pixels."""
    data = bytearray(encoded("." + form, photograph()))
    if form == "png":
        data[16:24] = struct.pack(">II", 40_000, 40_000)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    else:
        data[18:26] = struct.pack("<II", 40_000, 40_000)
    with pytest.raises(ValueError, match=r"file\.bin: 40000x40000 pixels, .*cut it into tiles"):
        read(tmp_path, bytes(data))


def test_pil_images_of_more_than_8_bits_need_white():
    with pytest.raises(ValueError, match="white can be any value"):
        image_pixels(Image.fromarray(np.full((8, 8), 0.5, np.float32)))
    values = Image.fromarray(np.full((8, 8), 2000, np.uint16))
    np.testing.assert_array_equal(image_pixels(values, white=4000), 128)


def test_threads_read_what_one_thread_reads(tmp_path):
    """Deep images silence OpenCV's log, which all threads share, only while they are read."""
    level = cv2.utils.logging.getLogLevel()
    pixels = photograph()
    for i in range(40):
        form, data = (".png", pixels) if i % 2 else (".tif", pixels.astype(np.uint16) * 257)
        (tmp_path / f"{i}").write_bytes(encoded(form, data))
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(read_image, sorted(tmp_path.iterdir())):
            np.testing.assert_array_equal(found, pixels)
    assert cv2.utils.logging.getLogLevel() == level


def test_a_tag_without_numbers_means_its_default(tmp_path):
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    data = bytearray(tiff(pixels, 1, extra=[9]))
    at = data.index(struct.pack("<HHI", 338, 3, 1))
    data[at + 4 : at + 8] = bytes(4)
    np.testing.assert_array_equal(read(tmp_path, bytes(data))[..., 0], pixels)
    data[at + 4 : at + 8] = struct.pack("<I", 10**6)
    with pytest.raises(ValueError, match="the data of tag 338 lie behind the file's end"):
        read(tmp_path, bytes(data))


def test_an_image_that_is_mostly_transparent_is_no_band_of_near_infrared(tmp_path):
    pixels = np.full((8, 8, 4), 50, np.uint8)
    pixels[:6, :, 3] = 0
    pixels[6:, :, 3] = 255
    found = read(tmp_path, tiff(pixels, 2, extra=[2]))
    assert (found[:6] == 255).all()
    assert (found[6:] == 50).all()
