"""The trainer: steps on one device or on many, the same bits each time.

Everything random in a step is a function of (seed, epoch, place in the epoch), and `Trainer.state`
names every variable that training changes, so a resumed run ends with the same bits as an
uninterrupted one.
"""

import hashlib
import math

import numpy as np
import tensorflow as tf

from alexnet_lib.errors import AlexNetError
from alexnet_lib.finetuning.recipes import CONVOLUTIONS, FC, learning_rate
from alexnet_lib.finetuning.replicas import Replicas
from alexnet_lib.port.backend import keras
from alexnet_lib.port.compilation import one_loop

__all__ = ["Trainer", "TrainingDiverged", "submodel"]

OPTIMIZERS = {
    "sgd": lambda recipe: keras.optimizers.SGD(),
    "momentum": lambda recipe: keras.optimizers.SGD(momentum=0.9),
    "adamw": lambda recipe: keras.optimizers.AdamW(weight_decay=recipe.weight_decay),
}


class TrainingDiverged(AlexNetError, ArithmeticError):
    """The loss is no longer a finite number; says which causes are likely."""


def diverged(recipe, epoch, where, loss):
    """Return the error for a loss that is not finite; fractions of an epoch set the rate named."""
    rate = learning_rate(recipe, epoch, recipe.learning_rate)
    return TrainingDiverged(
        f"epoch {int(epoch)}, {where}: the loss is {float(loss)}. Likely causes: a learning rate "
        f"that is too high (learning_rate is now {rate:.3g}; try a tenth), or input that is not as "
        "`preprocess_input` makes it (0-255, mean subtracted)"
    )


def submodel(model, layer=None):
    """Return the model from the output of a layer to the logits.

    Args:
        model: `AlexNet` with its top, or of `readout_model`.
        layer: name of the layer whose output the data is, as in `Data`; None for the input.

    Returns:
        A `keras.Model` that shares the layers of `model`.
    """
    start = model.input if layer is None else model.get_layer(layer).output
    logits = [each for each in model.layers if each.weights][-1].output
    return keras.Model(start, logits)


