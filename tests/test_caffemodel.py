"""The reader and writer of `.caffemodel` files against protobuf, OpenCV and broken files.

`pytest tests/test_caffemodel.py --hypothesis-profile=many` reads 20 times as many files.
"""

import contextlib
import itertools
import mmap
import os
import re
import signal
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import caffe_proto
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from running import run_program

from alexnet_lib.caffe.caffemodel import (
    CaffeModelError,
    read_caffemodel,
    read_mean,
    write_caffemodel,
)
from alexnet_lib.port.architecture import prototxt, weight_layers

CASES = Counter()  # files given to the reader, by the kind of test


@pytest.fixture(scope="module", autouse=True)
def _report_cases(request):
    yield
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in CASES.items())
    with request.config.pluginmanager.get_plugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{CASES.total():,} .caffemodel files read: {kinds}")


@pytest.fixture(autouse=True)
def _no_hang():
    """Fail a test that takes a minute, instead of hanging."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(*_):
        raise TimeoutError("the test still runs after a minute")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """Return a function that reads bytes through a file of their own."""
    path = tmp_path_factory.mktemp("caffemodel") / "net.caffemodel"

    def read_bytes(encoded, kind):
        CASES[kind] += 1
        path.write_bytes(encoded)
        try:
            return read_caffemodel(path)
        finally:
            path.unlink()  # views that live on must not see the next file's bytes

    read_bytes.path = path
    return read_bytes


def described(layers):
    """Everything about a result that can be right or wrong, in comparable form."""
    return [
        (name, [(blob.dtype.str, blob.shape, blob.astype("<f4").tobytes().hex()) for blob in blobs])
        for name, blobs in layers.items()
    ]


def described_by_protobuf(encoded):
    """The same from protobuf's parser; None where it refuses or Caffe would not load the net."""
    layers = caffe_proto.decode(encoded)
    if layers is None or len({name for name, _ in layers}) < len(layers):
        return None
    return [
        (name, [("<f4", shape, values.tobytes().hex()) for shape, values in blobs])
        for name, blobs in layers
    ]


# Random nets, put together field by field.

FLOATS = np.array(
    [0, 1 << 31, 1, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC12345, 0x7F800001, 0x7F7FFFFF],
    np.uint32,  # +0, -0, denormal, +inf, -inf, NaN, NaN with payload, signalling NaN, largest
)
DOUBLES = np.array(
    [0, -0.0, 1e-320, 1e-46, 3.5e38, -1e300, np.inf, -np.inf, np.nan, 1 / 3, 16777217.0]
).view(np.uint64)
SIGNALLING = np.array([0x7FF0000000000001], np.uint64)


@st.composite
def pieces_in_order(draw, *rows):
    """Merge rows of byte strings at random; each row keeps its own order."""
    rows = [list(row) for row in rows if row]
    merged = []
    while rows:
        row = draw(st.sampled_from(rows)) if len(rows) > 1 else rows[0]
        merged.append(row.pop(0))
        rows = [row for row in rows if row]
    return b"".join(merged)


def raw(message, packed=True, **fields):
    """Encode one message whose inner messages are bytes already."""
    kind = getattr(caffe_proto.messages(packed, nested=False), message)
    return kind(**fields).SerializeToString()


UNKNOWN = [
    raw("Unknown", **field)
    for field in ({"varint": 2**64 - 1}, {"fixed32": 7}, {"fixed64": 7}, {"bytes": b"\x0a\x7f"})
]
unknown_fields = st.lists(st.sampled_from(UNKNOWN), max_size=2)


@st.composite
def blobs(draw):
    """Return a blob's bytes and the array that they mean."""
    long = draw(st.booleans())
    sizes = st.integers(1, 700) if long else st.integers(1, 4)
    shape = tuple(draw(st.lists(sizes, max_size=1 if long else 5)))
    count = int(np.prod(shape, dtype=int))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    double = draw(st.booleans())
    kind, special = (np.uint64, [*DOUBLES, *SIGNALLING]) if double else (np.uint32, FLOATS)
    bits = random.integers(0, np.iinfo(kind).max, count, kind, endpoint=True)
    odd = random.random(count) < 0.3
    bits[odd] = random.choice(np.array(special, kind), odd.sum())

    cuts = sorted(draw(st.lists(st.integers(0, count), max_size=3)))
    data = []
    for start, stop in zip([0, *cuts], [*cuts, count], strict=True):
        field = "double_data" if double else "data"
        packed = draw(st.booleans())
        data.append(raw("BlobProto", packed, **{field: bits[start:stop].tolist()}))
    extra = draw(unknown_fields)
    if len(shape) == 4 and draw(st.booleans()):
        names = draw(st.permutations(["num", "channels", "height", "width"]))
        sides = dict(zip(("num", "channels", "height", "width"), shape, strict=True))
        dims = [raw("BlobProto", **{name: sides[name]}) for name in names]
        if draw(st.booleans()):  # Caffe lets the legacy dimensions win
            extra.append(raw("BlobProto", shape=raw("BlobShape", dim=[2, 9])))
    else:
        cut = draw(st.integers(0, len(shape)))  # protobuf merges the two halves
        packed = draw(st.booleans())
        dims = [
            raw("BlobProto", shape=raw("BlobShape", packed, dim=part))
            for part in (shape[:cut], shape[cut:])
        ]
    if double and draw(st.booleans()):  # Caffe lets double_data win
        extra.append(raw("BlobProto", draw(st.booleans()), data=[1, 2, 3]))
    if draw(st.booleans()):  # packed data of no numbers at all
        extra.append(draw(st.sampled_from([b"\x2a\x00", b"\x42\x00"])))
    if draw(st.booleans()):
        extra.append(raw("BlobGradients", draw(st.booleans()), diff=[1, 2], double_diff=[3]))
    encoded = draw(pieces_in_order(dims, data, extra))
    with np.errstate(all="ignore"):
        values = bits.view(np.float64 if double else np.float32).astype(np.float32)
    return encoded, values.reshape(shape)


