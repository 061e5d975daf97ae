"""TFRecord: images in a few large files that are read in parallel, with counts to check them."""

import contextlib
import json
import re
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from alexnet_lib.damaged import reading
from alexnet_lib.errors import InputError, MissingFileError
from alexnet_lib.files import atomic_path, in_threads

__all__ = ["check_records", "read_records", "stream_records", "write_records"]

FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
    "class": tf.io.FixedLenFeature([], tf.string),
    "name": tf.io.FixedLenFeature([], tf.string),
    "height": tf.io.FixedLenFeature([], tf.int64),
    "width": tf.io.FixedLenFeature([], tf.int64),
}
# Number of records that are shuffled together; the files are already written in random order.
SHUFFLE_WINDOW = 512
PARALLEL = {"num_parallel_calls": tf.data.AUTOTUNE, "deterministic": True}


def write_records(folder, images, subset="train", shards=4, seed=0):
    """Write images as TFRecord files, `SUBSET-00000-of-00004.tfrecord` ..., and `SUBSET.json`.

    A record holds the image as PNG, with its label, class, name, height and width. PNG is lossless,
    and TensorFlow can read it, unlike TIFF. It stores RGB; `read_records` returns BGR again. A
    failed write leaves the previous files unchanged. A write that is killed while it moves the new
    files into place leaves no JSON, and reading then fails with an error.

    Args:
        folder: created if missing; it can hold several subsets.
        images: `Images`.
        subset: the name of the files.
        shards: number of files, which are read in parallel.
        seed: of the random order of the images.

    Returns:
        The content of the JSON: the classes, and the number of records, in total and per class,
        for the subset and for each shard.

    Raises:
        ValueError: if there are fewer images than shards, or an image cannot be read.
    """
    folder = Path(folder)
    if not 1 <= shards <= len(images):
        raise InputError(
            f"shards must be from 1 to the number of images, {len(images)}. "
            f"Received: shards={shards}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(len(images))
    index = {"classes": images.classes, **_counts(images, order), "shards": []}
    with contextlib.ExitStack() as stack:
        for shard in range(shards):
            path = folder / f"{subset}-{shard:05d}-of-{shards:05d}.tfrecord"
            chosen = order[shard::shards]
            with tf.io.TFRecordWriter(str(stack.enter_context(atomic_path(path)))) as writer:
                for record in in_threads(lambda i: _encode(images, i), chosen, path.stem):
                    writer.write(record)
            index["shards"].append({"file": path.name, **_counts(images, chosen)})
        (folder / f"{subset}.json").unlink(missing_ok=True)
    with atomic_path(folder / f"{subset}.json") as partial:
        partial.write_text(json.dumps(index, indent=1), encoding="utf-8")
    written = {shard["file"] for shard in index["shards"]}
    for path in folder.iterdir():  # from an earlier write with another number of shards
        stale = re.fullmatch(rf"{re.escape(subset)}-\d+-of-\d+\.tfrecord", path.name)
        if stale and path.name not in written:
            path.unlink()
    return index


def _counts(images, indices):
    per_class = np.bincount(images.labels[indices], minlength=len(images.classes)).tolist()
    return {
        "records": len(indices),
        "per_class": dict(zip(images.classes, per_class, strict=True)),
    }


def _encode(images, i):
    image = images.read(images.files[i])
    label = int(images.labels[i])
    values = {
        "image": cv2.imencode(".png", image)[1].tobytes(),
        "label": label,
        "class": images.classes[label].encode(),
        "name": images.names[i].encode(),
        "height": image.shape[0],
        "width": image.shape[1],
    }
    feature = {
        name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, bytes)
        else tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        for name, value in values.items()
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def check_records(folder, subset="train"):
    """Read every record of a subset and check it against the JSON: checksums, counts, classes.

    Returns:
        The content of the JSON.

    Raises:
        FileNotFoundError: if the JSON or a shard is missing.
        ValueError: if a check fails; names the file, and the record counted from 0.
    """
    folder = Path(folder)
    index_file = folder / f"{subset}.json"
    try:
        with reading(index_file, "what `write_records` writes"):
            index = json.loads(index_file.read_text(encoding="utf-8"))
            classes = index["classes"]
            expected = {folder / shard["file"]: shard["per_class"] for shard in index["shards"]}
            _check_sums(index, expected.values())
    except FileNotFoundError:
        raise MissingFileError(
            f"{folder}: no {subset}.json, so nothing was written here, or the writing was cut "
            "short. Run `write_records` (again)."
        ) from None
    for path, wanted in expected.items():
        if not path.is_file():
            raise MissingFileError(f"{path}: missing. Run `write_records` again.")
        found = dict.fromkeys(classes, 0)
        records, number = iter(tf.data.TFRecordDataset(str(path))), 0
        with contextlib.suppress(StopIteration):
            while True:
                try:
                    example = tf.io.parse_single_example(next(records), FEATURES)
                    label, name = int(example["label"]), example["class"].numpy().decode()
                    if not 0 <= label < len(classes) or classes[label] != name:
                        raise InputError(f"label {label} is not class {name!r}")
                except UnicodeDecodeError as error:  # TensorFlow's message quotes bytes
                    raise InputError(f"{path}: record {number} is not an image's record") from error
                except (tf.errors.OpError, ValueError) as error:
                    raise InputError(
                        f"{path}: record {number} is damaged: {getattr(error, 'message', error)}. "
                        "Run `write_records` again."
                    ) from error
                found[name] += 1
                number += 1
        if found != wanted:
            differ = {name: found[name] for name in classes if found[name] != wanted.get(name)}
            raise InputError(
                f"{path}: expected {sum(wanted.values())} records, found {number}; per class "
                f"expected { ({name: wanted.get(name) for name in differ}) }, found {differ}. "
                "Run `write_records` again."
            )
    return index


def _check_sums(index, per_shard):
    """Refuse an index whose totals are not the sums of its shards, each counted once."""
    sums = {name: sum(counts[name] for counts in per_shard) for name in index["classes"]}
    counts = [shard["records"] for shard in index["shards"]]
    expected = [sum(sums.values()), sums, [sum(counts.values()) for counts in per_shard]]
    if (found := [index["records"], index["per_class"], counts]) != expected:
        raise InputError(f"expected records, per_class and shards of {expected}, found {found}")


def read_records(folder, subset="train", seed=None):
    """Read what `write_records` wrote, after `check_records`.

    Args:
        folder: as in `write_records`.
        subset: as in `write_records`.
        seed: an integer to shuffle; None for the order of the files.

    Returns:
        A `tf.data.Dataset` of image, uint8 (height, width, 3), BGR; label, int64; and name,
        "class/stem".

    Raises:
        FileNotFoundError, ValueError: as `check_records`.
    """
    index = check_records(folder, subset)
    return stream_records(folder, index, None if seed is None else seed_pair(seed))


def stream_records(folder, index, seed):
    """Read records without checking them; `index` is the JSON's content, `seed` a pair or None."""
    files = tf.constant([str(Path(folder) / shard["file"]) for shard in index["shards"]])
    data = tf.data.Dataset.from_tensor_slices(files if seed is None else shuffle(files, seed))
    data = data.interleave(tf.data.TFRecordDataset, len(index["shards"]), 1, **PARALLEL)
    if seed is not None:  # Dataset.shuffle would also depend on tf.random.set_seed
        data = data.batch(SHUFFLE_WINDOW).enumerate()
        data = data.flat_map(
            lambda number, records: tf.data.Dataset.from_tensor_slices(
                shuffle(records, tf.random.fold_in(seed, number))
            )
        )

    def decode(record):
        example = tf.io.parse_single_example(record, FEATURES)
        rgb = tf.io.decode_png(example["image"], channels=3)
        return tf.reverse(rgb, [2]), example["label"], example["name"]

    return data.map(decode, **PARALLEL)


def seed_pair(seed):
    """Return the seed, int64 (2,), that an integer is for TensorFlow's stateless operations."""
    return tf.constant([seed, 0], tf.int64)


def shuffle(values, seed):
    """Shuffle a tensor along its first axis; the order depends only on the pair `seed`."""
    return tf.random.experimental.stateless_shuffle(values, seed, alg="philox")
