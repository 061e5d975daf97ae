"""The command line: `python -m alexnet_lib COMMAND`."""

import os
import sys
from pathlib import Path

import click

from alexnet_lib import files
from alexnet_lib.errors import AlexNetError, InputError, MissingFileError
from alexnet_lib.finetuning.recipes import RECIPES, recipe_of
from alexnet_lib.port.caffemodel import write_caffemodel
from alexnet_lib.port.layouts import load_npz, read_alexnet, save_npz, tensorflow_to_caffe
from alexnet_lib.quiet import import_tensorflow


class _Commands(click.Group):
    """Turns errors that a user can cause into their message and exit 1; others are bugs."""

    def invoke(self, context):
        try:
            return super().invoke(context)
        except (AlexNetError, OSError) as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def main():
    """Move Caffe's AlexNet to TensorFlow.

    Data is looked for in $ALEXNET_DATA, else in the book's folder data/downloads.
    """


@main.command()
@click.argument("what", nargs=-1, type=click.Choice(["ucmerced", "alexnet"]))
def fetch(what):
    """Download the UC Merced images (332 MB), BVLC's official weights (244 MB), or both.

    A download that was cut off goes on where it stopped; checksums are verified before anything is
    installed; what is there already is left alone.

    \b
    Examples:
      python -m alexnet_lib fetch
      python -m alexnet_lib fetch ucmerced
    """  # noqa: D301 - click wants the character
    from alexnet_lib.download import fetch_imagenet_weights, fetch_ucmerced

    fetchers = {"ucmerced": fetch_ucmerced, "alexnet": fetch_imagenet_weights}
    failures = []
    for name in what or fetchers:
        try:
            click.echo(fetchers[name]())
        except OSError as error:  # the other may still be had
            failures.append(str(error))
    if failures:
        raise click.ClickException("\n".join(failures))


@main.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
def convert(source, target):
    """Convert AlexNet's weights between Caffe and TensorFlow, or to other programs.

    SOURCE and TARGET end in .caffemodel or .npz, either way. From either, TARGET may also be a
    whole model: .keras, .weights.h5, .onnx, .tflite or, without an ending, a SavedModel's folder.
    Other networks than AlexNet are taken by `port`.

    \b
    Examples:
      python -m alexnet_lib convert bvlc_alexnet.caffemodel alexnet.npz
      python -m alexnet_lib convert alexnet.npz again.caffemodel
      python -m alexnet_lib convert bvlc_alexnet.caffemodel alexnet.onnx
    """  # noqa: D301 - click wants the character
    endings = (source.suffix, target.suffix)
    if endings == (".caffemodel", ".npz"):
        weights = read_alexnet(source)
        save_npz(target, weights)
    elif endings == (".npz", ".caffemodel"):
        weights = load_npz(source)
        with files.prefix_errors(source):
            blobs = tensorflow_to_caffe(weights)
        write_caffemodel(target, blobs)
    elif source.suffix in (".caffemodel", ".npz") and (
        not target.suffix or target.name.endswith((".keras", ".weights.h5", ".onnx", ".tflite"))
    ):
        return _save(_alexnet(source), target)
    else:
        raise click.UsageError(
            "SOURCE must end in .caffemodel or .npz, and TARGET in another of these, .keras, "
            ".weights.h5, .onnx or .tflite, or be a folder. "
            f"Received: {source.name} and {target.name}"
        )
    parameters = sum(array.size for array in weights.values())
    click.echo(f"{target}: {len(weights) // 2} layers, {parameters:,} parameters")


def _alexnet(source):
    """Return AlexNet with a file's weights and as many classes as the file has."""
    from alexnet_lib.port.alexnet import AlexNet

    with files.prefix_errors(source):
        weights = read_alexnet(source) if source.suffix == ".caffemodel" else load_npz(source)
    head = weights.get("fc8/bias")
    units = weights.get("fc6/bias")
    if head is None:
        return AlexNet(source, include_top=False)
    return AlexNet(source, classes=head.size, fc_units=units.size)


def _save(model, target):
    """Write a model, and say what its own runtime made of the file."""
    from alexnet_lib.port.exchange import save_model

    error = save_model(model, target)
    click.echo(
        f"{target}: {len(model.layers)} layers, {model.count_params():,} parameters; opened and "
        f"compared, largest difference {error:.1e}"
    )


