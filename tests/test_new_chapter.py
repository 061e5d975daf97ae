"""A new chapter is sound from the start, and a bad name changes nothing."""

import subprocess
import sys
from pathlib import Path

import build
import execute
import nbformat
import pytest
from new_chapter import new_chapter
from sphinx_external_toc.parsing import parse_toc_yaml

ROOT = Path(__file__).resolve().parent.parent
CONTENTS = """\
format: jb-book
root: book/index
parts:
  - caption: The port
    chapters:
      - file: notebooks/01_one
      - file: notebooks/02_two # the last
  - caption: Back matter
    chapters:
      - file: book/end
"""


@pytest.fixture
def book(tmp_path):
    """A book of two pages and two notebooks."""
    for folder in ("book", "notebooks"):
        (tmp_path / folder).mkdir()
    (tmp_path / "_toc.yml").write_text(CONTENTS)
    for name in ("index", "end"):
        (tmp_path / "book" / f"{name}.md").write_text("# Title\n")
    for name in ("01_one", "02_two"):
        nbformat.write(nbformat.v4.new_notebook(), tmp_path / "notebooks" / f"{name}.ipynb")
    return tmp_path


def test_chapter_stands_behind_the_last_one(book):
    path = new_chapter(book, "03_my_topic", 'Mend it, "quickly"')
    assert path == book / "notebooks" / "03_my_topic.ipynb"
    first, *_ = nbformat.read(path, as_version=4).cells
    assert first.source.startswith('# Mend it, "quickly"\n')
    assert list(parse_toc_yaml(book / "_toc.yml")) == [
        "book/index",
        "notebooks/01_one",
        "notebooks/02_two",
        "notebooks/03_my_topic",
        "book/end",
    ]
    assert "notebooks/02_two # the last\n" in (book / "_toc.yml").read_text()
    assert build.check_sources(book) == []


def test_chapter_runs_and_passes_its_checks(book):
    path = new_chapter(book, "03_my_topic", "Mend it")
    assert execute.execute([path]) == 0
    assert execute.check([path]) == 0
    style = ["--config", ROOT / "notebooks" / "ruff.toml"]
    for command in (
        ["ruff", "check", *style],
        ["ruff", "format", "--check", *style],
        ["pytest", "--nbval", "-c", ROOT / "pyproject.toml"],
    ):
        subprocess.run([sys.executable, "-m", *command, path], check=True)


@pytest.mark.parametrize(
    ("name", "title", "message"),
    [
        ("my_topic", "Title", "must look like"),
        ("3_my_topic", "Title", "must look like"),
        ("03_My-Topic", "Title", "must look like"),
        ("03_my_topic.ipynb", "Title", "must look like"),
        ("../03_my_topic", "Title", "must look like"),
        ("", "Title", "must look like"),
        ("02_two", "Title", "taken by notebooks/02_two.ipynb"),
        ("02_other", "Title", "taken by notebooks/02_two.ipynb"),
        ("03_my_topic", " ", "TITLE must be one line"),
        ("03_my_topic", "One\nTwo", "TITLE must be one line"),
    ],
)
def test_what_is_refused_changes_nothing(book, name, title, message):
    before = {path: path.read_bytes() for path in book.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=message):
        new_chapter(book, name, title)
    assert before == {path: path.read_bytes() for path in book.rglob("*") if path.is_file()}
