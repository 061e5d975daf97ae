"""The command evaluate, and what it shares with the commands that train."""

import functools
from pathlib import Path

import click

from alexnet_lib.errors import InputError, MissingFileError
from alexnet_lib.files import data_directory, prefix_errors
from alexnet_lib.finetuning.predict_command import classifier_file, model_option
from alexnet_lib.images.data import AUGMENTATIONS
from alexnet_lib.quiet import import_tensorflow

__all__ = ["add_options", "evaluate", "image_options", "read_data", "show_result"]

FEW_IMAGES = 1000  # for more, TensorFlow's speed is worth its start


def add_options(*options):
    """Return a decorator that adds options to a command, in this order."""
    return lambda command: functools.reduce(
        lambda inner, option: option(inner), reversed(options), command
    )


def _existing(_context, _argument, folder):
    """Refuse a folder that does not exist before anything is imported or computed."""
    if folder is None or folder.exists():
        return folder
    raise MissingFileError(f"{folder}: expected a folder of class folders, or a list of images")


image_options = add_options(
    click.argument("folder", required=False, callback=_existing, type=click.Path(path_type=Path)),
    click.option(
        "--skip-broken", is_flag=True,
        help="Leave out what is no image and empty classes, with a warning that names them.",
    ),
    click.option(
        "--white", type=click.FloatRange(min=0, min_open=True),
        help="The value of white in images of more than 8 bits, such as 4095 for 12 bits; by "
        "default of `evaluate`, that of the training.",
    ),
)  # fmt: skip


def read_data(folder, output=None, skip_broken=False, white=None):
    """Read the images of a folder, by default UC Merced's in the data directory."""
    from alexnet_lib.images.folder import find_ucmerced, read_folder

    folder = folder or find_ucmerced()
    if folder is None:
        raise MissingFileError(
            f"{data_directory()}: no UCMerced_LandUse/Images there. Run `python -m "
            "alexnet_lib fetch ucmerced`, or name a folder of class folders of your own."
        )
    if output and folder.is_dir() and output.resolve().is_relative_to(folder.resolve()):
        raise InputError(
            f"{output}: this folder for results lies in {folder}, where the next call would take "
            "it for a class. Name one outside with -o."
        )
    return read_folder(folder, skip_broken, white)


def show_result(result):
    """Say how many of the images are right, class by class, and which classes are confused."""
    from alexnet_lib.finetuning.settings import say

    low, high = result.interval()
    say(
        f"accuracy {result.accuracy:.2%} on {len(result.labels)} images "
        f"(95 % interval {low:.1%} to {high:.1%})"
    )
    for line in result.remarks():
        say(line)
    say(result.report().to_string(float_format="{:.3f}".format))
    if len(pairs := result.confused_pairs(5)):
        say(pairs.to_string(index=False))


@click.command()
@image_options
@model_option
@click.option(
    "--split",
    "split_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the test images of this split.csv instead of all images of FOLDER; without FOLDER, "
    "the book's own split of UC Merced is taken.",
)
@click.option(
    "--views", default="1", show_default=True, type=click.Choice(["1", "2", "8", "all"]),
    help="Take the mean of the probabilities over so many views: 2 with the mirror image, 8 with "
    "all flips and rotations, or all that the classifier's augmentation allows.",
)  # fmt: skip
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Folder for all tables.")
def evaluate(folder, skip_broken, white, model, split_file, views, output):
    """Classify the images of FOLDER, a folder of class folders, and compare with the truth.

    FOLDER may also hold folders of train and test, whose test images are taken, or be a list of
    images, as for `finetune`.

    \b
    Examples:
      python -m alexnet_lib evaluate
      python -m alexnet_lib evaluate my_images -m runs/mine --split runs/mine/split.csv --views all
    """  # noqa: D301 - click wants the character
    from alexnet_lib.finetuning.classifier import (
        classifier_augmentation,
        classifier_white,
        read_classifier,
    )
    from alexnet_lib.finetuning.settings import say

    model = classifier_file(model)
    weights, classes = read_classifier(model)
    augment, white = classifier_augmentation(model), white or classifier_white(model)
    if views != "all" and int(views) > AUGMENTATIONS[augment]:
        raise InputError(
            f"{model}: trained with --augment {augment}, which allows --views up to "
            f"{AUGMENTATIONS[augment]}: the network has not seen other flips and rotations. "
            f"Received: --views {views}"
        )
    images = read_data(folder, output, skip_broken, white).augmented(augment).with_classes(classes)
    count = images.views if views == "all" else int(views)
    if split_file or folder is None:
        from alexnet_lib.images.splits import UCMERCED_SPLIT, apply_split, read_split

        path = split_file or UCMERCED_SPLIT
        with prefix_errors(path):
            subsets = apply_split(images, read_split(path))
        if "test" not in subsets:
            raise InputError(f"{path}: expected test images, found only {', '.join(subsets)}")
        images = images.subset(subsets["test"])
    elif images.given:
        subset = next(name for name in ("test", "validation", "train") if name in images.given)
        images = images.subset([i for i, name in enumerate(images.given) if name == subset])
        say(f"{folder}: only its {subset} images are taken.")
    if len(images) * count <= FEW_IMAGES:
        from alexnet_lib.finetuning.evaluation import evaluate_files

        result = evaluate_files(weights, images, count)
    else:
        import_tensorflow()
        from alexnet_lib.finetuning.classifier import load_classifier
        from alexnet_lib.finetuning.evaluation import evaluate

        result = evaluate(load_classifier(model).model, images, count)
    show_result(result)
    if output is not None:
        result.write(output)
