"""What the pages around the chapters say is true of the library."""

import importlib
import inspect
import re
from pathlib import Path

import cv2
import library_reference
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


def test_commands_of_the_pages_exist():
    from alexnet_lib.__main__ import main

    text = "".join(path.read_text("utf-8") for path in sorted(BOOK.glob("*.md")))
    used = set(re.findall(r"-m alexnet_lib (\w+)", text))
    assert used
    assert used <= set(main.commands)


def test_reference_has_every_module():
    text = (BOOK / "reference.md").read_text("utf-8")
    listed = re.findall(r"^```{library} (\S+)$", text, re.MULTILINE)
    assert sorted(listed) == sorted(library_reference.modules())


def test_reference_names_constants_that_exist():
    text = (BOOK / "reference.md").read_text("utf-8")
    constants = re.findall(r"^```{py:data} alexnet_lib\.(\w+)$", text, re.MULTILINE)
    assert constants == [n for n in alexnet_lib.__all__ if not callable(getattr(alexnet_lib, n))]


@pytest.mark.parametrize("name", alexnet_lib.__all__)
def test_short_names_are_public_in_their_modules(name):
    module = importlib.import_module(f"alexnet_lib.{alexnet_lib._HOME_OF[name]}")
    assert name in module.__all__


@pytest.mark.parametrize("module", library_reference.modules())
def test_public_names_exist_and_are_documented(module):
    module = importlib.import_module(f"alexnet_lib.{module}")
    for name in module.__all__:
        value = getattr(module, name)
        assert not callable(value) or inspect.getdoc(value), name
