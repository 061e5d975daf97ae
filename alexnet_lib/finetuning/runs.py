"""A whole run, from images to a stored and judged classifier, and the parts it is made of."""

import contextlib
from pathlib import Path

import numpy as np

from alexnet_lib.errors import InputError
from alexnet_lib.files import write_csv
from alexnet_lib.finetuning.classifier import Classifier, save_classifier
from alexnet_lib.finetuning.evaluation import evaluate
from alexnet_lib.finetuning.readout_model import readout_model, train_readout
from alexnet_lib.finetuning.recipes import FC, stages_of
from alexnet_lib.finetuning.replicas import Replicas
from alexnet_lib.finetuning.settings import (
    check_run,
    run_lock,
    say,
    settings_of,
    stage_folder,
    write_settings,
)
from alexnet_lib.finetuning.training import check_trains_on, finetune, remarks
from alexnet_lib.images.features import compute_features
from alexnet_lib.images.folder import duplicate_groups
from alexnet_lib.images.splits import (
    SUBSETS,
    apply_split,
    check_split,
    fill_split,
    match_split,
    read_split,
    split,
    write_split,
)
from alexnet_lib.images.statistics import compute_statistics
from alexnet_lib.port.alexnet import AlexNet, load_weights
from alexnet_lib.port.architecture import FC_UNITS
from alexnet_lib.port.backend import keras

__all__ = ["data_of_stages", "fresh_model", "train_classifier", "train_stages"]


# What a run says of its augmentation, with the remedy where it does not fit the classes.
AUGMENTED = {
    "none": "augment none: images are shown as they are",
    "mirror": "augment mirror: images are shown left-right too. Take --augment none if left and "
    "right differ, as in arrows or text; --augment aerial for images from above",
    "aerial": "augment aerial: images are shown in all flips and rotations. Take --augment mirror "
    "if up and down differ, --augment none if left and right do too, as in arrows or text",
}


def fresh_model(classes, seed=0, weights=None, fc_units=FC_UNITS, deviation=None):
    """Build AlexNet with a head to be trained, the same for the same seed.

    Args:
        classes: number of outputs of fc8.
        seed: of the fresh layers.
        weights: as in `AlexNet`; what it lacks starts fresh.
        fc_units: as in `AlexNet`.
        deviation: of the kernels of fc6-fc8, as `fresh_deviation` of `Recipe`.

    Returns:
        A `keras.Model`.
    """
    keras.utils.set_random_seed(seed)
    model = AlexNet(classes=classes, fc_units=fc_units)
    if weights is not None:
        load_weights(model, weights)
    if deviation is not None:
        for name in FC:
            kernel, bias = model.get_layer(name).weights
            # A new one for each: one that draws twice draws the same numbers.
            kernel.assign(keras.initializers.TruncatedNormal(stddev=deviation)(kernel.shape))
            bias.assign(keras.ops.zeros(bias.shape))
    return model


def model_of_stages(stages, data, seed=0, weights=None, fc_units=FC_UNITS):
    """Build what the stages train: of `fresh_model`, or of `readout_model` for a readout.

    Args:
        stages: as `stages_of` returns them.
        data: `Images` or `Features`; of their classes, and for a readout of their views.
        seed: as in `fresh_model`, like the next two; a readout draws nothing at random.
        weights: of the convolutions.
        fc_units: of a head.

    Returns:
        A `keras.Model`.
    """
    classes, recipe = len(data.classes), stages[-1]
    if recipe.closed_form:
        return readout_model(classes, weights, recipe.sizes, data.views)
    return fresh_model(classes, seed, weights, fc_units, stages[0].fresh_deviation)


def data_of_stages(stages, data, model, progress=True):
    """Return what each stage trains on.

    Args:
        stages: as `stages_of` returns them.
        data: `Images`, or `Features` where no convolution trains.
        model: of `model_of_stages`.
        progress: show a bar.

    Returns:
        For each stage, `data` itself where it holds features already or the convolutions train;
        else its features in all views of its augmentation, or for a readout its statistics: frozen
        convolutions run here, once.

    Raises:
        InputError: where convolutions are to train on features, or a readout on other features.
    """
    if stages[-1].closed_form:
        return [data if data.layer else compute_statistics(model, data, progress=progress)]
    for recipe in stages:
        check_trains_on(recipe, data)
    features = data if data.layer else compute_features(model, data, data.views, progress=progress)
    return [data if recipe.convolutions else features for recipe in stages]


def train_stages(model, stages, sources, train, validation, folder=None, **options):
    """Fine-tune in stages, each from where the last one ended.

    Args:
        model: as in `finetune`.
        stages: as `stages_of` returns them.
        sources: as `data_of_stages` returns them.
        train: int (images,), the images to train on.
        validation: int (images,), those to choose the epoch by; a readout, which needs none,
            trains on them too.
        folder: of the last stage's files; earlier stages keep theirs in stage1 and so on inside it.
        **options: of `finetune`: seed, progress, strategy, keep_epochs.

    Returns:
        The last stage's history, as `finetune` returns it.
    """
    for number, (recipe, data) in enumerate(zip(stages, sources, strict=True), 1):
        where = None if folder is None else stage_folder(folder, number, len(stages))
        if recipe.closed_form:
            history = train_readout(model, data.subset(np.concatenate([train, validation])))
            if folder is not None:
                write_csv(where / "history.csv", history)
            continue
        history = finetune(
            model, data.subset(train), data.subset(validation), recipe, where, **options
        )
    return history


