"""Begin a chapter: ``make new-chapter NAME=13_my_topic TITLE="Do something"``.

Copies ``book/scripts/chapter.ipynb``, which has the parts of every chapter around cells that run,
names the copy in ``_toc.yml`` behind the last chapter, and runs it to store its outputs. So the new
chapter passes all checks from the start, and goes on passing them while its author replaces the
parts.
"""

import re
import sys
from pathlib import Path

import nbformat
from execute import ROOT, execute


def new_chapter(root: Path, name: str, title: str) -> Path:
    """Write a chapter and name it in the table of contents.

    Args:
        root: Folder of the book.
        name: Two digits and a topic, the notebook's name without its ending.
        title: The chapter's heading.

    Returns:
        Path of the notebook, which has not been run.

    Raises:
        ValueError: the name is not of a chapter, its number is taken, or the title is not one line.
    """
    if not re.fullmatch(r"\d\d(_[a-z0-9]+)+", name):
        raise ValueError(f'NAME must look like 13_my_topic. Received: NAME="{name}"')
    if taken := sorted(path.name for path in (root / "notebooks").glob(f"{name[:2]}_*")):
        raise ValueError(f"The number is taken by notebooks/{taken[0]}. Received: NAME={name}")
    if not title.strip() or "\n" in title:
        raise ValueError(f'TITLE must be one line that begins with a verb. Received: "{title}"')
    notebook = nbformat.read(Path(__file__).with_name("chapter.ipynb"), as_version=4)
    notebook.cells[0].source = notebook.cells[0].source.replace("TITLE", title.strip(), 1)
    contents = root / "_toc.yml"
    text = contents.read_text("utf-8")
    *_, last = re.finditer(r"^( *- file: notebooks/).*\n", text, re.MULTILINE)
    path = root / "notebooks" / f"{name}.ipynb"
    nbformat.write(notebook, path)
    contents.write_text(f"{text[: last.end()]}{last[1]}{name}\n{text[last.end() :]}", "utf-8")
    return path


def main() -> int:
    """Begin the chapter that the command line names and run it; return the exit status."""
    try:
        path = new_chapter(ROOT, *sys.argv[1:])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Wrote {path}. Named it in _toc.yml; do so in the table of book/index.md.")
    return execute([path])


if __name__ == "__main__":
    sys.exit(main())
