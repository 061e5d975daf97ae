"""The readout as a Keras model: frozen convolutions that look in several sizes and views.

The convolutions take squares of any size, and a statistic over all positions has the same length
for each. So one linear layer can read an image in several sizes and views at once. Sizes and views
are inside the model: it takes one square, and is stored, exported and called like any other.
"""

import pandas as pd

from alexnet_lib.errors import InputError
from alexnet_lib.finetuning.readout import fit_readout
from alexnet_lib.images.batches import some_views
from alexnet_lib.images.data import AUGMENTATIONS, VIEWS
from alexnet_lib.port.alexnet import AlexNet
from alexnet_lib.port.backend import keras
from alexnet_lib.port.inference import READ, areas

__all__ = ["readout_model", "sizes_and_views", "train_readout"]

LEAST_SIZE = 67  # side of the smallest square that leaves relu5 a position, in pixels

_registered = keras.saving.register_keras_serializable(package="alexnet_lib")


@_registered
class Views(keras.layers.Layer):
    """Put 1, 2 or 8 views of each image into the batch, view after view."""

    def __init__(self, count=VIEWS, **kwargs):
        super().__init__(**kwargs)
        self.count = count

    def call(self, images):
        """Turn (batch, side, side, channels) into (count * batch, side, side, channels)."""
        views = some_views(images, self.count)
        return keras.ops.reshape(views, (-1, *images.shape[1:]))

    def compute_output_shape(self, input_shape):
        """Return the input's shape; the batch's size is not known beforehand."""
        return (None, *input_shape[1:])

    def get_config(self):
        """Return the arguments that rebuild this layer."""
        return super().get_config() | {"count": self.count}


@_registered
class Shrink(keras.layers.Layer):
    """Shrink squares to `size` pixels by averages over areas, as OpenCV's INTER_AREA does.

    Written as two products with a matrix, which every runtime computes alike.
    """

    def __init__(self, size, **kwargs):
        super().__init__(**kwargs)
        self.size = size

    def call(self, images):
        """Turn (batch, side, side, channels) into (batch, size, size, channels)."""
        side, channels = images.shape[2:]
        share = keras.ops.convert_to_tensor(areas(side, self.size))
        for _ in range(2):  # rows, then, turned over, columns
            rows, columns = images.shape[1:3]
            images = keras.ops.matmul(
                share, keras.ops.reshape(images, (-1, rows, columns * channels))
            )
            images = keras.ops.reshape(images, (-1, self.size, columns, channels))
            images = keras.ops.transpose(images, (0, 2, 1, 3))
        return images

    def compute_output_shape(self, input_shape):
        """Return the shape of the smaller squares."""
        return (input_shape[0], self.size, self.size, input_shape[3])

    def get_config(self):
        """Return the arguments that rebuild this layer."""
        return super().get_config() | {"size": self.size}


@_registered
class ChannelStatistics(keras.layers.Layer):
    """The root of each channel's mean, maximum and root mean square over positions and views."""

    def __init__(self, views=1, **kwargs):
        super().__init__(**kwargs)
        self.views = views

    def call(self, activations):
        """Turn (views * batch, height, width, channels), from 0, into (batch, 3 * channels)."""
        area = (1, 2)
        rms = keras.ops.sqrt(keras.ops.mean(keras.ops.square(activations), area))
        found = [keras.ops.mean(activations, area), keras.ops.max(activations, area), rms]
        found = keras.ops.concatenate(found, axis=1)
        found = keras.ops.reshape(found, (self.views, -1, found.shape[1]))
        return keras.ops.sqrt(keras.ops.mean(found, axis=0))

    def compute_output_shape(self, input_shape):
        """Return the shape of the statistics."""
        return (None, 3 * input_shape[3])

    def get_config(self):
        """Return the arguments that rebuild this layer."""
        return super().get_config() | {"views": self.views}


def readout_model(classes, weights=None, sizes=(227,), views=VIEWS, name="alexnet_readout"):
    """Build AlexNet's convolutions with a linear readout of their channels' statistics.

    Args:
        classes: number of outputs.
        weights: of the convolutions, as in `AlexNet`.
        sizes: of the squares that the convolutions see, in pixels, from 67 on. The input
            has the largest; the others are made from it.
        views: how many of an image's views are averaged: 1, 2 (mirrored) or 8.
        name: the model's name.

    Returns:
        A `keras.Model` from float32 (batch, side, side, 3), made by `preprocess_input` with
        size=side, to probabilities (batch, classes). Its dense layer "readout" starts at zero;
        `train_readout` sets it.

    Raises:
        InputError: for sizes or views out of range.
    """
    sizes = tuple(sorted(map(int, sizes)))
    if not sizes or sizes[0] < LEAST_SIZE or len(set(sizes)) < len(sizes):
        raise InputError(f"expected different sizes from {LEAST_SIZE} on. Received: sizes={sizes}")
    if views not in AUGMENTATIONS.values():
        raise InputError(f"views must be 1, 2 or 8. Received: views={views}")
    convolutions = AlexNet(weights, include_top=False)
    image = keras.Input((sizes[-1], sizes[-1], 3), name="data")
    turned = Views(views, name="views")(image) if views > 1 else image
    found = []
    for size in sizes:
        x = turned if size == sizes[-1] else Shrink(size, name=f"shrink_{size}")(turned)
        for layer in convolutions.layers[1:]:
            x = layer(x)
            if layer.name in READ:
                found.append(ChannelStatistics(views, name=f"{layer.name}_{size}")(x))
            if layer.name == READ[-1]:
                break
    features = keras.layers.Concatenate(name="statistics")(found)
    logits = keras.layers.Dense(classes, kernel_initializer="zeros", name="readout")(features)
    prob = keras.layers.Activation("softmax", name="prob")(logits)
    return keras.Model(image, prob, name=name)


def sizes_and_views(model):
    """Return the sizes, a tuple, and the number of views of a `readout_model`."""
    read = [layer for layer in model.layers if isinstance(layer, ChannelStatistics)]
    sizes = {int(layer.name.rpartition("_")[2]): None for layer in read}
    return tuple(sizes), read[0].views


def train_readout(model, data):
    """Fit the readout in closed form and put it into the model.

    Args:
        model: of `readout_model`.
        data: `Statistics`, of every class some.

    Returns:
        `pandas.DataFrame` with one row, as `finetune` returns a row an epoch: epoch 0, shrinkage,
        and val_accuracy, by leaving out one image at a time.

    Raises:
        InputError: as `fit_readout`, and for labels of more or fewer classes than the model's.
    """
    layer = model.get_layer("readout")
    readout = fit_readout(data.values, data.labels)
    if readout.kernel.shape != layer.kernel.shape:
        raise InputError(
            f"expected images of {layer.units} classes, and {layer.kernel.shape[0]} features of "
            f"each. Received: {readout.kernel.shape[1]} and {readout.kernel.shape[0]}"
        )
    layer.set_weights([readout.kernel, readout.bias])
    row = {"epoch": 0, "shrinkage": readout.shrinkage, "val_accuracy": readout.accuracy}
    return pd.DataFrame([row])
