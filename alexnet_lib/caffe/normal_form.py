"""The normal form of a network's description: what Caffe runs for inference, in one spelling."""

import difflib
import math

from alexnet_lib.caffe.generations import resolve_spellings, upgrade
from alexnet_lib.caffe.graph import WEIGHTED, ancestors, connect, default_tops, named_tops
from alexnet_lib.caffe.schema import SUPPORTED, DescriptionError, NetParameter, file_of, refuse
from alexnet_lib.caffe.wire import MAX_AXES

__all__ = ["normalize"]

BOTTOMS = {"Input": (0, 0), "Eltwise": (2, None), "Concat": (1, None), "Crop": (2, 2),
           "Scale": (1, 2), "Bias": (1, 2)}  # fmt: skip
SEVERAL_TOPS = {"Slice", "Split"}
MAX_COUNT = 2**31 - 1  # Caffe counts a blob's values in an int


def normalize(net, input_shape=None, stop_at=None):
    """Bring a description into the form that is built, proved and written back as text.

    Phase TEST is applied, older generations become today's `layer`, data layers become inputs,
    losses and what only serves labels go. Every layer has a name and tops of its own: a single top
    is called like its layer, inputs are called like their blob. `concat_dim` and `slice_dim`
    become `axis`, `round_mode` becomes `ceil_mode`. `output` lists the tops that are asked for.

    Args:
        net: a NetParameter of `read_description` or `describe_caffemodel`; left as it is.
        input_shape: (N, C, H, W) for a network with one input, or a dict by the inputs' names.
        stop_at: layers or blobs to stop at, separated by commas, or a list of them; a blob means
            its last version. By default, what no layer reads is the output.

    Returns:
        A new NetParameter.

    Raises:
        DescriptionError: where the description contradicts itself, an input's shape is not known,
            or a needed layer's type is not supported.
    """
    try:
        graph = connect(_select(upgrade(net), net.state))
        wanted = named_tops(graph, stop_at) if stop_at else default_tops(graph)
        needed = sorted(ancestors(graph, [index for index, _ in wanted]))
        _check_types(graph, needed)
        shapes = _input_shapes([graph[i][0] for i in needed if not graph[i][1]], input_shape)
        return _write(NetParameter(name=net.name), graph, needed, wanted, shapes)
    except DescriptionError as error:
        if (file := file_of(net)) in str(error):
            raise
        raise DescriptionError(f"{file}: {error}") from None


def _write(result, graph, needed, wanted, shapes):
    """Write the needed layers into `result`, with names and tops of their own."""
    types, numbers, tops = {}, {}, {}

    def free(name, kind):
        """Return `name`, or it with the first number behind it that makes a name of its own."""
        own = name
        while own in types:
            numbers[name] = numbers.get(name, 1) + 1
            own = f"{name}_{numbers[name]}"
        types[own] = kind
        return own

    for index in needed:
        layer, new = graph[index][0], result.layer.add()
        new.CopyFrom(layer)
        for field in ("include", "exclude", "phase", "loss_weight", "propagate_down"):
            new.ClearField(field)
        name = layer.name or layer.top[0]
        if name in types and (layer.type in WEIGHTED or types[name] in WEIGHTED):
            refuse(layer, "expected a name of its own, found one that came before: rename one")
        new.name = free(name, layer.type)
        if layer.type == "Input":
            new.input_param.Clear()
            new.input_param.shape.add(dim=shapes[layer.name])
        else:
            resolve_spellings(new)
    for index, new in zip(needed, result.layer, strict=True):
        new.bottom[:] = [tops[source] for source in graph[index][1]]
        # Several tops keep their names, unless a layer has such a name.
        new.top[:] = [free(top, "") for top in new.top] if len(new.top) > 1 else [new.name]
        tops.update({(index, position): top for position, top in enumerate(new.top)})
    result.output[:] = [tops[top] for top in wanted]
    return result


def _select(layers, state):
    """Keep the layers that Caffe keeps in phase TEST (Net::FilterNet)."""

    def meets(rule):
        return (
            (not rule.HasField("phase") or rule.phase == 1)
            and (not rule.HasField("min_level") or state.level >= rule.min_level)
            and (not rule.HasField("max_level") or state.level <= rule.max_level)
            and set(rule.stage) <= set(state.stage)
            and not set(rule.not_stage) & set(state.stage)
        )

    kept = []
    for layer in layers:
        if layer.include and layer.exclude:
            refuse(layer, "expected include rules or exclude rules, found both")
        if any(map(meets, layer.include)) if layer.include else not any(map(meets, layer.exclude)):
            kept.append(layer)
    return kept


def _check_types(graph, needed):
    """Refuse what is not supported, and wrong numbers of bottoms and tops."""
    for index in needed:
        layer, sources = graph[index]
        if layer.type not in SUPPORTED:
            close = difflib.get_close_matches(layer.type[:80], SUPPORTED, 1, 0.8)
            refuse(
                layer,
                f"this type is not supported{f'; {close[0]}?' if close else ''}. Leave it out with "
                f"--stop-at {','.join(_stops(graph, needed)) or 'LAYER'}. Supported: "
                f"{', '.join(SUPPORTED)}",
            )
        least, most = BOTTOMS.get(layer.type, (1, 1))
        if not least <= len(sources) <= (len(sources) if most is None else most):
            wanted = f"{least} bottoms" + ("" if most == least else f" to {most or 'any number'}")
            refuse(layer, f"expected {wanted}, found {len(sources)}")
        if len(layer.top) != 1 and not (layer.top and layer.type in SEVERAL_TOPS):
            refuse(layer, f"expected one top, found {len(layer.top)}")


def _stops(graph, needed):
    """Name the layers to stop at: those before what is not supported, best if nothing follows."""
    tainted = set()
    for index in needed:
        layer, sources = graph[index]
        if layer.type not in SUPPORTED or any(source in tainted for source, _ in sources):
            tainted.add(index)
    read = {source for i in needed if i not in tainted for source, _ in graph[i][1]}
    edge = {source for i in tainted for source, _ in graph[i][1]} - tainted
    return [graph[i][0].name for i in sorted(edge - read or edge) if graph[i][1]]


def _input_shapes(inputs, given):
    """Return the shape of each input: the one that is given, else the description's."""
    names = [layer.name for layer in inputs]
    if given is not None and not isinstance(given, dict):
        if len(names) != 1:
            raise DescriptionError(
                f"input_shape: expected a shape by name for each of {', '.join(names)} "
                f"(--input NAME=N,C,H,W). Received: {given}"
            )
        given = {names[0]: given}
    if strangers := set(given or ()) - set(names):
        raise DescriptionError(
            f"input_shape: no input {', '.join(sorted(strangers))}; there are {', '.join(names)}"
        )
    shapes = {}
    for layer in inputs:
        known = [shape.dim for shape in layer.input_param.shape]
        shape = list((given or {}).get(layer.name) or (known[0] if known else ()))
        if not shape:
            refuse(layer, "expected the input's shape, which a file of data had: --input N,C,H,W")
        if min(shape) < 1 or len(shape) > MAX_AXES or math.prod(shape) > MAX_COUNT:
            refuse(
                layer,
                f"expected dimensions from 1, at most {MAX_AXES} of them and {MAX_COUNT} values, "
                f"found {shape[:8]}; --input N,C,H,W gives others",
            )
        shapes[layer.name] = shape
    return shapes
