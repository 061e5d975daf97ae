"""AlexNet's weights from Caffe's files, and no other network's; and the names of its classes."""

import functools
import importlib.resources

from alexnet_lib.caffe.caffemodel import read_caffemodel
from alexnet_lib.caffe.comparison import compare_descriptions
from alexnet_lib.caffe.description import describe_caffemodel, parse_description
from alexnet_lib.caffe.schema import SUPPORTED, DescriptionError
from alexnet_lib.errors import InputError
from alexnet_lib.files import prefix_errors
from alexnet_lib.port.architecture import prototxt
from alexnet_lib.port.layouts import caffe_to_tensorflow

__all__ = ["imagenet_classes", "read_alexnet"]


def read_alexnet(path):
    """Read the weights of a `.caffemodel` of AlexNet into TensorFlow's layout.

    Args:
        path: the file. If it describes its layers, as Caffe's snapshots do, they must be AlexNet's,
            in AlexNet's order; fc layers may have any number of outputs, and the end may be absent.

    Returns:
        A dict of arrays, as of `caffe_to_tensorflow`.

    Raises:
        ValueError: where the file is of another network, or malformed.
    """
    with prefix_errors(path):
        _check_description(path)
        return caffe_to_tensorflow(read_caffemodel(path))


def _check_description(path):
    """Refuse a file that says of itself that it is another network."""
    described = describe_caffemodel(path)
    entries = {entry.name: entry for entry in (*described.layers, *described.layer)}
    net = parse_description(prototxt())
    for layer in list(net.layer):
        field, entry = SUPPORTED[layer.type], entries.get(layer.name)
        if entry is None or not field or field == "input_param":
            continue
        if not entry.HasField(field):  # it does not say, and so not another thing either
            getattr(entry, field).CopyFrom(getattr(layer, field))
        elif layer.type == "InnerProduct":
            layer.inner_product_param.num_output = entry.inner_product_param.num_output
    try:
        compare_descriptions(net, described)
    except DescriptionError as error:
        problem = (
            str(error).replace("the prototxt", "AlexNet").replace("the .caffemodel", "the file")
        )
        raise InputError(
            f"this is not AlexNet: {problem.split('. One of')[0]}. Other networks are ported by "
            "`python -m alexnet_lib port`"
        ) from error


@functools.cache
def imagenet_classes():
    """Return the 1000 classes as (WordNet id, names) in Caffe's order, which is by id.

    The names are WordNet's synonyms, joined by commas.
    """
    text = (importlib.resources.files("alexnet_lib.port") / "imagenet_classes.tsv").read_text(
        "utf-8"
    )
    return tuple(tuple(line.split("\t")) for line in text.splitlines())
