"""The command predict. It loads nothing that it does not need: an answer takes half a second."""

import csv
import functools
import io
import re
import sys
from pathlib import Path

import click

from alexnet_lib.errors import printable
from alexnet_lib.files import UCMERCED_CLASSIFIER, atomic_path
from alexnet_lib.port.commands import read_mean_option

__all__ = ["classifier_file", "model_option", "predict"]

model_option = click.option(
    "--model", "-m", type=click.Path(exists=True, path_type=Path),
    help="A folder that `finetune` wrote, of a run that has ended or not, or a file in it: "
    "classifier.npz, best.npz or one of epochs; by default the book's own classifier of aerial "
    "images.",
)  # fmt: skip


def classifier_file(path):
    """Return the file that `--model` names, after saying what its user needs to know."""
    from alexnet_lib.finetuning.classifier import find_classifier

    file, note = find_classifier(path or UCMERCED_CLASSIFIER)
    if note:
        click.echo(note, err=True)
    return file


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(path_type=Path))
@model_option
@click.option("--imagenet", is_flag=True, help="Use BVLC's official weights and their classes.")
@click.option("--top", default=5, show_default=True, type=click.IntRange(1))
@click.option(
    "--mean", help="What to subtract instead of ImageNet's mean: a .binaryproto, or B,G,R."
)
@click.option(
    "--white",
    type=click.FloatRange(min=0, min_open=True),
    help="The value of white in images of more than 8 bits, such as 4095 for 12 bits; by default "
    "that of the training.",
)
@click.option(
    "--csv", "table", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write a table of file, rank, class and probability instead of lines; - for stdout.",
)  # fmt: skip
def predict(images, model, imagenet, top, mean, white, table):
    """Name the most probable classes of IMAGES: files, or folders with their subfolders.

    Files that are not images are named on stderr, the others answered; the exit status is then 1.

    \b
    Examples:
      python -m alexnet_lib predict field.png harbour.tif
      python -m alexnet_lib predict -m runs/mine photograph.jpg
      python -m alexnet_lib predict -m runs/mine my_images --csv answers.csv
      python -m alexnet_lib predict --imagenet cat.jpg --top 3
    """  # noqa: D301 - click wants the character
    if imagenet and model:
        raise click.UsageError("--imagenet and --model exclude each other.")
    from alexnet_lib.images.image_files import image_files

    files, errors = image_files(images)
    for error in errors:
        _report(error)
    failed = len(errors)
    if files:
        from alexnet_lib.finetuning.prediction import classify
        from alexnet_lib.images.preprocessing import IMAGENET_MEAN
        from alexnet_lib.images.reading import read_image

        mean = read_mean_option(mean) if mean else IMAGENET_MEAN
        weights, classes, known = _network(model, imagenet)
        white = white or known
        read = functools.partial(read_image, white=white) if white else read_image
        results = classify(weights, files, mean, read=read)
        results = _with_bar(results, len(files), table)
        failed += (_write_table if table else _write_lines)(results, classes, top, table)
    if failed:
        sys.exit(1)


def _network(model, imagenet):
    """Return the arrays, the classes and the white of the network that the options name."""
    from alexnet_lib.finetuning.classifier import classifier_white, read_classifier

    if not imagenet:
        path = classifier_file(model)
        return *read_classifier(path), classifier_white(path)
    from alexnet_lib.files import find_imagenet_weights, prefix_errors
    from alexnet_lib.port.alexnet_files import imagenet_classes, read_alexnet
    from alexnet_lib.port.inference import check_weights

    path = find_imagenet_weights()
    weights = read_alexnet(path)
    with prefix_errors(path):
        weights = check_weights(weights)
    return weights, [names.split(",")[0] for _, names in imagenet_classes()], None


def _with_bar(results, total, table):
    """Show a bar on a terminal, unless the lines of the answer go there."""
    if total == 1 or not sys.stderr.isatty() or (sys.stdout.isatty() and str(table) in "None -"):
        return results
    from tqdm import tqdm

    return tqdm(results, "predict", total, unit="images", leave=False)


def _answers(results, classes, top):
    """Yield each file with its best (class, probability), best first; report the others."""
    for path, result in results:
        if isinstance(result, Exception):
            _report(result, path)
            yield path, None
        else:
            order = (-result).argsort(kind="stable")[:top]
            yield path, [(classes[index], float(result[index])) for index in order]


def _write_lines(results, classes, top, _):
    """Print the answers as they come; return the number of files without one."""
    failed = 0
    for path, best in _answers(results, classes, top):
        if best is None:
            failed += 1
            continue
        lines = [f"  {probability:7.2%}  {name}" for name, probability in best]
        _print("\n".join([_shown(path), *lines, ""]))
    return failed


def _write_table(results, classes, top, target):
    """Write the answers as CSV; return the number of files without one."""
    if str(target) == "-":
        return _write_rows(_print, results, classes, top)
    with atomic_path(target) as partial, open(partial, "w", newline="", encoding="utf-8") as file:
        return _write_rows(file.write, results, classes, top)


def _write_rows(write, results, classes, top):
    def rows(values):
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(values)
        write(printable(text.getvalue()))  # a name that is not UTF-8 would make it unreadable

    failed = 0
    rows([("file", "rank", "class", "probability")])
    for path, best in _answers(results, classes, top):
        failed += best is None
        rows(
            (path, rank, name, f"{probability:.6g}")
            for rank, (name, probability) in enumerate(best or (), start=1)
        )
    return failed


def _report(error, path=None):
    """Print one line about a file on stderr."""
    text, name = _shown(error), "" if path is None else _shown(path)
    click.echo(f"Error: {text if name in text else f'{name}: {text}'}", err=True)


def _print(text):
    """Print text as it is, in any encoding of the terminal."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), nl=False)


def _shown(text):
    """Return text on one line, with escapes for control characters and bytes that are no UTF-8."""
    text = re.sub(
        "[\x00-\x1f\x7f-\x9f\u2028\u2029]",
        lambda found: found[0].encode("unicode_escape").decode(),
        str(text),
    )
    return printable(text)
