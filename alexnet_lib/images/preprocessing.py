"""Preprocessing for AlexNet: BGR, pixels 0-255, 227x227, ImageNet's mean subtracted."""

import os
import sys

import cv2
import numpy as np
import PIL.Image

from alexnet_lib.errors import InputError
from alexnet_lib.images.reading import image_pixels
from alexnet_lib.port.architecture import INPUT_SIZE

__all__ = ["IMAGENET_MEAN", "RESIZES", "preprocess_input", "resize_image"]

#: ImageNet's mean colour, 0-255, in the order blue, green, red (BVLC/caffe, ilsvrc12).
IMAGENET_MEAN = np.array([104.00699, 116.66877, 122.67891], np.float32)
SHORT_SIDE = 256
#: The ways of `preprocess_input` to bring an image to the input size.
RESIZES = ("stretch", "center", "caffe")


def preprocess_input(images, resize=None, channels=None, mean=IMAGENET_MEAN):
    """Convert images to the form that AlexNet was trained on.

    Tensors work as arrays do, in `tf.data` and in a Keras `Lambda` too. What cannot be checked
    before they have values is checked when they have; a `Preprocess` layer is returned for the
    symbolic input of a Keras model, and exports with it, without such checks.

    Args:
        images: pixels 0-255, (height, width, 3) or (batch, height, width, 3), as an array or a
            tensor; or a PIL image of any mode; or a list of these, of different sizes too.
        resize: how to resize images of other sizes to 227x227; there is no default method:
            "stretch" resizes the whole image and does not keep its aspect ratio;
            "center" resizes the short side to 256 and crops the centre;
            "caffe" stretches the image to 256x256 and crops the centre, which is how BVLC measured
            its published accuracy. None accepts only images of 227x227.
        channels: order of the last axis of arrays and tensors: "bgr" as in OpenCV, which None
            means too, or "rgb" as in most other libraries. PIL images know theirs.
        mean: what to subtract, 0-255, in the order blue, green, red: three numbers, or a mean
            image (3, height, width) from `read_mean`, whose centre is taken as Caffe does.

    Returns:
        float32 array, or tensor for a tensor, (batch, 227, 227, 3), BGR, the mean subtracted; the
        batch is 1 for a single image.

    Raises:
        ValueError: for another shape or dtype, another size without `resize`, pixels outside
            0-255, or pixels that look scaled to 0-1; `tf.errors.InvalidArgumentError` where a
            tensor's pixels are known only later.
    """
    if resize is not None and resize not in RESIZES:
        raise InputError(f"resize must be None or one of {RESIZES}. Received: resize={resize!r}")
    if channels not in (None, "bgr", "rgb"):
        raise InputError(f"channels must be 'bgr' or 'rgb'. Received: channels={channels!r}")
    if _is_tensor(images):
        from alexnet_lib.images.tensors import preprocess_tensor

        return preprocess_tensor(images, resize, channels or "bgr", mean)
    several = isinstance(images, (list, tuple)) and any(
        hasattr(image, "shape") or isinstance(image, PIL.Image.Image) for image in images
    )
    parts = [_pixels(part, channels) for part in (images if several else [images])]
    check_range(
        min(part.min() for part in parts),
        max(part.max() for part in parts),
        any(part.dtype.kind == "f" for part in parts),
    )
    pixels = []
    for part in parts:
        if part.shape[1:3] != (INPUT_SIZE, INPUT_SIZE):
            check_resize(resize, *part.shape[1:3])
            part = np.stack([resize_image(image, resize) for image in part])
        pixels.append(part.astype(np.float32))
    return np.concatenate(pixels) - fit_mean(mean, INPUT_SIZE, INPUT_SIZE)


def _is_tensor(images):
    """Return whether these are TensorFlow's or Keras' tensors, without importing either."""
    tensorflow, keras = sys.modules.get("tensorflow"), sys.modules.get("keras")
    return (tensorflow is not None and tensorflow.is_tensor(images)) or (
        keras is not None and isinstance(images, keras.KerasTensor)
    )


def _pixels(images, channels):
    """Return one image or one batch as an array (batch, height, width, 3), BGR."""
    if isinstance(images, PIL.Image.Image):
        if channels == "bgr":
            raise InputError("a PIL image is RGB. Leave channels out. Received: channels='bgr'")
        return image_pixels(images)[None]
    if isinstance(images, (str, os.PathLike)):
        raise InputError(f"expected pixels, got a path: give read_image({str(images)!r})")
    try:
        images = np.asarray(images)
    except Exception as error:  # whatever a foreign array's conversion raises
        raise InputError(
            f"expected pixels, got {type(images).__name__}, which NumPy cannot convert ({error}). "
            "Convert it, such as by `.detach().cpu().numpy()` for a tensor of PyTorch, and give "
            "images of different sizes as a list of arrays"
        ) from error
    images = images[None] if images.ndim == 3 else images
    check_form(images.shape, images.dtype)
    return images[..., ::-1] if channels == "rgb" else images


def check_form(shape, dtype):
    """Refuse a shape other than (batch, height, width, 3), and a dtype of other than numbers.

    Args:
        shape: of the images; None for a side that is not known yet.
        dtype: of the images, NumPy's.
    """
    received = f"Received: shape={tuple(shape)}, {dtype}"
    if dtype.kind not in "uif":
        remedy = "multiply a mask by 255" if dtype.kind == "b" else "convert them to uint8"
        raise InputError(f"expected pixels, numbers from 0 to 255: {remedy}. {received}")
    if len(shape) == 4 and shape[3] in (3, None) and 0 not in shape:
        return
    remedy = ""
    if len(shape) == 4 and shape[1] == 3:
        remedy = "These are channels-first: move the axis, `np.moveaxis(images, -3, -1)`. "
    elif len(shape) == 4 and shape[3] == 4:
        remedy = "Put a background behind the fourth channel, or take images[..., :3]. "
    elif len(shape) == 2 or (len(shape) == 4 and shape[3] == 1):
        remedy = "Repeat a grey image's channel three times. "
    raise InputError(
        "expected images of (height, width, 3) or (batch, height, width, 3). " + remedy + received
    )


def check_range(low, high, real):
    """Refuse pixels that are not 0-255; `real` says whether they are floating point."""
    if not (low >= 0 and high <= 255):  # written so that NaN fails too
        deep = ". Multiply values of more than 8 bits by 255 / white, such as 255 / 65535"
        raise InputError(
            f"expected pixels from 0 to 255. Received: {low} to {high}" + deep * bool(high > 255)
        )
    if real and 0 < high <= 1:
        raise InputError(
            "expected pixels from 0 to 255; these look scaled to 0-1: multiply by 255. "
            f"Received: {low} to {high}"
        )


def check_resize(resize, height, width):
    """Refuse images of another size than the network's if no `resize` is chosen."""
    if resize is None:
        raise InputError(
            f"expected images of {INPUT_SIZE}x{INPUT_SIZE}, or a choice how to resize them: "
            f"resize= one of {RESIZES}. Received: {height}x{width}"
        )


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
