"""What keeping features in one byte a value costs, which makes the epochs of the head quick."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

PER_CLASS = 10


class Accuracy(NamedTuple):
    """The error of one reduced precision.

    `largest_error` is the largest difference from float32, in parts of the largest value;
    `changed` is the share of the images whose most probable class becomes another.
    """

    work: str
    images: int
    largest_error: float
    changed: float


def rows(quick=False):
    """Yield the row of pool5 in one byte, through the classifier that the book carries."""
    import keras

    from alexnet_lib.finetuning.classifier import load_classifier
    from alexnet_lib.finetuning.trainer import submodel
    from alexnet_lib.images.batches import image_dataset
    from alexnet_lib.images.features import compute_features
    from alexnet_lib.images.folder import read_folder
    from alexnet_lib.teaching.scenes import write_scenes

    model = load_classifier().model
    convolutions = keras.Model(model.input, model.get_layer("pool5").output)
    with tempfile.TemporaryDirectory() as folder:
        scenes = write_scenes(Path(folder) / "scenes", 1 if quick else PER_CLASS)
        images = read_folder(scenes)
        coded = compute_features(model, images)
        exact = np.concatenate([convolutions(x, training=False) for x, _ in image_dataset(images)])
    decoded = coded.pool5()
    head = submodel(model, coded.layer)
    guesses = [np.argmax(head(pool5, training=False), axis=1) for pool5 in (exact, decoded)]
    yield Accuracy(
        "pool5 in one byte, drawn scenes",
        len(images),
        float(np.abs(decoded - exact).max() / exact.max()),
        float(np.mean(guesses[0] != guesses[1])),
    )
