"""The commands that port networks: convert, port and prove."""

import importlib.util
from pathlib import Path

import click

from alexnet_lib.errors import InputError, MissingFileError
from alexnet_lib.files import atomic_path, prefix_errors, write_csv
from alexnet_lib.quiet import import_tensorflow

__all__ = ["convert", "port", "prove", "read_mean_option"]


@click.command()
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
        from alexnet_lib.port.alexnet_files import read_alexnet
        from alexnet_lib.port.layouts import save_npz

        weights = read_alexnet(source)
        save_npz(target, weights)
    elif endings == (".npz", ".caffemodel"):
        from alexnet_lib.caffe.caffemodel import write_caffemodel
        from alexnet_lib.port.layouts import load_npz, only_weights, tensorflow_to_caffe

        weights = only_weights(load_npz(source))
        with prefix_errors(source):
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
    from alexnet_lib.port.alexnet_files import read_alexnet
    from alexnet_lib.port.layouts import load_npz

    with prefix_errors(source):  # what is wrong is said before TensorFlow starts
        weights = read_alexnet(source) if source.suffix == ".caffemodel" else load_npz(source)
    import_tensorflow()
    from alexnet_lib.port.alexnet import AlexNet

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
    for path in paths:
        if not path.exists():
            raise MissingFileError(f"{path}: no such file")
    return (None, *paths)[-2:]


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@_network_options
def port(paths, shapes, stop_at, rename, skip):
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
    options = _network(shapes, stop_at, rename, skip)
    from alexnet_lib.port.exchange import format_of

    format_of(target)
    _read(sources, options)
    import_tensorflow()
    from alexnet_lib.port.network import port

    _save(port(*sources, **options), target)


@click.command()
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
@click.option(
    "--white",
    type=click.FloatRange(min=0, min_open=True),
    help="Its value of white, if it has more than 8 bits.",
)
def prove(paths, shapes, stop_at, rename, skip, csv, picture, image, mean, white):
    """Compare every layer with another engine: PATHS are [PROTOTXT] CAFFEMODEL.

    Exit status 0 if all layers hold, 1 if not; the first layer that breaks is named.

    \b
    Examples:
      python -m alexnet_lib prove deploy.prototxt net.caffemodel
      python -m alexnet_lib prove deploy.prototxt net.caffemodel --csv table.csv --picture table.png
      python -m alexnet_lib prove deploy.prototxt net.caffemodel --image cat.jpg --mean 104,117,123
    """  # noqa: D301 - click wants the character
    sources = _description_and_weights(paths, "[PROTOTXT] CAFFEMODEL")
    if (mean or white) and not image:
        raise click.UsageError(f"--{'mean' if mean else 'white'} goes with --image.")
    if picture and importlib.util.find_spec("matplotlib") is None:
        raise click.UsageError("--picture needs matplotlib: pip install matplotlib")
    options = _network(shapes, stop_at, rename, skip)
    net = _read(sources, options)
    given = None if image is None else _photograph(net, image, mean, white)
    import_tensorflow()
    from alexnet_lib.port.prove import LIMIT, first_broken, plot_errors, prove

    table = prove(*sources, input=given, **options)
    click.echo(table.to_string(index=False, formatters={"error": "{:.1e}".format}))
    if csv:
        write_csv(csv, table)
    if picture:
        with atomic_path(picture) as partial:
            plot_errors(table).figure.savefig(partial)
    if broken := first_broken(table):
        raise click.ClickException(
            f"{broken} is the first layer whose error is not at most {LIMIT}"
        )
    click.echo(f"All {len(table)} layers hold: at most {table.error.max():.1e} of {LIMIT}.")


def _read(paths, options):
    """Read a network's description, so that its mistakes are said before TensorFlow starts."""
    from alexnet_lib.caffe.network_files import read_network

    names = ("input_shape", "stop_at", "rename")
    return read_network(*paths, **{name: options[name] for name in names})[0]


def _photograph(net, image, mean, white):
    """Return a photograph as the network's only input, channels last."""
    from alexnet_lib.images.preprocessing import image_of_size
    from alexnet_lib.images.reading import read_image

    shapes = [layer.input_param.shape[0].dim for layer in net.layer if layer.type == "Input"]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][1] not in (1, 3):
        raise InputError(
            f"--image: expected a network with one input of 1 or 3 channels, found "
            f"{', '.join(str(list(shape)) for shape in shapes)}"
        )
    return image_of_size(read_image(image, white), *shapes[0][1:], read_mean_option(mean))


def read_mean_option(text):
    """Return what `--mean` names: numbers, one for each channel, or the image of a file."""
    try:
        return [float(number) for number in (text or "0").split(",")]
    except ValueError:
        from alexnet_lib.caffe.caffemodel import read_mean

        return read_mean(text)
