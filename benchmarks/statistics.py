"""Statistics of activations: what a readout sees of an image, at any input size.

The convolutions take squares of any size, and an average over all positions has the same length
for each. So one readout can look at an image in several sizes and views. Besides the averages of
single channels there are those of products of two channels, "second-order pooling" (Carreira et
al., 2012; Lin et al., 2015): which channels are active at the same place.
"""

import functools

import numpy as np
import tensorflow as tf

from alexnet_lib.errors import InputError
from alexnet_lib.images.batches import eight_views
from alexnet_lib.images.preprocessing import IMAGENET_MEAN, resize_image
from alexnet_lib.port.compilation import compiled

__all__ = ["CHANNELS", "KINDS", "LEAST_SIZE", "PAIRS", "parts", "statistics_of"]

#: Number of channels of the layers that are looked at.
CHANNELS = {"relu1": 96, "relu2": 256, "relu3": 384, "relu4": 384, "relu5": 256}
#: The statistics of each channel.
KINDS = ("mean", "maximum", "rms")
#: Two channels of pool5, each pair once; a channel is a pair with itself too.
PAIRS = np.triu_indices(CHANNELS["relu5"])
#: Side of the smallest input, in pixels; below, pool5 has no position.
LEAST_SIZE = 67


def parts():
    """Return a dict from (layer, kind), or ("pool5", "pairs"), to its slice of the statistics."""
    found, start = {}, 0
    for layer, channels in CHANNELS.items():
        for kind in KINDS:
            found[layer, kind] = slice(start, start := start + channels)
    found["pool5", "pairs"] = slice(start, start + len(PAIRS[0]))
    return found


@functools.cache
def _compiled_statistics(model):
    """Return a compiled function from preprocessed squares to the statistics of their activations.

    Args:
        model: `AlexNet`, with or without its top.

    Returns:
        A function of a float32 tensor (batch, side, side, 3), any side from `LEAST_SIZE` on, to
        float32 (batch, statistics), in the order of `parts`. The pairs are mean products of
        square roots, so that a pair of a channel with itself is its mean.
    """

    @compiled
    def statistics(x):
        found = []
        # Layer by layer: the model itself takes only squares of 227.
        for layer in model.layers[1:]:
            x = layer(x)
            if layer.name in CHANNELS:
                found += [tf.reduce_mean(x, (1, 2)), tf.reduce_max(x, (1, 2))]
                found += [tf.sqrt(tf.reduce_mean(tf.square(x), (1, 2)))]
            if layer.name == "pool5":
                break
        shape = tf.shape(x)
        root = tf.reshape(tf.sqrt(x), (shape[0], shape[1] * shape[2], CHANNELS["relu5"]))
        pairs = tf.matmul(root, root, transpose_a=True)
        pairs /= tf.cast(shape[1] * shape[2], tf.float32)
        return tf.concat(found, 1), pairs

    def run(x):
        single, pairs = statistics(x)
        # NumPy picks the pairs: TensorFlow's gather of so many columns is slow.
        return np.concatenate([single, pairs.numpy()[:, PAIRS[0], PAIRS[1]]], axis=1)

    return run


def statistics_of(model, images, size, views=(0,)):
    """Look at images in one size and average their statistics over views.

    Args:
        model: `AlexNet`, with or without its top.
        images: uint8 arrays (height, width, 3), BGR; each is stretched to a square.
        size: side of that square, from `LEAST_SIZE` on.
        views: numbers, 0 to 7, in the order of `eight_views`.

    Returns:
        float32 (images, statistics), in the order of `parts`.

    Raises:
        InputError: for a size that is too small.
    """
    if size < LEAST_SIZE:
        raise InputError(f"expected a size of at least {LEAST_SIZE}. Received: size={size}")
    run, batch_size = _compiled_statistics(model), max(1, round(8 * (227 / size) ** 2))
    found = []
    for start in range(0, len(images), batch_size):
        squares = [resize_image(each, "stretch", size) for each in images[start:][:batch_size]]
        turned = eight_views(np.stack(squares).astype(np.float32) - IMAGENET_MEAN)
        found.append(np.mean([run(turned[view]) for view in views], axis=0))
    return np.concatenate(found)
