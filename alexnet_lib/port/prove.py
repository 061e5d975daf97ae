"""Prove a port: each layer of the Keras model beside an engine that shares no code with it.

The oracle is OpenCV's own Caffe importer. Where it differs from Caffe, the NumPy reference takes
its place, and computes from OpenCV's values of the layers before.
"""

import contextlib
import os
import tempfile
import warnings

import cv2
import numpy as np
import pandas as pd

from alexnet_lib.caffe.caffemodel import write_caffemodel
from alexnet_lib.caffe.description import to_text
from alexnet_lib.caffe.network_files import read_network
from alexnet_lib.errors import InputError
from alexnet_lib.port import reference
from alexnet_lib.port.backend import keras
from alexnet_lib.port.engines import opencv_network, relative_error, without_tf32
from alexnet_lib.port.network import (
    blob_shapes,
    build,
    keras_names,
    top_shapes,
)

__all__ = [
    "LIMIT",
    "compare",
    "first_broken",
    "keras_tops",
    "noise",
    "opencv_differs",
    "plot_errors",
    "prove",
    "random_inputs",
    "synthetic_weights",
    "worst_error",
]

#: The largest relative error of a layer that holds.
LIMIT = 1e-5


def prove(
    prototxt, caffemodel, input=None, input_shape=None, stop_at=None, rename=None, skip=(), seed=0
):
    """Port a network and compare every layer with the oracle.

    Args:
        prototxt: path of the description, as for `port`.
        caffemodel: path of the weights, as for `port`.
        input: what to run: a float32 array (batch, height, width, channels), or a dict from the
            names of the network's inputs to such arrays; by default noise.
        input_shape: as for `port`.
        stop_at: as for `port`.
        rename: as for `port`.
        skip: layers to which both sides are given noise as weights.
        seed: of the noise.

    Returns:
        A `pandas.DataFrame` with a row for each layer: `layer`, `type`, `shape` in Caffe's order,
        `oracle`, and `error`, the largest difference as a share of the largest magnitude.

    Raises:
        ValueError: where the network cannot be ported, or `input` does not fit.
    """
    net, blobs = read_network(prototxt, caffemodel, input_shape, stop_at, rename)
    if skip:
        fresh = synthetic_weights(net, seed)
        blobs |= {name: fresh[name] for name in skip if name in fresh}
    inputs = random_inputs(net, seed) if input is None else _given_inputs(net, input)
    as_read = not (rename or skip)
    return compare(build(net, blobs), net, blobs, inputs, caffemodel if as_read else None)


def compare(model, net, blobs, inputs, caffemodel=None):
    """Compare every layer of a model with the oracle.

    Where Keras and OpenCV disagree, NumPy computes the layer from OpenCV's values of the layers
    before. If it disagrees with OpenCV too, it takes OpenCV's place for this layer.

    Args:
        model: a Keras model that `build` made of `net`.
        net: a `NetParameter` in normal form.
        blobs: its weights, by layer name.
        inputs: a dict from the name of each input to a float32 array in Caffe's order.
        caffemodel: path of the file that `blobs` came from, so that OpenCV reads it itself;
            without it, OpenCV is given `blobs`.

    Returns:
        The table of `prove`.
    """
    actual = keras_tops(model, net, inputs)
    net = _with_batch(net, inputs)
    # Tops that no output needs are not in the model: of Crop's second bottom, the shape suffices.
    made = {layer.name: [top for top in layer.top if top in actual] for layer in net.layer}
    layers = [layer for layer in net.layer if made[layer.name]]
    by_numpy = {layer.name for layer in layers if opencv_differs(layer)}
    while True:
        try:
            expected = _opencv_tops(net, blobs, inputs, caffemodel, by_numpy)
        except cv2.error as error:
            warnings.warn(f"OpenCV refuses this network, NumPy replaces it: {error}", stacklevel=2)
            by_numpy = {layer.name for layer in layers}
            expected = reference.run(net, blobs, {top: _wide(x) for top, x in inputs.items()})
        errors = {layer.name: worst_error(actual, expected, made[layer.name]) for layer in layers}
        suspects = (x for x in layers if not errors[x.name] <= LIMIT and x.name not in by_numpy)
        suspect = next(suspects, None)
        # NumPy cannot judge a shape: it shares the builder's arithmetic.
        if suspect is None or errors[suspect.name] == np.inf:
            break
        if _numpy_agrees(suspect, blobs, expected):
            break
        by_numpy.add(suspect.name)
    return pd.DataFrame(
        {
            "layer": [layer.name for layer in layers],
            "type": [layer.type for layer in layers],
            "shape": ["x".join(map(str, expected[layer.top[0]].shape)) for layer in layers],
            "oracle": ["NumPy" if layer.name in by_numpy else "OpenCV" for layer in layers],
            "error": [errors[layer.name] for layer in layers],
        }
    )


