"""TensorFlow without its start-up notes, for programs whose own lines are all that they print."""

import os
import sys
import tempfile

__all__ = ["import_tensorflow"]


def import_tensorflow():
    """Import TensorFlow without a line on stderr, and return the module.

    TensorFlow's libraries write their first lines before any setting of theirs takes effect, so
    stderr is redirected at the level of the process while they load. If the import fails, what they
    wrote is printed after all. Afterwards only errors are logged, unless $TF_CPP_MIN_LOG_LEVEL says
    otherwise. Importing `alexnet_lib` never does any of this.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            import tensorflow
        except BaseException:
            notes.seek(0)
            os.write(stderr, notes.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
    return tensorflow
