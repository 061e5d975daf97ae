"""Move Caffe's AlexNet to TensorFlow, be sure that it is right, and fine-tune it.

Public names are found on first use, so that reading a `.caffemodel` does not load TensorFlow.
"""

import importlib

import wrapt

__version__ = "0.1.0"

_HOMES = {
    "architecture": ["LAYERS", "describe", "prototxt"],
    "caffemodel": ["CaffeModelError", "read_caffemodel", "write_caffemodel"],
    "classifier": ["Classifier", "load_classifier", "save_classifier"],
    "cross_validation": ["crossval", "fresh_model"],
    "dataset": ["Images", "duplicate_groups", "find_ucmerced", "read_folder"],
    "distributed": ["WorkerLost", "process_strategy"],
    "evaluation": ["Evaluation", "evaluate", "wilson_interval"],
    "features": ["Features", "compute_features", "load_features", "save_features"],
    "files": ["data_directory", "find_caffemodel"],
    "images": ["preprocess_input", "read_image"],
    "layers": [
        "FullyConnected",
        "GroupedConv2D",
        "LocalResponseNormalization",
        "compiled",
        "local_response_normalization",
    ],
    "model": ["AlexNet", "decode_predictions", "load_weights"],
    "pipeline": ["augment", "eight_views", "image_dataset", "record_dataset"],
    "records": ["check_records", "read_records", "write_records"],
    "splits": ["apply_split", "k_folds", "read_split", "split", "write_split"],
    "training": [
        "RECIPES",
        "FeatureSubset",
        "ImageSubset",
        "Recipe",
        "TrainingDiverged",
        "finetune",
    ],
    "weights": [
        "caffe_to_tensorflow",
        "load_npz",
        "save_npz",
        "stand_in_weights",
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
        importlib.import_module(f"{__name__}.layers")
