"""A run's settings: stored at its start, compared before minutes are spent; one run a folder.

Mistakes are said at once, so what takes long to import is imported where it is needed.
"""

import contextlib
import json
from pathlib import Path

from alexnet_lib.damaged import reading
from alexnet_lib.errors import InputError
from alexnet_lib.files import atomic_path, checksum, versions
from alexnet_lib.finetuning.recipes import Recipe
from alexnet_lib.port.layouts import open_npz

__all__ = [
    "check_folds",
    "check_run",
    "differences",
    "run_lock",
    "say",
    "settings_of",
    "stage_folder",
    "write_settings",
]

# What runs did before they wrote it down.
FORMERLY = {"augment": "aerial", "white": ""}


def settings_of(stages, seed, fc_units, weights=None, **more):
    """Return what it takes to repeat a run: weights, recipes, seed, width of the head, versions."""
    return {
        "weights": Path(weights).name if weights else "",
        "weights_sha1": checksum(weights) if weights else "",
        "seed": seed,
        "fc_units": fc_units,
        "recipes": [recipe._asdict() for recipe in stages],
        **more,
        **versions(),
    }


def differences(found, asked, epochs=False):
    """Return where settings differ, as "seed: 0 in the folder, 1 asked"; a list of lines.

    Args:
        found: settings as JSON gives them back. What they lack is not compared.
        asked: the same of a new run. Of recipes the last ones are compared, field by field.
        epochs: compare the recipes' epochs too; a run may get more.
    """
    asked, lines = json.loads(json.dumps(asked)), []
    for name in asked.keys() & found.keys():
        old, new = found[name], asked[name]
        if name == "recipes":
            name, old, new = "recipe", old[-1], new[-1]
        if name == "recipe":
            # Checkpoints once held the recipe's values alone, and fewer of them.
            old = dict(zip(Recipe._fields, old, strict=False)) if isinstance(old, list) else old
            old = json.loads(json.dumps(Recipe()._asdict())) | old
            lines += [
                f"recipe: {field} {_shown(old[field])} in the folder, {_shown(value)} asked"
                for field, value in new.items()
                if old[field] != value and (epochs or field != "epochs")
            ]
        elif old != new:
            lines.append(f"{name}: {_shown(old)} in the folder, {_shown(new)} asked")
    return sorted(lines)


def _shown(value):
    """Return a setting's value, short enough for a line."""
    if isinstance(value, list):
        value = ", ".join(map(str, value)) or "none"
    text = str(value)
    return f"{text[:8]}..." if len(text) >= 40 and text.isalnum() else text[:200]


def stage_folder(folder, number, stages):
    """Return the folder of a stage's files: that of the run for the last one, stage1 and so on."""
    return Path(folder) if number == stages else Path(folder, f"stage{number}")


def checkpoint_facts(file):
    """Return the settings and the history that an open checkpoint holds."""
    return tuple(json.loads(str(file[name])) for name in ("settings", "history"))


def check_epochs(path, trained, asked):
    """Raise InputError where more epochs are trained than are asked for."""
    if trained > asked:
        raise InputError(
            f"{path}: {trained} epochs are trained, {asked} asked. Ask for {trained} or more, or "
            "choose another folder"
        )


def check_run(folder, asked):
    """Raise InputError where a folder holds another run's results; takes no time.

    Args:
        folder: of the results; it need not exist.
        asked: what is known so far of a new run's `settings_of`. Versions are not compared.

    Raises:
        InputError: says each setting that differs, as `differences` does, or that more epochs are
            trained than asked for.
    """
    asked = {key: value for key, value in asked.items() if key not in ("weights", *versions())}
    lines, recipes = [], asked["recipes"]
    # A readout keeps no checkpoint; and perhaps there were more stages.
    trained = Path(folder, "classifier.npz").exists()
    trained |= any(Path(folder).glob("stage*/checkpoint.npz"))
    for number, recipe in enumerate(recipes, 1):
        path = stage_folder(folder, number, len(recipes)) / "checkpoint.npz"
        if path.exists():
            with open_npz(path, "a checkpoint of `finetune`") as file:
                found, history = checkpoint_facts(file)
                found = {name: found[name] for name in ("recipe", "seed")}
            trained = True
            lines += differences(found, {"recipe": recipe, "seed": asked["seed"]})
            if not lines:
                check_epochs(path, len(history), recipe["epochs"])
    if trained:
        lines += differences(FORMERLY | _stored(folder), asked)
    if lines:
        raise InputError(
            f"{folder}: results of another run: differs in {'; '.join(dict.fromkeys(lines))}. "
            "Choose another folder, or remove this one to start anew"
        )


def _stored(folder):
    """Return the content of settings.json, empty without one."""
    path = Path(folder, "settings.json")
    if not path.exists():
        return {}
    with reading(path, "the settings of a run as JSON"):
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, dict) or not isinstance(found.get("recipes", [{}])[-1], dict):
            raise ValueError("another kind of content")
    return found


def write_settings(folder, settings):
    """Write settings.json; where a run gets another number of epochs, it says what came before."""
    stored, path = _stored(folder), Path(folder, "settings.json")
    plans, history = stored.get("earlier_plans", []), Path(folder, "history.csv")
    if stored.get("recipes") and history.exists():
        import pandas as pd

        was = stored["recipes"][-1].get("epochs")
        if was != settings["recipes"][-1]["epochs"]:
            with reading(history, "the history of a run"):
                plans = [*plans, {"epochs": was, "trained": len(pd.read_csv(history))}]
    settings = settings | ({"earlier_plans": plans} if plans else {})
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(settings, indent=1) + "\n", "utf-8")


def check_folds(folder, asked):
    """Return the folds that a cross-validation of these settings has stored, as text; or None.

    Args:
        folder: of folds.csv; it need not exist.
        asked: what is known so far of its settings, versions included.

    Raises:
        InputError: says each setting that differs.
    """
    path = Path(folder, "folds.csv")
    if not path.exists():
        return None
    import pandas as pd

    with reading(path, "the folds of `crossval`"):
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    # The checksum says more of the weights than their file's name.
    asked = {name: value for name, value in asked.items() if name != "weights"}
    texts = {name: value if name == "recipes" else str(value) for name, value in asked.items()}
    lines = [f"{name}: not in the folder" for name in texts if name not in {*table, *FORMERLY}]
    for found in table[[name for name in texts if name in table]].to_dict("records"):
        try:
            found["recipes"] = json.loads(found["recipes"])
            lines += differences(FORMERLY | found, texts, epochs=True)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: expected recipes as JSON: {error}") from error
    if lines:
        raise InputError(
            f"{path}: results of another run: differs in {'; '.join(dict.fromkeys(lines))}. "
            "Choose another folder"
        )
    return table


@contextlib.contextmanager
def run_lock(folder):
    """Keep a folder to one run while the block lasts; the system frees a killed run's lock.

    Within a thread the lock may be taken again, as `train_classifier` and `finetune` both do.

    Raises:
        InputError: where another run works in the folder.
    """
    from filelock import FileLock, Timeout

    Path(folder).mkdir(parents=True, exist_ok=True)
    lock = FileLock(Path(folder, ".lock").resolve(), is_singleton=True)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"{folder}: another run is working in this folder. Wait until it has ended, or choose "
            "another folder"
        ) from error
    try:
        yield
    finally:
        lock.release()


def say(line):
    """Print a line of a run, above its progress bars."""
    from tqdm import tqdm

    tqdm.write(str(line))
