"""Folders of class folders: what is read, what is refused, what is the same twice."""

import os
import shutil
import unicodedata
import zipfile

import cv2
import numpy as np
import pytest
from running import run_command
from small import deal, small_network, write_noise

from alexnet_lib.finetuning import classifier, evaluation, runs
from alexnet_lib.images import folder as module
from alexnet_lib.images.batches import image_dataset
from alexnet_lib.images.features import compute_features
from alexnet_lib.images.folder import duplicate_groups, find_ucmerced, read_folder
from alexnet_lib.images.records import write_records
from alexnet_lib.images.splits import read_split, write_split


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


def test_hidden_files_and_what_systems_leave_are_ignored(folder):
    for hidden in (
        ".DS_Store", "a/.hidden", "b/._b0.png", ".git/file", "Thumbs.db", "a/Thumbs.db",
        "b/desktop.ini", "__MACOSX/a/._a0.png", "a/@eaDir/a0.png/SYNO.jpg", "c/ehthumbs.db",
        "c/Icon\r", "a/.ipynb_checkpoints/a0.png", "$RECYCLE.BIN/x",
    ):  # fmt: skip
        (folder / hidden).parent.mkdir(exist_ok=True, parents=True)
        (folder / hidden).write_text("x")
    images = read_folder(folder)
    assert (len(images), images.classes) == (9, ("a", "b", "c"))


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
    with pytest.raises(ValueError, match=r"--skip-broken \(in Python, skip_broken=True\)") as error:
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


def copy_classes(source, *targets):
    for target in targets:
        for name in source.iterdir():
            shutil.copytree(name, target / name.name)


@pytest.mark.parametrize(
    ("names", "subsets"),
    [
        (("train", "val", "test"), ("train", "validation", "test")),
        (("Training", "VALID", "testing"), ("train", "validation", "test")),
        (("TRAIN", "test"), ("train", "test")),
        (("training_set", "Test images"), ("train", "test")),
        (("train", "validation"), ("train", "validation")),
    ],
)
def test_folders_of_train_and_test_are_the_split(folder, tmp_path, names, subsets):
    data = tmp_path / "whole"
    copy_classes(folder, *(data / name for name in names))
    images = read_folder(data)
    assert images.classes == ("a", "b", "c")
    assert len(images) == len(set(images.names)) == 9 * len(names)
    assert images.names[0] == f"{min(names)}/a/a0"
    for name, file, label, subset in zip(
        images.names, images.files, images.labels, images.given, strict=True
    ):
        assert subset == dict(zip(names, subsets, strict=True))[name.split("/")[0]]
        assert (data / file).is_file()
        assert name.split("/")[1] == images.classes[label]
    part = images.subset([3, 0])
    assert (part.names, part.given) == (
        (images.names[3], images.names[0]),
        (images.given[3], images.given[0]),
    )
    write_split(tmp_path / "split.csv", images.names, images.given)
    assert read_split(tmp_path / "split.csv") == dict(zip(images.names, images.given, strict=True))


def test_folders_that_are_no_split(folder, tmp_path):
    """A class may be called train; folders beside the subsets, and two of one, are named."""
    (folder / "a").rename(folder / "train")
    (folder / "b").rename(folder / "test")
    assert read_folder(folder).classes == ("c", "test", "train")
    shutil.rmtree(folder / "c")
    with pytest.raises(ValueError, match=r"expected class folders in train, found none"):
        read_folder(folder)
    data = tmp_path / "whole"
    for name in ("train", "val", "valid"):
        copy_classes(folder, data / name)
    with pytest.raises(ValueError, match="val and valid are both the validation images"):
        read_folder(data)
    (data / "valid").rename(data / "annotations")
    with pytest.raises(ValueError, match="annotations: a folder beside those of train"):
        read_folder(data)
    with pytest.warns(UserWarning, match="annotations"):
        assert len(read_folder(data, skip_broken=True)) == 12


