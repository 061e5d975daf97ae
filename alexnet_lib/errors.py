"""Errors that a user can cause: all derive from `AlexNetError`; any other exception is a bug.

Each message names the file, layer or class, says what was expected and what came, and what to do.
"""

__all__ = ["AlexNetError", "InputError", "MissingFileError"]


class AlexNetError(Exception):
    """The base of every error that this library raises because of what it was given."""


class InputError(AlexNetError, ValueError):
    """An argument or the content of a file is invalid."""


class MissingFileError(AlexNetError, FileNotFoundError):
    """A file or folder is missing; the message says how to get it."""
