"""The readout's cross-validation goes on where it stopped, and mixes nothing with another run's."""

import cv2
import numpy as np
import pytest

from alexnet_lib.finetuning import readout
from alexnet_lib.finetuning.readout import SHRINKAGES
from alexnet_lib.images.folder import Images, read_folder
from alexnet_lib.port.alexnet import AlexNet
from alexnet_lib.port.layouts import model_weights, save_npz
from benchmarks.readout import Variant, cached_statistics, crossval, features_of, fit_and_test
from benchmarks.small_folders import draw
from benchmarks.statistics import parts

VARIANTS = {
    "first": Variant((227,), 1, (("relu5", "mean"),)),
    "two sizes": Variant((227, 320), 8, (("relu4", "mean"), ("relu5", "mean"))),
    "one shrinkage": Variant((227,), 1, (("relu5", "mean"),), (0.3,)),
    "apart": Variant((227,), 8, (("relu5", "mean"),), apart=True),
}
ABOUT = {"weights": "w", "numpy": "1"}


@pytest.fixture
def images():
    files = tuple(f"{'ab'[i % 2]}/{i:02d}.png" for i in range(40))
    return Images(None, files, np.arange(40) % 2, ("a", "b"))


def statistics(size, view):
    generator = np.random.default_rng([size, view])
    count = max(each.stop for each in parts().values())
    found = generator.random((40, count)).astype(np.float16)
    found[1::2, parts()["relu5", "mean"]] += 0.5
    return found


def run(images, folder, variants=VARIANTS, about=ABOUT):
    return crossval(
        images, np.arange(40), variants, [0, 1], statistics, folder, about, progress=False
    )


def test_features_are_roots_of_means_over_views_size_by_size():
    features = features_of(VARIANTS["two sizes"], statistics)
    assert features.shape == (1, 40, 2 * (384 + 256))
    mean = np.mean(
        [statistics(320, view)[:, parts()["relu5", "mean"]] for view in range(8)], axis=0
    )
    np.testing.assert_allclose(features[0, :, -256:], np.sqrt(mean), rtol=1e-3)


def test_views_apart_are_all_learned_and_the_first_is_asked(monkeypatch):
    features = features_of(VARIANTS["apart"], statistics)
    expected = [statistics(227, view)[:, parts()["relu5", "mean"]] for view in range(8)]
    np.testing.assert_allclose(features, np.sqrt(expected), rtol=1e-3)
    labels = np.arange(40) % 2
    seen = {}

    class Answers:
        shrinkage, accuracy = 0.1, 1.0

        def predict_proba(self, rows):
            seen["asked"] = rows
            return np.eye(2)[labels[30:]]

    def fit(rows, classes, shrinkages):
        seen.update(rows=rows, classes=classes)
        return Answers()

    monkeypatch.setattr(readout, "fit_readout", fit)
    row = fit_and_test(VARIANTS["apart"], features, labels, np.arange(30), np.arange(30, 40))
    assert (row["accuracy"], row["train"], row["test"], row["features"]) == (1, 30, 10, 256)
    assert seen["rows"].shape == (240, 256)
    assert seen["classes"].tolist() == labels[:30].tolist() * 8
    np.testing.assert_array_equal(seen["rows"][30 * 5 + 7], features[5, 7])
    np.testing.assert_array_equal(seen["asked"], features[0, 30:])


def test_every_image_is_tested_once_for_each_seed(images, tmp_path):
    folds, means = run(images, tmp_path)
    assert len(folds) == 4 * 2 * 5
    assert (folds.groupby(["variant", "seed"])["test"].sum() == 40).all()
    assert means["count"].tolist() == [5] * 8
    assert means["mean"].min() > 0.8
    assert set(folds["shrinkage"]) <= set(SHRINKAGES)


def test_a_run_that_was_cut_off_ends_like_one_that_was_not(images, tmp_path):
    run(images, tmp_path / "whole")
    run(images, tmp_path / "cut", dict(list(VARIANTS.items())[:2]))
    path = tmp_path / "cut" / "folds.csv"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:8]))
    run(images, tmp_path / "cut")
    for name in ("folds.csv", "ablation.csv"):
        assert (tmp_path / "cut" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_another_runs_results_are_kept(images, tmp_path):
    run(images, tmp_path, dict(list(VARIANTS.items())[:1]))
    with pytest.raises(ValueError, match=r"folds\.csv: of another run: differs in numpy"):
        run(images, tmp_path, about=ABOUT | {"numpy": "2"})


def test_statistics_are_computed_once_and_only_for_their_images(tmp_path):
    for kind in "ab":
        (tmp_path / "images" / kind).mkdir(parents=True)
        for i in range(2):
            pixels = np.random.default_rng(i).integers(0, 256, (67, 67, 3), np.uint8)
            cv2.imwrite(str(tmp_path / "images" / kind / f"{i}.png"), pixels)
    weights, cache = tmp_path / "w.npz", tmp_path / "cache"
    save_npz(weights, model_weights(AlexNet(include_top=False)))
    images = read_folder(tmp_path / "images")
    first = np.array(cached_statistics(images, weights, 67, 0, cache, progress=False))
    assert sorted(path.name for path in cache.iterdir()) == ["67-0.npy", "settings.json"]
    (cache / "67-0.npy").rename(cache / "67-0-0.npy")  # as if killed after the last part
    marked = np.load(cache / "67-0-0.npy") + np.float16(1)
    np.save(cache / "67-0-0.npy", marked)
    np.testing.assert_array_equal(
        cached_statistics(images, weights, 67, 0, cache, progress=False), marked
    )
    assert not np.array_equal(first, marked)
    with pytest.raises(ValueError, match=r"settings\.json: of other images or weights"):
        cached_statistics(images.subset([0, 1]), weights, 67, 0, cache, progress=False)


def test_of_a_small_folder_every_image_has_one_use():
    labels = np.repeat([0, 1, 2], 100)
    train, choose, test = draw(labels, seed=1)
    assert [np.bincount(labels[part]).tolist() for part in (train, choose, test)] == [
        [36] * 3, [4] * 3, [60] * 3,
    ]  # fmt: skip
    assert sorted(np.concatenate([train, choose, test])) == list(range(300))
    assert not np.array_equal(train, draw(labels, seed=2)[0])
