"""Port Caffe's networks to TensorFlow, prove that the port is right, and fine-tune them.

Names are imported on first use, so reading a `.caffemodel` does not load TensorFlow.
"""

import importlib
import sys

__version__ = "0.1.0"

# The names that README and FAQ use, and where they are. Chapters import by full path, such as
# `from alexnet_lib.port.layers import GroupedConv2D`, which names the file to open.
_HOME_OF = {
    "AlexNet": "port.alexnet",
    "AlexNetError": "errors",
    "Classifier": "finetuning.classifier",
    "GroupedConv2D": "port.layers",
    "LAYERS": "port.architecture",
    "LocalResponseNormalization": "port.layers",
    "Preprocess": "images.tensors",
    "RECIPES": "finetuning.recipes",
    "Recipe": "finetuning.recipes",
    "TrainingDiverged": "finetuning.trainer",
    "caffe_to_tensorflow": "port.layouts",
    "crossval": "finetuning.cross_validation",
    "data_directory": "files",
    "decode_predictions": "port.alexnet",
    "describe": "port.architecture",
    "evaluate": "finetuning.evaluation",
    "load_classifier": "finetuning.classifier",
    "load_features": "images.features",
    "load_npz": "port.layouts",
    "load_weights": "port.alexnet",
    "preprocess_input": "images.preprocessing",
    "prove": "port.prove",
    "read_caffemodel": "caffe.caffemodel",
    "read_folder": "images.folder",
    "read_image": "images.reading",
    "save_classifier": "finetuning.classifier",
    "save_npz": "port.layouts",
    "tensorflow_to_caffe": "port.layouts",
    "train_classifier": "finetuning.runs",
    "write_caffemodel": "caffe.caffemodel",
}
__all__ = sorted(_HOME_OF)


def __getattr__(name):
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})


def _register_layers(keras):
    """Register our layers with Keras, so that saved models load."""
    if keras.backend.backend() == "tensorflow":
        for name in ("port.layers", "port.caffe_layers", "port.model", "images.tensors"):
            importlib.import_module(f"{__name__}.{name}")


class _WhenKerasIsImported:
    """Registers our layers as soon as Keras is imported; `wrapt` does so too, but loads asyncio."""

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        others = (finder for finder in sys.meta_path if not isinstance(finder, type(self)))
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, found), None)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_register(module):
                run(module)
                _register_layers(module)

            spec.loader.exec_module = run_and_register
        return spec


if "keras" in sys.modules:
    _register_layers(sys.modules["keras"])
else:
    sys.meta_path.insert(0, _WhenKerasIsImported())
