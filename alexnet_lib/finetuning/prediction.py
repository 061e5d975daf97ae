"""Classify image files batch by batch, without TensorFlow and without holding all in memory."""

import collections
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from alexnet_lib.errors import AlexNetError, InputError
from alexnet_lib.images.preprocessing import (
    IMAGENET_MEAN,
    fit_mean,
    resize_image,
)
from alexnet_lib.images.reading import read_image
from alexnet_lib.port import inference

__all__ = ["classify"]

BATCH = 32


def classify(weights, files, mean=IMAGENET_MEAN, views=1, read=read_image):
    """Compute class probabilities of image files.

    Files are read and convolved in threads, and the next batch while the caller handles the last.
    Meanwhile NumPy's products keep to one thread each: more would wait for each other.

    Args:
        weights: of `read_classifier` or `check_weights`.
        files: paths of images; each is stretched to 227x227, or what a readout takes.
        mean: as in `preprocess_input`.
        views: 1, or the mean of the probabilities over 2, with the mirror image, or 8, all flips
            and rotations.
        read: reads a path's pixels, uint8 (height, width, 3), BGR.

    Yields:
        For each file in order its path and float32 (classes,); or the error of reading it, an
        `AlexNetError` or `OSError`.

    Raises:
        InputError: for a mean that does not fit, or weights that give no finite numbers.
    """
    size = inference.side(weights)
    fitted = fit_mean(mean, size, size)
    if fitted.shape[-1] not in (1, 3) or not np.isfinite(fitted).all():
        raise InputError(
            "mean must be finite and for 3 channels: blue, green, red. Received: "
            f"{mean if fitted.ndim == 1 else fitted.shape}"
        )

    def features(path):
        try:
            pixels = resize_image(read(path), "stretch", size)
            image = pixels.astype(np.float32) - fitted
        except (AlexNetError, OSError) as error:
            return error
        turned = inference.some_views(image, views)
        return np.stack([inference.features(weights, view) for view in turned])

    def finish(paths, futures):
        results = [future.result() for future in futures]
        good = [each for each in results if not isinstance(each, Exception)]
        found = iter(())
        if good:
            found = inference.probabilities(weights, np.concatenate(good))
            found = iter(found.reshape(len(good), views, -1).mean(axis=1))
        for path, result in zip(paths, results, strict=True):
            yield path, result if isinstance(result, Exception) else next(found)

    pool, one_thread = ThreadPoolExecutor(os.cpu_count()), threadpool_limits(1, "blas")
    try:
        running = collections.deque()
        for start in range(0, len(files), BATCH):
            batch = files[start : start + BATCH]
            running.append((batch, [pool.submit(features, path) for path in batch]))
            if len(running) > 1:
                yield from finish(*running.popleft())
        for last in running:
            yield from finish(*last)
    finally:
        pool.shutdown(cancel_futures=True)
        one_thread.restore_original_limits()