MESSAGES = {"V0": "V0LayerParameter", "V1": "V1LayerParameter", "V2": "LayerParameter"}


@st.composite
def nets(draw, max_layers=3):
    """Return a whole file's bytes and the layers that they mean."""
    generations = draw(st.sampled_from([("V0",), ("V1",), ("V2",), ("V0", "V1", "V2")]))
    text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
    names = draw(st.lists(text, min_size=1, max_size=max_layers, unique=True))
    expected, row = {}, []
    for name in names:
        generation = draw(st.sampled_from(generations))
        message = MESSAGES[generation]
        found = draw(st.lists(blobs(), min_size=1, max_size=2))
        parts = [
            [raw(message, blobs=[encoded]) for encoded, _ in found],
            [raw(message, name=name)],
            [raw(message, type=4 if generation == "V1" else "Convolution")],
            draw(unknown_fields),
        ]
        layer = draw(pieces_in_order(*parts))
        if generation == "V0":
            wrapped = [raw("V1LayerParameter", layer=layer)]
            if draw(st.booleans()):  # in two halves, which protobuf merges
                wrapped = [
                    raw("V1LayerParameter", layer=b"".join(parts[0])),
                    raw("V1LayerParameter", layer=b"".join(parts[1])),
                ]
            layer = draw(pieces_in_order(wrapped, [raw("V1LayerParameter", bottom=["x"])]))
        wrapper = {"layer" if generation == "V2" else "layers": [layer]}
        row.append(raw("NetParameter", **wrapper))
        expected[name] = [values for _, values in found]
    if draw(st.booleans()):  # layers without blobs may share a name, or have none
        row.insert(0, raw("NetParameter", layers=[raw("V1LayerParameter", name=names[0])]))
        row.append(raw("NetParameter", layer=[b""]))
    return draw(
        pieces_in_order(row, [raw("NetParameter", name="net")], draw(unknown_fields))
    ), expected


@given(net=nets())
def test_reader_agrees_with_protobuf_on_random_nets(read, net):
    encoded, expected = net
    layers = read(encoded, "random nets")
    assert described(layers) == described(expected), "the reader differs from what was encoded"
    # Protobuf sorts by field number where generations are mixed, so compare without order.
    assert sorted(described(layers)) == sorted(described_by_protobuf(encoded))
    for blob in itertools.chain(*layers.values()):
        assert blob.dtype == np.float32
        assert not blob.flags.writeable


@given(data=st.data())
def test_reader_agrees_with_protobuf_on_damaged_nets(read, data):
    encoded, _ = data.draw(nets(max_layers=2))
    damaged = bytearray(encoded)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(len(damaged) - 1, 0)))
        piece = data.draw(st.binary(max_size=4) | st.just(bytes(damaged[at : at + 9])))
        damaged[at : at + data.draw(st.sampled_from([0, 1, 1, 2, 8]))] = piece
    check_damaged(read, bytes(damaged), "randomly damaged nets")


def holds_both_v0_and_v1(encoded):
    parse = caffe_proto.messages(nested=False)
    layers = map(parse.V1LayerParameter.FromString, parse.NetParameter.FromString(encoded).layers)
    return any(layer.HasField("layer") and layer.blobs for layer in layers)


def check_damaged(read, encoded, kind):
    """Only CaffeModelError that names file and offset, or what protobuf reads."""
    try:
        layers = described(read(encoded, kind))
    except CaffeModelError as error:
        message = str(error)
        found = re.match(re.escape(str(read.path)) + r": byte (\d+)[:,]", message)
        assert found, f"no file and byte offset in {message!r}"
        assert int(found[1]) <= len(encoded), f"an offset behind the file's end in {message!r}"
        assert ": expected " in message, message
        assert ", found " in message, message
        return False
    theirs = described_by_protobuf(encoded)
    if theirs is None and holds_both_v0_and_v1(encoded):
        return True  # Caffe drops such a V1 layer's own blobs, so the reader need not look at them
    assert theirs is not None, f"the reader takes what protobuf refuses: {encoded.hex()}, {layers}"
    assert sorted(layers) == sorted(theirs), f"another result than protobuf's: {encoded.hex()}"
    return True


