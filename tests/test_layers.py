"""LRN and grouped convolution agree with TensorFlow, with arithmetic, and with each other."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from running import run_program

from alexnet_lib.port.caffe_layers import MeanVarianceNormalization, ZeroInsertion2D
from alexnet_lib.port.compilation import compiled, fused
from alexnet_lib.port.layers import (
    FullyConnected,
    GroupedConv2D,
    LocalResponseNormalization,
    local_response_normalization,
)

ALEXNET = {"depth_radius": 2, "bias": 1.0, "alpha": 2e-5, "beta": 0.75}
PARAMETERS = [
    ALEXNET,
    {"depth_radius": 5, "bias": 2.0, "alpha": 1e-4, "beta": 0.75},
    {"depth_radius": 1, "bias": 0.5, "alpha": 3e-3, "beta": 0.5},
    {"depth_radius": 0, "bias": 1.0, "alpha": 1e-3, "beta": 1.0},
    {"depth_radius": 40, "bias": 1.0, "alpha": 1e-5, "beta": 0.75},  # wider than all channels
]


def tensor(*shape, seed=0, scale=100.0):
    return tf.constant(scale * np.random.default_rng(seed).standard_normal(shape), tf.float32)


def value_and_gradient(function, x, parameters):
    upstream = tensor(*x.shape, seed=1, scale=1.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x, **parameters)
    return y, tape.gradient(y, x, upstream)


@pytest.mark.parametrize("parameters", PARAMETERS, ids=str)
@pytest.mark.parametrize("channels", [1, 3, 16, 96])
@pytest.mark.parametrize("way", [lambda function: function, fused], ids=["plain", "fused"])
def test_lrn_equals_tensorflow(parameters, channels, way):
    x = tensor(3, 5, 7, channels)
    ours = value_and_gradient(way(local_response_normalization), x, parameters)
    theirs = value_and_gradient(tf.nn.lrn, x, parameters)
    for a, b, what in zip(ours, theirs, ("value", "gradient"), strict=True):
        scale = np.abs(b).max()
        np.testing.assert_allclose(a / scale, b / scale, atol=1e-6, rtol=0, err_msg=what)


def test_lrn_equals_a_loop_in_float64():
    x = np.random.default_rng(0).standard_normal((4, 9)) * 50
    expected = np.empty_like(x)
    for row, values in enumerate(x):
        for c in range(9):
            total = sum(values[j] ** 2 for j in range(max(0, c - 2), min(9, c + 3)))
            expected[row, c] = values[c] / (1 + 2e-5 * total) ** 0.75
    actual = local_response_normalization(x, **ALEXNET)
    assert actual.dtype == tf.float64
    np.testing.assert_allclose(actual, expected, rtol=1e-14)


@pytest.mark.parametrize("beta", [0.75, 0.6])
def test_lrn_gradient_against_finite_differences(beta):
    x = np.random.default_rng(0).standard_normal((2, 2, 2, 7))
    strong = {"depth_radius": 2, "bias": 1.0, "alpha": 0.3, "beta": beta}
    analytic, numeric = tf.test.compute_gradient(
        lambda t: local_response_normalization(t, **strong), [tf.constant(x)], delta=1e-5
    )
    np.testing.assert_allclose(analytic[0], numeric[0], atol=1e-8)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_lrn_keeps_half_precision(dtype):
    x = tf.cast(tensor(2, 3, 3, 16, scale=300.0), dtype)  # squares overflow float16
    y = local_response_normalization(x, **ALEXNET)
    assert y.dtype == dtype
    exact = tf.nn.lrn(tf.cast(x, tf.float32), **ALEXNET)
    np.testing.assert_allclose(tf.cast(y, tf.float32), exact, rtol=1e-2)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_lrn_in_a_graph_of_unknown_batch(jit_compile):
    graph = tf.function(
        lambda x: local_response_normalization(x, **ALEXNET),
        input_signature=[tf.TensorSpec([None, None, None, 8])],
        jit_compile=jit_compile,
    )
    x = tensor(2, 3, 4, 8)
    np.testing.assert_allclose(graph(x), tf.nn.lrn(x, **ALEXNET), rtol=1e-6, atol=1e-6)


def test_only_compiled_functions_hide_operations():
    """Exporters know operations, and not what XLA has compiled."""
    layer = LocalResponseNormalization(**ALEXNET)
    x = tensor(2, 3, 4, 8)
    for make, hidden in ((tf.function, False), (compiled, True)):
        operations = make(layer).get_concrete_function(x).graph.get_operations()
        found = any("_XlaMustCompile" in operation.node_def.attr for operation in operations)
        assert found == hidden, make.__name__
    np.testing.assert_allclose(compiled(layer)(x), layer(x), rtol=1e-6)


def test_lrn_from_caffe_divides_alpha():
    layer = LocalResponseNormalization.from_caffe(local_size=5, alpha=1e-4, beta=0.75, k=1.0)
    assert (layer.depth_radius, layer.bias, layer.beta) == (2, 1.0, 0.75)
    assert layer.alpha == pytest.approx(2e-5)
    plain = LocalResponseNormalization.from_caffe()  # what lrn_param without a field means
    assert (plain.depth_radius, plain.bias, plain.alpha, plain.beta) == (2, 1.0, 0.2, 0.75)


@pytest.mark.parametrize("local_size", [0, 2, 4, -3])
def test_lrn_refuses_a_window_without_a_middle(local_size):
    with pytest.raises(ValueError, match=rf"must be odd .* local_size={local_size}$"):
        LocalResponseNormalization.from_caffe(local_size=local_size)


def test_groups_are_a_block_diagonal_convolution():
    layer = GroupedConv2D(6, 3, groups=2, padding="same", bias_initializer="normal")
    x = tensor(2, 5, 5, 8, scale=1.0)
    y = layer(x)
    kernel, bias = layer.get_weights()
    assert kernel.shape == (3, 3, 4, 6)
    full = np.zeros((3, 3, 8, 6), np.float32)
    full[:, :, :4, :3], full[:, :, 4:, 3:] = kernel[..., :3], kernel[..., 3:]
    np.testing.assert_allclose(y, tf.nn.conv2d(x, full, 1, "SAME") + bias, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"padding": "same"}, {"strides": 2}, {"dilation_rate": 2, "padding": "same"}, {"groups": 4}],
    ids=str,
)
def test_groups_equal_keras(options):
    options = {"groups": 2, "use_bias": False} | options
    ours, theirs = GroupedConv2D(8, 3, **options), keras.layers.Conv2D(8, 3, **options)
    x = tensor(2, 9, 9, 8, scale=1.0)
    ours.build(x.shape)
    theirs.build(x.shape)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_allclose(ours(x), theirs(x), atol=1e-5)
    assert ours.compute_output_shape(x.shape) == tuple(theirs(x).shape)


@pytest.mark.parametrize("options", [{}, {"use_bias": False, "activation": "tanh"}], ids=str)
@pytest.mark.parametrize("shape", [(5, 12), (2, 3, 12)], ids=str)
def test_fully_connected_equals_dense(options, shape):
    ours, theirs = FullyConnected(7, **options), keras.layers.Dense(7, **options)
    x, upstream = tensor(*shape, scale=1.0), tensor(*shape[:-1], 7, seed=1, scale=1.0)
    ours.build(shape)
    theirs.build(shape)
    theirs.set_weights(ours.get_weights())
    found = []
    for layer in (ours, theirs):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = layer(x)
        found.append(
            [y, *tape.gradient(y, [x, *(weight.value for weight in layer.weights)], upstream)]
        )
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_layers_rebuild_from_their_configuration():
    for layer in (
        FullyConnected(7, use_bias=False, name="fc6"),
        GroupedConv2D(8, 3, groups=2, name="conv2"),
        LocalResponseNormalization(**ALEXNET, name="norm1"),
    ):
        config = layer.get_config()
        assert type(layer).from_config(config).get_config() == config


def test_groups_learn_in_a_model_that_is_saved(tmp_path):
    """Kernels that are fused in a graph are the first to refuse groups."""
    model = keras.Sequential(
        [
            keras.Input((9, 9, 4)),
            GroupedConv2D(8, 3, groups=2, activation="relu"),
            LocalResponseNormalization(**ALEXNET),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )
    model.compile("sgd", "mse")
    x = np.ones((4, 9, 9, 4), np.float32)
    before = model.layers[0].get_weights()[0]
    model.fit(x, np.ones((4, 2)), verbose=0)
    assert (model.layers[0].get_weights()[0] != before).any()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.fixture
def policy(request):
    """Keras's policy of dtypes for one test."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize(
    "policy", ["float32", "mixed_float16", "mixed_bfloat16", "float16", "float64"], indirect=True
)
def test_groups_learn_in_every_dtype(policy, jit_compile):
    """What a kernel accepts in float32 it may refuse in another dtype."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((9, 9, 4)),
            GroupedConv2D(8, 3, groups=2, activation="relu"),
            LocalResponseNormalization(**ALEXNET),
            keras.layers.Flatten(),
            FullyConnected(4, activation="relu"),
            FullyConnected(2, dtype="float32"),
        ]
    )
    x, y = tensor(4, 9, 9, 4, scale=1.0), np.ones((4, 2))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(x, training=True) - y))
    gradients = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=jit_compile)
    before = model.get_weights()
    found = model.fit(x, y, verbose=0).history["loss"][0]
    np.testing.assert_allclose(found, float(loss), rtol=0.02)
    for old, new, gradient in zip(before, model.get_weights(), gradients, strict=True):
        step, limit = 0.01 * np.float64(gradient), 4 * np.spacing(np.abs(old).max())
        error = np.abs(np.float64(old) - new - step).max()
        assert error < 0.05 * np.abs(step).max() + float(limit)
    one = tf.function(model, jit_compile=jit_compile)(x)
    np.testing.assert_allclose(model.predict(x, verbose=0), one, rtol=0.05, atol=0.05)


def test_without_onednn_the_same_holds():
    """There TensorFlow refuses groups; the tests of groups run anew in a process of that kind."""
    program = """
        from alexnet_lib import AlexNet  # before Keras, unlike everywhere else
        import sys, pytest, tensorflow as tf
        with pytest.raises(tf.errors.OpError), tf.GradientTape() as tape:
            kernel = tf.Variable(tf.ones([3, 3, 2, 4]))
            tape.gradient(tf.nn.conv2d(tf.ones([1, 3, 3, 4]), kernel, 1, "SAME"), kernel)
        options = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
        options += ["-k", "test_groups and not True"]
        sys.exit(pytest.main([*options, sys.argv[1]]))
    """
    written = run_program(program, __file__, TF_ENABLE_ONEDNN_OPTS="0")
    assert re.search(r"^11 passed, \d+ deselected", written, re.MULTILINE), written


@pytest.mark.parametrize("across_channels", [False, True])
@pytest.mark.parametrize("variance", [False, True])
def test_mvn_normalizes_each_image_by_channel_or_whole(across_channels, variance):
    x = np.random.default_rng(0).normal(3, 2, (2, 5, 7, 4)).astype(np.float32)
    layer = MeanVarianceNormalization(across_channels, variance, epsilon=0.5)
    axes = (1, 2, 3) if across_channels else (1, 2)
    expected = x - x.mean(axes, keepdims=True)
    if variance:
        expected /= x.std(axes, keepdims=True) + 0.5
    np.testing.assert_allclose(layer(x), expected, atol=1e-5)


def test_zeros_go_between_pixels_and_around_them_where_asked():
    x = np.arange(1, 13, dtype=np.float32).reshape(1, 2, 3, 2)
    expected = np.zeros((1, 3, 7, 2), np.float32)
    expected[:, ::2, ::3] = x
    np.testing.assert_array_equal(ZeroInsertion2D(strides=(2, 3))(x), expected)
    padded = np.pad(expected, [(0, 0), (1, 1), (2, 2), (0, 0)])
    np.testing.assert_array_equal(ZeroInsertion2D((2, 3), pad=(1, 2))(x), padded)
