"""Write a model for other programs, and report success only for a file that computes the same.

Each file is written beside its place, opened by the runtime that it is meant for, compared with the
model on noise, and only then moved into place.
"""

import contextlib
import importlib
import io
import os
import shutil
import uuid
import warnings
from pathlib import Path

import numpy as np

from alexnet_lib.errors import AlexNetError, InputError
from alexnet_lib.files import atomic_path
from alexnet_lib.quiet import hidden_stderr

__all__ = ["FORMATS", "ExchangeError", "format_of", "save_model"]

LIMIT = 1e-5
# By ending: the packages that write and open the format, and how to install them.
OPTIONAL = {
    ".onnx": (("tf2onnx", "onnx", "onnxruntime"), "pip install tf2onnx onnx onnxruntime"),
    ".tflite": (("ai_edge_litert",), "pip install ai-edge-litert"),
}


class ExchangeError(AlexNetError):
    """A file was not written, or another runtime computes something else from it."""


def save_model(model, path, limit=LIMIT):
    """Write a model in the format that the path's ending names.

    Args:
        model: a Keras model, channels last.
        path: ends in .keras, .weights.h5, .npz (weights alone, by "layer/weight"), .onnx or
            .tflite; without an ending, it is a folder for a SavedModel. An old file or SavedModel
            there is replaced.
        limit: the largest difference from the model's outputs, as a share of their magnitude.

    Returns:
        The largest difference that was seen, on one input of noise; 0.0 for weights alone, which
        are compared bit by bit.

    Raises:
        InputError: for another ending, or a folder that holds something else.
        ExchangeError: where a package is missing, the format cannot express the model, or the
            file computes something else; `path` is left as it was.
    """
    path = Path(path)
    ending = format_of(path)
    packages, install = OPTIONAL.get(ending, ((), ""))
    for package in packages:
        try:
            importlib.import_module(package)
        except ImportError as error:
            raise ExchangeError(
                f"{path}: writing {ending} needs the package {package}: {install}"
            ) from error
    write, run = FORMATS[ending]
    generator = np.random.default_rng(0)
    inputs = [generator.standard_normal((1, *x.shape[1:]), np.float32) for x in model.inputs]
    expected = _call(model, inputs)
    with _place(path, folder=not ending) as partial:
        try:
            with _quiet():
                write(model, partial)
                actual = run(model, partial, inputs)
        except AlexNetError:
            raise
        except Exception as error:  # whatever a converter or a runtime has to say
            raise ExchangeError(f"{path}: this model cannot be written so: {error}") from error
        if actual is None:
            return 0.0
        if sorted(y.shape for y in actual) != sorted(y.shape for y in expected):
            raise ExchangeError(
                f"{path}: expected outputs of {[y.shape for y in expected]}, "
                f"got {[y.shape for y in actual]}"
            )
        # Runtimes have orders of their own: compare each output with the one that fits best.
        worst = max(min(_error(a, y) for a in actual if a.shape == y.shape) for y in expected)
        if not worst <= limit:
            raise ExchangeError(
                f"{path}: its own runtime differs from the model by {worst:.1e}, more than {limit}"
            )
    return worst