def _numpy_agrees(layer, blobs, expected):
    """Return whether NumPy computes what OpenCV does from the same inputs of a layer."""
    bottoms = [_wide(expected[name]) for name in layer.bottom]
    tops = reference.forward(layer, bottoms, blobs.get(layer.name, ()))
    return worst_error(dict(zip(layer.top, tops, strict=True)), expected, layer.top) <= LIMIT


def first_broken(table, limit=LIMIT):
    """Return the name of the first layer whose error is not at most `limit`, or None."""
    broken = table[~(table.error <= limit)]
    return None if broken.empty else broken.layer.iloc[0]


def plot_errors(table, limit=LIMIT, ax=None):
    """Draw the error of each layer, and the limit.

    Args:
        table: as `prove` returns it.
        limit: what the errors must not exceed.
        ax: matplotlib axes to draw in; a new figure by default.

    Returns:
        The axes.
    """
    import matplotlib.pyplot as plt

    axes = ax or plt.subplots(figsize=(8, 4), layout="constrained")[1]
    errors = table.error.clip(lower=1e-9)
    for oracle, part in errors.groupby(table.oracle):
        axes.semilogy(part.index, part, ".", label=f"against {oracle}")
    axes.axhline(limit, color="tab:red", lw=1, label=f"limit {limit:g}")
    few = np.unique(np.linspace(0, len(table) - 1, min(len(table), 24)).astype(int))
    axes.set_xticks(few, table.layer.iloc[few], rotation=90, fontsize=7)
    axes.set(title="Error of each ported layer", ylabel="largest difference / largest magnitude")
    axes.legend()
    return axes


def synthetic_weights(net, seed=0):
    """Make weights for a description: noise that keeps the activations' scale from layer to layer.

    Args:
        net: a `NetParameter` in normal form.
        seed: of the noise; the same seed gives the same weights.

    Returns:
        A dict from layer name to float32 blobs in Caffe's layout.
    """
    generator = np.random.default_rng(seed)
    types = {layer.name: layer for layer in net.layer}
    return {
        name: [
            noise(types[name], index, shape, generator).astype(np.float32)
            for index, shape in enumerate(shapes)
        ]
        for name, shapes in blob_shapes(net).items()
    }


def noise(layer, index, shape, generator):
    """Return noise for one blob of a layer, of a scale that suits what the layer does with it."""
    if layer.type in ("Convolution", "Deconvolution", "InnerProduct") and index == 0:
        inputs = np.prod(shape[1:])
        if layer.type == "Deconvolution" or layer.inner_product_param.transpose:
            inputs = shape[0]
        return generator.standard_normal(shape) * np.sqrt(2 / inputs)
    if layer.type == "BatchNorm" and index:  # the third blob is the factor of the other two
        return generator.uniform(1, 3, shape)
    if layer.type in ("Scale", "Normalize", "PReLU") and index == 0:
        return generator.uniform(0.2, 0.8, shape)
    return generator.normal(0, 0.1, shape)


def random_inputs(net, seed=0):
    """Return standard normal noise for each input of a network, in Caffe's order.

    The batch is at most 2, but the description's where a Reshape may count on it.
    """
    generator = np.random.default_rng(seed)
    counted = any(layer.type == "Reshape" for layer in net.layer)
    return {
        top: generator.standard_normal(
            [shape.dim[0] if counted else min(shape.dim[0], 2), *shape.dim[1:]], np.float32
        )
        for layer in net.layer
        if layer.type == "Input"
        for top, shape in zip(layer.top, layer.input_param.shape, strict=True)
    }


def _given_inputs(net, given):
    """Bring a user's channels-last arrays into Caffe's order."""
    described = random_inputs(net)
    given = given if isinstance(given, dict) else dict.fromkeys(list(described)[:1], given)
    if given.keys() != described.keys():
        raise InputError(f"expected inputs {sorted(described)}, got {sorted(given)}")
    inputs = {name: _caffe_order(np.asarray(x, np.float32)) for name, x in given.items()}
    for name, x in inputs.items():
        if x.shape[1:] != described[name].shape[1:]:
            raise InputError(
                f"input {name!r}: expected batch and {described[name].shape[1:]} in Caffe's order, "
                f"got {x.shape}; another size of images goes into `input_shape` (--input) too"
            )
    return inputs


