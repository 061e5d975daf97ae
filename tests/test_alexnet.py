"""The Keras model: names, shapes, every kind of weights file, and what is said of misfits."""

import re
import warnings
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import alexnet_lib
from alexnet_lib import files
from alexnet_lib.finetuning.classifier import load_classifier
from alexnet_lib.finetuning.recipes import stages_of
from alexnet_lib.finetuning.runs import fresh_model, model_of_stages
from alexnet_lib.port.alexnet import AlexNet, decode_predictions, load_weights
from alexnet_lib.port.alexnet_files import imagenet_classes
from alexnet_lib.port.architecture import FC6_SCALE, describe
from alexnet_lib.port.layouts import model_weights, save_npz


@pytest.fixture(scope="module")
def convolutions(weights, tmp_path_factory):
    """A file of the convolutions alone, as `.npz`."""
    path = tmp_path_factory.mktemp("npz") / "convolutions.npz"
    save_npz(path, {name: array for name, array in weights.items() if name[:4] == "conv"})
    return path


@pytest.fixture(scope="module")
def complete(caffemodel):
    return AlexNet(caffemodel)


@pytest.fixture
def backbone():
    return AlexNet(fc_units=8)


def assert_holds(model, weights, names):
    for name in names:
        for variable, part in zip(model.get_layer(name).weights, ("kernel", "bias"), strict=True):
            np.testing.assert_array_equal(variable, weights[f"{name}/{part}"], err_msg=name)


CONVOLUTIONS = ["conv1", "conv2", "conv3", "conv4", "conv5"]
FULLY_CONNECTED = ["fc6", "fc7", "fc8"]


def test_layers_and_shapes_follow_the_table(complete):
    assert complete.count_params() == 60_965_224
    for row in describe():
        layer = complete.get_layer(row.layer.name)
        assert layer.output.shape == (None, *row.output_shape), row.layer.name
        assert layer.count_params() == row.parameters, row.layer.name


def test_keras_loads_all_from_a_caffemodel(complete, weights):
    assert_holds(complete, weights, CONVOLUTIONS + FULLY_CONNECTED)


def test_include_top_false_stops_at_pool5(caffemodel, weights):
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing starts fresh
        model = AlexNet(caffemodel, include_top=False)
    assert model.output.shape == (None, 6, 6, 256)
    assert model.count_params() == 2_334_080
    assert_holds(model, weights, CONVOLUTIONS)


def test_a_file_without_fc_layers_loads_what_it_has(convolutions, weights):
    with pytest.warns(UserWarning, match=r"convolutions\.npz: these layers start fresh: fc6 .*fc8"):
        model = AlexNet(convolutions, classes=21, fc_units=8)
    assert_holds(model, weights, CONVOLUTIONS)


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
def test_keras_files_and_a_head_of_another_size(backbone, name, tmp_path):
    save = backbone.save if name == "model.keras" else backbone.save_weights
    save(tmp_path / name)
    with pytest.warns(UserWarning, match=r"fresh: fc8 \(1000 classes in the file, 5 in the model"):
        model = AlexNet(tmp_path / name, classes=5, fc_units=8)
    assert_holds(model, model_weights(backbone), [*CONVOLUTIONS, "fc6", "fc7"])
    assert model.output.shape == (None, 5)


def test_another_width_keeps_the_convolutions_alone(caffemodel, weights):
    units = ", ".join(f"fc{i} (4096 units in the file, 8 in the model)" for i in (6, 7))
    with pytest.warns(UserWarning, match=re.escape(f"fresh: {units}, fc8 (1000 classes")):
        model = AlexNet(caffemodel, classes=5, fc_units=8)
    assert_holds(model, weights, CONVOLUTIONS)


