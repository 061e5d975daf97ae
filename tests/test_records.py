"""TFRecord: nothing lost, nothing half written, nothing damaged that is not reported."""

import dataclasses
import json
import struct

import cv2
import numpy as np
import pytest
import tensorflow as tf
from small import write_image

from alexnet_lib import files
from alexnet_lib.images import records
from alexnet_lib.images.folder import read_folder
from alexnet_lib.images.records import check_records, read_records, write_records

COUNT = 13


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Thirteen images of three classes and of many sizes and formats."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for number in range(COUNT):
        pixels = generator.integers(0, 256, (20 + number, 30 - number, 3), np.uint8)
        ending = (".tif", ".png", ".bmp")[number // 2 % 3]
        write_image(folder / f"class {number % 3}" / f"{number:02d}{ending}", pixels)
    return read_folder(folder)


@pytest.fixture
def folder(images, tmp_path):
    write_records(tmp_path / "records", images, shards=3)
    return tmp_path / "records"


def contents(dataset):
    return [(name.numpy().decode(), int(label), image.numpy()) for image, label, name in dataset]


def names(dataset):
    return [name for name, _, _ in contents(dataset)]


def offsets(path):
    """Where each record of a TFRecord file begins, and the file's length."""
    data, found, at = path.read_bytes(), [], 0
    while at < len(data):
        found.append(at)
        at += 8 + 4 + struct.unpack_from("<Q", data, at)[0] + 4
    return [*found, at]


def test_not_a_pixel_is_lost(images, folder):
    read = contents(read_records(folder))
    assert sorted(name for name, _, _ in read) == sorted(images.names)
    for name, label, pixels in read:
        position = images.names.index(name)
        assert label == images.labels[position]
        assert pixels.dtype == np.uint8
        expected = cv2.imread(str(images.folder / images.files[position]))  # BGR
        np.testing.assert_array_equal(pixels, expected)


def test_stored_images_look_right_to_everyone(images, folder):
    """A record's PNG is RGB and carries what the docstring says."""
    record = next(iter(tf.data.TFRecordDataset(str(folder / "train-00000-of-00003.tfrecord"))))
    feature = tf.train.Example.FromString(record.numpy()).features.feature
    name = feature["name"].bytes_list.value[0].decode()
    expected = cv2.imread(str(images.folder / images.files[images.names.index(name)]))
    png = tf.io.decode_png(feature["image"].bytes_list.value[0]).numpy()
    np.testing.assert_array_equal(png, expected[..., ::-1])
    assert feature["class"].bytes_list.value[0].decode() == name.split("/")[0]
    size = [feature[side].int64_list.value[0] for side in ("height", "width")]
    assert size == list(expected.shape[:2])


def test_the_index_counts(images, tmp_path):
    index = write_records(tmp_path, images.subset([0, 1, 5, 6, 7, 12]), subset="test", shards=2)
    assert index == json.loads((tmp_path / "test.json").read_text()) | {"classes": images.classes}
    assert index["records"] == 6
    assert index["per_class"] == {"class 0": 2, "class 1": 3, "class 2": 1}
    assert [shard["records"] for shard in index["shards"]] == [3, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "test-00000-of-00002.tfrecord",
        "test-00001-of-00002.tfrecord",
        "test.json",
    ]
    assert sorted(names(read_records(tmp_path, "test"))) == [
        images.names[i] for i in (0, 1, 5, 6, 7, 12)
    ]


def test_order_is_the_seeds(images, folder, tmp_path):
    plain = names(read_records(folder))
    assert plain == names(read_records(folder))
    assert plain != sorted(plain)  # written in shuffled order
    write_records(tmp_path / "again", images, shards=3)
    assert names(read_records(tmp_path / "again")) == plain
    write_records(tmp_path / "other", images, shards=3, seed=1)
    assert names(read_records(tmp_path / "other")) != plain

    shuffled = names(read_records(folder, seed=3))
    tf.random.set_seed(123)  # must not matter
    assert shuffled == names(read_records(folder, seed=3))
    assert shuffled not in (plain, names(read_records(folder, seed=4)))
    assert sorted(shuffled) == sorted(plain)


def test_shuffling_by_windows_loses_nothing(folder, monkeypatch):
    monkeypatch.setattr(records, "SHUFFLE_WINDOW", 4)
    read = names(read_records(folder, seed=0))
    assert len(set(read)) == COUNT
    assert read != names(read_records(folder, seed=1))


def test_each_window_is_shuffled_in_its_own_way(images, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "SHUFFLE_WINDOW", 4)
    write_records(tmp_path, images, shards=1)
    plain = names(read_records(tmp_path))
    places = [plain.index(name) for name in names(read_records(tmp_path, seed=0))]
    windows = np.array(places[:12]).reshape(3, 4) - np.array([[0], [4], [8]])
    assert (np.sort(windows, axis=1) == np.arange(4)).all()
    assert len({tuple(window) for window in windows}) == 3


@pytest.mark.parametrize("shards", [0, 14])
def test_more_shards_than_images(images, tmp_path, shards):
    with pytest.raises(ValueError, match=rf"from 1 to the number of images, 13\. .*={shards}"):
        write_records(tmp_path, images, shards=shards)


def snapshot(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_failed_write_leaves_the_old_records(images, folder):
    before = snapshot(folder)
    gone = dataclasses.replace(images, files=(*images.files[:-1], "class 2/gone.png"))
    for shards in (3, 2):
        with pytest.raises(FileNotFoundError, match="gone"):
            write_records(folder, gone, shards=shards, seed=1)
        assert snapshot(folder) == before


def test_a_write_cut_short_at_the_last_moment_is_noticed(images, folder, monkeypatch):
    """Killed between moving one new file into place and the next: old and new must not mix."""
    moved = []

    def replace(source, target, replace=files.os.replace):
        if moved:
            raise KeyboardInterrupt
        moved.append(target)
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        write_records(folder, images, shards=3, seed=1)
    assert len(moved) == 1
    with pytest.raises(FileNotFoundError, match=r"no train\.json, .*cut short\. Run `write_reco"):
        read_records(folder)


def test_writing_again_leaves_no_old_shards(images, folder):
    write_records(folder, images.subset([0, 1, 2]), subset="train-small", shards=3)
    write_records(folder, images, shards=2)
    assert sorted(path.name for path in folder.glob("train-0*")) == [
        "train-00000-of-00002.tfrecord",
        "train-00001-of-00002.tfrecord",
    ]
    assert len(names(read_records(folder, "train-small"))) == 3


@pytest.mark.parametrize("record", [0, 2, 4])
@pytest.mark.parametrize("place", ["length", "checksum of length", "data", "last of data", "end"])
def test_a_damaged_byte_is_reported_with_file_and_record(folder, record, place):
    path = folder / "train-00000-of-00003.tfrecord"
    start, end = offsets(path)[record : record + 2]
    data = bytearray(path.read_bytes())
    at = {"length": start, "checksum of length": start + 8, "data": start + 100,
          "last of data": end - 5, "end": end - 1}[place]  # fmt: skip
    data[at] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"00000-of-00003\.tfrecord: record {record} is damaged"):
        check_records(folder)
    with pytest.raises(ValueError, match=f"record {record} is damaged"):
        read_records(folder)


def test_four_files_unless_told_otherwise(images, tmp_path):
    index = write_records(tmp_path, images.subset(range(8)))
    assert [shard["file"] for shard in index["shards"]] == [
        f"train-0000{number}-of-00004.tfrecord" for number in range(4)
    ]


def test_a_cut_file_is_reported(folder):
    path = folder / "train-00001-of-00003.tfrecord"
    starts, whole = offsets(path), path.read_bytes()
    assert len(starts) == 5
    path.write_bytes(whole[: starts[2] + 50])
    with pytest.raises(ValueError, match=r"00001-of-00003\.tfrecord: record 2 is damaged"):
        check_records(folder)
    for keep in (3, 0):  # whole records are missing: nothing is damaged, but the numbers tell
        path.write_bytes(whole[: starts[keep]])
        with pytest.raises(ValueError, match=rf"expected 4 records, found {keep}; per class"):
            check_records(folder)
    path.write_bytes(whole + whole[starts[3] :])
    with pytest.raises(ValueError, match=r"expected 4 records, found 5; per class"):
        check_records(folder)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"00001-of-00003\.tfrecord: missing"):
        check_records(folder)
    path.write_bytes(whole)
    assert check_records(folder)["records"] == COUNT


