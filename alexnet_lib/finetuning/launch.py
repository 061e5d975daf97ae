"""Several workers on this machine: one command started N times, numbered through TF_CONFIG."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from alexnet_lib.errors import AlexNetError, InputError

__all__ = ["WorkerFailed", "check_tf_config", "run_workers"]

EXAMPLE = json.dumps(
    {"cluster": {"worker": ["one:12345", "two:12345"]}, "task": {"type": "worker", "index": 0}}
)


class WorkerFailed(AlexNetError, ChildProcessError):
    """A worker ended with an error; the message says which, how, and what it wrote last."""


def check_tf_config():
    """Return the content of the variable TF_CONFIG, None where it is not set.

    Raises:
        InputError: where it does not say which of which workers this process is.
    """
    text = os.environ.get("TF_CONFIG")
    if not text:
        return None
    try:
        config = json.loads(text)
        problem = _problem(config)
    except ValueError as error:
        problem = f"not JSON: {error}"
    if problem:
        raise InputError(
            f"TF_CONFIG: {problem}. Expected something like {EXAMPLE}, with another index in each "
            f"process; unset the variable to train in one process. Received: {text[:500]}"
        )
    return config


def _problem(config):
    """Return what keeps a parsed TF_CONFIG from naming this process among workers, or None."""
    if not isinstance(config, dict):
        return "not a JSON object"
    for name in ("cluster", "task"):
        if not isinstance(config.get(name), dict):
            return f"no object {name!r}"
    cluster, task = config["cluster"], config["task"]
    for job, addresses in cluster.items():
        good = isinstance(addresses, list) and addresses and all(map(_is_address, addresses))
        if not good:
            return f'cluster[{job!r}] is not a list of addresses, "host:port"'
    job, index = task.get("type"), task.get("index")
    if job not in ("chief", "worker") or job not in cluster:
        return f'task[\'type\'] is {job!r}, not "worker" or "chief" of the cluster'
    # TensorFlow takes a number in quotation marks as well.
    number = int(index) if isinstance(index, str) and index.isdecimal() else index
    if type(number) is not int or not 0 <= number < len(cluster[job]):
        return f"task['index'] is {index!r}, not from 0 to {len(cluster[job]) - 1}"


def _is_address(text):
    return isinstance(text, str) and text.rpartition(":")[2].isdecimal() and ":" in text


def run_workers(command, count):
    """Run a command as `count` workers until all have ended.

    The workers share this machine's processors and see no GPU, because a single process can use all
    GPUs. The first worker writes to this process's output; what the others write is shown if they
    fail.

    Args:
        command: list of str, the program and its arguments.
        count: number of workers.

    Raises:
        WorkerFailed: where a worker fails; the others are ended first.
    """
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))  # the system chooses a free port
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    threads = str(max(1, (os.cpu_count() or 1) // count))
    shared = {"TF_NUM_INTRAOP_THREADS": threads} | os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
    with tempfile.TemporaryDirectory() as folder, _ending_on_sigterm():
        logs = [Path(folder, str(index)) for index in range(count)]
        workers = []
        try:
            for index, log in enumerate(logs):
                task = {"type": "worker", "index": index}
                config = json.dumps({"cluster": {"worker": addresses}, "task": task})
                with log.open("wb") as file:
                    output = {"stdout": file, "stderr": subprocess.STDOUT} if index else {}
                    environment = shared | {"TF_CONFIG": config}
                    workers.append(subprocess.Popen(command, env=environment, **output))
            while not any(states := [worker.poll() for worker in workers]) and None in states:
                time.sleep(0.1)
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
        if failed := [index for index, state in enumerate(states) if state]:
            raise WorkerFailed("\n".join(_report(i, states[i], logs[i]) for i in failed))


def _report(index, state, log):
    """Return how a worker ended and its last lines; the first worker's were already shown."""
    how = f"failed with exit status {state}"
    if state < 0:
        how = f"was killed by signal {-state} (started again, a run goes on from its last epoch)"
    said = log.read_text("utf-8", "replace").strip().splitlines()[-20:]
    return "\n  ".join([f"worker {index} {how}{':' if said else ''}", *said])


@contextlib.contextmanager
def _ending_on_sigterm():
    """Let SIGTERM raise SystemExit, so that the workers end with this process."""

    def leave(number, _):
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
