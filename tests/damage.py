"""Damage to files as it happens: flipped and lost bytes, holes, ends cut off; and to headers."""

import struct

import numpy as np

# Where headers are: zip's local, central and final ones, NumPy's, HDF5's.
MAGICS = (
    b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06", b"\x93NUMPY", b"\x89HDF", b"OHDR", b"TREE",
    b"SNOD", b"HEAP", b"GCOL", b"FADB", b"FAHD", b"FRHP", b"BTHD", b"BTLF", b"FHDB", b"FHIB",
)  # fmt: skip


def mutations(data, count, seed=0):
    """Yield `count` damaged copies of bytes, none equal to them; a seed gives the same ones."""
    generator = np.random.default_rng(seed)
    headers = [at for magic in MAGICS for at in _places(data, magic)]
    while count:
        damaged = _damage(bytearray(data), headers, generator)
        if damaged != data:
            count -= 1
            yield bytes(damaged)


def _places(data, magic):
    at = data.find(magic)
    while at >= 0:
        yield at
        at = data.find(magic, at + 1)


def _damage(data, headers, generator):
    at = int(generator.integers(len(data)))
    if headers and generator.random() < 0.6:
        at = min(int(generator.choice(headers) + generator.integers(140)), len(data) - 1)
    size = int(2 ** generator.integers(0, 9))
    kind = generator.integers(8)
    if kind < 2:
        data[at] ^= 1 << generator.integers(8)
    elif kind == 2:
        data[at] = generator.integers(256)
    elif kind == 3:
        data[at : at + size] = generator.bytes(min(size, len(data) - at))
    elif kind == 4:
        data[at : at + size] = bytes(min(size, len(data) - at))
    elif kind == 5:
        data[at:at] = generator.bytes(size)
    elif kind == 6:
        del data[at : at + size if generator.random() < 0.5 else None]
    else:  # a number as headers have it, from a negative one to the largest
        number = int(generator.choice([0, 1, 255, 2**16 - 1, 2**31, 2**32 - 1]))
        data[at : at + 4] = struct.pack("<I", number)[: len(data) - at]
    return data
