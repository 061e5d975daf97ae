"""Read descriptions of Caffe networks, and bring them into one normal form.

`read_description` reads a prototxt, `describe_caffemodel` what a `.caffemodel` says about its own
layers. `normalize` does what Caffe does before it runs a network for inference (util/upgrade_proto,
Net::FilterNet and InsertSplits of BVLC/caffe), and takes away what only serves training. Errors
are `DescriptionError`s that name file, line and layer.
"""

import difflib
import math
import os
import re
from bisect import bisect
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from alexnet_lib.errors import InputError
from alexnet_lib.port.caffemodel import MAX_AXES, CaffeModelError, read_layer_records
from alexnet_lib.port.parameters import window
from alexnet_lib.port.schema import LayerParameter, NetParameter, message

# The parameters of each supported type; "" where a type has none that matters.
SUPPORTED = {
    "Input": "input_param", "Convolution": "convolution_param",
    "Deconvolution": "convolution_param", "Pooling": "pooling_param", "ReLU": "relu_param",
    "PReLU": "prelu_param", "LRN": "lrn_param", "InnerProduct": "inner_product_param",
    "BatchNorm": "batch_norm_param", "Scale": "scale_param", "Bias": "bias_param",
    "Eltwise": "eltwise_param", "Concat": "concat_param", "Slice": "slice_param", "Split": "",
    "Softmax": "softmax_param", "Dropout": "", "Sigmoid": "", "TanH": "", "AbsVal": "",
    "Power": "power_param", "Exp": "exp_param", "Log": "log_param", "Flatten": "flatten_param",
    "Reshape": "reshape_param", "Permute": "permute_param", "Crop": "crop_param",
    "Normalize": "norm_param", "ELU": "elu_param", "BNLL": "", "MVN": "mvn_param",
}  # fmt: skip
WEIGHTED = {
    "Convolution", "Deconvolution", "InnerProduct", "PReLU", "BatchNorm", "Scale", "Bias",
    "Normalize",
}  # fmt: skip
# Forks' faster kernels for what Convolution computes too.
SAME_AS = {"DepthwiseConvolution": "Convolution", "ConvolutionDepthwise": "Convolution"}
# Names of types in V0 and V1 that are not today's, written in another case.
OLD_TYPES = {"CONV": "Convolution", "POOL": "Pooling", "IMAGES": "ImageData",
             "SOFTMAX_LOSS": "SoftmaxWithLoss"}  # fmt: skip
V0_FIELDS = {"biasterm": "bias_term", "kernelsize": "kernel_size"}
# Fields of V0 that do not describe what a layer computes.
V0_OTHERS = {"name", "type", "blobs", "blobs_lr", "weight_decay", "weight_filler", "bias_filler"}

# What only serves training and testing, besides all types that end in "Loss".
NO_INFERENCE = {"Accuracy", "Silence", "HDF5Output", "DetectionEvaluate"}
# Losses whose second bottom holds labels; in others, it may be a prediction.
LABEL_SECOND = {
    "Accuracy", "SoftmaxWithLoss", "MultinomialLogisticLoss", "InfogainLoss", "HingeLoss",
    "SigmoidCrossEntropyLoss",
}  # fmt: skip
BOTTOMS = {"Input": (0, 0), "Eltwise": (2, None), "Concat": (1, None), "Crop": (2, 2),
           "Scale": (1, 2), "Bias": (1, 2)}  # fmt: skip
SEVERAL_TOPS = {"Slice", "Split"}
# Settings that do not change what a layer computes in phase TEST, and those of windows. Field 13 of
# pooling is `round_mode` for BVLC and its opposite, `ceil_mode`, for forks.
NOT_COMPARED = {"engine", "force_nd_im2col", "moving_average_fraction", "use_global_stats",
                "stable_prod_grad", "round_mode", "ceil_mode"}  # fmt: skip
WINDOW = {"kernel_size", "kernel_h", "kernel_w", "stride", "stride_h", "stride_w", "pad", "pad_h",
          "pad_w", "dilation"}  # fmt: skip

