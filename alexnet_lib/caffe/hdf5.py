"""Read Caffe's snapshots in HDF5 (`.caffemodel.h5`), which `snapshot_format: HDF5` asks for."""

import h5py
import numpy as np

from alexnet_lib.caffe.wire import CaffeModelError
from alexnet_lib.damaged import read_dataset

__all__ = ["read_hdf5"]


def read_hdf5(path):
    """Read the weights of a snapshot; its datasets are data/LAYER/INDEX.

    Args:
        path: the file's path, as text.

    Returns:
        A dict from layer name to a list of read-only float32 arrays in Caffe's layout.

    Raises:
        CaffeModelError: where the file is not such a snapshot, or is damaged.
    """
    found = {}

    def visit(name, item):
        layer, _, index = name.rpartition("/")
        if isinstance(item, h5py.Dataset) and layer and index.isdecimal():
            blob = np.asarray(read_dataset(item), np.float32)
            blob.flags.writeable = False
            found.setdefault(layer, {})[int(index)] = blob

    try:
        with h5py.File(path) as file:
            if "learned_net" in file or "data" not in file:
                kind = "of a solver's state" if "learned_net" in file else "without a group 'data'"
                raise KeyError(f"it is one {kind}; the weights are in the .caffemodel.h5")
            file["data"].visititems(visit)
    except FileNotFoundError:
        raise
    except Exception as error:  # HDF5 raises nearly anything over random bytes
        raise CaffeModelError(
            f"{path}: byte 0: expected a snapshot of Caffe; this looks like an HDF5 file that is "
            f"none, or is broken: {error}"
        ) from error
    for layer, blobs in found.items():
        if sorted(blobs) != list(range(len(blobs))):
            raise CaffeModelError(
                f"{path}: layer {layer!r}: expected blobs 0, 1, ..., found {sorted(blobs)}"
            )
    if not found:
        raise CaffeModelError(f"{path}: expected layers with blobs in 'data', found none")
    return {layer: [blobs[i] for i in range(len(blobs))] for layer, blobs in found.items()}
