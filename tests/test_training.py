"""Fine-tuning trains what it says, keeps what is frozen, chooses by validation and resumes."""

import dataclasses
import json

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn import metrics
from small import rare_features, small_features, small_network, write_arrows, write_pictures

from alexnet_lib.finetuning.evaluation import evaluate
from alexnet_lib.finetuning.recipes import CONVOLUTIONS, RECIPES, Recipe, learning_rate
from alexnet_lib.finetuning.replicas import Replicas
from alexnet_lib.finetuning.trainer import Trainer, TrainingDiverged
from alexnet_lib.finetuning.training import class_weights, finetune, remarks
from alexnet_lib.images.features import compute_features
from alexnet_lib.images.folder import read_folder
from alexnet_lib.port.layouts import load_npz

RECIPE = Recipe(optimizer="adamw", learning_rate=3e-3, batch_size=16, epochs=4)


@pytest.fixture(scope="module")
def features():
    return small_features()


@pytest.fixture
def subsets(features):
    return features.subset(range(40)), features.subset(range(40, 60))


def test_learns_and_reports_every_epoch(subsets):
    model = small_network()
    history = finetune(model, *subsets, RECIPE, progress=False)
    assert history["epoch"].tolist() == [0, 1, 2, 3]
    assert history["val_accuracy"].max() >= 0.9
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    loss, accuracy, balanced = Trainer(model, RECIPE, "pool5").measure(subsets[1])
    best = history.iloc[history["val_accuracy"][::-1].idxmax()]
    assert (loss, accuracy) == pytest.approx((best["val_loss"], best["val_accuracy"]), rel=1e-5)
    assert balanced == pytest.approx(accuracy)  # classes are of one size, so nothing is added
    assert "val_balanced_accuracy" not in history


def test_trains_without_dropout(subsets):
    history = finetune(small_network(dropout=0), *subsets, RECIPE, progress=False)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


def _head(model):
    return keras.Model(model.get_layer("pool5").output, model.output)


def test_only_named_layers_change(subsets):
    model = small_network()
    before = {layer.name: layer.get_weights() for layer in model.layers}
    finetune(model, *subsets, RECIPE._replace(layers=("fc7", "fc8"), epochs=1), progress=False)
    for layer in model.layers:
        pairs = zip(before[layer.name], layer.get_weights(), strict=True)
        same = [np.array_equal(old, new) for old, new in pairs]
        if layer.name in ("fc7", "fc8"):
            assert not any(same), layer.name
        elif layer.name in ("conv1", "fc6"):
            assert all(same), layer.name


