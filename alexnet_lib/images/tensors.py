"""Preprocess tensors, in `tf.data` and in Keras models, by TensorFlow's own operations.

The numbers are those of arrays, to a grey level for uint8, which OpenCV rounds in its own way.
"""

import numpy as np
import tensorflow as tf

from alexnet_lib.errors import InputError
from alexnet_lib.images.preprocessing import (
    IMAGENET_MEAN,
    RESIZES,
    SHORT_SIDE,
    check_form,
    check_range,
    check_resize,
    fit_mean,
)
from alexnet_lib.port.architecture import INPUT_SIZE
from alexnet_lib.port.backend import keras

__all__ = ["Preprocess"]


@tf.autograph.experimental.do_not_convert
def preprocess_tensor(images, resize, channels, mean):
    """Preprocess a tensor; arguments and result as those of `preprocess_input`."""
    if isinstance(images, keras.KerasTensor):
        if len(images.shape) != 4:
            raise InputError(f"expected a batch of images. Received: shape={images.shape}")
        return Preprocess(channels, resize, mean)(images)
    if not isinstance(images, (tf.Tensor, tf.Variable)):
        raise InputError(f"expected a dense tensor. Received: {type(images).__name__}")
    images = tf.convert_to_tensor(images)
    if images.shape.rank is None:
        raise InputError(
            "expected a tensor whose number of axes is known: use `tf.ensure_shape(images, (None, "
            "None, 3))` first"
        )
    images = images[None] if images.shape.rank == 3 else images
    check_form(tuple(images.shape), np.dtype(images.dtype.as_numpy_dtype))
    return _convert(_with_checks(images), resize, channels, mean)


def _with_checks(images):
    """Check that pixels are 0-255, now or when the tensor has its values."""
    if images.dtype == tf.uint8:
        return images
    low, high = tf.reduce_min(images), tf.reduce_max(images)
    if hasattr(images, "numpy"):
        check_range(low.numpy(), high.numpy(), images.dtype.is_floating)
        return images
    zero, one, white = (tf.cast(value, images.dtype) for value in (0, 1, 255))
    checks = [
        tf.debugging.Assert(
            (low >= zero) & (high <= white),
            ["expected pixels from 0 to 255. Received:", low, "to", high],
        )
    ]
    if images.dtype.is_floating:
        checks.append(
            tf.debugging.Assert(
                (high <= zero) | (high > one),
                ["expected pixels from 0 to 255; these look scaled to 0-1: multiply by 255."],
            )
        )
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(images)


def _convert(images, resize, channels, mean):
    """Resize a batch, order its channels and subtract the mean."""
    pixels = tf.cast(images, tf.float32)
    height, width = images.shape[1:3]
    if (height, width) != (INPUT_SIZE, INPUT_SIZE):
        if resize is not None:
            pixels = _resize(pixels, resize)
            pixels = tf.round(pixels) if images.dtype == tf.uint8 else pixels
        elif (height or INPUT_SIZE, width or INPUT_SIZE) != (INPUT_SIZE, INPUT_SIZE):
            check_resize(resize, height, width)
    pixels = tf.ensure_shape(pixels, (None, INPUT_SIZE, INPUT_SIZE, 3))
    pixels = pixels[..., ::-1] if channels == "rgb" else pixels
    return pixels - fit_mean(mean, INPUT_SIZE, INPUT_SIZE)


def _resize(pixels, resize):
    """Resize float images (batch, height, width, 3) as `resize_image` does, with its crop."""
    old = tf.shape(pixels)[1:3]
    if resize == "stretch":
        new = tf.constant([INPUT_SIZE, INPUT_SIZE])
    elif resize == "caffe":
        new = tf.constant([SHORT_SIDE, SHORT_SIDE])
    else:
        scale = SHORT_SIDE / tf.reduce_min(old)  # float64
        new = tf.cast(tf.round(tf.cast(old, tf.float64) * scale), tf.int32)
    rows, columns = (_weights(old, new, axis) for axis in (0, 1))
    return tf.einsum("yh,bhwc,xw->byxc", rows, pixels, columns)


def _weights(old, new, axis):
    """Return what each pixel of one axis contributes: (INPUT_SIZE, old), the rows of the crop.

    They are OpenCV's: INTER_AREA weighs pixels by the part of them that a new pixel covers, if both
    axes shrink; if one does, it mixes the two pixels that a new one covers; INTER_LINEAR mixes the
    two nearest.
    """
    scales = tf.cast(old, tf.float32) / tf.cast(new, tf.float32)
    scale, last = scales[axis], tf.cast(old[axis] - 1, tf.float32)
    start = (new[axis] - INPUT_SIZE) // 2
    to = tf.cast(tf.range(start, start + INPUT_SIZE), tf.float32)[:, None]
    pixel = tf.range(last + 1)[None, :]
    covered = tf.minimum((to + 1) * scale, pixel + 1) - tf.maximum(to * scale, pixel)
    area = tf.maximum(covered, 0) / scale
    center = tf.clip_by_value((to + 0.5) * scale - 0.5, 0, last)
    linear = tf.maximum(1 - tf.abs(pixel - center), 0)
    first = tf.floor(to * scale)
    part = to + 1 - (first + 1) / scale
    part = tf.where(part <= 0, 0.0, part - tf.floor(part))
    mixed = tf.maximum(1 - tf.abs(pixel - tf.minimum(first + part, last)), 0)
    shrinks = scales > 1
    return tf.where(
        tf.reduce_all(scales >= 1) & tf.reduce_any(shrinks),
        area,
        tf.where(tf.reduce_any(shrinks), mixed, linear),
    )


@keras.saving.register_keras_serializable(package="alexnet_lib")
class Preprocess(keras.layers.Layer):
    """`preprocess_input` as the first layer of a model, which is saved and exported with it.

    Values are not checked: pixels must be 0-255. In a model, `keras.Input((None, None, 3))` takes
    images of any size, all of a batch alike.

    Args:
        channels: order of the last axis, "bgr" or "rgb".
        resize: as in `preprocess_input`.
        mean: likewise.

    Raises:
        ValueError: for other arguments, and for another shape of the input.
    """

    def __init__(self, channels, resize="stretch", mean=IMAGENET_MEAN, **kwargs):
        super().__init__(autocast=False, **kwargs)
        if channels not in ("bgr", "rgb"):
            raise InputError(f"channels must be 'bgr' or 'rgb'. Received: channels={channels!r}")
        if resize is not None and resize not in RESIZES:
            raise InputError(f"resize must be None or one of {RESIZES}. Received: {resize!r}")
        self.channels = channels
        self.resize = resize
        self.mean = np.asarray(mean, np.float32).tolist()

    def call(self, images):
        """Convert (batch, height, width, 3), of any dtype of numbers, to the network's input."""
        images = tf.convert_to_tensor(images)
        check_form(tuple(images.shape), np.dtype(images.dtype.as_numpy_dtype))
        pixels = _convert(images, self.resize, self.channels, self.mean)
        return tf.cast(pixels, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        """Return (batch, 227, 227, 3)."""
        return (input_shape[0], INPUT_SIZE, INPUT_SIZE, 3)

    def get_config(self):
        """Return the arguments that rebuild this layer."""
        own = {name: getattr(self, name) for name in ("channels", "resize", "mean")}
        return super().get_config() | own
