"""Weights that replace BVLC's where the official file is absent."""

import numpy as np

from alexnet_lib.files import UCMERCED_CLASSIFIER
from alexnet_lib.port.architecture import CLASSES, weight_layers
from alexnet_lib.port.layouts import load_npz

__all__ = ["stand_in_weights"]


def stand_in_weights(seed=0, classes=CLASSES):
    """Make a complete set of weights for code and tests that run without the official file.

    The convolutions are those of the book's classifier: BVLC's, fine-tuned on aerial images and
    stored in half precision. The fully connected layers are untrained: He-normal noise, which keeps
    the scale of activations from layer to layer.

    Args:
        seed: seed of the noise; the same seed gives the same weights.
        classes: number of outputs of fc8.

    Returns:
        All 16 arrays in TensorFlow's layout.
    """
    generator = np.random.default_rng(seed)
    trained = load_npz(UCMERCED_CLASSIFIER)
    weights = {}
    for name, row in weight_layers(classes).items():
        if name.startswith("conv"):
            kernel, bias = (trained[f"{name}/{part}"] for part in ("kernel", "bias"))
        else:
            kernel = generator.standard_normal(row.kernel_shape, np.float32)
            kernel *= np.float32(np.sqrt(2 / row.kernel_shape[0]))
            if name == "fc8":  # gives logits as large as a trained network's
                kernel *= np.float32(0.01)
            bias = np.full(row.layer.outputs, 0.1)
        weights[f"{name}/kernel"] = kernel.astype(np.float32)
        weights[f"{name}/bias"] = bias.astype(np.float32)
    return weights
