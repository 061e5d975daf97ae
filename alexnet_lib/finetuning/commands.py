"""The commands that train and use classifiers: finetune, crossval, evaluate and predict."""

import os
import sys
from pathlib import Path

import click

from alexnet_lib.errors import InputError, MissingFileError
from alexnet_lib.files import data_directory, find_caffemodel, prefix_errors
from alexnet_lib.finetuning.recipes import CLASS_WEIGHTS, RECIPES, recipe_of, stages_of
from alexnet_lib.images.data import AUGMENTATIONS
from alexnet_lib.port.commands import read_mean_option
from alexnet_lib.quiet import import_tensorflow

__all__ = ["crossval", "evaluate", "finetune", "predict"]


def _data(folder):
    """Read the images of a folder, by default UC Merced's in the data directory."""
    from alexnet_lib.images.folder import find_ucmerced, read_folder

    folder = folder or find_ucmerced()
    if folder is None:
        raise MissingFileError(
            f"{data_directory()}: no UCMerced_LandUse/Images there. Run `python -m "
            "alexnet_lib fetch ucmerced`, or name a folder of class folders of your own."
        )
    return read_folder(folder)


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
    return recipe if epochs is None else recipe._replace(epochs=epochs)


def _settings(recipe, seed, fc_units, weights, augment):
    """Return what is known of a run's settings before its images are read."""
    from alexnet_lib.finetuning.settings import settings_of

    augment = {"augment": augment} if augment else {}
    return settings_of(stages_of(recipe), seed, fc_units, weights, **augment)


def _training_options(command):
    """Add the options that `finetune` and `crossval` share."""
    options = [
        click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path)),
        click.option(
            "--output", "-o", required=True, type=click.Path(file_okay=False, path_type=Path),
            help="Folder for the results; it may hold a run to go on with.",
        ),
        click.option(
            "--recipe", default="recommended", show_default=True,
            type=click.Choice(list(RECIPES)),
            help="The first two train fc6-fc8 on frozen convolutions; the last goes on from there.",
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
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_training_options
@click.option(
    "--split",
    "split_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take training, validation and test images from this CSV of file, class and subset.",
)
@click.option("--keep-epochs", is_flag=True, help="Keep every epoch's weights in OUTPUT/epochs.")
@click.option("--float16", is_flag=True, help="Store the classifier in half precision.")
@click.option(
    "--workers", default=1, show_default=True, type=click.IntRange(1),
    help="Train in so many processes on this machine's processors.",
)  # fmt: skip
def finetune(folder, output, recipe, epochs, augment, class_weights, seed, weights, fc_units,
             split_file, keep_epochs, float16, workers):  # fmt: skip
    """Fine-tune AlexNet on FOLDER, a folder of class folders; by default on UC Merced.

    Images are split 80/10/10 (UC Merced by the book's own split), the epoch is chosen by
    validation (by balanced accuracy where its classes differ in size), and the test images are
    looked at once, at the end. A run that was killed goes on from its last epoch when it is called
    again.

    One process trains on all GPUs of its machine. On a cluster, start the same command on every
    machine, with TF_CONFIG set as TensorFlow documents it and with OUTPUT on a file system that
    all share. However many devices train, the result is that of one, but for rounding.

    \b
    Examples:
      python -m alexnet_lib finetune -o runs/ucmerced
      python -m alexnet_lib finetune my_images -o runs/mine --epochs 10
      python -m alexnet_lib finetune my_images -o runs/mine --split my_split.csv --keep-epochs
      python -m alexnet_lib finetune my_images -o runs/all --recipe all-layers --fc-units 256
      python -m alexnet_lib finetune -o runs/two --recipe all-layers --workers 2
    """  # noqa: D301 - click wants the character
    from alexnet_lib.finetuning.launch import check_tf_config, run_workers
    from alexnet_lib.finetuning.settings import check_run, say

    if workers > 1 and not os.environ.get("TF_CONFIG"):
        return run_workers([sys.executable, "-m", "alexnet_lib", *sys.argv[1:]], workers)

    check_tf_config()
    weights, recipe = _weights(weights), _recipe(recipe, epochs, class_weights)
    check_run(output, _settings(recipe, seed, fc_units, weights, augment))
    images = _data(folder)  # what is missing is said at once
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
        split_file or (UCMERCED_SPLIT if folder is None else None),
        seed,
        fc_units,
        "float16" if float16 else "float32",
        keep_epochs,
        strategy,
        augment=augment,
    )
    if result is not None:
        _show(result)
        say(f"Saved in {output}; `python -m alexnet_lib predict -m {output} IMAGE` uses it.")


