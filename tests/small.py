"""Small networks, features and pictures that several tests train on."""

import cv2
import keras
import numpy as np
import pytest

from alexnet_lib.finetuning import runs
from alexnet_lib.images.features import Features
from alexnet_lib.images.splits import read_split
from alexnet_lib.port.layers import FullyConnected, GroupedConv2D, LocalResponseNormalization


def small_network(classes=2, dropout=0.5, units=32):
    """AlexNet's names and kinds of layers with few weights, the same ones every time."""
    keras.utils.set_random_seed(1)
    x = inputs = keras.Input((227, 227, 3))
    x = GroupedConv2D(32, 8, strides=38, activation="relu", name="conv1")(x)
    x = LocalResponseNormalization(2, 1.0, 2e-5, 0.75)(x)
    x = GroupedConv2D(256, 1, groups=2, activation="relu", name="conv2")(x)
    x = keras.layers.Identity(name="pool5")(x)
    x = keras.layers.Flatten()(x)
    for name in ("6", "7"):
        x = FullyConnected(units, activation="relu", name=f"fc{name}")(x)
        x = keras.layers.Dropout(dropout, name=f"drop{name}")(x)
    return keras.Model(inputs, FullyConnected(classes, name="fc8")(x))


def small_features():
    """Sixty images of two classes that differ in a few channels, in eight views."""
    generator = np.random.default_rng(0)
    labels = np.arange(60) % 2
    codes = generator.integers(0, 60, (8, 60, 6, 6, 256), np.uint8)
    codes[:, labels == 1, :, :, :20] += 40
    names = tuple(f"{'ab'[label]}/{i:02d}" for i, label in enumerate(labels))
    return Features(codes, 0.02, labels, ("a", "b"), names)


def rare_features():
    """Two classes that one number tells apart, not quite: 60 images and 6, twice, then 60 each."""
    labels = np.repeat([0, 1] * 3, [60, 6, 60, 6, 60, 60])
    number = 60 + 12 * np.random.default_rng(0).normal(2.0 * labels, 1)
    codes = np.zeros((1, len(labels), 6, 6, 256), np.uint8)
    for channels, values in ((slice(128), number), (slice(128, 256), 120 - number)):
        codes[0, ..., channels] = np.clip(values, 0, 255).astype(np.uint8)[:, None, None, None]
    names = tuple(f"{'ab'[label]}/{i:03d}" for i, label in enumerate(labels))
    return Features(codes, 0.02, labels, ("a", "b"), names)


def write_arrows(folder, pairs=8):
    """Write arrows to the left and, as their mirror images, to the right; return `folder`."""
    for i in range(pairs):
        pixels = np.full((64, 64, 3), 200 + 5 * i, np.uint8)
        cv2.fillPoly(pixels, [np.array([[8, 32], [40, 8], [40, 56]])], (10 * i, 0, 0))
        write_image(folder / "left" / f"{i}.png", pixels)
        write_image(folder / "right" / f"{i}.png", pixels[:, ::-1])
    return folder


def noise_features(labels):
    """Features of noise of two classes, in eight views; image 3, of class 0, is called a/3."""
    codes = np.random.default_rng(0).integers(0, 50, (8, len(labels), 6, 6, 256), np.uint8)
    names = tuple(f"{'ab'[label]}/{i}" for i, label in enumerate(labels))
    return Features(codes, 0.05, np.array(labels), ("a", "b"), names)


def write_image(path, pixels):
    """Write an image, uint8 (height, width, 3), BGR; where the ending tells no format, as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = path.suffix if path.suffix in (".tif", ".webp", ".jpg", ".bmp") else ".png"
    path.write_bytes(cv2.imencode(ending, pixels)[1].tobytes())


def write_pictures(folder, per_class=8, side=64):
    """Write as many dark as light pictures into class folders; return `folder`."""
    generator = np.random.default_rng(0)
    for kind, mean in (("dark", 60), ("light", 180)):
        for i in range(per_class):
            pixels = np.clip(generator.normal(mean, 20, (side, side, 3)), 0, 255).astype(np.uint8)
            write_image(folder / kind / f"{i}.png", pixels)
    return folder


def write_noise(path, seed=0, size=(20, 30)):
    """Write an image of noise, another one for each seed."""
    write_image(path, np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


def deal(images, folder, monkeypatch, **options):
    """Call `train_classifier` up to where it has written the split; return that."""

    class ReadyError(Exception):
        pass

    def stop(*_):
        raise ReadyError

    monkeypatch.setattr(runs, "fresh_model", lambda *_: None)
    monkeypatch.setattr(runs, "data_of_stages", stop)
    with pytest.raises(ReadyError):
        runs.train_classifier(images, folder, **options)
    return read_split(folder / "split.csv")
