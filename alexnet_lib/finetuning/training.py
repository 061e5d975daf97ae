"""Fine-tuning: which layers train is said, what is frozen is proved, and a killed run goes on.

All that is random in a step is a function of (seed, epoch, place in the epoch), and a checkpoint
holds every variable, so a run that was resumed ends with the same bits as one that was not.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from tqdm import tqdm

from alexnet_lib.errors import AlexNetError, InputError
from alexnet_lib.files import atomic_path, write_csv
from alexnet_lib.finetuning.replicas import Replicas
from alexnet_lib.images.batches import image_dataset
from alexnet_lib.images.features import Features
from alexnet_lib.port.alexnet import model_weights
from alexnet_lib.port.compilation import one_loop
from alexnet_lib.port.layouts import open_npz, save_npz

FC = ("fc6", "fc7", "fc8")
CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")
# How much narrower fc6 starts, and slower it learns, than the layers after it: see `fresh_model`.
FC6_SCALE = 1 / 32


class Recipe(NamedTuple):
    """How to fine-tune.

    Attributes:
        layers: names of the layers that train; all others are frozen.
        optimizer: "sgd", "momentum" (0.9) or "adamw".
        learning_rate: of the fc layers, at the start.
        fc6_scale: fc6 learns at this many times `learning_rate`: AdamW's steps do not shrink where
            the inputs are large, and pool5's are.
        conv_learning_rate: of the convolutions that train.
        schedule: "exponential" (times `decay` after every epoch), "cosine" (to 0 at the end), each
            after `warmup` epochs of linear growth, or "constant".
        decay: of the exponential schedule, a factor an epoch.
        warmup: epochs.
        l2: weight of the sum of squares of the fc kernels in the loss.
        weight_decay: AdamW's decoupled decay of all kernels that train.
        label_smoothing: from 0 to below 1.
        batch_size: images in a step.
        epochs: at most.
        patience: epochs without a better validation accuracy after which to stop; None for never.
    """

    layers: tuple[str, ...] = FC
    optimizer: str = "adamw"
    learning_rate: float = 1e-3
    fc6_scale: float = 1.0
    conv_learning_rate: float = 0.0
    schedule: str = "cosine"
    decay: float = 0.99
    warmup: int = 0
    l2: float = 0.0
    weight_decay: float = 0.0
    label_smoothing: float = 0.0
    batch_size: int = 128
    epochs: int = 30
    patience: int | None = None


RECIPES = {
    # The work that this book builds on: TF 1.10, 20 epochs, fc6-fc8 of a frozen AlexNet.
    "original": Recipe(
        optimizer="sgd", learning_rate=1e-4, schedule="exponential", decay=0.99, l2=1e-3,
        batch_size=32, epochs=20,
    ),
    "recommended": Recipe(
        fc6_scale=FC6_SCALE, weight_decay=0.05, label_smoothing=0.1, batch_size=64, epochs=25
    ),
    # Goes on from a head that "recommended" has trained.
    "all-layers": Recipe(
        layers=CONVOLUTIONS + FC, learning_rate=2e-4, fc6_scale=FC6_SCALE, conv_learning_rate=1e-4,
        weight_decay=0.05, label_smoothing=0.1, batch_size=32, epochs=12,
    ),
}  # fmt: skip


class ImageSubset(NamedTuple):
    """Some images of a folder, to train on or to evaluate."""

    images: object  # `dataset.Images`
    indices: np.ndarray


class FeatureSubset(NamedTuple):
    """Some images of a `Features`, to train on or to evaluate; frozen convolutions have run."""

    features: Features
    indices: np.ndarray


class TrainingDiverged(AlexNetError, ArithmeticError):
    """The loss is no longer a finite number; says which causes are likely."""


def recipe_of(recipe):
    """Return the `Recipe` of a name, or a `Recipe` as it is; ValueError for an unknown name."""
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise InputError(
            f"recipe must be a Recipe or one of {', '.join(RECIPES)}. Received: recipe={recipe!r}"
        )
    return RECIPES[recipe]


def batches(data, recipe, seed=0, epoch=0, training=False, view=0, shard=(0, 1)):
    """Yield one epoch's batches of model input and labels.

    Args:
        data: `ImageSubset` or `FeatureSubset`.
        recipe: `Recipe`, for its batch size.
        seed: of order, augmentation and views.
        epoch: another epoch draws anew; so a later epoch can be had without the earlier ones.
        training: shuffle; augment images, or draw one of the views of features for each image.
        view: which view of features to take otherwise.
        shard: as in `image_dataset`: a worker's rows of every batch.

    Yields:
        float32 (batch, 227, 227, 3) or (batch, 6, 6, 256), and int64 (batch,).
    """
    if isinstance(data, ImageSubset):
        yield from image_dataset(
            data.images, data.indices, batch_size=recipe.batch_size, training=training, seed=seed,
            first_epoch=epoch, shard=shard,
        )  # fmt: skip
        return
    features, indices = data.features, np.asarray(data.indices)
    views = np.full(len(indices), view)
    if training:
        generator = np.random.default_rng([seed, epoch])
        indices = generator.permutation(indices)
        views = generator.integers(0, len(features.codes), len(indices))
    for start in range(0, len(indices), recipe.batch_size):
        part = slice(start + shard[0], start + recipe.batch_size, shard[1])
        yield (
            tf.constant(features.pool5(indices[part], views[part])),
            tf.constant(features.labels[indices[part]]),
        )


def learning_rate(recipe, epoch, base):
    """Return the learning rate of an epoch; fractions of an epoch count."""
    if epoch < recipe.warmup:
        return base * (epoch + 1e-3) / recipe.warmup
    if recipe.schedule == "exponential":
        return base * recipe.decay ** math.floor(epoch)
    if recipe.schedule == "cosine":
        done = (epoch - recipe.warmup) / (recipe.epochs - recipe.warmup)
        return base * 0.5 * (1 + math.cos(math.pi * done))
    return base


def part_for(model, data):
    """Return the model from the kind of input that `data` has to logits."""
    start = model.input if isinstance(data, ImageSubset) else model.get_layer("pool5").output
    return keras.Model(start, model.get_layer("fc8").output)


def finetune(
    model,
    train,
    validation,
    recipe="recommended",
    folder=None,
    seed=0,
    progress=True,
    strategy=None,
):
    """Fine-tune `model` and leave it with the weights of its best epoch by validation accuracy.

    Args:
        model: `AlexNet` with its top; its number of classes must be that of the data.
        train: `ImageSubset`, or `FeatureSubset` where no convolution trains.
        validation: the same kind.
        recipe: `Recipe`, or the name of one of `RECIPES`.
        folder: where to keep history.csv, TensorBoard's events, the best epoch's weights
            (best.npz) and a checkpoint. Where it holds a checkpoint of the same recipe, seed and
            images, the run goes on from there. None keeps nothing.
        seed: of all that is random here; the fresh layers' weights are the model's own.
        progress: show a bar.
        strategy: `tf.distribute.Strategy` in whose scope the model was built, to train on all of
            its replicas as on one device. Each worker calls this with the same arguments; the first
            writes the files, and all read the checkpoint, so they need to share `folder`.

    Returns:
        `pandas.DataFrame`, a row an epoch: epoch, learning_rate, loss, accuracy, val_loss,
        val_accuracy; losses are without L2.

    Raises:
        ValueError: for arguments that disagree or a checkpoint of another run.
        TrainingDiverged: where the loss, in training or on validation images, is not finite.
        WorkerLost: where another worker has ended or no longer answers.
    """
    recipe = recipe_of(recipe)
    _check(model, train, validation, recipe)
    replicas = Replicas(strategy)
    replicas.check(model, recipe.batch_size)
    for layer in model.layers:
        layer.trainable = layer.name in recipe.layers or not layer.weights
    frozen = {
        layer.name: layer.get_weights()
        for layer in model.layers
        if layer.weights and layer.name not in recipe.layers
    }
    with replicas.scope():
        run = _Run(model, part_for(model, train), recipe, seed, folder, replicas)
    run.images = _digest(train, validation)
    history, best = run.restore()
    bar = tqdm(
        total=recipe.epochs, initial=len(history), unit="epoch",
        disable=not (progress and replicas.chief),
    )  # fmt: skip
    with bar, replicas.watch():
        run.agree(history)
        while len(history) < recipe.epochs and not _stalled(history, recipe):
            row = run.train_epoch(train, epoch=len(history))
            row |= dict(zip(("val_loss", "val_accuracy"), run.measure(validation), strict=True))
            if not np.isfinite(row["val_loss"]):  # the last step's weights may be the first to fail
                raise _diverged(recipe, row["epoch"], "validation", row["val_loss"])
            history.append(row)
            improved = row["val_accuracy"] >= max(past["val_accuracy"] for past in history)
            if improved:
                best = run.snapshot(best)
            run.save(history, best, improved)
            bar.update()
            bar.set_postfix({key: f"{row[key]:.4g}" for key in ("loss", "val_accuracy")})
    for name, before in frozen.items():
        for old, new in zip(before, model.get_layer(name).get_weights(), strict=True):
            if not np.array_equal(old, new):
                raise AssertionError(f"layer {name!r} was frozen, but its weights changed")
    for name, variable in run.state().items():
        if name in best:
            variable.assign(best[name])
    return pd.DataFrame(history)


def _check(model, train, validation, recipe):
    """Refuse arguments that disagree, before anything is changed."""
    names = {layer.name for layer in model.layers if layer.weights}
    if strangers := set(recipe.layers) - names:
        raise InputError(
            f"recipe.layers must be of {', '.join(sorted(names))}. "
            f"Received: {', '.join(sorted(strangers))}"
        )
    if not recipe.layers or recipe.epochs < 1 or recipe.batch_size < 1:
        raise InputError(
            "recipe needs layers to train, an epoch and a batch of one image at least. Received: "
            f"layers={recipe.layers}, epochs={recipe.epochs}, batch_size={recipe.batch_size}"
        )
    if recipe.optimizer not in OPTIMIZERS:
        raise InputError(
            f"recipe.optimizer must be one of {', '.join(OPTIMIZERS)}. "
            f"Received: {recipe.optimizer!r}"
        )
    if recipe.schedule not in ("constant", "exponential", "cosine"):
        raise InputError(
            "recipe.schedule must be 'constant', 'exponential' or 'cosine'. "
            f"Received: {recipe.schedule!r}"
        )
    if type(train) is not type(validation):
        raise InputError(
            "train and validation must be of one kind, images or features. "
            f"Received: {type(train).__name__} and {type(validation).__name__}"
        )
    trained = sorted(set(recipe.layers) & set(CONVOLUTIONS))
    if trained and isinstance(train, FeatureSubset):
        raise InputError(
            f"{', '.join(trained)} cannot train on features: their outputs are cached. Give "
            "images, or a recipe of fc layers alone"
        )
    if trained and recipe.conv_learning_rate <= 0:
        raise InputError(
            f"{', '.join(trained)} train, so conv_learning_rate must be above 0. "
            f"Received: {recipe.conv_learning_rate}"
        )
    for subset, what in ((train, "train"), (validation, "validation")):
        if not len(subset.indices):
            raise InputError(f"{what} has no images")
        classes, outputs = len(subset[0].classes), model.get_layer("fc8").units
        if classes != outputs:
            raise InputError(f"{what} has {classes} classes, the model's fc8 has {outputs} outputs")


OPTIMIZERS = {
    "sgd": lambda recipe: keras.optimizers.SGD(),
    "momentum": lambda recipe: keras.optimizers.SGD(momentum=0.9),
    "adamw": lambda recipe: keras.optimizers.AdamW(weight_decay=recipe.weight_decay),
}


def _digest(*subsets):
    """Digest which images, with which labels, are in each subset."""
    parts = []
    for source, indices in subsets:
        names, labels = source.names, source.labels.tolist()
        parts.append([(names[i], labels[i]) for i in indices])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _diverged(recipe, epoch, where, loss):
    """Return the error of a loss that is not finite; an epoch's fraction tells the rate."""
    rate = learning_rate(recipe, epoch, recipe.learning_rate)
    return TrainingDiverged(
        f"epoch {int(epoch)}, {where}: the loss is {float(loss)}. Likely causes: a learning rate "
        f"that is too high (learning_rate is now {rate:.3g}; try a tenth), or input that is not as "
        "`preprocess_input` makes it (0-255, mean subtracted)"
    )


