"""Splits and folds: exact per class, whole groups, the same from the same seed, kept as CSV."""

import csv
import pathlib
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_lib.images.splits import (
    SUBSETS,
    UCMERCED_SPLIT,
    apply_split,
    fill_split,
    k_folds,
    match_split,
    read_split,
    split,
    write_split,
)

HUNDREDS = np.repeat(np.arange(21), 100)


def table(labels, parts):
    """Count images per class and part."""
    return np.array([[np.sum((labels == c) & (parts == p)) for p in np.unique(parts)]
                     for c in np.unique(labels)])  # fmt: skip


def test_eighty_ten_ten():
    parts = split(HUNDREDS)
    assert {p: (parts == p).sum() for p in SUBSETS} == {
        "train": 1680,
        "validation": 210,
        "test": 210,
    }
    assert (table(HUNDREDS, parts) == [10, 80, 10]).all()  # alphabetical: test, train, validation
    np.testing.assert_array_equal(parts, split(HUNDREDS, seed=0))
    assert (parts != split(HUNDREDS, seed=1)).mean() > 0.2


def test_every_image_has_its_chance():
    """Over many seeds each image is in the test set about a tenth of the time, groups or not."""
    labels = np.repeat([0, 1], 20)
    groups = np.arange(40)
    groups[[3, 4]] = 3
    shares = np.mean([split(labels, groups, seed=seed) == "test" for seed in range(500)], axis=0)
    assert shares.min() > 0.04
    assert shares.max() < 0.16


def test_labels_may_be_names_and_in_any_order():
    shuffled = np.random.default_rng(0).permutation(HUNDREDS)
    parts = split(np.array([f"class {label}" for label in shuffled]))
    assert (table(shuffled, parts) == [10, 80, 10]).all()


LABELS = st.lists(st.integers(0, 4), min_size=10, max_size=120).map(np.array)


@given(
    LABELS,
    st.integers(0, 2**31),
    st.sampled_from([(0.8, 0.1, 0.1), (0.6, 0.2, 0.2), (1 / 3, 1 / 3, 1 / 3), (0.7, 0, 0.3)]),
)
def test_every_class_is_within_one_image_of_the_fractions(labels, seed, fractions):
    try:
        parts = split(labels, fractions=fractions, seed=seed)
    except ValueError as error:
        if "would be empty" in str(error):
            return
        raise
    for label in np.unique(labels):
        for subset, fraction in zip(SUBSETS, fractions, strict=True):
            count = np.sum((labels == label) & (parts == subset))
            assert abs(count - fraction * np.sum(labels == label)) < 1
    for subset, fraction in zip(SUBSETS, fractions, strict=True):
        assert fraction > 0 or not (parts == subset).any()


@given(LABELS, st.integers(0, 2**31), st.integers(2, 10))
def test_folds_are_as_even_as_whole_images_allow(labels, seed, k):
    folds = k_folds(labels, k=k, seed=seed)
    assert folds.dtype == np.int64
    assert np.ptp(np.bincount(folds, minlength=k)) <= 1
    for label in np.unique(labels):
        assert np.ptp(np.bincount(folds[labels == label], minlength=k)) <= 1
    np.testing.assert_array_equal(folds, k_folds(labels, k=k, seed=seed))


@given(LABELS, st.integers(0, 2**31), st.data())
def test_groups_stay_whole_even_across_classes(labels, seed, data):
    size = len(labels)
    ids = st.lists(st.integers(-3, size), min_size=size, max_size=size)
    groups = np.array(data.draw(ids))
    for deal in (
        lambda: split(labels, groups, seed=seed),
        lambda: k_folds(labels, groups, 3, seed),
    ):
        try:
            parts = deal()
        except ValueError as error:
            if "would be empty" in str(error) or "too few for" in str(error):
                continue
            raise
        for group in np.unique(groups):
            assert len(set(parts[groups == group])) == 1


def test_ids_of_groups_are_only_names():
    pairs = np.arange(2100) // 2 * 2
    renamed = 10**6 - 7 * pairs  # other numbers, in another order
    np.testing.assert_array_equal(k_folds(HUNDREDS, pairs), k_folds(HUNDREDS, renamed))


