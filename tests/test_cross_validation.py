"""Cross-validation tests every image once, and the command line goes from folder to prediction."""

import json

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from alexnet_lib import cross_validation
from alexnet_lib.__main__ import main
from alexnet_lib.dataset import read_folder
from alexnet_lib.training import FeatureSubset, ImageSubset, Recipe

RECIPE = Recipe(learning_rate=3e-3, batch_size=16, epochs=2)


@pytest.fixture
def small_network(monkeypatch):
    """AlexNet's names on a network of few weights, in place of `fresh_model`."""

    def build(classes, seed=0, weights=None):
        keras.utils.set_random_seed(seed)
        x = inputs = keras.Input((227, 227, 3))
        x = keras.layers.Conv2D(256, 8, strides=38, activation="relu", name="conv1")(x)
        x = keras.layers.Identity(name="pool5")(x)
        x = keras.layers.Flatten()(x)
        x = keras.layers.Dense(16, activation="relu", name="fc6")(x)
        x = keras.layers.Dense(16, activation="relu", name="fc7")(x)
        x = keras.layers.Dense(classes, name="fc8")(x)
        return keras.Model(inputs, keras.layers.Activation("softmax", name="prob")(x))

    monkeypatch.setattr(cross_validation, "fresh_model", build)
    return build


@pytest.fixture
def folder(tmp_path):
    """Twenty dark and twenty light images, two of them the same."""
    generator = np.random.default_rng(0)
    for kind, mean in (("dark", 60), ("light", 180)):
        (tmp_path / "images" / kind).mkdir(parents=True)
        for i in range(20):
            pixels = np.clip(generator.normal(mean, 20, (40, 40, 3)), 0, 255).astype(np.uint8)
            if (kind, i) == ("dark", 7):
                pixels = cv2.imread(str(tmp_path / "images" / "dark" / "3.png"))
            cv2.imwrite(str(tmp_path / "images" / kind / f"{i}.png"), pixels)
    return tmp_path / "images"


def test_every_image_is_tested_once_by_a_network_that_never_saw_it(
    small_network, folder, tmp_path, monkeypatch
):
    images = read_folder(folder)
    features = cross_validation.trainable_data(small_network(2), images, RECIPE)
    assert features.codes.shape == (8, 40, 6, 6, 256)
    seen = []
    finetune = cross_validation.finetune

    def spy(model, train, validation, *args, **options):
        seen.append((train.indices, validation.indices))
        return finetune(model, train, validation, *args, **options)

    monkeypatch.setattr(cross_validation, "finetune", spy)
    same = np.arange(40)
    same[images.names.index("dark/7")] = images.names.index("dark/3")
    folds, predictions = cross_validation.crossval(
        features, RECIPE, k=4, views=8, groups=same, folder=tmp_path / "results", progress=False
    )
    assert sorted(predictions["image"]) == sorted(images.names)
    for fold, (train, validation) in enumerate(seen):
        test = predictions.loc[predictions["fold"] == fold, "image"]
        names = [{images.names[i] for i in part} for part in (train, validation)] + [set(test)]
        assert sum(map(len, names)) == len(set.union(*names)) == 40
        # The pair of the same image is always on one side.
        assert sum({"dark/3", "dark/7"} <= part for part in names) == 1
    assert folds["test"].sum() == 40
    right = (predictions["true"] == predictions["predicted"]).groupby(predictions["fold"]).mean()
    assert right.tolist() == pytest.approx(folds["accuracy_8"].tolist())
    assert {"accuracy_1", "val_accuracy"} <= set(folds)

    stored = pd.read_csv(tmp_path / "results" / "folds.csv")
    assert stored["tensorflow"].str.count(r"\.").min() >= 2
    assert json.loads(stored["recipe"][0])["learning_rate"] == 3e-3
    assert len(pd.read_csv(tmp_path / "results" / "predictions.csv")) == 40


def test_frozen_convolutions_run_once_and_trained_ones_see_images(small_network, folder):
    images = read_folder(folder)
    assert (
        cross_validation.trainable_data(None, images, RECIPE._replace(layers=("conv1",))) is images
    )
    (subset,) = cross_validation.subsets_of(images, np.arange(3))
    assert isinstance(subset, ImageSubset)
    features = cross_validation.trainable_data(small_network(2), images, RECIPE)
    (subset,) = cross_validation.subsets_of(features, np.arange(3))
    assert isinstance(subset, FeatureSubset)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def weights(tmp_path):
    """A file to name as --weights; the small network does not read it."""
    (tmp_path / "any.npz").touch()
    return tmp_path / "any.npz"


@pytest.mark.usefixtures("small_network")
def test_from_folder_to_prediction(folder, weights, tmp_path):
    output = tmp_path / "run"
    options = ["finetune", folder, "-o", output, "--epochs", 2, "--weights", weights]
    first = run(*options)
    assert first.exit_code == 0, first.output
    assert "on 4 images (95 % interval" in first.output
    for name in ("model.keras", "classes.txt", "split.csv", "history.csv", "best.npz"):
        assert (output / name).is_file(), name
    assert len(pd.read_csv(output / "history.csv")) == 2
    again = run(*options)  # everything is there: nothing is trained anew
    assert again.exit_code == 0, again.output

    image = next((folder / "light").iterdir())
    predicted = run("predict", "-m", output, image, "--top", 2)
    assert predicted.exit_code == 0, predicted.output
    assert {line.split()[-1] for line in predicted.output.splitlines()[1:]} == {"dark", "light"}


@pytest.mark.usefixtures("small_network")
def test_crossval_command(folder, weights, tmp_path):
    output = tmp_path / "results"
    done = run("crossval", folder, "-o", output, "--epochs", 1, "--folds", 2, "--weights", weights)
    assert done.exit_code == 0, done.output
    assert "8 view(s):" in done.output
    assert len(pd.read_csv(output / "folds.csv")) == 2


def test_a_users_mistake_gets_a_line_and_no_traceback(folder, weights, tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path / "empty"))
    (tmp_path / "text.png").write_text("no image")
    for arguments, message in (
        (["finetune", "-o", tmp_path / "x"], "fetch alexnet"),
        (["finetune", "-o", tmp_path / "x", "--weights", weights], "fetch ucmerced"),
        (["finetune", tmp_path / "nowhere", "-o", tmp_path / "x", "--weights", weights], "nowhere"),
        (["predict", "-m", tmp_path, next((folder / "dark").iterdir())], "finetune"),
        (["predict", "-m", tmp_path, tmp_path / "text.png"], "text.png"),
        (["predict", "-m", tmp_path, tmp_path / "absent.png"], "absent.png"),
    ):
        result = run(*arguments)
        assert result.exit_code == 1, result.output
        assert message in result.output
        assert "Traceback" not in result.output
