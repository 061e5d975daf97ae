"""Fine-tuning: frozen layers are proved unchanged, the best epoch is kept, a killed run resumes."""

import contextlib
import hashlib
import json

import numpy as np
import pandas as pd
from sklearn.utils.class_weight import compute_class_weight
from tqdm import tqdm

from alexnet_lib.errors import InputError
from alexnet_lib.finetuning.checkpoint import Checkpoint
from alexnet_lib.finetuning.recipes import recipe_of
from alexnet_lib.finetuning.replicas import Replicas
from alexnet_lib.finetuning.settings import run_lock
from alexnet_lib.finetuning.trainer import Trainer, diverged

__all__ = ["finetune"]


def finetune(
    model,
    train,
    validation,
    recipe="recommended",
    folder=None,
    seed=0,
    progress=True,
    strategy=None,
    keep_epochs=False,
):
    """Fine-tune `model` and leave it with the weights of its best epoch by validation accuracy.

    Where the validation classes differ in size, the best epoch is that of the best balanced
    accuracy, the mean of the classes' recalls: the accuracy on 60 images and 6 is that on the 60.

    Args:
        model: `AlexNet` with its top; its number of classes must be that of the data.
        train: `Images`, or `Features` where no convolution trains.
        validation: the same kind.
        recipe: `Recipe`, or the name of one of `RECIPES`.
        folder: where to keep history.csv, TensorBoard's events, the best epoch's weights
            (best.npz, a file for `load_classifier`) and a checkpoint. Where it holds a checkpoint
            of the same recipe, seed and images, the run goes on from there. `recipe.epochs` may
            differ from the checkpoint's, but must not be below the epochs that are trained: the
            schedule is laid anew over all epochs, and training goes on with the rate that the next
            epoch has in it. None keeps nothing.
        seed: of everything random here; the fresh layers' weights are the model's own.
        progress: show a bar.
        strategy: `tf.distribute.Strategy` in whose scope the model was built, to train on all of
            its replicas as on one device. Each worker calls this with the same arguments; the first
            writes the files, and all read the checkpoint, so they need to share `folder`.
        keep_epochs: keep every epoch's weights in `folder`, as epochs/000.npz and so on.

    Returns:
        `pandas.DataFrame`, a row an epoch: epoch, learning_rate, loss, accuracy, val_loss,
        val_accuracy, and val_balanced_accuracy where the validation classes differ in size. Losses
        are without L2; the training loss is weighted as the recipe says, val_loss is not.

    Raises:
        InputError: for arguments that disagree, a checkpoint of another run, or a folder in which
            another run is working.
        TrainingDiverged: where the loss, in training or on validation images, is not finite.
        WorkerLost: where another worker has ended or no longer answers.
    """
    recipe = recipe_of(recipe)
    _check(model, train, validation, recipe)
    replicas = Replicas(strategy)
    replicas.check(model, recipe.batch_size)
    with replicas.scope():
        trainer = Trainer(model, recipe, train.layer, seed, replicas, class_weights(recipe, train))
    locked = folder is not None and replicas.chief
    with run_lock(folder) if locked else contextlib.nullcontext():
        return _train(trainer, train, validation, folder, keep_epochs, progress)