def test_pairs_do_not_disturb_the_counts():
    groups = np.arange(2100)
    groups[1::7] = groups[0::7]
    assert (table(HUNDREDS, split(HUNDREDS, groups)) == [10, 80, 10]).all()
    assert (table(HUNDREDS, k_folds(HUNDREDS, groups)) == 20).all()


def test_small_classes_take_turns():
    """21 classes of 5: half an image each for validation and test, so half of the classes each."""
    labels = np.repeat(np.arange(21), 5)
    parts = split(labels)
    assert [(parts == p).sum() for p in SUBSETS] in ([84, 10, 11], [84, 11, 10])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: split([0, 1] * 9, fractions=(0.8, 0.1)), "three numbers that sum to 1"),
        (lambda: split([0, 1] * 9, fractions=(0.8, 0.1, 0.2)), "three numbers that sum to 1"),
        (lambda: split([0, 1] * 9, fractions=(1.1, -0.1, 0)), "three numbers that sum to 1"),
        (lambda: split([0, 1] * 9, fractions="abc"), "three numbers that sum to 1"),
        (lambda: split([0, 1] * 9, fractions=0.8), "three numbers that sum to 1"),
        (lambda: split([0, 1] * 9, fractions=(0.8, 0.1, float("nan"))), "three numbers that sum"),
        (lambda: split([]), r"at least one\. Received: shapes \(0,\)"),
        (lambda: split([0, 0, 1], groups=[1, 2]), r"shapes \(3,\) and \(2,\)"),
        (lambda: split([0, 0, 1, 1]), "'validation' would be empty: .* of 4 images"),
        (lambda: k_folds([0, 0, 1, 1], k=1), r"Received: k=1"),
        (lambda: k_folds([0, 0, 1, 1], k=2.0), r"Received: k=2\.0"),
        (lambda: k_folds([0, 0, 1, 1]), "4 images are too few for 5 folds"),
    ],
)
def test_impossible_splits_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_round_trip_through_csv(tmp_path):
    names = ["a/1", "a/2, with comma", "ä b/1", 'ä b/"quoted"']
    path = tmp_path / "split.csv"
    subsets = np.array(["test", "train", "validation", "train"])
    write_split(path, names, subsets)
    assert path.read_bytes().startswith(b"file,class,subset\na/1,a,test\n")
    assert read_split(path) == dict(zip(names, subsets, strict=True))
    found = apply_split(SimpleNamespace(names=names[::-1]), read_split(path))
    assert {key: value.tolist() for key, value in found.items()} == {
        "test": [3], "train": [0, 2], "validation": [1],
    }  # fmt: skip
    write_split(path, names, np.array([2, 0, 1, 2]))
    assert read_split(path) == {names[0]: "2", names[1]: "0", names[2]: "1", names[3]: "2"}
    assert apply_split(SimpleNamespace(names=names), read_split(path))["2"].tolist() == [0, 3]


def test_a_split_that_fails_to_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "split.csv"
    write_split(path, ["a/1"], ["train"])
    with pytest.raises(ValueError, match="shorter"):
        write_split(path, ["a/1", "a/2"], ["test"])
    assert [item.name for item in tmp_path.iterdir()] == ["split.csv"]
    assert read_split(path) == {"a/1": "train"}


def test_a_spreadsheets_csv_is_read(tmp_path):
    (tmp_path / "split.csv").write_bytes(b"\xef\xbb\xbffile,class,subset\r\na/1,a,test\r\n")
    assert read_split(tmp_path / "split.csv") == {"a/1": "test"}


