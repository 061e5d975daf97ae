"""Recipes: which layers train, and how. Nothing here needs TensorFlow."""

import math
from typing import NamedTuple

from alexnet_lib.errors import InputError
from alexnet_lib.port.architecture import FC6_SCALE

__all__ = [
    "CONVOLUTIONS",
    "FC",
    "RECIPES",
    "Recipe",
    "learning_rate",
    "recipe_of",
    "stages_of",
]

#: Names of the layers with weights before pool5, in order.
CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5")
#: Names of the fully connected layers, in order.
FC = ("fc6", "fc7", "fc8")
OPTIMIZERS = ("sgd", "momentum", "adamw", "closed-form")
SCHEDULES = ("constant", "exponential", "cosine")
CLASS_WEIGHTS = ("none", "balanced")


class Recipe(NamedTuple):
    """How to fine-tune.

    Attributes:
        layers: names of the layers that train; all others are frozen.
        optimizer: "sgd", "momentum" (0.9), "adamw", or "closed-form" for a readout, to which only
            `sizes` matters.
        learning_rate: of the fc layers, at the start.
        fc6_scale: fc6 learns at this many times `learning_rate`: AdamW's steps do not shrink where
            the inputs are large, and pool5's are.
        conv_learning_rate: of the convolutions that train.
        schedule: "exponential" (times `decay` an epoch, a little in every step), "cosine" (to 0 at
            the end), each after `warmup` epochs of linear growth, or "constant".
        decay: of the exponential schedule, a factor an epoch.
        warmup: epochs.
        l2: weight of the sum of squares of the fc kernels in the loss, without a half: TensorFlow
            1's `l2_regularizer(scale)` halves the sum, so it is half of that scale.
        weight_decay: AdamW's decoupled decay of all kernels that train.
        label_smoothing: from 0 to below 1.
        batch_size: images in a step.
        epochs: at most.
        patience: epochs without a better validation accuracy after which to stop; None for never.
        class_weights: "none", or "balanced" for a loss in which each image counts as images /
            (classes x images of its class), so that all classes weigh the same. To a readout they
            always do.
        sizes: of the squares, in pixels, that a readout sees; see `readout_model`.
        fresh_deviation: standard deviation of the truncated normal distribution from which fc6-fc8
            start, with biases 0, whatever the weights file holds. None keeps the file's fc layers
            where their sizes match, and starts the others as `AlexNet` does.
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
    class_weights: str = "none"
    sizes: tuple[int, ...] = ()
    fresh_deviation: float | None = None

    @property
    def closed_form(self):
        """Whether a readout is fitted instead of training step by step."""
        return self.optimizer == "closed-form"

    @property
    def convolutions(self):
        """The names of the convolutions that train, in order."""
        return tuple(name for name in CONVOLUTIONS if name in self.layers)

    def check(self):
        """Raise InputError for settings out of range."""
        if not self.layers or self.epochs < 1 or self.batch_size < 1:
            raise InputError(
                "a recipe needs layers to train, at least one epoch and batches of at least one "
                f"image. Received: layers={self.layers}, epochs={self.epochs}, "
                f"batch_size={self.batch_size}"
            )
        for name, known in (
            ("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("class_weights", CLASS_WEIGHTS),
        ):  # fmt: skip
            if getattr(self, name) not in known:
                raise InputError(
                    f"recipe.{name} must be one of {', '.join(known)}. "
                    f"Received: {getattr(self, name)!r}"
                )
        if self.closed_form != bool(self.sizes):
            raise InputError(
                'sizes belong to optimizer="closed-form", and only to it. '
                f"Received: optimizer={self.optimizer!r}, sizes={self.sizes}"
            )
        if self.fresh_deviation is not None and not self.fresh_deviation > 0:
            raise InputError(
                "fresh_deviation must be None or above 0. "
                f"Received: fresh_deviation={self.fresh_deviation}"
            )
        if self.convolutions and self.conv_learning_rate <= 0:
            raise InputError(
                f"{', '.join(self.convolutions)} train, so conv_learning_rate must be above 0. "
                f"Received: {self.conv_learning_rate}"
            )


#: The book's recipes by name: "original", "recommended", "all-layers" and "readout", each a
#: `Recipe`.
RECIPES = {
    # As in the source of chuqidecha/fineturn-alexnet-with-tensorflow, 2018, with 4,096 units and
    # dropout 0.5, the defaults. Its scale of 1e-3 goes to `l2_regularizer`, which halves.
    "original": Recipe(
        optimizer="sgd", learning_rate=1e-4, schedule="exponential", decay=0.99, l2=5e-4,
        batch_size=32, epochs=20, fresh_deviation=0.1,
    ),
    "recommended": Recipe(
        fc6_scale=FC6_SCALE, weight_decay=0.05, label_smoothing=0.1, batch_size=64, epochs=25
    ),
    # Goes on from a head that "recommended" has trained.
    "all-layers": Recipe(
        layers=CONVOLUTIONS + FC, learning_rate=2e-4, fc6_scale=FC6_SCALE, conv_learning_rate=1e-4,
        weight_decay=0.05, label_smoothing=0.1, batch_size=32, epochs=12,
    ),
    # Linear discriminant analysis of statistics of relu1-relu5: nothing is iterated.
    "readout": Recipe(layers=("readout",), optimizer="closed-form", epochs=1, sizes=(227, 320)),
}  # fmt: skip


def recipe_of(recipe):
    """Return the `Recipe` of a name, or a `Recipe` as it is.

    Raises:
        InputError: for an unknown name.
    """
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise InputError(
            f"recipe must be a Recipe or one of {', '.join(RECIPES)}. Received: recipe={recipe!r}"
        )
    return RECIPES[recipe]


def stages_of(recipe):
    """Return the recipes to train with, one after the other.

    Gradients of a fresh head would spoil convolutions that know much already (Kumar et al., 2022),
    so where the convolutions train, the head has learned first, on frozen ones.

    Args:
        recipe: `Recipe`, or the name of one of `RECIPES`.
    """
    recipe = recipe_of(recipe)
    head = RECIPES["recommended"]._replace(class_weights=recipe.class_weights)
    return [head, recipe] if recipe.convolutions else [recipe]


def learning_rate(recipe, epoch, base):
    """Return the learning rate of an epoch; fractions of an epoch count.

    The schedule is laid over all of `recipe.epochs`, for a run that gets more epochs too: it goes
    on with the rate that this epoch has in the new schedule.
    """
    if epoch < recipe.warmup:
        return base * (epoch + 1e-3) / recipe.warmup
    if recipe.schedule == "exponential":
        return base * recipe.decay**epoch
    if recipe.schedule == "cosine":
        done = (epoch - recipe.warmup) / (recipe.epochs - recipe.warmup)
        return base * 0.5 * (1 + math.cos(math.pi * done))
    return base
