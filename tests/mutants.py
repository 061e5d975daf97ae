"""Do the tests notice faults? Try many small ones in the library, one at a time: `make mutants`.

A mutant is the library with one small change: `<` for `<=`, `and` for `or`, a number one larger, a
statement left out. Tests that still pass have not noticed it. In a copy of the repository, each
mutant is written into its module, and a forked process, which has TensorFlow already, runs those
tests of the module that execute the changed line, the nearest and fastest first, up to a failure.

    python tests/mutants.py                  # a sample of the whole library
    python tests/mutants.py port/ caffe/wire # that part of it which is in these modules

The sample is by a hash of each change's text, so it stays the same when other code changes. Changes
that make no difference are listed in mutants_equivalent.txt, each with a reason.
"""

import argparse
import ast
import hashlib
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = "alexnet_lib"
EQUIVALENT = Path(__file__).with_name("mutants_equivalent.txt")
#: The files of each module's tests; the first that fits counts.
NETWORKS = ("test_caffemodel", "test_description", "test_network", "test_drawn_networks")
PIXELS = ("test_reading", "test_preprocessing", "test_tensors")
TESTS = {
    "caffe/parameters.py": ("test_parameters", "test_network", "test_drawn_networks"),
    "caffe/": NETWORKS,
    "damaged.py": ("test_damaged",),
    "download.py": ("test_download",),
    "finetuning/checkpoint.py": ("test_damaged", "test_training"),
    "finetuning/classifier.py": ("test_classifier", "test_prediction"),
    "finetuning/commands.py": ("test_cross_validation", "test_prediction"),
    "finetuning/cross_validation.py": ("test_cross_validation",),
    "finetuning/evaluate_command.py": ("test_cross_validation", "test_prediction"),
    "finetuning/evaluation.py": ("test_evaluation",),
    "finetuning/launch.py": ("test_launch",),
    "finetuning/predict": ("test_prediction",),
    "finetuning/readout": ("test_readout", "test_readout_model", "test_readout_benchmark"),
    "finetuning/recipes.py": ("test_trainer", "test_settings", "test_training"),
    "finetuning/replicas.py": ("test_trainer", "test_replicas", "test_training"),
    "finetuning/trainer.py": ("test_trainer", "test_training"),
    "finetuning/": ("test_settings", "test_training", "test_cross_validation"),
    "images/batches.py": ("test_batches", "test_tensors"),
    "images/class_folders.py": ("test_folder", "test_listing"),
    "images/file_kinds.py": ("test_reading", "test_listing"),
    "images/image_files.py": ("test_folder", "test_listing", "test_prediction"),
    "images/data.py": ("test_features", "test_folder", "test_batches"),
    "images/features.py": ("test_features",),
    "images/folder.py": ("test_folder",),
    "images/listing.py": ("test_listing",),
    "images/records.py": ("test_records", "test_damaged"),
    "images/splits.py": ("test_splits", "test_listing"),
    "images/statistics.py": ("test_statistics",),
    "images/": PIXELS,
    "port/__init__.py": ("test_start",),
    "port/alexnet": ("test_alexnet", "test_network"),
    "port/architecture.py": ("test_architecture", "test_alexnet"),
    "port/caffe_layers.py": ("test_layers", "test_network", "test_drawn_networks"),
    "port/commands.py": ("test_files", "test_network", "test_exchange"),
    "port/compilation.py": ("test_layers", "test_statistics"),
    "port/engines.py": ("test_engines",),
    "port/exchange.py": ("test_exchange",),
    "port/inference.py": ("test_prediction",),
    "port/layers.py": ("test_layers",),
    "port/layouts.py": ("test_layouts", "test_damaged"),
    "port/": ("test_network", "test_drawn_networks", "test_exchange"),
    "quiet.py": ("test_start", "test_exchange"),
    "teaching/figures.py": ("test_figures",),
    "teaching/": ("test_layouts", "test_scenes"),
    "": ("test_files", "test_exchange", "test_start"),
}
#: What the tests import that takes long, once for all mutants.
HEAVY = (
    "tensorflow", "keras", "cv2", "h5py", "hypothesis", "matplotlib.pyplot", "onnx", "onnxruntime",
    "pandas", "pytest", "requests", "scipy.stats", "seaborn", "sklearn.linear_model",
    "sklearn.metrics", "tf2onnx",
)  # fmt: skip
SWAPS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.And: ast.Or, ast.Or: ast.And, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div,
    ast.Div: ast.Mult, ast.FloorDiv: ast.Div, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.RShift: ast.LShift, ast.LShift: ast.RShift,
}  # fmt: skip
#: Drawn pictures: their numbers are colours and places, which no test could call right or wrong.
LEFT_OUT = ("teaching/canvas.py", "teaching/scenes.py")
#: Arguments that guard against faults, and change nothing where there are none.
GUARDS = ("strict", "encoding", "stacklevel")
#: Faults that tests once missed, tried always: the module, its code, and what takes its place.
FAULTS = (
    ("finetuning/trainer.py", "epoch + number / steps, base", "epoch, base"),
    ("finetuning/trainer.py", 'optimizer.exclude_from_weight_decay(var_names=["bias"])', "pass"),
    ("finetuning/trainer.py", "label_smoothing=recipe.label_smoothing", "label_smoothing=0"),
    ("finetuning/cross_validation.py", "(8 / 9, 1 / 9, 0)", "(7 / 9, 2 / 9, 0)"),
    ("images/folder.py", "hashlib.sha256(pixels)", "hashlib.sha256(pixels[:-1])"),
)


