"""The book's build finds each kind of fault, on small made-up books."""

import hashlib
import json
from datetime import datetime, timezone
from types import SimpleNamespace

import build
import execute
import execution_report as report
import nbformat
import pytest
from nbformat import v4

NOTEBOOKS = sorted((build.ROOT / "notebooks").glob("*.ipynb"))


def write_notebook(path, *cells):
    nbformat.write(v4.new_notebook(cells=list(cells)), path)


@pytest.fixture
def book(tmp_path):
    """A book of one page and one notebook, without faults."""
    for folder in ("book", "notebooks", "alexnet_lib"):
        (tmp_path / folder).mkdir()
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: book/index\nchapters:\n  - file: notebooks/01_one\n"
    )
    (tmp_path / "book" / "index.md").write_text("# Title\n")
    (tmp_path / "alexnet_lib" / "layers.py").write_text("ALPHA = 1\n")
    write_notebook(tmp_path / "notebooks" / "01_one.ipynb", v4.new_code_cell("1 + 1"))
    return tmp_path


def test_sound_sources_have_no_faults(book):
    assert build.check_sources(book) == []


@pytest.mark.parametrize("page", ["book/index.md", "notebooks/01_one.ipynb"])
def test_missing_page(book, page):
    (book / page).unlink()
    (fault,) = build.check_sources(book)
    assert fault.startswith(f"_toc.yml: lists {page.partition('.')[0]}, but there is no")


@pytest.mark.parametrize("page", ["book/more.md", "notebooks/02_two.ipynb"])
def test_page_absent_from_the_contents(book, page):
    if page.endswith(".ipynb"):
        write_notebook(book / page)
    else:
        (book / page).write_text("# More\n")
    assert build.check_sources(book) == [f"{page}: not in _toc.yml"]


def test_cell_that_is_never_run(book):
    cell = v4.new_code_cell("1 / 0", metadata={"tags": ["skip-execution"]})
    write_notebook(book / "notebooks" / "01_one.ipynb", cell)
    (fault,) = build.check_sources(book)
    assert "skip-execution" in fault


def test_notebook_that_cannot_be_read(book):
    (book / "notebooks" / "01_one.ipynb").write_text("<<<<<<< ours\n")
    (fault,) = build.check_sources(book)
    assert fault.startswith("notebooks/01_one.ipynb: not a notebook")


def test_malformed_contents(book):
    (book / "_toc.yml").write_text("format: jb-book\n")
    (fault,) = build.check_sources(book)
    assert fault.startswith("_toc.yml: ")


def test_cache_key_follows_all_that_outputs_depend_on(book, tmp_path_factory, monkeypatch):
    monkeypatch.delenv("ALEXNET_DATA", raising=False)
    data = tmp_path_factory.mktemp("real")

    def note_key():
        keys.append(build.cache_key(book))

    keys = []
    note_key()
    (book / "alexnet_lib" / "layers.py").write_text("ALPHA = 2\n")
    note_key()
    monkeypatch.setattr(build, "distributions", lambda: [SimpleNamespace(name="a", version="1")])
    note_key()
    (book / "data").mkdir()
    (book / "data" / "small.csv").write_text("1,2\n")
    note_key()
    monkeypatch.setenv("ALEXNET_DATA", str(data))
    note_key()
    (data / "net.caffemodel").write_bytes(b"weights")
    note_key()
    monkeypatch.setattr(build.sys, "version", "another Python")
    note_key()
    assert len(set(keys)) == 7


def test_cache_key_ignores_what_outputs_do_not_depend_on(book, monkeypatch):
    monkeypatch.delenv("ALEXNET_DATA", raising=False)
    before = build.cache_key(book)
    for file in ("alexnet_lib/__pycache__/layers.pyc", "data/downloads/big.zip", "book/more.md"):
        (book / file).parent.mkdir(parents=True, exist_ok=True)
        (book / file).write_text("x")
    assert build.cache_key(book) == before


