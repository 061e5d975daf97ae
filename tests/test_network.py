"""Any Caffe network becomes a Keras model of the same layers, and the proof notices faults."""

import os

import keras
import numpy as np
import pytest
from drawn_networks import network
from google.protobuf import text_format
from running import run_program

from alexnet_lib.caffe.caffemodel import write_caffemodel
from alexnet_lib.caffe.description import normalize, read_description
from alexnet_lib.caffe.schema import NetParameter
from alexnet_lib.errors import InputError
from alexnet_lib.files import data_directory
from alexnet_lib.port.alexnet import AlexNet
from alexnet_lib.port.alexnet_files import read_alexnet
from alexnet_lib.port.architecture import prototxt, weight_layers
from alexnet_lib.port.exchange import save_model
from alexnet_lib.port.network import blob_shapes, build, keras_names, port
from alexnet_lib.port.prove import (
    LIMIT,
    compare,
    first_broken,
    keras_tops,
    opencv_differs,
    plot_errors,
    prove,
    random_inputs,
    synthetic_weights,
)

ZOO = data_directory() / "zoo"
BLOCK = """
name: "Block"
input: "data" input_shape { dim: 2 dim: 3 dim: 13 dim: 12 }
layer { name: "conv/1" type: "Convolution" bottom: "data" top: "c"
        convolution_param { num_output: 4 kernel_size: 7 stride: 2 pad: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "c" top: "c" }
layer { name: "scale" type: "Scale" bottom: "c" top: "c" scale_param { bias_term: true } }
layer { name: "relu" type: "ReLU" bottom: "c" top: "c" }
layer { name: "pool" type: "Pooling" bottom: "c" top: "pool"
        pooling_param { kernel_size: 2 stride: 2 pool: AVE pad: 1 } }
layer { name: "up" type: "Convolution" bottom: "pool" top: "up"
        convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "pool" bottom: "up" top: "sum" }
layer { name: "fc" type: "InnerProduct" bottom: "sum" top: "fc"
        inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


@pytest.fixture(scope="module")
def block():
    net = network(BLOCK)
    return net, synthetic_weights(net)


def layer(kind, parameters="", bottoms="data", shape=(2, 3, 5, 6), name="x"):
    """Describe a network of one layer."""
    dims = " ".join(f"dim: {size}" for size in shape)
    given = " ".join(f'bottom: "{bottom}"' for bottom in bottoms.split())
    return network(
        f'input: "data" input_shape {{ {dims} }} '
        f'layer {{ name: "{name}" type: "{kind}" {given} top: "{name}" {parameters} }}'
    )


def proof(net, blobs=None, seed=0):
    blobs = blobs or synthetic_weights(net)
    return compare(build(net, blobs), net, blobs, random_inputs(net, seed))


def test_a_block_is_proved_layer_by_layer(block):
    table = proof(*block)
    assert list(table.layer) == ["conv/1", "bn", "scale", "relu", "pool", "up", "sum", "fc", "prob"]
    assert set(table.oracle) == {"OpenCV"}
    assert table.error.max() <= LIMIT
    assert first_broken(table) is None


# Each a trap: other tools, or the obvious layer of Keras, compute something else.
TRAPS = {
    "convolution that SAME would shift": (
        "Convolution", "convolution_param { num_output: 2 kernel_size: 7 stride: 2 pad: 3 }"),
    "convolution whose padding is more than SAME": (
        "Convolution", "convolution_param { num_output: 2 kernel_size: 3 pad: 2 }"),
    "rectangular convolution": (
        "Convolution", "convolution_param { num_output: 2 kernel_h: 1 kernel_w: 3 pad_h: 0 "
        "pad_w: 1 stride_h: 2 stride_w: 1 }"),
    "dilated convolution with a stride": (
        "Convolution", "convolution_param { num_output: 2 kernel_size: 2 dilation: 2 stride: 2 }"),
    "dilated convolution with a stride that would pad as SAME does": (
        "Convolution", "convolution_param { num_output: 2 kernel_h: 5 pad_h: 2 stride_h: 1 "
        "kernel_w: 2 pad_w: 0 stride_w: 3 dilation: 1 dilation: 2 }"),
    "grouped convolution": (
        "Convolution", "convolution_param { num_output: 6 kernel_size: 3 group: 3 }"),
    "depthwise convolution without bias": (
        "Convolution", "convolution_param { num_output: 3 kernel_size: 3 group: 3 pad: 1 "
        "bias_term: false }"),
    "deconvolution": (
        "Deconvolution", "convolution_param { num_output: 2 kernel_size: 4 stride: 2 pad: 1 }"),
    "deconvolution that SAME would cut elsewhere": (
        "Deconvolution", "convolution_param { num_output: 2 kernel_size: 3 stride: 2 pad: 1 }"),
    "deconvolution with gaps": (
        "Deconvolution", "convolution_param { num_output: 2 kernel_size: 1 stride: 3 }"),
    "deconvolution in groups": (
        "Deconvolution", "convolution_param { num_output: 6 kernel_size: 3 stride: 2 group: 3 }"),
    "dilated deconvolution of unequal strides": (
        "Deconvolution", "convolution_param { num_output: 2 kernel_size: 3 stride_h: 2 stride_w: 3 "
        "dilation: 2 }"),
    "pooling that rounds up": ("Pooling", "pooling_param { kernel_size: 2 stride: 2 }"),
    "average with padding where SAME has the same windows": (
        "Pooling",
        "pooling_param { kernel_size: 3 pad: 1 pool: AVE }",
    ),
    "pooling of forks that rounds down": (
        "Pooling",
        "pooling_param { kernel_size: 2 stride: 2 ceil_mode: false }",
    ),
    "pooling whose last window is dropped": (
        "Pooling", "pooling_param { kernel_size: 2 stride: 3 pad: 1 }"),
    "average that counts padding but no overhang": (
        "Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 1 pool: AVE }"),
    "average with overhang and no padding": (
        "Pooling", "pooling_param { kernel_size: 2 stride: 2 pool: AVE }"),
    "pooling of the whole image": ("Pooling", "pooling_param { global_pooling: true pool: AVE }"),
    "LRN with k": ("LRN", "lrn_param { local_size: 3 k: 2 alpha: 1 }"),
    "LRN within a channel": (
        "LRN", "lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL alpha: 1 }"),
    "inner product of an image": ("InnerProduct", "inner_product_param { num_output: 4 }"),
    "inner product, transposed": (
        "InnerProduct", "inner_product_param { num_output: 4 transpose: true }"),
    "inner product of rows": ("InnerProduct", "inner_product_param { num_output: 4 axis: 3 }"),
    "inner product of planes": ("InnerProduct", "inner_product_param { num_output: 4 axis: 2 }"),
    "PReLU by channel": ("PReLU", ""),
    "PReLU, shared": ("PReLU", "prelu_param { channel_shared: true }"),
    "ReLU with a slope": ("ReLU", "relu_param { negative_slope: 0.3 }"),
    "BatchNorm": ("BatchNorm", "batch_norm_param { eps: 0.1 }"),
    "scale by row and column": ("Scale", "scale_param { axis: 2 num_axes: -1 bias_term: true }"),
    "bias": ("Bias", "bias_param { axis: 3 }"),
    "softmax over rows": ("Softmax", "softmax_param { axis: 2 }"),
    "flatten": ("Flatten", "flatten_param { axis: 2 }"),
    "reshape": ("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 6 dim: 1 } }"),
    "permute": ("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
    "permute, not by a cycle": ("Permute", "permute_param { order: 0 order: 3 order: 2 order: 1 }"),
    "power": ("Power", "power_param { power: 2 scale: 0.5 shift: 1 }"),
    "exponential of base 2": ("Exp", "exp_param { base: 2 scale: 0.5 shift: 1 }"),
    "logarithm of base 10": ("Log", "log_param { base: 10 scale: 0.5 shift: 5 }"),
    "ELU": ("ELU", "elu_param { alpha: 0.5 }"),
    "normalization by channel": (
        "Normalize", "norm_param { across_spatial: false channel_shared: false }"),
    "normalization of the image": ("Normalize", "norm_param { across_spatial: true }"),
    "mean and variance": ("MVN", "mvn_param { eps: 0.1 }"),
    "absolute values": ("AbsVal", ""),
    "softplus": ("BNLL", ""),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "parameters"), TRAPS.values(), ids=TRAPS.keys())
def test_every_trap_is_exact(kind, parameters):
    net = layer(kind, parameters)
    table = proof(net)
    assert table.error.max() <= LIMIT, table
    assert list(table.oracle) == ["NumPy" if opencv_differs(net.layer[1]) else "OpenCV"]


@pytest.mark.parametrize("operation", ["SUM", "PROD", "MAX"])
def test_eltwise(operation):
    net = network(
        'input: "a" input: "b" input_shape { dim: 2 dim: 3 } input_shape { dim: 2 dim: 3 } '
        'layer { name: "x" type: "Eltwise" bottom: "a" bottom: "b" top: "x" '
        f"eltwise_param {{ operation: {operation} }} }}"
    )
    assert proof(net).error.max() <= LIMIT


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_groups_of_several_channels(kind):
    parameters = "convolution_param { num_output: 6 kernel_size: 3 stride: 2 group: 2 }"
    assert proof(layer(kind, parameters, shape=(2, 4, 5, 6))).error.max() <= LIMIT


def test_two_inputs_of_one_layer():
    text = BLOCK.replace(
        '"prob" type: "Softmax" bottom: "fc"', '"prob" type: "Softmax" bottom: "g"'
    )
    gate = """
    layer { name: "mean" type: "Pooling" bottom: "sum" top: "mean"
            pooling_param { pool: AVE global_pooling: true } }
    layer { name: "flat" type: "Flatten" bottom: "mean" top: "flat" }
    layer { name: "g" type: "Scale" bottom: "sum" bottom: "flat" top: "g" scale_param { axis: 0 } }
    layer { name: "eltwise" type: "Eltwise" bottom: "g" bottom: "sum" top: "eltwise"
            eltwise_param { coeff: 1 coeff: -2 } }
    layer { name: "slice" type: "Slice" bottom: "eltwise" top: "a" top: "b"
            slice_param { axis: 1 slice_point: 1 } }
    layer { name: "crop" type: "Crop" bottom: "data" bottom: "a" top: "crop"
            crop_param { axis: 1 offset: 2 offset: 1 offset: 0 } }
    layer { name: "concat" type: "Concat" bottom: "crop" bottom: "b" top: "concat" }
    """
    net = network(text.replace('layer { name: "prob"', gate + 'layer { name: "prob"'))
    table = proof(net)
    assert table.error.max() <= LIMIT, table
    assert dict(zip(table.layer, table.oracle, strict=True))["slice"] == "NumPy"


def test_names_are_caffes_and_what_tensorflow_forbids_becomes_an_underscore(block):
    net, blobs = block
    model = build(net, blobs)
    assert model.name == "Block"
    assert keras_names(net)["conv/1"] == "conv_1"
    assert model.get_layer("conv_1").kernel.shape == (7, 7, 3, 4)
    assert model.input.name == "data"
    assert model.output_shape == (None, 5)
    twins = network(
        'input: "a/b" input_shape { dim: 1 dim: 2 } '
        'layer { name: "a_b" type: "ReLU" bottom: "a/b" top: "a_b" } '
        'layer { name: "_" type: "TanH" bottom: "a_b" top: "_" }'
    )
    assert keras_names(twins) == {"a/b": "a_b", "a_b": "a_b_2", "_": "layer_"}
    assert build(twins).output_shape == (None, 2)


def test_several_inputs_and_outputs_keep_their_order():
    net = network(
        'input: "b" input: "a" input_shape { dim: 1 dim: 2 } input_shape { dim: 1 dim: 2 } '
        'layer { name: "z" type: "ReLU" bottom: "a" top: "z" } '
        'layer { name: "y" type: "Eltwise" bottom: "a" bottom: "b" top: "y" }'
    )
    model = build(net)
    assert [x.name for x in model.inputs] == ["b", "a"]
    z, y = model([np.full((3, 2), -1.0), np.full((3, 2), 5.0)])
    np.testing.assert_array_equal(z, np.full((3, 2), 5))
    np.testing.assert_array_equal(y, np.full((3, 2), 4))


def test_a_ported_model_loads_with_nothing_but_the_library(block, tmp_path):
    net, blobs = block
    model = build(net, blobs)
    x = np.random.default_rng(0).standard_normal((3, 13, 12, 3)).astype(np.float32)
    model.save(tmp_path / "net.keras")
    np.savez(tmp_path / "x.npz", x=x, y=model(x))
    code = """
    import sys, numpy as np, keras, alexnet_lib
    file = np.load(sys.argv[1] + "/x.npz")
    model = keras.saving.load_model(sys.argv[1] + "/net.keras")
    np.testing.assert_array_equal(model(file["x"]), file["y"])
    print(sorted({layer.__module__ for layer in model.layers}))
    """
    assert "alexnet_lib.port.caffe_layers" in run_program(code, tmp_path)


DECONVOLUTIONS = {
    "with pixels apart": "num_output: 2 kernel_size: 3 stride: 2 pad: 1",
    "in groups": "num_output: 3 kernel_h: 3 kernel_w: 5 stride_h: 3 stride_w: 2 pad_h: 0 "
    "pad_w: 1 group: 3",
}


@pytest.mark.parametrize("parameters", DECONVOLUTIONS.values(), ids=DECONVOLUTIONS.keys())
def test_litert_takes_a_deconvolution(parameters, tmp_path):
    pytest.importorskip("ai_edge_litert")
    net = layer("Deconvolution", f"convolution_param {{ {parameters} }}")
    save_model(build(net, synthetic_weights(net)), tmp_path / "net.tflite")  # compares the two


def test_fine_tuning_moves_scale_and_leaves_batch_norm(block):
    net, blobs = block
    model = build(net, blobs)
    for each in model.layers:  # as people do, for all layers at once
        each.trainable = True
    before = {x.name: [w.numpy() for w in x.weights] for x in model.layers}
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = np.random.default_rng(0).standard_normal((8, 13, 12, 3)) + 3
    model.fit(x, np.arange(8) % 5, verbose=0)
    changed = {
        x.name
        for x in model.layers
        if any((w.numpy() != old).any() for w, old in zip(x.weights, before[x.name], strict=True))
    }
    assert changed == {"conv_1", "scale", "up", "fc"}


def test_the_head_is_exchanged_in_three_lines(block):
    net, blobs = block
    model = build(net, blobs)
    features = model.get_layer("sum").output
    logits = keras.layers.Dense(2)(keras.layers.Flatten()(features))
    assert keras.Model(model.input, logits)(np.zeros((1, 13, 12, 3))).shape == (1, 2)


def test_a_batch_norm_whose_factor_is_0_has_statistics_of_0():
    net = layer("BatchNorm", "batch_norm_param { eps: 0.25 }")
    blobs = synthetic_weights(net)
    blobs["x"][2][:] = 0
    x = random_inputs(net)
    model = build(net, blobs)
    np.testing.assert_allclose(keras_tops(model, net, x)["x"], x["data"] / 0.5, rtol=1e-6)
    assert proof(net, blobs).error.max() <= LIMIT


def test_weights_must_fit(block):
    net, blobs = block
    with pytest.raises(
        InputError, match=r"'fc': expected blobs of \[\(5, 64\), \(5,\)\], got none"
    ):
        build(net, {name: own for name, own in blobs.items() if name != "fc"})
    with pytest.raises(InputError, match=r"'up': .* got \[\(4, 4, 1, 2\), \(4,\)\].*--rename"):
        build(net, blobs | {"up": [np.zeros((4, 4, 1, 2), "f"), blobs["up"][1]]})
    with pytest.raises(InputError, match=r"'up': .* got"):
        build(net, blobs | {"up": blobs["up"][:1]})
    with pytest.warns(UserWarning, match="does not have: conv9, fc9"):
        build(net, blobs | {"conv9": [np.zeros(1, "f")], "fc9": [np.zeros(1, "f")], "empty": []})
    legacy = blobs["fc"][0][None, None], blobs["fc"][1][None, None, None]
    model = build(net, blobs | {"fc": [*legacy]})
    np.testing.assert_array_equal(
        model.get_layer("fc").weights[0], build(net, blobs).get_layer("fc").weights[0]
    )


def test_skipped_and_renamed_layers(block, tmp_path):
    net, blobs = block
    (tmp_path / "net.prototxt").write_text(BLOCK)
    files = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    own = dict(blobs)
    own["fc_places"] = own.pop("fc")
    write_caffemodel(files[1], own)
    with pytest.raises(InputError, match=r"net.caffemodel.*'fc': expected blobs .* got none"):
        port(*files)
    expected = build(net, blobs).get_layer("fc").kernel
    renamed = port(*files, rename={"fc_places": "fc"})
    np.testing.assert_array_equal(renamed.get_layer("fc").kernel, expected)
    with pytest.warns(UserWarning, match="fc_places"):
        skipped = port(*files, skip=["fc"])
    assert np.ptp(skipped.get_layer("fc").kernel) > 0
    with pytest.raises(InputError, match="skip: the network has no layer 'fc7'"):
        port(*files, skip=["fc7"])
    with pytest.raises(InputError, match=r"rename: .* fc_places.*Received: fc7"):
        port(*files, rename={"fc7": "fc"})
    assert prove(*files, rename={"fc_places": "fc"}).error.max() <= LIMIT
    assert port(files[0]).count_params() == renamed.count_params()
    with pytest.raises(InputError, match="Received: neither"):
        port(None)


REFUSED = {
    "stochastic": ("Pooling", "pooling_param { kernel_size: 2 pool: STOCHASTIC }", "samples"),
    "no fit": ("Convolution", "convolution_param { num_output: 1 kernel_size: 7 }", r"\(7, 7\)"),
    "no kernel": ("Convolution", "convolution_param { num_output: 1 }", "positive"),
    "groups": ("Convolution", "convolution_param { num_output: 4 kernel_size: 1 group: 2 }",
               "2 groups do not divide 3 channels"),
    "pad": ("Pooling", "pooling_param { kernel_size: 2 pad: 2 }", "does not fit"),
    "batch": ("Softmax", "softmax_param { axis: 0 }", "axis 0"),
    "axis": ("InnerProduct", "inner_product_param { num_output: 2 axis: 5 }", "axis 5"),
    "own statistics": ("BatchNorm", "batch_norm_param { use_global_stats: false }", "statistics"),
    "batch in a row": ("Reshape", "reshape_param { shape { dim: -1 } }", "batch of 2"),
    "count": ("Reshape", "reshape_param { shape { dim: 2 dim: 7 } }", "90 values|180 values"),
    "order": ("Permute", "permute_param { order: 1 order: 0 }", "keeps 0"),
    "even window": ("LRN", "lrn_param { local_size: 2 }", "odd"),
    "window": ("LRN", "lrn_param { local_size: 2 norm_region: WITHIN_CHANNEL }", "odd"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "parameters", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_built_is_refused_by_layer_and_type(kind, parameters, message):
    with pytest.raises(InputError, match=rf"layer 'x' .*{kind}.*({message})"):
        build(layer(kind, parameters))


def test_inputs_of_other_shapes_are_refused():
    net = network(
        'input: "a" input: "b" input_shape { dim: 1 dim: 2 dim: 3 dim: 1 } '
        "input_shape { dim: 1 dim: 2 dim: 1 dim: 3 } "
        'layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" }'
    )
    with pytest.raises(InputError, match=r"'sum' \(Eltwise\): .*\(1, 2, 3, 1\), \(1, 2, 1, 3\)"):
        build(net)


def test_the_proof_names_the_first_layer_that_breaks(block):
    net, blobs = block
    model = build(net, blobs)
    model.get_layer("scale").gamma.assign(model.get_layer("scale").gamma * 1.01)
    table = compare(model, net, blobs, random_inputs(net))
    assert first_broken(table) == "scale"
    assert set(table.oracle) == {"OpenCV"}  # NumPy sided with it
    assert table.error.iloc[0] <= LIMIT
    axes = plot_errors(table)
    assert axes.get_yscale() == "log"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), table.error.clip(lower=1e-9))
    assert "scale" in [label.get_text() for label in axes.get_xticklabels()]
    table.loc[1, "error"] = np.nan
    assert first_broken(table) == "bn"


def test_the_proof_takes_given_inputs(block, tmp_path):
    _net, blobs = block
    (tmp_path / "net.prototxt").write_text(BLOCK)
    files = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    write_caffemodel(files[1], blobs)
    image = np.random.default_rng(1).standard_normal((1, 13, 12, 3))
    table = prove(*files, input=image)
    assert table["shape"][0] == "1x4x7x6"
    assert table.error.max() <= LIMIT
    assert prove(*files, input={"data": image}).equals(table)
    assert prove(*files, input_shape=(1, 3, 13, 12), stop_at="relu").layer.iloc[-1] == "relu"
    with pytest.raises(InputError, match=r"'data': expected batch and \(3, 13, 12\)"):
        prove(*files, input=image[:, :5])
    with pytest.raises(InputError, match="expected inputs \\['data'\\], got \\['image'\\]"):
        prove(*files, input={"image": image})


def snapshot(path, changes=()):
    """Write a file that describes AlexNet's convolutions itself, with some text changed."""
    text = prototxt("pool5")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    net = read_text(text)
    for described in net.layer:
        del described.blobs[:]
        kernel = weight_layers().get(described.name)
        if kernel:
            height, width, inputs, outputs = kernel.kernel_shape
            for shape in ((outputs, inputs, height, width), (outputs,)):
                blob = described.blobs.add(data=[0.01] * int(np.prod(shape)))
                blob.shape.dim[:] = shape
    path.write_bytes(net.SerializeToString())
    return path


