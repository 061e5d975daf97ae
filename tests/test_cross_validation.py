"""Cross-validation tests every image once, and the command line goes from folder to prediction."""

import json
import re
import shutil
import threading

import keras
import numpy as np
import pandas as pd
import pytest
from running import run_command
from small import noise_features, small_network, write_pictures

from alexnet_lib.errors import InputError
from alexnet_lib.files import UCMERCED_CLASSIFIER
from alexnet_lib.finetuning import cross_validation, runs
from alexnet_lib.finetuning.recipes import CONVOLUTIONS, FC, RECIPES, Recipe
from alexnet_lib.finetuning.settings import run_lock, settings_of
from alexnet_lib.images.folder import read_folder
from alexnet_lib.port.alexnet import AlexNet

RECIPE = Recipe(learning_rate=3e-3, batch_size=16, epochs=2)


@pytest.fixture
def tiny(monkeypatch):
    """A tiny network in place of `fresh_model`."""

    def build(classes, seed=0, weights=None, fc_units=None, deviation=None):
        return small_network(classes, units=8)

    monkeypatch.setattr(runs, "fresh_model", build)


@pytest.fixture
def light_head(monkeypatch):
    """AlexNet with fresh convolutions and a head of few units, in place of `fresh_model`."""

    def build(classes, seed=0, weights=None, fc_units=None, deviation=None):
        keras.utils.set_random_seed(seed)
        return AlexNet(classes=classes, fc_units=8)

    monkeypatch.setattr(runs, "fresh_model", build)


@pytest.fixture
def folder(tmp_path):
    """Ten dark and ten light images, two of them the same."""
    folder = write_pictures(tmp_path / "images", per_class=10, side=40)
    shutil.copy(folder / "dark" / "3.png", folder / "dark" / "7.png")
    return folder


@pytest.mark.usefixtures("tiny")
def test_every_image_is_tested_once_by_a_network_that_never_saw_it(folder, tmp_path, monkeypatch):
    images = read_folder(folder)
    assert runs.stages_of(RECIPE) == [RECIPE]
    [features] = runs.data_of_stages([RECIPE], images, small_network())
    assert features.codes.shape == (2, 20, 6, 6, 256)
    [features] = runs.data_of_stages([RECIPE], images.augmented("aerial"), small_network())
    assert features.codes.shape == (8, 20, 6, 6, 256)
    seen = []
    finetune = runs.finetune

    def spy(model, train, validation, *args, **options):
        seen.append((train.names, validation.names))
        return finetune(model, train, validation, *args, **options)

    monkeypatch.setattr(runs, "finetune", spy)
    same = np.arange(20)
    same[images.names.index("dark/7")] = images.names.index("dark/3")
    folds, predictions = cross_validation.crossval(
        features, RECIPE, k=3, views=8, groups=same, folder=tmp_path / "results", progress=False
    )
    assert sorted(predictions["image"]) == sorted(images.names)
    for fold, (train, validation) in enumerate(seen):
        test = predictions.loc[predictions["fold"] == fold, "image"]
        names = [set(train), set(validation), set(test)]
        assert sum(map(len, names)) == len(set.union(*names)) == 20
        # The pair of the same image is always on one side.
        assert sum({"dark/3", "dark/7"} <= part for part in names) == 1
    assert folds["test"].sum() == 20
    # A ninth of what is left chooses the epoch, to the nearest whole image in each class.
    assert (9 * folds["validation"] - folds["validation"] - folds["train"]).abs().max() < 9
    right = (predictions["true"] == predictions["predicted"]).groupby(predictions["fold"]).mean()
    assert right.tolist() == pytest.approx(folds["accuracy_8"].tolist())
    assert {"accuracy_1", "val_accuracy"} <= set(folds)

    # Cut off after two folds, it goes on from there to the same result.
    path = tmp_path / "results" / "folds.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    seen.clear()
    options = {"k": 3, "views": 8, "groups": same, "folder": path.parent, "progress": False}
    resumed = cross_validation.crossval(features, RECIPE, **options)
    assert len(seen) == 1
    for table, whole in zip(resumed, (folds, predictions), strict=True):
        pd.testing.assert_frame_equal(table, whole, check_dtype=False, rtol=1e-6)
    with pytest.raises(
        ValueError,
        match=r"folds\.csv: results of another run: differs in .*; seed: 0 in the folder, 1 asked",
    ):
        cross_validation.crossval(features, RECIPE, seed=1, **options)

    stored = pd.read_csv(tmp_path / "results" / "folds.csv")
    assert stored["tensorflow"].str.count(r"\.").min() >= 2
    assert json.loads(stored["recipes"][0])[0]["learning_rate"] == 3e-3
    assert len(pd.read_csv(tmp_path / "results" / "predictions.csv")) == 20


