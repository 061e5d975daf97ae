"""A folder holds one run, whose settings are compared, one by one, before anything is computed."""

import json
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
from running import ROOT

from alexnet_lib.errors import InputError
from alexnet_lib.finetuning.recipes import RECIPES, stages_of
from alexnet_lib.finetuning.settings import (
    check_folds,
    check_run,
    differences,
    run_lock,
    settings_of,
    write_settings,
)

RECIPE = RECIPES["recommended"]


def write_checkpoint(folder, recipe, seed=0, trained=3):
    """Write the part of a checkpoint that says whose it is."""
    folder.mkdir(parents=True, exist_ok=True)
    facts = {"settings": {"recipe": recipe._asdict(), "seed": seed}, "history": [{}] * trained}
    arrays = {name: np.array(json.dumps(fact)) for name, fact in facts.items()}
    np.savez(folder / "checkpoint.npz", **arrays)
    (folder / "history.csv").write_text("epoch\n" + "0\n" * trained)


def asked(recipe=RECIPE, seed=0, fc_units=8, **more):
    return settings_of(stages_of(recipe), seed, fc_units, **more)


def test_each_setting_that_differs_is_named_with_both_values(tmp_path):
    write_checkpoint(tmp_path, RECIPE)
    write_settings(tmp_path, asked(augment="mirror", classes=("a", "b")))
    check_run(tmp_path, asked(augment="mirror"))
    check_run(tmp_path / "absent", asked())
    for other, line in (
        (asked(RECIPE._replace(batch_size=32)), "recipe: batch_size 64 in the folder, 32 asked"),
        (asked("all-layers"), "recipe: layers fc6, fc7, fc8 in the folder, conv1, conv2, .* asked"),
        (asked(RECIPE._replace(class_weights="balanced")), "class_weights none in .*, balanced as"),
        (asked(seed=1), "seed: 0 in the folder, 1 asked"),
        (asked(fc_units=9), "fc_units: 8 in the folder, 9 asked"),
        (asked(augment="none"), "augment: mirror in the folder, none asked"),
        (asked(classes=("a", "c")), "classes: a, b in the folder, a, c asked"),
    ):
        with pytest.raises(InputError, match=f"results of another run: differs in .*{line}"):
            check_run(tmp_path, other)
    with pytest.raises(InputError) as caught:
        check_run(tmp_path, asked(RECIPE._replace(l2=0.5, decay=0.5), seed=1))
    assert str(caught.value).count(" asked; ") == 2  # once each


def test_a_run_without_settings_is_known_by_its_checkpoint(tmp_path):
    write_checkpoint(tmp_path / "stage1", RECIPE)
    check_run(tmp_path, asked("all-layers", augment="aerial"))
    with pytest.raises(InputError, match="differs in seed: 0 in the folder, 1 asked"):
        check_run(tmp_path, asked("all-layers", seed=1))
    with pytest.raises(InputError, match="augment: aerial in the folder, mirror asked"):
        check_run(tmp_path, asked("all-layers", augment="mirror"))


def test_a_run_of_more_stages_is_known_by_its_first(tmp_path):
    write_checkpoint(tmp_path / "stage1", RECIPE)
    write_settings(tmp_path, asked("all-layers"))
    with pytest.raises(InputError, match=r"recipe: layers conv1, .* in the folder, fc6, fc7"):
        check_run(tmp_path, asked())


def test_settings_of_a_run_that_trained_nothing_do_not_bind(tmp_path):
    write_settings(tmp_path, asked(seed=5))
    check_run(tmp_path, asked(seed=6))
    (tmp_path / "settings.json").write_text("[1]")
    write_checkpoint(tmp_path, RECIPE)
    with pytest.raises(InputError, match=r"settings\.json: expected the settings of a run as JSON"):
        check_run(tmp_path, asked())


def test_epochs_may_grow_and_the_settings_tell_of_it(tmp_path):
    write_checkpoint(tmp_path, RECIPE, trained=25)
    write_settings(tmp_path, asked())
    more = asked(RECIPE._replace(epochs=40))
    check_run(tmp_path, more)
    write_settings(tmp_path, more)
    stored = json.loads((tmp_path / "settings.json").read_text())
    assert stored["recipes"][-1]["epochs"] == 40
    assert stored["earlier_plans"] == [{"epochs": 25, "trained": 25}]
    write_settings(tmp_path, more)  # once more, to go on: nothing is added
    assert json.loads((tmp_path / "settings.json").read_text()) == stored
    with pytest.raises(InputError, match=r"25 epochs are trained, 24 asked\. Ask for 25 or more"):
        check_run(tmp_path, asked(RECIPE._replace(epochs=24)))


def test_recipes_of_earlier_versions_lack_fields():
    old = json.loads(json.dumps(RECIPE))[:-1]
    new = json.loads(json.dumps(RECIPE._replace(l2=0.1)._asdict()))
    expected = ["recipe: l2 0.0 in the folder, 0.1 asked"]
    assert differences({"recipe": old}, {"recipe": new}) == expected


def test_folds_of_other_settings_are_told_apart(tmp_path):
    about = asked(augment="aerial")
    row = about | {"recipes": json.dumps(about["recipes"])}
    pd.DataFrame([{"fold": 0} | row] * 2).to_csv(tmp_path / "folds.csv", index=False)
    assert len(check_folds(tmp_path, about)) == 2
    assert check_folds(tmp_path / "absent", about) is None
    for other, line in (
        (asked(RECIPE._replace(epochs=40)), "differs in recipe: epochs 25 in the folder, 40 asked"),
        (about | {"augment": "none"}, "differs in augment: aerial in the folder, none asked"),
        (about | {"numpy": "0.1"}, r"differs in numpy: \S+ in the folder, 0\.1 asked"),
        (about | {"k": 5}, "differs in k: not in the folder"),
    ):
        with pytest.raises(InputError, match=rf"folds\.csv: results of another run: {line}"):
            check_folds(tmp_path, other)
    # Results from before there was a choice are of aerial images.
    pd.DataFrame([row]).drop(columns="augment").to_csv(tmp_path / "folds.csv", index=False)
    check_folds(tmp_path, about)
    with pytest.raises(InputError, match="augment: aerial in the folder, mirror asked"):
        check_folds(tmp_path, about | {"augment": "mirror"})


HOLD = """
import sys
from alexnet_lib.finetuning.settings import run_lock
with run_lock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_run_in_a_folder_is_refused_and_a_killed_one_does_not_block(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-c", HOLD, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match=f"{folder}: another run is working in this folder"):
            run_lock(folder).__enter__()
        other.kill()
    with run_lock(folder), run_lock(folder):  # and a run does not lock itself out
        found = []

        def second_run():
            try:
                run_lock(folder).__enter__()
            except InputError as error:
                found.append(str(error))

        thread = threading.Thread(target=second_run)
        thread.start()
        thread.join()
        assert len(found) == 1
