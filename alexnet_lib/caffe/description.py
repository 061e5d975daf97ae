"""Read and write descriptions of Caffe networks.

`read_description` reads a prototxt, `describe_caffemodel` what a `.caffemodel` says about its own
layers, and `to_text` writes a normal form. Errors name file, line and layer.
"""

import difflib
import os
import re
from bisect import bisect
from pathlib import Path

from google.protobuf import text_format
from google.protobuf.message import DecodeError

from alexnet_lib.caffe.caffemodel import read_layer_records
from alexnet_lib.caffe.generations import todays_type
from alexnet_lib.caffe.normal_form import normalize
from alexnet_lib.caffe.schema import SUPPORTED, DescriptionError, NetParameter, message
from alexnet_lib.caffe.wire import CaffeModelError, Reader

__all__ = ["describe_caffemodel", "parse_description", "read_description", "to_text"]

MAX_BYTES = 2**20  # Inception v3 takes 83 kB
# Limits far beyond real networks, which bound the parser's time and memory.
MAX_LINES, MAX_LAYERS, MAX_STRING = 50_000, 5_000, 10_000
# A word, a brace, or what begins a string or a comment.
TOKEN = re.compile(r"""[{}<>#"']|[^\s{}<>#"']+""")
STRING_ENDS = {quote: re.compile(rf"[\\\n{quote}]") for quote in "\"'"}
UNKNOWN_FIELD = re.compile(r'Message type "caffe\.(\w+)" has no field named "([^"]*)"')
UNPARSED = (text_format.ParseError, ValueError, RecursionError)


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
    if Path(path).is_dir() or os.path.getsize(path) > MAX_BYTES:
        raise DescriptionError(
            f"{path}: expected a prototxt of at most {MAX_BYTES >> 20} MB, found a folder or a "
            "larger file. Weights go where a .caffemodel is expected."
        )
    text = _decode(path, Path(path).read_bytes())
    blocks, lines = _blocks(path, text), [m.start() for m in re.finditer("\n", text)]
    net = NetParameter()
    try:
        try:
            text_format.Parse(text, net)
        except text_format.ParseError as error:
            if not UNKNOWN_FIELD.search(str(error)):
                raise
            # Another try, without the fields that layers of unsupported types have of their own.
            net.Clear()
            text_format.Parse(_without_foreign_fields(text, blocks), net)
    except UNPARSED as error:
        raise DescriptionError(f"{path}: {_explain(error, text, blocks, lines)}") from None
    entries = [*net.layer, *net.layers]
    if (count := len(net.input) + sum(len(entry.top) for entry in entries)) > MAX_LAYERS:
        raise DescriptionError(f"{path}: expected at most {MAX_LAYERS} blobs, found {count}")
    if not entries:
        raise DescriptionError(f"{path}: expected a network's layers, found none")
    for name, own in (("output", net.output), ("source", any(e.source for e in entries))):
        if own:
            raise DescriptionError(f"{path}: unknown field {name!r}: remove it")
    # The layers of a list, `layer: [{...}, {...}]`, are not among the blocks.
    known = len(blocks) == len(entries) and not (net.layer and net.layers)
    for index, entry in enumerate(entries):
        line = f"line {bisect(lines, blocks[index][0]) + 1}" if known else f"layer {index + 1}"
        entry.source = f"{path}: {line}"
    return net


def parse_description(text):
    """Return the normal form of a description that this library wrote, not a user."""
    return normalize(text_format.Parse(text, NetParameter()))


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
    net, records = NetParameter(), read_layer_records(path)
    count = sum(1 for _ in Reader(path, records).fields(0, len(records)))
    if len(records) > MAX_BYTES or count > MAX_LAYERS:
        raise CaffeModelError(
            f"{path}: expected descriptions of at most {MAX_LAYERS} layers and {MAX_BYTES >> 20} "
            f"MB besides the weights, found {count} and {len(records)} bytes"
        )
    try:
        net.MergeFromString(records)
        for index, layer in enumerate([*net.layer, *net.layers], 1):
            layer.source = f"{path}: layer {index}"
            del layer.include[:], layer.exclude[:]
            if layer.pooling_param.HasField("round_mode"):  # or is it ceil_mode? Contradict it
                layer.pooling_param.round_mode, layer.pooling_param.ceil_mode = 1, True
    except (DecodeError, ValueError) as error:
        raise CaffeModelError(f"{path}: expected a network's description: {error}") from error
    return net


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
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.count("\n") > MAX_LINES:
        raise DescriptionError(f"{path}: expected at most {MAX_LINES} lines of a prototxt")
    if "\\" * 100 in text:  # the time that protobuf takes for a row is the square of its length
        raise DescriptionError(f"{path}: expected a prototxt, found a row of 100 backslashes")
    return re.sub(r"[ \t]{100,}", " ", text)  # protobuf keeps a state for each of them


def _blocks(path, text):
    """Return (start, stop) of every `layer {...}` and `layers {...}`."""
    blocks, count, depth, start, word, at = [], 0, 0, 0, "", 0
    while token := TOKEN.search(text, at):
        piece, at = token[0], token.end()
        if piece == "#":
            at = text.find("\n", at) % (len(text) + 1)
        elif piece in STRING_ENDS:
            while (end := STRING_ENDS[piece].search(text, at)) and end[0] == "\\":
                at = end.end() + 1
            at = end.end() if end else len(text)
            if at - token.start() > MAX_STRING:
                line = text.count("\n", 0, at) + 1
                raise DescriptionError(
                    f"{path}: line {line}: expected strings of at most {MAX_STRING} characters"
                )
        elif piece in "{<":
            depth += 1
        elif piece in "}>":
            depth -= 1
            count += depth == 0
            if count > MAX_LAYERS:
                raise DescriptionError(f"{path}: expected at most {MAX_LAYERS} layers, found more")
            if depth == 0 and word.rstrip(":") in ("layer", "layers"):
                blocks.append((start, at))
        elif depth == 0 and piece[0] != ":":
            start, word = token.start(), piece
    return blocks


def _without_foreign_fields(text, blocks):
    """Rewrite the layers of unsupported types with the fields that the schema knows."""
    parts, end = [], 0
    for start, stop in blocks:
        net = NetParameter()
        try:
            text_format.Parse(text[start:stop], net, allow_unknown_field=True)
        except UNPARSED:
            continue  # the strict parser will say what is wrong
        if {todays_type(layer) for layer in (*net.layer, *net.layers)} - set(SUPPORTED):
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