def small_files():
    """One small file a generation, which together use every field that the reader knows."""
    caffe, unpacked = caffe_proto.messages(), caffe_proto.messages(packed=False)
    one, half = 0x3F800000, 0x3F000000
    legacy = caffe.BlobProto(num=2, channels=1, height=1, width=2, data=[one, half, 0, one])
    bias = caffe.BlobProto(data=[one, half], shape=caffe.BlobShape(dim=[2]))
    double = caffe.BlobProto(double_data=[0x3FF << 52], shape=caffe.BlobShape(dim=[1, 1]))
    single = unpacked.BlobProto(data=[one, half], shape=unpacked.BlobShape(dim=[1, 2]))
    v1 = caffe.NetParameter(
        name="net",
        layers=[
            caffe.V1LayerParameter(name="in", top=["x"]),
            caffe.V1LayerParameter(name="conv1", type=4, blobs=[legacy, bias]),
        ],
    )
    v2 = (
        caffe.NetParameter(
            layer=[
                caffe.LayerParameter(name="fc", type="InnerProduct", blobs=[double]),
                caffe.LayerParameter(name="é", bottom=["fc"]),
            ]
        ).SerializeToString()
        + unpacked.NetParameter(
            layer=[unpacked.LayerParameter(name="ip", blobs=[single])]
        ).SerializeToString()
    )
    v0 = caffe.NetParameter(
        layers=[
            caffe.V1LayerParameter(
                bottom=["x"], layer=caffe.V0LayerParameter(name="old", type="conv", blobs=[legacy])
            )
        ]
    )
    return {"V0": v0.SerializeToString(), "V1": v1.SerializeToString(), "LayerParameter": v2}


@pytest.mark.parametrize("generation", ["V0", "V1", "LayerParameter"])
def test_every_byte_changed(read, generation):
    """By a bit, or to an extreme; with the profile `many`, to every value."""
    encoded = small_files()[generation]
    kept = []
    for at, byte in enumerate(encoded):
        values = {byte ^ 1 << bit for bit in range(8)} | {0, 0x7F, 0x80, 0xFF}
        if settings.default.max_examples >= 256:
            values = range(256)
        for value in values:
            damaged = encoded[:at] + bytes([value]) + encoded[at + 1 :]
            kept.append(check_damaged(read, damaged, "files with one byte changed"))
    # Values and names may change without harm, lengths and tags may not.
    assert 0.1 < np.mean(kept) < 0.9


@pytest.mark.parametrize("generation", ["V0", "V1", "LayerParameter"])
def test_truncated_and_shifted_at_every_offset(read, generation):
    encoded = small_files()[generation]
    assert check_damaged(read, encoded, "whole small files")
    for at in range(1, len(encoded)):
        check_damaged(read, encoded[:at], "truncated files")
        check_damaged(read, encoded[at:], "files without their start")
        check_damaged(read, encoded[:at] + encoded[at + 1 :], "files without one byte")
        check_damaged(read, encoded[:at] + b"\x00" + encoded[at:], "files with a byte too much")


def test_bits_and_floats_are_the_same_on_the_wire():
    # The oracle declares data as integers to see exact bits; this is Caffe's own declaration.
    real, bits = caffe_proto.messages(numbers="float"), caffe_proto.messages()
    values = [0.0, -0.0, 1.5, 3e38, float("inf"), 1e-45]
    blob = real.BlobProto(data=values, double_data=values)
    assert np.array_equal(
        np.array(bits.BlobProto.FromString(blob.SerializeToString()).data, np.uint32),
        np.array(values, np.float32).view(np.uint32),
    )


# Broken files, one by one.


def varint(value):
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def record(field, payload):
    return varint(field << 3 | 2) + varint(len(payload)) + payload


def number(field, value):
    return varint(field << 3) + varint(value)


ONE = b"\x00\x00\x80\x3f"
SHAPE, DATA = record(7, record(1, b"\x01")), record(5, ONE)
NAME = record(1, b"a")
GOOD = record(100, NAME + record(7, SHAPE + DATA))


def with_blob(blob):
    """Put a blob into a layer "a" of a file; the blob starts at byte 6."""
    return record(100, NAME + record(7, blob))


def with_dims(*dims):
    return with_blob(record(7, record(1, b"".join(map(varint, dims)))) + DATA)


