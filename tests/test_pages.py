"""What the pages around the chapters say is true of the library."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

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


@pytest.mark.parametrize("module", sorted(alexnet_lib._HOMES))
def test_reference_has_every_module(module):
    assert f"```{{library}} {module}\n" in (BOOK / "reference.md").read_text("utf-8")


def test_reference_has_every_constant():
    text = (BOOK / "reference.md").read_text("utf-8")
    constants = [n for n in alexnet_lib.__all__ if not callable(getattr(alexnet_lib, n))]
    assert constants
    for name in constants:
        assert f"```{{py:data}} alexnet_lib.{name}\n" in text
