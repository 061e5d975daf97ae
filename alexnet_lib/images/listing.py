"""Lists of images as text: CSV with a header, as spreadsheets write it, or Caffe's "path label".

Nothing here opens an image. `read_list` says which images there are, and `read_rows` reads the
table behind it, and behind the CSV of a split.
"""

import csv
import io
import os
import re
import tarfile
import unicodedata
import zipfile
from pathlib import Path
from typing import NamedTuple

from alexnet_lib.errors import InputError
from alexnet_lib.files import prefix_errors

__all__ = ["Found", "Image", "read_list", "read_rows", "subset_of"]

_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
# Headers, in small letters without blanks and the like; of several the first is taken.
_HEADERS = {
    "file": ("file", "path", "filepath", "filename", "image", "imagepath", "imagename"),
    "class": ("class", "classname", "category", "label", "labelname"),
    "subset": ("subset", "split", "set", "partition"),
}


class Image(NamedTuple):
    """An image that is not decoded yet: its path, class and, where that is given, subset."""

    path: Path
    label: str
    subset: str | None = None


class Found(NamedTuple):
    """The images of a folder or list, and what is wrong with it.

    Attributes:
        folder: to which the images' paths are relative.
        images: list of `Image`.
        class_folders: list of Path, the folders that should hold images.
        problems: list of str.
    """

    folder: Path
    images: list
    class_folders: list
    problems: list


def subset_of(word):
    """Return "train", "validation" or "test" for any usual word of it, in any case, else None."""
    word = re.sub(r"[\W_]*(set|data|images)$", "", word.strip().lower())  # such as training_set
    return next((subset for subset, words in _WORDS.items() if word in words), None)


def read_list(path):
    """Read a list of images: their files, classes and, in a column of CSV, subsets.

    Args:
        path: of a CSV with a header of file and class (or path, filename, image; label, category)
            and perhaps subset (or split), separated by commas, semicolons or tabs; or of lines
            "path label", as Caffe has them. Paths are relative to the list's folder, or absolute.

    Returns:
        `Found`; files that are missing are its problems.

    Raises:
        InputError: for other content; the message names the line.
    """
    path = Path(path).absolute()
    with prefix_errors(path):
        rows = read_rows(path, ("file", "class"))
        if rows is None:
            rows = _caffe_rows(path)
        images, problems, first = [], [], {}
        for line, row in rows:
            label, subset = _label(line, row), None
            if "subset" in row and (subset := subset_of(row["subset"])) is None:
                raise InputError(
                    f"line {line}: expected train, validation or test, found {row['subset']!r}"
                )
            file = _existing(path.parent, row["file"])
            if file is None:
                problems.append(f"line {line}: no file {path.parent / row['file']}")
            elif (seen := first.setdefault(file, line)) != line:
                raise InputError(
                    f"line {line}: expected every file once, {row['file']} is on line {seen}"
                )
            else:
                images.append(Image(file, label, subset))
        if not images:
            raise InputError(
                f"none of its files is there: {problems[0]}. Paths are relative to the list's "
                "folder, or absolute"
                if problems
                else "expected a list of images and their classes, found no line of it"
            )
        folder = path.parent
        if not all(image.path.is_relative_to(folder) for image in images):
            folder = Path(os.path.commonpath([image.path.parent for image in images]))
    return Found(folder, images, [], [f"{path}: {problem}" for problem in problems])


def _label(line, row):
    """Return a row's class in the form that names of images can hold, or raise InputError."""
    label = unicodedata.normalize("NFC", row["class"].strip())
    if not row["file"].strip() or not label or "/" in label or not label.isprintable():
        raise InputError(
            f"line {line}: expected a file and its class, a text without slashes, found "
            f"{row['file']!r} and {row['class']!r}"
        )
    return label


