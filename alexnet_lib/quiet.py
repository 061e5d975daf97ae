"""Programs that print only their own lines: TensorFlow's and converters' notes are hidden."""

import contextlib
import os
import sys
import tempfile

__all__ = ["hidden_stderr", "import_tensorflow"]


@contextlib.contextmanager
def hidden_stderr():
    """Hide what is written to stderr, by native libraries too; if the block fails, print it."""
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        except BaseException:
            notes.seek(0)
            os.write(stderr, notes.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)


def import_tensorflow():
    """Import TensorFlow without a line on stderr, and return the module.

    TensorFlow's libraries write their first lines before any setting of theirs takes effect.
    Afterwards only errors are logged, unless $TF_CPP_MIN_LOG_LEVEL says otherwise. Importing
    `alexnet_lib` never does any of this.
    """
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with hidden_stderr():
        import tensorflow
    if level >= "2":  # Python's part of TensorFlow does not read it
        tensorflow.get_logger().setLevel("ERROR")
    return tensorflow