def test_shards_that_changed_places_are_noticed(images, tmp_path):
    """Every record is sound, the total too; only the classes per shard tell."""
    write_records(tmp_path, images.subset([0, 1, 2, 3, 4, 5]), shards=2)
    one, two = (tmp_path / f"train-0000{i}-of-00002.tfrecord" for i in range(2))
    first, second = one.read_bytes(), two.read_bytes()
    index = check_records(tmp_path)
    assert index["shards"][0]["per_class"] != index["shards"][1]["per_class"]
    one.write_bytes(second)
    two.write_bytes(first)
    with pytest.raises(ValueError, match=r"expected 3 records, found 3; per class expected \{"):
        check_records(tmp_path)


def test_records_of_something_else(folder):
    path = folder / "train-00000-of-00003.tfrecord"
    whole = [record.numpy() for record in tf.data.TFRecordDataset(str(path))]

    def rewrite(third):
        with tf.io.TFRecordWriter(str(path)) as writer:
            for record in [*whole[:2], third, *whole[3:]]:
                writer.write(record)

    example = tf.train.Example.FromString(whole[2])
    example.features.feature["label"].int64_list.value[0] += 1
    relabelled = example.SerializeToString()
    example.features.feature["label"].int64_list.value[0] = 77
    outside = example.SerializeToString()
    del example.features.feature["label"]
    unlabelled = example.SerializeToString()
    for third, reason in (
        (b"\xff\xff no Example", "record 2 is not an image's record"),
        (unlabelled, "record 2 is damaged: .*label"),
        (relabelled, "record 2 is damaged: label . is not class 'class"),
        (outside, "record 2 is damaged: label 77 is not class"),
    ):
        rewrite(third)
        with pytest.raises(ValueError, match=reason):
            check_records(folder)
    rewrite(whole[2])
    check_records(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"classes": []}', '{"classes": [], "shards": 3}'])
def test_a_damaged_index(folder, text):
    (folder / "train.json").write_text(text)
    with pytest.raises(ValueError, match=r"train\.json: expected what `write_records` writes"):
        check_records(folder)
