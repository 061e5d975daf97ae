"""The book's build finds each kind of fault, on small made-up books."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import build
import execute
import execution_report as report
import install
import nbformat
import pytest
import repository
from chapters import run_chapters
from console import ANSI_COLOUR, Screen
from install import Counter
from jupyter_cache import get_cache
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


NOTEBOOK = "notebooks/01_one.ipynb"
LINES = f"""\
Running Sphinx v7.4.7
WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
{build.ROOT}/notebooks/02_two.ipynb: Using cached notebook: ID=3 [mystnb]
{build.ROOT}/notebooks/03_three.ipynb: Executing notebook using local CWD [mystnb]
\x1b[31m{build.ROOT}/notebooks/03_three.ipynb: WARNING: Executing notebook failed: X\x1b[0m
"""


def pretend(monkeypatch, tmp_path, text, status):
    """Have a program write the text in Jupyter Book's place; build, and return faults and log."""
    program = tmp_path / "bin" / "jupyter-book"
    program.parent.mkdir()
    code = f"import sys; sys.stdout.write({text!r}); sys.exit({status})"
    program.write_text(f"#!{sys.executable}\n{code}\n")
    program.chmod(0o755)
    monkeypatch.setattr(build.sys, "executable", str(program.with_name("python")))
    log = tmp_path / "log" / "book.txt"
    return build.run_jupyter_book(tmp_path, Screen(), log), log.read_text()


def test_warnings_are_faults_and_the_log_has_everything(monkeypatch, tmp_path):
    faults, log = pretend(monkeypatch, tmp_path, LINES, 1)
    assert log == ANSI_COLOUR.sub("", LINES)
    assert faults == ["notebooks/03_three.ipynb: WARNING: Executing notebook failed: X"]


def test_chapters_run_side_by_side_and_only_when_they_must(book, capfd):
    meet = "import time\nfrom pathlib import Path\nPath('{}').touch()\n" + (
        "while not Path('{}').exists():\n    time.sleep(0.05)\nprint('met')"
    )
    write_notebook(book / "notebooks" / "01_one.ipynb", v4.new_code_cell(meet.format("a", "b")))
    write_notebook(book / "notebooks" / "02_two.ipynb", v4.new_code_cell(meet.format("b", "a")))
    write_notebook(book / "notebooks" / "03_three.ipynb", v4.new_code_cell("1 / 0"))
    dies = "import os\nos._exit(1)"
    write_notebook(book / "notebooks" / "04_four.ipynb", v4.new_code_cell(dies))
    log = book / "log" / "book.txt"
    run_chapters(book, log, Screen())
    run_chapters(book, log, Screen())
    printed = capfd.readouterr()
    lines = [re.sub(r"^\[\d/\d\] |  \d+ s$", "", line) for line in printed.out.splitlines()]
    failed = ["notebooks/03_three.ipynb  failed", "notebooks/04_four.ipynb  failed"]
    assert sorted(lines[:4]) == ["notebooks/01_one.ipynb", "notebooks/02_two.ipynb", *failed]
    assert lines[4:6] == [
        "notebooks/01_one.ipynb  not changed, not run",
        "notebooks/02_two.ipynb  not changed, not run",
    ]
    assert sorted(lines[6:]) == failed
    assert not printed.err
    cache = get_cache(book / "_build" / ".jupyter_cache")
    notebook = nbformat.read(book / "notebooks" / "02_two.ipynb", as_version=4)
    _, executed = cache.merge_match_into_notebook(notebook)
    assert executed.cells[0].outputs[0].text == "met\n"


def test_build_that_breaks_off_shows_the_end_of_the_log(monkeypatch, tmp_path):
    (fault,), _ = pretend(monkeypatch, tmp_path, "begun\nMemoryError\n", 3)
    assert fault.startswith("jupyter-book broke off")
    assert fault.endswith("begun\nMemoryError")


def test_failed_build_names_the_log(monkeypatch, tmp_path, capsys):
    log = build.ROOT / "_build" / "log" / "test.txt"
    monkeypatch.setattr(build, "LOG", log)
    monkeypatch.setattr(build, "clear_stale", lambda folder, key: None)
    monkeypatch.setattr(build, "cache_key", lambda root: "key")

    monkeypatch.setattr(build, "run_chapters", lambda root, log, screen: None)
    monkeypatch.setattr(build.live, "make", lambda root, folder, key, screen: "")

    def fail(root, screen):
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("begun\n")
        return ["index.md: WARNING: one"]

    monkeypatch.setattr(build, "run_jupyter_book", fail)
    monkeypatch.setattr(build, "check_executed", lambda root, executed: [])
    monkeypatch.setattr(build, "check_pages", lambda html, pages: [])
    try:
        assert build.main() == 1
    finally:
        log.unlink()
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "  index.md: WARNING: one",
        "The whole log is in _build/log/test.txt",
    ]


def test_terminal_has_one_line_that_changes(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    screen = Screen()
    screen.update("1 of 2")
    screen.update("2 of 2")
    screen.print("done")
    assert capsys.readouterr().out == "\r\x1b[K1 of 2\r\x1b[K2 of 2\r\x1b[Kdone\n"


PIP = """\
Ignoring appnope: markers 'sys_platform == "darwin"' don't match your environment
Collecting absl-py==2.5.1 (from -r requirements.txt (line 3))
  Downloading absl_py-2.5.1-py3-none-any.whl.metadata (3.3 kB)
Requirement already satisfied: click==8.5.1 in ./.venv (from -r requirements.txt (line 4)) (8.5.1)
Using cached absl_py-2.5.1-py3-none-any.whl (137 kB)
Installing collected packages: absl-py, click
"""


def test_installation_counts_packages(tmp_path):
    site = tmp_path / "lib" / "python3.12" / "site-packages"
    (site / "pip-25.0.dist-info").mkdir(parents=True)
    counter = Counter("# made\nabsl-py==2.5.1\nappnope==1 ; x\nclick==8.5.1\n", tmp_path)
    shown = []
    for line in PIP.splitlines():
        counter.note(line)
        shown.append(str(counter).strip())
    assert [shown[0], shown[3], shown[4]] == [
        "found 0 of 2 packages", "found 2 of 2 packages", "downloaded 1 of 2 packages",
    ]  # fmt: skip
    (site / "click-8.5.1.dist-info").mkdir()
    assert str(counter).strip() == "installed 1 of 2 packages"


def test_installation_that_fails_shows_why_and_names_the_log(monkeypatch, tmp_path, capsys):
    (tmp_path / "requirements.txt").write_text("absl-py==2.5.1\n")
    monkeypatch.setattr(install, "ROOT", tmp_path)
    monkeypatch.setattr(install, "LOG", tmp_path / "install.txt")

    def fail(command, log, note, tick):
        log.write_text("ERROR: No matching distribution\n")
        return 1

    monkeypatch.setattr(install, "run_logged", fail)
    assert install.main() == 1
    *_, first, _, last = capsys.readouterr().out.splitlines()
    assert first == f"Could not be installed. The last lines of {tmp_path / 'install.txt'}:"
    assert last == "ERROR: No matching distribution"


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
    for url in ("https://example.org/first", "https://example.org/second"):
        title, setup, code = sources_at(url)
        assert (title, code) == ("# Title", "1 + 1")
        assert f'repository = "{url}"' in setup


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


def test_status_lists_the_packages_of_pyproject():
    packages = report.packages()
    assert {"tensorflow", "keras", "jupyter-book"} <= set(packages)
    assert not {"pytest", "ruff"} & set(packages)


def test_status_names_real_data_by_checksum(tmp_path, monkeypatch):
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path))
    assert report.describe_data().startswith("none")
    (tmp_path / "mine.caffemodel").write_bytes(b"weights")
    image = tmp_path / "UCMerced_LandUse" / "Images" / "beach" / "beach00.tif"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"sand")
    listed = f"{hashlib.sha256(b'sand').hexdigest()}  beach/beach00.tif\n"
    text = report.describe_data()
    assert f"another file than BVLC's, SHA-1 `{hashlib.sha1(b'weights').hexdigest()}" in text
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


