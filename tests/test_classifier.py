"""A classifier in one file comes back as it was, and the book's own knows aerial images."""

import numpy as np
import pytest

from alexnet_lib.finetuning.classifier import (
    UCMERCED_CLASSIFIER,
    Classifier,
    load_classifier,
    save_classifier,
)
from alexnet_lib.finetuning.evaluation import evaluate
from alexnet_lib.images.folder import read_folder
from alexnet_lib.images.splits import apply_split, read_split
from alexnet_lib.port.alexnet import AlexNet
from alexnet_lib.port.layouts import load_npz, save_npz


@pytest.fixture(scope="module")
def classifier():
    return Classifier(AlexNet(classes=3, fc_units=4), ("field", "forest", "harbor"))


@pytest.mark.parametrize(("dtype", "error"), [("float32", 0), ("float16", 2**-11)])
def test_comes_back_as_it_was(classifier, tmp_path, dtype, error):
    save_classifier(tmp_path / "a.npz", classifier, dtype)
    again = load_classifier(tmp_path / "a.npz")
    assert again.classes == classifier.classes
    for ours, theirs in zip(again.model.get_weights(), classifier.model.get_weights(), strict=True):
        assert ours.dtype == np.float32
        np.testing.assert_allclose(ours, theirs, rtol=error, atol=1e-7 if error else 0)


def test_what_does_not_fit_is_refused(classifier, tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(ValueError, match="expected 3 names of classes"):
        save_classifier(path, classifier._replace(classes=("field", "forest")))
    bias = classifier.model.get_layer("fc8").bias
    bias.assign(bias + 1e6)
    with pytest.raises(ValueError, match="fc8/bias: not finite as float16"):
        save_classifier(path, classifier, "float16")
    bias.assign(bias - 1e6)
    assert not path.exists()
    save_classifier(path, classifier)
    arrays = load_npz(path)
    save_npz(path, {name: array for name, array in arrays.items() if name[:5] != "conv3"})
    with pytest.raises(ValueError, match=r"a\.npz: expected weights of all layers, lacks conv3"):
        load_classifier(path)
    save_npz(path, {name: array for name, array in arrays.items() if name != "classes"})
    with pytest.raises(ValueError, match=r"a\.npz: it has weights, but no array 'classes'"):
        load_classifier(path)
    with pytest.raises(FileNotFoundError):
        load_classifier(tmp_path / "absent.npz")


def test_the_books_own_is_small():
    assert UCMERCED_CLASSIFIER.stat().st_size <= 12e6
    model, classes = load_classifier()
    assert classes == tuple(sorted({name.split("/")[0] for name in read_split()}))
    assert model.get_layer("fc8").units == 21


def test_the_books_own_knows_the_test_images(ucmerced):
    images = read_folder(ucmerced)
    model, classes = load_classifier()
    assert classes == images.classes
    test = apply_split(images, read_split())["test"]
    assert evaluate(model, images.subset(test)).accuracy >= 0.9