def read_text(text):
    return text_format.Parse(text, NetParameter())


OTHERS = {
    "pad": ([("pad: 2", "pad: 1")], r"'conv2' \(Convolution\): pad: AlexNet says \(2, 2\)"),
    "stride": ([("kernel_size: 11 stride: 4", "kernel_size: 11 stride: 2")], "'conv1'.*stride"),
    "groups": ([("group: 2", "group: 1")], "'conv2'.*group"),
    "LRN": ([("alpha: 0.0001", "alpha: 0.0005")], "'norm1'.*alpha"),
    "order": (
        [('bottom: "relu1" top: "norm1"', 'bottom: "pool1" top: "norm1"'),
         ('bottom: "norm1" top: "pool1"', 'bottom: "relu1" top: "pool1"'),
         ('bottom: "pool1" top: "conv2"', 'bottom: "norm1" top: "conv2"')],
        "pool1|norm1"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), OTHERS.values(), ids=OTHERS.keys())
def test_alexnet_refuses_a_file_that_says_it_is_another_network(changes, message, tmp_path):
    path = snapshot(tmp_path / "other.caffemodel", changes)
    with pytest.raises(InputError, match=rf"other.caffemodel: this is not AlexNet.*({message})"):
        AlexNet(path, include_top=False)
    with pytest.raises(InputError, match="python -m alexnet_lib port"):
        read_alexnet(path)


