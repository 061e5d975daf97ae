"""Settings and data for every test."""

import matplotlib
import numpy as np
import pytest

from alexnet_lib.images.preprocessing import preprocess_input
from alexnet_lib.port.caffemodel import write_caffemodel
from alexnet_lib.port.layouts import tensorflow_to_caffe
from alexnet_lib.teaching.stand_in import stand_in_weights

# Draw without a screen. Not an environment variable: the notebooks' kernels would inherit it and
# show no figures.
matplotlib.use("Agg")


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


@pytest.fixture(scope="session")
def images():
    """Two images of noise with the spectrum of photographs, pre-processed."""
    noise = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).repeat(40, 1).repeat(40, 2)
    noise += np.random.default_rng(1).standard_normal(noise.shape)
    pixels = np.clip(128 + 50 * noise, 0, 255).astype(np.uint8)
    return preprocess_input(pixels, resize="stretch")
