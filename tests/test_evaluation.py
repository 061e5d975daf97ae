"""Rates follow from the counts, by hand and by scikit-learn; views are averaged."""

import dataclasses

import keras
import numpy as np
import pytest
from sklearn import metrics
from small import noise_features

from alexnet_lib.finetuning.evaluation import Evaluation, evaluate, wilson_interval


@pytest.fixture
def evaluation():
    """Six images of three classes; one cat and one dog are taken for each other, surely and not."""
    labels = np.array([0, 0, 0, 1, 1, 2])
    probabilities = np.array(
        [
            [0.8, 0.1, 0.1],
            [0.5, 0.3, 0.2],
            [0.3, 0.4, 0.3],  # a cat, taken for a dog with 0.4
            [0.9, 0.1, 0.0],  # a dog, taken for a cat with 0.9
            [0.2, 0.7, 0.1],
            [0.1, 0.1, 0.8],
        ]
    )
    names = ("cat/a", "cat/b", "cat/c", "dog/d", "dog/e", "emu/f")
    return Evaluation(labels, probabilities, ("cat", "dog", "emu"), names)


def test_matrix_has_true_classes_in_rows(evaluation):
    matrix = evaluation.confusion_matrix()
    assert matrix.to_numpy().tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 1]]
    assert (matrix.index.name, matrix.columns.name) == ("true", "predicted")
    assert matrix.loc["cat", "dog"] == 1
    assert evaluation.accuracy == pytest.approx(4 / 6)


def test_rates_by_hand(evaluation):
    report = evaluation.report()
    assert report.loc["cat"].tolist() == pytest.approx([2 / 3, 2 / 3, 2 / 3, 3])
    assert report.loc["dog"].tolist() == pytest.approx([1 / 2, 1 / 2, 1 / 2, 2])
    assert report.loc["macro avg", "recall"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_confused_pairs_and_mistakes(evaluation):
    (pair,) = evaluation.confused_pairs().itertuples(index=False)
    assert tuple(pair) == ("cat", "dog", 2, 1, 1)
    mistakes = evaluation.mistakes()
    assert mistakes["image"].tolist() == ["dog/d", "cat/c"]  # the surest first
    assert mistakes.iloc[0].tolist() == ["dog/d", "dog", "cat", 0.9]
    assert len(evaluation.mistakes(top=1)) == 1


def test_wilson_interval_of_the_published_result():
    low, high = wilson_interval(190, 210)
    assert (round(100 * low, 1), round(100 * high, 1)) == (85.7, 93.8)
    assert wilson_interval(210, 210)[1] == 1.0


def test_interval_is_of_the_accuracy(evaluation):
    assert evaluation.interval() == wilson_interval(4, 6)


def test_reliability_by_hand(evaluation):
    table = evaluation.reliability(bins=2)  # the 0.4 alone; then 0.8, 0.5, 0.9, 0.7 and 0.8
    assert table["images"].tolist() == [1, 5]
    assert table["probability"].tolist() == pytest.approx([0.4, 3.7 / 5])
    assert table["accuracy"].tolist() == pytest.approx([0, 4 / 5])
    assert tuple(table.loc[1, ["low", "high"]]) == wilson_interval(4, 5)


def test_reliability_has_no_empty_bins_and_keeps_certainty(evaluation):
    probabilities = evaluation.probabilities.copy()
    probabilities[5] = [0, 0, 1]
    table = evaluation._replace(probabilities=probabilities).reliability()
    assert table["images"].tolist() == [1, 1, 1, 1, 2]
    assert table["probability"].iloc[-1] == pytest.approx(0.95)


@pytest.fixture
def features():
    return noise_features([0, 1, 0, 1, 0, 1, 0])


@pytest.fixture
def model():
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((6, 6, 256), name="pool5_in")
    x = keras.layers.Identity(name="pool5")(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(inputs, keras.layers.Dense(2, name="fc8")(x))


def test_views_are_averaged_as_probabilities(model, features):
    indices = np.array([6, 0, 3])
    head = keras.Model(model.get_layer("pool5").output, model.output)
    each = [keras.ops.softmax(head(features.pool5(indices, view))).numpy() for view in range(8)]
    subset = features.subset(indices)
    one, eight = evaluate(model, subset), evaluate(model, subset, views=8, batch_size=2)
    np.testing.assert_allclose(one.probabilities, each[0], atol=1e-6)
    np.testing.assert_allclose(eight.probabilities, np.mean(each, axis=0), atol=1e-6)
    assert eight.names == ("a/6", "a/0", "b/3")
    assert eight.labels.tolist() == [0, 0, 1]


def test_views_must_be_at_hand(model, features):
    single = dataclasses.replace(features, codes=features.codes[:1])
    with pytest.raises(ValueError, match=r"views=8, of which 1 are at hand \(augment='none'\)"):
        evaluate(model, single, views=8)
    with pytest.raises(ValueError, match="views=4"):
        evaluate(model, features, views=4)


def test_two_views_are_the_image_and_its_mirror_image(model, features):
    head = keras.Model(model.get_layer("pool5").output, model.output)
    each = [keras.ops.softmax(head(features.pool5(views=view))).numpy() for view in (0, 2)]
    two = evaluate(model, features, views=2).probabilities
    np.testing.assert_allclose(two, np.mean(each, axis=0), atol=1e-6)
    np.testing.assert_array_equal(
        two, evaluate(model, features.augmented("mirror"), views=2).probabilities
    )
    with pytest.raises(ValueError, match=r"of which 2 are at hand \(augment='mirror'\)"):
        evaluate(model, features.augmented("mirror"), views=8)


def test_classes_without_a_test_image_are_named_and_in_no_average(evaluation):
    assert evaluation.absent == ()
    classes, names = ("ant", "cat", "dog", "emu"), evaluation.names
    wide = np.concatenate([np.full((6, 1), 0.05), evaluation.probabilities], axis=1)
    wide[4, 0] = 0.99  # a dog is taken for the ant of which there is no image
    few = Evaluation(evaluation.labels + 1, wide, classes, names)
    assert few.absent == ("ant",)
    report = few.report()
    assert report.index.tolist() == [*classes, "macro avg (3 of 4 classes)"]
    assert report.loc["ant", "support"] == 0
    theirs = metrics.precision_recall_fscore_support(
        few.labels, few.predictions, labels=[1, 2, 3], average="macro"
    )
    assert report.iloc[-1].tolist() == pytest.approx([*theirs[:3], 6])
    assert any("no test image of ant" in line for line in few.remarks())
    assert few.balanced_accuracy == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_what_unequal_classes_need_is_said(evaluation):
    lines = evaluation.remarks()
    assert lines == ["balanced accuracy 72.22%, the mean of the classes' recalls"]
    assert evaluation.balanced_accuracy == pytest.approx(
        metrics.balanced_accuracy_score(evaluation.labels, evaluation.predictions)
    )
    never = evaluation._replace(probabilities=np.eye(3)[np.zeros(6, int)])
    assert "never predicted: dog, emu" in never.remarks()[-1]
    equal = never._replace(
        labels=np.array([0, 0, 1, 1, 2, 2]), probabilities=np.eye(3)[[0, 1, 2] * 2]
    )
    assert equal.remarks() == []