def test_alexnet_takes_files_that_describe_it_or_a_part_of_it_or_nothing(tmp_path):
    described = snapshot(tmp_path / "alexnet.caffemodel")
    assert np.all(AlexNet(described, include_top=False).get_layer("conv1").kernel == 0.01)
    # A file that names layers and types, but no parameters, says nothing against AlexNet.
    silent = read_text(prototxt("pool5"))
    for entry in silent.layer:
        for field in ("convolution_param", "lrn_param", "pooling_param"):
            entry.ClearField(field)
    blob = silent.layer[1].blobs.add(data=[0.5] * 96 * 363)
    blob.shape.dim[:] = 96, 3, 11, 11
    silent.layer[1].blobs.add(data=[0.5] * 96).shape.dim.append(96)
    (tmp_path / "silent.caffemodel").write_bytes(silent.SerializeToString())
    assert list(read_alexnet(tmp_path / "silent.caffemodel")) == ["conv1/kernel", "conv1/bias"]


def test_alexnet_is_made_by_the_same_builder():
    model, net = AlexNet(fc_units=8), read_text(prototxt(fc_units=8))
    built = build(net)
    names = [layer.name for layer in model.layers]
    assert names == [layer.name for layer in built.layers]
    assert [type(layer) for layer in model.layers[:-1]] == [type(x) for x in built.layers[:-1]]
    assert not any("pad" in name for name in names)  # SAME costs no pass over memory
    assert [layer.name for layer in net.layer] == [name for name in names if name != "flatten"]


