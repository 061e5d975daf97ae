"""The trainer's steps: what each option of a recipe does to the rate, the loss and the weights."""

import inspect

import numpy as np
import pytest
import tensorflow as tf
from small import small_features, small_network

from alexnet_lib.finetuning import commands
from alexnet_lib.finetuning.recipes import FC, RECIPES, Recipe, learning_rate
from alexnet_lib.finetuning.replicas import default_strategy
from alexnet_lib.finetuning.runs import train_classifier
from alexnet_lib.finetuning.trainer import Trainer
from alexnet_lib.port.architecture import DROPOUT

RECIPE = Recipe(optimizer="sgd", learning_rate=0.01, fc6_scale=0.25, batch_size=16, epochs=4)


@pytest.fixture(scope="module")
def features():
    return small_features()


def batch(features, count=20):
    x, labels = next(features.subset(range(count)).batches(count))
    return tf.convert_to_tensor(x), tf.convert_to_tensor(labels)


@pytest.mark.parametrize("schedule", ["cosine", "exponential", "constant"])
def test_the_rate_follows_the_schedule_at_every_step(features, schedule):
    recipe = RECIPE._replace(schedule=schedule, warmup=2)
    trainer, rates = Trainer(small_network(), recipe, "pool5"), []
    step = trainer.step

    def spy(*arguments):
        rates.append([float(optimizer.learning_rate) for optimizer, _, _ in trainer.groups])
        return step(*arguments)

    trainer.step = spy
    for epoch in (1, 3):  # warming up, and after
        rates.clear()
        row = trainer.train_epoch(features, epoch)
        places = [epoch, epoch + 1 / 4, epoch + 2 / 4, epoch + 3 / 4]  # 60 images in four batches
        expected = [[learning_rate(recipe, at, base) for base in (0.01, 0.0025)] for at in places]
        np.testing.assert_allclose(rates, expected, rtol=1e-6)
        assert row["learning_rate"] == pytest.approx(expected[-1][0])


def test_a_cosine_falls_to_nothing_and_warmup_grows_from_nothing():
    recipe = RECIPE._replace(schedule="cosine", warmup=2, epochs=10)
    rates = [learning_rate(recipe, epoch, 1.0) for epoch in (0, 1, 2, 6, 10)]
    np.testing.assert_allclose(rates, [0.0005, 0.5005, 1, 0.5, 0], atol=1e-12)
    recipe = recipe._replace(schedule="exponential", decay=0.25)
    assert [learning_rate(recipe, epoch, 32.0) for epoch in (2, 2.5, 3, 4)] == [2, 1, 0.5, 0.125]
    assert learning_rate(recipe._replace(schedule="constant"), 9.5, 3.0) == 3.0


def test_the_original_recipe_is_the_published_one():
    """As its public source says: chuqidecha/fineturn-alexnet-with-tensorflow."""
    recipe = RECIPES["original"]
    assert recipe.layers == FC
    assert (recipe.optimizer, recipe.learning_rate) == ("sgd", 1e-4)
    assert recipe.l2 == 1e-3 / 2  # its regularizer halves the sum of squares, this field does not
    assert (recipe.schedule, recipe.decay) == ("exponential", 0.99)
    assert (recipe.batch_size, recipe.epochs, recipe.label_smoothing) == (32, 20, 0)
    assert recipe.fresh_deviation == 0.1
    assert inspect.signature(train_classifier).parameters["fc_units"].default == 4096
    (option,) = [each for each in commands.finetune.params if each.name == "fc_units"]
    assert option.default == 4096
    assert DROPOUT == 0.5


def test_the_original_rate_falls_in_every_step_as_tensorflow_1_lays_it():
    steps = 53  # of 32 images in an epoch of 1,680
    ours = [learning_rate(RECIPES["original"], n / steps, 1e-4) for n in range(20 * steps)]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        step = tf.compat.v1.placeholder(tf.int64)
        rate = tf.compat.v1.train.exponential_decay(1e-4, step, steps, 0.99)
        theirs = [session.run(rate, {step: n}) for n in range(0, 20 * steps, 50)]
    np.testing.assert_allclose(ours[::50], theirs, rtol=1e-5)
    assert (np.diff(ours) < 0).all()


@pytest.mark.parametrize("gpus", [0, 1, 2, 3])
def test_a_strategy_is_for_more_than_one_gpu(gpus, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [kind] * gpus)
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda: "all of them")
    assert default_strategy() == ("all of them" if gpus > 1 else None)


def test_weight_decay_shrinks_kernels_and_no_biases(features):
    """Adam moves a weight by at most its rate, and decay large weights by much more."""
    model = small_network(dropout=0)
    recipe = RECIPE._replace(
        optimizer="adamw", learning_rate=1e-3, fc6_scale=1.0, weight_decay=0.5, schedule="constant"
    )
    trainer = Trainer(model, recipe, "pool5")
    layer = model.get_layer("fc7")
    layer.kernel.assign(tf.fill(layer.kernel.shape, 100.0))
    layer.bias.assign(tf.fill(layer.bias.shape, 100.0))
    trainer.groups[0][0].learning_rate.assign(1e-3)
    trainer.step(*batch(features), tf.constant(20), tf.constant(0))
    np.testing.assert_allclose(layer.kernel, 100 * (1 - 1e-3 * 0.5), atol=1.1e-3)
    np.testing.assert_allclose(layer.bias, 100, atol=1.1e-3)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_label_smoothing_is_in_the_loss_that_trains_and_not_in_what_is_measured(
    features, smoothing
):
    trainer = Trainer(small_network(dropout=0), RECIPE._replace(label_smoothing=smoothing), "pool5")
    x, labels = batch(features)
    logits = trainer.network(x).numpy().astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    hard = np.eye(2)[labels.numpy()]
    soft = (1 - smoothing) * hard + smoothing / 2
    measured = trainer.measure(features.subset(range(20)))
    assert measured[0] == pytest.approx(-(hard * logs).sum(axis=1).mean(), rel=1e-4)
    right = (logits.argmax(axis=1) == labels.numpy()).sum()
    assert measured[1] == right / 20
    loss, hits = trainer.step(x, labels, tf.constant(20), tf.constant(0))
    assert float(loss) == pytest.approx(-(soft * logs).sum(axis=1).mean(), rel=1e-4)
    assert int(hits) == right