@click.command()
@_training_options
@click.option("--folds", "k", default=5, show_default=True, type=click.IntRange(2))
def crossval(folder, output, recipe, epochs, augment, class_weights, seed, weights, fc_units, k):
    """Train and test K times on FOLDER, so that every image is tested once.

    Writes folds.csv, with all settings and versions, and predictions.csv.

    \b
    Example:
      python -m alexnet_lib crossval -o runs/frozen_5fold --fc-units 1024
    """  # noqa: D301 - click wants the character
    from alexnet_lib.finetuning.settings import check_folds, say

    weights, recipe = _weights(weights), _recipe(recipe, epochs, class_weights)
    check_folds(output, _settings(recipe, seed, fc_units, weights, augment) | {"k": k})
    images = _data(folder)
    images = images.augmented(augment or images.augment)
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


def _show(result):
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


_model_option = click.option(
    "--model", "-m", type=click.Path(exists=True, path_type=Path),
    help="A folder that `finetune` wrote, of a run that has ended or not, or a file in it: "
    "classifier.npz, best.npz or one of epochs; by default the book's own classifier of aerial "
    "images.",
)  # fmt: skip


def _classifier_file(path):
    """Return the file that `--model` names, after saying what its user needs to know."""
    import_tensorflow()
    from alexnet_lib.finetuning.classifier import UCMERCED_CLASSIFIER, find_classifier

    file, note = find_classifier(path or UCMERCED_CLASSIFIER)
    if note:
        click.echo(note, err=True)
    return file


def _classifier(path):
    """Load what `--model` names."""
    file = _classifier_file(path)
    from alexnet_lib.finetuning.classifier import load_classifier

    return load_classifier(file)


@click.command()
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@_model_option
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
def evaluate(folder, model, split_file, views, output):
    """Classify the images of FOLDER, a folder of class folders, and compare with the truth.

    \b
    Examples:
      python -m alexnet_lib evaluate
      python -m alexnet_lib evaluate my_images -m runs/mine --split runs/mine/split.csv --views all
    """  # noqa: D301 - click wants the character
    import_tensorflow()
    from alexnet_lib.finetuning.classifier import classifier_augmentation, load_classifier
    from alexnet_lib.finetuning.evaluation import evaluate
    from alexnet_lib.images.splits import UCMERCED_SPLIT, apply_split, read_split

    model = _classifier_file(model)
    classifier, augment = load_classifier(model), classifier_augmentation(model)
    if views != "all" and int(views) > AUGMENTATIONS[augment]:
        raise InputError(
            f"{model}: trained with --augment {augment}, which allows --views up to "
            f"{AUGMENTATIONS[augment]}: the network has not seen other flips and rotations. "
            f"Received: --views {views}"
        )
    images = _data(folder).augmented(augment)
    if images.classes != classifier.classes:
        raise InputError(
            f"{images.folder}: expected folders of the model's classes, "
            f"{', '.join(classifier.classes)}, got {', '.join(images.classes)}"
        )
    if split_file or folder is None:
        path = split_file or UCMERCED_SPLIT
        with prefix_errors(path):
            subsets = apply_split(images, read_split(path))
        if "test" not in subsets:
            raise InputError(f"{path}: expected test images, found only {', '.join(subsets)}")
        images = images.subset(subsets["test"])
    result = evaluate(classifier.model, images, images.views if views == "all" else int(views))
    _show(result)
    if output is not None:
        result.write(output)


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@_model_option
@click.option("--imagenet", is_flag=True, help="Use BVLC's official weights and their classes.")
@click.option("--top", default=5, show_default=True, type=click.IntRange(1))
@click.option(
    "--mean", help="What to subtract instead of ImageNet's mean: a .binaryproto, or B,G,R."
)
def predict(images, model, imagenet, top, mean):
    """Name the most probable classes of IMAGES.

    \b
    Examples:
      python -m alexnet_lib predict field.png harbour.tif
      python -m alexnet_lib predict -m runs/mine photograph.jpg
      python -m alexnet_lib predict --imagenet cat.jpg --top 3
    """  # noqa: D301 - click wants the character
    import_tensorflow()
    from alexnet_lib.images.preprocessing import IMAGENET_MEAN, preprocess_input, read_image
    from alexnet_lib.port.alexnet import AlexNet, imagenet_classes

    if imagenet and model:
        raise click.UsageError("--imagenet and --model exclude each other.")
    mean = read_mean_option(mean) if mean else IMAGENET_MEAN
    batches = [preprocess_input(read_image(path), "stretch", mean=mean) for path in images]
    if imagenet:
        network = AlexNet("imagenet")
        classes = [names.split(",")[0] for _, names in imagenet_classes()]
    else:
        network, classes = _classifier(model)
    for path, batch in zip(images, batches, strict=True):
        probabilities = network(batch, training=False).numpy()[0]
        click.echo(path)
        for index in (-probabilities).argsort(kind="stable")[:top]:
            click.echo(f"  {probabilities[index]:7.2%}  {classes[index]}")