def test_dropout_activation_and_regularizer():
    model = AlexNet(
        include_top=True,
        classes=3,
        dropout=0.25,
        classifier_activation=None,
        kernel_initializer="zeros",
        kernel_regularizer=keras.regularizers.L2(1e-3),
        name="mine",
    )
    assert model.name == "mine"
    assert model.get_layer("drop6").rate == model.get_layer("drop7").rate == 0.25
    assert len(model.losses) == 8
    assert not np.any(model.get_layer("fc6").kernel)
    assert model.get_layer("prob").activation is keras.activations.linear


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": 0}, "classes=0"),
        ({"classes": 2.5}, "classes=2.5"),
        ({"dropout": 1.0}, "dropout=1.0"),
        ({"weights": 7}, "weights=int"),
        ({"weights": True}, r"AlexNet\(weights=None, include_top=True\)"),
        ({"weights": "imagenet", "classes": 5}, "needs classes=1000; .* classes=5"),
        ({"pooling": "sum", "include_top": False}, "None, 'avg' or 'max'.*pooling='sum'"),
        ({"input_shape": (224, 224, 3)}, r"AlexNet takes 227: .*\(224, 224, 3\)"),
        ({"input_shape": (62, 99, 3), "include_top": False}, r"at least 63.*\(62, 99, 3\)"),
        ({"input_shape": (3, 227, 227), "include_top": False}, r"\(height, width, 3\)"),
        ({"input_tensor": np.ones(3)}, "must be a Keras tensor.* ndarray"),
        ({"weights": "alexnet.pkl", "fc_units": 8}, r"ends in \.caffemodel, \.npz.*'alexnet\.pkl'"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        AlexNet(**options)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"conv9/kernel": (1,), "conv9/bias": (1,)}, "layers that AlexNet does not have: conv9"),
        ({}, "none of the model's layers"),
        ({"conv1/kernel": (11, 11, 3, 64), "conv1/bias": (64,)}, r"'conv1': expected kernel.*64"),
        ({"conv1/kernel": (11, 11, 3, 96)}, r"'conv1': expected kernel and bias.*None\]"),
        ({"fc6/kernel": (9216, 8), "fc6/bias": (7,)}, r"'fc6': expected kernel and bias.*\(7,\)"),
        ({"fc6/kernel": (9, 8), "fc6/bias": (8,)}, r"'fc6': expected kernel and bias.*\(9, 8\)"),
        ({"fc8/kernel": (8, 1000)}, r"'fc8': expected kernel and bias.*None\]"),
    ],
)
def test_a_misfit_leaves_the_model_as_it_was(backbone, arrays, message, tmp_path, weights):
    good = (
        {f"conv2/{part}": weights[f"conv2/{part}"] for part in ("kernel", "bias")} if arrays else {}
    )
    save_npz(tmp_path / "w.npz", good | {k: np.zeros(v, np.float32) for k, v in arrays.items()})
    before = backbone.get_weights()
    with pytest.raises(ValueError, match=rf"w\.npz: .*{message}"):
        load_weights(backbone, tmp_path / "w.npz")
    for old, new in zip(before, backbone.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("ending", [".caffemodel", ".npz", ".keras", ".weights.h5"])
def test_broken_and_missing_files_are_named(backbone, ending, tmp_path):
    path = tmp_path / f"broken{ending}"
    with pytest.raises(FileNotFoundError):
        load_weights(backbone, path)
    path.write_bytes(b"this is no weights file")
    with pytest.raises(ValueError, match=rf"broken\{ending}: .*expected"):
        load_weights(backbone, path)


def test_imagenet_is_found_by_checksum(caffemodel, monkeypatch, weights):
    monkeypatch.setenv("ALEXNET_DATA", str(caffemodel.parent))
    with pytest.raises(FileNotFoundError, match=r"complete\.caffemodel with another checksum"):
        AlexNet("imagenet", fc_units=8)
    monkeypatch.setattr(files, "CAFFEMODEL_SHA1", files.checksum(caffemodel))
    assert_holds(AlexNet("imagenet", include_top=False), weights, CONVOLUTIONS)


def test_missing_imagenet_says_which_command_brings_it(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="`python -m alexnet_lib fetch alexnet`"):
        AlexNet("imagenet", fc_units=8)


def test_classes_and_widths_come_from_the_file():
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing starts fresh
        carried = AlexNet(files.UCMERCED_CLASSIFIER)
    expected = load_classifier().model
    assert carried.output.shape == expected.output.shape == (None, 21)
    assert_holds(carried, model_weights(expected), CONVOLUTIONS + FULLY_CONNECTED)
    with pytest.warns(UserWarning, match=r"fresh: fc8 \(21 classes in the file, 5 in the model"):
        assert AlexNet(files.UCMERCED_CLASSIFIER, classes=5).output.shape == (None, 5)


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5", "model.npz"])
def test_every_kind_of_file_says_its_head(name, tmp_path):
    model = AlexNet(classes=3, fc_units=8)
    if name == "model.npz":
        save_npz(tmp_path / name, model_weights(model))
    else:
        (model.save if name == "model.keras" else model.save_weights)(tmp_path / name)
    again = AlexNet(tmp_path / name)
    assert_holds(again, model_weights(model), CONVOLUTIONS + FULLY_CONNECTED)


def test_fresh_fc6_starts_smaller_by_the_same_draws():
    """Stored runs began with He's weights that were scaled afterwards."""
    found = []
    for options in ({}, {"kernel_initializer": "he_normal"}):
        keras.utils.set_random_seed(3)
        found.append(AlexNet(classes=4, fc_units=16, **options))
    for new, old in zip(*(model.weights for model in found), strict=True):
        scale = FC6_SCALE if new.path == "fc6/kernel" else 1
        np.testing.assert_array_equal(new, scale * np.asarray(old), err_msg=new.path)
    np.testing.assert_array_equal(
        fresh_model(4, 3, fc_units=16).get_layer("fc6").kernel, found[0].get_layer("fc6").kernel
    )
    config = keras.models.clone_model(found[0]).get_layer("fc6").get_config()
    assert config["kernel_initializer"]["config"]["scale"] == 2 * FC6_SCALE**2


def test_a_head_may_start_from_a_truncated_normal_whatever_the_file_holds(tmp_path):
    """As the published fine-tuning starts: fc6 and fc7 are not those of ImageNet."""
    source = AlexNet(classes=4, fc_units=64)
    save_npz(tmp_path / "all.npz", model_weights(source))
    arguments = (4, 3, tmp_path / "all.npz", 64)
    model, again = fresh_model(*arguments, 0.1), fresh_model(*arguments, 0.1)
    assert_holds(model, model_weights(source), CONVOLUTIONS)
    np.testing.assert_array_equal(model.get_layer("fc7").kernel, again.get_layer("fc7").kernel)
    for name in FULLY_CONNECTED:
        kernel, bias = model.get_layer(name).get_weights()
        assert np.abs(kernel).max() <= 0.2  # two standard deviations
        # Of what is left within two, the deviation is 0.88 of the whole's.
        assert kernel.std() == pytest.approx(0.088, rel=0.1)
        assert not bias.any()
    fc6, fc7 = (model.get_layer(name).kernel.numpy().ravel() for name in ("fc6", "fc7"))
    assert not np.array_equal(fc7, fc6[: fc7.size])
    stages = stages_of("original")
    data = SimpleNamespace(classes=("a", "b", "c", "d"), views=1)
    staged = model_of_stages(stages, data, *arguments[1:])
    np.testing.assert_array_equal(staged.get_layer("fc6").kernel, model.get_layer("fc6").kernel)


@pytest.mark.parametrize("shape", [(63, 63, 3), (100, 224, 3), (227, 227, 3)], ids=str)
def test_any_size_without_the_top(shape):
    """Pooling rounds up, as in Caffe, whether the size is known when the model is made or not."""
    fixed = AlexNet(include_top=False, input_shape=shape)
    any_size = AlexNet(include_top=False, input_shape=(None, None, 3), pooling="max")
    any_size.set_weights(fixed.get_weights())
    x = np.random.default_rng(0).uniform(-120, 120, (1, *shape)).astype(np.float32)
    pool5 = fixed(x).numpy()
    assert pool5.shape[1:3] == {63: (1, 1), 100: (2, 6), 227: (6, 6)}[shape[0]]
    np.testing.assert_allclose(any_size(x), pool5.max((1, 2)), rtol=1e-5)


def test_pooling_and_input_tensor():
    inputs = keras.Input((227, 227, 3))
    model = AlexNet(
        include_top=False, pooling="avg", input_tensor=keras.layers.Rescaling(2.0)(inputs)
    )
    assert model.output.shape == (None, 256)
    assert [layer.name for layer in model.layers[1:3]] == ["rescaling", "conv1"]
    plain = AlexNet(include_top=False)
    plain.set_weights(model.get_weights())
    x = np.random.default_rng(0).uniform(-60, 60, (1, 227, 227, 3)).astype(np.float32)
    np.testing.assert_allclose(model(x), plain(2 * x).numpy().mean((1, 2)), rtol=1e-4)


def test_decode_predictions():
    probabilities = np.zeros((2, 1000), np.float32)
    probabilities[0, [281, 985]] = 0.75, 0.25
    probabilities[1, 0] = 1
    first, second = decode_predictions(probabilities, top=2)
    assert first == [("n02123045", "tabby", 0.75), ("n11939491", "daisy", 0.25)]
    assert second[0] == ("n01440764", "tench", 1.0)
    with pytest.raises(ValueError, match=r"\(batch, 1000\).*shape=\(1, 21\)"):
        decode_predictions(np.zeros((1, 21)))


def test_classes_are_sorted_by_wordnet_id():
    ids = [wordnet_id for wordnet_id, _ in imagenet_classes()]
    assert len(ids) == 1000
    assert ids == sorted(set(ids))
    assert imagenet_classes()[-1][1].split(", ")[0] == "toilet tissue"


def test_all_public_names_exist():
    assert set(alexnet_lib.__all__) <= set(dir(alexnet_lib))
    for name in alexnet_lib.__all__:
        assert getattr(alexnet_lib, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'AlexNett'"):
        _ = alexnet_lib.AlexNett
