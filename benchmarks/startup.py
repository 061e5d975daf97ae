"""What one waits for at the start: each run is a process of its own, with files in the cache.

That includes Python's compiled modules, wherever this process may keep or not keep its own.
"""

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

    from alexnet_lib.finetuning.classifier import Classifier, save_classifier
    from alexnet_lib.finetuning.cross_validation import fresh_model
    from alexnet_lib.teaching.scenes import DRAW, draw_scene

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        image = folder / "image.png"
        image.write_bytes(cv2.imencode(".png", draw_scene("airplane", 0))[1].tobytes())
        full = folder / "full.npz"
        save_classifier(full, Classifier(fresh_model(len(DRAW)), tuple(DRAW)))
        modules = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "modules")}

        def predict(*options):
            return in_own_process("alexnet_lib", "predict", *options, image, **modules)

        def imports(module):
            return in_own_process("benchmarks.startup", module, **modules).split()

        light, whole = "carried light classifier", f"full network, {full.stat().st_size >> 20} MiB"
        functions = {
            "import alexnet_lib": lambda: imports("alexnet_lib"),
            light: predict,
            whole: lambda: predict("-m", full),
            IMPORT: lambda: imports("tensorflow"),
        }
        assert "tensorflow" not in functions["import alexnet_lib"](), "it imports TensorFlow"
        assert "tensorflow" in functions[IMPORT](), "it does not import TensorFlow"
        for name in (light, whole):
            named = {line.split()[-1] for line in functions[name]().splitlines()[1:]}
            assert len(named & set(DRAW)) == 5, f"{name}: predict named {named}"
        times = time_in_turns(functions, 1 if quick else RUNS, warm_up=False)
    yield row("import alexnet_lib, cold process", "import alexnet_lib", IMPORT, times)
    for name in (light, whole):
        found = row(f"predict, cold process, {name}", name, IMPORT, times, limit=IMPORT)
        yield found._replace(
            target=f"at most {MOST_ABOVE_MS / 1000:g} s above",
            met=int(found.ours_ms - found.peer_ms <= MOST_ABOVE_MS),
        )


if __name__ == "__main__":
    __import__(sys.argv[1])
    print(*sys.modules)
