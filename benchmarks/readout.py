"""Cross-validate the readout on UC Merced, and what each of its ingredients brings.

    python -m benchmarks.readout -o data/results/readout_ablation

Writes folds.csv, a row for each variant, seed and fold, and ablation.csv with means over the folds.
Each row is computed from all folds but its own; the shrinkage comes from leave-one-out on these.
Killed, it goes on where it stopped: statistics are kept in a cache, 60 images a file, and finished
folds are not computed anew. `crossval --recipe readout` tests what the command line fits.
"""

import hashlib
import itertools
import json
import os
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import pandas as pd

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from alexnet_lib.errors import InputError
from alexnet_lib.files import atomic_path, checksum, find_caffemodel, versions, write_csv
from alexnet_lib.images.data import VIEWS
from alexnet_lib.images.splits import k_folds

CHUNK = 60
FOLDS = 5
KINDS = ("mean", "maximum", "rms")
LAYERS = tuple(f"relu{number}" for number in range(1, 6))
SINGLE = tuple(itertools.product(LAYERS, KINDS))
OF_RELU5 = tuple(("relu5", kind) for kind in KINDS)
PAIRS = (("pool5", "pairs"),)


class Variant(NamedTuple):
    """What a readout looks at.

    Attributes:
        sizes: of the input.
        views: number of flips and rotations, 1 or 8.
        statistics: (layer, kind) pairs, as `statistics.parts` names them.
        shrinkages: candidates of `fit_readout`; None for its own.
        apart: each view of a training image is a row of its own, and a test image is read in one
            view. Otherwise an image is the mean over its views.
    """

    sizes: tuple = (227,)
    views: int = VIEWS
    statistics: tuple = SINGLE
    shrinkages: tuple | None = None
    apart: bool = False


ONE = Variant()
VARIANTS = {
    "227 and 320 pixels": ONE._replace(sizes=(227, 320)),
    "320 pixels": ONE._replace(sizes=(320,)),
    "227 pixels": ONE,
    "227, one view, trained on 8": ONE._replace(apart=True),
    "227, one view": ONE._replace(views=1),
    "227, relu5 alone": ONE._replace(statistics=OF_RELU5),
    "227, mean of relu5 alone": ONE._replace(statistics=OF_RELU5[:1]),
    "227, shrinkage 0.3": ONE._replace(shrinkages=(0.3,)),
    "227, shrinkage 0.05": ONE._replace(shrinkages=(0.05,)),
    "227, pairs alone": ONE._replace(statistics=PAIRS),
    "227, and pairs": ONE._replace(statistics=SINGLE + PAIRS),
    "227, and pairs, one view": ONE._replace(statistics=SINGLE + PAIRS, views=1),
}


def cached_statistics(images, weights, size, view, cache, progress=True):
    """Return float16 (images, statistics) of one size and view, from the cache as far as it goes.

    Args:
        images: `Images`.
        weights: the file of the convolutions.
        size: of the input.
        view: number of the view, in the order of `eight_views`.
        cache: folder, for these images and weights only.
        progress: say what is computed.

    Raises:
        InputError: for a folder with the statistics of other images or weights.
    """
    whole = Path(cache, f"{size}-{view}.npy")
    names = hashlib.sha1(json.dumps(images.names).encode()).hexdigest()
    about = json.dumps({"weights": checksum(weights), "images": names})
    key = whole.with_name("settings.json")
    if key.exists() and key.read_text("utf-8") != about:
        raise InputError(f"{key}: of other images or weights. Choose another folder for the cache")
    key.parent.mkdir(parents=True, exist_ok=True)
    key.write_text(about, "utf-8")
    if whole.exists():
        return np.load(whole, mmap_mode="r")
    from alexnet_lib.images.reading import read_image
    from benchmarks.statistics import statistics_of

    model = _convolutions(weights)
    starts = range(0, len(images), CHUNK)
    parts = [Path(cache, f"{size}-{view}-{start}.npy") for start in starts]
    for start, part in zip(starts, parts, strict=True):
        if not part.exists():
            pixels = [read_image(images.folder / file) for file in images.files[start:][:CHUNK]]
            found = statistics_of(model, pixels, size, [view]).astype(np.float16)
            with atomic_path(part) as partial:
                np.save(partial, found)
            if progress:
                print(f"\rsize {size}, view {view}, image {start + len(found)}", end="", flush=True)
    if progress:
        print()
    with atomic_path(whole) as partial:
        np.save(partial, np.concatenate([np.load(part) for part in parts]))
    for part in parts:
        part.unlink()
    return np.load(whole, mmap_mode="r")


def _convolutions(weights, _kept={}):  # noqa: B006 one model for all sizes and views
    from alexnet_lib.port.alexnet import AlexNet

    if weights not in _kept:
        _kept[weights] = AlexNet(weights, include_top=False)
    return _kept[weights]


