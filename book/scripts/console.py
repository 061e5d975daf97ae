"""Long commands on a screen: what a person reads is shown, and all that they write goes to a log.

Uses nothing but Python itself, because `install.py` runs before anything is installed.
"""

import queue
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
LOGS = ROOT / "_build" / "log"
ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
PAUSE = 30  # seconds between two lines of progress where the output is not a terminal


class Screen:
    """Prints lines; below them, on a terminal, stands one that changes."""

    def __init__(self):
        self.live = sys.stdout.isatty()
        self.next = time.monotonic() + PAUSE

    def update(self, line):
        """Rewrite the last line; without a terminal, print it once in `PAUSE` seconds."""
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\x1b[K{line[:width]}", end="", flush=True)
        elif time.monotonic() >= self.next:
            self.print(line)

    def print(self, line):
        """Print a line that stays."""
        print(f"\r\x1b[K{line}" if self.live else line, flush=True)
        self.next = time.monotonic() + PAUSE


def run_logged(command, log, note, tick=lambda: None):
    """Run a command with all of its output, errors too, added to a file without colours.

    Args:
        command: The program and its arguments.
        log: Path of the file; its folder is made.
        note: Called with each line, without its end.
        tick: Called every second or oftener, so that a screen can count on.

    Returns:
        The exit status.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    lines = queue.SimpleQueue()

    def read():
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    with (
        open(log, "a", encoding="utf-8") as file,
        subprocess.Popen(
            [str(part) for part in command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, encoding="utf-8", errors="replace",
        ) as process,
    ):  # fmt: skip
        threading.Thread(target=read, daemon=True).start()
        while True:
            tick()
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                continue
            if line is None:
                break
            line = ANSI_COLOUR.sub("", line)
            file.write(line)
            file.flush()
            note(line.rstrip())
    return process.returncode


def last_lines(log, count=15):
    """Return the end of a log, which says what went wrong where nothing better is known."""
    with open(log, encoding="utf-8") as file:
        return "".join(deque(file, count)).rstrip()


def short_path(log):
    """Return a log's path as a person would type it in the book's folder."""
    return log.relative_to(ROOT).as_posix() if log.is_relative_to(ROOT) else str(log)
