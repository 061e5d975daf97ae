"""Errors that a user can cause: all derive from `AlexNetError`; any other exception is a bug.

Each message names the file, layer or class, says what was expected and what came, and what to do.
"""

import re

__all__ = ["AlexNetError", "InputError", "MissingFileError", "printable"]


class AlexNetError(Exception):
    """The base of every error that this library raises because of what it was given."""

    def __str__(self):
        return printable(super().__str__())


class InputError(AlexNetError, ValueError):
    """An argument or the content of a file is invalid."""


class MissingFileError(AlexNetError, FileNotFoundError):
    """A file or folder is missing; the message says how to get it."""


def printable(text):
    r"""Return text in which \x.. stands for each byte of a file's name that is not UTF-8."""
    named = re.sub("[\udc80-\udcff]", lambda byte: f"\\x{ord(byte[0]) - 0xDC00:02x}", str(text))
    return named.encode("utf-8", "backslashreplace").decode()
