"""Cross-validation: every image is tested once, by a network that never saw it."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

from alexnet_lib.errors import InputError
from alexnet_lib.files import write_csv
from alexnet_lib.finetuning.evaluation import check_views, evaluate
from alexnet_lib.finetuning.runs import (
    data_of_stages,
    fresh_model,
    settings_of,
    stages_of,
    train_stages,
)
from alexnet_lib.images.splits import k_folds, split
from alexnet_lib.port.architecture import FC_UNITS

__all__ = ["crossval"]


def crossval(data, recipe="recommended", k=5, seed=0, views=1, groups=None, weights=None,
             fc_units=FC_UNITS, folder=None, progress=True):  # fmt: skip
    """Train k networks, each on all folds but one, and test each on the fold that it did not see.

    Of the training folds, a ninth is kept for choosing the epoch, so that no choice sees a test
    image.

    Args:
        data: `Images` or `Features`.
        recipe: `Recipe`, or the name of one of `RECIPES`; see `stages_of`.
        k: number of folds.
        seed: of folds, fresh layers and training.
        views: test with 1 view and, where it is 8, with the mean of 8 as well.
        groups: int (images,), what must stay in one fold; as `duplicate_groups` returns it.
        weights: of the convolutions, as in `AlexNet`; not needed for features.
        fc_units: as in `AlexNet`.
        folder: where to write folds.csv, a row a fold with settings and versions, and
            predictions.csv, a row an image, with all `views`; both after every fold. Where it holds
            some folds of the same settings and versions, the run goes on after them. None writes
            nothing.
        progress: show bars.

    Returns:
        folds and predictions, both `pandas.DataFrame`.

    Raises:
        InputError: for arguments that disagree, or a folder with the results of another run.
    """
    check_views(data, views)
    classes, stages = len(data.classes), stages_of(recipe)
    fold_of = k_folds(data.labels, groups, k, seed)
    about = settings_of(stages, seed, fc_units, weights, data.white) | {"k": k, "views": views}
    about["recipes"] = json.dumps(about["recipes"])
    about["folds_sha1"] = hashlib.sha1(
        json.dumps([data.names, fold_of.tolist()]).encode()
    ).hexdigest()
    folds, predictions = _finished(folder, about)
    if len(folds) < k:
        model = fresh_model(classes, seed, weights, fc_units)
        sources = data_of_stages(stages, data, model, progress)
    for fold in range(len(folds), k):
        inside, test = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
        inner = None if groups is None else np.asarray(groups)[inside]
        part = split(data.labels[inside], inner, (8 / 9, 1 / 9, 0), seed)
        train, validation = inside[part == "train"], inside[part == "validation"]
        model = fresh_model(classes, seed + fold, weights, fc_units)
        history = train_stages(
            model, stages, sources, train, validation, seed=seed + fold, progress=progress
        )
        row = {"fold": fold, "train": len(train), "validation": len(validation), "test": len(test)}
        row |= {"epochs": len(history), "val_accuracy": history["val_accuracy"].max()}
        for number in sorted({1, views}):
            result = evaluate(model, sources[-1].subset(test), number)
            row[f"accuracy_{number}"] = result.accuracy
        folds.append(row)
        table = result.table().round(4)
        table.insert(1, "fold", fold)
        predictions.append(table)
        if progress:
            print(", ".join(f"{key} {value:.4g}" for key, value in row.items()), flush=True)
        if folder is not None:
            # The folds go last: they say how many of them are whole.
            write_csv(Path(folder, "predictions.csv"), pd.concat(predictions))
            write_csv(Path(folder, "folds.csv"), pd.DataFrame(folds).assign(**about))
    return pd.DataFrame(folds), pd.concat(predictions, ignore_index=True)


def _finished(folder, about):
    """Return the rows of the folds that a run of these settings has stored, and their tables."""
    if folder is None:
        return [], []
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = Path(folder, "folds.csv")
    if not path.exists():
        return [], []
    text = dict.fromkeys([*about, "image", "true", "predicted"], str)
    options = {"dtype": text, "keep_default_na": False}
    folds = pd.read_csv(path, **options)
    differ = [key for key in about if key not in folds or set(folds[key]) != {str(about[key])}]
    if differ:
        raise InputError(
            f"{path}: results of another run: differs in {', '.join(differ)}. Choose another folder"
        )
    tables = pd.read_csv(path.with_name("predictions.csv"), **options)
    rows = folds.drop(columns=list(about)).to_dict("records")
    return rows, [tables[tables["fold"] == row["fold"]] for row in rows]
