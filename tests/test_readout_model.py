"""A readout is a model like any other: trained, stored, exported, evaluated, and asked."""

import cv2
import keras
import numpy as np
import pytest
from click.testing import CliRunner
from small import write_pictures

from alexnet_lib.__main__ import main
from alexnet_lib.errors import InputError
from alexnet_lib.finetuning.classifier import load_classifier, read_classifier
from alexnet_lib.finetuning.cross_validation import crossval
from alexnet_lib.finetuning.evaluation import evaluate, evaluate_files
from alexnet_lib.finetuning.readout_model import readout_model, sizes_and_views, train_readout
from alexnet_lib.finetuning.recipes import RECIPES
from alexnet_lib.finetuning.runs import train_classifier
from alexnet_lib.images.batches import eight_views
from alexnet_lib.images.folder import read_folder
from alexnet_lib.images.statistics import Statistics, compute_statistics
from alexnet_lib.port.alexnet import AlexNet
from alexnet_lib.port.inference import READ, areas
from alexnet_lib.port.layouts import model_weights, save_npz


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("pictures"), per_class=6)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("weights") / "convolutions.npz"
    save_npz(path, model_weights(AlexNet(include_top=False)))
    return path


@pytest.fixture(scope="module")
def run(folder, weights, tmp_path_factory):
    """A run's folder, and the evaluation of its test images."""
    where, images = tmp_path_factory.mktemp("runs") / "readout", read_folder(folder)
    recipe = RECIPES["readout"]._replace(sizes=(96, 131))
    split_by = (0.5, 0.25, 0.25)
    return where, train_classifier(images, where, recipe, weights, split_by, progress=False)


def test_it_sees_roots_of_statistics_averaged_over_the_views(weights):
    image = np.random.default_rng(1).uniform(-100, 100, (1, 227, 227, 3)).astype(np.float32)
    model = readout_model(3, weights, views=8)
    seen = keras.Model(model.input, model.get_layer("statistics").output)(image).numpy()[0]
    alexnet = AlexNet(weights, include_top=False)
    layers = keras.Model(alexnet.input, [alexnet.get_layer(name).output for name in READ])
    views = [np.asarray(x) for x in layers(eight_views(image)[:, 0])]
    expected = []
    for x in views:
        rms = np.sqrt((x**2).mean((1, 2)))
        expected += [np.sqrt(each.mean(0)) for each in (x.mean((1, 2)), x.max((1, 2)), rms)]
    np.testing.assert_allclose(seen, np.concatenate(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("pixels", "size"), [(320, 227), (227, 67), (96, 96), (131, 96)])
def test_smaller_squares_are_opencv_s(pixels, size):
    image = np.random.default_rng(2).uniform(0, 255, (pixels, pixels, 3)).astype(np.float32)
    share = areas(pixels, size)
    small = np.einsum("oh,hwc,pw->opc", share, image, share, optimize=True)
    expected = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose(small, expected, atol=0.01)


def test_a_run_is_stored_whole_and_classifies(run, folder):
    where, result = run
    assert result.accuracy == 1
    assert {path.name for path in where.iterdir()} >= {
        "classifier.npz", "history.csv", "settings.json", "split.csv"
    }  # fmt: skip
    classifier = load_classifier(where / "classifier.npz")
    assert classifier.classes == ("dark", "light")
    assert sizes_and_views(classifier.model) == ((96, 131), 2)
    images = read_folder(folder)
    again = evaluate(classifier.model, images.subset([0, 11]))
    np.testing.assert_array_equal(again.predictions, [0, 1])


def test_numpy_answers_as_keras_does(run, folder):
    path = run[0] / "classifier.npz"
    images = read_folder(folder).subset([1, 10])
    keras_own = evaluate(load_classifier(path).model, images).probabilities
    ours = evaluate_files(read_classifier(path)[0], images).probabilities
    np.testing.assert_allclose(ours, keras_own, atol=1e-5)


def test_the_commands_take_it(run, folder, tmp_path):
    where, image = str(run[0]), str(folder / "light" / "0.png")
    invoke = CliRunner().invoke
    answer = invoke(main, ["predict", "-m", where, image], catch_exceptions=False)
    assert answer.output.splitlines()[1].split()[1] == "light"
    table = invoke(main, ["evaluate", str(folder), "-m", where], catch_exceptions=False)
    assert "accuracy" in table.output
    views = invoke(main, ["evaluate", str(folder), "-m", where, "--views", "8"])
    assert views.exit_code == 1
    assert "--views up to 1" in views.output
    for option in (["--epochs", "3"], ["--workers", "2"]):
        refused = invoke(main, ["finetune", str(folder), "-o", str(tmp_path / "x"), "--recipe",
                                "readout", *option])  # fmt: skip
        assert refused.exit_code == 2
        assert option[0] in refused.output


def test_it_is_cross_validated(folder, weights, tmp_path):
    images = read_folder(folder)
    recipe = RECIPES["readout"]._replace(sizes=(67,))
    folds, predictions = crossval(
        images, recipe, 2, views=2, weights=weights, folder=tmp_path, progress=False
    )
    assert folds[["train", "validation", "test"]].sum().tolist() == [10, 2, 12]
    assert folds["accuracy_1"].tolist() == [1, 1]
    assert sorted(predictions["image"]) == list(images.names)
    again, _ = crossval(
        images, recipe, 2, views=2, weights=weights, folder=tmp_path, progress=False
    )
    assert again["accuracy_1"].tolist() == [1, 1]


def test_keras_stores_and_loads_the_model(run, tmp_path):
    model = load_classifier(run[0] / "classifier.npz").model
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(3).uniform(-100, 100, (1, 131, 131, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded(x), model(x))


def test_another_recipe_s_folder_is_left_alone(run, folder, weights):
    with pytest.raises(InputError, match="optimizer"):
        train_classifier(read_folder(folder), run[0], "recommended", weights, progress=False)


def test_statistics_are_one_kind_of_data(folder, weights):
    images = read_folder(folder)
    data = compute_statistics(readout_model(2, weights, (67,), 1), images, progress=False)
    assert data.values.shape == (12, 3 * 1376)
    some = data.subset([5, 0])
    assert some.names == (images.names[5], images.names[0])
    (_, labels), *_ = some.batches(8, training=True, seed=1)
    np.testing.assert_array_equal(np.sort(labels), [0, 0])
    (view,) = some.view_batches(8)
    np.testing.assert_array_equal(view[0], data.values[[5, 0]])
    assert data.augmented("mirror") is data
    with pytest.raises(InputError, match="cannot be augmented by 'aerial'"):
        data.augmented("aerial")


def test_what_does_not_fit_is_refused():
    with pytest.raises(InputError, match="sizes from 67 on"):
        readout_model(2, sizes=(66,))
    with pytest.raises(InputError, match="views must be 1, 2 or 8"):
        readout_model(2, views=3)
    data = Statistics(np.zeros((4, 4128), np.float32), np.arange(4), tuple("abcd"), tuple("abcd"))
    with pytest.raises(InputError, match="expected images of 2 classes"):
        train_readout(readout_model(2), data)
    with pytest.raises(InputError, match="sizes belong to"):
        RECIPES["readout"]._replace(sizes=()).check()
