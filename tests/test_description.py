"""Descriptions: what is read, what is refused and how, and the normal form that comes out."""

import random
import re
import time
import tracemalloc

import caffe_proto
import cv2
import numpy as np
import pytest

from alexnet_lib.caffe.caffemodel import CaffeModelError, read_caffemodel, write_caffemodel
from alexnet_lib.caffe.comparison import compare_descriptions as compare
from alexnet_lib.caffe.comparison import share_weights
from alexnet_lib.caffe.description import describe_caffemodel, read_description, to_text
from alexnet_lib.caffe.normal_form import normalize
from alexnet_lib.caffe.schema import (
    PARAMETERS,
    SUPPORTED,
    DescriptionError,
    LayerParameter,
    NetParameter,
    message,
)
from alexnet_lib.caffe.wire import encode_record
from alexnet_lib.errors import InputError
from alexnet_lib.files import data_directory
from alexnet_lib.port.network import RULES

ZOO = data_directory() / "zoo"
DESCRIPTIONS = sorted(ZOO.glob("*/*.prototxt")) + sorted(ZOO.glob("*/*/*.prototxt"))
needs_zoo = pytest.mark.skipif(not DESCRIPTIONS, reason="the data directory has no zoo")

SHAPE = "shape { dim: 1 dim: 3 dim: 8 dim: 8 }"
DATA = f'layer {{ name: "data" type: "Input" top: "data" input_param {{ {SHAPE} }} }}\n'
CONV = (
    'layer { name: "%s" type: "Convolution" bottom: "%s" top: "%s"\n'
    "  convolution_param { num_output: 4 kernel_size: 3 } }\n"
)
# Two convolutions with what a file for training has around them.
TRAINING = (
    """
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.004 } data_param { source: "train_lmdb" batch_size: 64 } }
layer { name: "mnist" type: "Data" top: "data" top: "label" include { phase: TEST }
  data_param { source: "test_lmdb" batch_size: 100 backend: LMDB } }
layer { name: "slice" type: "Slice" bottom: "label" top: "a" top: "b" }
"""
    + CONV % ("conv1", "data", "conv1")
    + """
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "drop1" type: "Dropout" bottom: "conv1" top: "conv1" }
"""
    + CONV % ("conv2", "conv1", "conv2")
    + """
layer { name: "accuracy" type: "Accuracy" bottom: "conv2" bottom: "a" top: "accuracy"
  include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "conv2" bottom: "a" top: "loss" }
layer { name: "loss2" type: "EuclideanLoss" bottom: "conv2" bottom: "b" top: "loss2" }
layer { name: "sum" type: "Eltwise" bottom: "loss" bottom: "loss2" top: "sum" }
"""
)


@pytest.fixture
def read(tmp_path):
    """Return a function that reads a description through a file."""
    path = tmp_path / "net.prototxt"

    def read_text(text):
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_description(path)

    return read_text


@pytest.fixture
def normal(read):
    """Return a function that reads and normalizes."""
    return lambda text, *args, **kwargs: normalize(read(text), *args, **kwargs)


def layers_of(net):
    return [(x.name, x.type, list(x.bottom), list(x.top)) for x in net.layer]


def test_schema_agrees_with_the_independent_one_on_every_common_field():
    common = 0
    for name, fields in caffe_proto.FIELDS.items():
        if name in ("BlobGradients", "Unknown"):
            continue
        ours = message(name).DESCRIPTOR.fields_by_name
        for field, (number, kind) in fields.items():
            assert ours[field].number == number
            assert ours[field].is_repeated == kind.endswith("*")
            common += 1
    assert common >= 20


def test_defaults_are_those_of_caffe():
    layer = LayerParameter()
    assert layer.pooling_param.stride == layer.convolution_param.group == 1
    assert layer.batch_norm_param.eps == np.float32(1e-5)
    assert (layer.lrn_param.k, layer.lrn_param.beta, layer.lrn_param.local_size) == (1, 0.75, 5)
    assert layer.pooling_param.ceil_mode
    assert not layer.scale_param.bias_term
    assert layer.inner_product_param.bias_term
    assert layer.crop_param.axis == 2
    assert layer.eltwise_param.operation == layer.eltwise_param.SUM
    assert len({field for field, *_ in PARAMETERS}) == len(PARAMETERS)


