"""Caffe's parameters mean what its documentation says: sizes, cuts, axes."""

import pytest

from alexnet_lib.caffe.parameters import (
    crop_starts,
    decimal,
    permutation,
    pooled_size,
    slice_bounds,
    window,
)
from alexnet_lib.caffe.schema import LayerParameter


def test_a_slice_without_points_has_equal_parts():
    param = LayerParameter().slice_param
    assert slice_bounds(12, param, 3) == [(0, 4), (4, 8), (8, 12)]
    assert slice_bounds(12, param, 1) == [(0, 12)]
    with pytest.raises(ValueError, match="expected 5 slices of 12 channels"):
        slice_bounds(12, param, 5)


def test_a_slice_is_cut_at_its_points():
    param = LayerParameter().slice_param
    param.slice_point[:] = [1, 5]
    assert slice_bounds(12, param, 3) == [(0, 1), (1, 5), (5, 12)]
    for points, tops in (([1, 5], 2), ([5, 1], 3), ([0, 5], 3), ([5, 12], 3), ([5, 5], 3)):
        param.slice_point[:] = points
        with pytest.raises(ValueError, match=f"expected {tops} slices of 12 channels, got points"):
            slice_bounds(12, param, tops)


def test_windows_have_one_side_or_two():
    param = LayerParameter().convolution_param
    param.kernel_size.append(3)
    assert window(param) == ((3, 3), (1, 1), (0, 0), (1, 1))
    param.pad.extend([1, 2])
    param.stride_h, param.stride_w = 2, 3
    param.dilation.append(2)
    assert window(param) == ((3, 3), (2, 3), (1, 2), (2, 2))
    param.dilation.append(4)
    assert window(param)[3] == (2, 4)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad", "expected"),
    [
        (7, 3, 2, 0, 3),  # windows fit exactly
        (8, 3, 2, 0, 4),  # the last one overhangs
        (7, 3, 2, 1, 4),
        (4, 2, 3, 1, 2),  # the third would begin in the padding at the end
        (5, 3, 3, 1, 2),
        (6, 2, 4, 0, 2),
    ],
)
def test_pooling_rounds_up_and_no_window_begins_in_the_padding(size, kernel, stride, pad, expected):
    param = LayerParameter().pooling_param
    param.kernel_size, param.stride, param.pad = kernel, stride, pad
    assert pooled_size((size, size), param) == (expected, expected)


def test_a_permutation_keeps_the_axes_that_are_not_named():
    param = LayerParameter().permute_param
    param.order[:] = [0, 2]
    assert permutation(4, param) == [0, 2, 1, 3]


def test_a_crop_begins_at_its_offsets():
    param = LayerParameter().crop_param
    assert crop_starts(4, param) == [0, 0, 0, 0]
    param.offset[:] = [3]
    assert crop_starts(4, param) == [0, 0, 3, 3]
    param.axis = -3
    assert crop_starts(4, param) == [0, 3, 3, 3]
    param.offset[:] = [3, 1, 2]
    assert crop_starts(4, param) == [0, 3, 1, 2]


def test_a_number_is_what_was_written():
    param = LayerParameter().lrn_param
    param.alpha = 0.0001
    assert param.alpha != 0.0001
    assert decimal(param.alpha) == 0.0001