MALFORMED = {
    "layer is a number": (number(100, 1), "byte 0: expected a layer as length-delimited"),
    "V1 layers are a number": (number(2, 1), "byte 0: expected a layer as length-delimited"),
    "V0 layer is a number": (
        record(2, number(1, 5)),
        "byte 2: expected a V0 layer as length-delimited, found varint",
    ),
    "name is a number": (
        record(100, number(1, 5)),
        "byte 3: expected a layer's name as length-delimited, found varint",
    ),
    "blob is a number": (
        record(100, NAME + number(7, 5)),
        "byte 6, layer 'a': expected a blob as length-delimited, found varint",
    ),
    "num is bytes": (
        with_blob(record(1, b"\x01") + DATA),
        "byte 8, layer 'a': expected blob 0's num as varint, found length-delimited",
    ),
    "width is 32-bit": (
        with_blob(b"\x25" + ONE + DATA),
        "byte 8, layer 'a': expected blob 0's width as varint, found 32-bit",
    ),
    "shape is a number": (
        with_blob(number(7, 1) + DATA),
        "byte 8, layer 'a': expected blob 0's shape as length-delimited, found varint",
    ),
    "dimension is 32-bit": (
        with_blob(record(7, b"\x0d" + ONE) + DATA),
        "byte 10, layer 'a': expected blob 0's dimension as length-delimited or varint, found 32",
    ),
    "data is a number": (
        with_blob(SHAPE + number(5, 1)),
        "byte 13, layer 'a': expected blob 0's data as length-delimited or 32-bit, found varint",
    ),
    "data is 64-bit": (
        with_blob(SHAPE + b"\x29" + ONE + ONE),
        "byte 13, layer 'a': expected blob 0's data as length-delimited or 32-bit, found 64-bit",
    ),
    "double_data is 32-bit": (
        with_blob(SHAPE + b"\x45" + ONE),
        "byte 13, layer 'a': expected blob 0's data as length-delimited or 64-bit, found 32-bit",
    ),
    "layer ends behind the file": (
        GOOD[:-1],
        "byte 0: expected field 100 to fit into the 15 bytes left of its message, found a length",
    ),
    "blob ends behind its layer": (
        record(100, NAME + b"\x3a\x40" + SHAPE + DATA),
        "byte 6: expected field 7 to fit into the 11 bytes left of its message, found a length "
        "of 64",
    ),
    "data ends behind its blob": (
        with_blob(SHAPE + b"\x2a\x08" + ONE),
        "byte 13, layer 'a': expected field 5 to fit into the 4 bytes left of its message",
    ),
    "shape ends behind its blob": (
        with_blob(b"\x3a\x7f"),
        "byte 8, layer 'a': expected field 7 to fit into the 0 bytes left of its message",
    ),
    "a layer of 2**62 bytes": (
        b"\xa2\x06" + varint(2**62),
        "byte 0: expected field 100 to fit into the 0 bytes left of its message, found a length "
        "of 4611686018427387904",
    ),
    "data of 2**62 bytes": (
        with_blob(SHAPE + b"\x2a" + varint(2**62)),
        "byte 13, layer 'a': expected field 5 to fit into the 0 bytes left",
    ),
    "a length of 2**64 - 1": (GOOD + b"\x0a" + varint(2**64 - 1), "byte 19: expected field 1 to"),
    "32-bit field cut off": (GOOD + b"\x1d\x00", "byte 19: expected field 3 to fit into the 1"),
    "varint of 11 bytes": (
        GOOD + b"\x18" + b"\x80" * 10 + b"\x01",
        "byte 20: expected a varint of at most 64 bits, found a longer one",
    ),
    "varint of more than 64 bits": (
        GOOD + b"\x18" + b"\xff" * 9 + b"\x02",
        "byte 20: expected a varint of at most 64 bits, found a longer one",
    ),
    "varint cut off": (GOOD + b"\x18\x80", "byte 20: expected a varint, found the end"),
    "negative dimension": (
        with_dims(2**64 - 3),
        "byte 6, layer 'a': expected blob 0 with at most 32 dimensions from 1 to 2147483647, "
        "found 1 dimensions, [-3]",
    ),
    "negative legacy dimension": (
        with_blob(number(1, 2**64 - 1) + number(2, 1) + number(3, 1) + number(4, 1) + DATA),
        "byte 6, layer 'a': expected blob 0 with at most 32 dimensions from 1 to 2147483647, "
        "found 4 dimensions, [-1, 1, 1, 1]",
    ),
    "zero dimension": (
        with_dims(1, 0),
        "byte 6, layer 'a': expected blob 0 with at most 32 dimensions from 1 to 2147483647, "
        "found 2 dimensions, [1, 0]",
    ),
    "missing legacy dimension": (
        with_blob(number(1, 1) + number(2, 1) + number(3, 1) + DATA),
        "byte 6, layer 'a': expected blob 0 with at most 32 dimensions from 1 to 2147483647, "
        "found 4 dimensions, [1, 1, 1, 0]",
    ),
    "dimension of 2**31": (with_dims(2**31), "byte 6, layer 'a': expected blob 0 with at most 32"),
    "33 dimensions": (
        with_dims(*[1] * 33),
        "byte 6, layer 'a': expected blob 0 with at most 32 dimensions from 1 to 2147483647, "
        "found 33 dimensions",
    ),
    "10,000 dimensions": (
        with_dims(*[1] * 10_000),
        "byte 7, layer 'a': expected blob 0 with at most 32 dimensions from 1 to 2147483647, "
        "found 10000 dimensions",
    ),
    "32 dimensions of 2**31 - 1": (
        with_dims(*[2**31 - 1] * 32),
        "byte 7, layer 'a': expected blob 0 of shape (2147483647, ",
    ),
    "a product that is 1 in 64 bits": (
        with_dims(2**31 - 1, 2**31 - 1, 2**30 + 1),
        "byte 6, layer 'a': expected blob 0 of shape (2147483647, 2147483647, 1073741825) with ",
    ),
    "too few values": (
        with_dims(2, 3),
        "byte 6, layer 'a': expected blob 0 of shape (2, 3) with 6 values, found 1",
    ),
    "too many values": (
        with_blob(SHAPE + DATA + DATA),
        "byte 6, layer 'a': expected blob 0 of shape (1,) with 1 values, found 2",
    ),
    "no values": (
        with_blob(SHAPE),
        "byte 6, layer 'a': expected blob 0 of shape (1,) with 1 values, found 0",
    ),
    "second blob broken": (
        record(100, NAME + record(7, SHAPE + DATA) + record(7, SHAPE)),
        "byte 19, layer 'a': expected blob 1 of shape (1,) with 1 values, found 0",
    ),
    "data of 3 bytes": (
        with_blob(SHAPE + record(5, ONE[1:])),
        "byte 13, layer 'a': expected blob 0's data in units of 4 bytes, found 3",
    ),
    "double_data of 4 bytes": (
        with_blob(SHAPE + record(8, ONE)),
        "byte 13, layer 'a': expected blob 0's data in units of 8 bytes, found 4",
    ),
    "two layers of one name": (
        GOOD + GOOD,
        "byte 19, layer 'a': expected a layer with a name of its own, found a name that came",
    ),
    "no name": (
        record(100, record(7, SHAPE + DATA)),
        "byte 0, layer '': expected a layer with a name of its own, found none",
    ),
    "name in Latin-1": (
        record(100, record(1, "é".encode("latin-1")) + record(7, SHAPE + DATA)),
        "byte 3: expected a layer's name in UTF-8, found b'\\xe9'",
    ),
    "name of 100,000 letters": (
        record(100, record(1, b"a" * 100_000) + record(7, SHAPE)),
        f"byte 100009, layer '{'a' * 80}': expected blob 0 of shape (1,) with 1 values, found 0",
    ),
    "group": (GOOD + b"\x1b\x1c", "byte 19: expected wire type 0, 1, 2 or 5, found 3 in field 3"),
    "end of group": (GOOD + b"\x1c", "byte 19: expected wire type 0, 1, 2 or 5, found 4"),
    "wire type 6": (GOOD + b"\x1e", "byte 19: expected wire type 0, 1, 2 or 5, found 6"),
    "wire type 7": (GOOD + b"\x1f", "byte 19: expected wire type 0, 1, 2 or 5, found 7"),
    "field number 0": (GOOD + b"\x00\x00", "byte 19: expected a field number from 1 to 536870911"),
    "field number 2**29": (GOOD + number(2**29, 1), "byte 19: expected a field number from 1 to"),
    "name only": (
        record(1, b"AlexNet"),
        "byte 9: expected a layer with blobs, found none up to the end of the file",
    ),
    "layer without blobs only": (record(100, NAME), "byte 6: expected a layer with blobs, found"),
    "empty": (b"", "byte 0: expected a .caffemodel file, found an empty file"),
    "one zero byte": (b"\x00", "byte 0: expected a field number"),
    "text": (b"Hello, world.\n" * 20, "byte "),
    "zeros": (bytes(1000), "byte 0: expected a field number"),
    "PNG": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(99), "byte "),
}

