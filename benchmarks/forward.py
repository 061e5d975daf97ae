"""The forward pass, from images in memory to probabilities, by five engines on the same weights.

All take NumPy arrays, each in its own order of axes, and give NumPy arrays. Another row compares
`AlexNet.predict`, the call that users make, with our compiled call of the same images.
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.compare import PEAK, at_peak, check_equal, row, sgemm, time_in_turns

RUNS = {32: 15, 1: 51}
# How many times faster than the peer, and which share of the machine's peak, was to be reached.
# `AlexNet.predict` may take at most so many times as long as the compiled call, by batch.
PREDICT = {32: 1.2, 1: 1.5}
MANY = 320  # images, in batches of 32
REACH = {32: {"ONNX Runtime": 2.0, "OpenCV DNN": 2.5, PEAK: 0.85}, 1: {"ONNX Runtime": 1.3}}


def rows(quick=False):
    """Yield the rows of the table, after a check that all engines give the same probabilities."""
    from alexnet_lib.caffe.caffemodel import write_caffemodel
    from alexnet_lib.port.alexnet import AlexNet
    from alexnet_lib.port.architecture import describe
    from alexnet_lib.port.layouts import tensorflow_to_caffe
    from alexnet_lib.teaching.stand_in import stand_in_weights
    from benchmarks.networks import OriginalGraph, keras_groups

    weights = stand_in_weights()
    macs = sum(layer.macs for layer in describe())
    original, peak = OriginalGraph(weights), sgemm()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "alexnet.caffemodel"
        write_caffemodel(path, tensorflow_to_caffe(weights))
        model = AlexNet(path)
        keras_model = keras_groups(model)
        for batch, runs in {2: 1, 1: 1}.items() if quick else RUNS.items():
            functions = engines(path, model, keras_model, original, batch)
            expected = functions["ours"]()
            for name, function in functions.items():
                check_equal(f"forward, batch {batch}, {name}", function(), expected)
            functions[PEAK] = peak.run
            times = at_peak(time_in_turns(functions, runs), batch * macs, peak)
            for peer in list(functions)[1:]:
                reach = REACH.get(batch, {}).get(peer)
                yield row(f"forward, batch {batch}", "ours", peer, times, reach=reach)
        for batch, count in {2: 3, 1: 1}.items() if quick else {1: 1, 32: 32, -32: MANY}.items():
            runs = 1 if quick else RUNS[abs(batch)]
            yield predict_row(model, abs(batch), count, runs)


def predict_row(model, batch, count, runs):
    """Return the row of `AlexNet.predict` beside the compiled call, over `count` images."""
    import tensorflow as tf

    from alexnet_lib.port.architecture import INPUT_SIZE
    from alexnet_lib.port.compilation import compiled

    random = np.random.default_rng(0)
    images = random.uniform(-128, 128, (count, INPUT_SIZE, INPUT_SIZE, 3)).astype(np.float32)
    parts = [images[start : start + batch] for start in range(0, count, batch)]
    call = compiled(model)

    def plain():
        return np.concatenate([call(tf.constant(part), training=False) for part in parts])

    functions = {
        "predict": lambda: model.predict(images, batch_size=batch, verbose=0),
        "compiled call": plain,
    }
    check_equal(f"predict, {count} images", functions["predict"](), plain())
    times = time_in_turns(functions, runs)
    work = f"AlexNet.predict, {count} images, batch {batch}"
    reach = round(1 / PREDICT.get(batch, 1.2), 3)
    return row(work, "predict", "compiled call", times, reach=reach)


def engines(path, model, keras_model, original, batch):
    """Return each engine as a function without arguments, to the same images' probabilities."""
    import tensorflow as tf

    from alexnet_lib.caffe.caffemodel import read_caffemodel
    from alexnet_lib.port.architecture import INPUT_SIZE
    from alexnet_lib.port.compilation import compiled
    from benchmarks.networks import onnx_runtime, opencv_dnn

    random = np.random.default_rng(0)
    images = random.uniform(-128, 128, (batch, INPUT_SIZE, INPUT_SIZE, 3)).astype(np.float32)
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    ours, theirs = compiled(model), tf.function(keras_model)
    onnx, opencv = onnx_runtime(read_caffemodel(path)), opencv_dnn(path, batch)
    return {
        "ours": lambda: ours(tf.constant(images), training=False).numpy(),
        "ONNX Runtime": lambda: onnx(planes),
        "OpenCV DNN": lambda: opencv(planes),
        "Keras groups": lambda: theirs(tf.constant(images), training=False).numpy(),
        "TF 1 graph": lambda: original.forward(images),
    }
