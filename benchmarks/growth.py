"""How the cost grows: throughput and memory against batch size, threads and number of images.

Peaks of memory are those of processes of their own; batches grow in one process, because the larger
one has the higher peak. For the number of images, a process may take only as much memory as it has
after two batches and `ROOM_MIB` more, and streams a data set that is up to twenty times larger, out
of records or straight from image files: a few lie on disk, and are read as often as it takes.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.compare import in_own_process, memory_mib

SECONDS = 1.5
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
ROOM_MIB = 512
SIZES = {"stream": (0.5, 2, 10, 20), "stream of files": (0.5, 10)}  # times the room
# glibc raises this threshold by itself; then what images of mixed sizes leave in its heaps grows
# by 20 KB an image, though nobody holds it. Fixed, it gives all back: slower, but what is seen to
# grow or not is what the stream holds.
STREAM_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 16)}
SCENES, RECORDS = 63, 1024  # records of the scenes in turns: they fill the shuffle's window twice


class Point(NamedTuple):
    """One measured point.

    `images` are those of a batch for the forward pass and the training step, and of the data set
    for a stream; `mib` is the peak above the process with its modules loaded, and None where the
    system does not tell.
    """

    work: str
    images: int
    threads: int
    images_per_s: float
    mib: float | None


def points(quick=False):
    """Yield the points; `quick` takes the smallest of each kind."""
    seconds, batches = (0, BATCHES[:1]) if quick else (SECONDS, BATCHES)
    cores = os.cpu_count()
    for work in ("forward", "training step"):
        for threads in range(cores, 0, -1):
            few = batches if threads == cores else (32,)
            found = measure(work, batches=few, threads=threads, seconds=seconds)
            for batch, point in zip(few, found, strict=True):
                yield Point(work, batch, threads, *point)
            if quick:
                break
    with tempfile.TemporaryDirectory() as folder:
        write_scene_records(folder)
        for work, sizes in SIZES.items():
            for size in sizes[:1] if quick else sizes:
                images = images_of(size * ROOM_MIB)
                yield Point(work, images, cores, *measure(work, folder=folder, images=images))


def images_of(mib):
    """Return how many images, as the network takes them, fill so much memory."""
    from alexnet_lib.port.architecture import INPUT_SIZE

    return int(mib * 2**20 / (4 * 3 * INPUT_SIZE**2))


def write_scene_records(folder):
    """Write a few drawn scenes into `folder`/scenes, and as records."""
    from alexnet_lib.images.folder import read_folder
    from alexnet_lib.images.records import write_records
    from alexnet_lib.teaching.scenes import write_scenes

    images = read_folder(write_scenes(Path(folder) / "scenes", SCENES // 21))
    write_records(folder, images.subset(np.arange(RECORDS) % SCENES))


def measure(work, **options):
    """Measure in a process of its own."""
    allocator = STREAM_ALLOCATOR if work in SIZES else {}
    return json.loads(in_own_process("benchmarks.growth", work, json.dumps(options), **allocator))


def forward():
    """Return a function that, given a batch's size, returns the forward pass to be timed."""
    from alexnet_lib.port.alexnet import AlexNet
    from alexnet_lib.port.compilation import compiled
    from benchmarks.training import noise_images

    run = compiled(AlexNet())

    def of(batch):
        images, _ = noise_images(batch)
        return lambda: run(images, training=False).numpy()

    return of


def training_step():
    """Do as `forward` for a step of all layers."""
    from benchmarks.training import noise_images, step_of, trainer_of_all_layers

    run = trainer_of_all_layers()
    return lambda batch: step_of(run, *noise_images(batch))


def grow(make, batches, threads, seconds):
    """Return images a second and peak memory of what `make` makes, for growing batches."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    start = memory_mib("VmRSS")
    of = make()
    found = []
    for batch in batches:
        function = of(batch)
        function()
        times = []
        while sum(times) < seconds or len(times) < 3:
            began = time.perf_counter()
            function()
            times.append(time.perf_counter() - began)
        found.append((batch / float(np.median(times)), memory_mib("VmHWM") - start))
    return found


def records(folder):
    """Return a function that, given a number of images, returns batches of them out of records."""
    from alexnet_lib.images.batches import batches
    from alexnet_lib.images.records import check_records, stream_records

    index = check_records(folder)

    def of(number):
        def source(seed):
            data = stream_records(folder, index, seed).map(
                lambda image, label, name: (image, label)
            )
            return data.repeat().take(number)

        return batches(source, number, training=True)

    return of


def files(folder):
    """Do as `records` with image files."""
    from alexnet_lib.images.batches import image_dataset
    from alexnet_lib.images.folder import read_folder

    images = read_folder(Path(folder) / "scenes")
    return lambda number: image_dataset(images.subset(np.arange(number) % SCENES), training=True)


def stream(make, folder, images):
    """Return images a second and peak memory of training batches in a process of limited memory."""
    import resource

    of = make(folder)

    def count(number):
        return sum(len(labels) for _, labels in of(number))

    start = memory_mib("VmRSS")
    count(64)
    limit = int((memory_mib("VmData") + ROOM_MIB) * 2**20)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    check_that_memory_is_limited()
    began = time.perf_counter()
    seen = count(images)
    assert seen == images, f"streamed {seen} of {images} images"
    return images / (time.perf_counter() - began), memory_mib("VmHWM") - start


def check_that_memory_is_limited():
    """Raise AssertionError where twice the room can be had all the same."""
    try:
        np.empty(2 * ROOM_MIB * 2**20, np.uint8)
    except MemoryError:
        return
    raise AssertionError(f"this process can have more than {ROOM_MIB} MiB")


if __name__ == "__main__":
    measured = {
        "forward": (grow, forward),
        "training step": (grow, training_step),
        "stream": (stream, records),
        "stream of files": (stream, files),
    }
    measure_it, make = measured[sys.argv[1]]
    print(json.dumps(measure_it(make, **json.loads(sys.argv[2]))))
