"""How the cost grows: throughput and memory against batch size, threads and number of images.

Peaks of memory are those of processes of their own; batches grow in one process, because the larger
one has the higher peak. For the number of images, a process may take only as much memory as it has
after two batches and `ROOM_MIB` more, and streams a data set that is up to ten times larger: the
records lie on disk once, and are read as often as it takes.
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
SIZES = (0.5, 2, 10)  # times the room
RECORDS = 63


class Point(NamedTuple):
    """One measured point.

    `images` are those of a batch for the forward pass, and of the data set for the stream; `mib` is
    the peak above the process with its modules loaded, and None where the system does not tell.
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
    for threads in range(cores, 0, -1):
        few = batches if threads == cores else (32,)
        found = measure("forward", batches=few, threads=threads, seconds=seconds)
        for batch, point in zip(few, found, strict=True):
            yield Point("forward", batch, threads, *point)
        if quick:
            break
    with tempfile.TemporaryDirectory() as folder:
        write_scene_records(folder)
        for size in SIZES[:1] if quick else SIZES:
            images = images_of(size * ROOM_MIB)
            yield Point("stream", images, cores, *measure("stream", folder=folder, images=images))


def images_of(mib):
    """Return how many images, as the network takes them, fill so much memory."""
    from alexnet_lib.architecture import INPUT_SIZE

    return int(mib * 2**20 / (4 * 3 * INPUT_SIZE**2))


def write_scene_records(folder):
    """Write a few drawn scenes as records."""
    from alexnet_lib.dataset import read_folder
    from alexnet_lib.records import write_records
    from alexnet_lib.scenes import write_scenes

    images = read_folder(write_scenes(Path(folder) / "scenes", RECORDS // 21))
    write_records(folder, images, shards=1)


def measure(work, **options):
    """Measure in a process of its own."""
    return json.loads(in_own_process("benchmarks.growth", work, json.dumps(options)))


def forward(batches, threads, seconds):
    """Return images a second and peak memory of the forward pass, for growing batches."""
    import tensorflow as tf

    from alexnet_lib.architecture import INPUT_SIZE
    from alexnet_lib.layers import compiled
    from alexnet_lib.model import AlexNet

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    start = memory_mib("VmRSS")
    run = compiled(AlexNet())
    found = []
    for batch in batches:
        images = tf.random.stateless_uniform((batch, INPUT_SIZE, INPUT_SIZE, 3), (0, 0), -128, 128)
        run(images, training=False)
        times = []
        while sum(times) < seconds or len(times) < 3:
            began = time.perf_counter()
            run(images, training=False).numpy()
            times.append(time.perf_counter() - began)
        found.append((batch / float(np.median(times)), memory_mib("VmHWM") - start))
    return found


def stream(folder, images):
    """Return the same for training batches out of records, in a process of limited memory."""
    import resource

    from alexnet_lib.pipeline import batches
    from alexnet_lib.records import check_records, stream_records

    index = check_records(folder)

    def count(number):
        def source(seed):
            records = stream_records(folder, index, seed).map(
                lambda image, label, name: (image, label)
            )
            return records.repeat(-(-number // RECORDS)).take(number)

        return sum(len(labels) for _, labels in batches(source, number, training=True))

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
    work = {"forward": forward, "stream": stream}[sys.argv[1]]
    print(json.dumps(work(**json.loads(sys.argv[2]))))
