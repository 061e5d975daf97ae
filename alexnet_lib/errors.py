"""Errors that a user can cause: all derive from `AlexNetError`; any other exception is a bug.

Each message names the file, layer or class, says what was expected and what came, and what to do.
"""

__all__ = ["AlexNetError", "InputError", "MissingFileError"]


class AlexNetError(Exception):
    """The base of every error that this library raises because of what it was given."""


class InputError(AlexNetError, ValueError):
    """An argument or a file's content is not what it must be."""


class MissingFileError(AlexNetError, FileNotFoundError):
    """A file or folder is not there; the message says what brings it."""
