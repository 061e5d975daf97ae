"""The closed-form readout agrees with scikit-learn's, and nothing makes it diverge."""

import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from alexnet_lib.finetuning.readout import SHRINKAGES, fit_readout


def clouds(images, features, classes=4, gap=1.0, seed=0):
    """Images of Gaussian classes whose features correlate and differ in unit and offset."""
    generator = np.random.default_rng(seed)
    mix = np.random.default_rng(100).normal(size=(features, features)) / np.sqrt(features)
    centers = gap * np.random.default_rng(101).normal(size=(classes, features))
    labels = np.arange(images) % classes
    x = (centers[labels] + generator.normal(size=(images, features))) @ mix
    scale, offset = np.geomspace(0.1, 100, features), np.linspace(-5, 5, features)
    return (x * scale + offset).astype(np.float32), labels


@pytest.mark.parametrize("features", [12, 300])
@pytest.mark.parametrize("shrinkage", [0.05, 0.5, 1.0])
def test_agrees_with_scikit_learn_with_few_and_many_features(features, shrinkage):
    x, labels = clouds(80, features)
    other, _ = clouds(40, features, seed=1)
    readout = fit_readout(x, labels, [shrinkage])
    mean, std = x.mean(axis=0, dtype=float), x.std(axis=0, dtype=float)
    oracle = LinearDiscriminantAnalysis("lsqr", shrinkage).fit((x - mean) / std, labels)
    # The same up to the temperature and what is common to all classes.
    ours = np.log(readout.predict_proba(other).astype(float))
    theirs = oracle.decision_function((other - mean) / std)
    ours, theirs = (each - each.mean(axis=1, keepdims=True) for each in (ours, theirs))
    ours *= np.linalg.norm(theirs) / np.linalg.norm(ours)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-3 * np.abs(theirs).max())


@pytest.mark.parametrize("features", [12, 100])
def test_its_leave_one_out_is_that_of_as_many_fits(features):
    x, labels = clouds(60, features, gap=0.4)
    readout = fit_readout(x, labels, [0.3])
    each = np.arange(60)
    hits = [
        fit_readout(x[each != i], labels[each != i], [0.3]).predict_proba(x[[i]])[0].argmax()
        == labels[i]
        for i in each
    ]
    assert 0.3 < np.mean(hits) < 0.95  # neither chance nor too easy to tell
    assert readout.accuracy == pytest.approx(np.mean(hits), abs=0.05)


def test_chooses_the_shrinkage_by_what_the_data_need():
    many = fit_readout(*clouds(2000, 10))
    few = fit_readout(*clouds(12, 300))
    assert many.shrinkage < few.shrinkage
    assert {many.shrinkage, few.shrinkage} <= set(SHRINKAGES)


def test_probabilities_say_how_often_it_is_right():
    x, labels = clouds(400, 200, gap=0.18)
    other, truth = clouds(4000, 200, gap=0.18, seed=1)
    probabilities = fit_readout(x, labels).predict_proba(other)
    accuracy = np.mean(probabilities.argmax(axis=1) == truth)
    assert 0.5 < accuracy < 0.95
    assert probabilities.max(axis=1).mean() == pytest.approx(accuracy, abs=0.05)


def test_is_not_certain_where_no_training_image_was_wrong():
    x, labels = clouds(60, 500, gap=50)
    readout = fit_readout(x, labels)
    assert readout.accuracy == 1
    assert 0.9 < readout.predict_proba(x).max(axis=1).min() < 0.9999


@pytest.mark.parametrize(
    ("counts", "features"), [((1, 1), 5), ((1, 2, 30), 5), ((1, 2, 3), 400), ((2, 2), 1)]
)
def test_classes_of_one_or_two_images(counts, features):
    labels = np.repeat(np.arange(len(counts)), counts)
    x = np.random.default_rng(0).normal(size=(len(labels), features)) + 10 * labels[:, None]
    readout = fit_readout(x, labels)
    probabilities = readout.predict_proba(x)
    np.testing.assert_array_equal(probabilities.argmax(axis=1), labels)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    assert np.isnan(readout.accuracy) == (max(counts) == 1)


def test_constant_features_count_for_nothing():
    x, labels = clouds(40, 20)
    constant = np.full((40, 3), [0, 1e-3, 12345.678])
    readout = fit_readout(np.hstack([x, constant]), labels)
    assert not readout.kernel[20:].any()
    np.testing.assert_allclose(readout.kernel[:20], fit_readout(x, labels).kernel, rtol=1e-3)


def test_many_features_that_nearly_agree_and_images_that_do():
    generator = np.random.default_rng(0)
    common = generator.normal(size=(300, 1))
    x = common + 1e-3 * generator.normal(size=(300, 6000))
    labels = np.arange(300) % 3
    x += 1e-2 * generator.normal(size=(3, 6000))[labels]
    x[150:] = x[:150]
    readout = fit_readout(x, labels)
    assert np.mean(readout.predict_proba(x).argmax(axis=1) == labels) == 1


def test_images_that_are_all_alike_give_equal_probabilities():
    readout = fit_readout(np.full((6, 4), 7.0), np.arange(6) % 3)
    np.testing.assert_allclose(readout.predict_proba(np.eye(4)), 1 / 3, rtol=1e-6)


def test_two_fits_are_the_same_to_the_bit():
    x, labels = clouds(60, 90)
    first, second = fit_readout(x, labels), fit_readout(x.copy(), labels)
    np.testing.assert_array_equal(first.kernel, second.kernel)
    np.testing.assert_array_equal(first.bias, second.bias)


@pytest.mark.parametrize(
    ("x", "labels", "shrinkages", "message"),
    [
        (np.ones(4), [0, 1, 0, 1], [0.1], r"features of \(images, features\).*Received: \(4,\)"),
        (np.ones((4, 2)), [0, 1, 0], [0.1], r"Received: \(4, 2\) and \(3,\)"),
        (np.ones((2, 0)), [0, 1], [0.1], r"Received: \(2, 0\)"),
        ([[np.nan], [1]], [0, 1], [0.1], "expected finite features"),
        (np.ones((2, 1)), [0, 2], [0.1], "images of every class"),
        (np.ones((2, 1)), [-1, 0], [0.1], "integers from 0"),
        (np.ones((2, 1)), [0.0, 1.0], [0.1], "integers from 0"),
        (np.ones((2, 1)), [0, 1], [0.0], r"shrinkages above 0.*Received: \[0\.0\]"),
        (np.ones((2, 1)), [0, 1], [], "shrinkages above 0"),
    ],
)
def test_what_cannot_be_fitted_is_named(x, labels, shrinkages, message):
    with pytest.raises(ValueError, match=message):
        fit_readout(x, labels, shrinkages)


def test_features_of_another_length_are_refused():
    readout = fit_readout(*clouds(20, 6))
    with pytest.raises(ValueError, match=r"\(images, 6\)\. Received: \(20, 5\)"):
        readout.predict_proba(np.ones((20, 5)))