def _existing(folder, file):
    """Return the path of a list's file, without "..", or None; Windows' separators are read too."""
    plain = file.strip().replace("\\", "/")
    for spelling in (file, plain, plain.lstrip("/")):
        path = Path(os.path.normpath(folder / spelling))
        if os.path.isfile(path):  # which is False, too, of a name that is too long
            return path
    return None


def _caffe_rows(path):
    """Return (line, row) for each line "path label"."""
    rows = []
    for line, text in enumerate(io.StringIO(_read_text(path), newline=None), 1):
        if not text.strip():
            continue
        # A tab separates more strongly than a blank, which paths may hold.
        parts = text.strip().rsplit("\t" if "\t" in text.strip() else None, 1)
        if len(parts) != 2:
            raise InputError(
                f"line {line}: expected a path, a blank and a label, or in line 1 the header of a "
                f"CSV such as file,class,subset. Found {text.strip()[:80]!r}"
            )
        rows.append((line, {"file": parts[0].strip(), "class": parts[1].strip()}))
    return rows


def read_rows(path, wanted):
    """Read the CSV of a list or split; its columns may be in any order and have several names.

    Args:
        path: of UTF-8 text, or UTF-16 with its mark, separated by commas, semicolons or tabs.
        wanted: the columns without which it is no such table, of "file", "class" and "subset".

    Returns:
        A list of the line's number and a dict from "file", "class" and "subset", where they are
        there, to the text; None where line 1 has no such header.

    Raises:
        InputError: for text that is none, or a line that does not fit the header.
    """
    text = _read_text(path)
    for delimiter in ",;\t":
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            header = next(reader, [])
        except csv.Error:  # quotes beside another delimiter
            continue
        columns = {role: _columns(header, names) for role, names in _HEADERS.items()}
        if all(columns[role] for role in wanted):
            return _rows(reader, header, {role: found for role, found in columns.items() if found})
    return None


def header_of(path):
    """Return the first line of text, for a message."""
    return next(iter(_read_text(path).splitlines()), "")[:80]


def _columns(header, names):
    """Return the columns with one of these names, in the order of the names."""
    plain = [re.sub(r"[\W_]+", "", title).lower() for title in header]
    return [column for name in names for column, title in enumerate(plain) if title == name]


def _rows(reader, header, columns):
    rows, pairs = [], {}
    for role in ("file", "subset"):
        if len(found := columns.get(role, [])) > 1:
            titles = " and ".join(repr(header[column]) for column in found)
            raise InputError(f"line 1: both {titles} could be the {role}: remove or rename one")
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"line {reader.line_num}: expected {len(header)} columns as in line 1, "
                    f"{','.join(header)}, found {cells}"
                )
            for column in columns.get("class", [])[1:]:  # such as a number beside each name
                pair = cells[columns["class"][0]], cells[column]
                for key in ((column, 0, pair[0]), (column, 1, pair[1])):
                    if pairs.setdefault(key, pair) != pair:
                        raise InputError(
                            f"line {reader.line_num}: {header[columns['class'][0]]!r} and "
                            f"{header[column]!r} say different classes, {pair} after {pairs[key]}: "
                            "remove or rename one column"
                        )
            row = {role: cells[found[0]] for role, found in columns.items()}
            rows.append((reader.line_num, row))
    except csv.Error as error:
        raise InputError(f"line {reader.line_num}: {error}") from error
    return rows


def _read_text(path):
    """Read a file of text, whatever program wrote it; say what another file is."""
    data = Path(path).read_bytes()
    if zipfile.is_zipfile(path) or (data and tarfile.is_tarfile(path)):
        raise InputError(
            "expected a folder, or a list as text, found an archive or a spreadsheet. Unpack an "
            "archive and give the folder in it; save a spreadsheet as CSV"
        )
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"line {line}: expected text in UTF-8, found the bytes "
            f"{data[error.start : error.start + 4]!r}. Give a folder or a list, saved as UTF-8"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"line {line}: expected text, found a zero byte")
    return text
