"""What Caffe's parameters mean: windows, shapes in Caffe's order of axes, decimal numbers."""

import itertools
import math

import numpy as np

from alexnet_lib.errors import InputError

__all__ = [
    "crop_starts",
    "decimal",
    "flattened",
    "permutation",
    "pooled_size",
    "reshaped",
    "slice_bounds",
    "window",
]


def window(param):
    """Return kernel, stride, pad and dilation of a convolution or pooling, each (height, width)."""

    def pair(field, prefix, default):
        sides = [f"{prefix}_h", f"{prefix}_w"]
        if any(param.HasField(name) for name in sides):
            return tuple(getattr(param, name) for name in sides)
        value = getattr(param, field, [])
        values = [value] if isinstance(value, int) else list(value)
        return tuple((values * 2)[:2]) or (default, default)

    dilation = (list(getattr(param, "dilation", [])) * 2)[:2] or (1, 1)
    return (
        pair("kernel_size", "kernel", 0),
        pair("stride", "stride", 1),
        pair("pad", "pad", 0),
        tuple(dilation),
    )


def pooled_size(sizes, param):
    """Return what pooling makes of (height, width): rounded up, unless a window starts in padding.

    `ceil_mode: false` of forks, and `round_mode: FLOOR`, round down.
    """
    kernel, stride, pad, _ = window(param)
    down = param.round_mode == 1 or not param.ceil_mode
    result = []
    for n, k, s, p in zip(sizes, kernel, stride, pad, strict=True):
        span = n + 2 * p - k
        count = (span if down else span + s - 1) // s + 1
        if any(pad) and (count - 1) * s >= n + p:
            count -= 1
        result.append(count)
    return tuple(result)


def reshaped(shape, param):
    """Return the shape that `reshape_param` makes of `shape`; 0 copies a dimension, -1 fits one.

    Raises:
        ValueError: if the numbers of values differ.
    """
    start = param.axis if param.axis >= 0 else param.axis + len(shape) + 1
    stop = len(shape) if param.num_axes == -1 else start + param.num_axes
    dims = [shape[start + i] if dim == 0 else dim for i, dim in enumerate(param.shape.dim)]
    result = [*shape[:start], *dims, *shape[stop:]]
    if result.count(-1) == 1:
        result[result.index(-1)] = math.prod(shape) // max(-math.prod(result), 1)
    if min(result, default=0) < 0 or math.prod(result) != math.prod(shape):
        raise InputError(f"expected a shape of {math.prod(shape)} values, got {tuple(result)}")
    return tuple(result)


def flattened(shape, param):
    """Return the shape that `flatten_param` makes of `shape`."""
    first, last = param.axis % len(shape), param.end_axis % len(shape)
    return (*shape[:first], math.prod(shape[first : last + 1]), *shape[last + 1 :])


def permutation(rank, param):
    """Return the order of all axes that `permute_param` asks for; axes it omits stay behind."""
    order = list(param.order)
    return order + [axis for axis in range(rank) if axis not in order]


def slice_bounds(size, param, tops):
    """Return where Slice cuts an axis of `size`: `tops` pairs of start and stop.

    Raises:
        ValueError: if the points do not fit.
    """
    points = list(param.slice_point) or [size * i // tops for i in range(1, tops)]
    edges = [0, *points, size]
    uneven = not param.slice_point and size % tops
    if len(points) != tops - 1 or edges != sorted(set(edges)) or uneven:
        raise InputError(f"expected {tops} slices of {size} channels, got points {points}")
    return list(itertools.pairwise(edges))


def crop_starts(rank, param):
    """Return the first index that Crop keeps of each axis; one offset serves all cropped axes."""
    axis, offsets = param.axis % rank, list(param.offset) or [0]
    return [0] * axis + (offsets * (rank - axis) if len(offsets) == 1 else offsets)


def decimal(number):
    """Return the number that someone wrote: the shortest that float32 rounds to this one."""
    return float(str(np.float32(number)))