def _network_options(command):
    """Add the arguments and options that `port` and `prove` share."""
    options = [
        click.option(
            "--input", "shapes", multiple=True, metavar="[NAME=]N,C,H,W",
            help="The input's shape; with NAME=, the shape of one of several inputs.",
        ),
        click.option("--stop-at", help="Layers to stop at, separated by commas."),
        click.option(
            "--rename", multiple=True, metavar="OLD=NEW",
            help="The weights' layer OLD is the description's NEW.",
        ),
        click.option(
            "--skip", multiple=True, metavar="LAYER",
            help="This layer starts fresh, without the file's weights.",
        ),
    ]  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def _network(shapes, stop_at, rename, skip):
    """Turn the shared options into arguments of the library."""
    given, names = {}, {}
    for text in shapes:
        name, _, sizes = text.rpartition("=")
        try:
            given[name] = tuple(int(size) for size in sizes.split(","))
        except ValueError:
            raise click.UsageError(f"--input: expected [NAME=]N,C,H,W. Received: {text}") from None
    for text in rename:
        old, _, names[old] = text.partition("=")
        if not (old and names[old]):
            raise click.UsageError(f"--rename: expected OLD=NEW. Received: {text}")
    if "" in given and len(given) > 1:
        raise click.UsageError("--input: name each of several inputs: NAME=N,C,H,W")
    shape = given.get("", given or None)
    return {"input_shape": shape, "stop_at": stop_at, "rename": names, "skip": skip}


def _description_and_weights(paths, usage):
    """Return prototxt and caffemodel; alone, a .caffemodel describes itself."""
    if not 1 <= len(paths) <= 2:
        raise click.UsageError(f"expected {usage}. Received: {' '.join(map(str, paths))}")
    return (None, *paths)[-2:]


@main.command("port")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@_network_options
def port_command(paths, shapes, stop_at, rename, skip):
    """Port a Caffe network to Keras: PATHS are [PROTOTXT] CAFFEMODEL TARGET.

    TARGET ends in .keras, .weights.h5, .npz (weights alone), .onnx or .tflite, or is a folder for a
    SavedModel. It is opened by its own runtime and compared before this reports success. Without
    PROTOTXT, the .caffemodel's own description is taken.

    \b
    Examples:
      python -m alexnet_lib port deploy.prototxt net.caffemodel net.keras
      python -m alexnet_lib port net.caffemodel net.onnx --input 1,3,224,224
      python -m alexnet_lib port train_val.prototxt net.caffemodel net.keras \\
          --input 1,3,32,32 --stop-at prob
    """  # noqa: D301 - click wants the character
    *sources, target = paths
    sources = _description_and_weights(sources, "[PROTOTXT] CAFFEMODEL TARGET")
    from alexnet_lib.port.exchange import format_of
    from alexnet_lib.port.network import port

    format_of(target)  # a wrong ending is known before the work
    _save(port(*sources, **_network(shapes, stop_at, rename, skip)), target)


@main.command("prove")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@_network_options
@click.option("--csv", type=click.Path(dir_okay=False, path_type=Path), help="Write the table.")
@click.option(
    "--picture", type=click.Path(dir_okay=False, path_type=Path), help="Draw the errors by layer."
)
@click.option(
    "--image",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Run this photograph, stretched to the input's size, instead of noise.",
)
@click.option("--mean", help="What to subtract from it: a .binaryproto, or numbers: B,G,R.")
def prove_command(paths, shapes, stop_at, rename, skip, csv, picture, image, mean):
    """Compare every layer with another engine: PATHS are [PROTOTXT] CAFFEMODEL.

    Exit status 0 if all layers hold, 1 if not; the first layer that breaks is named.

    \b
    Examples:
      python -m alexnet_lib prove deploy.prototxt net.caffemodel
      python -m alexnet_lib prove deploy.prototxt net.caffemodel --csv table.csv --picture table.png
      python -m alexnet_lib prove deploy.prototxt net.caffemodel --image cat.jpg --mean 104,117,123
    """  # noqa: D301 - click wants the character
    sources = _description_and_weights(paths, "[PROTOTXT] CAFFEMODEL")
    if mean and not image:
        raise click.UsageError("--mean goes with --image.")
    from alexnet_lib.port.prove import LIMIT, first_broken, plot_errors, prove

    options = _network(shapes, stop_at, rename, skip)
    given = None if image is None else _photograph(sources, options, image, mean)
    table = prove(*sources, input=given, **options)
    click.echo(table.to_string(index=False, formatters={"error": "{:.1e}".format}))
    if csv:
        files.write_csv(csv, table)
    if picture:
        with files.atomic_path(picture) as partial:
            plot_errors(table).savefig(partial)
    if broken := first_broken(table):
        raise click.ClickException(
            f"{broken} is the first layer whose error is not at most {LIMIT}"
        )
    click.echo(f"All {len(table)} layers hold: at most {table.error.max():.1e} of {LIMIT}.")


