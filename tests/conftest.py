"""Settings and data for every test."""

import matplotlib
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from alexnet_lib.caffe.caffemodel import write_caffemodel
from alexnet_lib.files import find_caffemodel
from alexnet_lib.images.folder import find_ucmerced
from alexnet_lib.images.preprocessing import preprocess_input
from alexnet_lib.port.layouts import tensorflow_to_caffe
from alexnet_lib.teaching.stand_in import stand_in_weights

# Draw without a screen. Not an environment variable: the notebooks' kernels would inherit it and
# show no figures.
matplotlib.use("Agg")

# Hypothesis tries the same few examples on every run; `--hypothesis-profile=many` tries many.
settings.register_profile(
    "few",
    max_examples=50,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
settings.register_profile("many", settings.get_profile("few"), max_examples=1000)
settings.load_profile("few")

# Files that take longest, the longest first; every other file is short.
LONG = (
    "test_live.py",
    "go_further",
    "scale_it_up",
    "fine_tune",
    "test_browser",
    "test_replicas",
    "test_training",
    "test_cross_validation",
    "test_caffemodel",
    ".ipynb",
)


def pytest_collection_modifyitems(items):
    """Put the longest files first, so that no process works long when the other has finished."""

    def place(item):
        return next((i for i, name in enumerate(LONG) if name in item.path.name), len(LONG))

    items.sort(key=place)


@pytest.fixture(scope="session")
def weights():
    """All 16 arrays of a complete network, some of them noise."""
    return stand_in_weights()


@pytest.fixture(scope="session")
def caffemodel(weights, tmp_path_factory):
    """The same network as a complete `.caffemodel`."""
    path = tmp_path_factory.mktemp("caffe") / "complete.caffemodel"
    write_caffemodel(path, tensorflow_to_caffe(weights))
    return path


def real(path, what):
    """Return the path of real data, or skip the test."""
    if path is None:
        pytest.skip(f"no {what} in the data directory: set ALEXNET_DATA to one that has it")
    return path


@pytest.fixture(scope="session")
def ucmerced():
    """The folder of the real images of UC Merced."""
    return real(find_ucmerced(), "UC Merced")


@pytest.fixture(scope="session")
def trained():
    """A file of Caffe's real weights, at least of the convolutions."""
    return real(find_caffemodel(), ".caffemodel")


@pytest.fixture(scope="session")
def images():
    """Two images of noise with the spectrum of photographs, pre-processed."""
    noise = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).repeat(40, 1).repeat(40, 2)
    noise += np.random.default_rng(1).standard_normal(noise.shape)
    pixels = np.clip(128 + 50 * noise, 0, 255).astype(np.uint8)
    return preprocess_input(pixels, resize="stretch")
