"""Programs in a process of their own, and commands of the library in this one."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from click.testing import CliRunner

from alexnet_lib.__main__ import main

ROOT = Path(__file__).resolve().parent.parent


def run_program(code, *arguments, **environment):
    """Run a program in the repository; return all that it wrote, or fail with it."""
    status, written = try_program(code, *arguments, **environment)
    assert status == 0, written
    return written


def try_program(code, *arguments, **environment):
    """Run a program that may fail; return its exit status, and stdout and stderr as one text."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
        cwd=ROOT, env=os.environ | {"PYTHONUNBUFFERED": "1"} | environment,
    )  # fmt: skip
    return result.returncode, result.stdout


def run_command(*arguments):
    """Run `python -m alexnet_lib` with these arguments; only errors it explains are caught."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result
