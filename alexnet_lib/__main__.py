"""The command line: `python -m alexnet_lib COMMAND`."""

from pathlib import Path

import click

from alexnet_lib import files
from alexnet_lib.caffemodel import read_caffemodel, write_caffemodel
from alexnet_lib.weights import caffe_to_tensorflow, load_npz, save_npz, tensorflow_to_caffe


class _Commands(click.Group):
    """Turns a user's mistake, which the library names in its message, into one line and exit 1."""

    def invoke(self, context):
        try:
            return super().invoke(context)
        except (ValueError, OSError) as error:
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
    from alexnet_lib.fetch import fetch_imagenet_weights, fetch_ucmerced

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
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path))
def convert(source, target):
    """Convert weights between Caffe's and TensorFlow's layout, either way.

    SOURCE and TARGET end in .caffemodel or .npz; the endings tell the direction.

    \b
    Examples:
      python -m alexnet_lib convert bvlc_alexnet.caffemodel alexnet.npz
      python -m alexnet_lib convert alexnet.npz again.caffemodel
    """  # noqa: D301 - click wants the character
    endings = (source.suffix, target.suffix)
    if endings == (".caffemodel", ".npz"):
        with files.naming(source):
            weights = caffe_to_tensorflow(read_caffemodel(source))
        save_npz(target, weights)
    elif endings == (".npz", ".caffemodel"):
        weights = load_npz(source)
        with files.naming(source):
            blobs = tensorflow_to_caffe(weights)
        write_caffemodel(target, blobs)
    else:
        raise click.UsageError(
            "SOURCE and TARGET must end in .caffemodel and .npz, or the other way round. "
            f"Received: {source.name} and {target.name}"
        )
    parameters = sum(array.size for array in weights.values())
    click.echo(f"{target}: {len(weights) // 2} layers, {parameters:,} parameters")


if __name__ == "__main__":
    main(prog_name="python -m alexnet_lib")
