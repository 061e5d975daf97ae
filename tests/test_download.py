"""The downloader against a host on this machine that cuts, stalls, lies and refuses."""

import errno
import http.server
import io
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import zipfile

import numpy as np
import pytest
from filelock import FileLock
from running import run_command
from tqdm import tqdm

from alexnet_lib import download, files

RIGHT = np.random.default_rng(0).bytes(100_000)
WRONG = np.random.default_rng(1).bytes(100_000)
NAME = files.CAFFEMODEL


class Page:
    """What the host does with one address; each list is used up, an item an answer."""

    def __init__(self, body=RIGHT, ranges=True, length=True, then=None, location=None):
        self.body, self.ranges, self.length = body, ranges, length
        self.then = then  # the body of the second and later answers
        self.location = location
        self.statuses, self.cuts, self.stalls, self.spans = [], [], [], []


class Host(http.server.ThreadingHTTPServer):
    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.pages, self.asked, self.released = {}, [], threading.Event()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Answer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        page, span = self.server.pages.get(self.path), self.headers["Range"]
        self.server.asked.append((self.path, span))
        status = page.statuses.pop(0) if page and page.statuses else 200
        if page is None or status != 200:
            return self.send_error(404 if page is None else status)
        if page.location:
            self.send_response(302)
            self.send_header("Location", page.location)
            return self.end_headers()
        body, start = page.body, 0
        page.body = page.body if page.then is None else page.then
        if span and page.ranges:
            start = int(span.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                return self.send_error(416)
            self.send_response(206)
            told = f"bytes {start}-{len(body) - 1}/{len(body)}"
            self.send_header("Content-Range", page.spans.pop(0) if page.spans else told)
        else:
            self.send_response(200)
        body = body[start:]
        if page.length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        stall = page.stalls.pop(0) if page.stalls else None
        cut = page.cuts.pop(0) if page.cuts else stall
        self.wfile.write(body[:cut])
        if stall is not None:
            self.wfile.flush()
            self.server.released.wait(30)


@pytest.fixture
def host():
    with Host() as host:
        beat = threading.Thread(target=host.serve_forever, args=(0.01,))
        beat.start()
        yield host
        host.released.set()
        host.shutdown()
        beat.join()


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The data directory, which does not exist yet; pauses are cut short."""
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0.001)
    monkeypatch.setattr(download, "PIECE", 1000)
    return tmp_path / "data"


def checksum(content, algorithm, tmp_path):
    (tmp_path / "content").write_bytes(content)
    return files.checksum(tmp_path / "content", algorithm)


@pytest.fixture
def mirrors(host, data, tmp_path, monkeypatch):
    """Two addresses that both have the right weights; their length is not known beforehand."""
    sha1 = checksum(RIGHT, "sha1", tmp_path)
    monkeypatch.setattr(files, "CAFFEMODEL_SHA1", sha1)
    alexnet = download.ALEXNET._replace(mirrors=(host.url("/1"), host.url("/2")), checksum=sha1)
    monkeypatch.setattr(download, "ALEXNET", alexnet)
    host.pages = {"/1": Page(), "/2": Page()}
    return host.pages


@pytest.fixture
def known_size(mirrors, monkeypatch):
    monkeypatch.setattr(download, "ALEXNET", download.ALEXNET._replace(size=len(RIGHT)))


def run(*what):
    return run_command("fetch", *what)


def listed(data):
    """Return what a user sees: `filelock` may leave its hidden file."""
    return sorted(item.name for item in data.iterdir() if not item.name.startswith("."))


def assert_installed(result, data):
    assert result.exit_code == 0, result.output
    assert listed(data) == [NAME]
    assert (data / NAME).read_bytes() == RIGHT


def assert_failed(result, data, *messages, kept=None):
    """Nothing is installed; `kept` bytes wait for the next call."""
    assert result.exit_code == 1, result.output
    for message in messages:
        assert message in result.output
    assert listed(data) == [f"{NAME}.part"]
    assert kept is None or (data / f"{NAME}.part").stat().st_size == kept


def keep(data, content):
    """Leave a partial file as an earlier run would have."""
    data.mkdir()
    (data / f"{NAME}.part").write_bytes(content)


def test_download_once_and_never_again(host, mirrors, data):
    result = run("alexnet")
    assert_installed(result, data)
    assert "100k/100k" in result.output  # progress
    assert host.asked == [("/1", None)]
    assert_installed(run("alexnet"), data)
    assert len(host.asked) == 1


@pytest.mark.parametrize("length", [True, False], ids=["length", "no length"])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no ranges"])
@pytest.mark.parametrize("kept", [1, 4096, 50_000, 99_999])
def test_partial_file_is_resumed(host, mirrors, data, known_size, kept, ranges, length):
    mirrors["/1"].ranges, mirrors["/1"].length = ranges, length
    keep(data, RIGHT[:kept])
    assert_installed(run("alexnet"), data)
    assert host.asked == [("/1", f"bytes={kept}-")]


def test_complete_partial_file_needs_no_host(host, mirrors, data):
    keep(data, RIGHT)
    assert_installed(run("alexnet"), data)
    assert host.asked == []


@pytest.mark.parametrize("cuts", [[0], [1], [999], [1000], [50_500], [99_999], [30_000, 0, 20_000]])
def test_cut_connection_goes_on(host, mirrors, data, cuts):
    mirrors["/1"].cuts = list(cuts)
    assert_installed(run("alexnet"), data)
    assert {path for path, _ in host.asked} == {"/1"}
    assert len(host.asked) == len(cuts) + 1
    assert (host.asked[-1][1] is None) == (max(cuts) < 1000)


def test_many_cuts_with_progress_are_not_given_up(host, mirrors, data):
    mirrors["/1"].cuts = [9_500] * 10
    assert_installed(run("alexnet"), data)
    assert {path for path, _ in host.asked} == {"/1"}


def test_cut_without_ranges_starts_again(host, mirrors, data):
    mirrors["/1"].ranges, mirrors["/1"].cuts = False, [40_000, 30_000, 70_000]
    assert_installed(run("alexnet"), data)
    assert {path for path, _ in host.asked} == {"/1"}


def test_cut_at_one_place_for_ever_moves_on_to_the_next_mirror(host, mirrors, data):
    mirrors["/1"].ranges, mirrors["/1"].cuts = False, [40_000] * 99
    assert_installed(run("alexnet"), data)
    assert [path for path, _ in host.asked] == ["/1"] * download.TRIES + ["/2"]
    assert host.asked[-1] == ("/2", "bytes=40000-")  # what the first one gave is used


def test_cut_without_a_declared_length(host, mirrors, data, known_size):
    mirrors["/1"].length, mirrors["/1"].cuts = False, [40_000]
    assert_installed(run("alexnet"), data)
    assert host.asked == [("/1", None), ("/1", "bytes=40000-")]


def test_stalled_server(host, mirrors, data, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 1)
    mirrors["/1"].stalls = [30_000]
    assert_installed(run("alexnet"), data)
    assert host.asked == [("/1", None), ("/1", "bytes=30000-")]


def test_all_stalled(host, mirrors, data, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.5)
    monkeypatch.setattr(download, "TRIES", 2)
    mirrors["/1"].stalls, mirrors["/2"].stalls = [5_000, 0, 0], [0, 0]
    assert_failed(run("alexnet"), data, "/1: timed out", "/2: timed out", kept=5_000)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_passing_trouble_is_retried(host, mirrors, data, status):
    mirrors["/1"].statuses = [status] * (download.TRIES - 1)
    assert_installed(run("alexnet"), data)
    assert [path for path, _ in host.asked] == ["/1"] * download.TRIES


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (410, 1), (304, 1), (503, 4)])
def test_lasting_trouble_leads_to_the_next_mirror(host, mirrors, data, status, asked):
    mirrors["/1"].statuses = [status] * 9
    assert_installed(run("alexnet"), data)
    assert [path for path, _ in host.asked] == ["/1"] * asked + ["/2"]


def test_backoff_doubles(mirrors, data, monkeypatch):
    pauses = []
    monkeypatch.setattr(download, "PAUSE", 1)
    monkeypatch.setattr(time, "sleep", pauses.append)
    mirrors["/1"].statuses = [500] * 9
    assert_installed(run("alexnet"), data)
    assert pauses == [1, 2, 4]


def test_all_mirrors_dead(host, mirrors, data, monkeypatch):
    dead = (host.url("/absent"), "http://127.0.0.1:1/x", "http://[::/", "http://name.invalid/x")
    monkeypatch.setattr(download, "ALEXNET", download.ALEXNET._replace(mirrors=dead))
    result = run("alexnet")
    assert_failed(result, data, "/absent: 404 Not Found", ":1/x: Connection refused", kept=0)
    lines = [line for line in result.output.splitlines() if line.startswith("  http")]
    assert [line.split(": ")[0].strip() for line in lines] == list(dead)
    assert "Traceback" not in result.output


def test_a_dead_end_keeps_what_came(host, mirrors, data):
    mirrors["/1"].cuts = [60_000]
    mirrors["/1"].statuses = [200] + [404] * 9
    mirrors["/2"].statuses = [404]
    assert_failed(run("alexnet"), data, "60,000 bytes are kept", kept=60_000)
    mirrors["/1"].statuses = []
    assert_installed(run("alexnet"), data)
    assert host.asked[-1] == ("/1", "bytes=60000-")


def test_redirects_keep_the_range(host, mirrors, data):
    host.pages["/store"], mirrors["/1"].location = Page(), host.url("/store")
    keep(data, RIGHT[:1234])
    assert_installed(run("alexnet"), data)
    assert host.asked == [("/1", "bytes=1234-"), ("/store", "bytes=1234-")]


def test_redirects_in_a_circle(host, mirrors, data):
    mirrors["/1"].location = host.url("/1")
    assert_installed(run("alexnet"), data)
    assert host.asked[-1] == ("/2", None)


def test_wrong_bytes_on_the_first_mirror(host, mirrors, data):
    mirrors["/1"].body = WRONG
    assert_installed(run("alexnet"), data)
    assert host.asked == [("/1", None), ("/2", None)]


def test_wrong_bytes_everywhere(mirrors, data):
    mirrors["/1"].body = mirrors["/2"].body = b"<html>an error page</html>"
    messages = "/1: sha1", "/2: sha1", f"expected {download.ALEXNET.checksum}"
    assert_failed(run("alexnet"), data, *messages, kept=0)


def test_wrong_bytes_cut_off_do_not_spoil_the_next_mirror(host, mirrors, data):
    mirrors["/1"].body, mirrors["/1"].cuts = WRONG, [50_000]
    mirrors["/1"].statuses = [200] + [404] * 9
    assert_installed(run("alexnet"), data)
    assert host.asked[2:] == [("/2", "bytes=50000-"), ("/2", None)]


def test_wrong_bytes_cut_off_again_and_again(host, mirrors, data):
    mirrors["/1"].body, mirrors["/1"].cuts = WRONG, [50_000, 50_000] * 9
    assert_installed(run("alexnet"), data)
    assert [path for path, _ in host.asked] == ["/1"] * 4 + ["/2"]


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    "kept", [WRONG[:50_000], WRONG, WRONG + WRONG], ids=["part", "all", "more"]
)
@pytest.mark.parametrize("size", [None, len(RIGHT)])
def test_wrong_partial_file_is_thrown_away(mirrors, data, monkeypatch, kept, ranges, size):
    monkeypatch.setattr(download, "ALEXNET", download.ALEXNET._replace(size=size))
    mirrors["/1"].ranges = mirrors["/2"].ranges = ranges
    keep(data, kept)
    assert_installed(run("alexnet"), data)


def test_file_changed_between_cut_and_resume(host, mirrors, data):
    mirrors["/1"].body, mirrors["/1"].then, mirrors["/1"].cuts = WRONG, RIGHT, [50_000]
    assert_installed(run("alexnet"), data)
    assert host.asked == [("/1", None), ("/1", "bytes=50000-"), ("/1", None)]


def test_file_of_another_length_between_cut_and_resume(host, mirrors, data, known_size):
    mirrors["/1"].then, mirrors["/1"].cuts = WRONG + WRONG, [50_000]
    assert_installed(run("alexnet"), data)
    assert host.asked[-1] == ("/2", "bytes=50000-")


@pytest.mark.parametrize("body", [RIGHT[:-1], RIGHT + b"x", b""], ids=["short", "long", "empty"])
@pytest.mark.parametrize("length", [True, False], ids=["length", "no length"])
def test_wrong_size(mirrors, data, known_size, body, length):
    for page in mirrors.values():
        page.body, page.length = body, length
    message = f"/1: offers {len(body):,} bytes, expected 100,000" if length else "/2: "
    assert_failed(run("alexnet"), data, message)
    assert not (data / NAME).exists()
    mirrors["/2"] = Page()
    assert_installed(run("alexnet"), data)


@pytest.mark.parametrize("ranges", [True, False])
def test_endless_answer_is_stopped(mirrors, data, monkeypatch, ranges):
    monkeypatch.setattr(download, "LARGEST", 10_000)
    mirrors["/1"].length, mirrors["/2"].ranges = False, ranges
    messages = "/1: sends more than 10,000 bytes", "/2: offers 100,000 bytes"
    assert_failed(run("alexnet"), data, *messages, kept=10_000)


@pytest.mark.parametrize("span", ["bytes 0-99999/100000", "nonsense", ""])
def test_wrong_range_is_not_trusted(host, mirrors, data, span):
    mirrors["/1"].spans = [span]
    keep(data, RIGHT[:50_000])
    assert_installed(run("alexnet"), data)
    assert host.asked == [("/1", "bytes=50000-"), ("/1", None)]


def test_short_foreign_page_does_not_destroy_a_partial_file(mirrors, data, known_size):
    for page in mirrors.values():
        page.body, page.ranges, page.length = b"<html>log in</html>", False, False
    keep(data, RIGHT[:50_000])
    run("alexnet")
    assert (data / f"{NAME}.part").read_bytes() == RIGHT[:50_000]


class Full(io.FileIO):
    """A file on a disk with room for 42,000 bytes."""

    def write(self, content):
        room = 42_000 - self.seek(0, os.SEEK_END)
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(content[:room])


def test_full_disk(host, mirrors, data, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            download, "open", lambda path, _: io.BufferedRandom(Full(path, "a+")), raising=False
        )
        result = run("alexnet")
    assert_failed(result, data, "No space left on device", "ALEXNET_DATA", kept=42_000)
    assert [path for path, _ in host.asked] == ["/1"]  # another mirror would not help
    assert_installed(run("alexnet"), data)
    assert host.asked[-1] == ("/1", "bytes=42000-")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EIO, errno.ESTALE])
def test_data_directory_that_cannot_be_written(host, mirrors, data, monkeypatch, code):
    def refuse(path, mode):
        raise OSError(code, os.strerror(code), str(path))

    monkeypatch.setattr(download, "open", refuse, raising=False)
    result = run("alexnet")
    assert result.exit_code == 1
    assert f"{NAME}.part: cannot be written: {os.strerror(code)}" in result.output
    assert host.asked == []


@pytest.mark.parametrize("below", [".", "below"])
def test_data_directory_that_is_a_file(mirrors, tmp_path, monkeypatch, below):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path / "file" / below))
    result = run("alexnet")
    assert result.exit_code == 1
    assert "cannot be written" in result.output


def test_two_runs_at_once(host, mirrors, data):
    keep(data, RIGHT[:10])
    with FileLock(data / f".{NAME}.lock"):
        assert_failed(run("alexnet"), data, "another run is downloading", kept=10)
    assert host.asked == []
    assert_installed(run("alexnet"), data)


class Interrupted(tqdm):
    """Progress that the user stops at its 20th step."""

    steps = 0

    def update(self, n=1):
        self.steps += 1
        if self.steps == 20:
            raise KeyboardInterrupt


def test_interrupted_by_the_user(host, mirrors, data, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(download, "tqdm", Interrupted)
        assert_failed(run("alexnet"), data, "Aborted!", kept=20_000)
    assert_installed(run("alexnet"), data)
    assert host.asked[-1] == ("/1", "bytes=20000-")


def test_wrong_file_of_the_official_name_is_replaced(mirrors, data):
    data.mkdir()
    (data / NAME).write_bytes(WRONG)
    mirrors["/1"].statuses, mirrors["/2"].statuses = [404], [404]
    assert run("alexnet").exit_code == 1
    assert (data / NAME).read_bytes() == WRONG
    assert_installed(run("alexnet"), data)


# The archive: 3 classes of 100 images in place of 21.

HOME = "UCMerced_LandUse"
FIRST = f"{HOME}/Images/beach/beach00.tif"


def archive(extras=None, classes=("beach", "forest", "river")):
    """Return a zip like the official one, with `extras` by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as contents:
        contents.writestr(f"{HOME}/", "")
        contents.writestr(f"{HOME}/readme.txt", "cite")
        for name in classes:
            contents.writestr(f"{HOME}/Images/{name}/", "")
            for number in range(100):
                path = f"{HOME}/Images/{name}/{name}{number:02}.tif"
                contents.writestr(path, path * 10)
        for path, content in (extras or {}).items():
            contents.writestr(path, content)
    return buffer.getvalue()


@pytest.fixture
def serve(host, data, tmp_path, monkeypatch):
    """Serve an archive under its own checksum."""
    monkeypatch.setattr(download, "IMAGES", 300)

    def serve(content):
        host.pages["/zip"] = Page(content)
        ucmerced = download.UCMERCED._replace(
            mirrors=(host.url("/zip"),),
            checksum=checksum(content, "sha256", tmp_path),
            size=len(content),
        )
        monkeypatch.setattr(download, "UCMERCED", ucmerced)

    return serve


def assert_unpacked(result, data):
    assert result.exit_code == 0, result.output
    assert listed(data) == [HOME]
    found = [path for path in (data / HOME).rglob("*") if not path.is_dir()]
    assert len(found) == download.IMAGES
    for path in found:
        assert path.read_text() == path.relative_to(data).as_posix() * 10


def test_archive_is_unpacked_once(host, serve, data):
    serve(archive())
    assert_unpacked(run("ucmerced"), data)
    assert_unpacked(run("ucmerced"), data)
    assert host.asked == [("/zip", None)]


def test_official_number_of_images(serve, data, monkeypatch):
    serve(archive(classes=[f"class{letter}" for letter in "abcdefghijklmnopqrstu"]))
    monkeypatch.setattr(download, "IMAGES", 2100)
    assert_unpacked(run("ucmerced"), data)


def test_a_copy_in_another_format_counts_as_installed(host, serve, data):
    serve(archive())
    run("ucmerced")
    for path in list((data / HOME).rglob("*.tif")):
        path.rename(path.with_suffix(".webp"))
    assert run("ucmerced").exit_code == 0
    assert len(host.asked) == 1


def test_harmless_extras_stay_packed(serve, data):
    serve(archive({f"{HOME}/Images/beach/Thumbs.db": b"thumbs"}))
    assert_unpacked(run("ucmerced"), data)


def test_incomplete_folder_is_neither_used_nor_overwritten(host, serve, data):
    serve(archive())
    (data / FIRST).parent.mkdir(parents=True)
    (data / FIRST).write_text("mine")
    result = run("ucmerced")
    assert result.exit_code == 1
    assert "found 1. Move that folder away" in result.output
    assert (data / FIRST).read_text() == "mine"
    assert host.asked == []


def test_an_empty_image_makes_the_folder_incomplete(serve, data):
    serve(archive())
    assert_unpacked(run("ucmerced"), data)
    (data / FIRST).write_text("")
    assert "found 299. Move" in run("ucmerced").output


def test_images_appear_all_at_once(serve, data, monkeypatch):
    def fail(staging, home):
        assert len(list(staging.rglob("*.tif"))) == 300
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    serve(archive())
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail)
        assert run("ucmerced").exit_code == 1
    assert listed(data) == [f"{HOME}.zip.part"]
    assert_unpacked(run("ucmerced"), data)