def _photograph(sources, options, image, mean):
    """Return a photograph as the network's only input, channels last."""
    from alexnet_lib.images.preprocessing import image_of_size, read_image
    from alexnet_lib.port.network import read_network

    net, _ = read_network(*sources, options["input_shape"], options["stop_at"], options["rename"])
    shapes = [layer.input_param.shape[0].dim for layer in net.layer if layer.type == "Input"]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (1, 3):
        raise InputError(
            f"--image: expected a network with one input of 1 or 3 channels, found "
            f"{', '.join(str(list(shape)) for shape in shapes)}"
        )
    return image_of_size(read_image(image), *shapes[0][1:], _mean(mean))


def _mean(text):
    """Read what `--mean` names: a file, or a number for each channel."""
    from alexnet_lib.port.caffemodel import read_mean

    try:
        return [float(number) for number in (text or "0").split(",")]
    except ValueError:
        return read_mean(text)


def _data(folder):
    """Read the images of a folder, by default UC Merced's in the data directory."""
    from alexnet_lib.images.folder import find_ucmerced, read_folder

    folder = folder or find_ucmerced()
    if folder is None:
        raise MissingFileError(
            f"{files.data_directory()}: no UCMerced_LandUse/Images there. Run `python -m "
            "alexnet_lib fetch ucmerced`, or name a folder of class folders of your own."
        )
    return read_folder(folder)


def _weights(weights):
    """Return the file of trained weights to start from."""
    found = weights or files.find_caffemodel()
    if found is None:
        raise MissingFileError(
            f"{files.data_directory()}: no .caffemodel there. Run `python -m alexnet_lib fetch "
            "alexnet`, or name a file with --weights."
        )
    return found


def _recipe(name, epochs):
    recipe = recipe_of(name)
    return recipe if epochs is None else recipe._replace(epochs=epochs)


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
        click.option("--epochs", type=click.IntRange(1), help="Instead of the recipe's own."),
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


