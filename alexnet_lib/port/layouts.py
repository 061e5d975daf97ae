"""Convert weights between Caffe's layout and TensorFlow's, and store them as `.npz`.

In TensorFlow's layout, weights are a dict of float32 arrays named "<layer>/kernel" and
"<layer>/bias": convolution kernels HWIO, dense kernels (inputs, outputs).
"""

import contextlib
import zipfile
from collections.abc import Mapping

import numpy as np

from alexnet_lib.caffe.caffemodel import release_pages
from alexnet_lib.damaged import check_listing, reading
from alexnet_lib.errors import InputError
from alexnet_lib.files import atomic_path
from alexnet_lib.port.architecture import weight_layers

__all__ = [
    "caffe_to_tensorflow",
    "load_npz",
    "model_weights",
    "save_npz",
    "tensorflow_to_caffe",
    "transpose_dense",
]

BLOCK = 16  # outputs of a dense kernel to transpose at once; such a block fits into the cache


def caffe_to_tensorflow(blobs):
    """Convert Caffe's blobs to TensorFlow's layout.

    Convolution kernels go from OIHW to HWIO, dense ones are transposed. Caffe flattens pool5 as
    C,H,W and TensorFlow as H,W,C, so the rows of fc6 are permuted to match.

    Args:
        blobs: a dict from layer name to [weights, bias], as `read_caffemodel` returns it. Legacy
            (1, 1, OUT, IN) and (1, 1, 1, N) dimensions are accepted. fc8 may have any number of
            outputs; layers may be missing.

    Returns:
        A dict of contiguous float32 arrays, in the order of `blobs`.

    Raises:
        ValueError: if a layer is not one of AlexNet's or has another shape.
    """
    known = weight_layers()
    weights = {}
    for name, layer_blobs in blobs.items():
        if name not in known:
            raise InputError(
                f"layer {name!r}: expected one of AlexNet's {', '.join(known)}; "
                "another network's file is ported by `python -m alexnet_lib port`"
            )
        if len(layer_blobs) != 2:
            raise InputError(
                f"layer {name!r}: expected [weights, bias], got {len(layer_blobs)} blobs"
            )
        kernel, bias = layer_blobs
        row = known[name]
        if len(row.kernel_shape) == 4:
            height, width, inputs, outputs = row.kernel_shape
            expected = (outputs, inputs, height, width)
        else:
            outputs = kernel.shape[-2] if name == "fc8" and kernel.ndim >= 2 else row.layer.outputs
            expected = (outputs, row.kernel_shape[0])
        # Legacy files put dimensions of 1 in front.
        padded = (1,) * (kernel.ndim - len(expected)) + expected
        if kernel.shape != padded or bias.size != outputs or bias.shape[-1:] != (outputs,):
            raise InputError(
                f"layer {name!r}: expected weights {expected} and bias ({outputs},), "
                f"got {kernel.shape} and {bias.shape}"
            )
        kernel = kernel.reshape(expected)
        if kernel.ndim == 4:
            kernel = np.ascontiguousarray(kernel.transpose(2, 3, 1, 0), np.float32)
        else:
            kernel = transpose_dense(kernel, row.input_shape)
        weights[f"{name}/kernel"] = kernel
        weights[f"{name}/bias"] = np.ascontiguousarray(bias.reshape(-1), np.float32)
    return weights


def transpose_dense(kernel, input_shape):
    """Convert (outputs, inputs) to TensorFlow's layout, block by block.

    Each block's pages are released when it is done, so the file and its copy are never both in
    memory.
    """
    outputs, inputs = kernel.shape
    height, width, channels = input_shape if len(input_shape) == 3 else (1, 1, inputs)
    result = np.empty((height, width, channels, outputs), np.float32)
    for start in range(0, outputs, BLOCK):
        block = kernel[start : start + BLOCK]
        images = block.reshape(-1, channels, height, width)
        result[..., start : start + BLOCK] = images.transpose(2, 3, 1, 0)
        release_pages(block)
    return result.reshape(inputs, outputs)


