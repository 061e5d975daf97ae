"""AlexNet's forward pass in NumPy: an answer before TensorFlow would have been imported.

Images go through the convolutions one by one, so threads can share them: NumPy lets Python's other
threads run while it computes. The fully connected layers, whose weights are what takes time to read
from memory, see a batch at once. Chapter 4's engines prove the same network layer by layer.
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from alexnet_lib.errors import InputError
from alexnet_lib.port.architecture import INPUT_SIZE, LAYERS, LRN, describe

__all__ = ["READ", "areas", "check_weights", "features", "probabilities", "side"]

_FC6 = next(i for i, layer in enumerate(LAYERS) if layer.type == "InnerProduct")
#: The layers whose channels a readout sees.
READ = tuple(layer.name for layer in LAYERS[:_FC6] if layer.type == "ReLU")


def check_weights(weights):
    """Raise an error unless `weights` are those of all of AlexNet's layers.

    Args:
        weights: a dict of arrays in TensorFlow's layout, as `load_npz` returns it. fc8 may have any
            number of outputs, and fc6 and fc7 the same number. Or a readout in place of these, with
            its "readout/sizes" and "readout/views".

    Returns:
        The same dict, with every weight as float32.

    Raises:
        InputError: where a layer is missing, unknown, or has another shape.
    """
    readout = "readout/kernel" in weights
    names = ("readout", "readout") if readout else ("fc6", "fc8")
    units, classes = (np.size(weights.get(f"{name}/bias", ())) for name in names)
    expected, seen = {}, 0
    for row in describe(classes, fc_units=units):
        if readout and row.layer.name in READ:
            seen += 3 * row.output_shape[-1]
        if row.kernel_shape and not (readout and row.layer.type == "InnerProduct"):
            expected[f"{row.layer.name}/kernel"] = row.kernel_shape
            expected[f"{row.layer.name}/bias"] = row.kernel_shape[-1:]
    weights = dict(weights)
    more = {name: weights.pop(f"readout/{name}", None) for name in ("sizes", "views")}
    if readout:
        more = _check_readout(more)
        expected["readout/kernel"] = (seen * more["readout/sizes"].size, classes)
        expected["readout/bias"] = (classes,)
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
    weights = {key: array.astype(np.float32, copy=False) for key, array in weights.items()}
    return weights | more if readout else weights


def _check_readout(more):
    """Return a readout's "readout/sizes" and "readout/views", or raise InputError."""
    for name, array in more.items():
        if array is None or array.dtype.kind not in "iu" or not array.size or array.min() < 1:
            raise InputError(f"readout/{name}: expected positive integers, got {array}")
    return {f"readout/{name}": array for name, array in more.items()}


def side(weights):
    """Return the side of the square that a network of `weights` takes, in pixels."""
    return int(weights["readout/sizes"].max()) if "readout/sizes" in weights else INPUT_SIZE


def features(weights, image):
    """Run one image through the convolutions.

    Args:
        weights: of `check_weights`.
        image: float32 (side, side, 3) with `side` of these weights, made by `preprocess_input`.

    Returns:
        What `probabilities` takes: pool5, float32 (6, 6, 256); for a readout its statistics.

    Raises:
        InputError: for an image of another shape.
    """
    size = side(weights)
    if image.shape != (size, size, 3):
        raise InputError(f"expected an image of ({size}, {size}, 3). Received: {image.shape}")
    if "readout/kernel" not in weights:
        *_, (_, pool5) = _convolutions(weights, image)
        return pool5
    found = []
    for size in weights["readout/sizes"]:
        share = areas(image.shape[0], size)
        small = np.einsum("oh,hwc,pw->opc", share, image, share, optimize=True)
        means = [_statistics(weights, view) for view in some_views(small, weights["readout/views"])]
        found.append(np.sqrt(np.mean(means, axis=0)))
    return np.concatenate(found)


def areas(pixels, size):
    """Return how much of each pixel each of `size` larger ones covers, float32 (size, pixels).

    A product with it is what OpenCV's INTER_AREA computes along an axis.
    """
    edges = np.arange(size + 1) * pixels / size
    index = np.arange(pixels)
    overlap = np.minimum(edges[1:, None], index + 1) - np.maximum(edges[:-1, None], index)
    return (np.maximum(overlap, 0) * size / pixels).astype(np.float32)


def some_views(image, count):
    """Return 1, 2 or 8 views of (height, width, channels): as it is, mirrored, all turns of both.

    Their order is not that of `eight_views`.
    """
    turned = [np.rot90(image, turns) for turns in range(4 if count > 2 else 1)]
    return [view[:, ::step] for view in turned for step in ((1, -1) if count > 1 else (1,))]


def _statistics(weights, image):
    """Return each read channel's mean, maximum and root mean square, layer after layer."""
    found = []
    for name, x in _convolutions(weights, image):
        if name in READ:
            area = (0, 1)
            found += [x.mean(area), x.max(area), np.sqrt((x * x).mean(area))]
            if name == READ[-1]:
                break
    return np.concatenate(found)


def _convolutions(weights, x):
    """Yield the name and the output of each layer up to pool5; they may be overwritten later."""
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
        yield layer.name, x


def probabilities(weights, features):
    """Run a batch through the layers after pool5.

    Args:
        weights: of `check_weights`.
        features: float32, (batch, ...) of `features`.

    Returns:
        float32 (batch, classes); each row sums to 1.

    Raises:
        InputError: if they are not finite, because weights or images were not.
    """
    x = features.reshape(len(features), -1)  # height, width, channels, as fc6 expects it
    if "readout/kernel" in weights:
        x = x @ weights["readout/kernel"] + weights["readout/bias"]
    layers = LAYERS[-1:] if "readout/kernel" in weights else LAYERS[_FC6:]
    for layer in layers:
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
