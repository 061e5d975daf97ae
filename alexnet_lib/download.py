"""Download one file, known by its checksum: from mirrors, resumed, retried, verified.

A download grows in `NAME.part` in the data directory. Only the pinned checksum decides whether
those bytes are the file, wherever they came from: so a later run, or another mirror, goes on where
one was cut off, and wrong bytes are thrown away.
"""

import contextlib
import os
import re
import sys
import time
from typing import NamedTuple

import requests
from tqdm import tqdm

from alexnet_lib.errors import AlexNetError, InputError
from alexnet_lib.files import checksum, data_directory

try:
    import fcntl
except ImportError:  # Windows: two runs at once are not told apart
    fcntl = None

TIMEOUT = 30  # seconds to connect, and between two pieces
TRIES = 4  # at a mirror, in a row, without a new byte
PAUSE = 1  # seconds before the second try; doubles with each
PIECE = 1 << 16  # bytes between two writes
LARGEST = 1 << 29  # bytes, where neither we nor the host know the length


class OfficialFile(NamedTuple):
    """A file on the web: its name, mirrors in order, checksum, and length where that is known."""

    name: str
    mirrors: tuple
    algorithm: str
    checksum: str
    size: int | None = None


class FetchError(AlexNetError, OSError):
    """A file could not be had or installed; the message says why, in a line for each mirror."""


@contextlib.contextmanager
def verified_copy(official):
    """Lend the path of a complete and verified `NAME.part`, for the caller to install.

    Raises:
        FetchError: no mirror gave the right file, another run is downloading it, or the data
            directory cannot be written to (by the caller either: a full disk, say).
    """
    folder = data_directory()
    path = folder / f"{official.name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as part:
            _lock(part)
            if checksum(path, official.algorithm) != official.checksum:
                _download(part, official)
            os.fsync(part.fileno())
            yield path
    except FetchError:
        raise
    except OSError as error:
        raise FetchError(
            f"{error.filename or folder}: cannot be written: {error.strerror or error}. Make room "
            "or set ALEXNET_DATA to another folder; what has come is kept for the next call."
        ) from error


def _lock(part):
    """Keep a second run from writing to the same file; ends with the open file or the process."""
    try:
        if fcntl:
            fcntl.flock(part, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise FetchError(f"{part.name}: another run is downloading this file.") from error
    except OSError:
        pass  # a file system without locks


def _download(part, official):
    """Bring `part` to the right checksum from the first mirror that can."""
    complaints = []
    for url in official.mirrors:
        try:
            return _complete(part, url, official)
        except (requests.RequestException, ValueError) as error:
            complaints.append(f"\n  {url}: {_reason(error)}")
    if kept := _length(part):
        complaints.append(f"\n{kept:,} bytes are kept in {part.name} and used by the next call.")
    raise FetchError(
        f"{official.name}: no mirror gave the right file; nothing was installed."
        f"{''.join(complaints)}"
    )


def _complete(part, url, official):
    """Bring `part` to the right checksum from one mirror, going on after each cut.

    Raises:
        requests.RequestException: the mirror does not answer, or has no such file.
        ValueError: it has another file.
    """
    failures, restarted = 0, False
    while True:
        before = _length(part)
        try:
            _receive(part, url, official)
        except requests.RequestException as error:
            answer = error.response
            if answer is not None and answer.status_code < 500 and answer.status_code != 429:
                raise
            failures = 1 if _length(part) > before else failures + 1
            if failures == TRIES:
                raise
            pause = PAUSE * 2 ** (failures - 1)
            tqdm.write(f"{url}: {_reason(error)}; again in {pause} s", sys.stderr)
            time.sleep(pause)
            continue
        part.flush()
        found = checksum(part.name, official.algorithm)
        if found == official.checksum:
            return
        part.truncate(0)
        if before == 0 or restarted:
            raise InputError(f"{official.algorithm} {found}, expected {official.checksum}")
        restarted = True  # the first part may have come from elsewhere, or before a change


def _receive(part, url, official):
    """Append to `part` what it lacks, by one request that starts where it ends.

    A host that ignores ranges sends all from the start; what is there already is then passed over,
    so that a host which sends something short and foreign instead destroys nothing.
    """
    position = _length(part)
    response = _ask(url, {"Range": f"bytes={position}-"} if position else {})
    span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    resumed = response.status_code == 206 and span is not None and int(span[1]) == position
    if response.status_code in (206, 416) and not resumed:  # it has no such range
        response.close()
        response = _ask(url, {})
    with response:
        if response.status_code != 200 and not resumed:
            message = f"{response.status_code} {response.reason}"
            raise requests.HTTPError(message, response=response)
        declared = span[2] if resumed else response.headers.get("Content-Length", "")
        total = int(declared) if declared.isdecimal() else official.size
        limit = official.size or LARGEST
        if total is not None and (total > limit or official.size not in (None, total)):
            raise InputError(f"offers {total:,} bytes, expected {limit:,}")
        passed_over = 0 if resumed else position
        with tqdm(None, official.name, total, initial=position, unit="B", unit_scale=True) as bar:
            for piece in response.iter_content(PIECE):
                new, passed_over = piece[passed_over:], max(0, passed_over - len(piece))
                position += len(new)
                if new and position > limit:
                    raise InputError(f"sends more than {limit:,} bytes")
                part.write(new)
                bar.update(len(new))
        if position < (total or 0):  # old versions of urllib3 do not tell
            raise requests.ConnectionError(f"cut off after {position:,} of {total:,} bytes")


def _ask(url, headers):
    headers = {"Accept-Encoding": "identity"} | headers
    return requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)


def _length(part):
    return part.seek(0, os.SEEK_END)


def _reason(error):
    """Return the root of a failed request, which `requests` wraps several times, as one line."""
    while error.__context__ is not None:
        error = error.__context__
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(text.split())