def tensorflow_to_caffe(weights):
    """Convert weights to Caffe's blobs, the inverse of `caffe_to_tensorflow`.

    Returns:
        A dict from layer name to [weights, bias] with the legacy dimensions of BVLC's files, ready
        for `write_caffemodel`.

    Raises:
        ValueError: if a layer is not one of AlexNet's, is incomplete, or has another shape.
    """
    known = weight_layers()
    blobs = {}
    for name in dict.fromkeys(key.split("/")[0] for key in weights):
        kernel, bias = (weights.get(f"{name}/{part}") for part in ("kernel", "bias"))
        expected = known[name].kernel_shape if name in known else ()
        if name == "fc8" and bias is not None:
            expected = (expected[0], bias.size)
        if kernel is None or bias is None or kernel.shape != expected or bias.ndim != 1:
            raise InputError(
                f"layer {name!r}: expected one of AlexNet's {', '.join(known)} with kernel and "
                f"bias of {expected} and {expected[-1:]}, got "
                f"{[None if array is None else array.shape for array in (kernel, bias)]}"
            )
        outputs = bias.size
        if kernel.ndim == 4:
            kernel = kernel.transpose(3, 2, 0, 1)
        elif len(known[name].input_shape) == 3:
            kernel = kernel.reshape(*known[name].input_shape, outputs).transpose(3, 2, 0, 1)
            kernel = kernel.reshape(1, 1, outputs, -1)
        else:
            kernel = kernel.T[None, None]
        blobs[name] = [np.ascontiguousarray(kernel), bias.reshape(1, 1, 1, -1)]
    return blobs


def model_weights(model):
    """Return a model's weights under the names that `save_npz` and `load_weights` use."""
    names = {*weight_layers(), "readout"}
    return {
        f"{layer.name}/{part}": weight.numpy()
        for layer in model.layers
        if layer.name in names
        for part, weight in zip(("kernel", "bias"), layer.weights, strict=True)
    }


def save_npz(path, weights):
    """Store weights as an uncompressed `.npz` without pickles, atomically."""
    if not str(path).endswith(".npz"):
        raise InputError(f"expected a path that ends in .npz. Received: path={str(path)!r}")
    with atomic_path(path) as partial:
        np.savez(partial, **weights)


class _Arrays(Mapping):
    """The arrays of an `.npz` by name, each read to its end, where zip keeps a checksum.

    `numpy.load` stops where an array's header says, and then a damaged header goes unnoticed.
    """

    def __init__(self, archive):
        self.archive = archive
        self.members = {name.removesuffix(".npy"): name for name in archive.namelist()}

    def __getitem__(self, name):
        if name not in self.members:
            raise KeyError(f"it lacks {name!r}")
        with self.archive.open(self.members[name]) as member:
            array = np.lib.format.read_array(member, allow_pickle=False)
            if member.read(1):
                raise InputError(f"array {name!r}: expected {array.nbytes} bytes, found more")
        return array

    def __iter__(self):
        return iter(self.members)

    def __len__(self):
        return len(self.members)


@contextlib.contextmanager
def open_npz(path, expected):
    """Open an `.npz` without pickles as a mapping from names to arrays.

    Args:
        path: of the file.
        expected: what it should hold, for errors.

    Raises:
        InputError: for anything that goes wrong in the block because the file is damaged or
            something else; see `reading`.
    """
    with reading(path, expected), zipfile.ZipFile(path) as archive:
        check_listing(archive)
        yield _Arrays(archive)


def load_npz(path):
    """Load weights from an `.npz`, without pickles.

    Returns:
        A dict of arrays in TensorFlow's layout.

    Raises:
        ValueError: if the file is damaged, not an `.npz`, or holds Python objects.
    """
    with open_npz(path, "an .npz of plain arrays, as `save_npz` writes it") as file:
        return dict(file)


def only_weights(arrays):
    """Leave out what a classifier's file holds beside weights: classes, augmentation, white."""
    beside = ("classes", "augment", "white")
    return {name: array for name, array in arrays.items() if name not in beside}
