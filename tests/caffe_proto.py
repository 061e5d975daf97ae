"""Caffe's messages for Google's own protobuf, built at run time: an oracle for the reader.

Field numbers from BVLC/caffe, src/caffe/proto/caffe.proto; nothing here knows of `alexnet_lib`.
Some fields are declared in other ways than in Caffe's file that look the same on the wire:

- Numbers may be declared as fixed-width integers, so that the exact bits of every float can be
  written and read (Python's float would quieten signalling NaNs), or as bytes, which is how
  protobuf parses a large file fastest.
- Messages inside messages may be declared as bytes, to put together files field by field, in
  orders and pieces that protobuf's own serializer would never choose.
"""

import functools
from types import SimpleNamespace

import numpy as np
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

# Message: field: (number, type). A "*" makes the field repeated; names of messages nest them.
FIELDS = {
    "NetParameter": {
        "name": (1, "string"),
        "layers": (2, "V1LayerParameter*"),
        "layer": (100, "LayerParameter*"),
    },
    "V1LayerParameter": {
        "layer": (1, "V0LayerParameter"),
        "bottom": (2, "string*"),
        "top": (3, "string*"),
        "name": (4, "string"),
        "type": (5, "int32"),  # an enum in Caffe
        "blobs": (6, "BlobProto*"),
    },
    "V0LayerParameter": {
        "name": (1, "string"),
        "type": (2, "string"),
        "blobs": (50, "BlobProto*"),
    },
    "LayerParameter": {
        "name": (1, "string"),
        "type": (2, "string"),
        "bottom": (3, "string*"),
        "top": (4, "string*"),
        "blobs": (7, "BlobProto*"),
    },
    "BlobProto": {
        "num": (1, "int32"),
        "channels": (2, "int32"),
        "height": (3, "int32"),
        "width": (4, "int32"),
        "data": (5, "float*"),
        "shape": (7, "BlobShape"),
        "double_data": (8, "double*"),
        "raw_data_type": (10, "int32"),  # this and the next are NVIDIA's; an enum there
        "raw_data": (12, "bytes"),
    },
    "BlobShape": {"dim": (1, "int64*")},
    # BlobProto's gradients, declared apart: a reader of weights passes over them unread.
    "BlobGradients": {"diff": (6, "float*"), "double_diff": (9, "double*")},
    # Not Caffe's: fields that no message above has, one of each wire type.
    "Unknown": {
        "varint": (3001, "uint64"),
        "fixed32": (3002, "fixed32"),
        "fixed64": (3003, "fixed64"),
        "bytes": (3004, "bytes"),
    },
}


@functools.cache
def messages(packed=True, numbers="bits", nested=True):
    """Build Caffe's message classes.

    Args:
        packed: whether repeated numbers are written in one piece or one by one. Protobuf's parser
            takes both, whatever the declaration says.
        numbers: "float" declares data as Caffe does, "bits" as fixed32 and fixed64, "bytes" as
            repeated bytes, which parses packed data only.
        nested: whether messages in messages are declared as such, or as bytes.

    Returns:
        A namespace with one class a message.
    """
    field_type = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="caffe.proto", package="caffe", syntax="proto2")
    for message, fields in FIELDS.items():
        entry = file.message_type.add(name=message)
        for name, (number, declared) in fields.items():
            kind, repeated = declared.rstrip("*"), declared.endswith("*")
            if kind in ("float", "double") and numbers != "float":
                kind = numbers if numbers == "bytes" else {"float": "fixed32"}.get(kind, "fixed64")
            field = entry.field.add(name=name, number=number)
            field.label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            if kind in FIELDS and nested:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".caffe.{kind}"
            else:
                field.type = getattr(
                    field_type, "TYPE_BYTES" if kind in FIELDS else f"TYPE_{kind.upper()}"
                )
                if repeated and kind not in ("string", "bytes", *FIELDS):
                    field.options.packed = packed
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return SimpleNamespace(
        **{
            name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))
            for name in FIELDS
        }
    )


def decode(encoded):
    """Read a `.caffemodel`'s bytes with protobuf's parser, by the rules of Caffe's C++ code.

    Returns:
        A list of (layer name, blobs) of the layers with blobs, in file order, each blob a pair of
        its shape and its float32 values; or None where protobuf refuses the bytes.
    """
    try:
        net = messages().NetParameter.FromString(encoded)
        found = []
        for layer in (*net.layers, *net.layer):
            if layer.DESCRIPTOR.name == "V1LayerParameter" and layer.HasField("layer"):
                layer = layer.layer
            if layer.blobs:
                found.append((layer.name, [_blob(blob) for blob in layer.blobs]))
    except (DecodeError, UnicodeDecodeError):
        return None
    return found


def _blob(blob):
    legacy = ("num", "channels", "height", "width")
    if any(map(blob.HasField, legacy)):
        shape = tuple(getattr(blob, name) for name in legacy)
    else:
        shape = tuple(blob.shape.dim)
    with np.errstate(all="ignore"):
        if blob.HasField("raw_data"):
            kind = ("<f8", "<f4", "<f2")[blob.raw_data_type]
            return shape, np.frombuffer(blob.raw_data, kind).astype("<f4")
    if blob.double_data:
        doubles = np.array(list(blob.double_data), "<u8").view("<f8")
        with np.errstate(all="ignore"):
            return shape, doubles.astype("<f4")
    return shape, np.array(list(blob.data), "<u4").view("<f4")
