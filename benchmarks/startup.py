"""What one waits for at the start: each run is a process of its own, with files in the cache.

That includes Python's compiled modules, wherever this process may keep or not keep its own.
"""

import contextlib
import functools
import io
import sys
import tempfile
from pathlib import Path

from benchmarks.compare import in_own_process, memory_mib, row, time_in_turns

RUNS = 10
IMPORT = "import tensorflow"
LIBRARY, HELP = "import alexnet_lib", "predict --help"
# Of a start: seconds, and the share of importing TensorFlow, that it may take at most.
REACH = {HELP: (0.3, None), "light": (0.6, 0.15), "full": (1.0, 0.25)}


def rows(quick=False):
    """Yield the rows of the table, after checks of what the processes do."""
    import cv2

    from alexnet_lib.finetuning.classifier import Classifier, save_classifier
    from alexnet_lib.finetuning.runs import fresh_model
    from alexnet_lib.teaching.scenes import DRAW, draw_scene

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        image = folder / "image.png"
        image.write_bytes(cv2.imencode(".png", draw_scene("airplane", 0))[1].tobytes())
        full = folder / "full.npz"
        save_classifier(full, Classifier(fresh_model(len(DRAW)), tuple(DRAW)))
        modules = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder / "modules")}
        if quick:  # compiling all of TensorFlow takes a minute
            modules = {}
        commands = {
            HELP: ("predict", "--help"),
            "light": ("predict", image),
            "full": ("predict", "-m", full, image),
        }

        def run(module, *arguments):
            return in_own_process(module, *arguments, **modules)

        calls = {
            LIBRARY: ("benchmarks.startup", "import", "alexnet_lib"),
            IMPORT: ("benchmarks.startup", "import", "tensorflow"),
            **{name: ("alexnet_lib", *arguments) for name, arguments in commands.items()},
        }
        printed = {}

        def call(name):
            printed[name] = run(*calls[name])

        functions = {name: functools.partial(call, name) for name in calls}
        times = time_in_turns(functions, 1 if quick else RUNS, warm_up=not quick)
        assert "tensorflow" not in printed[LIBRARY].split(), "it imports TensorFlow"
        assert "tensorflow" in printed[IMPORT].split(), "it does not import TensorFlow"
        assert printed[HELP].startswith("Usage: python -m alexnet_lib predict")
        for name in ("light", "full"):
            named = {line.split()[-1] for line in printed[name].splitlines()[1:]}
            assert len(named & set(DRAW)) == 5, f"{name}: predict named {named}"
        peaks = {name: run("benchmarks.startup", "peak", *commands[name]) for name in commands}
        if not quick:
            peaks[IMPORT] = run("benchmarks.startup", "peak-of-import", "tensorflow")
        memory = {name: float(peak) for name, peak in peaks.items() if peak.strip() != "None"}
        size = f"full network, {full.stat().st_size >> 20} MiB"
    yield row(f"{LIBRARY}, cold process", LIBRARY, IMPORT, times)
    for name, what in ((HELP, HELP), ("light", "predict, light classifier"), ("full", size)):
        what = f"predict, {what}" if what == size else what
        yield _judged(row(f"{what}, cold process", name, IMPORT, times, memory), name)


def _judged(found, name):
    """Add to a row what was to be reached, and whether it was."""
    seconds, share = REACH[name]
    target, met = f"at most {seconds:g} s", found.ours_ms <= 1000 * seconds
    if share is not None:
        target += f" and {share:g} of the import"
        met &= found.ours_ms <= share * found.peer_ms
    return found._replace(target=target, met=int(met))


if __name__ == "__main__":
    what, *rest = sys.argv[1:]
    if what == "peak":  # of a command, without its lines
        from alexnet_lib.__main__ import main

        with contextlib.redirect_stdout(io.StringIO()):
            main(rest, standalone_mode=False)
        print(memory_mib("VmHWM"))
    else:
        __import__(*rest)
        print(*sys.modules if what == "import" else [memory_mib("VmHWM")])
