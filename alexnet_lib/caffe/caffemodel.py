"""Read and write `.caffemodel` files, Caffe's binary weights, without Caffe or protobuf.

A `.caffemodel` is a protocol buffer (see `wire`). The field numbers come from BVLC/caffe,
src/caffe/proto/caffe.proto. The reader walks over a memory-mapped file and returns NumPy views into
it, so opening a 244 MB file copies nothing.
"""

import contextlib
import itertools
import math
import mmap
import os
import re
import stat

import numpy as np

from alexnet_lib.caffe.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    MAX_AXES,
    VARINT,
    CaffeModelError,
    Reader,
    encode_header,
    encode_number,
    encode_record,
    encode_varint,
)
from alexnet_lib.damaged import LOOKALIKES
from alexnet_lib.errors import InputError
from alexnet_lib.files import atomic_path

__all__ = [
    "CaffeModelError", "read_caffemodel", "read_layer_records", "read_mean", "release_pages",
    "write_caffemodel",
]  # fmt: skip

# For each generation of layer messages: the fields that hold the name and the blobs.
V0_LAYER = {"name": 1, "blobs": 50}
V1_LAYER = {"name": 4, "blobs": 6}
LAYER_PARAMETER = {"name": 1, "blobs": 7}
NET_V1_LAYERS, NET_LAYER, V1_HOLDS_V0 = 2, 100, 1
# Where blobs are in a net's messages: fields, and those below them; None stands for a blob.
NET_LAYERS = {
    NET_V1_LAYERS: {V1_LAYER["blobs"]: None, V1_HOLDS_V0: {V0_LAYER["blobs"]: None}},
    NET_LAYER: {LAYER_PARAMETER["blobs"]: None},
}
BLOB_LEGACY = (1, 2, 3, 4)  # num, channels, height, width
BLOB_DATA, BLOB_SHAPE, BLOB_DOUBLE_DATA, SHAPE_DIM = 5, 7, 8, 1
# NVIDIA's Caffe writes a blob's numbers as bytes, and their type beside them.
BLOB_RAW_TYPE, BLOB_RAW_DATA, RAW_TYPES = 10, 12, {0: "<f8", 1: "<f4", 2: "<f2"}
# The wire type of a blob's fields and what they hold; numbers may also be packed.
BLOB_FIELDS = {
    1: (VARINT, "num"), 2: (VARINT, "channels"), 3: (VARINT, "height"), 4: (VARINT, "width"),
    BLOB_SHAPE: (BYTES, "shape"), BLOB_RAW_TYPE: (VARINT, "type"), BLOB_RAW_DATA: (BYTES, "data"),
}  # fmt: skip
BLOB_NUMBERS = {BLOB_DATA: FIXED32, BLOB_DOUBLE_DATA: FIXED64}
SOLVERSTATE = [(1, VARINT), (2, BYTES)]  # begins with an iteration and a file's name
V1_TYPE, V1_CONVOLUTION, V1_INNER_PRODUCT = 5, 4, 14

MAX_DIMENSION = 2**31 - 1
HDF5 = b"\x89HDF\r\n\x1a\n"


def release_pages(blob):
    """Release a view's mapped pages; they are re-read on access.

    Args:
        blob: a blob of `read_caffemodel` or a slice of one; other arrays are left alone.
    """
    base = blob
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        start = blob.ctypes.data - np.frombuffer(base, "u1").ctypes.data
        page = start - start % mmap.PAGESIZE
        base.madvise(mmap.MADV_DONTNEED, page, start + blob.nbytes - page)


def read_caffemodel(path):
    """Read the weights of a `.caffemodel` of any generation, or of a `.caffemodel.h5`.

    Args:
        path: the file's path.

    Returns:
        A dict from layer name to that layer's list of blobs, in file order; layers without blobs
        are left out. Blobs are read-only float32 arrays in Caffe's layout and with the file's own
        dimensions: (O, I/groups, H, W) for a convolution, legacy (1, 1, OUT, IN) or (OUT, IN) for
        an inner product. A blob that the file stores as contiguous float32 is a view into the
        memory-mapped file; other data is converted. The views keep the file mapped. While they
        live, the file may be replaced, as `write_caffemodel` does, but must not be truncated.

    Raises:
        CaffeModelError: if the file is malformed; names file, byte offset and layer.
        OSError: if the file cannot be opened.
    """
    reader = _open(path)
    if reader is None:
        from alexnet_lib.caffe.hdf5 import read_hdf5  # few files need it, and h5py

        return read_hdf5(os.fspath(path))
    return reader.read_net()


