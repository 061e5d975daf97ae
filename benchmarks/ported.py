"""The forward pass of other ported networks, by three engines on the same weights.

Descriptions of well-known networks are read from the data directory's `zoo/prototxt`, where it has
them, and their weights are noise. A quick run takes AlexNet's own description instead.
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.compare import PEAK, at_peak, check_equal, row, sgemm, time_in_turns

# How often each is timed, its large batch, its last layer. In the memory of all engines at once,
# VGG16's activations for 32 images take more than 24 GiB; so does the export of its fc6 to ONNX.
NETWORKS = {
    "GoogLeNet": (9, 32, None),
    "ResNet-50": (5, 32, None),
    "VGG16": (3, 8, "pool5"),
}
# How many times faster than the peer was to be reached, for one image and for a large batch.
REACH = {False: {"OpenCV DNN": 1.0}, True: {"OpenCV DNN": 1.0, "ONNX Runtime": 1.0}}


def rows(quick=False):
    """Yield the rows of the table, after a check that all engines give the same result."""
    from alexnet_lib.files import data_directory
    from alexnet_lib.port.architecture import prototxt

    with tempfile.TemporaryDirectory() as folder:
        paths = {name: data_directory() / f"zoo/prototxt/{name}.prototxt" for name in NETWORKS}
        if quick:
            own = Path(folder, "AlexNet.prototxt")
            own.write_text(prototxt("pool5"))
            paths = {"AlexNet to pool5": own}
        for name, path in paths.items():
            if path.is_file():
                runs, large, last = (1, 2, None) if quick else NETWORKS[name]
                yield from compare(name, path, last, 1, runs if quick else 5 * runs, folder)
                yield from compare(name, path, last, large, runs, folder)


def compare(name, path, last, batch, runs, folder):
    """Yield the rows of one network, up to the layer `last`, and one size of batch."""
    model, functions = engines(path, last, batch, folder)
    expected = functions["ours"]()
    for engine, function in functions.items():
        check_equal(f"{name}, batch {batch}, {engine}", function(), expected)
    peak = sgemm()
    functions[PEAK] = peak.run
    times = at_peak(time_in_turns(functions, runs), batch * macs(model), peak)
    for peer in list(functions)[1:]:
        reach = REACH[batch > 1].get(peer)
        what = f"{name} to {last}" if last else name
        yield row(f"forward, {what}, batch {batch}", "ours", peer, times, reach=reach)


def engines(path, last, batch, folder):
    """Return the ported model, and each engine as a function without arguments to its output."""
    import cv2
    import onnxruntime
    import tensorflow as tf

    from alexnet_lib.caffe.caffemodel import write_caffemodel
    from alexnet_lib.caffe.description import normalize, read_description, to_text
    from alexnet_lib.port.compilation import compiled
    from alexnet_lib.port.network import build
    from alexnet_lib.port.prove import synthetic_weights

    net = normalize(read_description(path), stop_at=last)
    blobs = synthetic_weights(net)
    model = build(net, blobs)
    random = np.random.default_rng(0)
    images = random.standard_normal((batch, *model.input_shape[1:]), np.float32)
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    ours = compiled(model)

    onnx = Path(folder, "model.onnx")
    model(images[:1])  # Keras exports what has been called
    model.export(onnx, format="onnx", verbose=False)
    session = onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()

    write_caffemodel(Path(folder, "net.caffemodel"), blobs)
    net.layer[0].input_param.shape[0].dim[0] = batch
    text = np.frombuffer(to_text(net).encode(), np.uint8)
    opencv = cv2.dnn.readNetFromCaffe(text, np.fromfile(Path(folder, "net.caffemodel"), np.uint8))

    def forward():
        opencv.setInput(planes)
        return channels_last(opencv.forward())

    return model, {
        "ours": lambda: ours(tf.constant(images), training=False).numpy(),
        "OpenCV DNN": forward,
        "ONNX Runtime": lambda: session.run(None, {given.name: images})[0],
    }


def channels_last(array):
    """Bring an output of Caffe's order into ours."""
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


def macs(model):
    """Count the multiply-accumulates of one image, from the kernels and the sizes of outputs."""
    return sum(
        int(np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:-1], dtype=int))
        for layer in model.layers
        if hasattr(getattr(layer, "kernel", None), "shape")
    )
