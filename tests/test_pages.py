"""What the pages around the chapters say is true of the library."""

import html
import inspect
import re
from pathlib import Path

import cv2
import library_reference
import matplotlib.pyplot as plt
import numpy as np
import pytest

import alexnet_lib

BOOK = Path(__file__).resolve().parent.parent / "book"


def test_code_of_the_questions_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cv2.imwrite("photograph.jpg", np.full((300, 400, 3), 90, np.uint8))
    text = (BOOK / "faq.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names = {}
    for block in blocks:
        exec(block, names)
    assert len(blocks) >= 5


def test_benchmarks_page_shows_every_row_that_was_measured(monkeypatch):
    monkeypatch.setattr(plt, "show", plt.close)
    text = (BOOK / "benchmarks.md").read_text("utf-8")
    cells = re.findall(r"^```\{code-cell\} ipython3\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    names = {}
    for cell in cells:
        exec(re.sub(r"\A(---\n.*?\n---\n|:tags:[^\n]*\n)", "", cell, flags=re.DOTALL), names)
    table, speed = "".join(names["lines"]), names["speed"]
    assert table.count("<tr>") == 1 + speed["work"].nunique() + len(speed)
    assert all(html.escape(name) in table for name in {*speed["work"], *speed["peer"]})
    assert table.count("✗") == names["missed"] == (speed["met"] == 0).sum()


def test_commands_of_the_pages_exist():
    from alexnet_lib.__main__ import main

    text = "".join(path.read_text("utf-8") for path in sorted(BOOK.glob("*.md")))
    used = set(re.findall(r"-m alexnet_lib (\w+)", text))
    assert used
    assert used <= set(main.commands)


@pytest.mark.parametrize("name", alexnet_lib.__all__)
def test_short_names_are_public_in_one_module(name):
    homes = [module for module in library_reference.modules().values() if name in module.__all__]
    assert [getattr(module, name) for module in homes] == [getattr(alexnet_lib, name)]


@pytest.mark.parametrize("module", library_reference.modules().values(), ids=lambda m: m.__name__)
def test_public_names_exist_and_are_documented(module):
    for name in module.__all__:
        value = getattr(module, name)
        assert not callable(value) or inspect.getdoc(value), name


@pytest.fixture(scope="module")
def reference():
    """The text of the reference page with the library's docstrings in it."""
    source = [(BOOK / "reference.md").read_text("utf-8")]
    library_reference.expand(None, "book/reference", source)
    return source[0]


def test_reference_has_every_public_name_once(reference):
    documented = re.findall(r"^\.\. (?:autoclass|autofunction|py:data):: (\S+)$", reference, re.M)
    assert sorted(documented) == sorted(library_reference.addresses().values())
    assert {f"alexnet_lib.{name}" for name in alexnet_lib.__all__} <= set(documented)


def test_reference_says_what_every_constant_is(reference):
    constants = re.findall(r"^\.\. py:data:: (\S+)\n\n(.*)$", reference, re.M)
    assert {name for name, about in constants if not about.strip()} == set()
    assert "alexnet_lib.LAYERS" in dict(constants)


def test_readme_has_every_folder():
    text = (BOOK.parent / "README.md").read_text("utf-8")
    folders = [path.parent.name for path in (BOOK.parent / "alexnet_lib").glob("*/__init__.py")]
    assert folders
    assert all(f"- `{folder}/`" in text for folder in folders)
