"""The pre-processing contract, and its refusal of what would be silently wrong."""

import numpy as np
import PIL.Image
import pytest

from alexnet_lib.images.preprocessing import preprocess_input

MEAN = (104.00699, 116.66877, 122.67891)  # of ImageNet: blue, green, red


def picture(height=227, width=227):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_mean_may_be_numbers_or_an_image_whose_centre_is_taken():
    image = np.random.default_rng(0).integers(0, 256, (227, 227, 3), np.uint8)
    mean = np.random.default_rng(1).uniform(0, 255, (3, 256, 256)).astype(np.float32)
    x = preprocess_input(image, mean=mean)
    np.testing.assert_array_equal(x[0], image - mean[:, 14:241, 14:241].transpose(1, 2, 0))
    np.testing.assert_array_equal(preprocess_input(image, mean=[1, 2, 3])[0], image - [1.0, 2, 3])
    with pytest.raises(ValueError, match=r"at least 227x227; .*Received: shape=\(3, 64, 64\)"):
        preprocess_input(image, mean=mean[:, :64, :64])


def test_bgr_and_mean():
    image = picture()
    x = preprocess_input(image)
    assert x.shape == (1, 227, 227, 3)
    assert x.dtype == np.float32
    np.testing.assert_allclose(x[0], image - np.array(MEAN), atol=1e-4)
    np.testing.assert_array_equal(preprocess_input(image[..., ::-1], channels="rgb"), x)


def test_float_pixels_give_the_same():
    image = picture(300, 280)
    for resize in ("stretch", "center", "caffe"):
        whole = preprocess_input(image, resize)
        np.testing.assert_allclose(preprocess_input(image.astype(float), resize), whole, atol=0.6)


@pytest.mark.parametrize("resize", ["stretch", "center", "caffe"])
@pytest.mark.parametrize("size", [(256, 256), (300, 451), (451, 300), (100, 60), (242, 257)])
def test_any_size_comes_to_227(resize, size):
    assert preprocess_input(picture(*size), resize).shape == (1, 227, 227, 3)


def test_what_each_resize_keeps():
    """A wide image, red at its left and right quarter: who sees the red?"""
    image = np.full((256, 512, 3), 255, np.uint8)
    image[:, :128] = image[:, 384:] = (0, 0, 255)

    def red_columns(resize):
        row = preprocess_input(image, resize)[0, 100] + np.array(MEAN)
        return int((row[:, 1] < 128).sum())

    assert red_columns("center") == 0  # cropped away
    assert red_columns("stretch") == pytest.approx(227 / 2, abs=2)  # all of it
    assert red_columns("caffe") == pytest.approx(227 - 128, abs=2)  # less the crop


def test_caffe_crop_is_centred():
    image = picture(256, 256)
    np.testing.assert_allclose(
        preprocess_input(image, "caffe")[0], image[14:241, 14:241] - np.array(MEAN), atol=1e-4
    )