def test_a_head_learns_on_features_before_the_convolutions_see_images(folder):
    images = read_folder(folder).augmented("aerial")
    stages = runs.stages_of("all-layers")
    assert [recipe.layers for recipe in stages] == [FC, CONVOLUTIONS + FC]
    features, same = runs.data_of_stages(stages, images, small_network())
    assert same is images
    assert (features.layer, features.views, features.names) == ("pool5", 8, images.names)
    assert runs.data_of_stages([RECIPE], features, None) == [features]
    with pytest.raises(ValueError, match=r"conv1, conv2, .* cannot train on features"):
        runs.data_of_stages(stages, features, None)


@pytest.fixture
def weights(tmp_path):
    """A file to name as --weights; the small network does not read it."""
    (tmp_path / "any.npz").touch()
    return tmp_path / "any.npz"


@pytest.mark.usefixtures("light_head")
def test_from_folder_to_prediction(folder, weights, tmp_path):
    output = tmp_path / "run"
    options = ["finetune", folder, "-o", output, "--epochs", 2, "--weights", weights]
    first = run_command(*options)
    assert first.exit_code == 0, first.output
    assert "on 2 images (95 % interval" in first.output
    for name in ("classifier.npz", "settings.json", "split.csv", "history.csv", "best.npz"):
        assert (output / name).is_file(), name
    assert len(pd.read_csv(output / "history.csv")) == 2
    assert "augment mirror: images are shown left-right too. Take --augment none" in first.output
    settings = json.loads((output / "settings.json").read_text())
    assert (settings["augment"], settings["classes"]) == ("mirror", ["dark", "light"])
    assert settings["recipes"][0]["class_weights"] == "none"
    kept = (output / "split.csv").read_bytes()
    other = run_command(*options, "--seed", 1)
    assert "run: results of another run: differs in seed: 0 in the folder, 1 asked" in other.output
    assert (output / "split.csv").read_bytes() == kept
    again = run_command(*options)  # everything is there: nothing is trained anew
    assert again.exit_code == 0, again.output
    accuracy = re.search(r"accuracy \S+ on 2 images .*", again.output)[0]
    own = run_command(*options[:3], tmp_path / "own", *options[4:], "--split", output / "split.csv")
    assert accuracy in own.output
    assert (tmp_path / "own" / "split.csv").read_bytes() == kept

    tables = tmp_path / "tables"
    judged = run_command(
        "evaluate", folder, "-m", output, "--split", output / "split.csv", "-o", tables
    )
    assert judged.exit_code == 0, judged.output
    assert judged.output.splitlines()[0] in again.output
    assert len(pd.read_csv(tables / "predictions.csv")) == 2
    assert pd.read_csv(tables / "confusion_matrix.csv")[["dark", "light"]].to_numpy().sum() == 2
    judged = run_command("evaluate", folder, "-m", output / "classifier.npz", "--views", "8")
    assert "classifier.npz: trained with --augment mirror, which allows --views up to 2" in (
        judged.output
    )
    # As if the run had not ended: its best epoch is what classifier.npz would be.
    (output / "classifier.npz").unlink()
    judged = run_command("evaluate", folder, "-m", output, "--views", "all")
    assert judged.exit_code == 0, judged.output
    assert "best.npz: the run has stored no classifier.npz yet" in judged.output
    assert "on 20 images" in judged.output
    (tmp_path / "train.csv").write_bytes(kept.replace(b",test", b",train"))
    judged = run_command("evaluate", folder, "-m", output, "--split", tmp_path / "train.csv")
    assert "train.csv: expected test images, found only train, validation" in judged.output

    image = next((folder / "light").iterdir())
    predicted = run_command("predict", "-m", output, image, "--top", 2)
    assert predicted.exit_code == 0, predicted.output
    assert {line.split()[-1] for line in predicted.stdout.splitlines()[1:]} == {"dark", "light"}


@pytest.mark.usefixtures("tiny")
def test_crossval_command(folder, weights, tmp_path):
    output = tmp_path / "results"
    done = run_command(
        "crossval", folder, "-o", output, "--epochs", 1, "--folds", 2, "--weights", weights
    )
    assert done.exit_code == 0, done.output
    assert "2 view(s):" in done.output
    assert len(pd.read_csv(output / "folds.csv")) == 2