class Trainer:
    """Takes steps: the optimizers, and every variable that training changes.

    Sets which layers of the model train.

    Args:
        model: `AlexNet` with its top.
        recipe: `Recipe`.
        layer: of the data to train on, as in `submodel`.
        seed: of order, augmentation and dropout.
        replicas: `Replicas` that train together; one device by default.
        class_weights: float (classes,), by which the loss of each class's images is multiplied;
            None for 1.

    Attributes:
        groups: (optimizer, variables, learning rate at the start) for each group of layers that
            learn at one rate.
        network: the `submodel` that trains.
        step: function of inputs, labels, the number of images in the whole batch (int32) and the
            step's number in the epoch (int32); trains on a batch and returns the sum over the
            replicas of their shares of the loss, float32, and the number of correct answers, int64.
        forward: function of inputs and labels to summed cross-entropy and, int64 (classes,), the
            correct answers in each class.
    """

    def __init__(self, model, recipe, layer=None, seed=0, replicas=None, class_weights=None):
        self.model, self.recipe, self.seed = model, recipe, seed
        self.replicas = replicas or Replicas()
        for each in model.layers:
            each.trainable = each.name in recipe.layers or not each.weights
        self.network = submodel(model, layer)
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
        self._kernels = {
            id(layer.kernel) for layer in model.layers if layer.name in FC and layer.trainable
        }
        dropouts = [x for x in model.layers if isinstance(x, keras.layers.Dropout)]
        self._dropouts = [x for x in dropouts if x.rate]  # others draw nothing and have no seed
        self._loss = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=recipe.label_smoothing, reduction="sum"
        )
        self._class_weights = None
        if class_weights is not None:
            self._class_weights = tf.constant(class_weights, tf.float32)
        # Weights are most of what a step reads and writes: one pass over them instead of many.
        one_device = self.replicas.strategy is None
        self._update = one_loop(self._move_weights) if one_device else self._move_weights
        self.step = self.replicas.function(self._step)
        self.forward = self.replicas.function(self._forward)

    def _batches(self, data, **options):
        """Yield every batch of an epoch as the replicas take it, and its size over all workers."""
        size = self.recipe.batch_size
        mine = iter(data.batches(size, shard=self.replicas.shard, **options))
        # Of a small last batch a worker may get nothing, but the others wait for its step.
        nothing = tf.zeros((0, *self.network.input_shape[1:])), tf.zeros(0, tf.int64)
        for start in range(0, len(data), size):
            x, labels = map(tf.convert_to_tensor, next(mine, nothing))
            # oneDNN's convolutions fail on no image at all. One of zeros, whose logits are cut off
            # again because it has no label, stands in.
            x, labels = self.replicas.scatter(x, 1), self.replicas.scatter(labels)
            yield x, labels, min(size, len(data) - start)

    def _forward(self, x, labels):
        logits = self.network(x, training=False)[: tf.shape(labels)[0]]
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        hits = tf.cast(tf.argmax(logits, axis=1) == labels, tf.int64)
        by_class = tf.math.unsorted_segment_sum(hits, labels, logits.shape[-1])
        return tf.reduce_sum(losses), by_class

    def _step(self, x, labels, total, number):
        weights = None
        if self._class_weights is not None:
            weights = tf.gather(self._class_weights, labels)
        with tf.GradientTape() as tape:
            logits = self.replicas.train(self.network, x, total, number)[: tf.shape(labels)[0]]
            loss = self._loss(tf.one_hot(labels, logits.shape[-1]), logits, weights)
            # What the replicas add up is the batch's mean. Class weights, whose mean over all
            # images is 1, are no reason to divide by anything else.
            loss /= tf.cast(total, loss.dtype)
        self._update(tape.gradient(loss, [variables for _, variables, _ in self.groups]))
        return loss, tf.math.count_nonzero(tf.argmax(logits, axis=1) == labels)

    def _move_weights(self, gradients):
        """Add the gradient of the L2 penalty, which needs no tape, and move the weights."""
        l2 = self.recipe.l2 / self.replicas.count
        for (optimizer, variables, _), group in zip(self.groups, gradients, strict=True):
            if l2:
                group = [
                    gradient + 2 * l2 * variable if id(variable) in self._kernels else gradient
                    for gradient, variable in zip(group, variables, strict=True)
                ]
            optimizer.apply(group, variables)

    def train_epoch(self, data, epoch):
        """Train on `Data` for one epoch.

        Returns:
            A dict: epoch, learning_rate (of the last step), loss and accuracy, while training.

        Raises:
            TrainingDiverged: where a step's loss is not finite.
        """
        for index, dropout in enumerate(self._dropouts):
            # Dropout's masks, too, must not depend on what ran before this epoch.
            dropout.seed_generator.state.assign([2 * self.seed + index, epoch << 16])
        steps = math.ceil(len(data) / self.recipe.batch_size)
        total, hits = 0.0, 0
        for number, (x, labels, size) in enumerate(
            self._batches(data, seed=self.seed, epoch=epoch, training=True)
        ):
            for optimizer, _, base in self.groups:
                rate = learning_rate(self.recipe, epoch + number / steps, base)
                optimizer.learning_rate.assign(rate)
            loss, right = self.step(x, labels, tf.constant(size), tf.constant(number))
            if not np.isfinite(loss):
                raise diverged(self.recipe, epoch + number / steps, f"step {number}", loss)
            total += float(loss) * size
            hits += int(right)
        return {
            "epoch": epoch,
            "learning_rate": float(self.groups[0][0].learning_rate.numpy()),
            "loss": total / len(data),
            "accuracy": hits / len(data),
        }

    def measure(self, data):
        """Return mean cross-entropy, accuracy and balanced accuracy on `Data`, three floats.

        Balanced accuracy is the mean of the recalls of the classes that have images.
        """
        counts = np.bincount(data.labels, minlength=len(data.classes))
        total, hits = 0.0, np.zeros(len(counts), np.int64)
        for x, labels, _ in self._batches(data):
            loss, right = self.forward(x, labels)
            total += float(loss)
            hits += right.numpy()
        recalls = hits[counts > 0] / counts[counts > 0]
        return total / len(data), int(hits.sum()) / len(data), float(recalls.mean())

    def state(self):
        """Return every variable that training changes, by name."""
        named = {}
        for number, (optimizer, variables, _) in enumerate(self.groups):
            for kind, group in (("weight", variables), ("optimizer", optimizer.variables)):
                named |= {f"{kind}/{number}/{i}": variable for i, variable in enumerate(group)}
        return named

    def snapshot(self, former=None):
        """Return copies of the weights that train, arrays by the names of `state`.

        They are written over `former` ones: new memory would take longer than the copies.
        """
        copies = former or {}
        for name, variable in self.state().items():
            if name.startswith("weight"):
                array = copies.setdefault(name, np.empty(variable.shape, variable.dtype))
                np.copyto(array, variable.value.read_value())
        return copies

    def assign(self, arrays):
        """Set the variables of `state` that `arrays` names."""
        for name, variable in self.state().items():
            if name in arrays:
                variable.assign(arrays[name])

    def digest(self):
        """Return the SHA-256 of the weights that train."""
        digest = hashlib.sha256()
        for array in self.snapshot().values():
            digest.update(array)
        return digest.hexdigest()
