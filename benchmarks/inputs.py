"""The input pipeline: image files to batches, beside Keras' own and beside a training step."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.compare import check_equal, row, time_in_turns

RUNS = 5
PER_CLASS = 16  # times 21 classes
BATCH = 32
STEP = "training step, all layers"


def rows(quick=False):
    """Yield the rows of the table, after a check that both pipelines give the same pixels.

    They are checked on images of 227x227, which need no resizing; for images of other sizes, ours
    averages over areas where Keras interpolates.
    """
    import cv2
    import keras

    from alexnet_lib.architecture import INPUT_SIZE
    from alexnet_lib.dataset import find_ucmerced, read_folder
    from alexnet_lib.images import IMAGENET_MEAN, read_image
    from alexnet_lib.pipeline import image_dataset
    from alexnet_lib.scenes import write_scenes
    from benchmarks.training import step_of_all_layers

    def keras_dataset(folder):
        data = keras.utils.image_dataset_from_directory(
            folder, batch_size=BATCH, image_size=(INPUT_SIZE, INPUT_SIZE), shuffle=False, verbose=0
        )
        return data.map(lambda rgb, label: (rgb[..., ::-1] - IMAGENET_MEAN, label)).prefetch(2)

    def empty(dataset):
        for _ in dataset:
            pass

    per_class = 1 if quick else PER_CLASS
    with tempfile.TemporaryDirectory() as folder:
        small, full = Path(folder) / "small", Path(folder) / "full"
        source = find_ucmerced()
        if source is None:
            source = write_scenes(Path(folder) / "scenes", per_class)
        for path in sorted(source.glob("*/*")):
            if int(path.stem.strip(path.parent.name)) < per_class:
                image = read_image(path)
                for target, pixels in (
                    (small, np.ascontiguousarray(image[:INPUT_SIZE, :INPUT_SIZE])),
                    (full, image),
                ):
                    target = target / path.parent.name / f"{path.stem}.png"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        ours = np.concatenate([batch for batch, _ in image_dataset(read_folder(small))])
        theirs = np.concatenate([batch for batch, _ in keras_dataset(small)])
        check_equal("pixels", ours, theirs, limit=1e-6)
        images = read_folder(full)
        count = len(images.files)
        options = {"batch_size": BATCH, "training": True}
        functions = {
            "ours": lambda: empty(image_dataset(images, batch_size=BATCH)),
            "Keras": lambda: empty(keras_dataset(full)),
            "ours, augmented": lambda: empty(image_dataset(images, **options)),
            STEP: step_of_all_layers(2 if quick else BATCH),
        }
        times = time_in_turns(functions, 1 if quick else RUNS)
    work = f"{count} PNG images to batches"
    yield row(work, "ours", "Keras", times)
    # One step for each batch of the epoch.
    times[STEP] = times[STEP] * count / BATCH
    yield row(f"{work}, augmented", "ours, augmented", STEP, times, reach=2.0)
