"""Folders of class folders: what is read, what is refused, what is the same twice."""

import cv2
import numpy as np
import pytest
from small import write_image

from alexnet_lib.images.folder import duplicate_groups, find_ucmerced, read_folder
from alexnet_lib.images.splits import read_split


def write_noise(path, seed=0, size=(20, 30)):
    write_image(path, np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Three classes with three images each."""
    for seed in range(9):
        write_noise(
            tmp_path / "data" / "abc"[seed // 3] / f"{'abc'[seed // 3]}{seed % 3}.png", seed
        )
    return tmp_path / "data"


def test_a_folder_of_class_folders(folder):
    images = read_folder(folder)
    assert images.folder == folder
    assert images.classes == ("a", "b", "c")
    assert images.files[:4] == ("a/a0.png", "a/a1.png", "a/a2.png", "b/b0.png")
    assert images.names[:4] == ("a/a0", "a/a1", "a/a2", "b/b0")
    assert images.labels.dtype == np.int64
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_names_and_their_order_do_not_depend_on_endings(tmp_path):
    """The official .tif and the same images as .webp must be the same data set."""
    stems = ("a-b/x", "a/1", "a/1-2", "a/1.2", "a/10", "a/2", "a b/z")
    for number, stem in enumerate(stems):
        write_noise(tmp_path / "tif" / f"{stem}.tif", number)
        ending = (".webp", ".png", "", ".JPG", ".data")[number % 5] if stem != "a/1.2" else ".jpg"
        write_noise(tmp_path / "other" / f"{stem}{ending}", number)
    tif, other = read_folder(tmp_path / "tif"), read_folder(tmp_path / "other")
    assert tif.classes == ("a", "a b", "a-b")
    assert tif.names == other.names
    assert tif.names == ("a/1", "a/1-2", "a/1.2", "a/10", "a/2", "a b/z", "a-b/x")


def test_hidden_files_are_ignored(folder):
    for hidden in (".DS_Store", "a/.hidden", "b/._b0.png", ".git/file"):
        (folder / hidden).parent.mkdir(exist_ok=True)
        (folder / hidden).write_text("x")
    assert len(read_folder(folder).files) == 9


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("a/notes.txt", b"these are fields"),
        ("b/empty.png", b""),
        ("b/b0.png", "half"),
        ("readme.md", b"beside the classes"),
        ("c/deeper/c0.png", b"x"),
        ("d/", None),
    ],
)
def test_what_does_not_belong_is_named_or_on_request_left_out(folder, path, content):
    bad = folder / path
    if content is None:
        bad.mkdir()
    elif content == "half":
        bad.write_bytes(bad.read_bytes()[:500])
    else:
        bad.parent.mkdir(exist_ok=True)
        bad.write_bytes(content)
    named = str(folder / "c" / "deeper" if "deeper" in path else bad)
    with pytest.raises(ValueError, match="skip_broken=True") as error:
        read_folder(folder)
    assert named in str(error.value)
    with pytest.warns(UserWarning, match="left out") as warned:
        images = read_folder(folder, skip_broken=True)
    assert [named in str(warning.message) for warning in warned] == [True]
    assert images.classes == ("a", "b", "c")
    assert images.names == tuple(
        f"{c}/{c}{i}" for c in "abc" for i in range(3) if f"{c}/{c}{i}.png" != path
    )


def test_a_class_whose_images_are_all_broken_is_left_out(folder):
    for path in (folder / "b").iterdir():
        path.write_bytes(b"x")
    with pytest.warns(UserWarning, match="b: no image in it"):
        images = read_folder(folder, skip_broken=True)
    assert images.classes == ("a", "c")
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_many_problems_are_counted(folder):
    for number in range(60):
        (folder / "a" / f"{number}.txt").write_text("x")
    with pytest.raises(ValueError, match="and 10 more"):
        read_folder(folder)


def test_fewer_than_two_classes(tmp_path):
    (tmp_path / "none").mkdir()
    write_noise(tmp_path / "one" / "a" / "x.png")
    with pytest.raises(ValueError, match=r"at least two class folders .* found none\. Give"):
        read_folder(tmp_path / "none")
    with pytest.raises(ValueError, match=r"at least two class folders .* found a\. Give"):
        read_folder(tmp_path / "one", skip_broken=True)
    with pytest.raises(FileNotFoundError, match=r"absent: expected a folder"):
        read_folder(tmp_path / "absent")


def test_two_files_of_one_stem(folder):
    write_noise(folder / "b" / "b1.tif")
    for skip_broken in (False, True):
        with pytest.raises(ValueError, match=r"b: b1\.png and b1\.tif differ only in their ext"):
            read_folder(folder, skip_broken)


def test_duplicates_are_of_pixels(folder):
    """A copy in another format is a duplicate; the same bytes in another shape are not."""
    pixels = cv2.imread(str(folder / "a" / "a1.png"))
    cv2.imwrite(str(folder / "c" / "copy.tif"), pixels)
    cv2.imwrite(str(folder / "a" / "a9.png"), pixels)
    cv2.imwrite(str(folder / "c" / "turned.png"), pixels.reshape(30, 20, 3))
    pixels[-1, -1, -1] ^= 1
    cv2.imwrite(str(folder / "c" / "almost.png"), pixels)
    images = read_folder(folder)
    groups = duplicate_groups(images)
    assert groups.dtype == np.int64
    expected = np.arange(len(images.files))
    expected[[images.names.index("c/copy"), images.names.index("a/a9")]] = 1
    np.testing.assert_array_equal(groups, expected)


def test_find_ucmerced(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path))
    assert find_ucmerced() is None
    (tmp_path / "UCMerced_LandUse" / "Images").mkdir(parents=True)
    assert find_ucmerced() == tmp_path / "UCMerced_LandUse" / "Images"


def test_the_real_ucmerced(ucmerced):
    images = read_folder(ucmerced)
    assert np.bincount(images.labels).tolist() == [100] * 21
    assert set(images.names) == set(read_split())
    groups = duplicate_groups(images)
    again = np.flatnonzero(groups != np.arange(2100))
    assert [(images.names[groups[i]], images.names[i]) for i in again] == [
        ("airplane/airplane01", "airplane/airplane02")
    ]