class Mutant(NamedTuple):
    """One change: in `module`, from the byte `start` to `stop`, to `text`; `key` says it.

    `line` is 0 for what runs when the module is imported.
    """

    module: str
    start: int
    stop: int
    line: int
    text: str
    key: str

    def apply(self, source):
        """Return the source, bytes, with the change."""
        return source[: self.start] + self.text.encode() + source[self.stop :]


def changes(node):
    """Yield (node, text) for each change of a node: what is replaced, and by what."""
    if isinstance(node, ast.Compare):
        for i, operator in enumerate(node.ops):
            ops = [*node.ops[:i], SWAPS[type(operator)](), *node.ops[i + 1 :]]
            yield node, f"({ast.unparse(ast.Compare(node.left, ops, node.comparators))})"
    elif isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
        other = ast.BinOp(node.left, SWAPS[type(node.op)](), node.right)
        yield node, f"({ast.unparse(other)})"
    elif isinstance(node, ast.BoolOp):
        yield node, f"({ast.unparse(ast.BoolOp(SWAPS[type(node.op)](), node.values))})"
    elif isinstance(node, ast.UnaryOp):
        yield node, f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.AugAssign) and type(node.op) in SWAPS:
        yield node, ast.unparse(ast.AugAssign(node.target, SWAPS[type(node.op)](), node.value))
        yield node, "pass"
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield node, repr(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        yield node, repr(node.value + 1)
        yield node, f"({node.value - 1!r})"
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        yield node.test, f"(not ({ast.unparse(node.test)}))"
    elif isinstance(node, ast.Raise | ast.Break | ast.Continue):
        yield node, "pass"
    elif isinstance(node, ast.Slice):
        for bound in filter(None, (node.lower, node.upper, node.step)):
            yield bound, ""
    elif isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg not in (None, *GUARDS):
                rest = [each for each in node.keywords if each is not keyword]
                yield node, ast.unparse(ast.Call(node.func, node.args, rest))
    elif (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)) or (
        isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Attribute | ast.Subscript)
    ):
        yield node, "pass"