def test_what_differs_is_said_before_an_image_is_read(weights, tmp_path):
    recipe, empty = RECIPES["recommended"], tmp_path / "no images"
    output, folds = tmp_path / "run", tmp_path / "folds"
    for folder in (empty, output, folds):
        folder.mkdir()
    settings = settings_of([recipe], 0, 4096, weights)
    facts = {"settings": {"recipe": recipe._asdict(), "seed": 0}, "history": [{}]}
    arrays = {name: np.array(json.dumps(fact)) for name, fact in facts.items()}
    np.savez(output / "checkpoint.npz", **arrays)
    row = settings | {"recipes": json.dumps(settings["recipes"]), "k": 5}
    pd.DataFrame([row]).to_csv(folds / "folds.csv", index=False)
    for command, results in (("finetune", output), ("crossval", folds)):
        options = [command, empty, "-o", results, "--weights", weights]
        for more, line in (
            (["--class-weights", "balanced"], "class_weights none in the folder, balanced asked"),
            (["--seed", 1], "differs in seed: 0 in the folder, 1 asked"),
            (["--augment", "none"], "differs in augment: aerial in the folder, none asked"),
            ([], f"{empty}: expected at least two class folders"),  # what is the same goes on
        ):
            result = run_command(*options, *more)
            assert result.exit_code == 1
            assert line in result.output


@pytest.mark.usefixtures("tiny")
def test_no_run_begins_in_a_folder_where_another_is_at_work(folder, tmp_path):
    images, features = read_folder(folder), noise_features([0, 1] * 10)
    busy, done, held = tmp_path / "busy", threading.Event(), threading.Event()

    def other():
        with run_lock(busy):
            held.set()
            done.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    held.wait(60)
    try:
        for run in (
            lambda: runs.train_classifier(images, busy, RECIPE),
            lambda: runs.finetune(small_network(), features, features, RECIPE, busy),
            lambda: cross_validation.crossval(features, RECIPE, k=2, folder=busy),
        ):
            with pytest.raises(InputError, match="busy: another run is working in this folder"):
                run()
        assert [path.name for path in busy.iterdir()] == [".lock"]
    finally:
        done.set()
        thread.join()


@pytest.mark.usefixtures("tiny")
def test_unequal_classes_are_judged_by_class_in_every_fold(capsys):
    features = noise_features([0] * 12 + [1] * 6)
    recipe = RECIPE._replace(class_weights="balanced", epochs=1)
    folds, predictions = cross_validation.crossval(
        features, recipe, k=2, views=2, augment="mirror", progress=True
    )
    right = predictions["true"] == predictions["predicted"]
    for fold, row in folds.iterrows():
        mine = predictions["fold"] == fold
        by_class = right[mine].groupby(predictions["true"][mine]).mean()
        assert row["balanced_accuracy_2"] == pytest.approx(by_class.mean())
    said = capsys.readouterr().out
    assert said.count("augment mirror: ") == 1
    assert said.count("class weights balanced: training classes of ") == 1


def test_a_users_mistake_gets_a_line_and_no_traceback(folder, weights, tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path / "empty"))
    (tmp_path / "text.png").write_text("no image")
    cut = tmp_path / "cut.npz"
    cut.write_bytes(UCMERCED_CLASSIFIER.read_bytes()[:100_000])
    for arguments, message in (
        (["finetune", "-o", tmp_path / "x"], "fetch alexnet"),
        (["finetune", "-o", tmp_path / "x", "--weights", weights], "fetch ucmerced"),
        (["finetune", tmp_path / "nowhere", "-o", tmp_path / "x", "--weights", weights], "nowhere"),
        (["predict", "-m", tmp_path, next((folder / "dark").iterdir())], "classifier.npz"),
        (["predict", "-m", weights, next((folder / "dark").iterdir())], "any.npz: expected a clas"),
        (["evaluate", folder], "expected folders of the model's classes, agricultural"),
        (["predict", "-m", cut, next((folder / "dark").iterdir())], "cut.npz: expected a clas"),
        (["predict", tmp_path / "text.png"], "text.png"),
        (["predict", "-m", tmp_path, tmp_path / "absent.png"], "absent.png"),
    ):
        result = run_command(*arguments)
        assert result.exit_code == 1, result.output
        assert message in result.output
        assert "Traceback" not in result.output
