"""Drawn scenes: always the same ones, told apart by class, in a layout that the reader takes."""

import numpy as np
import pytest

from alexnet_lib.images.folder import duplicate_groups, read_folder
from alexnet_lib.images.reading import read_image
from alexnet_lib.images.splits import read_split
from alexnet_lib.teaching.scenes import DRAW, draw_scene, write_scenes

PER_CLASS = 6


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return read_folder(write_scenes(tmp_path_factory.mktemp("scenes") / "new", PER_CLASS))


def test_the_classes_are_those_of_ucmerced():
    assert set(DRAW) == {name.split("/")[0] for name in read_split()}
    assert list(DRAW) == sorted(DRAW)


def test_a_scene_is_a_function_of_class_and_seed():
    for name in DRAW:
        scene = draw_scene(name, 3)
        assert (scene.shape, scene.dtype) == ((256, 256, 3), np.uint8)
        assert scene.std() > 10
        np.testing.assert_array_equal(scene, draw_scene(name, 3))
        assert (scene != draw_scene(name, 4)).mean() > 0.5


def test_the_layout_is_ucmerceds(images):
    assert images.classes == tuple(DRAW)
    assert np.bincount(images.labels).tolist() == [PER_CLASS] * 21
    assert images.files[:2] == (
        "agricultural/agricultural00.png",
        "agricultural/agricultural01.png",
    )
    for i in (0, 55, 125):
        name, number = images.classes[images.labels[i]], i % PER_CLASS
        drawn = draw_scene(name, (0, number))
        np.testing.assert_array_equal(read_image(images.folder / images.files[i]), drawn)


def test_the_folder_says_that_they_are_drawn(images):
    assert "no photographs" in (images.folder / ".drawn.txt").read_text(encoding="utf-8")
    assert [path for path in images.folder.parent.iterdir() if path.name != "new"] == []


def test_no_two_scenes_are_the_same(images):
    np.testing.assert_array_equal(duplicate_groups(images), np.arange(len(images.files)))


def test_another_seed_draws_others(images, tmp_path):
    others = read_folder(write_scenes(tmp_path, 1, seed=1))  # into an empty folder
    for file in others.files:
        other = read_image(tmp_path / file)
        assert (other != read_image(images.folder / file)).mean() > 0.5


def test_classes_can_be_told_apart_by_colour_and_edges(images):
    """The nearest mean of a few numbers of each scene finds its class far above chance, 1 in 21."""

    def describe(file):
        pixels = read_image(images.folder / file).astype(np.float32)
        edges = np.abs(np.diff(pixels.mean(axis=2)))
        colours = pixels.reshape(-1, 3)
        spread = np.percentile(edges, [50, 90, 99])
        return [*colours.mean(axis=0), *colours.std(axis=0), *spread, edges.mean()]

    features = np.array([describe(file) for file in images.files])
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    learn = np.arange(len(features)) % PER_CLASS < PER_CLASS - 2
    means = [features[learn & (images.labels == label)].mean(axis=0) for label in range(21)]
    distance = np.linalg.norm(features[~learn, None] - np.array(means), axis=2)
    assert (distance.argmin(axis=1) == images.labels[~learn]).mean() > 0.5


def test_errors(images, tmp_path):
    with pytest.raises(ValueError, match=r"one of agricultural, .*Received: class_name='moon'"):
        draw_scene("moon", 0)
    with pytest.raises(ValueError, match="Received: per_class=0"):
        write_scenes(tmp_path / "none", 0)
    with pytest.raises(FileExistsError, match="new or empty folder"):
        write_scenes(images.folder, 1)
    assert len(read_folder(images.folder).files) == 21 * PER_CLASS


def test_a_failed_write_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(DRAW, "tenniscourt", lambda canvas: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_scenes(tmp_path / "scenes", 1)
    assert list(tmp_path.iterdir()) == []
