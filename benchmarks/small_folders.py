"""Compare the readout with a trained head where a folder is small: three classes of 40 images.

    python -m benchmarks.small_folders --cache runs/readout

Of three classes of UC Merced, 36 images each train, 4 choose the head's epoch and 60 test. The
readout learns from all 40, because it needs none to choose by. Writes
data/results/small_folders.csv.
"""

import dataclasses
import os
from pathlib import Path

import click
import numpy as np
import pandas as pd

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from alexnet_lib.files import RESULTS, checksum, versions, write_csv
from benchmarks.readout import VARIANTS, features_of, fit_and_test, real_statistics

TRIOS = (
    ("denseresidential", "mediumresidential", "sparseresidential"),
    ("buildings", "storagetanks", "tenniscourt"),
    ("freeway", "overpass", "runway"),
)
TRAIN, CHOOSE, HEAD_UNITS = 36, 4, 1024
VARIANT = VARIANTS["227 and 320 pixels"]


def draw(labels, seed):
    """Return indices of the images that train, choose and test, alike for every class."""
    random = np.random.default_rng(seed)
    shuffled = [random.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    cut = [np.split(indices, (TRAIN, TRAIN + CHOOSE)) for indices in shuffled]
    return [np.concatenate(part) for part in zip(*cut, strict=True)]


def compare(images, weights, statistics, seeds):
    """Yield a row for every trio and seed.

    Args:
        images: `Images`.
        weights: file of the convolutions.
        statistics: as for `features_of`.
        seeds: each draws other images and another head.
    """
    from alexnet_lib.finetuning.evaluation import evaluate
    from alexnet_lib.finetuning.runs import fresh_model
    from alexnet_lib.finetuning.training import finetune
    from alexnet_lib.images.features import compute_features

    described = features_of(VARIANT, statistics)
    for trio in TRIOS:
        chosen = np.flatnonzero(np.isin(images.labels, [images.classes.index(c) for c in trio]))
        labels = np.array([trio.index(images.classes[label]) for label in images.labels[chosen]])
        some = images.subset(chosen)
        some = dataclasses.replace(some, classes=trio, labels=labels, augment="aerial")
        model = fresh_model(len(trio), 0, weights, HEAD_UNITS)
        pool5 = compute_features(model, some, 8, progress=False)
        for seed in seeds:
            train, choose, test = draw(labels, seed)
            learn = np.concatenate([train, choose])
            readout = fit_and_test(VARIANT, described[:, chosen], labels, learn, test)["accuracy"]
            model = fresh_model(len(trio), seed, weights, HEAD_UNITS)
            finetune(
                model, pool5.subset(train), pool5.subset(choose), "recommended", seed=seed,
                progress=False,
            )  # fmt: skip
            head = evaluate(model, pool5.subset(test), 8).accuracy
            row = {"classes": " ".join(trio), "seed": seed, "test": len(test)}
            yield row | {"readout": readout, "head": head}


@click.command()
@click.option("--cache", type=Path, default=Path("runs/readout"), help="Folder of statistics.")
@click.option("--seeds", default="0,1,2", help="Seeds of the draws.")
def main(cache, seeds):
    """Compare readout and head on three classes of 40 images."""
    images, weights, statistics = real_statistics(cache)
    rows = []
    for row in compare(images, weights, statistics, [int(seed) for seed in seeds.split(",")]):
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
        rows.append(row)
    about = {"weights_sha1": checksum(weights), **versions("scipy", "scikit-learn")}
    write_csv(RESULTS / "small_folders.csv", pd.DataFrame(rows).assign(**about))


if __name__ == "__main__":
    main()
