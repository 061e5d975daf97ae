"""Read a network from its two files: the description in normal form, and the weights for it."""

from alexnet_lib.caffe.caffemodel import read_caffemodel
from alexnet_lib.caffe.comparison import compare_descriptions, share_weights
from alexnet_lib.caffe.description import describe_caffemodel, read_description
from alexnet_lib.caffe.normal_form import normalize
from alexnet_lib.errors import InputError

__all__ = ["read_network"]


def read_network(prototxt, caffemodel=None, input_shape=None, stop_at=None, rename=None):
    """Read a network: its description in normal form, and its weights.

    Args:
        prototxt: path of the description, or None where the weights describe themselves.
        caffemodel: path of the weights, or None for a description alone.
        input_shape: as for `normalize`.
        stop_at: as for `normalize`.
        rename: a dict from names of layers in the weights to those in the description.

    Returns:
        A `NetParameter` and a dict of blobs by layer name, or None without weights.

    Raises:
        ValueError: where a file is not what it should be, or the two belong to other networks.
    """
    if prototxt is None and caffemodel is None:
        raise InputError("expected a prototxt, a .caffemodel, or both. Received: neither")
    read = None if caffemodel is None else describe_caffemodel(caffemodel)
    described = read if prototxt is None else read_description(prototxt)
    net = normalize(described, input_shape, stop_at)
    if caffemodel is None:
        return net, None
    if prototxt is not None:
        compare_descriptions(net, read, rename)
    blobs = read_caffemodel(caffemodel)
    if unknown := sorted(set(rename or {}) - set(blobs)):
        raise InputError(
            f"{caffemodel}: rename: expected layers with weights, which are "
            f"{', '.join(blobs)}. Received: {', '.join(unknown)}"
        )
    blobs = {(rename or {}).get(name, name): own for name, own in blobs.items()}
    # What comes after `stop_at`, or only serves training, is left out on purpose.
    unused = {layer.name for layer in (*described.layer, *described.layers)}
    unused -= {layer.name for layer in net.layer}
    return net, share_weights(net, {n: own for n, own in blobs.items() if n not in unused})