MAX_BYTES = 2**22
MAX_COUNT = 2**31 - 1  # Caffe counts a blob's values in an int
# A word, a brace, or what begins a string or a comment.
TOKEN = re.compile(r"""[{}<>#"']|[^\s{}<>#"']+""")
STRING_ENDS = {quote: re.compile(rf"[\\\n{quote}]") for quote in "\"'"}
UNKNOWN_FIELD = re.compile(r'Message type "caffe\.(\w+)" has no field named "([^"]*)"')


class DescriptionError(InputError):
    """A network's description is not one that can be ported; says where, why and what to do."""


def refuse(layer, problem):
    """Raise a `DescriptionError` about one layer of a description.

    Args:
        layer: a LayerParameter or V1LayerParameter of a description that this module read.
        problem: what was expected, what came, what to do.
    """
    kind = layer.type if isinstance(layer.type, str) else _v1_type(layer)
    where = f"{layer.source}, " if layer.source else ""
    raise DescriptionError(f"{where}layer {layer.name[:80]!r} ({kind[:80]}): {problem}")


def read_description(path):
    """Read a prototxt of any generation.

    Args:
        path: the file's path. Its text may be UTF-8, UTF-16 or Latin-1, with any line ends.

    Returns:
        A NetParameter as the file has it; every layer's `source` says where it stands.

    Raises:
        DescriptionError: for anything but a network's description, and for fields and values that
            are unknown; layers of types that are not supported may have unknown fields.
        OSError: where the file cannot be read.
    """
    path = os.fspath(path)
    if Path(path).is_dir() or Path(path).stat().st_size > MAX_BYTES:
        raise DescriptionError(
            f"{path}: expected a prototxt of at most {MAX_BYTES >> 20} MB, found a folder or a "
            "larger file. Weights go where a .caffemodel is expected."
        )
    text = _decode(path, Path(path).read_bytes())
    blocks, lines = list(_blocks(text)), [m.start() for m in re.finditer("\n", text)]
    net, error = _parse(text, NetParameter())
    if error and UNKNOWN_FIELD.search(str(error)):
        # Another try, without the fields that layers of unsupported types have of their own.
        net, error = _parse(_without_foreign_fields(text, blocks), NetParameter())
    if error:
        raise DescriptionError(f"{path}: {_explain(error, text, blocks, lines)}") from None
    entries = [*net.layer, *net.layers]
    if not entries and not net.input:
        raise DescriptionError(f"{path}: expected a network's layers, found none")
    for name, own in (("output", net.output), ("source", any(e.source for e in entries))):
        if own:
            raise DescriptionError(f"{path}: unknown field {name!r}: remove it")
    if len(blocks) == len(entries) and not (net.layer and net.layers):
        for entry, (start, _) in zip(entries, blocks, strict=True):
            entry.source = f"{path}: line {bisect(lines, start) + 1}"
    else:  # such as `layer: [{...}, {...}]`
        for index, entry in enumerate(entries, 1):
            entry.source = f"{path}: layer {index}"
    return net


def parse_description(text):
    """Return the normal form of a description that is text of our own making, not a user's."""
    return normalize(text_format.Parse(text, NetParameter()))