def test_a_test_folder_without_classes_is_left_out_on_request(folder, tmp_path):
    """As Kaggle gives them: the test images have no classes, so there is only training."""
    copy_classes(folder, tmp_path / "whole" / "train")
    write_noise(tmp_path / "whole" / "test" / "1.png", 1)
    with pytest.raises(ValueError, match=r"test: no class folders in it, so these images have no"):
        read_folder(tmp_path / "whole")
    with pytest.warns(UserWarning, match="no class folders in it"):
        images = read_folder(tmp_path / "whole", skip_broken=True)
    assert (len(images), images.given) == (9, None)


@pytest.mark.parametrize("inner", ["Images", "UCMerced_LandUse/Images", "train"])
def test_the_folder_to_give_instead_is_named(folder, tmp_path, inner):
    copy_classes(folder, tmp_path / "outer" / inner)
    (tmp_path / "outer" / "readme.txt").write_text("x")
    for skip_broken in (False, True):
        with pytest.raises(ValueError, match="expected class folders that hold images") as error:
            read_folder(tmp_path / "outer", skip_broken)
        assert f"Give {tmp_path / 'outer' / inner}, whose subfolders are the" in str(error.value)
    copy_classes(folder, tmp_path / "up" / "data" / "train", tmp_path / "up" / "data" / "test")
    with pytest.raises(ValueError, match=r"Give .*data, whose subfolders"):
        read_folder(tmp_path / "up")


def test_images_without_class_folders_and_archives(folder, tmp_path):
    with pytest.raises(ValueError, match=r"expected class folders, found 3 files and no folder"):
        read_folder(folder / "a")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        archive.write(folder / "a" / "a0.png")
    for path in (tmp_path / "data.zip", shutil.make_archive(tmp_path / "x", "gztar", folder)):
        with pytest.raises(ValueError, match=r"found an archive or a spreadsheet\. Unpack"):
            read_folder(path)
    with pytest.raises(ValueError, match=r"a0\.png: line 1: expected text in UTF-8"):
        read_folder(folder / "a" / "a0.png")


def test_names_that_are_not_utf8_are_printable_and_refused(folder):
    try:
        (folder / "b" / "b0.png").rename(folder / "b" / os.fsdecode(b"caf\xe9.png"))
        (folder / "c").rename(folder / os.fsdecode(b"\xe4"))
    except OSError:
        pytest.skip("this file system takes only UTF-8")
    result = run_command("evaluate", folder)
    result.output.encode()
    assert result.exit_code == 1
    assert f"{folder}/b/caf\\xe9.png: its name is not UTF-8" in result.output
    assert f"{folder}/\\xe4: its name is not UTF-8" in result.output
    assert "Rename it" in result.output
    with pytest.warns(UserWarning, match=r"caf\\xe9") as warned:
        images = read_folder(folder, skip_broken=True)
    str(warned[0].message).encode()
    assert images.names == ("a/a0", "a/a1", "a/a2", "b/b1", "b/b2")


def test_names_with_every_kind_of_sign(folder, tmp_path):
    """Commas, quotes, blanks and accents, in both forms of Unicode, survive a split's CSV."""
    classes = ("a, b", 'c "d"', "e'f ", "\u00e9t\u00e9 \u6c34")
    for number, name in enumerate(classes):
        form = "NFD" if number == 3 else "NFC"
        for i in range(2):
            path = folder / unicodedata.normalize(form, name) / f"{i},\u202f\u00fc;.png"
            write_noise(path, 10 * number + i)
    images = read_folder(folder)
    assert images.classes == ("a", classes[0], "b", "c", *classes[1:])
    write_split(tmp_path / "split.csv", images.names, ["test"] * len(images))
    assert list(read_split(tmp_path / "split.csv")) == list(images.names)
    assert images.read(images.files[-1]).shape == (20, 30, 3)
    assert images.names[-1] == unicodedata.normalize("NFC", images.files[-1])[:-4]
    (folder / classes[3]).mkdir()
    with pytest.raises(ValueError, match=r"two class folders are called .*two forms of Unicode"):
        read_folder(folder)
    (folder / classes[3]).rmdir()
    (folder / "a" / "x\n.png").touch()
    with pytest.raises(ValueError, match=r"x\\n\.png': its name holds a control character"):
        read_folder(folder)