def train_classifier(
    images,
    folder,
    recipe="recommended",
    weights=None,
    split_by=None,
    seed=0,
    fc_units=FC_UNITS,
    dtype="float32",
    keep_epochs=False,
    strategy=None,
    progress=True,
    augment=None,
):
    """Split images, fine-tune AlexNet, store the classifier, and test it once, at the end.

    Args:
        images: `Images`.
        folder: of the results: split.csv, settings.json, classifier.npz and what `finetune` keeps.
            Where it holds a run of the same settings, this one goes on from there, with as many
            epochs as `recipe` has now; see `finetune`.
        recipe: `Recipe`, or the name of one of `RECIPES`; see `stages_of`.
        weights: of the convolutions, as in `AlexNet`.
        split_by: which images are for training, validation and test: a dict from name, as
            `read_split` returns it, the path of a split's CSV, or the three fractions for `split`,
            which keeps duplicates on one side. By default, what the images' folders or list say,
            completed by `fill_split`; else 80/10/10.
        seed: of the split, the fresh layers and training.
        fc_units: as in `AlexNet`.
        dtype: of the stored weights, "float32" or "float16".
        keep_epochs: keep every epoch's weights, as in `finetune`.
        strategy: as in `finetune`; the model is built in its scope.
        progress: show bars, and say what is worth knowing of the run.
        augment: "none", "mirror" or "aerial", as in `Images`; by default that of `images`. The
            classifier may be tested in as many views.

    Returns:
        `Evaluation` of the test images with one view; None in a worker that is not the first.

    Raises:
        InputError: for a split that does not fit the images or lacks a subset, or a folder with
            another run's results or at work in it.
        TrainingDiverged, WorkerLost: as `finetune`.
    """
    folder = Path(folder)
    replicas = Replicas(strategy)
    images = images.augmented(augment or images.augment)
    stages = stages_of(recipe)
    about = {"augment": images.augment, "white": images.white or "", "classes": images.classes}
    if stages[-1].closed_form and replicas.shard[1] > 1:
        raise InputError("a readout is fitted in one process; unset TF_CONFIG")
    if isinstance(split_by, (tuple, list)):
        about["fractions"] = split_by
    settings = settings_of(stages, seed, fc_units, weights, **about)
    check_run(folder, settings)
    subset_of, how = _split(images, split_by, seed)
    part = apply_split(images, subset_of)
    with run_lock(folder) if replicas.chief else contextlib.nullcontext():
        path = folder / "split.csv"
        if path.exists() and read_split(path) != subset_of:
            raise InputError(
                f"{path}: split of another run, with other images, fractions or another seed. "
                "Choose another folder, or remove this one to start anew"
            )
        if replicas.chief:
            write_settings(folder, settings)
            write_split(path, *zip(*subset_of.items(), strict=True))
        if replicas.chief and progress:
            counts = ", ".join(f"{name} {len(part[name])}" for name in SUBSETS)
            say(f"{len(images)} images of {len(images.classes)} classes: {counts} ({how})")
            say(AUGMENTED[images.augment])
            train, validation = (images.subset(part[name]) for name in ("train", "validation"))
            for line in remarks(train, validation, stages[-1]):
                say(line)
        with replicas.scope():
            model = model_of_stages(stages, images, seed, weights, fc_units)
        sources = data_of_stages(stages, images, model, progress)
        options = {"seed": seed, "progress": progress, "strategy": strategy}
        options["keep_epochs"] = keep_epochs
        train_stages(model, stages, sources, part["train"], part["validation"], folder, **options)
        if not replicas.chief:
            return None
        classifier = Classifier(model, images.classes)
        save_classifier(folder / "classifier.npz", classifier, dtype, images.augment, images.white)
        return evaluate(model, sources[-1].subset(part["test"]))


def _split(images, split_by, seed):
    """Return a dict from each image's name to its subset, checked, and a text that says how."""
    groups, given = duplicate_groups(images), images.given
    if isinstance(split_by, (tuple, list)):
        given = None
    elif split_by is not None:
        known = split_by if isinstance(split_by, dict) else read_split(split_by)
        given = tuple(match_split(images, known).values())
    if given is None:
        fractions = split_by or (0.8, 0.1, 0.1)
        subsets = split(images.labels, groups, fractions, seed)
        how = f"split {'/'.join(f'{100 * share:.4g}' for share in fractions)}"
    else:
        subsets, how = fill_split(given, images.labels, groups, seed)
    subset_of = dict(zip(images.names, subsets.tolist(), strict=True))
    check_split(images, subset_of, groups)
    return subset_of, how