@contextlib.contextmanager
def _quiet():
    """Keep back what converters print and warn about on their way."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), hidden_stderr():
        warnings.simplefilter("ignore")
        yield


def format_of(path):
    """Return the ending in `FORMATS` that a path has, "" for a SavedModel's folder.

    Raises:
        InputError: for another ending.
    """
    path = Path(path)
    for ending in FORMATS:
        if ending and path.name.endswith(ending) and path.name != ending:
            return ending
    if path.suffix:
        raise InputError(
            f"{path}: expected an ending of {', '.join(filter(None, FORMATS))}, or none for the "
            f"folder of a SavedModel. Received: {path.suffix}"
        )
    return ""


@contextlib.contextmanager
def _place(path, folder):
    """Give a temporary path that takes the place of `path` when all went well."""
    if not folder:
        with atomic_path(path) as partial:
            yield partial
        return
    old = path.exists() and any(path.iterdir())
    if old and not (path / "saved_model.pb").exists():
        raise InputError(f"{path}: expected no folder or one of a SavedModel, found other files")
    partial = path.with_name(f".{uuid.uuid4().hex}-{path.name}")
    try:
        yield partial
        if old:
            shutil.rmtree(path)
        os.replace(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _call(function, inputs):
    """Call a model or one of its functions; return its outputs as a list of arrays."""
    outputs = function(inputs if len(inputs) > 1 else inputs[0])
    outputs = [*outputs.values()] if isinstance(outputs, dict) else outputs
    return [np.asarray(y) for y in (outputs if isinstance(outputs, list | tuple) else [outputs])]


def _error(actual, expected):
    if not np.abs(expected).max() > 0:
        return float(np.abs(actual).max())
    from alexnet_lib.port.engines import relative_error

    return relative_error(actual, expected)


def _named_weights(model):
    """Return a model's weights by layer and name."""
    return {
        f"{layer.name}/{weight.name}": weight.numpy()
        for layer in model.layers
        for weight in layer.weights
    }


def _write_npz(model, path):
    np.savez(path, **_named_weights(model))


def _check_npz(model, path, _):
    with np.load(path, allow_pickle=False) as file:
        for name, array in _named_weights(model).items():
            if file[name].tobytes() != array.tobytes():
                raise ExchangeError(f"{name}: the file has other values than the model")


def _write_weights(model, path):
    """Write Keras's HDF5 file anew with checksums, which every reader of HDF5 checks."""
    import h5py

    model.save_weights(path)

    def copy(name, item):
        if isinstance(item, h5py.Group):
            made = target.require_group(name)
        else:  # HDF5 has no checksum for a single number
            made = target.create_dataset(name, data=item[()], fletcher32=item.ndim > 0)
        for key, value in item.attrs.items():
            made.attrs[key] = value

    # This generation of the format has checksums of its structure too.
    latest = {"libver": ("v110", "v110")}
    with (
        atomic_path(path) as checked,
        h5py.File(path) as plain,
        h5py.File(checked, "w", **latest) as target,
    ):
        plain.visititems(copy)


def _run_weights(model, path, inputs):
    import keras

    clone = keras.models.clone_model(model)
    clone.load_weights(path)
    return _call(clone, inputs)


def _run_keras(_, path, inputs):
    import keras

    return _call(keras.saving.load_model(path), inputs)


def _run_onnx(_, path, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    return session.run(None, dict(zip(names, inputs, strict=True)))


def _run_tflite(model, path, inputs):
    from ai_edge_litert.interpreter import Interpreter

    signature = Interpreter(str(path)).get_signature_runner()
    given = {x.name: value for x, value in zip(model.inputs, inputs, strict=True)}
    names = signature.get_input_details()
    if set(names) != set(given):
        given = dict(zip(names, inputs, strict=True))
    return list(signature(**given).values())


def _run_saved_model(_, path, inputs):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)  # its functions do not hold its variables
    return _call(loaded.serve, list(map(tf.constant, inputs)))


#: By ending, what writes a model and what runs the file; "" is a folder for a SavedModel.
FORMATS = {
    ".weights.h5": (_write_weights, _run_weights),
    ".keras": (lambda model, path: model.save(path), _run_keras),
    ".npz": (_write_npz, _check_npz),
    ".onnx": (lambda model, path: model.export(path, format="onnx", verbose=False), _run_onnx),
    ".tflite": (
        lambda model, path: model.export(path, format="litert", verbose=False), _run_tflite,
    ),
    "": (
        lambda model, path: model.export(path, format="tf_saved_model", verbose=False),
        _run_saved_model,
    ),
}  # fmt: skip