def test_stale_outputs_are_dropped_and_sound_ones_kept(tmp_path):
    cached = tmp_path / "_build" / ".jupyter_cache" / "output"
    page = tmp_path / "_build" / "html" / "index.html"

    def build_with(key):
        for path in (cached, page):
            path.parent.mkdir(parents=True, exist_ok=True)
        build.clear_stale(tmp_path / "_build", key)
        assert not page.exists()
        return cached.exists()

    build_with("first")
    cached.parent.mkdir()
    cached.touch()
    assert build_with("first")
    assert not build_with("second")


def test_notebook_that_did_not_run(book):
    assert build.check_executed(book, {}) == ["notebooks/01_one.ipynb: was not run in this build"]


def test_notebook_that_ran(book):
    assert build.check_executed(book, {"notebooks/01_one": {"succeeded": True}}) == []


def test_failed_cell_is_shown(book, capsys):
    run = {
        "succeeded": False,
        "error": "CellExecutionError",
        "traceback": "Traceback ...\nnbclient.exceptions.CellExecutionError: "
        "An error occurred while executing the following cell:\n"
        "---\nx[5]\n---\n\x1b[31mIndexError\x1b[39m: out of range",
    }
    (fault,) = build.check_executed(book, {"notebooks/01_one": run})
    assert fault.startswith("notebooks/01_one.ipynb: a cell failed")
    shown = capsys.readouterr().out
    assert "x[5]\n---\nIndexError: out of range" in shown
    assert "Traceback ..." not in shown


PAGES = {
    "index.html": '<h2 id="top">T</h2><a href="sub/a%20b.html#x">a</a><a href="#top">t</a>',
    "sub/a b.html": '<p id="x"><img src="../dot.png" alt="A dot."><a href="https://example.org">far</a>',
}


def check(html, extra):
    """Check a book of the sound pages and one more page with this content."""
    (html / "sub").mkdir()
    (html / "dot.png").touch()
    for name, body in {**PAGES, "extra.html": extra}.items():
        (html / name).write_text(body)
    return build.check_pages(html, ["index", "sub/a b"])


def test_sound_pages_have_no_faults(tmp_path):
    assert check(tmp_path, '<a href="index.html?q=1#top">t</a><a href="#">up</a>') == []


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="none.html">x</a>', "broken link: none.html"),
        ('<a href="sub">x</a>', "broken link: sub"),
        ('<img src="none.png" alt="None.">', "broken link: none.png"),
        ('<img src="dot.png">', "an image without alternative text: dot.png"),
        ('<img src="dot.png" alt=" ">', "an image without alternative text: dot.png"),
        ('<img src="dot.png" alt="../dot.png">', "an image without alternative text: dot.png"),
        ('<a href="#none">x</a>', "broken anchor: #none"),
        ('<a href="index.html#none">x</a>', "broken anchor: index.html#none"),
        ('<script src="//cdn.example/x.js"></script>', "<script> needs the network"),
        ('<link rel="stylesheet" href="https://cdn.example/x.css">', "<link> needs the network"),
        ('<div class="output traceback">x</div>', "shows a traceback"),
        ('<div class="output stderr">x</div>', "shows a stderr"),
    ],
)
def test_fault_on_a_page(tmp_path, body, fault):
    (found,) = check(tmp_path, body)
    assert found.startswith(f"extra.html: {fault}")


def test_page_that_was_not_built(tmp_path):
    assert build.check_pages(tmp_path, ["index"]) == ["index.html: was not built"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_chapter_begins_with_the_setup_cell(path):
    notebook = nbformat.read(path, as_version=4)
    sources = [cell.source for cell in notebook.cells]
    execute.add_setup(notebook)
    assert sources == [cell.source for cell in notebook.cells], "run `make notebooks`"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_chapter_leaves_no_files_behind(path):
    # The kernels of nbval are killed at the end, so that nothing else removes a temporary folder.
    *codes, last = (c.source for c in nbformat.read(path, 4).cells if c.cell_type == "code")
    assert not any("mkdtemp" in code for code in codes)
    if any("TemporaryDirectory" in code for code in codes):
        assert last.startswith("scratch.cleanup()")


def test_setup_cell_follows_the_title_and_the_repository(tmp_path):
    def sources_at(repository):
        options = {"html_theme_options": {"repository_url": repository}}
        (tmp_path / "_config.yml").write_text(json.dumps({"sphinx": {"config": options}}))
        execute.add_setup(notebook, tmp_path)
        return [cell.source for cell in notebook.cells]

    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("# Title"), v4.new_code_cell("1 + 1")])
    for repository in ("https://example.org/first", "https://example.org/second"):
        title, setup, code = sources_at(repository)
        assert (title, code) == ("# Title", "1 + 1")
        assert f'repository = "{repository}"' in setup