def test_labels_follow_a_models_classes(folder):
    images = read_folder(folder)
    some = images.subset([7, 0]).with_classes(("c", "b", "z", "a"))
    assert (some.labels.tolist(), some.names) == ([0, 3], ("c/c1", "a/a0"))
    with pytest.raises(ValueError, match="of the model's classes, a, b, got c"):
        images.with_classes(("a", "b"))


def test_results_inside_the_images_are_refused_at_once(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    (tmp_path / "link").symlink_to(folder)
    (folder / "a" / "a0.png").write_bytes(b"not looked at")
    weights = ("--weights", folder / "a" / "a0.png")
    for command in (["finetune", *weights], ["crossval", *weights], ["evaluate"]):
        for output in (folder / "run", folder, "run", tmp_path / "link" / "deep" / "run"):
            result = run_command(command[0], folder, "-o", output, *command[1:])
            assert result.exit_code == 1
            assert "this folder for results lies in" in result.output
    assert sorted(os.listdir(folder)) == ["a", "b", "c"]


@pytest.mark.parametrize("value", ["0.8,0.2", "0.8,0.1,0.2", "0.9,0.1,0", "a,b,c", "nan,1,0", ""])
def test_fractions_that_are_none(value, folder, tmp_path):
    result = run_command("finetune", folder, "-o", tmp_path / "run", "--fractions", value)
    assert result.exit_code == 2
    assert "three numbers above 0 that sum to 1, such as 0.7,0.15,0.15" in result.output


def count(split, *keys):
    return [sum(part == key for part in split.values()) for key in keys]


def test_a_run_takes_the_folders_own_split(folder, tmp_path, monkeypatch, capsys):
    data = tmp_path / "whole"
    for seed in range(27):
        write_noise(data / "train" / "abc"[seed % 3] / f"{seed}.png", 100 + seed)
    copy_classes(folder, data / "test")
    images = read_folder(data)
    split = deal(images, tmp_path / "1", monkeypatch)
    assert count(split, "train", "validation", "test") == [24, 3, 9]
    assert all((part == "test") == name.startswith("test/") for name, part in split.items())
    said = capsys.readouterr().out
    assert "36 images of 3 classes: train 24, validation 3, test 9 (as given; a ninth of" in said
    assert split == deal(images, tmp_path / "again", monkeypatch)
    assert split != deal(images, tmp_path / "other", monkeypatch, seed=1)

    (data / "test").rename(data / "val")
    split = deal(read_folder(data), tmp_path / "2", monkeypatch)
    assert count(split, "train", "validation", "test") == [24, 3, 9]
    assert all((part == "test") == name.startswith("val/") for name, part in split.items())
    assert "the validation images are the test" in capsys.readouterr().out

    split = deal(read_folder(data), tmp_path / "3", monkeypatch, split_by=(0.5, 0.25, 0.25))
    assert count(split, "train", "validation", "test") == [18, 9, 9]
    assert "(split 50/25/25)" in capsys.readouterr().out

    shutil.copy(data / "val" / "a" / "a1.png", data / "train" / "b" / "copy.png")
    with pytest.warns(UserWarning, match=r"1 time\(s\) .* train/b/copy \(\w+\) = val/a/a1 \("):
        deal(read_folder(data), tmp_path / "4", monkeypatch)
    shutil.rmtree(data / "val" / "c")
    with pytest.warns(UserWarning, match="no test image of c"):
        deal(read_folder(data), tmp_path / "5", monkeypatch)
    (data / "val" / "b").rename(data / "val" / "B")
    with pytest.raises(ValueError, match=r"training images of every class, found none of B\. Is a"):
        runs.train_classifier(read_folder(data), tmp_path / "6")
    assert not (tmp_path / "6").exists()


def test_classes_too_small_to_be_tested_are_named(folder, tmp_path, monkeypatch):
    for seed in range(30):
        write_noise(folder / "d" / f"{seed}.png", 50 + seed)
    with pytest.warns(UserWarning, match="no test image") as warned:
        deal(read_folder(folder), tmp_path / "run", monkeypatch)
    assert [str(warning.message) for warning in warned] == [
        "no validation image of a, b, c",
        "no test image of a, b, c",
    ]


def test_evaluate_takes_the_folders_own_test_images(folder, tmp_path, monkeypatch):
    """A class that the test lacks keeps its number; a list is judged as a whole."""
    tested = []

    def judge(weights, images, views):
        tested.append((images.names, images.labels.tolist(), images.classes, images.white))
        probabilities = np.eye(4, dtype=np.float32)[images.labels]
        return evaluation.Evaluation(images.labels, probabilities, images.classes, images.names)

    classes = ("a", "aa", "b", "c")
    monkeypatch.setattr(classifier, "find_classifier", lambda path: (path, None))
    monkeypatch.setattr(classifier, "read_classifier", lambda _: ({}, classes))
    monkeypatch.setattr(classifier, "classifier_augmentation", lambda _: "none")
    monkeypatch.setattr(classifier, "classifier_white", lambda _: 4095)
    monkeypatch.setattr(evaluation, "evaluate_files", judge)
    monkeypatch.setattr(module, "read_image", lambda path, white=None: cv2.imread(str(path)))
    data = tmp_path / "whole"
    copy_classes(folder, data / "train", data / "test", data / "val")
    shutil.rmtree(data / "test" / "b")
    (folder / "list.csv").write_text("file,class\na/a0.png,c\nb/b1.png,aa\n")
    arguments = ("-m", folder / "a" / "a0.png")
    result = run_command("evaluate", data, *arguments)
    assert result.exit_code == 0, result.output
    assert "only its test images are taken" in result.output
    names = tuple(f"test/{name}/{name}{i}" for name in "ac" for i in range(3))
    assert tested.pop() == (names, [0, 0, 0, 3, 3, 3], classes, 4095)
    (data / "test").rename(tmp_path / "test")
    assert "only its validation images" in run_command("evaluate", data, *arguments).output
    assert len(tested.pop()[0]) == 9
    arguments = (*arguments, "-o", folder / "tables", "--white", 1023)
    result = run_command("evaluate", folder / "list.csv", *arguments)
    assert tested.pop() == (("a/c/a0", "b/aa/b1"), [3, 1], classes, 1023)
    assert (folder / "tables" / "predictions.csv").is_file()


def test_whatever_reads_pixels_uses_the_images_white(folder, tmp_path, monkeypatch):
    seen = []

    def read(path, white=None):
        seen.append(white)
        return cv2.imread(str(path))

    monkeypatch.setattr(module, "read_image", read)
    images = read_folder(folder, white=4095).subset([0, 4, 8])
    weights, _ = classifier.read_classifier()
    for use in (
        lambda: duplicate_groups(images),
        lambda: list(image_dataset(images)),
        lambda: list(images.view_batches(2, 2)),
        lambda: write_records(tmp_path, images, shards=1),
        lambda: evaluation.evaluate_files(weights, images),
    ):
        seen.clear()
        use()
        assert seen == [4095] * 3
    assert compute_features(small_network(), images, progress=False).white == 4095
    assert read_folder(folder).white is None


def test_twelve_bits_need_their_white(tmp_path):
    values = np.random.default_rng(0).integers(0, 4096, (4, 20, 30)).astype(np.uint16)
    for i, pixels in enumerate(values):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "ab"[i % 2] / f"{i}.png"), pixels)
    with pytest.raises(ValueError, match=r"0\.png: values .*--white 4095"):
        read_folder(tmp_path)
    images = read_folder(tmp_path, white=4095)
    expected = np.repeat(np.round(values[2] / 4095 * 255)[..., None], 3, axis=2)
    np.testing.assert_allclose(images.read("a/2.png"), expected, atol=1)


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
