"""Classify image files batch by batch, without TensorFlow and without holding all in memory."""

import collections
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from alexnet_lib.errors import AlexNetError, InputError
from alexnet_lib.images.class_folders import visible
from alexnet_lib.images.preprocessing import (
    IMAGENET_MEAN,
    fit_mean,
    preprocess_input,
    read_image,
)
from alexnet_lib.port import inference

__all__ = ["classify", "image_files", "images_of"]

BATCH = 32
# Of a folder, files that are called an image or begin like one must be images.
_CALLED_IMAGE = re.compile(
    r"\.(jpe?g|jpe|png|tiff?|webp|bmp|dib|gif|jp2|avif|hei[cf]|p[bgpn]m|exr|hdr)$", re.IGNORECASE
)
_BEGINS_LIKE_ONE = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|BM|II\*\0|MM\0\*|RIFF....WEBP|....ftyp", re.DOTALL
)


def images_of(folder):
    """Yield the paths of the images in a folder and its subfolders, in the order of their names.

    Hidden files are left out, and so are those that neither are called nor begin like an image,
    such as lists of labels; links to folders are not followed.
    """
    for path in visible(folder):
        if path.is_dir():
            if not path.is_symlink():
                yield from images_of(path)
        elif _CALLED_IMAGE.search(path.name) or _begins_like_image(path):
            yield path


def _begins_like_image(path):
    try:
        with open(path, "rb") as file:
            return bool(_BEGINS_LIKE_ONE.match(file.read(12)))
    except OSError:
        return True  # and its error is reported


def image_files(paths):
    """Find the images that paths name: files, or all in folders.

    Returns:
        A list of files, and a list of errors for what is missing or empty.
    """
    files, errors = [], []
    for path in map(Path, paths):
        try:
            found = list(images_of(path)) if path.is_dir() else [path]
            if not found:
                raise InputError(f"{path}: no images in this folder")
            os.stat(path)
        except (AlexNetError, OSError) as error:
            errors.append(error)
        else:
            files += found
    return files, errors


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
            image = preprocess_input(read(path), "stretch", mean=mean, size=size)[0]
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
