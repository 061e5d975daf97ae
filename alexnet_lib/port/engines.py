"""Run AlexNet in two independent engines: OpenCV's Caffe importer and ONNX Runtime.

Neither shares code with TensorFlow or with this library's reader, so an error in the port shows as
a difference between them.
"""

import contextlib
import os

import cv2
import numpy as np
import tensorflow as tf

from alexnet_lib.errors import InputError
from alexnet_lib.port.architecture import CLASSES, INPUT_SIZE, LAYERS, describe, prototxt
from alexnet_lib.port.backend import keras

__all__ = [
    "keras_activations",
    "onnx_activations",
    "onnx_model",
    "opencv_activations",
    "opencv_network",
    "relative_error",
    "without_tf32",
]


def keras_activations(model, images):
    """Return the output of every layer of `model`, by name, float32 (batch, ...)."""
    names = [layer.name for layer in LAYERS if layer.name in {item.name for item in model.layers}]
    probe = keras.Model(model.input, [model.get_layer(name).output for name in names])
    with without_tf32():
        outputs = probe(images)
    return {name: np.asarray(y) for name, y in zip(names, outputs, strict=True)}


@contextlib.contextmanager
def without_tf32():
    """Compute products in float32; by default, recent GPUs round their factors to 11 bits."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def opencv_network(text, caffemodel):
    """Import a network into OpenCV, which computes each layer apart and in full accuracy.

    Args:
        text: the prototxt.
        caffemodel: path of the weights; OpenCV reads the file itself.

    Returns:
        A `cv2.dnn.Net`. If OpenCV refuses one of the two, its `cv2.error` is passed on.
    """
    net = cv2.dnn.readNetFromCaffe(
        np.frombuffer(text.encode(), np.uint8), np.fromfile(os.fspath(caffemodel), np.uint8)
    )
    net.enableFusion(False)  # a fused layer has no output of its own
    net.enableWinograd(False)  # trades accuracy for speed
    return net


def opencv_activations(caffemodel, images, last="prob", classes=CLASSES):
    """Run a `.caffemodel` through OpenCV's own Caffe importer.

    Args:
        caffemodel: path of the file; OpenCV reads it itself.
        images: float32 (batch, 227, 227, 3), made by `preprocess_input`.
        last: name of the last layer to run; "pool5" for a file without fc layers.
        classes: number of outputs of the file's fc8.

    Returns:
        A dict from layer name to its output, float32, channels last.
    """
    net = opencv_network(prototxt(last, batch=len(images), classes=classes), caffemodel)
    net.setInput(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
    names = [layer.name for layer in LAYERS]
    names = names[: names.index(last) + 1]
    return dict(zip(names, map(_channels_last, net.forward(names)), strict=True))


def onnx_activations(blobs, images):
    """Run the public ONNX graph of BVLC's AlexNet, with its weights replaced, in ONNX Runtime.

    The `onnx` package contains the graph with constant weights, for an input of 224 and with a
    padded last pooling; with 227 no padding is needed.

    Args:
        blobs: all eight layers' [weights, bias] in Caffe's layout, as `read_caffemodel` returns.
        images: float32 (batch, 227, 227, 3), made by `preprocess_input`.

    Returns:
        A dict from layer name to its output, float32, channels last.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(
        onnx_model(blobs).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    outputs = session.run(
        [layer.name for layer in LAYERS],
        {"data": np.ascontiguousarray(images.transpose(0, 3, 1, 2))},
    )
    return {layer.name: _channels_last(y) for layer, y in zip(LAYERS, outputs, strict=True)}


def onnx_model(blobs):
    """Return the BVLC graph of the `onnx` package with `blobs` as weights and our layer names."""
    import onnx
    from onnx import helper, numpy_helper

    folder = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data", "light")
    graph = onnx.load(os.path.join(folder, "light_bvlc_alexnet.onnx")).graph
    weights = {}
    for name, (kernel, bias) in blobs.items():
        outputs = bias.size
        weights[f"{name}_w_0"] = kernel.reshape(outputs, -1) if name[:2] == "fc" else kernel
        weights[f"{name}_b_0"] = bias.reshape(outputs)
    weights["shape"] = np.array([-1, 9216])
    names = (layer.name for layer in LAYERS)
    renamed, nodes = {"data_0": "data", "OC2_DUMMY_1": "shape"}, []
    for node in graph.node:
        if node.op_type == "ConstantOfShape":  # makes the weights that we replace
            continue
        for attribute in node.attribute:
            if attribute.name == "pads" and node.op_type == "MaxPool":
                attribute.ints[:] = [0, 0, 0, 0]
        name = "flatten" if node.op_type == "Reshape" else next(names)
        renamed[node.output[0]] = name
        del node.output[1:]  # dropout's mask
        node.output[0] = name
        node.input[:] = [renamed.get(source, source) for source in node.input]
        nodes.append(node)

    def value(name, shape):
        height_width = shape[:-1]
        dims = ["batch", shape[-1], *height_width]
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, dims)

    image = value("data", (INPUT_SIZE, INPUT_SIZE, 3))
    outputs = [value(row.layer.name, row.output_shape) for row in describe(blobs["fc8"][1].size)]
    initializers = [numpy_helper.from_array(np.asarray(w), key) for key, w in weights.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "bvlc_alexnet", [image], outputs, initializers),
        opset_imports=[helper.make_opsetid("", 9)],
        ir_version=4,
    )
    onnx.checker.check_model(model)
    return model


def relative_error(actual, expected):
    """Return the largest difference, divided by the largest expected magnitude.

    Raises:
        ValueError: if the shapes differ.
    """
    if actual.shape != expected.shape:
        raise InputError(f"expected shape {expected.shape}, got {actual.shape}")
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def _channels_last(array):
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array
