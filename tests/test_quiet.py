"""A program that asks for it starts TensorFlow without a line, and a failing start says why."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(code, **environment):
    """Run code in a process of its own; return its exit status and all that it wrote."""
    result = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd=ROOT, env=os.environ | environment, check=False,
    )  # fmt: skip
    return result.returncode, result.stdout


def test_tensorflow_starts_without_a_line():
    code = (
        "import sys; from alexnet_lib.quiet import import_tensorflow; tf = import_tensorflow();"
        "print(int(tf.constant(1) + 1)); print('still here', file=sys.stderr)"
    )
    assert run(code, PYTHONUNBUFFERED="1") == (0, "2\nstill here\n")


def test_failing_start_keeps_what_was_written(tmp_path):
    (tmp_path / "tensorflow.py").write_text("import os; os.write(2, b'no AVX\\n'); raise OSError")
    code = "from alexnet_lib.quiet import import_tensorflow; import_tensorflow()"
    status, written = run(code, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    assert status == 1
    assert "no AVX\n" in written
    assert "OSError" in written
