"""What one waits for at the start: each run is a process of its own, with files in the cache."""

import sys
import tempfile
from pathlib import Path

from benchmarks.compare import in_own_process, row, time_in_turns

RUNS = 5
MOST_ABOVE_MS = 1000
IMPORT = "import tensorflow"


def rows(quick=False):
    """Yield the rows of the table, after checks of what the processes do."""
    import cv2

    from alexnet_lib.scenes import DRAW, draw_scene

    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.png"
        image.write_bytes(cv2.imencode(".png", draw_scene("airplane", 0))[1].tobytes())

        def predict():
            return in_own_process("alexnet_lib", "predict", image)

        named = [line.split()[-1] for line in predict().splitlines()[1:]]
        assert len(set(named) & set(DRAW)) == 5, f"predict named {named}"
        functions = {
            "import alexnet_lib": lambda: imports("alexnet_lib"),
            "predict": predict,
            IMPORT: lambda: imports("tensorflow"),
        }
        assert "tensorflow" not in functions["import alexnet_lib"](), "it imports TensorFlow"
        times = time_in_turns(functions, 1 if quick else RUNS, warm_up=False)
    yield row("import alexnet_lib, cold process", "import alexnet_lib", IMPORT, times)
    found = row("predict one image, cold process", "predict", IMPORT, times)
    yield found._replace(
        target=f"at most {MOST_ABOVE_MS / 1000:g} s above",
        met=int(found.ours_ms - found.peer_ms <= MOST_ABOVE_MS),
    )


def imports(module):
    """Import a module in a process of its own; return the names of all that it brought."""
    return set(in_own_process("benchmarks.startup", module).split())


if __name__ == "__main__":
    __import__(sys.argv[1])
    print(*sys.modules)
