"""The commands that train classifiers, finetune and crossval; with evaluate and predict."""

import os
import sys
from pathlib import Path

import click

from alexnet_lib.errors import MissingFileError
from alexnet_lib.files import data_directory, find_caffemodel
from alexnet_lib.finetuning.evaluate_command import (
    add_options,
    evaluate,
    image_options,
    read_data,
    show_result,
)
from alexnet_lib.finetuning.predict_command import predict
from alexnet_lib.finetuning.recipes import CLASS_WEIGHTS, RECIPES, recipe_of, stages_of
from alexnet_lib.images.data import AUGMENTATIONS
from alexnet_lib.quiet import import_tensorflow

__all__ = ["crossval", "evaluate", "finetune", "predict"]


def _fractions(context, parameter, text):
    """Parse --fractions."""
    if text is None:
        return None
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = ()
    if len(shares) != 3 or not min(shares) > 0 or not abs(sum(shares) - 1) < 1e-6:
        raise click.BadParameter(
            "expected three numbers above 0 that sum to 1, such as 0.7,0.15,0.15, got "
            f"{text or 'nothing'}"
        )
    return shares


def _weights(weights):
    """Return the file of trained weights to start from."""
    found = weights or find_caffemodel()
    if found is None:
        raise MissingFileError(
            f"{data_directory()}: no .caffemodel there. Run `python -m alexnet_lib fetch "
            "alexnet`, or name a file with --weights."
        )
    return found


def _recipe(name, epochs, class_weights):
    recipe = recipe_of(name)._replace(class_weights=class_weights)
    if recipe.closed_form and epochs is not None:
        raise click.UsageError(f"--recipe {name} is fitted in closed form and has no --epochs.")
    return recipe if epochs is None else recipe._replace(epochs=epochs)


def _settings(recipe, seed, fc_units, weights, augment):
    """Return what is known of a run's settings before its images are read."""
    from alexnet_lib.finetuning.settings import settings_of

    augment = {"augment": augment} if augment else {}
    return settings_of(stages_of(recipe), seed, fc_units, weights, **augment)


_training_options = add_options(
    image_options,
    click.option(
        "--output", "-o", required=True, type=click.Path(file_okay=False, path_type=Path),
        help="Folder for the results; it may hold a run to go on with.",
    ),
    click.option(
        "--recipe", default="recommended", show_default=True,
        type=click.Choice(list(RECIPES)),
        help="`original` and `recommended` train fc6-fc8 on frozen convolutions, `all-layers` "
        "goes on from there; `readout` fits one linear layer in closed form, in seconds.",
    ),
    click.option(
        "--epochs", type=click.IntRange(1),
        help="Instead of the recipe's own. `finetune` trains a run that ended, or was cut off, "
        "to more epochs: the rate's schedule is laid anew over all of them, and training goes "
        "on at the next epoch's place in it.",
    ),
    click.option(
        "--augment", type=click.Choice(list(AUGMENTATIONS)),
        help="How training varies the images: in all flips and rotations, as fits images from "
        "above (aerial); left-right, as fits photographs taken upright (mirror); not at all "
        "(none), where left and right differ, as in arrows or text. Where the convolutions "
        "train, the first two crop and relight them too. By default aerial for UC Merced's "
        "classes, else mirror.",
    ),
    click.option(
        "--class-weights", default="none", show_default=True,
        type=click.Choice(list(CLASS_WEIGHTS)),
        help="Weigh the images in the loss so that rare classes count as much as others.",
    ),
    click.option("--seed", default=0, show_default=True, type=click.IntRange(0)),
    click.option(
        "--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Start from this file instead of the data directory's.",
    ),
    click.option(
        "--fc-units", default=4096, show_default=True, type=click.IntRange(1),
        help="Width of fc6 and fc7; a light head trains faster.",
    ),
)  # fmt: skip