@pytest.mark.parametrize(
    "content",
    [
        b"file,class,subset\na/1,a,test\nb/2.5,b,train\n",
        b"\xef\xbb\xbfSplit;Class;File\r\nTESTING;a;a/1.JPG\r\n;;\r\nTrain;b;b/2.5.webp\r\n",
        b"label,filename,set\na,1.tif,test\nb,2.5,training\n",
        b"path\tsubset\n./a\\1.png\ttest\nb\\2.5.png\ttrain\n",
        b'"image" , "partition"\n"a/1.jpeg",test \n"b/2.5.jpeg", train\n'.replace(b'" , "', b'","'),
        "file,subset\na/1,test\nb/2.5,train\n".encode("utf-16"),
    ],
)
def test_a_split_may_be_spelt_in_many_ways(content, tmp_path):
    (tmp_path / "split.csv").write_bytes(content)
    images = SimpleNamespace(names=("a/1", "b/2.5"))
    split = match_split(images, read_split(tmp_path / "split.csv"))
    assert split == {"a/1": "test", "b/2.5": "train"}
    assert apply_split(images, split)["test"].tolist() == [0]


def test_the_same_image_in_two_spellings(tmp_path):
    images = SimpleNamespace(names=("\u00e9/1", "a/1.5"))
    decomposed = {"e\u0301/1": "test", "a/1.5": "train"}
    assert match_split(images, decomposed) == {"\u00e9/1": "test", "a/1.5": "train"}
    with pytest.raises(ValueError, match=r"names a/1\.5 twice, once as a/1\.5\.png"):
        match_split(images, decomposed | {"a/1.5.png": "test"})
    # A number is no extension: a/1.5 is another image than a/1.
    with pytest.raises(ValueError, match=r"1 images that the split does not name: a/1\."):
        match_split(SimpleNamespace(names=("a/1",)), {"a/1.5": "train"})


def test_a_subset_that_is_not_given_is_made():
    labels = np.repeat([0, 1, 2], 27)
    given = np.where(np.arange(81) % 3 == 0, "test", "train")
    groups = np.arange(81)
    groups[5] = 4  # two training images
    validated = 0
    for seed in range(30):
        parts, how = fill_split(given, labels, groups, seed)
        assert ((parts == "test") == (given == "test")).all()
        assert (table(labels, parts) == [9, 16, 2]).all()
        assert parts[4] == parts[5]
        validated += parts[4] == "validation"
        assert "ninth" in how
    assert 0 < validated < 30
    np.testing.assert_array_equal(parts, fill_split(given, labels, groups, 29)[0])

    held = np.where(given == "test", "validation", given)
    same, how = fill_split(held, labels, groups, 29)
    np.testing.assert_array_equal(same, parts)
    assert "the validation images are the test" in how
    whole = np.where(np.arange(81) % 9 == 0, "validation", given)
    parts, how = fill_split(whole, labels)
    np.testing.assert_array_equal(parts, whole)
    assert how == "as given"


@pytest.mark.parametrize("given", [["train"], ["test", "validation"], ["0", "1"], ["train", "0"]])
def test_what_cannot_be_made_into_a_split(given):
    with pytest.raises(ValueError, match="expected images for train and for validation or test"):
        fill_split(given * 9, [0] * 9 * len(given))


def test_names_in_deeper_folders_keep_their_class(tmp_path):
    names = ["train/a/1", "lists/a\\b/1", "a\\b/1"]
    write_split(tmp_path / "split.csv", names, ["train", "test", "test"])
    assert "\ntrain/a/1,a,train\n" in (tmp_path / "split.csv").read_text()
    assert list(read_split(tmp_path / "split.csv")) == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"line 1: expected file,class,subset, found ''"),
        (b"a/1,a,train\n", r"line 1: expected file,class,subset, found 'a/1,a,train'"),
        (b"file,class,subset\na/1,a,train\na/2,a\n", r"line 3: expected 3 columns as in line 1"),
        (b"file,subset\na1,train\n", r"line 2: expected class/stem"),
        (b"file,class,subset\n", r"expected images and their subsets, found a header alone"),
        (b'file,class,subset\n"a/1,a,test\na/2,a,test\n', r"line 3: unexpected end of data"),
        (b"file,class,subset\na/1,a,test\na/\0,a,test\n", r"line 3: expected text, found a zero"),
        (b"file,subset,path\na/1,test,a/1\n", r"both 'file' and 'path' could be the file"),
        (b"file,class,subset\n" + b"a" * 200_000 + b",a,test\n", r"line 2: field larger than"),
        (b"file,class,subset\na/1,b,train\n", r"line 2: expected class/stem, the same class"),
        (b"file,class,subset\na/1,a,traning\n", r"line 2: .* train, validation, test or a fold's"),
        (b"file,class,subset\na/1,a,test\na/1,a,train\n", r"line 3: expected every file once"),
        (b"file,class,subset\n\xff\n", r"split\.csv: line 2: expected text in UTF-8"),
    ],
)
def test_a_damaged_csv_is_named_with_its_line(content, message, tmp_path):
    path = tmp_path / "split.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_split(path)
    assert str(error.value).startswith(f"{path}: ")


