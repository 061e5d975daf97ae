"""Move Caffe's AlexNet to TensorFlow, be sure that it is right, and fine-tune it.

Public names are found on first use, so that reading a `.caffemodel` does not load TensorFlow.
"""

import importlib

import wrapt

__version__ = "0.1.0"

_HOMES = {
    "errors": ["AlexNetError"],
    "port.architecture": ["LAYERS", "describe", "prototxt"],
    "port.caffemodel": ["CaffeModelError", "read_caffemodel", "write_caffemodel"],
    "finetuning.classifier": ["Classifier", "load_classifier", "save_classifier"],
    "finetuning.cross_validation": ["crossval", "fresh_model"],
    "images.folder": ["Images", "duplicate_groups", "find_ucmerced", "read_folder"],
    "finetuning.replicas": ["WorkerLost", "process_strategy"],
    "finetuning.evaluation": ["Evaluation", "evaluate", "wilson_interval"],
    "images.features": ["Features", "compute_features", "load_features", "save_features"],
    "files": ["data_directory", "find_caffemodel"],
    "images.preprocessing": ["preprocess_input", "read_image"],
    "port.layers": [
        "FullyConnected",
        "GroupedConv2D",
        "LocalResponseNormalization",
        "compiled",
        "local_response_normalization",
    ],
    "port.alexnet": ["AlexNet", "decode_predictions", "load_weights"],
    "images.batches": ["augment", "eight_views", "image_dataset", "record_dataset"],
    "images.records": ["check_records", "read_records", "write_records"],
    "images.splits": ["apply_split", "k_folds", "read_split", "split", "write_split"],
    "finetuning.training": [
        "RECIPES",
        "FeatureSubset",
        "ImageSubset",
        "Recipe",
        "TrainingDiverged",
        "finetune",
    ],
    "teaching.stand_in": ["stand_in_weights"],
    "port.layouts": [
        "caffe_to_tensorflow",
        "load_npz",
        "save_npz",
        "tensorflow_to_caffe",
    ],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME_OF)


def __getattr__(name):
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__():
    return sorted({*globals(), *__all__})


@wrapt.when_imported("keras")
def _register_layers(keras):
    """Make our layers known as soon as Keras is there, so that saved models just load."""
    if keras.backend.backend() == "tensorflow":
        importlib.import_module(f"{__name__}.port.layers")
        importlib.import_module(f"{__name__}.port.caffe_layers")