# Files of other kinds, and what the message says that they look like.
LOOKALIKES = {
    "HTML": (b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n", "HTML"),
    "XML": (b'<?xml version="1.0"?>\n<Error/>\n', "XML"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file"),
    "zip": (b"PK\x03\x04\x14\x00" + bytes(99), "a zip archive"),
    "prototxt": (prototxt().encode(), "a prototxt"),
    "prototxt behind comments": (b"# a\n \n# b # c\n layer { }", "a prototxt"),
    "description of V1": (b'layers { name: "a" }', "a prototxt"),
    "DIGITS export": (b"\x1f\x8b\x08\x00" + bytes(99), "tar xzf"),
    "array of an old converter": (b"\x93NUMPY\x01\x00v\x00{'descr': '|O'" + bytes(99), "pickled"),
    "pickle": (b"\x80\x02}q\x00X\x05" + bytes(99), "pickled .*not opened"),
    "solver's state": (
        number(1, 10_000) + record(2, b"lenet_iter_10000.caffemodel") + record(3, SHAPE + DATA),
        "a .solverstate.*'lenet_iter_10000.caffemodel'",
    ),
    "mean image": (
        number(1, 1) + number(2, 3) + number(3, 2) + number(4, 1) + record(5, ONE * 6),
        "a mean",
    ),
    "Git LFS pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_file_says_what_is_wrong(read, case):
    encoded, expected = MALFORMED[case]
    peaks = []
    for _ in range(2):  # the first run may fill caches of Python's own
        tracemalloc.start()
        with pytest.raises(CaffeModelError) as caught:
            read(encoded, "malformed files made by hand")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert str(caught.value).startswith(f"{read.path}: {expected}")
    assert len(str(caught.value)) < 1000
    assert min(peaks) < 1e6 + 20 * len(encoded), "memory in proportion to a lying length"
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("case", LOOKALIKES)
def test_file_of_another_kind_is_called_by_its_name(read, case):
    encoded, kind = LOOKALIKES[case]
    with pytest.raises(CaffeModelError, match=f"byte .*; this looks like .*{kind}"):
        read(encoded, "files of other kinds")


def test_hand_made_files_are_good_without_their_fault(read):
    assert described(read(GOOD, "whole small files")) == [("a", [("<f4", (1,), ONE.hex())])]
    assert with_blob(SHAPE + DATA) == with_dims(1) == GOOD


def test_legacy_dimensions_without_name_clash(read):
    # Train and test phases share a name in Caffe's files; only layers with blobs need their own.
    bare = record(100, NAME)
    assert list(read(bare + GOOD + bare, "whole small files")) == ["a"]


def test_scalar_blob(read):
    layers = read(with_blob(DATA), "whole small files")
    assert layers["a"][0].shape == ()
    assert layers["a"][0] == 1


def test_missing_file_directory_and_device(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_caffemodel(tmp_path / "nowhere.caffemodel")
    with pytest.raises(CaffeModelError, match=re.escape(str(tmp_path)) + ".* a directory"):
        read_caffemodel(tmp_path)
    if os.path.exists("/dev/zero"):
        with pytest.raises(CaffeModelError, match=r"/dev/zero.* device"):
            read_caffemodel("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CaffeModelError, match=r"pipe: expected a \.caffemodel file"):
        read_caffemodel(tmp_path / "pipe")


def test_path_may_be_text_or_bytes(tmp_path):
    path = tmp_path / "é.caffemodel"
    path.write_bytes(GOOD)
    assert list(read_caffemodel(str(path))) == list(read_caffemodel(os.fsencode(path))) == ["a"]


# Cost.


def alternating_tags(count):
    # Two spellings of one tag: every number starts a new row of records.
    return with_blob(SHAPE + (b"\x2d" + ONE + b"\xad\x00" + ONE) * count)


def shrinking_rows(count):
    row = b"\x2d" + ONE
    return with_blob(SHAPE + b"".join(row * 70 + number(99, 1) for _ in range(count // 2)))


ADVERSARIES = {
    "unpacked numbers with alternating tags": alternating_tags,
    "short rows of unpacked numbers": shrinking_rows,
    "empty layers": lambda count: record(100, b"") * count,
    "empty V0 layers": lambda count: record(2, record(1, b"") * count),
    "names": lambda count: record(100, NAME * count),
    "dimensions": lambda count: with_blob(record(7, record(1, b"\x01" * count))),
    "empty data": lambda count: with_blob(SHAPE + record(5, b"") * count),
    "legacy dimensions": lambda count: with_blob(number(1, 1) * count),
    "layers": lambda count: b"".join(
        record(100, record(1, b"%d" % index) + record(7, SHAPE + DATA))
        for index in range(count // 8)
    ),
    "blobs": lambda count: record(100, NAME + record(7, SHAPE + DATA) * (count // 4)),
    "unknown fields": lambda count: number(99, 1) * count,
}


@pytest.mark.parametrize("case", ADVERSARIES)
def test_time_grows_with_the_file_and_not_its_square(read, case):
    def seconds(encoded):
        start = time.process_time()
        with contextlib.suppress(CaffeModelError):
            read(encoded, "long files")
        return time.process_time() - start

    small, large = ADVERSARIES[case](1000), ADVERSARIES[case](16000)
    # Square growth would be a ratio of 256.
    base = min(seconds(small) for _ in range(5))
    assert min(seconds(large) for _ in range(2)) < 40 * base + 0.05


def in_own_process(script, path):
    """Run a script in a fresh interpreter, which has a memory peak of its own."""
    helpers = """
        import sys
        import numpy as np
        from alexnet_lib.caffe.caffemodel import read_caffemodel

        def memory(name):
            lines = open("/proc/self/status").read().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024
    """
    return [float(value) for value in run_program(helpers + script, path).split()]


LINUX_ONLY = pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="memory is read from Linux's /proc"
)


@LINUX_ONLY
def test_opening_a_large_file_takes_no_memory(tmp_path):
    path = tmp_path / "large.caffemodel"
    half = np.ones((4, 16, 512, 512), np.float32)  # 64 MiB
    write_caffemodel(path, {"a": [half], "b": [half]})
    opened, touched = in_own_process(
        """
        before = memory("VmRSS")
        layers = read_caffemodel(sys.argv[1])
        opened = memory("VmHWM")
        total = sum(blob.sum() for blobs in layers.values() for blob in blobs)
        assert total == 2**25, total
        print(opened - before, memory("VmHWM") - before)
        """,
        path,
    )
    assert opened < 50, f"opening took {opened} MiB"
    assert touched > 120, f"the measurement does not see 128 MiB that are read: {touched} MiB"


@LINUX_ONLY
def test_file_of_more_than_4_gib(tmp_path):
    path = tmp_path / "sparse.caffemodel"
    count = 2**30 + 1
    data = b"\x2a" + varint(4 * count)
    shape = record(7, record(1, varint(count)))
    blob = b"\x3a" + varint(len(shape) + len(data) + 4 * count)
    length = len(NAME) + len(blob) + len(shape) + len(data) + 4 * count
    with open(path, "wb") as file:
        file.write(b"\xa2\x06" + varint(length) + NAME + blob + shape + data)
        file.seek(4 * (count - 1), os.SEEK_CUR)
        file.write(ONE)
    assert os.path.getsize(path) > 2**32
    opened, values, last = in_own_process(
        """
        before = memory("VmRSS")
        (values,) = read_caffemodel(sys.argv[1])["a"]
        print(memory("VmHWM") - before, values.size, values[-1] + values[0])
        """,
        path,
    )
    path.unlink()
    assert opened < 50, f"opening took {opened} MiB"
    assert (values, last) == (count, 1)


def owner(array):
    while isinstance(array, np.ndarray):
        array = array.base
    return array.obj if isinstance(array, memoryview) else array


@pytest.mark.parametrize("packed", [True, False])
def test_blobs_are_read_only_views_of_the_mapped_file(read, packed):
    caffe = caffe_proto.messages(packed)
    values = np.arange(3000, dtype=np.float32)
    blob = caffe.BlobProto(
        data=values.view(np.uint32).tolist(), shape=caffe.BlobShape(dim=[30, 100])
    )
    net = caffe.NetParameter(layer=[caffe.LayerParameter(name="a", blobs=[blob])])
    (array,) = read(net.SerializeToString(), "whole small files")["a"]
    assert isinstance(owner(array), mmap.mmap)
    assert np.array_equal(array, values.reshape(30, 100))
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True


# The writer.


@st.composite
def layers_to_write(draw):
    layers = {}
    names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
    for name in draw(st.lists(names, min_size=1, max_size=3, unique=True)):
        layers[name] = []
        for _ in range(draw(st.integers(1, 3))):
            shape = tuple(draw(st.lists(st.integers(1, 5), max_size=6)))
            random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
            bits = random.integers(0, 2**32, shape, np.uint32)
            bits = np.where(random.random(shape) < 0.3, random.choice(FLOATS, shape), bits)
            blob = bits.astype(np.uint32).view(np.float32)
            layers[name].append(draw(st.sampled_from([blob, blob.T, np.flip(blob)])))
    return layers


@given(layers=layers_to_write())
def test_written_file_reads_back_to_the_bit(tmp_path_factory, layers):
    CASES["files by our writer"] += 1
    path = tmp_path_factory.getbasetemp() / "written.caffemodel"
    write_caffemodel(path, layers)
    assert described(read_caffemodel(path)) == described(layers)
    assert described_by_protobuf(path.read_bytes()) == described(layers)


def test_written_file_is_v1_with_legacy_dimensions(tmp_path):
    path = tmp_path / "net.caffemodel"
    kernel, weights = np.ones((4, 3, 2, 2), np.float32), np.ones((5, 6), np.float32)
    bias = np.ones((1, 1, 1, 4), np.float32)
    layers = {"conv": [kernel, bias], "fc": [weights], "relu": []}
    layers |= {"old fc": [weights[None, None]], "depthwise": [kernel[:, :1]], "one": [kernel[:1]]}
    write_caffemodel(path, layers, name="né")
    net = caffe_proto.messages().NetParameter.FromString(path.read_bytes())
    assert (net.name, len(net.layer)) == ("né", 0)
    types = {layer.name: layer.type for layer in net.layers if layer.blobs}
    assert types == {"conv": 4, "fc": 14, "old fc": 14, "depthwise": 4, "one": 4}
    conv, fc = net.layers[0].blobs, net.layers[1].blobs
    assert [(b.num, b.channels, b.height, b.width) for b in conv] == [(4, 3, 2, 2), (1, 1, 1, 4)]
    assert not any(blob.HasField("shape") for blob in conv)
    assert list(fc[0].shape.dim) == [5, 6]
    assert not fc[0].HasField("num")
    assert list(read_caffemodel(path)) == list(types)


@pytest.mark.parametrize(
    "bad",
    [
        np.ones(3),
        np.ones(3, np.float16),
        np.ones(3, np.int32),
        np.ones(3, ">f4"),
        np.ones((3, 0), np.float32),
    ],
    ids=lambda blob: f"{blob.dtype.str}{blob.shape}",
)
def test_writer_refuses_and_leaves_the_old_file(tmp_path, bad):
    path = tmp_path / "net.caffemodel"
    good = {"a": [np.ones(3, np.float32)]}
    write_caffemodel(path, good)
    with pytest.raises(ValueError, match=r"net\.caffemodel: layer 'b', blob 1: .*float32"):
        write_caffemodel(path, {"a": [np.zeros(3, np.float32)], "b": [good["a"][0], bad]})
    assert described(read_caffemodel(path)) == described(good)
    assert os.listdir(tmp_path) == ["net.caffemodel"], "a failed write leaves litter"


def test_writer_refuses_a_layer_without_a_name(tmp_path):
    with pytest.raises(ValueError, match=r"net\.caffemodel: expected a name for every layer"):
        write_caffemodel(tmp_path / "net.caffemodel", {"": [np.ones(3, np.float32)]})
    assert os.listdir(tmp_path) == []


def test_failed_first_write_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        write_caffemodel(tmp_path / "net.caffemodel", {"a": [np.ones(3, np.float32)]})
    assert os.listdir(tmp_path) == []


def test_rewriting_a_file_leaves_views_of_the_old_one_alone(tmp_path):
    path = tmp_path / "net.caffemodel"
    write_caffemodel(path, {"a": [np.ones(5000, np.float32)]})
    (old,) = read_caffemodel(path)["a"]
    write_caffemodel(path, {"a": [np.zeros(3, np.float32)]})
    assert old.sum() == 5000
    write_caffemodel(path, {"a": [old + 1]})
    assert read_caffemodel(path)["a"][0].sum() == 10000


# Other engines.


def opencv_weights(path, names):
    cv2 = pytest.importorskip("cv2")
    text = np.frombuffer(prototxt("pool5").encode(), np.uint8)
    net = cv2.dnn.readNetFromCaffe(text, np.fromfile(path, np.uint8))
    return {name: [net.getParam(name, 0), net.getParam(name, 1)] for name in names}


def assert_opencv_agrees(path):
    ours = read_caffemodel(path)
    for name, theirs in opencv_weights(path, ours).items():
        for blob, (mine, other) in enumerate(zip(ours[name], theirs, strict=True)):
            assert other.size == mine.size
            bits = [np.ascontiguousarray(x, np.float32).tobytes() for x in (mine, other)]
            assert bits[0] == bits[1], f"{name}, blob {blob}: OpenCV reads another value"
        assert theirs[0].shape == ours[name][0].shape


def test_opencv_reads_the_same_from_a_written_file(tmp_path):
    random = np.random.default_rng(0)
    layers = {}
    for name, row in weight_layers().items():
        if len(row.kernel_shape) == 4:
            height, width, inputs, outputs = row.kernel_shape
            kernel = random.standard_normal((outputs, inputs, height, width), np.float32)
            bias = random.standard_normal((1, 1, 1, outputs), np.float32)
            layers[name] = [kernel, bias]
    path = tmp_path / "conv.caffemodel"
    write_caffemodel(path, layers)
    CASES["files by our writer"] += 1
    assert described(read_caffemodel(path)) == described(layers)
    assert_opencv_agrees(path)


@pytest.mark.parametrize(("kind", "code"), [("<f8", 0), ("<f4", 1), ("<f2", 2)])
def test_numbers_as_raw_bytes(read, kind, code):
    values = np.array([[0.5, -2, 3], [4, 5, 1.25]], kind)
    shape = record(7, record(1, b"\x02\x03"))
    raw = record(12, values.tobytes())
    blob = read(with_blob(shape + number(10, code) + raw), "blobs of raw bytes")["a"][0]
    assert blob.dtype == np.float32
    np.testing.assert_array_equal(blob, values.astype(np.float32))
    if code == 0:  # proto2's default
        np.testing.assert_array_equal(
            read(with_blob(raw + shape), "blobs of raw bytes")["a"][0], blob
        )


RAW_FAULTS = {
    "integers": (number(10, 3) + record(12, bytes(8)), "as double, float or float16, found 3"),
    "half a number": (number(10, 1) + record(12, bytes(6)), "in units of 4 bytes, found 6"),
    "too few": (number(10, 2) + record(12, bytes(0)), "with 1 values, found 0"),
    "type as bytes": (record(10, b"\x01") + record(12, bytes(4)), "blob 0's type as varint"),
    "data as number": (number(12, 1), "blob 0's data as length-delimited"),
}


@pytest.mark.parametrize("fault", RAW_FAULTS)
def test_faulty_raw_bytes_are_refused(read, fault):
    blob, expected = RAW_FAULTS[fault]
    with pytest.raises(CaffeModelError, match=f"byte .*, layer 'a': expected .*{expected}"):
        read(with_blob(SHAPE + blob), "blobs of raw bytes")


def test_hdf5_snapshot(tmp_path):
    path = tmp_path / "net_iter_1.caffemodel.h5"
    random = np.random.default_rng(0)
    layers = {
        "conv1/7x7": [random.standard_normal((2, 3, 7, 7)), random.standard_normal(2)],
        "bn": [random.standard_normal((2,)).astype(np.float32) for _ in range(11)],
    }
    with h5py.File(path, "w") as file:
        file.create_group("data/relu1")
        for name, blobs in layers.items():
            for index, blob in enumerate(blobs):
                file[f"data/{name}/{index}"] = blob
                file[f"diff/{name}/{index}"] = blob
    found = read_caffemodel(path)
    expected = {name: [b.astype(np.float32) for b in blobs] for name, blobs in layers.items()}
    assert {name: described(found)[i] for i, name in enumerate(found)} == {
        name: described({name: blobs})[0] for name, blobs in expected.items()
    }
    with h5py.File(path, "a") as file:
        del file["data/bn/3"]
    with pytest.raises(CaffeModelError, match=r"layer 'bn': expected blobs 0, 1, \.\.\., found"):
        read_caffemodel(path)
    with h5py.File(path, "a") as file:
        file["learned_net"] = "net_iter_1.caffemodel.h5"
    with pytest.raises(CaffeModelError, match="of a solver's state"):
        read_caffemodel(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CaffeModelError, match=r"caffemodel\.h5: byte 0: .* is broken"):
        read_caffemodel(path)


def test_mean_image(tmp_path):
    path = tmp_path / "mean.binaryproto"
    mean = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    head = number(1, 1) + number(2, 3) + number(3, 2) + number(4, 4)
    path.write_bytes(head + record(5, mean.tobytes()))
    np.testing.assert_array_equal(read_mean(path), mean)
    path.write_bytes(
        record(7, record(1, b"\x03\x02\x04")) + record(8, mean.astype("<f8").tobytes())
    )
    np.testing.assert_array_equal(read_mean(path), mean)
    path.write_bytes(record(7, record(1, b"\x18")) + record(5, mean.tobytes()))
    with pytest.raises(
        CaffeModelError, match=r"mean\.binaryproto: expected a mean image .*\(24,\)"
    ):
        read_mean(path)
    path.write_bytes(head + record(5, mean.tobytes()[:-4]))
    with pytest.raises(CaffeModelError, match="expected the mean of shape"):
        read_mean(path)


REAL = Path(os.environ.get("ALEXNET_DATA", "")) / "bvlc_alexnet_conv.caffemodel"


@pytest.mark.skipif(
    not (os.environ.get("ALEXNET_DATA") and REAL.is_file()),
    reason="set ALEXNET_DATA to a folder with bvlc_alexnet_conv.caffemodel",
)
def test_engines_agree_on_real_weights():
    CASES["real files"] += 1
    layers = read_caffemodel(REAL)
    assert list(layers) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert layers["conv2"][0].shape == (256, 48, 5, 5)
    assert described(layers) == described_by_protobuf(REAL.read_bytes())
    assert_opencv_agrees(REAL)