def candidates(module):
    """Return every mutant of a module's code; texts, messages and annotations stay as they are."""
    path = ROOT / LIBRARY / module
    source = path.read_bytes()
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found = {}

    def visit(node, inside, called):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            inside = (*inside, node.name)
        called = isinstance(node, ast.FunctionDef) or (
            called and not isinstance(node, ast.ClassDef)
        )
        for old, text in changes(node):
            start = starts[old.lineno - 1] + old.col_offset
            stop = starts[old.end_lineno - 1] + old.end_col_offset
            first, last = starts[old.lineno - 1], starts[old.end_lineno]
            before = source[first:last].decode()
            after = (source[first:start] + text.encode() + source[stop:last]).decode()
            before, after = (" ".join(text_.split()) for text_ in (before, after))
            key = f"{module} {'.'.join(inside)}: {before} => {after}"
            found[key] = Mutant(module, start, stop, called and old.lineno, text, key)
        for child in ast.iter_child_nodes(node):
            message = isinstance(node, ast.Raise) or isinstance(child, ast.JoinedStr)
            decorator = child in getattr(node, "decorator_list", ())
            annotation = child in (getattr(node, "annotation", 0), getattr(node, "returns", 0))
            guard = isinstance(child, ast.keyword) and child.arg in GUARDS
            if not (message or decorator or annotation or guard):
                visit(child, inside, called and not isinstance(child, ast.arguments))

    visit(ast.parse(source), (), False)
    found = {key: mutant for key, mutant in found.items() if compiles(mutant.apply(source))}
    return list(found.values())


def compiles(source):
    """Return whether Python takes this source."""
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True


def faults():
    """Return `FAULTS` as mutants."""
    for module, old, new in FAULTS:
        source = (ROOT / LIBRARY / module).read_bytes()
        if source.count(old.encode()) != 1:
            raise SystemExit(f"{module}: expected {old!r} once; mend FAULTS in {__file__}")
        start = source.index(old.encode())
        line = source[:start].count(b"\n") + 1
        yield Mutant(
            module, start, start + len(old.encode()), line, new, f"{module} {old} => {new}"
        )


def sample(count):
    """Return `FAULTS` and `count` mutants, spread over the modules in proportion to their code."""
    paths = (path.relative_to(ROOT / LIBRARY) for path in sorted(ROOT.glob(f"{LIBRARY}/**/*.py")))
    modules = [path.as_posix() for path in paths if path.as_posix() not in LEFT_OUT]
    mutants = {module: candidates(module) for module in modules}
    whole = sum(map(len, mutants.values()))
    chosen = list(faults())
    for each in mutants.values():
        each.sort(key=lambda mutant: hashlib.sha256(mutant.key.encode()).digest())
        chosen += each[: max(1, round(count * len(each) / whole))] if each else []
    return chosen


def tests_of(module):
    """Return the files of a module's tests."""
    names = next(names for start, names in TESTS.items() if module.startswith(start))
    return [f"tests/{name}.py" for name in names if (ROOT / "tests" / f"{name}.py").exists()]


class Recorder:
    """A plugin of pytest that records which lines each test executes, and how long it takes."""

    def __init__(self, copy):
        import coverage

        self.coverage = coverage.Coverage(data_file=None, include=f"{copy}/{LIBRARY}/*")
        self.seconds, self.failed = Counter(), set()
        self.coverage.start()

    def pytest_runtest_logstart(self, nodeid):
        self.coverage.switch_context(nodeid)

    def pytest_runtest_logreport(self, report):
        self.seconds[report.nodeid] += report.duration
        if report.outcome != "passed":
            self.failed.add(report.nodeid)

    def result(self, copy):
        """Return for each module and line the tests that execute it, and each test's time."""
        self.coverage.stop()
        data, lines = self.coverage.get_data(), defaultdict(dict)
        for file in data.measured_files():
            module = Path(file).relative_to(f"{copy}/{LIBRARY}").as_posix()
            for line, tests in data.contexts_by_lineno(file).items():
                lines[module][line] = sorted(set(tests) - self.failed - {""})
        seconds = {test: t for test, t in self.seconds.items() if test not in self.failed}
        return {"lines": lines, "seconds": seconds}