def _stalled(history, recipe):
    """Tell whether validation accuracy has not improved for `patience` epochs."""
    accuracies = [row["val_accuracy"] for row in history]
    return (
        recipe.patience is not None
        and bool(history)
        and len(history) - 1 - int(np.argmax(accuracies)) >= recipe.patience
    )


class _Run:
    """One run's state: the optimizers, and what a checkpoint must hold to go on bit for bit."""

    def __init__(self, model, network, recipe, seed, folder, replicas=None):
        self.model, self.network, self.recipe, self.seed = model, network, recipe, seed
        self.replicas = replicas or Replicas()
        self.folder = None if folder is None else Path(folder)
        self.images = ""  # what it trains on, as `_digest` tells it
        # Layers that learn at a rate of their own have an optimizer of their own.
        rates = {
            FC[1:]: recipe.learning_rate,
            FC[:1]: recipe.learning_rate * recipe.fc6_scale,
            CONVOLUTIONS: recipe.conv_learning_rate,
        }
        self.groups = []
        for names, rate in rates.items():
            variables = [
                variable
                for layer in model.layers
                if layer.name in names
                for variable in layer.trainable_variables
            ]
            if variables:
                optimizer = OPTIMIZERS[recipe.optimizer](recipe)
                optimizer.exclude_from_weight_decay(var_names=["bias"])
                optimizer.build(variables)
                self.groups.append((optimizer, variables, rate))
        self.kernels = {
            id(layer.kernel) for layer in model.layers if layer.name in FC and layer.trainable
        }
        dropouts = [x for x in model.layers if isinstance(x, keras.layers.Dropout)]
        self.dropouts = [x for x in dropouts if x.rate]  # others draw nothing and have no seed
        self.loss = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing, reduction="sum"
        )
        # Weights are most of what a step reads and writes: one pass over them instead of many.
        self.update = one_loop(self._update) if self.replicas.strategy is None else self._update
        self.step = self.replicas.function(self._step)
        self.forward = self.replicas.function(self._forward)

    def _batches(self, data, **options):
        """Yield every batch of an epoch as the replicas take it, and its size over all workers."""
        mine = batches(data, self.recipe, shard=self.replicas.shard, **options)
        # Of a small last batch a worker may get nothing, but the others wait for its step.
        nothing = tf.zeros((0, *self.network.input_shape[1:])), tf.zeros(0, tf.int64)
        count, size = len(data.indices), self.recipe.batch_size
        for start in range(0, count, size):
            x, labels = next(mine, nothing)
            # oneDNN's convolutions fail on no image at all. One of zeros, whose logits are cut off
            # again because it has no label, stands in.
            yield self.replicas.deal(x, 1), self.replicas.deal(labels), min(size, count - start)

    def _forward(self, x, labels):
        logits = self.network(x, training=False)[: tf.shape(labels)[0]]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        hits = tf.argmax(logits, axis=1) == labels
        return tf.reduce_sum(losses), tf.math.count_nonzero(hits)

    def _step(self, x, labels, total, number):
        with tf.GradientTape() as tape:
            logits = self.replicas.train(self.network, x, total, number)[: tf.shape(labels)[0]]
            loss = self.loss(tf.one_hot(labels, logits.shape[-1]), logits)
            loss /= tf.cast(total, loss.dtype)  # what the replicas add up is the batch's mean
        self.update(tape.gradient(loss, [variables for _, variables, _ in self.groups]))
        return loss, tf.math.count_nonzero(tf.argmax(logits, axis=1) == labels)

    def _update(self, gradients):
        """Add the gradient of the L2 penalty, which needs no tape, and move the weights."""
        l2 = self.recipe.l2 / self.replicas.count
        for (optimizer, variables, _), group in zip(self.groups, gradients, strict=True):
            if l2:
                group = [
                    gradient + 2 * l2 * variable if id(variable) in self.kernels else gradient
                    for gradient, variable in zip(group, variables, strict=True)
                ]
            optimizer.apply(group, variables)

    def train_epoch(self, data, epoch):
        """Train for one epoch; return its row of the history."""
        for index, dropout in enumerate(self.dropouts):
            # Dropout's masks, too, must not depend on what ran before this epoch.
            dropout.seed_generator.state.assign([2 * self.seed + index, epoch << 16])
        steps = math.ceil(len(data.indices) / self.recipe.batch_size)
        total, hits = 0.0, 0
        for number, (x, labels, size) in enumerate(
            self._batches(data, seed=self.seed, epoch=epoch, training=True)
        ):
            for optimizer, _, base in self.groups:
                rate = learning_rate(self.recipe, epoch + number / steps, base)
                optimizer.learning_rate.assign(rate)
            loss, right = self.step(x, labels, tf.constant(size), tf.constant(number))
            if not np.isfinite(loss):
                raise _diverged(self.recipe, epoch + number / steps, f"step {number}", loss)
            total += float(loss) * size
            hits += int(right)
        count = len(data.indices)
        return {
            "epoch": epoch,
            "learning_rate": float(self.groups[0][0].learning_rate.numpy()),
            "loss": total / count,
            "accuracy": hits / count,
        }

    def measure(self, data):
        """Return mean cross-entropy and accuracy."""
        total, hits = 0.0, 0
        for x, labels, _ in self._batches(data):
            loss, right = self.forward(x, labels)
            total += float(loss)
            hits += int(right)
        return total / len(data.indices), hits / len(data.indices)

    def settings(self):
        """Say what makes two runs the same: all but the values of the weights that train."""
        digest = hashlib.sha256()
        trained = {variable.path for _, variables, _ in self.groups for variable in variables}
        for layer in self.model.layers:
            for variable in layer.weights:
                if variable.path not in trained:
                    digest.update(variable.numpy().tobytes())
        facts = {
            "recipe": self.recipe,
            "seed": self.seed,
            "images": self.images,
            "size of the head": [list(variable.shape) for variable in self.state().values()],
            "frozen weights": digest.hexdigest(),
        }
        return json.loads(json.dumps(facts))  # as a checkpoint gives them back

    def agree(self, history):
        """Make sure that all workers begin with the same; ValueError otherwise."""
        if self.replicas.shard[1] == 1:
            return
        weights = hashlib.sha256()
        for array in self.snapshot().values():
            weights.update(array)
        facts = self.settings() | {"weights": weights.hexdigest(), "checkpoint": history}
        self.replicas.agree({name: json.dumps(fact).encode() for name, fact in facts.items()})

    def state(self):
        """Return every variable that training changes, by name."""
        named = {}
        for number, (optimizer, variables, _) in enumerate(self.groups):
            for kind, group in (("weight", variables), ("optimizer", optimizer.variables)):
                named |= {f"{kind}/{number}/{i}": variable for i, variable in enumerate(group)}
        return named

    def snapshot(self, former=None):
        """Return copies of the weights that train, by the names of `state`.

        They are written over `former` ones: new memory would take longer than the copies.
        """
        copies = former or {}
        for name, variable in self.state().items():
            if name.startswith("weight"):
                array = copies.setdefault(name, np.empty(variable.shape, variable.dtype))
                np.copyto(array, variable.value.read_value())
        return copies

    def save(self, history, best, improved):
        """Write history, checkpoint and, where it is new, the best epoch's weights."""
        if self.folder is None or not self.replicas.chief:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: variable.numpy() for name, variable in self.state().items()}
        arrays |= {f"best/{name}": array for name, array in best.items()}
        facts = {"settings": self.settings(), "history": history}
        arrays |= {name: np.array(json.dumps(fact)) for name, fact in facts.items()}
        if improved:
            save_npz(self.folder / "best.npz", model_weights(self.model))
        write_csv(self.folder / "history.csv", pd.DataFrame(history))
        with tf.summary.create_file_writer(str(self.folder / "tensorboard")).as_default():
            row = history[-1]
            for name in ("learning_rate", "loss", "accuracy", "val_loss", "val_accuracy"):
                tf.summary.scalar(name, row[name], step=row["epoch"])
        # Last: an epoch that no checkpoint has is trained, and written, again.
        with atomic_path(self.folder / "checkpoint.npz") as partial:
            np.savez(partial, **arrays)

    def restore(self):
        """Take up a checkpoint where there is one; return its history and best weights."""
        path = None if self.folder is None else self.folder / "checkpoint.npz"
        if path is None:
            return [], None
        for left in self.folder.glob(f".{32 * '?'}-*.npz") if self.replicas.chief else ():
            left.unlink()  # `atomic_path`'s, of a run that was killed while it wrote
        if not path.exists():
            return [], None
        with open_npz(path, "a checkpoint of `finetune`") as file:
            arrays = dict(file)
            found, history = (json.loads(str(arrays[name])) for name in ("settings", "history"))
            differ = [name for name, fact in self.settings().items() if found[name] != fact]
        if differ:
            raise InputError(
                f"{path}: checkpoint of another run: differs in {', '.join(differ)}. Choose "
                "another folder, or remove this one to start anew"
            )
        for name, variable in self.state().items():
            variable.assign(arrays[name])
        best = {name[5:]: array for name, array in arrays.items() if name.startswith("best/")}
        return history, best