def _train(trainer, train, validation, folder, keep_epochs, progress):
    """Train to the end, as `finetune` says; return the history."""
    model, recipe, replicas = trainer.model, trainer.recipe, trainer.replicas
    frozen = {
        layer.name: layer.get_weights()
        for layer in model.layers
        if layer.weights and layer.name not in recipe.layers
    }
    checkpoint = Checkpoint(folder, trainer, _digest(train, validation), keep_epochs, train)
    history, best = checkpoint.restore()
    # A run that an earlier version began goes on as it began.
    balanced = unequal(validation) and all("val_balanced_accuracy" in row for row in history)
    names = ("val_loss", "val_accuracy", "val_balanced_accuracy")[: 3 if balanced else 2]
    bar = tqdm(
        total=recipe.epochs, initial=len(history), unit="epoch",
        disable=not (progress and replicas.chief),
    )  # fmt: skip
    with bar, replicas.watch():
        if replicas.shard[1] > 1:
            facts = checkpoint.settings() | {"weights": trainer.digest(), "checkpoint": history}
            replicas.check_workers_match(facts)
        while len(history) < recipe.epochs and not _stalled(history, recipe, names[-1]):
            row = trainer.train_epoch(train, epoch=len(history))
            row |= dict(zip(names, trainer.measure(validation), strict=False))
            if not np.isfinite(row["val_loss"]):  # the last step's weights may be the first to fail
                raise diverged(recipe, row["epoch"], "validation", row["val_loss"])
            history.append(row)
            improved = row[names[-1]] >= max(past[names[-1]] for past in history)
            if improved:
                best = trainer.snapshot(best)
            checkpoint.save(history, best, improved)
            bar.update()
            bar.set_postfix({key: f"{row[key]:.4g}" for key in ("loss", *names[1:])})
    for name, before in frozen.items():
        for old, new in zip(before, model.get_layer(name).get_weights(), strict=True):
            if not np.array_equal(old, new):
                raise AssertionError(f"layer {name!r} was frozen, but its weights changed")
    trainer.assign(best)
    return pd.DataFrame(history)


def _check(model, train, validation, recipe):
    """Refuse arguments that disagree, before anything is changed."""
    names = {layer.name for layer in model.layers if layer.weights}
    if strangers := set(recipe.layers) - names:
        raise InputError(
            f"recipe.layers must be among {', '.join(sorted(names))}. "
            f"Received: {', '.join(sorted(strangers))}"
        )
    if train.layer != validation.layer:
        raise InputError(
            "train and validation must be of one kind, images or features. "
            f"Received: {type(train).__name__} and {type(validation).__name__}"
        )
    check_trains_on(recipe, train)
    recipe.check()
    for data, what in ((train, "train"), (validation, "validation")):
        if not len(data):
            raise InputError(f"{what} has no images")
        classes, outputs = len(data.classes), model.get_layer("fc8").units
        if classes != outputs:
            raise InputError(f"{what} has {classes} classes, the model's fc8 has {outputs} outputs")


def check_trains_on(recipe, data):
    """Raise InputError where the recipe trains convolutions whose output the data is."""
    if recipe.convolutions and data.layer is not None:
        raise InputError(
            f"{', '.join(recipe.convolutions)} cannot train on features: their outputs are cached. "
            "Give images, or a recipe of fc layers alone"
        )


def _digest(*data):
    """Digest which images, with which labels and value of white, are in each subset."""
    parts = [list(zip(each.names, each.labels.tolist(), strict=True)) for each in data]
    parts += [each.white for each in data if each.white]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def unequal(data):
    """Return whether the classes that have images differ in their number."""
    counts = np.bincount(data.labels)
    return len({*counts[counts > 0].tolist()}) > 1


def class_weights(recipe, train):
    """Return scikit-learn's "balanced" weights of the classes, 0 for those without images, or None.

    The mean of the weights of all training images is 1.
    """
    if recipe.class_weights == "none":
        return None
    weights, present = np.zeros(len(train.classes), np.float32), np.unique(train.labels)
    weights[present] = compute_class_weight("balanced", classes=present, y=train.labels)
    return weights


def remarks(train, validation, recipe):
    """Return lines on what unequal classes mean for a run, for people to read."""
    counts = np.bincount(train.labels, minlength=len(train.classes))
    lines = []
    if absent := [name for name, count in zip(train.classes, counts, strict=True) if not count]:
        lines.append(f"no training image of {', '.join(absent)}: they cannot be learned")
    sizes = f"{counts[counts > 0].min()} to {counts.max()} images"
    if recipe.class_weights != "none":
        lines.append(f"class weights {recipe.class_weights}: training classes of {sizes}")
    elif counts.max() >= 2 * counts[counts > 0].min():
        lines.append(
            f"training classes of {sizes}; --class-weights balanced lets all weigh the same"
        )
    if unequal(validation):
        lines.append("validation classes differ in size: the epoch is chosen by balanced accuracy")
    return lines


def _stalled(history, recipe, name):
    """Return whether the accuracy of this name has not improved for `patience` epochs."""
    accuracies = [row[name] for row in history]
    return (
        recipe.patience is not None
        and bool(history)
        and len(history) - 1 - int(np.argmax(accuracies)) >= recipe.patience
    )
