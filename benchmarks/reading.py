"""Reading a whole AlexNet from a `.caffemodel`: ours, OpenCV's importer, protobuf's parser.

Times are taken in one process, with the file in the system's cache. The limit is a plain read of
the file's bytes into memory that is there; who maps the file saves that copy, too, and may beat it.
Memory is each engine's own peak, in an interpreter of its own that has loaded the engine's modules
before.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.compare import in_own_process, memory_mib, row, time_in_turns

RUNS = 11
READ = "plain read"


def opener():
    """Ours: the file is mapped, and no blob touched."""
    from alexnet_lib.caffe.caffemodel import read_caffemodel

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


def converter():
    """Ours, and all of it brought into TensorFlow's layout."""
    from alexnet_lib.port.layouts import caffe_to_tensorflow

    read = opener()
    return lambda path: caffe_to_tensorflow(read(path))


def opencv():
    """OpenCV's Caffe importer, which copies the weights into a network."""
    import cv2

    from alexnet_lib.port.architecture import prototxt

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


def parsed_blobs(path):
    """Return a file's blobs as `read_caffemodel` does, read with Google's parser."""
    blobs = {}
    for layer in protobuf()(path).layers:
        blobs[layer.name] = [
            np.frombuffer(b"".join(blob.data), "<f4").reshape(
                blob.num, blob.channels, blob.height, blob.width
            )
            for blob in layer.blobs
        ]
    return blobs


ENGINES = {
    "open": opener,
    "open and touch": toucher,
    "open and convert": converter,
    "OpenCV": opencv,
    "protobuf": protobuf,
}
MOST_MEMORY = 1.3  # times the file, for converting it


def rows(quick=False):
    """Yield the rows of the table, after a check that all engines read the same bits."""
    from alexnet_lib.caffe.caffemodel import write_caffemodel
    from alexnet_lib.port.layouts import tensorflow_to_caffe
    from alexnet_lib.teaching.stand_in import stand_in_weights

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alexnet.caffemodel"
        weights = stand_in_weights()
        write_caffemodel(path, tensorflow_to_caffe(weights))
        check_that_all_agree(path)
        for name, array in converter()(path).items():
            np.testing.assert_array_equal(array, weights[name], name)
        loads = {name: make() for name, make in ENGINES.items()}
        functions = {name: lambda load=load: load(path) for name, load in loads.items()}
        bytes_read = np.zeros(path.stat().st_size, np.uint8)
        functions[READ] = lambda: path.open("rb", buffering=0).readinto(bytes_read)
        times = time_in_turns(functions, 1 if quick else RUNS)
        memory = {name: float(in_own_process("benchmarks.reading", name, path)) for name in ENGINES}
        file_mib = path.stat().st_size / 2**20
    for ours in ("open", "open and touch"):
        for peer in ("OpenCV", "protobuf"):
            limit = READ if ours == "open and touch" else None
            yield row(f"{ours} a 244 MB .caffemodel", ours, peer, times, memory, limit, reach=3.0)
    ours, most = "open and convert", MOST_MEMORY * file_mib
    for peer in ("OpenCV", "protobuf"):
        found = row(f"{ours} a 244 MB .caffemodel", ours, peer, times, memory, READ)
        yield found._replace(target=f"at most {most:.0f} MiB", met=int(found.ours_mib <= most))


def check_that_all_agree(path):
    """Raise AssertionError where an engine reads other bits than ours."""
    ours = opener()(path)
    net = opencv()(path)
    parsed = parsed_blobs(path)
    assert list(parsed) == list(ours)
    for name, blobs in ours.items():
        for index, blob in enumerate(blobs):
            mine = blob.tobytes()
            assert parsed[name][index].tobytes() == mine, f"protobuf: {name}, blob {index}"
            assert net.getParam(name, index).tobytes() == mine, f"OpenCV: {name}, blob {index}"


if __name__ == "__main__":
    load = ENGINES[sys.argv[1]]()
    before = memory_mib("VmRSS")
    net = load(sys.argv[2])
    print(memory_mib("VmHWM") - before)
