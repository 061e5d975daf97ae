"""Draw the pictures of the README and the front page: ``make figures``."""

from pathlib import Path

import matplotlib.pyplot as plt

from alexnet_lib import figures

IMAGES = Path(__file__).resolve().parent / "images"


def main():
    """Write each picture as SVG, the same bytes each time."""
    figures.use_style()
    plt.rcParams.update({"svg.hashsalt": "alexnet", "svg.fonttype": "path"})
    figures.draw_architecture()
    plt.savefig(IMAGES / "architecture.svg", bbox_inches="tight", metadata={"Date": None})


if __name__ == "__main__":
    main()
