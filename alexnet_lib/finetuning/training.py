"""Fine-tuning: frozen layers are proved unchanged, the best epoch is kept, a killed run resumes."""

import hashlib
import json

import numpy as np
import pandas as pd
from tqdm import tqdm

from alexnet_lib.errors import InputError
from alexnet_lib.finetuning.checkpoint import Checkpoint
from alexnet_lib.finetuning.recipes import recipe_of
from alexnet_lib.finetuning.replicas import Replicas
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

    Args:
        model: `AlexNet` with its top; its number of classes must be that of the data.
        train: `Images`, or `Features` where no convolution trains.
        validation: the same kind.
        recipe: `Recipe`, or the name of one of `RECIPES`.
        folder: where to keep history.csv, TensorBoard's events, the best epoch's weights
            (best.npz) and a checkpoint. Where it holds a checkpoint of the same recipe, seed and
            images, the run goes on from there. None keeps nothing.
        seed: of everything random here; the fresh layers' weights are the model's own.
        progress: show a bar.
        strategy: `tf.distribute.Strategy` in whose scope the model was built, to train on all of
            its replicas as on one device. Each worker calls this with the same arguments; the first
            writes the files, and all read the checkpoint, so they need to share `folder`.
        keep_epochs: keep every epoch's weights in `folder`, as epochs/000.npz and so on.

    Returns:
        `pandas.DataFrame`, a row an epoch: epoch, learning_rate, loss, accuracy, val_loss,
        val_accuracy; losses are without L2.

    Raises:
        InputError: for arguments that disagree or a checkpoint of another run.
        TrainingDiverged: where the loss, in training or on validation images, is not finite.
        WorkerLost: where another worker has ended or no longer answers.
    """
    recipe = recipe_of(recipe)
    _check(model, train, validation, recipe)
    replicas = Replicas(strategy)
    replicas.check(model, recipe.batch_size)
    with replicas.scope():
        trainer = Trainer(model, recipe, train.layer, seed, replicas)
    frozen = {
        layer.name: layer.get_weights()
        for layer in model.layers
        if layer.weights and layer.name not in recipe.layers
    }
    checkpoint = Checkpoint(folder, trainer, _digest(train, validation), keep_epochs)
    history, best = checkpoint.restore()
    bar = tqdm(
        total=recipe.epochs, initial=len(history), unit="epoch",
        disable=not (progress and replicas.chief),
    )  # fmt: skip
    with bar, replicas.watch():
        if replicas.shard[1] > 1:
            facts = checkpoint.settings() | {"weights": trainer.digest(), "checkpoint": history}
            replicas.check_workers_match(facts)
        while len(history) < recipe.epochs and not _stalled(history, recipe):
            row = trainer.train_epoch(train, epoch=len(history))
            row |= dict(zip(("val_loss", "val_accuracy"), trainer.measure(validation), strict=True))
            if not np.isfinite(row["val_loss"]):  # the last step's weights may be the first to fail
                raise diverged(recipe, row["epoch"], "validation", row["val_loss"])
            history.append(row)
            improved = row["val_accuracy"] >= max(past["val_accuracy"] for past in history)
            if improved:
                best = trainer.snapshot(best)
            checkpoint.save(history, best, improved)
            bar.update()
            bar.set_postfix({key: f"{row[key]:.4g}" for key in ("loss", "val_accuracy")})
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


def _stalled(history, recipe):
    """Return whether validation accuracy has not improved for `patience` epochs."""
    accuracies = [row["val_accuracy"] for row in history]
    return (
        recipe.patience is not None
        and bool(history)
        and len(history) - 1 - int(np.argmax(accuracies)) >= recipe.patience
    )
