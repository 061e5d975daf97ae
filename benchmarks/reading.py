"""Reading a whole AlexNet from a `.caffemodel`: ours, OpenCV's importer, protobuf's parser.

Times are taken in one process, with the file in the system's cache. Memory is each engine's own
peak, in an interpreter of its own that has loaded the engine's modules before.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.compare import row, time_in_turns

RUNS = 11


def opener():
    """Ours: the file is mapped, and no blob touched."""
    from alexnet_lib.caffemodel import read_caffemodel

    return read_caffemodel


def toucher():
    """Ours, and every value of every blob read once, which brings the whole file into memory."""
    read = opener()

    def read_and_touch(path):
        layers = read(path)
        for blobs in layers.values():
            for blob in blobs:
                blob.sum()
        return layers

    return read_and_touch


def opencv():
    """OpenCV's Caffe importer, which copies the weights into a network."""
    import cv2

    from alexnet_lib.architecture import prototxt

    text = np.frombuffer(prototxt().encode(), np.uint8)

    def load(path):
        with tempfile.NamedTemporaryFile(suffix=".prototxt") as description:
            description.write(text)
            description.flush()
            return cv2.dnn.readNetFromCaffe(description.name, str(path))

    return load


def protobuf():
    """Google's parser, with Caffe's messages built at run time and data declared as bytes."""
    from tests.caffe_proto import messages

    net = messages(numbers="bytes").NetParameter
    return lambda path: net.FromString(Path(path).read_bytes())


ENGINES = {"open": opener, "open and touch": toucher, "OpenCV": opencv, "protobuf": protobuf}


def rows():
    """Yield the rows of the table, after a check that all engines read the same bits."""
    from alexnet_lib.caffemodel import write_caffemodel
    from alexnet_lib.weights import stand_in_weights, tensorflow_to_caffe

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alexnet.caffemodel"
        write_caffemodel(path, tensorflow_to_caffe(stand_in_weights()))
        check_that_all_agree(path)
        memory = {name: peak_in_own_process(name, path) for name in ENGINES}
        loads = {name: make() for name, make in ENGINES.items()}
        times = time_in_turns(
            {name: lambda load=load: load(path) for name, load in loads.items()}, RUNS
        )
    size = "244 MB .caffemodel"
    for ours in ("open", "open and touch"):
        for peer in ("OpenCV", "protobuf"):
            yield row(f"{ours} a {size}", ours, peer, times, memory)


def check_that_all_agree(path):
    """Raise AssertionError where an engine reads other bits than ours."""
    ours = opener()(path)
    net = opencv()(path)
    parsed = protobuf()(path)
    assert [layer.name for layer in parsed.layers] == list(ours)
    for layer in parsed.layers:
        for index, blob in enumerate(layer.blobs):
            mine = ours[layer.name][index].tobytes()
            assert b"".join(blob.data) == mine, f"protobuf: {layer.name}, blob {index}"
            theirs = net.getParam(layer.name, index).tobytes()
            assert theirs == mine, f"OpenCV: {layer.name}, blob {index}"


def peak_in_own_process(name, path):
    """Return the MiB that an engine takes at most to read `path`; None where /proc is missing.

    A fresh interpreter's own high-water mark (VmHWM) is read, because `ru_maxrss` would start
    from this process's.
    """
    if not Path("/proc/self/status").exists():
        return None
    command = [sys.executable, "-m", "benchmarks.reading", name, str(path)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def memory_kib(name):
    """Return one of the figures that Linux keeps about this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


if __name__ == "__main__":
    load = ENGINES[sys.argv[1]]()
    before = memory_kib("VmRSS")
    net = load(sys.argv[2])
    print((memory_kib("VmHWM") - before) / 1024)
