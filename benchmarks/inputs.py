"""The input pipeline: image files to batches, beside Keras' own and beside a training step."""

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.compare import row, time_in_turns

RUNS = 5
PER_CLASS = 16  # times 21 classes
BATCH = 32
STEP = "training step, all layers"
DECODE = "decoding the files alone"  # from memory, on all cores
# Ours resizes 8-bit pixels, which rounds to a level of 255; Keras' floating point does not.
ROUNDING = 0.51


def rows(quick=False):
    """Yield the rows of the table, after a check that both pipelines give the same pixels.

    Keras is asked to average over areas, as ours does, so that what is timed is what was checked.
    Both have found the files before and read them anew in every run.
    """
    import cv2
    import keras
    import tensorflow as tf

    from alexnet_lib.images.batches import image_dataset
    from alexnet_lib.images.folder import find_ucmerced, read_folder
    from alexnet_lib.images.preprocessing import IMAGENET_MEAN
    from alexnet_lib.images.reading import read_image
    from alexnet_lib.port.architecture import INPUT_SIZE
    from alexnet_lib.teaching.scenes import write_scenes
    from benchmarks.training import noise_images, step_of, trainer_of_all_layers

    def keras_dataset(folder):
        data = keras.utils.image_dataset_from_directory(
            folder, batch_size=BATCH, image_size=(INPUT_SIZE, INPUT_SIZE), shuffle=False, verbose=0,
            interpolation="area",
        )  # fmt: skip
        return data.map(
            lambda rgb, label: (rgb[..., ::-1] - IMAGENET_MEAN, label),
            num_parallel_calls=tf.data.AUTOTUNE,
        ).prefetch(tf.data.AUTOTUNE)

    def empty(dataset):
        for _ in dataset:
            pass

    per_class = 1 if quick else PER_CLASS
    with tempfile.TemporaryDirectory() as folder:
        source, kind = find_ucmerced(), "UC Merced"
        if source is None:
            source, kind = write_scenes(Path(folder) / "scenes", per_class), "drawn scenes"
        pngs = Path(folder) / "pngs"
        for path in sorted(source.glob("*/*")):
            if int(path.stem.strip(path.parent.name)) < per_class:
                target = pngs / path.parent.name / f"{path.stem}.png"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(cv2.imencode(".png", read_image(path))[1].tobytes())
        images = read_folder(pngs)
        ours = image_dataset(images, batch_size=BATCH)
        augmented = image_dataset(images, batch_size=BATCH, training=True)
        theirs = keras_dataset(pngs)
        for mine, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(mine[0], other[0], rtol=0, atol=ROUNDING)
            np.testing.assert_array_equal(mine[1], other[1])
        files = [np.fromfile(pngs / file, np.uint8) for file in images.files]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            functions = {
                "ours": lambda: empty(ours),
                "Keras": lambda: empty(theirs),
                "ours, augmented": lambda: empty(augmented),
                STEP: step_of(trainer_of_all_layers(), *noise_images(2 if quick else BATCH)),
                DECODE: lambda: empty(pool.map(lambda x: cv2.imdecode(x, 1), files)),
            }
            times = time_in_turns(functions, 1 if quick else RUNS)
    work = f"{len(files)} PNG images ({kind}) to batches"
    yield row(work, "ours", "Keras", times, limit=DECODE)
    # One step for each batch of the epoch.
    times[STEP] = times[STEP] * len(files) / BATCH
    work += ", augmented"
    yield row(work, "ours, augmented", STEP, times, limit=DECODE, reach=2.0)