def read_layer_records(path):
    """Return the messages of a `.caffemodel` without its blobs, encoded as in the file.

    Raises:
        CaffeModelError: where the file is malformed.
        OSError: where the file cannot be opened.
    """
    reader = _open(path)
    if reader is None:  # HDF5 holds weights alone
        return b""
    with reader.naming_other_kinds():
        return reader.without(reader.whole(), NET_LAYERS, "a layer")


def read_mean(path):
    """Read a mean image (.binaryproto), as Caffe's compute_image_mean writes it.

    Returns:
        A float32 array (channels, height, width), channels in the order of the images (BGR).

    Raises:
        CaffeModelError: where the file is not a mean of one image.
        OSError: where it cannot be opened.
    """
    reader = _open(path)
    mean = np.zeros(0) if reader is None else reader.read_blob(reader.whole(), "the mean")
    if mean.ndim == 4 and len(mean) == 1:
        mean = mean[0]
    if mean.ndim != 3:
        raise CaffeModelError(
            f"{os.fsdecode(path)}: expected a mean image of (1, channels, height, width), "
            f"got {mean.shape}"
        )
    return mean


def _open(path):
    """Map a file into memory and return a reader of it, or None for HDF5."""
    path = os.fspath(path)
    status = os.stat(path)
    # Opening a pipe would wait forever for a writer, so check before opening.
    if not stat.S_ISREG(status.st_mode):
        raise CaffeModelError(f"{path}: expected a .caffemodel file, found a directory or device")
    if status.st_size == 0:
        raise CaffeModelError(f"{path}: byte 0: expected a .caffemodel file, found an empty file")
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return None if data[: len(HDF5)] == HDF5 else _CaffeModel(path, data)


class _CaffeModel(Reader):
    """Reads the layers and blobs of one `.caffemodel`."""

    def read_net(self):
        """Read the whole file into a dict from layer name to blobs."""
        layers = {}
        with self.naming_other_kinds():
            for field in self.fields(0, len(self.data)):
                if field.number in (NET_V1_LAYERS, NET_LAYER):
                    self.expect(field, (BYTES,), "a layer")
                    self.read_layer(field, layers)
            if not layers:
                self.fail(len(self.data), "a layer with blobs", "none up to the end of the file")
        return layers

    @contextlib.contextmanager
    def naming_other_kinds(self):
        """Add to an error what the file looks like instead of a `.caffemodel`."""
        try:
            yield
        except CaffeModelError as error:
            if kind := self.other_kind():
                raise CaffeModelError(f"{error}; this looks like {kind}") from None
            raise

    def other_kind(self):
        """Say what a file that is no `.caffemodel` looks like, or return None."""
        for start, kind in LOOKALIKES.items():
            if re.match(start, self.data[:1000]):
                return kind
        try:
            fields = list(itertools.islice(self.fields(0, len(self.data)), 2))
            if [(f.number, f.wire) for f in fields] == SOLVERSTATE:
                name = self.data[fields[1].start : fields[1].stop][:200]
                return (
                    "a .solverstate, for going on with a training; the weights are in the file "
                    f"that was saved with it, {name.decode('utf-8', 'replace')!r}"
                )
            self.layer = None
            if len(self.read_blob(self.whole(), "the mean").shape) > 1:
                return "a mean (.binaryproto); read it with read_mean, or give it to --mean"
        except CaffeModelError:
            pass
        return None

    def read_layer(self, layer, layers):
        """Add one layer's blobs to `layers`."""
        numbers, messages = LAYER_PARAMETER, [layer]
        if layer.number == NET_V1_LAYERS:
            numbers = V1_LAYER
            if inner := list(self.find([layer], V1_HOLDS_V0, "a V0 layer")):
                numbers, messages = V0_LAYER, inner
        # The name may follow the blobs, but errors in a blob should show it: find it first.
        name = ""
        for field in self.find(messages, numbers["name"], "a layer's name"):
            encoded = self.data[field.start : field.stop]
            try:
                name = encoded.decode()
            except UnicodeDecodeError:
                self.fail(field.position, "a layer's name in UTF-8", encoded[:40])
        self.layer = name
        blobs = []
        for field in self.find(messages, numbers["blobs"], "a blob"):
            blobs.append(self.read_blob(field, f"blob {len(blobs)}"))
        if blobs:
            if not name or name in layers:
                found = "a name that came before" if name else "none"
                self.fail(layer.position, "a layer with a name of its own", found)
            layers[name] = blobs
        self.layer = None

    def read_blob(self, blob, what):
        """Read one BlobProto into a float32 array."""
        last, shape, chunks, position = {}, [], {FIXED32: [], FIXED64: []}, blob.start
        while position < blob.stop:
            field = self.field(position, blob.stop)
            position = field.stop
            if field.number in BLOB_FIELDS:
                wire, part = BLOB_FIELDS[field.number]
                self.expect(field, (wire,), f"{what}'s {part}")
                last[field.number] = field
            if field.number == BLOB_SHAPE:
                shape += self.varints(field, SHAPE_DIM, f"{what}'s dimension")
            elif field.number in BLOB_NUMBERS:
                single = BLOB_NUMBERS[field.number]
                position = self.numbers(field, single, chunks[single], blob.stop, f"{what}'s data")
        chunks = chunks[FIXED64] or chunks[FIXED32]  # as in Caffe
        if raw := last.get(BLOB_RAW_DATA):
            kind = last[BLOB_RAW_TYPE].value if BLOB_RAW_TYPE in last else 0
            if kind not in RAW_TYPES:
                self.fail(raw.position, f"{what}'s numbers as double, float or float16", kind)
            chunks = self.view(raw, RAW_TYPES[kind], f"{what}'s data")
        if any(number in last for number in BLOB_LEGACY):
            # As in Caffe, legacy dimensions take precedence; a missing one is 0.
            shape = [last[number].value if number in last else 0 for number in BLOB_LEGACY]
        self.check_shape(blob, shape, sum(map(len, chunks)), what)
        values = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
        with np.errstate(all="ignore"):  # a double beyond float32 becomes inf, as in Caffe
            values = values.astype(np.float32, copy=False).reshape(shape)
        values.flags.writeable = False
        return values

    def check_shape(self, blob, shape, count, what):
        """Refuse dimensions that Caffe refuses, or that do not fit the number of values."""
        if len(shape) > MAX_AXES or not all(1 <= size <= MAX_DIMENSION for size in shape):
            # Negative numbers arrive as varints of 2**63 and more.
            sizes = [size - 2**64 if size >= 2**63 else size for size in shape[: MAX_AXES + 1]]
            self.fail(
                blob.position,
                f"{what} with at most {MAX_AXES} dimensions from 1 to {MAX_DIMENSION}",
                f"{len(shape)} dimensions, {sizes}",
            )
        if count != (size := math.prod(shape)):
            self.fail(blob.position, f"{what} of shape {tuple(shape)} with {size} values", count)