def _decode(path, data):
    """Return a file's text with plain line ends, or say what it is instead of text."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16", "replace")
    else:
        if b"\0" in data or data[:4] == b"\x89HDF":
            raise DescriptionError(
                f"{path}: expected a prototxt, found a binary file; a .caffemodel goes where "
                "weights are expected, and can describe itself if no prototxt is at hand"
            )
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")
    if "\\" * 1000 in text:  # takes protobuf for ever
        raise DescriptionError(f"{path}: expected a prototxt, found a row of 1000 backslashes")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _parse(text, net):
    """Parse a prototxt strictly: return the message and None, or None and the error."""
    try:
        return text_format.Parse(text, net), None
    except (text_format.ParseError, ValueError, RecursionError) as error:
        return None, error


def _blocks(text):
    """Yield (start, stop) of every `layer {...}` and `layers {...}`."""
    depth, start, word, at = 0, 0, "", 0
    while token := TOKEN.search(text, at):
        piece, at = token[0], token.end()
        if piece == "#":
            at = text.find("\n", at) % (len(text) + 1)
        elif piece in STRING_ENDS:
            while (end := STRING_ENDS[piece].search(text, at)) and end[0] == "\\":
                at = end.end() + 1
            at = end.end() if end else len(text)
        elif piece in "{<":
            depth += 1
        elif piece in "}>":
            depth -= 1
            if depth == 0 and word.rstrip(":") in ("layer", "layers"):
                yield start, at
        elif depth == 0 and piece[0] != ":":
            start, word = token.start(), piece


def _without_foreign_fields(text, blocks):
    """Rewrite the layers of unsupported types with the fields that the schema knows."""
    parts, end = [], 0
    for start, stop in blocks:
        net = NetParameter()
        try:
            text_format.Parse(text[start:stop], net, allow_unknown_field=True)
        except (text_format.ParseError, ValueError, RecursionError):
            continue  # the strict parser will say what is wrong
        kind = "Convolution"
        for layer in (*net.layer, *net.layers):
            kind = layer.type if net.layer else _type(layer.layer.type or _v1_type(layer))
        if kind not in SUPPORTED and kind not in SAME_AS:
            known = text_format.MessageToString(net, as_one_line=True)
            parts += [text[end:start], known, "\n" * text.count("\n", start, stop)]
            end = stop
    return "".join([*parts, text[end:]])


def _explain(error, text, blocks, lines):
    """Turn a parser's error into line, layer, problem and what to do."""
    if not isinstance(error, text_format.ParseError):
        what = "braces in too many braces" if isinstance(error, RecursionError) else str(error)
        return f"expected a prototxt, found {what[:200]}"
    line = error.GetLine() or 1
    where = f"line {line}"
    begin = lines[line - 2] + 1 if 1 < line <= len(lines) + 1 else 0
    at = begin + max(0, (error.GetColumn() or 1) - 1)
    index = bisect([start for start, _ in blocks], at) - 1
    if index >= 0 and at < blocks[index][1]:
        name = re.search(r"""\bname\s*:\s*["']([^"'\n]*)""", text[slice(*blocks[index])])
        where += f", layer {name[1][:80]!r}" if name else f", layer {index + 1} of the file"
    problem = re.sub(r"^\d+:\d+ : ('.*': )?", "", str(error))[:300]  # it quotes the line
    if unknown := UNKNOWN_FIELD.search(problem):
        parent, field = unknown.groups()
        known = list(message(parent).DESCRIPTOR.fields_by_name)
        close = difflib.get_close_matches(field[:80], known, 1)
        problem = f"unknown field {field[:80]!r} in {parent}"
        problem += f": {close[0]!r}?" if close else "."
        if parent == "NetParameter" and field in ("base_lr", "net", "solver_mode", "max_iter"):
            problem += " This is a solver; its `net` names the file that is wanted."
        else:
            problem += " Remove it if inference does without; what it means is not known here."
    elif fields := re.findall(r"(\w+)\s*:", text[begin:at]):
        problem = f"field {fields[-1]!r}: {problem}"
    return f"{where}: {problem}"


def describe_caffemodel(path):
    """Return what a `.caffemodel` says about its own layers, without their weights.

    Args:
        path: the file; only its descriptions are copied.

    Returns:
        A NetParameter. A snapshot holds the network that was trained, after its phase was chosen,
        so include and exclude rules are gone. Files with weights alone have layers without bottoms
        and tops.

    Raises:
        CaffeModelError: where the file is malformed.
    """
    net = NetParameter()
    try:
        net.MergeFromString(read_layer_records(path))
        for index, layer in enumerate([*net.layer, *net.layers], 1):
            layer.source = f"{path}: layer {index}"
            del layer.include[:], layer.exclude[:]
            if layer.pooling_param.HasField("round_mode"):  # or is it ceil_mode? Contradict it
                layer.pooling_param.round_mode, layer.pooling_param.ceil_mode = 1, True
    except (DecodeError, ValueError) as error:
        if isinstance(error, CaffeModelError):
            raise
        raise CaffeModelError(f"{path}: expected a network's description: {error}") from error
    return net


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
        return _normalize(net, input_shape, stop_at)
    except DescriptionError as error:
        if (file := _file(net)) in str(error):
            raise
        raise DescriptionError(f"{file}: {error}") from None


def _file(net):
    """Return the name of the file that a description comes from."""
    return next((layer.source.rpartition(": ")[0] for layer in (*net.layer, *net.layers)), "")