@pytest.mark.parametrize(
    ("images", "options", "message"),
    [
        (picture(256, 256), {}, r"or a choice how to resize .* Received: 256x256"),
        (picture(), {"resize": "crop"}, r"one of \('stretch', .*resize='crop'"),
        (picture(), {"channels": "BRG"}, "channels must be 'bgr' or 'rgb'"),
        (picture()[..., 0], {}, r"Repeat a grey .* Received: shape=\(227, 227\)"),
        (picture()[..., :1], {}, r"Repeat a grey .*shape=\(1, 227, 227, 1\)"),
        (
            np.zeros((1, 227, 227, 4), np.uint8),
            {},
            r"images\[..., :3\]\. .*shape=\(1, 227, 227, 4\)",
        ),
        (np.zeros((0, 227, 227, 3), np.uint8), {}, r"shape=\(0, 227, 227, 3\)"),
        (np.moveaxis(picture(), -1, 0), {}, r"channels-first: move the axis, `np.moveaxis"),
        (np.moveaxis(picture()[None], -1, 1), {}, r"channels-first.*shape=\(1, 3, 227, 227\)"),
        (picture() / 255, {}, "look scaled to 0-1: multiply by 255"),
        ([picture(), picture(60, 60) / 255], {"resize": "center"}, None),
        ([picture(60, 60) / 255] * 2, {"resize": "center"}, "look scaled to 0-1"),
        (picture() - 128.0, {}, "expected pixels from 0 to 255"),
        (np.full((227, 227, 3), np.nan), {}, "expected pixels from 0 to 255. Received: nan"),
        (
            picture().astype(np.uint16) * 16,
            {},
            "Multiply values of more than 8 bits by 255 / white",
        ),
        (picture() > 127, {}, "multiply a mask by 255.*bool"),
        (picture().astype(object), {}, "convert them to uint8.*object"),
        ([picture(8, 9).tolist(), picture(9, 8).tolist()], {}, "as a list of arrays"),
        ("cat.jpg", {}, r"got a path: give read_image\('cat.jpg'\)"),
        ([], {}, "expected images of"),
    ],
)
def test_wrong_input_is_refused(images, options, message):
    if message is None:  # some values above 1 are enough to know that none are scaled
        assert preprocess_input(images, **options).shape == (2, 227, 227, 3)
        return
    with pytest.raises(ValueError, match=message):
        preprocess_input(images, **options)


def test_a_tensor_of_another_library_that_cannot_be_converted_is_named():
    class Tensor:
        shape = (3, 227, 227)

        def __array__(self, *arguments, **options):
            raise TypeError("can't convert cuda:0 device type tensor to numpy")

    with pytest.raises(ValueError, match=r"got Tensor, .*cuda:0.*\.detach\(\)\.cpu\(\)\.numpy\(\)"):
        preprocess_input(Tensor())


def as_pil(bgr):
    return PIL.Image.fromarray(np.ascontiguousarray(bgr[..., ::-1]))


def test_a_pil_image_says_what_its_channels_are():
    image = picture(300, 280)
    expected = preprocess_input(image, "stretch")
    pil = as_pil(image)
    np.testing.assert_array_equal(preprocess_input(pil, "stretch"), expected)
    np.testing.assert_array_equal(preprocess_input(pil, "stretch", channels="rgb"), expected)
    np.testing.assert_array_equal(preprocess_input([pil, pil], "stretch")[1:], expected)
    with pytest.raises(ValueError, match="a PIL image is RGB"):
        preprocess_input(pil, "stretch", channels="bgr")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV", "F", "I;16"])
def test_a_pil_image_of_any_mode_is_taken(mode):
    pil = as_pil(picture(250, 260))
    if mode in ("F", "I;16"):
        values = np.asarray(pil.convert("L"))
        values = values.astype(np.float32) if mode == "F" else values.astype(np.uint16) * 257
        image = PIL.Image.fromarray(values)
    else:
        image = pil.convert(mode)
    if mode == "F":
        with pytest.raises(ValueError, match="white can be any value"):
            preprocess_input(image, "stretch")
        return
    reference = pil.convert("L" if mode == "I;16" else mode).convert("RGB")
    expected = preprocess_input(np.asarray(reference), "stretch", channels="rgb")
    np.testing.assert_allclose(preprocess_input(image, "stretch"), expected, atol=1e-4)


def test_lists_may_mix_sizes_and_kinds():
    images = [picture(300, 280), as_pil(picture(100, 260)), picture(227, 227).astype(np.float32)]
    together = preprocess_input(images, "center")
    one_by_one = [preprocess_input(image, "center") for image in images]
    np.testing.assert_array_equal(together, np.concatenate(one_by_one))
    batches = [picture(300, 280)[None].repeat(2, 0), picture(227, 227)]
    assert preprocess_input(batches, "center").shape == (3, 227, 227, 3)
