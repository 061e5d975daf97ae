"""Make .venv with the packages that requirements.txt names: the first step of most `make` targets.

Run by the Python that .venv is to have. The packages take 3 GB and some minutes, so that a line on
the screen counts them while pip finds, downloads and installs each.
"""

import platform
import re
import sys
import time

import live
from console import LOGS, ROOT, Screen, last_lines, run_logged, short_path

LOG = LOGS / "install.txt"
PIP = ["-m", "pip", "--disable-pip-version-check", "install", "--progress-bar", "off"]


class Counter:
    """Counts packages from what pip says, and those installed from the folders they leave."""

    def __init__(self, requirements, site):
        self.total = len(re.findall(r"^[\w.-]+==", requirements, re.MULTILINE))
        self.found = self.downloaded = 0
        self.site, self.before, self.installing = site, 0, False

    def note(self, line):
        """Look at one line of pip's."""
        if line.startswith("Ignoring "):  # for another system or another Python
            self.total -= 1
        elif re.match(r"Collecting |Requirement already satisfied: .*\(from -r ", line):
            self.found += 1
        elif re.match(r"\s*(Downloading|Using cached) .*\.(whl|tar\.gz)( |$)", line):
            self.downloaded += 1
        elif line.startswith("Installing collected packages"):
            self.installing, self.before = True, self.count_folders()

    def count_folders(self):
        """Return how many packages the environment has."""
        return len(list(self.site.glob("lib/python*/site-packages/*.dist-info")))

    def __str__(self):
        if self.installing:
            step, count = "installed", self.count_folders() - self.before
        elif self.downloaded:
            step, count = "downloaded", self.downloaded
        else:
            step, count = "found", self.found
        return f"  {step} {min(count, self.total)} of {self.total} packages"


def main():
    """Install; return the exit status."""
    environment, screen, start = ROOT / ".venv", Screen(), time.monotonic()
    python = environment / "bin" / "python"
    LOG.parent.mkdir(parents=True, exist_ok=True)
    LOG.write_text("")
    requirements = (ROOT / "requirements.txt").read_text("utf-8")
    counter = Counter(requirements, environment)
    screen.print(
        f"Making .venv with Python {platform.python_version()}. This is done once, takes minutes "
        f"and 3 GB;\nall that pip says goes to {short_path(LOG)}"
    )

    def show():
        screen.update(f"{counter}, {time.monotonic() - start:.0f} s")

    steps = (
        ([sys.executable, "-m", "venv", environment], lambda line: None),
        ([python, *PIP, "-r", ROOT / "requirements.txt"], counter.note),
        ([python, *PIP, "--no-deps", "-e", ROOT], lambda line: None),
    )
    for command, note in steps:
        if status := run_logged(command, LOG, note, show):
            screen.print(f"Could not be installed. The last lines of {short_path(LOG)}:\n")
            screen.print(last_lines(LOG))
            return status
    if problem := live.install(ROOT, environment, tick=show):
        screen.print(f"{live.WITHOUT}: {problem}.")
    screen.print(f".venv has its {counter.total} packages, after {time.monotonic() - start:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
