"""Read and write `.caffemodel` files, Caffe's binary weights, without Caffe or protobuf.

A `.caffemodel` is a protocol buffer: nested records of (field number, wire type, payload). The
field numbers below come from BVLC/caffe, src/caffe/proto/caffe.proto, and the wire format from the
encoding guide of protocol buffers. The reader walks over a memory-mapped file and returns NumPy
views into it, so opening a 244 MB file copies nothing.
"""

import contextlib
import itertools
import math
import mmap
import os
import re
import stat
from typing import NamedTuple

import h5py
import numpy as np

from alexnet_lib.errors import InputError
from alexnet_lib.files import atomic_path

__all__ = ["CaffeModelError", "read_caffemodel", "write_caffemodel"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIRE_TYPES = {VARINT: "varint", FIXED64: "64-bit", BYTES: "length-delimited", FIXED32: "32-bit"}

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
BLOB_LEGACY = {1: "num", 2: "channels", 3: "height", 4: "width"}
BLOB_DATA, BLOB_SHAPE, BLOB_DOUBLE_DATA, SHAPE_DIM = 5, 7, 8, 1
# NVIDIA's Caffe writes a blob's numbers as bytes, and their type beside them.
BLOB_RAW_TYPE, BLOB_RAW_DATA, RAW_TYPES = 10, 12, {0: "<f8", 1: "<f4", 2: "<f2"}
STATE_ITERATION, STATE_NET = 1, 2  # of a SolverState
V1_TYPE, V1_CONVOLUTION, V1_INNER_PRODUCT = 5, 4, 14

MAX_AXES = 32  # Caffe's own limit, kMaxBlobAxes
MAX_DIMENSION = 2**31 - 1

HDF5 = b"\x89HDF\r\n\x1a\n"
# What people hand to a reader of weights instead of weights, by how it begins.
LOOKALIKES = {
    rb"PK\x03\x04": "a zip archive (.npz, .keras?)",
    rb"<": "HTML or XML, perhaps the error page of a failed download",
    rb"\s*(#[^\n]*\n\s*)*(name|input|input_dim|input_shape|force_backward|state|layers?)\s*[:{]": (
        "a prototxt, the network's description; the weights are in the .caffemodel"
    ),
    rb"version https://git-lfs": "a Git LFS pointer; run `git lfs pull`",
    rb"\x1f\x8b|BZh|\xfd7zXZ": "a compressed archive, such as an export of DIGITS; unpack it "
    "(`tar xzf FILE`) and take the .caffemodel and the deploy.prototxt that are in it",
    rb"\x93NUMPY|\x80[\x02-\x05]": "a pickled .npy or pickle, as old converters wrote them; "
    "pickles can run any code and are not opened here. Take the .caffemodel that it was made from",
}


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


class CaffeModelError(InputError):
    """A malformed `.caffemodel`; the message gives the place and what was expected and found."""


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
    return _read_hdf5(os.fspath(path)) if reader is None else reader.read_net()


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
        return reader.without_blobs(reader.whole(), NET_LAYERS)


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
    return None if data[: len(HDF5)] == HDF5 else _Reader(path, data)


def _read_hdf5(path):
    """Read a snapshot with `snapshot_format: HDF5`: data/LAYER/INDEX."""
    found = {}

    def visit(name, item):
        layer, _, index = name.rpartition("/")
        if isinstance(item, h5py.Dataset) and layer and index.isdecimal():
            found.setdefault(layer, {})[int(index)] = np.asarray(item[()], np.float32)

    try:
        with h5py.File(path) as file:
            if "learned_net" in file or "data" not in file:
                kind = "of a solver's state" if "learned_net" in file else "without a group 'data'"
                raise KeyError(f"it is one {kind}; the weights are in the .caffemodel.h5")
            file["data"].visititems(visit)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
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
    layers = {layer: [blobs[i] for i in range(len(blobs))] for layer, blobs in found.items()}
    for blob in itertools.chain.from_iterable(layers.values()):
        blob.flags.writeable = False
    return layers


class _Field(NamedTuple):
    """One field of a message; `position` (of its tag), `start` and `stop` are byte offsets."""

    position: int
    number: int
    wire: int
    value: int | None  # of a varint; other payloads are read when needed
    start: int  # of the payload, after tag and length
    stop: int


class _Reader:
    """Walks over the messages of one file; every position is a byte offset into the file."""

    def __init__(self, path, data):
        self.path = path
        self.data = data
        self.layer = None

    def fail(self, position, expected, found):
        where = "" if self.layer is None else f", layer {self.layer[:80]!r}"
        raise CaffeModelError(
            f"{self.path}: byte {position}{where}: expected {expected}, found {found}"
        )

    def expect(self, field, wires, what):
        if field.wire not in wires:
            kinds = " or ".join(WIRE_TYPES[wire] for wire in wires)
            self.fail(field.position, f"{what} as {kinds}", WIRE_TYPES[field.wire])

    def varint(self, position, end):
        """Return an unsigned varint of at most 64 bits, and the position after it."""
        value = 0
        for count in range(10):
            if position + count >= end:
                self.fail(position, "a varint", "the end of its message: the file is truncated?")
            byte = self.data[position + count]
            value |= (byte & 0x7F) << (7 * count)
            if byte < 0x80 and value < 2**64:
                return value, position + count + 1
        self.fail(position, "a varint of at most 64 bits", "a longer one")

    def field(self, position, end):
        """Return the field at `position` in a message that ends at `end`."""
        tag, start = self.varint(position, end)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number < 2**29:
            self.fail(position, "a field number from 1 to 536870911", f"{number}")
        value = None
        if wire == VARINT:
            value, stop = self.varint(start, end)
        elif wire == BYTES:
            length, start = self.varint(start, end)
            stop = start + length
        elif wire in (FIXED32, FIXED64):
            stop = start + (4 if wire == FIXED32 else 8)
        else:
            self.fail(position, "wire type 0, 1, 2 or 5", f"{wire} in field {number}")
        if stop > end:
            self.fail(
                position,
                f"field {number} to fit into the {end - start} bytes left of its message",
                f"a length of {stop - start}: the file is truncated?",
            )
        return _Field(position, number, wire, value, start, stop)

    def fields(self, start, stop):
        """Yield the fields of the message from `start` to `stop`."""
        while start < stop:
            field = self.field(start, stop)
            yield field
            start = field.stop

    def find(self, messages, number, what):
        """Yield the fields of `messages` with this `number`; they must be length-delimited."""
        for message in messages:
            for field in self.fields(message.start, message.stop):
                if field.number == number:
                    self.expect(field, (BYTES,), what)
                    yield field

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
            if [(f.number, f.wire) for f in fields] == [
                (STATE_ITERATION, VARINT),
                (STATE_NET, BYTES),
            ]:
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

    def whole(self):
        """Return the whole file as one message."""
        return _Field(0, 0, BYTES, None, 0, len(self.data))

    def without_blobs(self, message, parts):
        """Encode a message without its blobs; `parts` says in which fields they are."""
        pieces = []
        for field in self.fields(message.start, message.stop):
            if field.number not in parts:
                pieces.append(self.data[field.position : field.stop])
            elif parts[field.number] is not None:
                self.expect(field, (BYTES,), "a layer")
                pieces.append(_record(field.number, self.without_blobs(field, parts[field.number])))
        return b"".join(pieces)

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
        legacy, shape, singles, doubles, raw, raw_type = {}, [], [], [], None, 0
        position = blob.start
        while position < blob.stop:
            field = self.field(position, blob.stop)
            position = field.stop
            if field.number in BLOB_LEGACY:
                self.expect(field, (VARINT,), f"{what}'s {BLOB_LEGACY[field.number]}")
                legacy[field.number] = field.value
            elif field.number == BLOB_SHAPE:
                self.expect(field, (BYTES,), f"{what}'s shape")
                shape += self.read_shape(field, what)
            elif field.number == BLOB_DATA:
                position = self.read_numbers(field, FIXED32, singles, blob.stop, what)
            elif field.number == BLOB_RAW_TYPE:
                self.expect(field, (VARINT,), f"{what}'s type")
                raw_type = field.value
            elif field.number == BLOB_RAW_DATA:
                self.expect(field, (BYTES,), f"{what}'s data")
                raw = field
            elif field.number == BLOB_DOUBLE_DATA:
                position = self.read_numbers(field, FIXED64, doubles, blob.stop, what)
        if legacy:  # as in Caffe, legacy dimensions take precedence; a missing one is 0
            shape = [legacy.get(number, 0) for number in BLOB_LEGACY]
        if len(shape) > MAX_AXES or not all(1 <= size <= MAX_DIMENSION for size in shape):
            # Negative numbers arrive as varints of 2**63 and more.
            sizes = [size - 2**64 if size >= 2**63 else size for size in shape[: MAX_AXES + 1]]
            self.fail(
                blob.position,
                f"{what} with at most {MAX_AXES} dimensions from 1 to {MAX_DIMENSION}",
                f"{len(shape)} dimensions, {sizes}",
            )
        chunks = doubles or singles  # as in Caffe
        if raw is not None:
            if raw_type not in RAW_TYPES:
                self.fail(raw.position, f"{what}'s numbers as double, float or float16", raw_type)
            unit = np.dtype(RAW_TYPES[raw_type])
            length = raw.stop - raw.start
            if length % unit.itemsize:
                self.fail(raw.position, f"{what}'s data in units of {unit.itemsize} bytes", length)
            count = length // unit.itemsize
            chunks = [np.frombuffer(self.data, unit, count, raw.start)] if count else []
        count, size = sum(map(len, chunks)), math.prod(shape)
        if count != size:
            self.fail(blob.position, f"{what} of shape {tuple(shape)} with {size} values", count)
        values = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
        with np.errstate(all="ignore"):  # a double beyond float32 becomes inf, as in Caffe
            values = values.astype(np.float32, copy=False).reshape(shape)
        values.flags.writeable = False
        return values

    def read_shape(self, shape, what):
        """Read a BlobShape's dimensions, packed or one by one."""
        dims = []
        for field in self.fields(shape.start, shape.stop):
            if field.number == SHAPE_DIM:
                self.expect(field, (BYTES, VARINT), f"{what}'s dimension")
                if field.wire == VARINT:
                    dims.append(field.value)
                    continue
                position = field.start
                while position < field.stop:
                    size, position = self.varint(position, field.stop)
                    dims.append(size)
        return dims

    def read_numbers(self, field, single, chunks, end, what):
        """Append a view of the numbers that start at `field`; return the position after them.

        Packed numbers share one field; otherwise each is a field of wire type `single`.
        """
        self.expect(field, (BYTES, single), f"{what}'s data")
        size = 4 if single == FIXED32 else 8
        if field.wire == BYTES:
            length = field.stop - field.start
            if length % size:
                self.fail(field.position, f"{what}'s data in units of {size} bytes", length)
            if length:
                chunks.append(np.frombuffer(self.data, f"<f{size}", length // size, field.start))
            return field.stop
        # Consecutive records with equal tags make one strided view. The search for the last one
        # doubles its step, so that its cost is proportional to the number of records.
        tag = np.frombuffer(self.data, "u1", field.start - field.position, field.position)
        record = field.stop - field.position
        most, count, step = (end - field.position) // record, 1, 64
        while count < most:
            ahead = min(step, most - count)
            position = field.position + count * record
            tags = np.ndarray((ahead, len(tag)), "u1", self.data, position, (record, 1))
            differ = (tags != tag).any(axis=1)
            if differ.any():
                count += int(differ.argmax())
                break
            count, step = count + ahead, 2 * step
        chunks.append(np.ndarray(count, f"<f{size}", self.data, field.start, (record,)))
        return field.position + count * record


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
        file.write(_record(1, name.encode()))
        for layer, blobs in layers.items():
            for index, blob in enumerate(blobs):
                if blob.dtype != np.float32 or blob.size == 0:
                    raise InputError(
                        f"{path}: layer {layer!r}, blob {index}: expected a float32 array with at "
                        f"least one value; cast it first. Received: {blob.dtype} {blob.shape}"
                    )
            inner = not blobs or blobs[0].ndim != 4 or blobs[0].shape[:2] == (1, 1)
            head = _record(4, layer.encode()) + _number(
                V1_TYPE, V1_INNER_PRODUCT if inner else V1_CONVOLUTION
            )
            heads = [_blob_head(blob) for blob in blobs]
            sizes = [len(start) + blob.nbytes for start, blob in zip(heads, blobs, strict=True)]
            prefixes = [_varint(V1_LAYER["blobs"] << 3 | BYTES) + _varint(size) for size in sizes]
            length = len(head) + sum(len(p) + s for p, s in zip(prefixes, sizes, strict=True))
            file.write(_varint(NET_V1_LAYERS << 3 | BYTES) + _varint(length) + head)
            for prefix, start, blob in zip(prefixes, heads, blobs, strict=True):
                file.write(prefix + start)
                file.write(np.ascontiguousarray(blob, "<f4").data)


def _varint(value):
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(encoded) + bytes([value])


def _number(field, value):
    return _varint(field << 3 | VARINT) + _varint(value)


def _record(field, payload):
    return _varint(field << 3 | BYTES) + _varint(len(payload)) + payload


def _blob_head(blob):
    """Encode a blob's dimensions and the header of its packed data."""
    if blob.ndim == 4:
        dims = b"".join(_number(field, size) for field, size in enumerate(blob.shape, start=1))
    else:
        packed = b"".join(_varint(size) for size in blob.shape)
        dims = _record(BLOB_SHAPE, _record(SHAPE_DIM, packed))
    return dims + _varint(BLOB_DATA << 3 | BYTES) + _varint(blob.nbytes)