def test_every_supported_type_can_be_built():
    assert set(RULES) | {"Input"} == set(SUPPORTED)


ENCODINGS = {
    "UTF-8 with a mark": ("\ufeff" + DATA).encode(),
    "UTF-16": DATA.encode("utf-16"),
    "Latin-1 in a comment": b"# M\xfcller\n" + DATA.encode(),
    "DOS": DATA.replace("\n", "\r\n").encode(),
    "old Mac": (DATA + "# comment\n" + CONV % ("c", "data", "c")).replace("\n", "\r").encode(),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_and_line_ends_do_not_matter(read, encoding):
    assert read(ENCODINGS[encoding]).layer[0].name == "data"


REFUSED = {
    "unknown field": (
        DATA + 'layer {\n name: "c" type: "Convolution" bottom: "data" top: "c"\n'
        " convolution_param {\n kernel_sise: 3 } }",
        "line 5, layer 'c': unknown field 'kernel_sise' in ConvolutionParameter: 'kernel_size'?",
    ),
    "unknown type": (DATA + 'layer { name: "c" type: "Convolutoin" bottom: "data" top: "c" }',
                     "line 2, layer 'c' (Convolutoin): this type is not supported; Convolution?"),
    "unknown value": (
        DATA + 'layer { name: "p" type: "Pooling" bottom: "data" top: "p"\n'
        "pooling_param { pool: MEAN } }",
        "line 3, layer 'p': field 'pool': Enum type",
    ),
    "unknown V1 type": (
        'layers {\n name: "r" type: ROI }', "line 2, layer 'r': field 'type': Enum"
    ),
    "negative": (DATA + CONV.replace("3 }", "-3 }") % ("c", "data", "c"),
                 "line 3, layer 'c': field 'kernel_size': "),
    "fraction": (DATA + CONV.replace("3 }", "3.5 }") % ("c", "data", "c"),
                 "line 3, layer 'c': field 'kernel_size': Couldn't parse integer"),
    "twice": (DATA + 'layer { name: "r" name: "s" }', "line 2, layer 'r'"),
    "open brace": (DATA + 'layer { name: "c"', "line 2"),
    "own field": (DATA + 'layer { name: "c" source: "x" }', "unknown field 'source'"),
    "own output": (DATA + 'output: "x"', "unknown field 'output'"),
    "solver": ('net: "x.prototxt"\nbase_lr: 0.1\n', "line 1: unknown field 'net' in NetParameter"),
    "inputs alone": ('input: "x"', "expected a network's layers, found none"),
    "empty": ("", "expected a network's layers, found none"),
    "caffemodel": (b"\x0a\x03net\xa2\x06\x00\x00", "found a binary file; a .caffemodel goes where"),
    "no maker": (DATA + CONV % ("c", "dat", "c"), "line 2, layer 'c' (Convolution): bottom 'dat'"),
    "cycle": (DATA + CONV % ("a", "b", "a") + CONV % ("b", "a", "b"),
              "line 2, layer 'a' (Convolution): bottom 'b': layer 'b' makes it, but not before"),
    "two makers": (DATA + CONV % ("a", "data", "x") + CONV % ("b", "data", "x"),
                   "line 4, layer 'b' (Convolution): top 'x' is made by a layer before it"),
    "two of a name": (DATA + CONV % ("a", "data", "x") + CONV % ("a", "x", "y"),
                      "line 4, layer 'a' (Convolution): expected a name of its own"),
    "two generations": ('layer { name: "a" } layers { name: "b" }', "expected `layer` or `layers`"),
    "no shape": ('input: "x"' + CONV % ("c", "x", "c"), "input 1, layer 'x' (Input): expected the"),
    "odd shape": ('input: "x" input_dim: 1 ' + CONV % ("c", "x", "c"), "expected four input_dim"),
    "empty shape": (DATA.replace("dim: 3", "dim: 0") + CONV % ("c", "data", "c"),
                    "line 1, layer 'data' (Input): expected dimensions from 1"),
    "huge shape": (DATA.replace("dim: 3", "dim: 99999999") + CONV % ("c", "data", "c"),
                   "line 1, layer 'data' (Input): expected dimensions from 1"),
    "no bottom": (DATA + 'layer { name: "e" type: "Eltwise" bottom: "data" top: "e" }',
                  "line 2, layer 'e' (Eltwise): expected 2 bottoms to any number, found 1"),
    "two tops": (DATA + 'layer { name: "r" type: "ReLU" bottom: "data" top: "r" top: "s" }',
                 "line 2, layer 'r' (ReLU): expected one top, found 2"),
    "two kernels": (DATA + CONV.replace("3 }", "3 kernel_h: 3 kernel_w: 3 }") % ("c", "data", "c"),
                    "line 2, layer 'c' (Convolution): expected kernel_size or kernel_h and"),
    "three pads": (DATA + CONV.replace("3 }", "3 pad: [1, 1, 1] }") % ("c", "data", "c"),
                   "line 2, layer 'c' (Convolution): pad: expected one or two values, found 3"),
    "both rules": (DATA + 'layer { name: "r" include { phase: TEST } exclude { phase: TRAIN } }',
                   "line 2, layer 'r' (): expected include rules or exclude rules"),
    "nothing to compute": (DATA, "expected a layer that computes something"),
    "many layers": ("layer {}" * 5001, "expected at most 5000 layers, found more"),
    "many layers in a list": ("layer: [" + "{}, " * 5000 + "{}]", "expected at most 5000 layers"),
    "many inputs": ('input: "x"' * 5001, "expected at most 5000 blobs, found 5001"),
    "many lines": ("\n" * 60_000, "expected at most 50000 lines"),
    "long string": (DATA + '# "\nname: "' + "x" * 10_000 + '"', "line 3: expected strings of at"),
    "backslashes": (DATA + 'name: "' + "\\" * 100 + '"', "found a row of 100 backslashes"),
    "large": (b"#" * (2**20 + 1), "expected a prototxt of at most 1 MB"),
    "deep": (DATA + "layer { foo_param {" + "a {" * 5000 + "}" * 5002, "line 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusal_says_where_and_why(normal, tmp_path, case):
    text, expected = REFUSED[case]
    with pytest.raises(DescriptionError, match=re.escape(expected)) as caught:
        normal(text)
    assert str(tmp_path / "net.prototxt") in str(caught.value)
    assert len(str(caught.value)) < 1500


def test_folder_and_missing_file(tmp_path):
    with pytest.raises(DescriptionError, match="found a folder"):
        read_description(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_description(tmp_path / "none.prototxt")


def test_types_that_are_not_supported_may_have_fields_of_their_own(normal):
    text = (
        DATA
        + CONV % ("conv", "data", "conv")
        + 'layer { name: "roi" type: "ROIPooling" bottom: "conv" top: "roi"\n'
        "  roi_pooling_param {\n pooled_w: 7 spatial { x: [1, 2] s: 'a}' } } }\n"
        + CONV
        % ("last", "roi", "last")
    )
    with pytest.raises(
        DescriptionError,
        match=r"line 4, layer 'roi' \(ROIPooling\): this type is not supported.*--stop-at conv\.",
    ):
        normal(text)
    assert [layer.name for layer in normal(text, stop_at="conv").layer] == ["data", "conv"]
    with pytest.raises(DescriptionError, match="line 8, layer 'last': unknown field 'foo'"):
        normal(text.replace("num_output: 4 kernel_size: 3 } }\n", "foo: 3 } }\n", 2)
               .replace("foo: 3 } }\n", "num_output: 4 } }\n", 1))  # fmt: skip


def test_training_network_becomes_one_for_inference(normal):
    with pytest.raises(DescriptionError, match=r"line 4, layer 'data' .* --input N,C,H,W"):
        normal(TRAINING)
    net = normal(TRAINING, (2, 1, 9, 9))
    assert layers_of(net) == [
        ("data", "Input", [], ["data"]),
        ("conv1", "Convolution", ["data"], ["conv1"]),
        ("relu1", "ReLU", ["conv1"], ["relu1"]),
        ("drop1", "Dropout", ["relu1"], ["drop1"]),
        ("conv2", "Convolution", ["drop1"], ["conv2"]),
    ]
    assert list(net.layer[0].input_param.shape[0].dim) == [2, 1, 9, 9]
    assert list(net.output) == ["conv2"]
    assert not any(layer.include or layer.HasField("phase") for layer in net.layer)


def test_normal_form_is_its_own_normal_form(normal, read):
    net = normal(TRAINING, (2, 1, 9, 9))
    again = normalize(net)
    assert to_text(again) == to_text(net)
    assert to_text(normalize(read(to_text(net)))) == to_text(net)


def test_stop_at_names_layers_or_the_last_version_of_blobs(normal):
    shape = (1, 1, 9, 9)
    assert normal(TRAINING, shape, "conv1").layer[-1].name == "conv1"
    blob = TRAINING.replace('name: "conv1"', 'name: "first"')
    assert normal(blob, shape, "conv1").layer[-1].name == "drop1"
    both = normal(TRAINING, shape, "conv2, relu1")
    assert list(both.output) == ["conv2", "relu1"]
    assert list(normal(TRAINING, shape, ["relu1"]).output) == ["relu1"]
    with pytest.raises(DescriptionError, match=r"no layer or blob 'conv3'.*conv2"):
        normal(TRAINING, shape, "conv3")


def test_state_rules_are_those_of_caffe(normal):
    rules = {
        "include { phase: TEST }": True,
        "include { phase: TRAIN }": False,
        "include { phase: TRAIN } include { phase: TEST }": True,
        "exclude { phase: TEST }": False,
        "exclude { phase: TRAIN }": True,
        "include { min_level: 2 }": True,
        "include { min_level: 3 }": False,
        "include { max_level: 1 }": False,
        'include { stage: "a" }': True,
        'include { stage: "a" stage: "b" }': False,
        'include { not_stage: "a" }': False,
        'include { not_stage: "b" phase: TEST }': True,
    }
    for rule, kept in rules.items():
        net = normal(
            'state { phase: TRAIN level: 2 stage: "a" }\n' + DATA + CONV % ("c", "data", "c")
            + 'layer { name: "r" type: "ReLU" bottom: "c" top: "c" ' + rule + " }"
        )  # fmt: skip
        assert (net.layer[-1].name == "r") is kept, rule


def test_losses_with_two_predictions_and_silence(normal):
    net = normal(
        DATA + CONV % ("a", "data", "a") + CONV % ("b", "data", "b") + CONV % ("q", "data", "q")
        + 'layer { name: "l" type: "ContrastiveLoss" bottom: "a" bottom: "b" bottom: "data" }'
        + 'layer { name: "s" type: "Silence" bottom: "q" }'
    )  # fmt: skip
    assert list(net.output) == ["a", "b"]


def test_inputs_of_every_kind(normal):
    end = 'layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }'
    dims = "dim: 1 dim: 2 dim: 3 dim: 4"
    one = f"input_param {{ shape {{ {dims} }} }}"
    for head in (
        'input: "a" input: "b" ' + f"{dims} {dims} ".replace("dim", "input_dim"),
        f'input: "a" input_shape {{ {dims} }} input: "b" input_shape {{ {dims} }}',
        f'layer {{ name: "in" type: "Input" top: "a" top: "b" {one} }}',
        'layer { name: "in" type: "DummyData" top: "a" top: "b" dummy_data_param { num: 1 '
        "channels: 2 height: 3 width: 4 } }",
        f'layer {{ name: "a" type: "DummyData" top: "a" dummy_{one.replace("input", "data")} }}'
        'layer { name: "m" type: "MemoryData" top: "b" top: "label" memory_data_param { '
        "batch_size: 1 channels: 2 height: 3 width: 4 } }",
    ):
        net = normal(head + end)
        assert [(x.name, list(x.input_param.shape[0].dim)) for x in net.layer[:2]] == [
            ("a", [1, 2, 3, 4]),
            ("b", [1, 2, 3, 4]),
        ], head
        other = normal(head + end, {"a": (5, 1, 1, 1)})
        assert list(other.layer[0].input_param.shape[0].dim) == [5, 1, 1, 1]
    with pytest.raises(DescriptionError, match="expected a shape by name for each of a, b"):
        normal(head + end, (1, 2, 3, 4))
    with pytest.raises(DescriptionError, match="no input c; there are a, b"):
        normal(head + end, {"c": (1, 2, 3, 4)})


def test_names_are_made_unique(normal):
    relu = 'layer { name: "relu" type: "ReLU" bottom: "%s" top: "%s" }'
    net = normal(
        DATA + relu % ("data", "x") + relu % ("x", "y")
        + 'layer { type: "TanH" bottom: "y" top: "z" }'
        + 'layer { name: "s" type: "Slice" bottom: "z" top: "relu" top: "s" }'
    )  # fmt: skip
    assert layers_of(net)[1:] == [
        ("relu", "ReLU", ["data"], ["relu"]),
        ("relu_2", "ReLU", ["relu"], ["relu_2"]),
        ("z", "TanH", ["relu_2"], ["z"]),
        ("s", "Slice", ["z"], ["relu_3", "s_2"]),
    ]
    assert list(net.output) == ["relu_3", "s_2"]


def test_two_spellings_become_one(normal):
    net = normal(
        DATA + 'layer { name: "s" type: "Slice" bottom: "data" top: "a" top: "b" '
        "slice_param { slice_dim: 2 slice_point: 4 } }"
        'layer { name: "c" type: "Concat" bottom: "a" bottom: "b" top: "c" '
        "concat_param { concat_dim: 3 } }"
        'layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { kernel_size: 2 '
        "round_mode: FLOOR } }"
        'layer { name: "d" type: "DepthwiseConvolution" bottom: "p" top: "d" convolution_param { '
        "num_output: 3 kernel_size: 1 group: 3 } }"
    )
    _, s, c, p, d = net.layer
    assert (s.slice_param.axis, c.concat_param.axis) == (2, 3)
    assert not p.pooling_param.ceil_mode
    assert d.type == "Convolution"
    text = to_text(net)
    assert "ceil_mode: false" in text
    assert not re.search(r"round_mode|slice_dim|concat_dim|source|\boutput:", text)


def test_v1_becomes_todays_form(normal):
    net = normal(
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n'
        'layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" param: "w" '
        "blobs_lr: 1 convolution_param { num_output: 2 kernel_size: 3 pad: 1 } }"
        'layers { name: "n" type: LRN bottom: "conv1" top: "n" lrn_param { k: 2 } }'
        'layers { name: "fc" type: INNER_PRODUCT bottom: "n" top: "fc" '
        "inner_product_param { num_output: 2 } }"
        'layers { name: "loss" type: SOFTMAX_LOSS bottom: "fc" bottom: "data" loss_param { } }'
    )
    assert [x.type for x in net.layer] == ["Input", "Convolution", "LRN", "InnerProduct"]
    assert list(net.layer[1].convolution_param.pad) == [1]
    assert net.layer[1].param[0].name == "w"
    assert net.layer[2].lrn_param.k == 2


def test_v0_becomes_todays_form_with_padding_in_the_convolution(normal):
    net = normal(
        'input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8\n'
        'layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }'
        'layers { layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 5 group: 1 '
        'biasterm: false blobs_lr: 1 } bottom: "pad1" top: "conv1" }'
        'layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }'
        'layers { layer { name: "pool1" type: "pool" pool: AVE kernelsize: 3 stride: 2 } '
        'bottom: "conv1" top: "pool1" }'
        'layers { layer { name: "norm1" type: "lrn" local_size: 3 } bottom: "pool1" top: "norm1" }'
        'layers { layer { name: "f" type: "innerproduct" num_output: 2 } bottom: "norm1" top: "f" }'
        'layers { layer { name: "prob" type: "softmax" } bottom: "f" top: "prob" }'
        'layers { layer { name: "out" type: "hdf5_output" hdf5_output_param { file_name: "x" } } '
        'bottom: "prob" }'
    )
    assert [x.type for x in net.layer][1:] == [
        "Convolution", "ReLU", "Pooling", "LRN", "InnerProduct", "Softmax",
    ]  # fmt: skip
    conv, _, pool, norm, fc, _ = net.layer[1:]
    assert list(conv.bottom) == ["data"]
    assert list(conv.convolution_param.pad) == [2]
    assert list(conv.convolution_param.kernel_size) == [5]
    assert not conv.convolution_param.bias_term
    assert (pool.pooling_param.pool, pool.pooling_param.stride) == (1, 2)
    assert norm.lrn_param.local_size == 3
    assert fc.inner_product_param.num_output == 2


def test_text_tells_opencv_about_k(normal):
    net = normal(
        DATA
        + 'layer { name: "n" type: "LRN" bottom: "data" top: "n" lrn_param { k: 3 alpha: 0.5 } }'
    )
    engine = cv2.dnn.readNetFromCaffe(np.frombuffer(to_text(net).encode(), np.uint8))
    x = np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
    engine.setInput(x)
    window = (x**2).sum(1, keepdims=True)  # five channels reach over all three
    np.testing.assert_allclose(engine.forward(), x / (3 + 0.1 * window) ** 0.75, rtol=1e-5)


def snapshot(text, path, blobs=()):
    """Write a description as Caffe does with the weights of a network."""
    net = NetParameter.FromString(text.SerializeToString())
    for layer in net.layer:
        layer.ClearField("source")
        for values in dict(blobs).get(layer.name, ()):
            blob = layer.blobs.add(data=values.ravel().tolist())
            blob.shape.dim[:] = values.shape
    path.write_bytes(net.SerializeToString())
    return path


def test_snapshot_describes_itself(read, tmp_path):
    weights = np.arange(36, dtype=np.float32).reshape(4, 1, 3, 3)
    path = snapshot(read(TRAINING), tmp_path / "net.caffemodel", {"conv1": [weights]})
    described = describe_caffemodel(path)
    assert not any(layer.blobs for layer in described.layer)
    assert described.ByteSize() < 3000
    # Both phases' data layers are in this file, which Caffe would not have written.
    del described.layer[0]
    net = normalize(described, (1, 1, 9, 9))
    assert [layer.name for layer in net.layer] == ["data", "conv1", "relu1", "drop1", "conv2"]
    assert net.layer[1].source == f"{path}: layer 4"
    np.testing.assert_array_equal(read_caffemodel(path)["conv1"][0], weights)


CHANGES = {
    "kernel_size": ("kernel_size: 3", "kernel_size: 5"),
    "num_output": ("num_output: 4", "num_output: 5"),
    "pad": ("kernel_size: 3", "kernel_size: 3 pad: 1"),
    "stride": ("kernel_size: 3", "kernel_size: 3 stride: 2"),
    "group": ("kernel_size: 3", "kernel_size: 3 group: 2"),
    "bias_term": ("kernel_size: 3", "kernel_size: 3 bias_term: false"),
    "negative_slope": ('top: "r"', 'top: "r" relu_param { negative_slope: 0.1 }'),
    "alpha": ("local_size: 5", "local_size: 5 alpha: 2"),
    "norm_region": ("local_size: 5", "local_size: 5 norm_region: WITHIN_CHANNEL"),
    "has a layer of this name of type ReLU": ('"ReLU"', '"TanH"'),
    "pool": ("pool: MAX", "pool: AVE"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_contradiction_between_both_files_is_named(read, normal, tmp_path, change):
    text = (
        DATA + CONV % ("c", "data", "c") + 'layer { name: "r" type: "ReLU" bottom: "c" top: "r" }'
        'layer { name: "n" type: "LRN" bottom: "r" top: "n" lrn_param { local_size: 5 } }'
        'layer { name: "p" type: "Pooling" bottom: "n" top: "p" pooling_param { pool: MAX '
        "kernel_size: 3 } }"
    )  # fmt: skip
    described = describe_caffemodel(snapshot(read(text), tmp_path / "net.caffemodel"))
    compare(normal(text), described)
    compare(normal(text.replace("kernel_size: 3", "kernel_h: 3 kernel_w: 3")), described)
    old, new = CHANGES[change]
    with pytest.raises(DescriptionError, match=rf"net\.prototxt: line .*, layer .*{change}"):
        compare(normal(text.replace(old, new)), described)


def test_another_order_of_layers_is_named(read, normal, tmp_path):
    pool = 'layer { name: "pool1" type: "Pooling" bottom: "%s" top: "pool1" pooling_param { ' \
        "kernel_size: 3 stride: 2 } }"  # fmt: skip
    norm = 'layer { name: "norm1" type: "LRN" bottom: "%s" top: "norm1" }'
    head = DATA + CONV % ("conv1", "data", "conv1")
    alexnet = head + norm % "conv1" + pool % "norm1"
    caffenet = head + pool % "conv1" + norm % "pool1"
    described = describe_caffemodel(snapshot(read(caffenet), tmp_path / "net.caffemodel"))
    compare(normal(caffenet), described)
    with pytest.raises(
        DescriptionError,
        match=r"layer 'norm1' .*the prototxt computes it from conv1, the \.caffemodel from pool1",
    ):
        compare(normal(alexnet), described)


def test_training_file_may_have_dropout_splits_and_losses_that_deployment_lacks(
    read, normal, tmp_path
):
    split = TRAINING.replace("include { phase: TRAIN }", "exclude { phase: TEST }").replace(
        'bottom: "conv1" top: "conv2"', 'bottom: "split" top: "conv2"'
    ).replace(
        'layer { name: "conv2"',
        'layer { name: "s" type: "Split" bottom: "conv1" top: "split" top: "t" }\n'
        'layer { name: "conv2"',
    )  # fmt: skip
    net = read(split)
    del net.layer[0]
    described = describe_caffemodel(snapshot(net, tmp_path / "net.caffemodel"))
    deploy = (
        DATA + CONV % ("conv1", "data", "conv1")
        + 'layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }\n'
        + CONV % ("conv2", "conv1", "conv2")
        + 'layer { name: "prob" type: "Softmax" bottom: "conv2" top: "prob" }'
    )  # fmt: skip
    compare(normal(deploy), described)
    with pytest.raises(DescriptionError, match=r"layer 'conv2' .*from AbsVal of conv1, .* ReLU of"):
        compare(normal(deploy.replace("relu1", "other").replace("ReLU", "AbsVal")), described)


def test_weights_alone_say_nothing(normal, tmp_path):
    path = tmp_path / "net.caffemodel"
    write_caffemodel(path, {"c": [np.ones((1, 1, 7, 7), np.float32)]})
    compare(normal(DATA + CONV % ("c", "data", "c")), describe_caffemodel(path))
    (tmp_path / "swapped").write_text(DATA)
    with pytest.raises(CaffeModelError, match="this looks like a prototxt"):
        describe_caffemodel(tmp_path / "swapped")


def test_a_caffemodel_whose_descriptions_are_damaged_is_named(tmp_path):
    path = tmp_path / "net.caffemodel"
    cut_short = encode_record(106, b"\x08")  # convolution_param: a field without its value
    path.write_bytes(encode_record(100, encode_record(1, b"conv") + cut_short))
    with pytest.raises(CaffeModelError, match=r"net\.caffemodel: expected a network's description"):
        describe_caffemodel(path)


def test_caffemodel_of_countless_layers_is_refused(tmp_path):
    path = tmp_path / "net.caffemodel"
    path.write_bytes(NetParameter(layer=[LayerParameter()] * 5001).SerializeToString())
    with pytest.raises(CaffeModelError, match=r"net\.caffemodel: expected .* found 5001 and"):
        describe_caffemodel(path)


def test_rounding_of_a_caffemodel_is_ambiguous_without_its_prototxt(read, normal, tmp_path):
    text = (
        DATA + 'layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { '
        "kernel_size: 3 round_mode: FLOOR } }"
    )
    described = describe_caffemodel(snapshot(read(text), tmp_path / "net.caffemodel"))
    compare(normal(text), described)
    with pytest.raises(DescriptionError, match=r"layer 'p' .*give the prototxt too"):
        normalize(described)


def test_shared_parameters_come_from_their_owner(normal):
    shared = CONV.replace("convolution_param", 'param { name: "w" } convolution_param')
    net = normal(DATA + shared % ("a", "data", "a") + shared % ("b", "data", "b"))
    blob = np.ones((4, 3, 3, 3), np.float32)
    assert share_weights(net, {"a": [blob]})["b"][0] is blob
    assert share_weights(net, {"b": [blob]})["a"][0] is blob
    share_weights(net, {"a": [blob], "b": [blob.copy()]})
    with pytest.raises(DescriptionError, match=r"layer 'b' .*parameter 'w': expected the values"):
        share_weights(net, {"a": [blob], "b": [blob + 1]})


@needs_zoo
@pytest.mark.parametrize("path", DESCRIPTIONS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_real_descriptions_are_read_and_normalized(path):
    net = read_description(path)
    stop_at = "mbox_loc,mbox_conf_flatten" if path.stem == "MobileNet-SSD" else None
    if stop_at:
        with pytest.raises(DescriptionError, match=f"PriorBox.*--stop-at {stop_at}"):
            normalize(net)
    form = normalize(net, stop_at=stop_at)
    text = to_text(form)
    assert to_text(normalize(form, stop_at=stop_at)) == text
    tops = [top for layer in form.layer for top in layer.top]
    assert len(set(tops)) == len(tops)
    weights = path.with_suffix(".caffemodel")
    if weights.exists():
        compare(form, describe_caffemodel(weights))
        shape = tuple(form.layer[0].input_param.shape[0].dim)
        alone = normalize(describe_caffemodel(weights), shape)
        kinds = ("Convolution", "InnerProduct")
        # Training may have had more heads.
        assert {x.name for x in form.layer if x.type in kinds} <= {x.name for x in alone.layer}


WORDS = (
    *"{}<>:\"'#\\[]", "layer", "layers", "name", "-1", "4294967295", "1e400", "nan",
    "include", "dim",
    "foo_param { a: 1 }", "[a.b/c]: {}", "layer { " * 60, "\xe9", "\0", "stride: 0", "axis: -7",
)  # fmt: skip


def damaged(text, generator):
    """Return a description with a few random faults."""
    for _ in range(generator.choice((1, 1, 2, 5))):
        tokens = list(re.finditer(r"[\w.\-/]+|[{}:\"]", text))
        if not tokens:
            break
        a, b = sorted(generator.choices(tokens, k=2), key=lambda token: token.start())
        kind = generator.randrange(5)
        if kind == 0:
            text = text[: a.start()] + generator.choice(WORDS) + " " + text[a.end() :]
        elif kind == 1:
            text = text[: a.start()] + b[0] + text[a.end() :]
        elif kind == 2:
            text = text[: a.start()] + text[min(b.start(), a.start() + 500) :]
        elif kind == 3:
            text = text[: a.start()] + text[a.start() : b.start()][:500] + text[a.start() :]
        else:
            text = text[: generator.randrange(len(text))]
    return text


def test_damaged_descriptions_raise_only_the_librarys_error(read, tmp_path):
    generator = random.Random(0)
    originals = [
        TRAINING,
        *(REFUSED[case][0] for case in ("two kernels", "cycle", "unknown value")),
    ]
    refused, placed, longest = 0, 0, 0
    for _ in range(600):
        text = damaged(generator.choice(originals), generator).encode("latin-1")
        tracemalloc.start()
        start = time.perf_counter()
        try:
            to_text(normalize(read(text), {"data": (1, 3, 8, 8)}))
        except InputError as error:
            refused += 1
            placed += bool(re.search(r"line \d+", str(error)))
            longest = max(longest, len(str(error)))
        assert time.perf_counter() - start < 5
        assert tracemalloc.get_traced_memory()[1] < 500_000 + 20 * len(text)
        tracemalloc.stop()
    assert refused > 300
    assert placed > 0.8 * refused
    assert longest < 1500
