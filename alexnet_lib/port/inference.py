"""AlexNet's forward pass in NumPy: an answer before TensorFlow would have been imported.

Images go through the convolutions one by one, so threads can share them: NumPy lets Python's other
threads run while it computes. The fully connected layers, whose weights are what takes time to read
from memory, see a batch at once. Chapter 4's engines prove the same network layer by layer.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from alexnet_lib.errors import InputError
from alexnet_lib.port.architecture import INPUT_SIZE, LAYERS, LRN, describe

__all__ = ["check_weights", "convolutional_features", "probabilities"]

_FC6 = next(i for i, layer in enumerate(LAYERS) if layer.type == "InnerProduct")


def check_weights(weights):
    """Raise an error unless `weights` are those of all of AlexNet's layers.

    Args:
        weights: a dict of arrays in TensorFlow's layout, as `load_npz` returns it. fc8 may have any
            number of outputs, and fc6 and fc7 the same number.

    Returns:
        The same dict, with every array as float32.

    Raises:
        InputError: where a layer is missing, unknown, or has another shape.
    """
    units, classes = (np.size(weights.get(f"{name}/bias", ())) for name in ("fc6", "fc8"))
    expected = {}
    for row in describe(classes, fc_units=units):
        if row.kernel_shape:
            expected[f"{row.layer.name}/kernel"] = row.kernel_shape
            expected[f"{row.layer.name}/bias"] = row.kernel_shape[-1:]
    if lacking := dict.fromkeys(key.split("/")[0] for key in expected if key not in weights):
        raise InputError(f"expected weights of all layers, lacks {', '.join(lacking)}")
    if strangers := dict.fromkeys(key.split("/")[0] for key in weights if key not in expected):
        raise InputError(f"layers that AlexNet does not have: {', '.join(strangers)}")
    for key, shape in expected.items():
        array = weights[key]
        if array.shape != shape or array.dtype.kind != "f":
            raise InputError(
                f"{key}: expected floats of {shape}, got {array.dtype} of {array.shape}"
            )
    return {key: array.astype(np.float32, copy=False) for key, array in weights.items()}


def convolutional_features(weights, image):
    """Run one image through the layers up to pool5.

    Args:
        weights: of `check_weights`.
        image: float32 (227, 227, 3), made by `preprocess_input`.

    Returns:
        float32 (6, 6, 256).

    Raises:
        InputError: for an image of another shape.
    """
    if image.shape != (INPUT_SIZE, INPUT_SIZE, 3):
        raise InputError(
            f"expected an image of ({INPUT_SIZE}, {INPUT_SIZE}, 3). Received: {image.shape}"
        )
    x = image
    for layer in LAYERS[:_FC6]:
        if layer.type == "Convolution":
            x = _convolve(x, weights[f"{layer.name}/kernel"], layer)
            x += weights[f"{layer.name}/bias"]
        elif layer.type == "ReLU":
            np.maximum(x, 0, out=x)
        elif layer.type == "LRN":
            x = _normalize(x)
        else:
            windows = sliding_window_view(x, (layer.kernel, layer.kernel), (0, 1))
            windows = windows[:: layer.stride, :: layer.stride]
            x = windows[..., 0, 0].copy()
            for row, column in np.ndindex(windows.shape[-2:]):
                np.maximum(x, windows[..., row, column], out=x)
    return x


def probabilities(weights, features):
    """Run a batch through the layers after pool5.

    Args:
        weights: of `check_weights`.
        features: float32 (batch, 6, 6, 256), of `convolutional_features`.

    Returns:
        float32 (batch, classes); each row sums to 1.

    Raises:
        InputError: if they are not finite, because weights or images were not.
    """
    x = features.reshape(len(features), -1)  # height, width, channels, as fc6 expects it
    for layer in LAYERS[_FC6:]:
        if layer.type == "InnerProduct":
            x = x @ weights[f"{layer.name}/kernel"] + weights[f"{layer.name}/bias"]
        elif layer.type == "ReLU":
            np.maximum(x, 0, out=x)
        elif layer.type == "Softmax":
            x = np.exp(x - x.max(axis=1, keepdims=True))
            x /= x.sum(axis=1, keepdims=True)
    if not np.isfinite(x).all():
        raise InputError("the network's output is not finite; its weights are damaged")
    return x


def _convolve(x, kernel, layer):
    """Return the convolution of (height, width, channels) without its bias, as a product a group.

    Each window becomes a row of a matrix, and each output's kernel a column of another.
    """
    height, width, inputs, outputs = kernel.shape
    x = np.pad(x, [(layer.pad, layer.pad)] * 2 + [(0, 0)])
    results = []
    for group in range(layer.groups):
        part = np.ascontiguousarray(x[..., group * inputs : (group + 1) * inputs])
        windows = sliding_window_view(part, (height, width), (0, 1))
        windows = windows[:: layer.stride, :: layer.stride].transpose(0, 1, 3, 4, 2)
        rows = windows.reshape(-1, height * width * inputs)
        step = outputs // layer.groups
        columns = kernel[..., group * step : (group + 1) * step].reshape(-1, step)
        results.append(rows @ columns)
    return np.concatenate(results, axis=1).reshape(*windows.shape[:2], outputs)


def _normalize(x):
    """Divide each value by (k + alpha / local_size * sum of squares of its neighbours) ** beta."""
    channels = np.arange(x.shape[-1])
    near = np.abs(channels[:, None] - channels) <= LRN["local_size"] // 2
    band = near * np.float32(LRN["alpha"] / LRN["local_size"])
    return x / (np.float32(LRN["k"]) + (x * x) @ band) ** np.float32(LRN["beta"])
