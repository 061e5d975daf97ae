"""Which layer reads what: the graph of a description's layers, and what is asked of it.

A graph is a list of (layer, sources). A source is the (index, position) of the top that is read.
"""

import difflib

from alexnet_lib.caffe.schema import DescriptionError, LayerParameter, refuse

__all__ = ["WEIGHTED", "ancestors", "connect", "default_tops", "named_tops", "serves_training"]

#: The types of layers that have weights.
WEIGHTED = {
    "Convolution", "Deconvolution", "InnerProduct", "PReLU", "BatchNorm", "Scale", "Bias",
    "Normalize",
}  # fmt: skip
# What only serves training and testing, besides all types that end in "Loss".
NO_INFERENCE = {"Accuracy", "Silence", "HDF5Output", "DetectionEvaluate"}
# Losses whose second bottom holds labels; in others, it may be a prediction.
LABEL_SECOND = {
    "Accuracy", "SoftmaxWithLoss", "MultinomialLogisticLoss", "InfogainLoss", "HingeLoss",
    "SigmoidCrossEntropyLoss",
}  # fmt: skip


def connect(layers, strict=True):
    """Find out which layer makes what each layer reads.

    Args:
        layers: LayerParameters of `upgrade`.
        strict: whether to refuse bottoms that nothing makes and tops that are made twice.

    Returns:
        A list of (layer, sources): a source is the (index, position) of a top. What has no bottom
        is an Input with one top; inputs stand where their layer stood.
    """
    graph, made = [], {}
    for layer in layers:
        sources = [made[bottom] for bottom in layer.bottom if bottom in made]
        if strict and len(sources) < len(layer.bottom):
            bottom = next(bottom for bottom in layer.bottom if bottom not in made)
            hint = "no layer makes it in phase TEST: name it as an input, or correct the name"
            for other in layers:
                if bottom in other.top:
                    hint = f"layer {other.name[:80]!r} makes it, but not before: put it first"
            refuse(layer, f"bottom {bottom[:80]!r}: {hint}")
        own = set()
        for bottom, top in zip([*layer.bottom, *[None] * len(layer.top)], layer.top, strict=False):
            if strict and ((top in made and top != bottom) or top in own):
                refuse(layer, f"top {top[:80]!r} is made by a layer before it: rename one")
            own.add(top)
        if layer.bottom or layer.type == "Parameter":
            made.update({top: (len(graph), position) for position, top in enumerate(layer.top)})
            graph.append((layer, sources))
        else:
            for position, top in enumerate(layer.top):
                made[top] = (len(graph), 0)
                graph.append((_input(layer, position), []))
    return graph


def _input(layer, position):
    """Make an Input for one top of a layer that reads nothing, with its shape if that is known."""
    top = layer.top[position]
    new = LayerParameter(name=top, type="Input", top=[top], source=layer.source)
    dummy, memory = layer.dummy_data_param, layer.memory_data_param
    if given := layer.input_param.shape or dummy.shape:
        new.input_param.shape.add().CopyFrom(given[min(position, len(given) - 1)])
    elif dummy.num:
        parts = (dummy.num, dummy.channels, dummy.height, dummy.width)
        dims = [part[min(position, len(part) - 1)] for part in parts if part]
        new.input_param.shape.add(dim=dims)
    elif memory.batch_size and position == 0:
        dims = [memory.batch_size, memory.channels, memory.height, memory.width]
        new.input_param.shape.add(dim=dims)
    return new


def serves_training(layer):
    """Return whether a layer only serves training and testing."""
    return layer.type in NO_INFERENCE or layer.type.endswith("Loss")


def default_tops(graph):
    """Return the tops that inference wants: those that nothing reads but losses and the like."""
    gone, read, uses, learned = set(), set(), {}, []
    for index, (layer, sources) in enumerate(graph):
        learned.append(layer.type in WEIGHTED or any(learned[source] for source, _ in sources))
        if serves_training(layer) or any(source in gone for source, _ in sources):
            gone.add(index)
            for position, source in enumerate(sources):
                label = layer.type == "Silence" or (position and layer.type in LABEL_SECOND)
                uses.setdefault(source, []).append(label)
        else:
            read.update(sources)
    outputs = {}
    for index, (layer, sources) in enumerate(graph):
        for top in ((index, position) for position in range(len(layer.top))):
            if not sources or index in gone or top in read or all(uses.get(top, [False])):
                continue
            while graph[top[0]][0].type == "Split":  # Caffe puts one before two losses
                top = graph[top[0]][1][0]
            outputs[top] = None
    if gone:  # what reads no weights prepares labels
        outputs = [top for top in outputs if learned[top[0]]] or outputs
    if not outputs:
        raise DescriptionError(
            "expected a layer that computes something from the data in phase TEST, found none; "
            "name one with --stop-at"
        )
    return list(outputs)


def named_tops(graph, stop_at):
    """Return the tops of the layers or blobs that `stop_at` names."""
    layers, blobs, found = {}, {}, {}
    for index, (layer, _) in enumerate(graph):
        own = [(index, position) for position in range(len(layer.top))]
        layers.setdefault(layer.name, []).extend(own)
        blobs.update(zip(layer.top, ([top] for top in own), strict=True))
    tops = blobs | {name: own for name, own in layers.items() if own}
    for name in map(str.strip, stop_at.split(",") if isinstance(stop_at, str) else stop_at):
        if name not in tops:
            close = difflib.get_close_matches(name, tops, 3) or [*layers][-3:]
            raise DescriptionError(
                f"stop_at: no layer or blob {name!r} in phase TEST; there are {', '.join(close)}"
            )
        found.update(dict.fromkeys(tops[name]))
    return list(found)


def ancestors(graph, indices):
    """Return the indices of the layers that `indices` need, themselves included."""
    needed, stack = set(), list(indices)
    while stack:
        index = stack.pop()
        if index not in needed:
            needed.add(index)
            stack += [source for source, _ in graph[index][1]]
    return needed
