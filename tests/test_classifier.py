"""A classifier in one file comes back as it was, and the book's own knows aerial images."""

import numpy as np
import pytest

from alexnet_lib.finetuning.classifier import (
    UCMERCED_CLASSIFIER,
    Classifier,
    classifier_augmentation,
    classifier_white,
    find_classifier,
    load_classifier,
    save_classifier,
)
from alexnet_lib.finetuning.evaluation import evaluate
from alexnet_lib.images.folder import read_folder
from alexnet_lib.images.splits import apply_split, read_split
from alexnet_lib.port.alexnet import AlexNet, load_weights
from alexnet_lib.port.layouts import load_npz, model_weights, save_npz


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


def test_the_white_of_the_training_images_is_kept(classifier, tmp_path):
    save_classifier(tmp_path / "a.npz", classifier, augment="mirror", white=4095)
    assert classifier_white(tmp_path / "a.npz") == 4095
    assert classifier_augmentation(tmp_path / "a.npz") == "mirror"
    assert load_classifier(tmp_path / "a.npz").classes == classifier.classes
    assert load_weights(classifier.model, tmp_path / "a.npz") == []
    assert classifier_white() is None
    save_npz(tmp_path / "b.npz", load_npz(tmp_path / "a.npz") | {"white": np.array(-1.0)})
    with pytest.raises(ValueError, match=r"b\.npz: white must be a number above 0, found -1"):
        classifier_white(tmp_path / "b.npz")


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


def test_the_augmentation_is_remembered(classifier, tmp_path):
    save_classifier(tmp_path / "a.npz", classifier, augment="mirror")
    assert classifier_augmentation(tmp_path / "a.npz") == "mirror"
    assert load_classifier(tmp_path / "a.npz").classes == classifier.classes
    assert AlexNet(tmp_path / "a.npz", classes=3, fc_units=4).output_shape == (None, 3)
    save_classifier(tmp_path / "a.npz", classifier)  # as before it could be chosen
    assert classifier_augmentation(tmp_path / "a.npz") == "aerial"
    assert classifier_augmentation() == "aerial"


def test_of_a_run_that_has_not_ended_the_best_epoch_is_taken(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected classifier\.npz .* or best\.npz"):
        find_classifier(tmp_path)
    for folder, epochs in (("stage1", 2), (".", 3)):
        for name in ("checkpoint.npz", "best.npz", "epochs/001.npz"):
            (tmp_path / folder / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / name).touch()
        (tmp_path / folder / "history.csv").write_text("epoch\n" + "0\n" * epochs)
        path, note = find_classifier(tmp_path)
        assert path == tmp_path / folder / "best.npz"
        assert note.startswith(
            f"{path}: the run has stored no classifier.npz yet. These are the bes"
        )
        assert f"after {epochs} epochs of " in note
        assert ("first stage" in note) == (folder == "stage1")
    path, note = find_classifier(tmp_path / "epochs" / "001.npz")
    assert path == tmp_path / "epochs" / "001.npz"
    assert "These are epoch 001's weights, after 3 epochs" in note
    (tmp_path / "classifier.npz").touch()
    assert find_classifier(tmp_path) == (tmp_path / "classifier.npz", "")
    assert find_classifier(tmp_path / "best.npz") == (tmp_path / "best.npz", "")


def test_weights_without_names_of_classes_are_told_so(classifier, tmp_path):
    save_npz(tmp_path / "old.npz", model_weights(classifier.model))
    with pytest.raises(ValueError, match=r"old\.npz: .*no array 'classes' with the names"):
        load_classifier(tmp_path / "old.npz")
