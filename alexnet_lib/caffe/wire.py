"""The wire format of protocol buffers: records of (field number, wire type, payload).

The format comes from protobuf.dev/programming-guides/encoding. Numbers are views into the data,
not copies, so a memory-mapped file is read only where it is looked at. Errors give byte offsets.
"""

from typing import NamedTuple

import numpy as np

from alexnet_lib.errors import InputError

__all__ = [
    "BYTES", "FIXED32", "FIXED64", "MAX_AXES", "VARINT", "Field", "Reader",
    "encode_header", "encode_number", "encode_record", "encode_varint",
]  # fmt: skip

#: Wire types: a varint, 4 or 8 bytes, or a length and as many bytes.
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIRE_TYPES = {VARINT: "varint", FIXED64: "64-bit", BYTES: "length-delimited", FIXED32: "32-bit"}
#: The most dimensions of a blob: Caffe's kMaxBlobAxes.
MAX_AXES = 32


class CaffeModelError(InputError):
    """A malformed `.caffemodel`; the message gives the place and what was expected and found."""


class Field(NamedTuple):
    """One field of a message; `position` (of its tag), `start` and `stop` are byte offsets."""

    position: int
    number: int
    wire: int
    value: int | None  # of a varint; other payloads are read when needed
    start: int  # of the payload, after tag and length
    stop: int


class Reader:
    """Walks over the messages of one file; every position is a byte offset into the file.

    Args:
        path: the file's name, for errors.
        data: the file's content: bytes or a memory map.
    """

    def __init__(self, path, data):
        self.path = path
        self.data = data
        self.layer = None  # the name of the layer that is being read, for errors

    def fail(self, position, expected, found):
        """Raise a `CaffeModelError` about the bytes at `position`."""
        where = "" if self.layer is None else f", layer {self.layer[:80]!r}"
        raise CaffeModelError(
            f"{self.path}: byte {position}{where}: expected {expected}, found {found}"
        )

    def expect(self, field, wires, what):
        """Raise a `CaffeModelError` unless a field has one of these wire types."""
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
        """Return the `Field` at `position` in a message that ends at `end`."""
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
        return Field(position, number, wire, value, start, stop)

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

    def whole(self):
        """Return the whole file as one message."""
        return Field(0, 0, BYTES, None, 0, len(self.data))

    def without(self, message, parts, what):
        """Encode a message without some of its parts.

        Args:
            message: a `Field`.
            parts: a dict by field number: None for what is left out, a dict for a message that
                has such parts.
            what: what these messages are, for errors.
        """
        pieces = []
        for field in self.fields(message.start, message.stop):
            if field.number not in parts:
                pieces.append(self.data[field.position : field.stop])
            elif parts[field.number] is not None:
                self.expect(field, (BYTES,), what)
                inner = self.without(field, parts[field.number], what)
                pieces.append(encode_record(field.number, inner))
        return b"".join(pieces)

    def varints(self, message, number, what):
        """Return the varints of one repeated field of a message, packed or one by one."""
        values = []
        for field in self.fields(message.start, message.stop):
            if field.number == number:
                self.expect(field, (BYTES, VARINT), what)
                if field.wire == VARINT:
                    values.append(field.value)
                    continue
                position = field.start
                while position < field.stop:
                    value, position = self.varint(position, field.stop)
                    values.append(value)
        return values

    def numbers(self, field, single, chunks, end, what):
        """Append a view of the numbers that start at `field`; return the position after them.

        Packed numbers share one field; otherwise each is a field of wire type `single`.
        """
        self.expect(field, (BYTES, single), what)
        size = 4 if single == FIXED32 else 8
        if field.wire == BYTES:
            chunks += self.view(field, f"<f{size}", what)
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

    def view(self, field, dtype, what):
        """Return a list with one view of a field's bytes as numbers; empty without bytes."""
        length, size = field.stop - field.start, np.dtype(dtype).itemsize
        if length % size:
            self.fail(field.position, f"{what} in units of {size} bytes", length)
        return [np.frombuffer(self.data, dtype, length // size, field.start)] if length else []


def encode_varint(value):
    """Encode a non-negative integer."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(encoded) + bytes([value])


def encode_number(field, value):
    """Encode a field that holds a non-negative integer."""
    return encode_varint(field << 3 | VARINT) + encode_varint(value)


def encode_header(field, length):
    """Encode what precedes a payload of `length` bytes."""
    return encode_varint(field << 3 | BYTES) + encode_varint(length)


def encode_record(field, payload):
    """Encode a field that holds bytes."""
    return encode_header(field, len(payload)) + payload
