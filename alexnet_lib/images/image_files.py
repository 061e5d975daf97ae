"""Find the image files that a user names: files, and whatever lies in folders.

Nothing here needs NumPy, so what is missing is said at once.
"""

import re
from pathlib import Path

from alexnet_lib.errors import AlexNetError, InputError, MissingFileError

__all__ = ["image_files", "images_of", "visible"]

# Files and folders, in small letters, that systems leave behind; all other such begin with a dot.
_SYSTEM = {
    "thumbs.db", "thumbs.db:encryptable", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini",
    "icon\r", "__macosx", "@eadir", "@__thumb", "@recycle", "#recycle", "#snapshot", "$recycle.bin",
    "system volume information", "lost+found", "network trash folder", "picasa.ini", "__pycache__",
}  # fmt: skip
# Of a folder, files that are called an image or begin like one must be images.
_CALLED_IMAGE = re.compile(
    r"\.(jpe?g|jpe|png|tiff?|webp|bmp|dib|gif|jp2|avif|hei[cf]|p[bgpn]m|exr|hdr)$", re.IGNORECASE
)
_BEGINS_LIKE_ONE = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|BM|II\*\0|MM\0\*|RIFF....WEBP|....ftyp(hei|hev|mif|msf|avi)",
    re.DOTALL,
)


def visible(folder):
    """Return what a folder holds, sorted, without hidden files and those that systems leave."""
    return sorted(
        path
        for path in Path(folder).iterdir()
        if not path.name.startswith(".") and path.name.lower() not in _SYSTEM
    )


def images_of(folder):
    """Yield the paths of the images in a folder and its subfolders, in the order of their names.

    Hidden files are left out, and so are those that neither are called nor begin like an image,
    such as lists of labels; links to folders are not followed.
    """
    for path in visible(folder):
        if path.is_dir():
            if not path.is_symlink():
                yield from images_of(path)
        elif _CALLED_IMAGE.search(path.name) or _begins_like_image(path):
            yield path


def _begins_like_image(path):
    try:
        with open(path, "rb") as file:
            return bool(_BEGINS_LIKE_ONE.match(file.read(12)))
    except OSError:
        return True  # and its error is reported


def image_files(paths):
    """Find the images that paths name: files, or all in folders.

    Returns:
        A list of files, and a list of errors for what is missing or empty.
    """
    files, errors = [], []
    for path in map(Path, paths):
        try:
            found = list(images_of(path)) if path.is_dir() else [path]
            if not found:
                raise InputError(f"{path}: no images in this folder")
            if not path.exists():
                raise MissingFileError(f"{path}: expected an image file or a folder, found nothing")
        except (AlexNetError, OSError) as error:
            errors.append(error)
        else:
            files += found
    return files, errors
