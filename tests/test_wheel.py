"""The library works when it is installed from a wheel, with no clone beside it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = ["LICENSE", "README.md", "pyproject.toml", "alexnet_lib", "data"]

# One process, because starting TensorFlow takes longer than all the rest.
PROGRAM = """
import importlib, pkgutil, sys
import cv2
import numpy as np
import alexnet_lib
from alexnet_lib import files
from alexnet_lib.__main__ import main
from alexnet_lib.images.splits import read_split
from alexnet_lib.teaching.scenes import draw_scene

assert alexnet_lib.__file__.startswith(sys.argv[1]), alexnet_lib.__file__
for name in alexnet_lib.__all__:
    getattr(alexnet_lib, name)
for module in pkgutil.walk_packages(alexnet_lib.__path__, "alexnet_lib."):
    importlib.import_module(module.name)

import matplotlib.pyplot as plt
plt.style.use("alexnet_lib.teaching.book")

def run(*arguments):
    main([str(argument) for argument in arguments], standalone_mode=False)

from pathlib import Path
for name in ("forest", "harbor"):
    Path("images", name).mkdir(parents=True)
    for number in range(10):
        cv2.imwrite(f"images/{name}/{name}{number:02d}.png", draw_scene(name, number))
arrays = alexnet_lib.load_npz(files.UCMERCED_CLASSIFIER).items()
convolutions = {key: array.astype("float32") for key, array in arrays if key.startswith("conv")}
alexnet_lib.save_npz("convolutions.npz", convolutions)

run("convert", "convolutions.npz", "convolutions.caffemodel")
run("finetune", "images", "-o", "run", "--weights", "convolutions.caffemodel", "--epochs", 1,
    "--fc-units", 8)
run("evaluate", "images", "-m", "run", "--split", "run/split.csv")
run("predict", "images/harbor/harbor00.png", "--top", 1)
assert len(alexnet_lib.load_features().names) == len(read_split()) == 2100
print("downloads:", alexnet_lib.data_directory())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder into which pip has installed a wheel built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("downloads", "__pycache__")
            shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
        else:
            (folder / "source").mkdir(exist_ok=True)
            shutil.copy(ROOT / name, folder / "source")
    offline = ["--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    pip = [sys.executable, "-m", "pip"]
    command = [*pip, "wheel", *offline, "--no-build-isolation", "-w", folder, folder / "source"]
    subprocess.run(command, check=True)
    shutil.rmtree(folder / "source")
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "install", *offline, "--target", folder / "site", wheel], check=True)
    return folder / "site"


def test_a_wheel_carries_the_librarys_data_and_no_more(installed):
    assert sorted(path.name for path in (installed / "alexnet_lib" / "data").iterdir()) == [
        "ucmerced_classifier.npz",
        "ucmerced_pool5.npz",
        "ucmerced_split.csv",
    ]
    assert {path.name for path in installed.iterdir() if path.suffix != ".dist-info"} == {
        "alexnet_lib"
    }


def test_every_name_and_command_works_from_a_wheel(installed, tmp_path):
    environment = {key: value for key, value in os.environ.items() if key != "ALEXNET_DATA"}
    environment |= {
        "PYTHONPATH": str(installed),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(installed)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert "convolutions.caffemodel: 5 layers" in run.stdout
    assert "Saved in run" in run.stdout
    assert "harbor00.png\n" in run.stdout
    downloads = Path(run.stdout.rpartition("downloads: ")[2].strip())
    assert not downloads.is_relative_to(installed)
    assert downloads.name == "alexnet_lib" or "alexnet_lib" in downloads.parts
    if sys.platform.startswith("linux"):
        assert downloads == tmp_path / "cache" / "alexnet_lib"
