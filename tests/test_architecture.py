"""The table of layers gives the published numbers."""

import pytest

from alexnet_lib.port.architecture import LAYERS, describe, prototxt, weight_layers

# Name: output shape, parameters, multiply-accumulates; published with the network.
PUBLISHED = {
    "conv1": ((55, 55, 96), 34_944, 105_415_200),
    "conv2": ((27, 27, 256), 307_456, 223_948_800),
    "conv3": ((13, 13, 384), 885_120, 149_520_384),
    "conv4": ((13, 13, 384), 663_936, 112_140_288),
    "conv5": ((13, 13, 256), 442_624, 74_760_192),
    "fc6": ((4096,), 37_752_832, 37_748_736),
    "fc7": ((4096,), 16_781_312, 16_777_216),
    "fc8": ((1000,), 4_097_000, 4_096_000),
}


def test_published_numbers():
    derived = {
        name: (row.output_shape, row.parameters, row.macs) for name, row in weight_layers().items()
    }
    assert derived == PUBLISHED
    assert sum(row.parameters for row in describe()) == 60_965_224
    assert sum(row.macs for row in describe()) == 724_406_816


def test_21_classes():
    rows = weight_layers(21)
    assert sum(row.parameters for row in rows.values()) == 56_954_261
    assert sum(rows[name].parameters for name in ("fc6", "fc7", "fc8")) == 54_620_181


@pytest.mark.parametrize(
    ("name", "receptive_field"),
    [("conv1", 11), ("pool1", 19), ("conv2", 51), ("conv3", 99), ("conv5", 163), ("pool5", 195)],
)
def test_receptive_field(name, receptive_field):
    rows = {row.layer.name: row for row in describe()}
    assert rows[name].receptive_field == receptive_field
    # Walk back from the middle output with the textbook rule, from the windows alone.
    low = high = rows[name].output_shape[0] // 2
    for row in reversed(describe()[: list(rows).index(name) + 1]):
        if row.layer.type in ("Convolution", "Pooling"):
            low = low * row.layer.stride - row.layer.pad
            high = high * row.layer.stride - row.layer.pad + row.layer.kernel - 1
    assert high - low + 1 == receptive_field


def test_other_input_sizes():
    shapes = {row.layer.name: row.output_shape for row in describe(input_size=259)}
    assert shapes["pool5"] == (7, 7, 256)
    with pytest.raises(ValueError, match=r"pool5: its 3x3 window .* input_size=40"):
        describe(input_size=40)


def test_prototxt_stops_where_asked():
    assert prototxt("pool5").count("layer {") == 1 + [x.name for x in LAYERS].index("pool5") + 1
    with pytest.raises(ValueError, match=r"last must be one of conv1, .* last='pool6'"):
        prototxt("pool6")