@pytest.mark.parametrize(
    ("layers", "weights"),
    [(("fc6", "fc7", "fc8"), "none"), (("fc8",), "none"), (("fc8",), "balanced")],
    ids=str,
)
def test_a_step_follows_the_gradient_of_loss_and_penalty(features, layers, weights):
    """The penalty's gradient is written out in the library; here the tape derives it."""
    recipe = RECIPE._replace(
        layers=layers, optimizer="sgd", learning_rate=0.1, l2=0.05, schedule="constant",
        batch_size=40, epochs=1, class_weights=weights,
    )  # fmt: skip
    # 30 images of one class and 10 of the other.
    subsets = features.subset([*range(0, 60, 2), *range(1, 20, 2)]), features.subset(range(21, 60))
    expected, model = small_network(dropout=0), small_network(dropout=0)
    head = _head(expected)
    ((x, labels),) = subsets[0].batches(recipe.batch_size, training=True)
    trained = [expected.get_layer(name) for name in layers]
    with tf.GradientTape() as tape:
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, head(x))
        if weights == "balanced":
            losses *= np.where(labels == 0, 40 / (2 * 30), 40 / (2 * 10))
        penalty = sum(tf.reduce_sum(layer.kernel**2) for layer in trained)
        objective = tf.reduce_mean(losses) + 0.05 * penalty
    variables = [weight.value for layer in trained for weight in layer.weights]
    for variable, gradient in zip(variables, tape.gradient(objective, variables), strict=True):
        variable.assign_sub(0.1 * gradient)
    finetune(model, *subsets, recipe, progress=False)
    for ours, theirs in zip(model.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


def test_the_best_epoch_is_kept(subsets, monkeypatch, tmp_path):
    """Validation says epoch 1 was best, so the run must end with its weights."""
    seen, accuracies = [], iter([0.5, 0.9, 0.7, 0.6])

    def measure(trainer, data):
        seen.append(trainer.snapshot())
        return 1.0, next(accuracies), 0.0

    monkeypatch.setattr(Trainer, "measure", measure)
    model = small_network()
    history = finetune(model, *subsets, RECIPE, tmp_path, progress=False)
    assert history["val_accuracy"].idxmax() == 1
    np.testing.assert_array_equal(model.get_layer("fc8").kernel, seen[1]["weight/0/2"])
    np.testing.assert_array_equal(
        load_npz(tmp_path / "best.npz")["fc8/kernel"], seen[1]["weight/0/2"]
    )


def test_early_stop(subsets, monkeypatch):
    accuracies = iter([0.5, 0.9, 0.7, 0.6, 0.95])
    monkeypatch.setattr(Trainer, "measure", lambda trainer, data: (1.0, next(accuracies), 0.0))
    history = finetune(
        small_network(), *subsets, RECIPE._replace(epochs=9, patience=2), progress=False
    )
    assert len(history) == 4


class Killed(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adamw"])
def test_a_killed_run_resumes_to_the_same_bits(subsets, optimizer, tmp_path, monkeypatch):
    recipe = RECIPE._replace(optimizer=optimizer, l2=1e-4, label_smoothing=0.1)
    whole = small_network()
    expected = finetune(whole, *subsets, recipe, tmp_path / "whole", progress=False)

    train_epoch = Trainer.train_epoch

    def die_in_epoch_2(trainer, data, epoch):
        row = train_epoch(trainer, data, epoch)
        if epoch == 2:
            raise Killed  # after its steps, before its checkpoint
        return row

    monkeypatch.setattr(Trainer, "train_epoch", die_in_epoch_2)
    with pytest.raises(Killed):
        finetune(small_network(), *subsets, recipe, tmp_path / "cut", progress=False)
    monkeypatch.setattr(Trainer, "train_epoch", train_epoch)
    resumed = small_network()
    history = finetune(resumed, *subsets, recipe, tmp_path / "cut", progress=False)
    pd.testing.assert_frame_equal(history, expected, check_exact=True)
    for ours, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    stored = pd.read_csv(tmp_path / "cut" / "history.csv")
    pd.testing.assert_frame_equal(stored, expected)
    assert list((tmp_path / "cut" / "tensorboard").iterdir())


def test_a_checkpoint_of_another_run_is_refused(subsets, tmp_path):
    recipe, fewer = RECIPE._replace(epochs=1), subsets[0].subset(range(39))
    finetune(small_network(), *subsets, recipe, tmp_path, progress=False)
    other = small_network()
    other.get_layer("conv1").kernel.assign_add(other.get_layer("conv1").kernel)
    for model, train, settings, seed, differs in (
        (
            small_network(), subsets[0], recipe._replace(l2=0.1, batch_size=8, epochs=4), 0,
            "recipe: batch_size 16 in the folder, 8 asked; recipe: l2 0.0 in the folder, 0.1 asked",
        ),
        (small_network(), subsets[0], recipe, 1, "seed: 0 in the folder, 1 asked"),
        (small_network(), fewer, recipe, 0, "images: .*"),
        (
            small_network(), subsets[0].augmented("mirror"), recipe, 0,
            "augment: aerial in the folder, mirror asked",
        ),
        (small_network(units=8), subsets[0], recipe, 0, "size of the head: .* asked"),
        (other, subsets[0], recipe, 0, "frozen weights: .* asked"),
    ):  # fmt: skip
        message = rf"checkpoint\.npz: checkpoint of another run: differs in {differs}\. Choose"
        with pytest.raises(ValueError, match=message):
            finetune(model, train, subsets[1], settings, tmp_path, seed, progress=False)


def test_a_damaged_checkpoint_is_named(subsets, tmp_path):
    recipe = RECIPE._replace(epochs=1)
    finetune(small_network(), *subsets, recipe, tmp_path, progress=False)
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"checkpoint\.npz: expected a checkpoint"):
        finetune(small_network(), *subsets, recipe, tmp_path, progress=False)


def test_what_a_killed_write_left_is_removed(subsets, tmp_path):
    left = tmp_path / f".{'0' * 32}-checkpoint.npz"
    left.touch()
    finetune(small_network(), *subsets, RECIPE._replace(epochs=1), tmp_path, progress=False)
    assert not left.exists()


def test_weights_that_fail_in_the_last_step_are_not_kept(subsets, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "measure", lambda trainer, data: (np.nan, 0.0, 0.0))
    with pytest.raises(TrainingDiverged, match="epoch 0, validation: the loss is nan"):
        finetune(small_network(), *subsets, RECIPE, tmp_path, progress=False)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_divergence_names_likely_causes(subsets):
    # The rate that is named is the one to change, not fc6's share of it.
    recipe = RECIPE._replace(optimizer="sgd", learning_rate=1e30, schedule="constant")
    recipe = recipe._replace(fc6_scale=0.5)
    message = r"epoch 0, step \d: the loss is .*learning_rate is now 1e\+30"
    with pytest.raises(TrainingDiverged, match=message):
        finetune(small_network(), *subsets, recipe, progress=False)


@pytest.fixture
def pictures(tmp_path):
    return read_folder(write_pictures(tmp_path / "pictures"))


def test_all_layers_train_on_images(pictures):
    recipe = Recipe(
        layers=("conv1", "fc6", "fc7", "fc8"), learning_rate=1e-3, conv_learning_rate=1e-4,
        batch_size=4, epochs=2,
    )  # fmt: skip
    model = small_network()
    before = model.get_layer("conv1").get_weights()[0]
    train, validation = (pictures.subset(range(start, 16, 2)) for start in (0, 1))
    history = finetune(model, train, validation, recipe, progress=False)
    moved = np.abs(model.get_layer("conv1").get_weights()[0] - before).max()
    assert 0 < moved < 20 * 1e-4  # AdamW moves a weight by about its own rate a step
    again = finetune(small_network(), train, validation, recipe, progress=False)
    pd.testing.assert_frame_equal(again, history, check_exact=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": ("fc9",)}, "recipe.layers must be among .* Received: fc9"),
        ({"layers": ("conv1", "fc8")}, "conv1 cannot train on features"),
        ({"optimizer": "adam"}, "Received: 'adam'"),
        ({"schedule": "step"}, "Received: 'step'"),
        ({"class_weights": "rare"}, "one of none, balanced. Received: 'rare'"),
        ({"fresh_deviation": 0}, "fresh_deviation must be None or above 0"),
        ({"layers": ()}, r"needs layers .* Received: layers=\(\)"),
        ({"epochs": 0}, "epochs=0"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_recipes_are_checked(subsets, change, message):
    with pytest.raises(ValueError, match=message):
        finetune(small_network(), *subsets, RECIPE._replace(**change), progress=False)


def test_recipes_go_by_name(subsets):
    with pytest.raises(ValueError, match=r"one of original, recommended, all-layers.*'best'"):
        finetune(small_network(), *subsets, "best")


def test_data_is_checked(subsets, pictures):
    train, validation = subsets
    with pytest.raises(ValueError, match="2 classes, the model's fc8 has 3 outputs"):
        finetune(small_network(3), train, validation, RECIPE)
    with pytest.raises(ValueError, match="validation has no images"):
        finetune(small_network(), train, validation.subset([]), RECIPE)
    with pytest.raises(ValueError, match="of one kind"):
        finetune(small_network(), train, pictures.subset([0]), RECIPE)
    with pytest.raises(ValueError, match="conv_learning_rate must be above 0"):
        finetune(small_network(), pictures, pictures, RECIPE._replace(layers=("conv1",)))


def test_schedules():
    original = RECIPES["original"]
    rates = [learning_rate(original, epoch, 1e-4) for epoch in (0, 0.5, 1, 19)]
    assert rates == pytest.approx([1e-4, 1e-4 * 0.99**0.5, 0.99e-4, 1e-4 * 0.99**19])
    cosine = Recipe(schedule="cosine", epochs=11, warmup=1)
    rates = [learning_rate(cosine, epoch, 1.0) for epoch in (0.5, 1, 6, 11)]
    assert rates == pytest.approx([0.501, 1, 0.5, 0], abs=1e-9)
    assert learning_rate(Recipe(schedule="constant"), 7, 0.1) == 0.1


def test_batches_cover_an_epoch_and_depend_on_seed_and_epoch(subsets):
    train, _ = subsets

    def labels(**options):
        return np.concatenate([y for _, y in train.batches(16, **options)]).tolist()

    plain = labels()
    assert plain == train.labels.tolist()
    first = labels(training=True)
    assert sorted(first) == sorted(plain)
    assert first == labels(training=True)
    assert len({tuple(labels(training=True, seed=s, epoch=e)) for s in (0, 1) for e in (0, 1)}) == 4


def test_presets_name_layers_of_alexnet():
    assert set(RECIPES["all-layers"].layers) == {*CONVOLUTIONS, "fc6", "fc7", "fc8"}
    assert RECIPES["original"]._asdict() | {"epochs": 20, "batch_size": 32, "l2": 5e-4} == (
        RECIPES["original"]._asdict()
    )


def test_every_epochs_weights_can_be_kept(subsets, tmp_path):
    recipe = RECIPE._replace(epochs=2)
    finetune(small_network(), *subsets, recipe, tmp_path, progress=False, keep_epochs=True)
    kept = [load_npz(tmp_path / "epochs" / f"{epoch:03d}.npz") for epoch in range(2)]
    best = load_npz(tmp_path / "best.npz")
    assert not np.array_equal(kept[0]["fc8/kernel"], kept[1]["fc8/kernel"])
    assert any(np.array_equal(best["fc8/kernel"], each["fc8/kernel"]) for each in kept)


def test_a_subset_of_features_shares_their_codes(features):
    some = features.subset([5, 3]).subset([1])
    assert some.codes is features.codes
    assert (some.names, some.labels.tolist(), len(some)) == (("b/03",), [1], 1)
    np.testing.assert_array_equal(some.pool5(), features.pool5([3]))
    (views,) = some.view_batches(4, views=8)
    np.testing.assert_array_equal(views[6], features.pool5([3], 6))


def test_balanced_weights_find_the_rare_class():
    """Sixty images and six: without weights nearly all are taken for the common class."""
    features, recalls = rare_features(), {}
    parts = [features.subset(part) for part in (range(66), range(66, 132), range(132, 252))]
    for weights in ("none", "balanced"):
        model = small_network(dropout=0)
        recipe = Recipe(learning_rate=3e-4, batch_size=16, epochs=6, class_weights=weights)
        history = finetune(model, *parts[:2], recipe, progress=False)
        assert (history["val_balanced_accuracy"] < history["val_accuracy"]).any()
        recalls[weights] = evaluate(model, parts[2]).report()["recall"][["a", "b"]]
    assert recalls["none"]["b"] < 0.5
    assert recalls["balanced"].min() > 0.7


def test_weights_are_those_of_scikit_learn(features):
    some = features.subset([0, 2, 4, 1])
    assert class_weights(RECIPE, some) is None
    balanced = RECIPE._replace(class_weights="balanced")
    assert class_weights(balanced, some).tolist() == pytest.approx([4 / 6, 4 / 2])
    wide = dataclasses.replace(some, classes=("a", "b", "c"))  # of c there is no image
    assert class_weights(balanced, wide).tolist() == pytest.approx([4 / 6, 4 / 2, 0])
    assert remarks(some, features, RECIPE) == [
        "training classes of 1 to 3 images; --class-weights balanced lets all weigh the same"
    ]
    lines = remarks(wide, some, balanced)
    assert "no training image of c: they cannot be learned" in lines
    assert "class weights balanced: training classes of 1 to 3 images" in lines
    assert "validation classes differ in size: the epoch is chosen by balanced accuracy" in lines
    assert remarks(features, features, RECIPE) == []


def test_the_epoch_is_chosen_by_balanced_accuracy_where_classes_differ(features, monkeypatch):
    """Of what accuracy says, epoch 1 is best; of what it says of each class alike, epoch 2."""
    measures = iter([(1.0, 0.5, 0.5), (1.0, 0.9, 0.6), (1.0, 0.8, 0.7), (1.0, 0.6, 0.6)])
    seen = []

    def measure(trainer, data):
        seen.append(trainer.snapshot())
        return next(measures)

    monkeypatch.setattr(Trainer, "measure", measure)
    model = small_network()
    history = finetune(
        model, features.subset(range(40)), features.subset([40, 41, 42]), RECIPE, progress=False
    )
    assert history["val_balanced_accuracy"].tolist() == [0.5, 0.6, 0.7, 0.6]
    np.testing.assert_array_equal(model.get_layer("fc8").kernel, seen[2]["weight/0/2"])


def test_balanced_accuracy_is_that_of_scikit_learn(features):
    some, model = features.subset([*range(30), *range(31, 60, 2)]), small_network()
    _, accuracy, balanced = Trainer(model, RECIPE, "pool5").measure(some)
    result = evaluate(model, some)
    assert accuracy == pytest.approx(metrics.accuracy_score(some.labels, result.predictions))
    expected = metrics.balanced_accuracy_score(some.labels, result.predictions)
    assert balanced == pytest.approx(expected)
    assert balanced != pytest.approx(accuracy)


def test_a_run_goes_on_to_more_epochs(subsets, tmp_path):
    """Without a schedule that ends, as if all epochs had been asked for at once, to the bit."""
    recipe = RECIPE._replace(schedule="exponential", epochs=3)
    whole, longer = small_network(), small_network()
    expected = finetune(whole, *subsets, recipe, progress=False)
    finetune(small_network(), *subsets, recipe._replace(epochs=1), tmp_path, progress=False)
    history = finetune(longer, *subsets, recipe, tmp_path, progress=False)
    pd.testing.assert_frame_equal(history, expected, check_exact=True)
    for ours, theirs in zip(longer.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(
        ValueError, match=r"checkpoint\.npz: 3 epochs are trained, 2 asked\. Ask fo"
    ):
        finetune(longer, *subsets, recipe._replace(epochs=2), tmp_path, progress=False)


def test_more_epochs_lay_the_schedule_anew(subsets, tmp_path, monkeypatch):
    """The second epoch is the last of two, and no longer follows the last of one."""
    monkeypatch.setattr(Replicas, "function", lambda replicas, step: lambda *_: (1.0, 0))
    monkeypatch.setattr(Trainer, "measure", lambda trainer, data: (1.0, 0.5, 0.5))
    for epochs in (1, 2):
        recipe = RECIPE._replace(epochs=epochs)
        history = finetune(small_network(), *subsets, recipe, tmp_path, progress=False)
        last = learning_rate(recipe, epochs - 1 / 3, RECIPE.learning_rate)
        assert history["learning_rate"].iloc[-1] == pytest.approx(last)


def test_a_checkpoint_of_an_earlier_version_is_taken_up(subsets, tmp_path):
    """It had the recipe's values without names, and fewer of them, and no augmentation."""
    recipe = RECIPE._replace(epochs=1)
    finetune(small_network(), *subsets, recipe, tmp_path, progress=False)
    path = tmp_path / "checkpoint.npz"
    with np.load(path) as file:
        arrays = dict(file)
    facts = json.loads(str(arrays["settings"]))
    facts["recipe"] = list(facts["recipe"].values())[:-1]
    del facts["augment"]
    np.savez(path, **arrays | {"settings": np.array(json.dumps(facts))})
    assert len(finetune(small_network(), *subsets, recipe, tmp_path, progress=False)) == 1
    with pytest.raises(ValueError, match=r"recipe: l2 0\.0 in the folder, 1 asked"):
        finetune(small_network(), *subsets, recipe._replace(l2=1), tmp_path, progress=False)


def test_arrows_are_learned_without_flips_alone(tmp_path):
    """An arrow's mirror image is an arrow of the other class: with flips, one image has two."""
    images = read_folder(write_arrows(tmp_path / "arrows"))
    recipe = Recipe(learning_rate=1e-3, batch_size=8, epochs=10)
    train, test = np.flatnonzero(np.arange(16) % 8 < 6), np.flatnonzero(np.arange(16) % 8 >= 6)
    accuracies = {}
    for augment in ("none", "mirror"):  # aerial views hold these two as well
        model = small_network(dropout=0)
        data = images.augmented(augment)
        features = compute_features(model, data, data.views, progress=False)
        shown = [{view.tobytes() for view in features.codes[:, i]} for i in (0, 8)]
        assert bool(shown[0] & shown[1]) == (augment != "none")
        finetune(model, features.subset(train), features.subset(train), recipe, progress=False)
        accuracies[augment] = evaluate(model, features.subset(test), data.views).accuracy
    assert accuracies["none"] == 1
    assert accuracies["mirror"] <= 0.75
