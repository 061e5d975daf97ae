"""What a fresh process does: the library loads little, TensorFlow is silent, saved models load."""

import contextlib
import os

import keras
import pytest
from running import ROOT, run_program, try_program

from alexnet_lib.port.layers import GroupedConv2D, LocalResponseNormalization
from alexnet_lib.quiet import hidden_stderr

# One process for all, because starting TensorFlow takes longer than all the rest.
PROGRAM = """
import sys
import alexnet_lib
from alexnet_lib.images.preprocessing import preprocess_input
from alexnet_lib.port.architecture import describe, prototxt
from alexnet_lib.caffe.caffemodel import read_caffemodel
from alexnet_lib.port.layouts import load_npz
print("loaded:", *sorted({"tensorflow", "keras"} & set(sys.modules)))

from alexnet_lib.quiet import import_tensorflow
tensorflow = import_tensorflow()
print("sum:", int(tensorflow.constant(1) + 1))
tensorflow.get_logger().warning("a note, as on retracing")
print("stderr is back", file=sys.stderr)

import keras
print("library first:", keras.saving.load_model(sys.argv[1]).count_params())
for name in [name for name in sys.modules if name.partition(".")[0] == "alexnet_lib"]:
    del sys.modules[name]
keras.saving.get_custom_objects().clear()
import alexnet_lib
print("Keras first:", keras.saving.load_model(sys.argv[1]).count_params())
"""


@pytest.fixture(scope="module")
def model():
    return keras.Sequential(
        [
            keras.Input((6, 6, 4)),
            GroupedConv2D(4, 3, groups=2),
            LocalResponseNormalization(2, 1.0, 2e-5, 0.75),
        ]
    )


@pytest.fixture(scope="module")
def written(model, tmp_path_factory):
    """The lines that the program writes."""
    path = tmp_path_factory.mktemp("start") / "small.keras"
    model.save(path)
    return run_program(PROGRAM, path).splitlines()


def test_import_does_not_load_tensorflow(written):
    assert written[0] == "loaded:"


def test_tensorflow_starts_without_a_line(written):
    assert written[1:3] == ["sum: 2", "stderr is back"]
    assert len(written) == 5


@pytest.mark.parametrize("first", ["library", "Keras"])
def test_a_saved_model_loads_with_nothing_to_register(written, model, first):
    assert f"{first} first: {model.count_params()}" in written


def test_failing_start_keeps_what_was_written(tmp_path):
    (tmp_path / "tensorflow.py").write_text("import os; os.write(2, b'no AVX\\n'); raise OSError")
    code = "from alexnet_lib.quiet import import_tensorflow; import_tensorflow()"
    status, written = try_program(code, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert status == 1
    assert "no AVX\n" in written
    assert "OSError" in written


def test_what_was_hidden_is_shown_where_the_block_fails(capfd):
    with hidden_stderr():
        os.write(2, b"kept back\n")
    with contextlib.suppress(ValueError), hidden_stderr():
        os.write(2, b"why it failed\n")
        raise ValueError
    os.write(2, b"stderr is back\n")
    assert capfd.readouterr().err == "why it failed\nstderr is back\n"


def test_the_room_of_ports_is_the_function_too():
    import alexnet_lib

    with pytest.raises(FileNotFoundError, match="absent"):
        alexnet_lib.port("absent.prototxt", "absent.caffemodel")
    assert alexnet_lib.port.network.port.__name__ == "port"