@click.command()
@_training_options
@click.option(
    "--split",
    "split_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take training, validation and test images from this CSV of file, class and subset.",
)
@click.option(
    "--fractions", callback=_fractions,
    help="Of training, validation and test, such as 0.7,0.15,0.15, instead of 0.8,0.1,0.1.",
)  # fmt: skip
@click.option("--keep-epochs", is_flag=True, help="Keep every epoch's weights in OUTPUT/epochs.")
@click.option("--float16", is_flag=True, help="Store the classifier in half precision.")
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1),
    help="Train in so many processes on this machine's processors.",
)  # fmt: skip
def finetune(folder, skip_broken, white, output, recipe, epochs, augment, class_weights, seed,
             weights, fc_units, split_file, fractions, keep_epochs, float16, workers):  # fmt: skip
    """Fine-tune AlexNet on FOLDER, a folder of class folders; by default on UC Merced.

    The class folders may lie in folders of train, val and test. FOLDER may also be a list of
    images: a CSV of file, class and, if you like, subset, or lines of a path and a label.

    Images are split 80/10/10 (UC Merced by the book's own split), or as folders or the list say,
    the epoch is chosen by validation (by balanced accuracy where its classes differ in size), and
    the test images are looked at once, at the end. A run that was killed goes on from its last
    epoch when it is called again.

    One process trains on all GPUs of its machine. On a cluster, start the same command on every
    machine, with TF_CONFIG set as TensorFlow documents it and with OUTPUT on a file system that
    all share. However many devices train, the result is that of one, but for rounding.

    \b
    Examples:
      python -m alexnet_lib finetune -o runs/ucmerced
      python -m alexnet_lib finetune my_images -o runs/mine --epochs 10
      python -m alexnet_lib finetune my_images -o runs/mine --split my_split.csv --keep-epochs
      python -m alexnet_lib finetune my_list.csv -o runs/mine --fractions 0.7,0.15,0.15
      python -m alexnet_lib finetune my_images -o runs/all --recipe all-layers --fc-units 256
      python -m alexnet_lib finetune my_images -o runs/quick --recipe readout
      python -m alexnet_lib finetune -o runs/two --recipe all-layers --workers 2
    """  # noqa: D301 - click wants the character
    if split_file and fractions:
        raise click.UsageError("--split and --fractions exclude each other.")
    if workers > 1 and recipe_of(recipe).closed_form:
        raise click.UsageError(f"--recipe {recipe} is fitted in one process, without --workers.")
    if workers > 1 and not os.environ.get("TF_CONFIG"):
        from alexnet_lib.finetuning.launch import run_workers

        return run_workers([sys.executable, "-m", "alexnet_lib", *sys.argv[1:]], workers)

    from alexnet_lib.finetuning.launch import check_tf_config
    from alexnet_lib.finetuning.settings import check_run, say

    check_tf_config()
    recipe, weights = _recipe(recipe, epochs, class_weights), _weights(weights)
    check_run(output, _settings(recipe, seed, fc_units, weights, augment))
    images = read_data(folder, output, skip_broken, white)  # what is missing is said at once
    import_tensorflow()
    from alexnet_lib.finetuning.replicas import default_strategy
    from alexnet_lib.finetuning.runs import train_classifier
    from alexnet_lib.images.splits import UCMERCED_SPLIT

    strategy = default_strategy()  # before anything else that TensorFlow does
    result = train_classifier(
        images,
        output,
        recipe,
        weights,
        split_file or fractions or (UCMERCED_SPLIT if folder is None else None),
        seed,
        fc_units,
        "float16" if float16 else "float32",
        keep_epochs,
        strategy,
        augment=augment,
    )
    if result is not None:
        show_result(result)
        say(f"Saved in {output}; `python -m alexnet_lib predict -m {output} IMAGE` uses it.")


@click.command()
@_training_options
@click.option("--folds", "k", default=5, show_default=True, type=click.IntRange(2))
def crossval(folder, skip_broken, white, output, recipe, epochs, augment, class_weights, seed,
             weights, fc_units, k):  # fmt: skip
    """Train and test K times on FOLDER, so that every image is tested once.

    Writes folds.csv, with all settings and versions, and predictions.csv.

    \b
    Example:
      python -m alexnet_lib crossval -o runs/frozen_5fold --fc-units 1024
    """  # noqa: D301 - click wants the character
    from alexnet_lib.finetuning.settings import check_folds, say

    recipe, weights = _recipe(recipe, epochs, class_weights), _weights(weights)
    check_folds(output, _settings(recipe, seed, fc_units, weights, augment) | {"k": k})
    images = read_data(folder, output, skip_broken, white)
    images = images.augmented(augment or images.augment)
    if images.given:
        say(f"{folder}: its own subsets are put together, so that every image is tested.")
    import_tensorflow()
    from alexnet_lib.finetuning.cross_validation import crossval
    from alexnet_lib.images.folder import duplicate_groups

    groups, views = duplicate_groups(images), images.views
    folds, _ = crossval(images, recipe, k, seed, views, groups, weights, fc_units, output)
    for number in sorted({1, views}):
        for name in ("accuracy", "balanced_accuracy"):
            if f"{name}_{number}" in folds:
                share, title = folds[f"{name}_{number}"], name.replace("_", " ")
                title = "" if name == "accuracy" else f"{title} "
                say(f"{number} view(s): {title}{share.mean():.2%} +- {share.std():.2%}")