def stop(error, monkeypatch):
    """Let the 50th image fail to be written."""
    write, written = pathlib.Path.write_bytes, []

    def fail(path, content):
        written.append(path)
        if len(written) == 50:
            write(path, content[:3])
            raise error
        return write(path, content)

    monkeypatch.setattr(pathlib.Path, "write_bytes", fail)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space"),
        (KeyboardInterrupt, "Aborted"),
    ],
)
def test_stopped_while_unpacking(host, serve, data, monkeypatch, error, message):
    serve(archive())
    with monkeypatch.context() as patch:
        stop(error, patch)
        result = run("ucmerced")
    assert result.exit_code == 1
    assert message in result.output
    assert listed(data) == [f"{HOME}.zip.part"]
    assert_unpacked(run("ucmerced"), data)
    assert len(host.asked) == 1


def test_both_are_fetched_and_one_failure_does_not_stop_the_other(serve, mirrors, data):
    content = archive()
    serve(content)
    mirrors["/1"].statuses, mirrors["/2"].statuses = [404], [404]
    result = run()
    assert result.exit_code == 1
    assert f"{NAME}: no mirror has the right file" in result.output
    assert (data / HOME).is_dir()
    assert run().exit_code == 0
    assert listed(data) == [HOME, NAME]


# Runs of their own, which are killed.