def _normalize(net, input_shape, stop_at):
    graph = _connect(_select(_upgrade(net), net.state))
    wanted = _find(graph, stop_at) if stop_at else _outputs(graph)
    needed = sorted(_ancestors(graph, [index for index, _ in wanted]))
    _check_types(graph, needed)
    shapes = _input_shapes([graph[i][0] for i in needed if not graph[i][1]], input_shape)
    result, names, numbers = NetParameter(name=net.name), {}, {}
    for index in needed:
        layer, new = graph[index][0], result.layer.add()
        new.CopyFrom(layer)
        for field in ("include", "exclude", "phase", "loss_weight", "propagate_down"):
            new.ClearField(field)
        name = layer.name or layer.top[0]
        if name in names and (layer.type in WEIGHTED or names[name] in WEIGHTED):
            refuse(layer, "expected a name of its own, found one that came before: rename one")
        new.name = _free(name, names, numbers)
        names[new.name] = layer.type
        if layer.type == "Input":
            new.input_param.Clear()
            new.input_param.shape.add(dim=shapes[layer.name])
        else:
            _normalize_values(new)
    tops = {}
    for index, new in zip(needed, result.layer, strict=True):
        new.bottom[:] = [tops[source] for source in graph[index][1]]
        if len(new.top) == 1:
            new.top[:] = [new.name]
        for position, top in enumerate(new.top):
            if len(new.top) > 1:  # several tops keep their names, unless a layer has such a name
                new.top[position] = _free(top, names, numbers)
                names[new.top[position]] = ""
            tops[index, position] = new.top[position]
    result.output[:] = [tops[top] for top in wanted]
    return result


def _free(name, taken, numbers):
    """Return `name`, or it with the first number behind it that makes a name of its own."""
    free = name
    while free in taken:
        numbers[name] = numbers.get(name, 1) + 1
        free = f"{name}_{numbers[name]}"
    return free


def _upgrade(net):
    """Return a description's layers as LayerParameters of today, inputs first."""
    if net.layer and net.layers:
        refuse(net.layers[0], "expected `layer` or `layers` in one file, found both")
    layers = []
    legacy = len(net.input_dim) == 4 * len(net.input) and not net.input_shape
    for index, name in enumerate(net.input):
        source = f"{_file(net)}: input {index + 1}".removeprefix(": ")
        layer = LayerParameter(name=name, type="Input", top=[name], source=source)
        if legacy:
            layer.input_param.shape.add(dim=net.input_dim[4 * index : 4 * index + 4])
        elif len(net.input_shape) == len(net.input) and not net.input_dim:
            layer.input_param.shape.add().CopyFrom(net.input_shape[index])
        elif net.input_dim or net.input_shape:
            refuse(layer, "expected four input_dim, or an input_shape, for each `input`")
        layers.append(layer)
    padding = {}
    for old in net.layers:
        layer = _upgrade_v0(old, padding) if old.HasField("layer") else _upgrade_v1(old)
        layers += [layer] if layer else []
    for old in net.layer:
        layer = LayerParameter()
        layer.CopyFrom(old)
        layer.type = SAME_AS.get(layer.type, layer.type)
        layers.append(layer)
    return layers


def _v1_type(layer):
    return layer.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[layer.type].name


def _type(old):
    """Return today's name of an old generation's type of layer."""
    old = old.upper()
    known = {name.upper(): name for name in (*SUPPORTED, "ArgMax", "HDF5Data", "HDF5Output")}
    return OLD_TYPES.get(old) or known.get(old.replace("_", "")) or old.title().replace("_", "")


def _upgrade_v1(old):
    layer = LayerParameter(
        name=old.name, bottom=old.bottom, top=old.top, include=old.include, exclude=old.exclude,
        source=old.source,
    )  # fmt: skip
    layer.type = _type(_v1_type(old))
    for index, name in enumerate(old.param):
        layer.param.add(name=name)
        if index < len(old.blob_share_mode):
            layer.param[index].share_mode = old.blob_share_mode[index]
    for field, value in old.ListFields():
        if field.name.endswith("_param"):
            getattr(layer, field.name).CopyFrom(value)
    return layer