def write_caffemodel(path, layers, name="AlexNet"):
    """Write weights as a V1 `.caffemodel`, the generation of BVLC's published models.

    Args:
        path: the file to write, atomically.
        layers: a dict from layer name to a list of float32 arrays in Caffe's layout. An array of
            four dimensions is written with the legacy num, channels, height and width, any other
            with a `shape`.
        name: the network's name.

    Raises:
        ValueError: if a blob is not float32 (a silent cast would not be bit-exact) or is empty,
            or if a layer has no name.
    """
    if "" in layers:
        raise InputError(f"{path}: expected a name for every layer, found an empty one")
    with atomic_path(path) as partial, open(partial, "wb") as file:
        file.write(encode_record(1, name.encode()))
        for layer, blobs in layers.items():
            for index, blob in enumerate(blobs):
                if blob.dtype != np.float32 or blob.size == 0:
                    raise InputError(
                        f"{path}: layer {layer!r}, blob {index}: expected a float32 array with at "
                        f"least one value; cast it first. Received: {blob.dtype} {blob.shape}"
                    )
            inner = not blobs or blobs[0].ndim != 4 or blobs[0].shape[:2] == (1, 1)
            head = encode_record(V1_LAYER["name"], layer.encode())
            head += encode_number(V1_TYPE, V1_INNER_PRODUCT if inner else V1_CONVOLUTION)
            heads = []
            for dims, blob in zip(map(_blob_head, blobs), blobs, strict=True):
                heads.append(encode_header(V1_LAYER["blobs"], len(dims) + blob.nbytes) + dims)
            length = len(head) + sum(map(len, heads)) + sum(blob.nbytes for blob in blobs)
            file.write(encode_header(NET_V1_LAYERS, length) + head)
            for start, blob in zip(heads, blobs, strict=True):
                file.write(start)
                file.write(np.ascontiguousarray(blob, "<f4").data)


def _blob_head(blob):
    """Encode a blob's dimensions and the header of its packed data."""
    if blob.ndim == 4:
        dims = b"".join(
            encode_number(field, size) for field, size in enumerate(blob.shape, start=1)
        )
    else:
        packed = b"".join(encode_varint(size) for size in blob.shape)
        dims = encode_record(BLOB_SHAPE, encode_record(SHAPE_DIM, packed))
    return dims + encode_header(BLOB_DATA, blob.nbytes)