SMALL = [
    "cifar10_full_v1",
    "lenet",
    "lenet_v1",
    "mtcnn_det1",
    "mtcnn_det2",
    "mtcnn_det3",
    "mtcnn_fast_det1_bn",
]
LARGE = ["landmark106", "ultraface_slim320", "vdsr", "wechat_qr_sr"]
PUBLISHED = {"CIFAR-10_full": None, "SqueezeNet1.1": None}
PUBLISHED_LARGE = {
    "AlexNet": None, "CaffeNet": None, "DenseNet-121": None, "FCN-8s": None, "GoogLeNet": None,
    "Inception_v3": None, "MobileNet-SSD": "mbox_loc,mbox_conf_flatten", "MobileNet_v1": None,
    "MobileNet_v2": None, "R-CNN": None, "ResNet-50": None, "VGG16": None,
}  # fmt: skip
# The large ones take minutes and gigabytes: ZOO=all python -m pytest -k zoo
ALL = os.environ.get("ZOO") == "all"
needs_zoo = pytest.mark.skipif(not ZOO.is_dir(), reason="no zoo in the data directory")


@needs_zoo
@pytest.mark.parametrize("name", SMALL + LARGE * ALL)
def test_real_networks_of_the_zoo(name):
    folder = ZOO / "networks" / name
    shape = (1, 1, 32, 32) if name == "vdsr" else None
    table = prove(folder / "net.prototxt", folder / "net.caffemodel", input_shape=shape)
    assert table.error.max() <= LIMIT, table
    assert set(table.oracle) == {"OpenCV"}


@needs_zoo
@pytest.mark.parametrize(
    ("name", "stop_at"), [*PUBLISHED.items(), *(PUBLISHED_LARGE.items() if ALL else ())]
)
def test_published_descriptions_of_the_zoo_with_synthetic_weights(name, stop_at):
    keras.backend.clear_session()
    net = normalize(read_description(ZOO / "prototxt" / f"{name}.prototxt"), stop_at=stop_at)
    assert blob_shapes(net)
    table = proof(net)
    assert table.error.max() <= LIMIT, table
    assert set(table.oracle) == {"OpenCV"}