def _upgrade_v0(old, padding):
    """Upgrade a layer of the first generation; a padding layer goes into those that read it."""
    v0 = old.layer
    layer = LayerParameter(name=v0.name, bottom=old.bottom, top=old.top, source=old.source)
    layer.type = _type(v0.type)
    if v0.type == "padding":
        if len(old.bottom) != 1 or len(old.top) != 1:
            refuse(layer, "expected one bottom and one top")
        padding[old.top[0]] = old.bottom[0], v0.pad
        return None
    field = SUPPORTED.get(layer.type) or ("dropout_param" if v0.type == "dropout" else "")
    parameters = getattr(layer, field) if field else None
    for descriptor, value in v0.ListFields():
        name = V0_FIELDS.get(descriptor.name, descriptor.name)
        if descriptor.name in V0_OTHERS or layer.type not in SUPPORTED:
            continue
        if parameters is None or name not in parameters.DESCRIPTOR.fields_by_name:
            refuse(layer, f"unknown field {descriptor.name!r} for this type of layer")
        _set(parameters, name, value)
    for index, bottom in enumerate(layer.bottom):
        if bottom in padding:
            if layer.type not in ("Convolution", "Pooling"):
                refuse(layer, "expected a convolution or a pooling behind a padding layer")
            layer.bottom[index], pad = padding[bottom]
            _set(parameters, "pad", pad)
    return layer


def _set(parameters, name, value):
    if isinstance(getattr(parameters, name), bool | int | float | str):
        setattr(parameters, name, value)
    else:
        getattr(parameters, name)[:] = [value]


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


def _connect(layers, strict=True):
    """Find out which layer makes what each layer reads.

    Returns:
        A list of (layer, sources): a source is the (index, position) of a top. What has no bottom
        is an Input with one top; inputs stand where their layer stood.
    """
    graph, made = [], {}
    for layer in layers:
        sources = []
        for bottom in layer.bottom:
            if bottom in made:
                sources.append(made[bottom])
            elif strict:
                later = next((other.name for other in layers if bottom in other.top), None)
                hint = (
                    f"layer {later!r} makes it, but not before: put it first"
                    if later
                    else (
                        "no layer makes it in phase TEST: name it as an input, or correct the name"
                    )
                )
                refuse(layer, f"bottom {bottom[:80]!r}: {hint}")
        for position, top in enumerate(layer.top):
            in_place = position < len(layer.bottom) and layer.bottom[position] == top
            if strict and ((top in made and not in_place) or top in layer.top[:position]):
                refuse(layer, f"top {top[:80]!r} is made by a layer before it: rename one")
        if not layer.bottom and layer.type != "Parameter":
            for position, top in enumerate(layer.top):
                graph.append((_input(layer, position), []))
                made[top] = (len(graph) - 1, 0)
            continue
        for position, top in enumerate(layer.top):
            made[top] = (len(graph), position)
        graph.append((layer, sources))
    return graph


def _input(layer, position):
    """Make an Input for one top of a layer that reads nothing, with its shape if that is known."""
    top = layer.top[position]
    new = LayerParameter(name=top, type="Input", top=[top], source=layer.source)
    memory, dummy = layer.memory_data_param, layer.dummy_data_param
    given = layer.input_param.shape or dummy.shape
    if given:
        new.input_param.shape.add().CopyFrom(given[min(position, len(given) - 1)])
    elif dummy.num:
        parts = (dummy.num, dummy.channels, dummy.height, dummy.width)
        dims = [part[min(position, len(part) - 1)] for part in parts if part]
        new.input_param.shape.add(dim=dims)
    elif memory.batch_size and position == 0:
        dims = [memory.batch_size, memory.channels, memory.height, memory.width]
        new.input_param.shape.add(dim=dims)
    return new


def _serves_training(layer):
    return layer.type in NO_INFERENCE or layer.type.endswith("Loss")


