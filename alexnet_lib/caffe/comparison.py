"""Whether a prototxt and a `.caffemodel` belong together: same layers, connected the same way."""

import numpy as np

from alexnet_lib.caffe.generations import resolve_spellings, upgrade
from alexnet_lib.caffe.graph import connect, serves_training
from alexnet_lib.caffe.parameters import window
from alexnet_lib.caffe.schema import SUPPORTED, refuse

__all__ = ["compare_descriptions", "share_weights"]

# Settings that do not change what a layer computes in phase TEST. Field 13 of pooling is
# `round_mode` for BVLC and its opposite, `ceil_mode`, for forks.
NOT_COMPARED = {"engine", "force_nd_im2col", "moving_average_fraction", "use_global_stats",
                "stable_prod_grad", "round_mode", "ceil_mode"}  # fmt: skip
# Windows are compared as the sizes that they come to.
WINDOW = {"kernel_size", "kernel_h", "kernel_w", "stride", "stride_h", "stride_w", "pad", "pad_h",
          "pad_w", "dilation"}  # fmt: skip
MISMATCH = "One of the two files belongs to another network"


def compare_descriptions(net, described, rename=None):
    """Refuse a prototxt that describes another network than the `.caffemodel` does itself.

    Layers are compared by name: their type, what they compute and from what. Layers that only one
    of the two has are looked through, since a file of weights describes its training network.

    Args:
        net: the prototxt's NetParameter, from `normalize`.
        described: the `.caffemodel`'s, from `describe_caffemodel`. Where it has no connections, it
            is a file of weights alone, and nothing is compared.
        rename: a dict from a layer's name in the `.caffemodel` to its name in the prototxt.

    Raises:
        DescriptionError: names the first difference.
    """
    described = upgrade(described)
    if not any(layer.bottom for layer in described):
        return
    for layer in described:
        layer.name = (rename or {}).get(layer.name, layer.name)
    theirs, ours = connect(described, strict=False), connect(upgrade(net))
    file = {layer.name: layer for layer, _ in theirs}
    common = {layer.name for layer, _ in ours} & set(file)
    their_traces, our_traces = _trace(theirs, common), _trace(ours, common)
    for layer, _ in ours:
        other = file.get(layer.name)
        if other is None or "Input" in (layer.type, other.type):
            continue
        if other.type != layer.type:
            if not serves_training(other):
                refuse(layer, f"the .caffemodel has a layer of this name of type {other.type}")
            continue
        known = _settings(other)
        for name, value in _settings(layer).items():
            if value != known[name]:
                refuse(
                    layer,
                    f"{name}: the prototxt says {value}, the .caffemodel {known[name]}. {MISMATCH}",
                )
        mine, before = our_traces[layer.name], their_traces[layer.name]
        # Otherwise, the file does not have all that came before.
        if len(before) == len(other.bottom) and mine != before:
            mine, before = (", ".join(map(" of ".join, trace)) for trace in (mine, before))
            refuse(
                layer,
                f"the prototxt computes it from {mine}, the .caffemodel from {before}. {MISMATCH}",
            )


def _trace(graph, common):
    """Return, for each common layer, the nearest common layers that it is computed from.

    A tuple for each bottom: types of the layers between, then the common layer's name.
    """
    origins, traces = [], {}
    for layer, sources in graph:
        before = [origins[source] for source, _ in sources]
        if layer.type == "Input":
            origins.append(("input",))
        elif layer.name in common:
            traces[layer.name] = before
            origins.append((layer.name,))
        else:
            first = before[0] if before else ("nothing",)
            origins.append(first if layer.type in ("Dropout", "Split") else (layer.type, *first))
    return traces


def _settings(layer):
    """Return what a layer computes as a dict of comparable values."""
    if not SUPPORTED.get(layer.type):
        return {}
    parameters, settings = getattr(layer, SUPPORTED[layer.type]), {}
    layer.pooling_param.ClearField("round_mode")  # `describe_caffemodel` made it a contradiction
    resolve_spellings(layer)
    if "kernel_h" in parameters.DESCRIPTOR.fields_by_name:
        names = ("kernel_size", "stride", "pad", "dilation")
        settings = dict(zip(names, window(parameters), strict=True))
    for field in parameters.DESCRIPTOR.fields:
        if not field.message_type and field.name not in NOT_COMPARED | WINDOW:
            value = getattr(parameters, field.name)
            settings[field.name] = tuple(value) if field.is_repeated else value
    return settings


def share_weights(net, blobs):
    """Give layers that share parameters by name the blobs that the file holds only once.

    Args:
        net: a NetParameter of `normalize`; `param { name: ... }` says what is shared.
        blobs: a dict from layer name to list of arrays, as `read_caffemodel` returns it.

    Returns:
        `blobs`, with a list for every layer whose parameters all have been found elsewhere.

    Raises:
        DescriptionError: where a file has other values for what is one parameter.
    """
    owners, result = {}, dict(blobs)
    for layer in net.layer:
        for spec, blob in zip(layer.param, blobs.get(layer.name, []), strict=False):
            if spec.name:
                first, known = owners.setdefault(spec.name, (layer.name, blob))
                if known is not blob and not np.array_equal(known.ravel(), blob.ravel()):
                    refuse(
                        layer,
                        f"parameter {spec.name!r}: expected the values of layer {first!r}, found "
                        "others; remove the name if they are not shared",
                    )
    for layer in net.layer:
        names = [spec.name for spec in layer.param]
        if names and layer.name not in blobs and all(name in owners for name in names):
            result[layer.name] = [owners[name][1] for name in names]
    return result