CHILD = """
import itertools, os, pathlib
from alexnet_lib import download
download.PIECE = 10_000
download.IMAGES = 300
download.UCMERCED = download.OfficialFile(*{official!r})
if {at_image}:
    write, number = pathlib.Path.write_bytes, itertools.count()
    pathlib.Path.write_bytes = lambda path, content: (
        os.kill(os.getpid(), 9) if next(number) == {at_image} else write(path, content)
    )
download.fetch_ucmerced()
"""


def start(at_image=0):
    code = CHILD.format(official=tuple(download.UCMERCED), at_image=at_image)
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)


def test_killed_while_downloading(host, serve, data):
    content = archive({"padding": RIGHT})
    serve(content)
    host.pages["/zip"].stalls = [len(content) // 2]
    part = data / f"{HOME}.zip.part"
    with start() as child:
        deadline = time.monotonic() + 120
        while not (part.exists() and part.stat().st_size > 20_000):
            assert time.monotonic() < deadline, "the child has not started to download"
            time.sleep(0.01)
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert listed(data) == [part.name]
    kept = part.stat().st_size
    assert_unpacked(run("ucmerced"), data)
    assert host.asked == [("/zip", None), ("/zip", f"bytes={kept}-")]


def test_killed_while_unpacking(host, serve, data):
    serve(archive())
    with start(at_image=50) as child:
        child.wait(120)
    assert child.returncode == -signal.SIGKILL
    staging, part = data / f"{HOME}.unpacking", data / f"{HOME}.zip.part"
    assert listed(data) == [staging.name, part.name]
    assert len(list(staging.rglob("*.tif"))) == 50
    (staging / "left over").touch()
    assert_unpacked(run("ucmerced"), data)
    assert len(host.asked) == 1