def worst_error(actual, expected, tops):
    """Return the largest relative error of a layer's tops; NaN is larger than any other."""
    errors = []
    for top in tops:
        if actual[top].shape != expected[top].shape:
            return np.inf
        zero = not expected[top].any()
        errors.append(
            float(np.abs(actual[top]).max()) if zero else relative_error(actual[top], expected[top])
        )
    return float(np.max(errors))


def _wide(x):
    return x.astype(np.float64)


def _with_batch(net, inputs):
    copy = type(net)()
    copy.CopyFrom(net)
    for layer in copy.layer:
        for top, shape in zip(layer.top, layer.input_param.shape, strict=False):
            shape.dim[:] = inputs[top].shape
    return copy


def _caffe_order(x):
    return x.transpose(0, 3, 1, 2) if x.ndim == 4 else x


def keras_tops(model, net, inputs):
    """Return the value of every top, in Caffe's order, computed without TF32."""
    layers = {layer.name: layer for layer in model.layers}  # without what no output needs
    outputs = {
        top: layers[name].output
        for top, name in keras_names(net).items()
        if top not in inputs and name in layers
    }
    probe = keras.Model(model.inputs, outputs)
    with without_tf32():
        values = probe([x.transpose(0, 2, 3, 1) if x.ndim == 4 else x for x in inputs.values()])
    return {top: _caffe_order(np.asarray(y)) for top, y in values.items()}


def opencv_differs(layer):
    """Return whether OpenCV computes something else than Caffe for a layer, or refuses it."""
    return (
        layer.type in ("Bias", "Log", "MVN", "Slice", "Split")
        or (layer.type == "InnerProduct" and layer.inner_product_param.transpose)
        or (layer.type == "Scale" and layer.scale_param.num_axes == 0)
        or (layer.type == "Normalize" and not layer.norm_param.channel_shared)
        or (layer.type == "Deconvolution" and max([1, *layer.convolution_param.dilation]) > 1)
    )


def _opencv_tops(net, blobs, inputs, caffemodel, by_numpy):
    """Run OpenCV; the layers `by_numpy` become its inputs, which NumPy computes."""
    text, values = type(net)(name=net.name), dict(inputs)
    read = {top for layer in net.layer if layer.name not in by_numpy for top in layer.bottom}
    shapes = top_shapes(net) if by_numpy else {}
    for layer in net.layer:
        if layer.name not in by_numpy and (layer.type != "Input" or layer.top[0] in read):
            text.layer.add().CopyFrom(layer)
        for top in read.intersection(layer.top) if layer.name in by_numpy else ():
            text.layer.add(name=top, type="Input", top=[top]).input_param.shape.add(dim=shapes[top])
            values[top] = np.zeros(shapes[top], np.float32)  # until it is computed
    engine = _opencv_net(text, blobs, caffemodel) if read else None

    def give(tops):
        for top in read.intersection(tops):
            engine.setInput(np.ascontiguousarray(values[top], np.float32), top)

    def run(layers):
        outputs = engine.forwardAndRetrieve([layer.name for layer in layers]) if layers else []
        for layer, tops in zip(layers, outputs, strict=True):
            values[layer.top[0]] = np.array(tops[0])

    give(values)
    makers = {top: layer for layer in net.layer for top in layer.top}
    for layer in net.layer:
        if layer.name in by_numpy:
            run([makers[name] for name in layer.bottom if name not in values])
            bottoms = [_wide(values[name]) for name in layer.bottom]
            tops = reference.forward(layer, bottoms, blobs.get(layer.name, ()))
            values.update(zip(layer.top, tops, strict=True))
            give(layer.top)
    run([layer for layer in text.layer if layer.type != "Input"])
    return values


def _opencv_net(net, blobs, caffemodel):
    """Import a network into OpenCV, from its own file if OpenCV can read it."""
    text = to_text(net)
    if caffemodel is not None:
        with contextlib.suppress(cv2.error):
            return opencv_network(text, caffemodel)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "weights.caffemodel")
        names = {layer.name for layer in net.layer}
        own = {name: part for name, part in blobs.items() if part and name in names}
        write_caffemodel(path, own or {"none": [np.zeros(1, np.float32)]})
        return opencv_network(text, path)