def test_stored_notebooks_are_tidied():
    cell = v4.new_code_cell(
        "1 + 1",
        metadata={"execution": {"iopub.execute_input": "2026-01-01"}, "tags": ["keep"]},
        outputs=[
            v4.new_output("stream", name="stderr", text="start-up"),
            v4.new_output("stream", name="stdout", text="2"),
        ],
    )
    notebook = v4.new_notebook(
        cells=[cell], metadata={"language_info": {"name": "python", "version": "3.11.7"}}
    )
    execute.tidy(notebook)
    assert notebook.cells[0].metadata == {"tags": ["keep"]}
    assert [output.text for output in notebook.cells[0].outputs] == ["2"]
    assert notebook.metadata.kernelspec.name == "python3"
    assert "version" not in notebook.metadata.language_info


def test_status_tells_fresh_runs_from_cached_ones():
    started = datetime(2026, 1, 2, tzinfo=timezone.utc)
    seen = {}
    for day in (1, 3):
        at = datetime(2026, 1, day, 12, 30, tzinfo=timezone.utc)
        run = {"mtime": at.timestamp(), "runtime": 7.4, "succeeded": True, "error": None}
        seen[day] = report.run_row(run, "A & B", "../x.html", started)
    link = '<a href="../x.html">A &amp; B</a>'
    assert seen[1] == (
        link, "passed", "7 s", "2026-01-01 12:30 UTC", "an earlier build, unchanged since"
    )  # fmt: skip
    assert seen[3] == (link, "passed", "7 s", "2026-01-03 12:30 UTC", "this build")


def test_status_tells_what_failed():
    run = {"mtime": 0, "runtime": 1.0, "succeeded": False, "error": "CellTimeoutError"}
    row = report.run_row(run, "A", "a.html", datetime.fromtimestamp(0, timezone.utc))
    assert row[1] == "failed: CellTimeoutError"


def test_status_names_real_data_by_checksum(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path))
    assert report.describe_data().startswith("none")
    (tmp_path / "mine.caffemodel").write_bytes(b"weights")
    image = tmp_path / "UCMerced_LandUse" / "Images" / "beach" / "beach00.tif"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"sand")
    listed = f"{hashlib.sha256(b'sand').hexdigest()}  beach/beach00.tif\n"
    text = report.describe_data()
    assert f"another file than BVLC's, SHA-1 <code>{hashlib.sha1(b'weights').hexdigest()}" in text
    assert "1 images of UC Merced" in text
    assert hashlib.sha256(listed.encode()).hexdigest() in text


def test_noise_of_a_machine_in_a_stored_notebook_is_named(tmp_path, capsys):
    noisy = v4.new_output("stream", name="stderr", text="start-up")
    paths = [tmp_path / f"0{number}.ipynb" for number in (1, 2)]
    for path, outputs in zip(paths, ([], [noisy]), strict=True):
        notebook = v4.new_notebook(cells=[v4.new_code_cell("1", outputs=outputs)])
        execute.tidy(notebook)
        notebook.cells[0].outputs = outputs
        nbformat.write(notebook, path)
    assert execute.check(paths[:1]) == 0
    assert capsys.readouterr().out == ""
    assert execute.check(paths) == 1
    assert capsys.readouterr().out.startswith(f"{paths[1]}: stores stderr")
