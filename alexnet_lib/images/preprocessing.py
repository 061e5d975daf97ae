"""Preprocessing for AlexNet: BGR, pixels 0-255, 227x227, ImageNet's mean subtracted."""

import cv2
import numpy as np

from alexnet_lib.errors import InputError
from alexnet_lib.port.architecture import INPUT_SIZE

__all__ = ["IMAGENET_MEAN", "RESIZES", "preprocess_input", "read_image", "resize_image"]

#: ImageNet's mean colour, 0-255, in the order blue, green, red (BVLC/caffe, ilsvrc12).
IMAGENET_MEAN = np.array([104.00699, 116.66877, 122.67891], np.float32)
SHORT_SIDE = 256
#: The ways of `preprocess_input` to bring an image to the input size.
RESIZES = ("stretch", "center", "caffe")


def read_image(path):
    """Read an image file in any format that OpenCV decodes.

    Returns:
        uint8 array (height, width, 3), BGR.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file cannot be decoded as an image or is too large for OpenCV.
    """
    # Not cv2.imread: it returns None for every error and cannot open some paths on Windows.
    data = np.fromfile(path, np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error as error:  # such as more than 2**30 pixels
        raise InputError(f"{path}: OpenCV cannot decode this image: {error.err}") from error
    if image is None:
        raise InputError(
            f"{path}: expected an image file, found {data.size} bytes of something else"
        )
    return image


def preprocess_input(images, resize=None, channels="bgr", mean=IMAGENET_MEAN, size=INPUT_SIZE):
    """Convert images to the form that AlexNet was trained on.

    Args:
        images: array (height, width, 3) or (batch, height, width, 3), pixels 0-255.
        resize: how to resize images of other sizes to 227x227; there is no default method:
            "stretch" resizes the whole image and does not keep its aspect ratio;
            "center" resizes the short side to 256 and crops the centre;
            "caffe" stretches the image to 256x256 and crops the centre, which is how BVLC measured
            its published accuracy. None accepts only images of 227x227.
        channels: order of the last axis, "bgr" as in OpenCV or "rgb" as in most other libraries.
        mean: what to subtract, 0-255, in the order blue, green, red: three numbers, or a mean
            image (3, height, width) from `read_mean`, whose centre is taken as Caffe does.
        size: side of the network's input, in pixels; a readout's may be larger than AlexNet's.

    Returns:
        float32 array (batch, size, size, 3), BGR, the mean subtracted.

    Raises:
        ValueError: for another shape, another size without `resize`, pixels outside 0-255, or
            pixels that look scaled to 0-1.
    """
    images = np.asarray(images)
    if resize is not None and resize not in RESIZES:
        raise InputError(f"resize must be None or one of {RESIZES}. Received: resize={resize!r}")
    if channels not in ("bgr", "rgb"):
        raise InputError(f"channels must be 'bgr' or 'rgb'. Received: channels={channels!r}")
    if images.ndim == 3:
        images = images[None]
    if images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape:
        raise InputError(
            "expected images of (height, width, 3) or (batch, height, width, 3). "
            f"Received: shape={images.shape}"
        )
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= 255):  # written so that NaN fails too
        raise InputError(f"expected pixels from 0 to 255. Received: {low} to {high}")
    if images.dtype.kind == "f" and 0 < high <= 1:
        raise InputError(
            "expected pixels from 0 to 255; these look scaled to 0-1: multiply by 255. "
            f"Received: {images.dtype}, {low} to {high}"
        )
    if images.shape[1:3] != (size, size):
        if resize is None:
            raise InputError(
                f"expected images of {size}x{size}, or a choice how to resize them: "
                f"resize= one of {RESIZES}. Received: {images.shape[1]}x{images.shape[2]}"
            )
        images = np.stack([resize_image(image, resize, size) for image in images])
    if channels == "rgb":
        images = images[..., ::-1]
    return images.astype(np.float32) - fit_mean(mean, size, size)


def fit_mean(mean, height, width):
    """Bring a mean to the form in which it can be subtracted from channels-last images.

    Args:
        mean: a number for each channel, or an image (channels, height, width) at least as large as
            the images.
        height: of the images, in pixels.
        width: likewise.

    Returns:
        float32 array (channels,) or (height, width, channels).

    Raises:
        InputError: for another shape, or a smaller image.
    """
    mean = np.asarray(mean, np.float32)
    if mean.ndim == 1:
        return mean
    if mean.ndim != 3 or mean.shape[1] < height or mean.shape[2] < width:
        raise InputError(
            f"mean must be a number for each channel, or an image (channels, height, width) of at "
            f"least {height}x{width}; mean.mean(axis=(1, 2)) fits any size. "
            f"Received: shape={mean.shape}"
        )
    top, left = (mean.shape[1] - height) // 2, (mean.shape[2] - width) // 2
    return mean[:, top : top + height, left : left + width].transpose(1, 2, 0)


def resize_image(image, resize, size=INPUT_SIZE):
    """Resize one image to `size` x `size` pixels, by one of the methods of `preprocess_input`.

    Args:
        image: array (height, width, 3), pixels 0-255.
        resize: "stretch", "center" or "caffe".
        size: at most 256, the size that "center" and "caffe" crop from.

    Returns:
        array (size, size, 3): uint8 for uint8, float32 for any other dtype.
    """
    height, width = image.shape[:2]
    if resize == "stretch":
        new = (size, size)
    elif resize == "caffe":
        new = (SHORT_SIDE, SHORT_SIDE)
    else:
        scale = SHORT_SIDE / min(height, width)
        new = (round(width * scale), round(height * scale))
    # INTER_AREA avoids aliasing when shrinking, but is nearest-neighbour when enlarging.
    shrinks = new[0] < width or new[1] < height
    image = cv2.resize(
        image if image.dtype == np.uint8 else image.astype(np.float32),
        new,
        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
    )
    top, left = ((side - size) // 2 for side in image.shape[:2])
    return image[top : top + size, left : left + size]


def image_of_size(image, channels, height, width, mean=(0,)):
    """Bring one image into the form of a network's input: stretched, its mean subtracted.

    Args:
        image: uint8 array (height, width, 3), BGR.
        channels: 3, or 1 for shades of grey.
        height: of the input, in pixels.
        width: likewise.
        mean: as for `fit_mean`.

    Returns:
        float32 array (1, height, width, channels).
    """
    shrinks = height < image.shape[0] or width < image.shape[1]
    image = cv2.resize(
        image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    if channels == 1:
        image = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)[..., None]
    return image[None].astype(np.float32) - fit_mean(mean, height, width)