def _outputs(graph):
    """Return the tops that inference wants: those that nothing reads but losses and the like."""
    gone, read, uses, learned = set(), set(), {}, []
    for index, (layer, sources) in enumerate(graph):
        learned.append(layer.type in WEIGHTED or any(learned[source] for source, _ in sources))
        if _serves_training(layer) or any(source in gone for source, _ in sources):
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
    outputs = list(outputs)
    if gone:  # what reads no weights prepares labels
        outputs = [top for top in outputs if learned[top[0]]] or outputs
    if not outputs:
        raise DescriptionError(
            "expected a layer that computes something from the data in phase TEST, found none; "
            "name one with --stop-at"
        )
    return outputs


def _find(graph, stop_at):
    """Return the tops of the layers or blobs that `stop_at` names."""
    wanted = stop_at.split(",") if isinstance(stop_at, str) else list(stop_at)
    layers, blobs = {}, {}
    for index, (layer, _) in enumerate(graph):
        layers.setdefault(layer.name, []).extend((index, p) for p in range(len(layer.top)))
        blobs.update({top: [(index, position)] for position, top in enumerate(layer.top)})
    found = []
    for name in map(str.strip, wanted):
        if not (layers.get(name) or blobs.get(name)):
            close = difflib.get_close_matches(name, [*layers, *blobs], 3) or [*layers][-3:]
            raise DescriptionError(
                f"stop_at: no layer or blob {name!r} in phase TEST; there are {', '.join(close)}"
            )
        found += [top for top in layers.get(name) or blobs[name] if top not in found]
    return found


def _ancestors(graph, indices):
    """Return the indices of the layers that `indices` need, themselves included."""
    needed, stack = set(), list(indices)
    while stack:
        index = stack.pop()
        if index not in needed:
            needed.add(index)
            stack += [source for source, _ in graph[index][1]]
    return needed


def _check_types(graph, needed):
    """Refuse what is not supported, and wrong numbers of bottoms and tops."""
    tainted = set()
    for index in needed:
        if graph[index][0].type not in SUPPORTED or any(s in tainted for s, _ in graph[index][1]):
            tainted.add(index)
    for index in needed:
        layer, sources = graph[index]
        if layer.type not in SUPPORTED:
            # Stop where everything is supported and something unsupported reads it.
            read = {s for i in needed if i not in tainted for s, _ in graph[i][1]}
            edge = {s for i in tainted for s, _ in graph[i][1]} - tainted
            stops = [graph[i][0].name for i in sorted(edge - read or edge) if graph[i][1]]
            close = difflib.get_close_matches(layer.type, SUPPORTED, 1, 0.8)
            refuse(
                layer,
                f"this type is not supported{f'; {close[0]}?' if close else ''}. Leave it out with "
                f"--stop-at {','.join(stops) or 'LAYER'}. Supported: {', '.join(SUPPORTED)}",
            )
        least, most = BOTTOMS.get(layer.type, (1, 1))
        if len(sources) < least or (most is not None and len(sources) > most):
            wanted = f"{least} bottoms" + ("" if most == least else f" to {most or 'any number'}")
            refuse(layer, f"expected {wanted}, found {len(sources)}")
        if len(layer.top) < 1 or (len(layer.top) > 1 and layer.type not in SEVERAL_TOPS):
            refuse(layer, f"expected one top, found {len(layer.top)}")


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
        if min(shape) < 1 or math.prod(shape) > MAX_COUNT or len(shape) > MAX_AXES:
            refuse(
                layer,
                f"expected dimensions from 1, at most {MAX_COUNT} values, found {shape[:8]}; "
                "--input N,C,H,W gives others",
            )
        shapes[layer.name] = shape
    return shapes


def _normalize_values(layer):
    """Resolve what has two spellings; refuse both at once, as Caffe does."""
    if not SUPPORTED[layer.type]:
        return
    parameters = getattr(layer, SUPPORTED[layer.type])
    given = {field.name: value for field, value in parameters.ListFields()}
    for old in ("concat_dim", "slice_dim"):
        if old in given:
            if "axis" in given:
                refuse(layer, f"expected axis or {old}, found both")
            parameters.axis = given[old]
            parameters.ClearField(old)
    if "round_mode" in given:
        if given.get("ceil_mode", parameters.round_mode == 0) != (parameters.round_mode == 0):
            refuse(
                layer,
                "expected round_mode and ceil_mode to agree; a .caffemodel cannot say which of "
                "the two its field 13 is, so give the prototxt too",
            )
        parameters.ClearField("round_mode")
        parameters.ceil_mode = given["round_mode"] == 0
    for name in ("kernel_size", "stride", "pad"):
        sides = [f"{name.removesuffix('_size')}_{side}" for side in "hw"]
        if name in given and any(side in given for side in sides):
            refuse(layer, f"expected {name} or {' and '.join(sides)}, found both")
        if name != "pad" and sum(side in given for side in sides) == 1:
            refuse(layer, f"expected {' and '.join(sides)}, found one of them")
    for name in ("kernel_size", "stride", "pad", "dilation"):
        if not isinstance(given.get(name, 0), int) and len(given[name]) > 2:
            refuse(layer, f"{name}: expected one or two values, found {len(given[name])}")


