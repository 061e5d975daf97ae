"""`run_workers` starts workers that can find each other, and ends all of them together."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from running import run_command

from alexnet_lib.errors import InputError
from alexnet_lib.finetuning.launch import WorkerFailed, check_tf_config, run_workers

SAY = "import json, os, sys; c = json.loads(os.environ['TF_CONFIG']); i = c['task']['index']; "


def python(code):
    return [sys.executable, "-c", SAY + code]


def test_each_worker_is_told_its_place_and_sees_no_gpu(tmp_path, monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    code = f"open(rf'{tmp_path}/{{i}}', 'w').write(json.dumps([c, dict(os.environ)]))"
    run_workers(python(code), 3)
    told = [json.loads((tmp_path / str(index)).read_text()) for index in range(3)]
    addresses = told[0][0]["cluster"]["worker"]
    assert len({*addresses}) == 3
    for index, (config, environment) in enumerate(told):
        assert config["cluster"] == {"worker": addresses}
        assert config["task"] == {"type": "worker", "index": index}
        assert environment["CUDA_VISIBLE_DEVICES"] == "-1"
        assert environment["TF_NUM_INTRAOP_THREADS"] == str(max(1, os.cpu_count() // 3))


def test_a_failing_worker_is_shown_and_ends_the_others(tmp_path):
    code = f"""
import pathlib, time
folder = pathlib.Path(r'{tmp_path}')
(folder / str(i)).write_text(str(os.getpid()))
while len(list(folder.iterdir())) < 2: time.sleep(0.01)
print('no such file: x')
sys.exit(7) if i == 1 else time.sleep(600)"""
    with pytest.raises(WorkerFailed, match=r"^worker 1 failed with exit status 7:\n  no such fil"):
        run_workers(python(code), 2)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "0").read_text()), 0)


def test_a_killed_worker_is_named(tmp_path):
    with pytest.raises(WorkerFailed, match=r"^worker 1 was killed by signal 9 .+ last epoch\)$"):
        run_workers(python("os.kill(os.getpid(), 9) if i else __import__('time').sleep(600)"), 2)


def test_workers_end_with_the_process_that_started_them(tmp_path):
    code = f"open(rf'{tmp_path}/{{i}}', 'w').write(str(os.getpid())); __import__('time').sleep(600)"
    launcher = subprocess.Popen(
        [sys.executable, "-c", "import sys; from alexnet_lib.finetuning.launch import run_workers; "
         "run_workers(sys.argv[1:], 2)", *python(code)]
    )  # fmt: skip
    pids = []
    while len(pids) < 2:
        time.sleep(0.05)
        pids = [int(text) for path in tmp_path.iterdir() if (text := path.read_text())]
    launcher.send_signal(signal.SIGTERM)
    assert launcher.wait(60) == 128 + signal.SIGTERM
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_the_command_line_starts_workers_and_shows_their_error(tmp_path):
    command = [sys.executable, "-m", "alexnet_lib", "finetune", "-o", tmp_path / "x", "--workers=2"]
    result = subprocess.run(
        command, env=os.environ | {"ALEXNET_DATA": str(tmp_path)}, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "Error: worker " in result.stderr
    assert "failed with exit status 1" in result.stderr
    assert "no .caffemodel there. Run `python -m alexnet_lib fetch alexnet`" in result.stderr
    assert not (tmp_path / "x").exists()


CLUSTER = {"worker": ["one:12345", "two:12345"]}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{'cluster': 1}", "not JSON: Expecting property name"),
        ("cluster", "not JSON: Expecting value"),
        ("[]", "not a JSON object"),
        ({"task": {"type": "worker", "index": 0}}, "no object 'cluster'"),
        ({"cluster": CLUSTER}, "no object 'task'"),
        ({"cluster": CLUSTER, "task": 0}, "no object 'task'"),
        ({"cluster": ["one:1"], "task": {}}, "no object 'cluster'"),
        ({"cluster": {"worker": "one:1"}, "task": {}}, "cluster['worker'] is not a list of addr"),
        ({"cluster": {"worker": ["one"]}, "task": {}}, "cluster['worker'] is not a list of addr"),
        ({"cluster": {"worker": []}, "task": {}}, "cluster['worker'] is not a list of addr"),
        ({"cluster": CLUSTER, "task": {"index": 0}}, "task['type'] is None"),
        ({"cluster": CLUSTER, "task": {"type": "chief", "index": 0}}, "task['type'] is 'chief'"),
        *(
            ({"cluster": CLUSTER, "task": {"type": "worker", "index": index}}, "task['index'] is ")
            for index in (None, 2, -1, True, "one", 0.0)
        ),
    ],
    ids=str,
)
def test_a_broken_tf_config_is_named_with_an_example(text, problem, monkeypatch, tmp_path):
    monkeypatch.setenv("TF_CONFIG", text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(InputError) as caught:
        check_tf_config()
    assert str(caught.value).startswith(f"TF_CONFIG: {problem}")
    assert '"task": {"type": "worker", "index": 0}}' in str(caught.value)
    # The command says so before it looks for anything else.
    assert "Error: TF_CONFIG: " in run_command("finetune", "-o", tmp_path / "x").output


def test_a_good_tf_config_is_taken(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert check_tf_config() is None
    for index in (1, "1"):  # TensorFlow takes both
        config = {"cluster": CLUSTER, "task": {"type": "worker", "index": index}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(config))
        assert check_tf_config() == config