# What pages hold when there is a public repository, and only then.
PUBLIC = {
    "book/use": ("SITE/edit/main/book/use.md", "SITE/issues/new", "The rocket at the top"),
    "book/contributing": ("SITE/edit/main/book/contributing.md", "links at its top"),
    "notebooks/01_one": (
        "SITE/edit/main/notebooks/01_one.ipynb",
        "SITE/issues/new",
        "https://mybinder.org/v2/gh/",
        "https://colab.research.google.com/github/",
    ),
}
ADDRESSES = [repository.PLACEHOLDER, "https://github.com/someone/some-book"]


@pytest.mark.parametrize("url", ADDRESSES)
def test_one_setting_switches_all_that_leads_to_the_repository(tmp_path, url):
    for name in ("images", "root", "references.bib", "scripts", "static"):
        (tmp_path / "book").mkdir(exist_ok=True)
        (tmp_path / "book" / name).symlink_to(build.ROOT / "book" / name)
    for name in ("README.md", "book/use.md", "book/contributing.md"):
        shutil.copy(build.ROOT / name, tmp_path / name)
    (tmp_path / "notebooks").mkdir()
    write_notebook(tmp_path / "notebooks" / "01_one.ipynb", v4.new_markdown_cell("# One"))
    first, *others = PUBLIC
    listed = "".join(f"  - file: {page}\n" for page in others)
    (tmp_path / "_toc.yml").write_text(f"format: jb-book\nroot: {first}\nchapters:\n{listed}")
    config = (build.ROOT / "_config.yml").read_text("utf-8")
    config = re.sub(r"(?<=repository_url: )\S+", url, config)
    (tmp_path / "_config.yml").write_text(config, "utf-8")
    assert repository.repository_url(tmp_path) == url

    program = Path(sys.executable).with_name("jupyter-book")
    subprocess.run([program, "build", tmp_path], check=True, capture_output=True)
    html = {page: (tmp_path / f"_build/html/{page}.html").read_text() for page in PUBLIC}
    if url == repository.PLACEHOLDER:
        for page, leads in PUBLIC.items():
            assert not any(lead.removeprefix("SITE") in html[page] for lead in leads)
        assert not any(url in text for text in html.values())
    else:
        for page, leads in PUBLIC.items():
            assert all(lead.replace("SITE", url) in html[page] for lead in leads)


@pytest.mark.parametrize("url", ADDRESSES)
def test_badges_of_the_readme_follow_the_setting(url):
    readme = "# Title\n\n<!-- badges -->\nold\n<!-- end of badges -->\n\nText\n"
    text = repository.with_badges(readme, url)
    assert text.startswith("# Title\n\n<!-- badges -->\n")
    assert text.endswith("<!-- end of badges -->\n\nText\n")
    assert "old" not in text
    assert (f"[![Book]({url}/actions/" in text) == (url != repository.PLACEHOLDER)
    assert repository.with_badges(text, url) == text


def test_readme_has_the_badges_of_the_setting():
    readme = (build.ROOT / "README.md").read_text("utf-8")
    assert "<!-- badges -->\n" in readme
    url = repository.repository_url(build.ROOT)
    assert repository.with_badges(readme, url) == readme, "run `make notebooks`"