def to_text(net):
    """Write a normal form as a prototxt that OpenCV's importer takes.

    Args:
        net: a NetParameter of `normalize`.

    Returns:
        The text. LRN's `k` is there as `bias` too, which is what OpenCV reads.
    """
    net = NetParameter.FromString(net.SerializeToString())
    net.ClearField("output")
    for layer in net.layer:
        for field in ("source", "param", "blobs"):  # OpenCV refuses shared parameters
            layer.ClearField(field)
    text = text_format.MessageToString(net, as_utf8=True)
    return re.sub(r"(lrn_param \{[^}]*?\bk: (\S+))", r"\1\n    bias: \2", text)


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
        own = result.get(layer.name, [])
        for index, spec in enumerate(layer.param):
            if spec.name and index < len(own):
                first, blob = owners.setdefault(spec.name, (layer.name, own[index]))
                if blob is not own[index] and not np.array_equal(blob.ravel(), own[index].ravel()):
                    refuse(layer, f"parameter {spec.name!r}: expected the values of layer {first!r}"
                           ", found others; take the name away if they are not shared")  # fmt: skip
    for layer in net.layer:
        names = [spec.name for spec in layer.param]
        if names and layer.name not in blobs and all(name in owners for name in names):
            result[layer.name] = [owners[name][1] for name in names]
    return result


def compare(net, described, rename=None):
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
    described = _upgrade(described)
    if not any(layer.bottom for layer in described):
        return
    for layer in described:
        layer.name = (rename or {}).get(layer.name, layer.name)
    theirs, ours = _connect(described, strict=False), _connect(_upgrade(net))
    common = {layer.name for layer, _ in theirs} & {layer.name for layer, _ in ours}
    traces = [_trace(graph, common) for graph in (theirs, ours)]
    file = {layer.name: layer for layer, _ in theirs}
    for layer, _ in ours:
        other = file.get(layer.name)
        if other is None or "Input" in (layer.type, other.type):
            continue
        if other.type != layer.type:
            if not _serves_training(other):
                refuse(layer, f"the .caffemodel has a layer of this name of type {other.type}")
            continue
        other.pooling_param.ClearField("round_mode")
        _normalize_values(other)
        mine, known = _settings(layer), _settings(other)
        for name in mine:
            if mine[name] != known[name]:
                refuse(
                    layer,
                    f"{name}: the prototxt says {mine[name]}, the .caffemodel {known[name]}. One "
                    "of the two files belongs to another network",
                )
        if len(traces[0][layer.name]) < len(other.bottom):
            continue  # the file does not have all that came before
        if traces[0][layer.name] != traces[1][layer.name]:
            before = [", ".join(map(" of ".join, trace[layer.name])) for trace in traces]
            refuse(
                layer,
                f"the prototxt computes it from {before[1]}, the .caffemodel from {before[0]}. One "
                "of the two files belongs to another network",
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
    field = SUPPORTED.get(layer.type)
    if not field:
        return {}
    parameters = getattr(layer, field)
    settings = {}
    if "kernel_h" in parameters.DESCRIPTOR.fields_by_name:
        names = ("kernel_size", "stride", "pad", "dilation")
        settings = dict(zip(names, window(parameters), strict=True))
    for known in parameters.DESCRIPTOR.fields:
        value = getattr(parameters, known.name)
        if known.message_type or known.name in NOT_COMPARED or known.name in WINDOW:
            continue
        settings[known.name] = tuple(value) if known.is_repeated else value
    return settings