def forked(work, timeout):
    """Run `work` in a forked process; return its exit status, or None after the timeout."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.setsid()
        status = 99
        try:
            status = work()
        finally:
            os._exit(status)
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def run_tests(copy, tests, log, recorder=None):
    """Run tests in the copy, up to the first failure; return pytest's status."""
    import pytest

    with open(log, "wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(copy)
    sys.path[:0] = [str(copy), str(copy / "tests")]
    sys.dont_write_bytecode = True
    os.environ |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(copy)}
    plugin = recorder and recorder(copy)
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:nbval", "-p", "no:xdist", "-o", "addopts="]
    options += [] if plugin else ["-x"]
    status = int(pytest.main([*options, *tests], [plugin] if plugin else []))
    if plugin:
        Path(copy, "recorded.json").write_text(json.dumps(plugin.result(copy)))
    return status


def record(copy, file, log):
    """Return what `Recorder` finds out about a file of tests; it is kept until the tests change."""
    digest = hashlib.sha256()
    for path in sorted([*copy.glob(f"{LIBRARY}/**/*.py"), copy / file]):
        digest.update(path.read_bytes())
    kept = ROOT / "build" / "mutants" / f"{Path(file).stem}-{digest.hexdigest()[:16]}.json"
    if not kept.exists():
        print(f"{file}: recording what each test executes", flush=True)
        (copy / "recorded.json").unlink(missing_ok=True)
        forked(lambda: run_tests(copy, [file], log, Recorder), 1800)
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(copy / "recorded.json", kept)
    return json.loads(kept.read_text())


def caught(copy, mutant, log):
    """Return whether the tests notice a mutant."""
    seconds, chosen = {}, set()
    for file in tests_of(mutant.module):
        recorded = record(copy, file, log)
        seconds |= recorded["seconds"]
        lines = recorded["lines"].get(mutant.module, {})
        for line in [str(mutant.line)] if mutant.line else lines:
            chosen |= set(lines.get(line, ()))
    # What runs in processes of its own is not recorded.
    files = tests_of(mutant.module)
    near = {test: files.index(test.split("::")[0]) for test in seconds}
    chosen = sorted(chosen or seconds, key=lambda test: (near[test], seconds[test]))
    path = copy / LIBRARY / mutant.module
    source = path.read_bytes()
    path.write_bytes(mutant.apply(source))
    try:
        return bool(
            forked(
                lambda: run_tests(copy, chosen, log),
                60 + 10 * sum(seconds[test] for test in chosen),
            )
            != 0
        )
    finally:
        path.write_bytes(source)


def equivalent():
    """Return the keys of changes that make no difference, from the file that gives the reasons."""
    lines = EQUIVALENT.read_text("utf-8").splitlines() if EQUIVALENT.exists() else []
    return {line for line in lines if line and not line.startswith((" ", "#"))}


def main():
    """Try a sample of mutants and print those that no test notices."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("modules", nargs="*", default=[""], help="beginnings of what is printed")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--list", action="store_true", help="only print the sample")
    arguments = parser.parse_args()
    wanted, same = tuple(arguments.modules), equivalent()
    mutants = [each for each in sample(arguments.count) if each.key.startswith(wanted)]
    if arguments.list:
        print(*(mutant.key for mutant in mutants), sep="\n")
        return 0
    os.nice(10)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for name in HEAVY:
        importlib.import_module(name)
    tally = defaultdict(Counter)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        files = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
        for file in files:
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, copy / file)
        for mutant in mutants:
            kind = "equivalent"
            if mutant.key not in same:
                start = time.monotonic()
                kind = "caught" if caught(copy, mutant, Path(folder, "log")) else "missed"
                print(f"{kind} after {time.monotonic() - start:.0f} s: {mutant.key}", flush=True)
            tally[mutant.module][kind] += 1
            tally["all"][kind] += 1
    print(f"\n{'module':32}{'tried':>8}{'equivalent':>12}{'caught':>8}{'missed':>8}")
    for module, each in tally.items():
        print(
            f"{module:32}{each.total():8}{each['equivalent']:12}{each['caught']:8}{each['missed']:8}"
        )
    share = tally["all"]["caught"] / max(1, tally["all"]["caught"] + tally["all"]["missed"])
    print(f"{share:.1%} of those that make a difference are caught")
    return int(share < 0.95)


if __name__ == "__main__":
    sys.exit(main())