def test_images_that_do_not_fit_the_split_are_named():
    images = SimpleNamespace(names=("a/1", "a/2", "b/1"))
    whole = {"a/1": "train", "a/2": "test", "b/1": "train"}
    with pytest.raises(ValueError, match=r"1 images that the split does not name: a/2\. Make"):
        apply_split(images, {"a/1": "train", "b/1": "test"})
    with pytest.raises(ValueError, match=r"1 images of the split that are not there: c/9\."):
        apply_split(images, {**whole, "c/9": "test"})
    with pytest.raises(
        ValueError, match=r"7 images of the split .*: c/0, c/1, c/2, c/3, c/4 \.\.\."
    ):
        apply_split(images, whole | {f"c/{i}": "test" for i in range(7)})


def test_the_books_split_follows_from_names_alone(tmp_path):
    """Anyone can deal it again: 21 classes of 100, and airplane02 shows airplane01's pixels."""
    classes = sorted({name.split("/")[0] for name in read_split()})
    assert len(classes) == 21
    names = [f"{name}/{name}{number:02d}" for name in classes for number in range(100)]
    groups = np.arange(2100)
    groups[names.index("airplane/airplane02")] = names.index("airplane/airplane01")
    parts = split(HUNDREDS, groups, seed=0)
    write_split(tmp_path / "again.csv", names, parts)
    assert (tmp_path / "again.csv").read_bytes() == pathlib.Path(UCMERCED_SPLIT).read_bytes()
    assert (table(HUNDREDS, parts) == [10, 80, 10]).all()
    book = read_split()
    assert book["airplane/airplane01"] == book["airplane/airplane02"]


def test_the_published_split_is_the_one_of_the_published_matrix():
    """Its 210 test images have the classes that the matrix counts, whose rows are predictions."""
    data = pathlib.Path(UCMERCED_SPLIT).parent
    published = read_split(data / "published_split.csv")
    assert list(published) == list(read_split())  # the same images, in the same order
    labels = np.array([name.split("/")[0] for name in published])
    subsets = np.array(list(published.values()))
    assert {subset: (subsets == subset).sum() for subset in SUBSETS} == {
        "train": 1680,
        "validation": 210,
        "test": 210,
    }
    with open(data / "published_confusion_matrix.csv", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header[0] == "predicted"
    assert header[1:] == [row[0] for row in rows] == sorted(set(labels))
    counts = np.array([row[1:] for row in rows], int)
    test = [np.sum((labels == name) & (subsets == "test")) for name in header[1:]]
    assert test == counts.sum(axis=0).tolist()
    assert (min(test), max(test)) == (7, 14)
    assert (counts.trace(), counts.sum()) == (190, 210)
    assert published["airplane/airplane01"] == "validation"  # the pixels of airplane02
    assert published["airplane/airplane02"] == "train"


@pytest.mark.parametrize("seed", range(30))
def test_a_group_goes_where_there_is_room_for_all_of_it(seed):
    groups = np.arange(20)
    groups[[3, 9, 14]] = 3  # of 20 images, two are for validation and two for test
    assert split(np.zeros(20), groups, seed=seed)[[3, 9, 14]].tolist() == ["train"] * 3


def test_what_is_not_given_is_dealt_by_seed_0():
    subsets = np.array(["train"] * 18 + ["test"] * 2)
    found, _ = fill_split(subsets, np.arange(20) % 2)
    np.testing.assert_array_equal(found, fill_split(subsets, np.arange(20) % 2, seed=0)[0])
    assert (found == "validation").sum() == 2
