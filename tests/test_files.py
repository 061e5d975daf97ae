"""The data directory, atomic writes and the command line."""

import numpy as np
import pytest
from running import run_command

from alexnet_lib import files
from alexnet_lib.files import data_directory, find_caffemodel
from alexnet_lib.port.layouts import load_npz, save_npz


def test_data_directory_is_the_environments_or_the_books(monkeypatch, tmp_path):
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path))
    assert data_directory() == tmp_path
    assert find_caffemodel() is None
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ALEXNET_DATA", "mine")
    assert data_directory() == tmp_path / "mine"  # a later chdir must not matter
    monkeypatch.delenv("ALEXNET_DATA")
    assert data_directory().parts[-2:] == ("data", "downloads")


def test_a_relative_data_directory_is_found_from_a_notebook(monkeypatch, tmp_path):
    """Jupyter runs a notebook in its own folder; $PWD stays the one where the command was typed."""
    shell, notebooks, clone = (tmp_path / name for name in ("shell", "notebooks", "clone"))
    for folder in (shell, notebooks, clone):
        folder.mkdir()
    monkeypatch.setattr(files, "_ROOT", clone)
    monkeypatch.chdir(notebooks)
    monkeypatch.setenv("PWD", str(shell))
    monkeypatch.setenv("ALEXNET_DATA", "mine")
    assert data_directory() == notebooks / "mine"  # to be made
    for folder in (clone, shell, notebooks):
        (folder / "mine").mkdir()
        assert data_directory() == folder / "mine"
    monkeypatch.setenv("ALEXNET_DATA", str(shell))
    assert data_directory() == shell
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ALEXNET_DATA", "~/clone")
    assert data_directory() == clone


def test_the_official_file_goes_before_others(monkeypatch, tmp_path):
    monkeypatch.setenv("ALEXNET_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"found none\. Run .* fetch alexnet"):
        files.find_imagenet_weights()
    for name in ("a.caffemodel", "official.caffemodel", "z.caffemodel"):
        (tmp_path / name).write_text(name)
    assert find_caffemodel().name == "a.caffemodel"
    with pytest.raises(FileNotFoundError, match=r"found a\.caffemodel with another checksum\."):
        files.find_imagenet_weights()
    monkeypatch.setattr(files, "CAFFEMODEL_SHA1", files.checksum(tmp_path / "official.caffemodel"))
    assert find_caffemodel().name == files.find_imagenet_weights().name == "official.caffemodel"


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "file.bin"
    path.write_text("old")

    def fail_half_way():
        with files.atomic_path(path) as partial:
            partial.write_text("half of the n")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("file.bin", "old")]
    with files.atomic_path(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
    assert [(item.name, item.read_text()) for item in tmp_path.iterdir()] == [("file.bin", "new")]


def test_convert_both_ways(weights, tmp_path):
    some = {name: array for name, array in weights.items() if name[:3] not in ("fc6", "fc7")}
    save_npz(tmp_path / "a.npz", some)
    there = run_command("convert", tmp_path / "a.npz", tmp_path / "b.caffemodel")
    assert there.output.endswith("b.caffemodel: 6 layers, 6,431,080 parameters\n")
    back = run_command("convert", tmp_path / "b.caffemodel", tmp_path / "c.npz")
    assert back.output.endswith("c.npz: 6 layers, 6,431,080 parameters\n")
    again = load_npz(tmp_path / "c.npz")
    assert list(again) == list(some)
    assert all(again[name].tobytes() == array.tobytes() for name, array in some.items())


def test_a_network_is_one_file_or_two(tmp_path):
    for name in "abc":
        (tmp_path / name).touch()
    run = run_command("prove", *(tmp_path / name for name in "abc"))
    assert run.exit_code == 2
    assert "expected [PROTOTXT] CAFFEMODEL. Received:" in " ".join(run.output.split())


def test_a_users_mistake_gets_a_line_and_no_traceback(tmp_path):
    (tmp_path / "page.caffemodel").write_text("<html>404</html>")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    for source, target, status, message in (
        ("absent.caffemodel", "a.npz", 2, "does not exist"),
        ("page.caffemodel", "a.h5", 2, "SOURCE must end in .caffemodel or .npz"),
        ("page.caffemodel", "a.keras", 1, "error page of a failed download"),
        ("page.caffemodel", "a.npz", 1, "error page of a failed download"),
        ("other.npz", "a.caffemodel", 1, "other.npz"),
    ):
        run = run_command("convert", tmp_path / source, tmp_path / target)
        assert run.exit_code == status, run.output
        assert message in run.output
        assert not (tmp_path / target).exists()