def features_of(variant, statistics):
    """Return a variant's features: roots of the mean over views, or of each view apart.

    Args:
        variant: `Variant`.
        statistics: function from size and view to an array of all statistics.

    Returns:
        float32 (views, images, features), with one view for a mean.
    """
    from benchmarks.statistics import parts

    slices, columns = parts(), []
    for size in variant.sizes:
        views = [statistics(size, view) for view in range(variant.views)]
        for key in variant.statistics:
            found = np.stack([view[:, slices[key]] for view in views])
            if not variant.apart:
                found = found.mean(axis=0, keepdims=True, dtype=np.float32)
            columns.append(np.sqrt(found, dtype=np.float32))
    return np.concatenate(columns, axis=2)


def fit_and_test(variant, features, labels, train, test):
    """Fit on all views of `train` and return a row's figures on the first view of `test`.

    The views of an image are not left out together: where they are apart, the leave-one-out
    accuracy is too good.
    """
    from alexnet_lib.finetuning.readout import SHRINKAGES, fit_readout

    views, _, count = features.shape
    rows, classes = features[:, train].reshape(-1, count), np.tile(labels[train], views)
    readout = fit_readout(rows, classes, variant.shrinkages or SHRINKAGES)
    predicted = readout.predict_proba(features[0, test]).argmax(axis=1)
    accuracy = float(np.mean(predicted == labels[test]))
    row = {"accuracy": accuracy, "shrinkage": readout.shrinkage}
    row |= {"leave_one_out": readout.accuracy, "train": len(train), "test": len(test)}
    return row | {"features": count}


def crossval(images, groups, variants, seeds, statistics, folder, about, progress=True):
    """Test every image once for each variant and seed; write the tables after every fold.

    Args:
        images: `Images`.
        groups: of `duplicate_groups`.
        variants: dict from name to `Variant`.
        seeds: of folds.
        statistics: as in `features_of`.
        folder: of the tables.
        about: settings and versions, stored with every row.
        progress: print every row.

    Returns:
        The table of folds and that of means.

    Raises:
        InputError: for a folder with the results of other settings.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    folds = _finished(folder / "folds.csv", about)
    done = {(row["variant"], row["seed"], row["fold"]) for row in folds}
    for name, variant in variants.items():
        every = itertools.product(seeds, range(FOLDS))
        left = [(seed, fold) for seed, fold in every if (name, seed, fold) not in done]
        features = features_of(variant, statistics) if left else None
        for seed, fold in left:
            fold_of = k_folds(images.labels, groups, FOLDS, seed)
            train, test = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            row = {"variant": name, "seed": seed, "fold": fold}
            row |= fit_and_test(variant, features, images.labels, train, test)
            if progress:
                print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
            folds.append(row)
            write_csv(folder / "folds.csv", pd.DataFrame(folds).assign(**about))
    table = pd.DataFrame(folds)
    means = table.groupby(["variant", "seed", "features"], sort=False)["accuracy"]
    means = means.agg(["mean", "std", "count"]).reset_index()
    write_csv(folder / "ablation.csv", means)
    return table, means


def _finished(path, about):
    """Return the rows of finished folds."""
    if not path.exists():
        return []
    table = pd.read_csv(path, dtype=dict.fromkeys(about, str), keep_default_na=False, na_values="")
    differ = [key for key in about if key not in table or set(table[key]) != {str(about[key])}]
    if differ:
        raise InputError(f"{path}: of another run: differs in {', '.join(differ)}. Choose another")
    return table.drop(columns=list(about)).to_dict("records")


def real_statistics(cache):
    """Return UC Merced's images, the weights' file, and the `statistics` of `features_of`.

    Raises:
        click.ClickException: where the data directory lacks one of them.
    """
    from alexnet_lib.images.folder import find_ucmerced, read_folder

    weights, folder = find_caffemodel(), find_ucmerced()
    if weights is None or folder is None:
        raise click.ClickException("no weights or images: run `make data` or set ALEXNET_DATA")
    images = read_folder(folder)
    return images, weights, lambda size, view: cached_statistics(images, weights, size, view, cache)


@click.command()
@click.option("-o", "--output", required=True, type=Path, help="Folder of the tables.")
@click.option("--cache", type=Path, default=Path("runs/readout"), help="Folder of statistics.")
@click.option("--seeds", default="0,1", help="Seeds of the folds.")
@click.option("--only", multiple=True, type=click.Choice([*VARIANTS]), help="These variants.")
def main(output, cache, seeds, only):
    """Cross-validate the readout on UC Merced."""
    from alexnet_lib.images.folder import duplicate_groups

    images, weights, statistics = real_statistics(cache)
    about = {"weights": weights.name, "weights_sha1": checksum(weights)}
    about |= versions("scipy", "scikit-learn")
    variants = {name: VARIANTS[name] for name in only or VARIANTS}
    seeds = [int(seed) for seed in seeds.split(",")]
    groups = duplicate_groups(images)
    _, means = crossval(images, groups, variants, seeds, statistics, output, about)
    print(means.to_string(index=False))


if __name__ == "__main__":
    main()
