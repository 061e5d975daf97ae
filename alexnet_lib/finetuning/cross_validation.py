"""Cross-validation: every image is tested once, by a network that never saw it."""

import contextlib
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from alexnet_lib.damaged import reading
from alexnet_lib.files import write_csv
from alexnet_lib.finetuning.evaluation import check_views, evaluate
from alexnet_lib.finetuning.recipes import stages_of
from alexnet_lib.finetuning.runs import (
    AUGMENTED,
    data_of_stages,
    model_of_stages,
    train_stages,
)
from alexnet_lib.finetuning.settings import check_folds, run_lock, say, settings_of
from alexnet_lib.finetuning.training import remarks, unequal
from alexnet_lib.images.splits import k_folds, split
from alexnet_lib.port.architecture import FC_UNITS

__all__ = ["crossval"]


def crossval(data, recipe="recommended", k=5, seed=0, views=1, groups=None, weights=None,
             fc_units=FC_UNITS, folder=None, progress=True, augment=None):  # fmt: skip
    """Train k networks, each on all folds but one, and test each on the fold that it did not see.

    Of the training folds, a ninth is kept for choosing the epoch, so that no choice sees a test
    image. A readout needs no such images.

    Args:
        data: `Images` or `Features`.
        recipe: `Recipe`, or the name of one of `RECIPES`; see `stages_of`.
        k: number of folds.
        seed: of folds, fresh layers and training.
        views: test with 1 view and, where it is 2 or 8, with the mean of as many as well, which the
            augmentation must allow.
        groups: int (images,), what must stay in one fold; as `duplicate_groups` returns it.
        weights: of the convolutions, as in `AlexNet`; not needed for features.
        fc_units: as in `AlexNet`.
        folder: where to write folds.csv, a row a fold with settings and versions, and
            predictions.csv, a row an image, with all `views`; both after every fold. Where it holds
            some folds of the same settings and versions, the run goes on after them. None writes
            nothing.
        progress: show bars, and say what is worth knowing of the run.
        augment: "none", "mirror" or "aerial", as in `Images`; by default that of `data`.

    Returns:
        folds and predictions, both `pandas.DataFrame`. Folds have balanced accuracies too where the
        classes differ in size.

    Raises:
        InputError: for arguments that disagree, or a folder with the results of another run, or in
            which another one is working.
    """
    data = data.augmented(augment or data.augment)
    stages, fold_of = stages_of(recipe), k_folds(data.labels, groups, k, seed)
    views = 1 if stages[-1].closed_form else views  # they are inside a readout
    check_views(data, views)
    about = {"augment": data.augment, "white": data.white or ""}
    about = settings_of(stages, seed, fc_units, weights, **about) | {"k": k, "views": views}
    about["folds_sha1"] = hashlib.sha1(
        json.dumps([data.names, fold_of.tolist()]).encode()
    ).hexdigest()
    with contextlib.nullcontext() if folder is None else run_lock(folder):
        return _train_folds(
            data, stages, fold_of, groups, about, folder, progress, weights, fc_units
        )


def _train_folds(data, stages, fold_of, groups, about, folder, progress, weights, fc_units):
    """Train and test on the folds that are not stored yet, and return the tables of all."""
    k, seed, views = about["k"], about["seed"], about["views"]
    folds, predictions = _finished(folder, about)
    about = about | {"recipes": json.dumps(about["recipes"])}
    if progress:
        say(AUGMENTED[data.augment])
    if len(folds) < k:
        model = model_of_stages(stages, data, seed, weights, fc_units)
        sources = data_of_stages(stages, data, model, progress)
    for fold in range(len(folds), k):
        inside, test = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        inner = None if groups is None else np.asarray(groups)[inside]
        if stages[-1].closed_form:  # it chooses no epoch, and is all new in each fit
            train, validation = inside, inside[:0]
        else:
            part = split(data.labels[inside], inner, (8 / 9, 1 / 9, 0), seed)
            train, validation = inside[part == "train"], inside[part == "validation"]
            if progress and not folds:  # the other folds are alike
                for line in remarks(data.subset(train), data.subset(validation), stages[-1]):
                    say(line)
            model = model_of_stages(stages, data, seed + fold, weights, fc_units)
        history = train_stages(
            model, stages, sources, train, validation, seed=seed + fold, progress=progress
        )
        row = {"fold": fold, "train": len(train), "validation": len(validation), "test": len(test)}
        row |= {"epochs": len(history), "val_accuracy": history["val_accuracy"].max()}
        for number in sorted({1, views}):
            result = evaluate(model, sources[-1].subset(test), number)
            row[f"accuracy_{number}"] = result.accuracy
            if unequal(data):
                row[f"balanced_accuracy_{number}"] = result.balanced_accuracy
        folds.append(row)
        table = result.table().round(4)
        table.insert(1, "fold", fold)
        predictions.append(table)
        if progress:
            say(", ".join(f"{key} {value:.4g}" for key, value in row.items()))
        if folder is not None:
            # The folds go last: they say how many of them are whole.
            write_csv(Path(folder, "predictions.csv"), pd.concat(predictions))
            write_csv(Path(folder, "folds.csv"), pd.DataFrame(folds).assign(**about))
    return pd.DataFrame(folds), pd.concat(predictions, ignore_index=True)


def _finished(folder, about):
    """Return the rows of the folds that a run of these settings has stored, and their tables."""
    folds = None if folder is None else check_folds(folder, about)
    if folds is None:
        return [], []
    text = dict.fromkeys([*about, "image", "true", "predicted"], str)
    options = {"dtype": text, "keep_default_na": False}
    with reading(Path(folder, "folds.csv"), "the folds of `crossval`"):
        folds = pd.read_csv(Path(folder, "folds.csv"), **options)
        rows = folds.drop(columns=[name for name in about if name in folds]).to_dict("records")
        numbers = [row["fold"] for row in rows]
    with reading(Path(folder, "predictions.csv"), "the predictions of `crossval`"):
        tables = pd.read_csv(Path(folder, "predictions.csv"), **options)
        return rows, [tables[tables["fold"] == number] for number in numbers]