@main.command()
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
def finetune(folder, output, recipe, epochs, seed, weights, fc_units, split_file, keep_epochs,
             float16, workers):  # fmt: skip
    """Fine-tune AlexNet on FOLDER, a folder of class folders; by default on UC Merced.

    Images are split 80/10/10 (UC Merced by the book's own split), the epoch is chosen by
    validation, and the test images are looked at once, at the end. A run that was killed goes on
    from its last epoch when it is called again.

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
    if workers > 1 and not os.environ.get("TF_CONFIG"):
        from alexnet_lib.finetuning.launch import run_workers

        return run_workers([sys.executable, "-m", "alexnet_lib", *sys.argv[1:]], workers)

    weights, images = _weights(weights), _data(folder)  # what is missing is said at once
    import_tensorflow()
    from alexnet_lib.finetuning.replicas import default_strategy
    from alexnet_lib.finetuning.runs import train_classifier
    from alexnet_lib.images.splits import UCMERCED_SPLIT

    strategy = default_strategy()  # before anything else that TensorFlow does
    result = train_classifier(
        images,
        output,
        _recipe(recipe, epochs),
        weights,
        split_file or (UCMERCED_SPLIT if folder is None else None),
        seed,
        fc_units,
        "float16" if float16 else "float32",
        keep_epochs,
        strategy,
    )
    if result is not None:
        _show(result)
        click.echo(f"Saved in {output}; `python -m alexnet_lib predict -m {output} IMAGE` uses it.")


@main.command()
@_training_options
@click.option("--folds", "k", default=5, show_default=True, type=click.IntRange(2))
def crossval(folder, output, recipe, epochs, seed, weights, fc_units, k):
    """Train and test K times on FOLDER, so that every image is tested once.

    Writes folds.csv, with all settings and versions, and predictions.csv.

    \b
    Example:
      python -m alexnet_lib crossval -o runs/frozen_5fold --fc-units 1024
    """  # noqa: D301 - click wants the character
    weights, images = _weights(weights), _data(folder)
    import_tensorflow()
    from alexnet_lib.finetuning.cross_validation import crossval
    from alexnet_lib.images.data import VIEWS
    from alexnet_lib.images.folder import duplicate_groups

    groups, recipe = duplicate_groups(images), _recipe(recipe, epochs)
    folds, _ = crossval(images, recipe, k, seed, VIEWS, groups, weights, fc_units, output)
    for views in (1, VIEWS):
        accuracy = folds[f"accuracy_{views}"]
        click.echo(f"{views} view(s): {accuracy.mean():.2%} +- {accuracy.std():.2%}")


def _show(result):
    low, high = result.interval()
    click.echo(
        f"accuracy {result.accuracy:.2%} on {len(result.labels)} images "
        f"(95 % interval {low:.1%} to {high:.1%})"
    )
    click.echo(result.report().to_string(float_format="{:.3f}".format))
    if len(pairs := result.confused_pairs(5)):
        click.echo(pairs.to_string(index=False))


_model_option = click.option(
    "--model", "-m", type=click.Path(exists=True, path_type=Path),
    help="A folder that `finetune` wrote, or its classifier.npz; by default the book's own "
    "classifier of aerial images.",
)  # fmt: skip


def _classifier(path):
    """Load what `--model` names."""
    import_tensorflow()
    from alexnet_lib.finetuning.classifier import UCMERCED_CLASSIFIER, load_classifier

    path = path or UCMERCED_CLASSIFIER
    return load_classifier(path / "classifier.npz" if path.is_dir() else path)


@main.command()
@click.argument("folder", required=False, type=click.Path(file_okay=False, path_type=Path))
@_model_option
@click.option(
    "--split",
    "split_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Take the test images of this split.csv instead of all images of FOLDER; without FOLDER, "
    "the book's own split of UC Merced is taken.",
)
@click.option("--views", default="1", show_default=True, type=click.Choice(["1", "8"]))
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Folder for all tables.")
def evaluate(folder, model, split_file, views, output):
    """Classify the images of FOLDER, a folder of class folders, and compare with the truth.

    \b
    Examples:
      python -m alexnet_lib evaluate
      python -m alexnet_lib evaluate my_images -m runs/mine --split runs/mine/split.csv --views 8
    """  # noqa: D301 - click wants the character
    import_tensorflow()
    from alexnet_lib.finetuning.evaluation import evaluate
    from alexnet_lib.images.splits import UCMERCED_SPLIT, apply_split, read_split

    classifier, images = _classifier(model), _data(folder)
    if images.classes != classifier.classes:
        raise InputError(
            f"{images.folder}: expected folders of the model's classes, "
            f"{', '.join(classifier.classes)}, got {', '.join(images.classes)}"
        )
    if split_file or folder is None:
        path = split_file or UCMERCED_SPLIT
        with files.prefix_errors(path):
            subsets = apply_split(images, read_split(path))
        if "test" not in subsets:
            raise InputError(f"{path}: expected test images, found only {', '.join(subsets)}")
        images = images.subset(subsets["test"])
    result = evaluate(classifier.model, images, int(views))
    _show(result)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        tables = {
            "predictions": result.table().round(4),
            "report": result.report().rename_axis("class").reset_index(),
            "confusion_matrix": result.confusion_matrix().reset_index(),
        }
        for name, table in tables.items():
            files.write_csv(output / f"{name}.csv", table)


@main.command()
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
    mean = _mean(mean) if mean else IMAGENET_MEAN
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


if __name__ == "__main__":
    main(prog_name="python -m alexnet_lib")
