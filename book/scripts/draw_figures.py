"""Draw the book's pictures that no chapter computes: ``make figures``."""

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.patches import ConnectionPatch, FancyBboxPatch, Rectangle

from alexnet_lib.files import RESULTS
from alexnet_lib.finetuning.classifier import read_classifier
from alexnet_lib.finetuning.prediction import classify
from alexnet_lib.teaching import figures
from alexnet_lib.teaching.figures import GREY, PALETTE
from alexnet_lib.teaching.scenes import draw_scene

IMAGES = Path(__file__).resolve().parent.parent / "images"
SMALL = 10  # points, of all text but the boxes' titles
ARROW = {"arrowstyle": "-|>", "color": "#555555", "linewidth": 1.3, "shrinkA": 2, "shrinkB": 2}


class Flow:
    """Boxes joined by arrows, small enough to be read on a telephone. Units are inches."""

    def __init__(self, title, width, height):
        _, self.ax = plt.subplots(figsize=(width, height))
        self.ax.set(title=title, xlim=(0, width), ylim=(0, height), aspect="equal")
        self.ax.axis("off")

    def box(self, x, y, width, height, title, text, color="black"):
        """Draw a box around (x, y) with a bold title and lines of text; return its four sides."""
        color = PALETTE.get(color, GREY)
        left, low = x - width / 2, y - height / 2
        style = {"boxstyle": "round,pad=0,rounding_size=0.08", "linewidth": 1.6}
        self.ax.add_patch(
            FancyBboxPatch((left, low), width, height, edgecolor=color, facecolor="white", **style)
        )
        self.ax.text(x, y + height / 2 - 0.1, title, ha="center", va="top", weight="bold")
        self.ax.text(x, low + 0.1, text, ha="center", va="bottom", fontsize=SMALL, linespacing=1.35)
        sides = {"left": (left, y), "right": (left + width, y)}
        return sides | {"top": (x, low + height), "bottom": (x, low)}

    def arrow(self, start, end, text="", shift=(0, 0)):
        """Draw an arrow, with a note beside its middle."""
        self.ax.annotate("", end, start, arrowprops=ARROW)
        middle = [(a + b) / 2 + d for a, b, d in zip(start, end, shift, strict=True)]
        style = {"fontsize": SMALL, "style": "italic"}
        self.ax.text(*middle, text, ha="center", va="center", **style)


def draw_conversion():
    """Draw the way of the weights, from Caffe's file to a model that is proved equal."""
    flow = Flow("From Caffe to TensorFlow", 5.4, 4.6)
    file = flow.box(0.95, 3.8, 1.8, 0.85, ".caffemodel", "244 MB, 16 arrays")
    caffe = flow.box(
        4.3, 3.8, 2.1, 0.85, "Caffe's layout", "kernels OIHW\nfc (outputs, inputs)", "orange"
    )
    ours = flow.box(
        4.3, 2.2, 2.1, 0.85, "TensorFlow's layout", "kernels HWIO\nfc (inputs, outputs)", "blue"
    )
    model = flow.box(4.3, 0.65, 2.1, 0.85, "AlexNet in Keras", "outputs of 23 layers", "blue")
    others = flow.box(
        0.95, 0.65, 1.8, 0.85, "Two other engines", "OpenCV and\nONNX Runtime", "green"
    )
    flow.arrow(file["right"], caffe["left"], "read, no\ncopies", (0, 0.3))
    flow.arrow(caffe["bottom"], ours["top"])
    flow.ax.text(
        4.05, 3.0, "transpose all kernels,\npermute fc6's rows, too",
        ha="right", va="center", style="italic",
    )  # fmt: skip
    flow.arrow(ours["bottom"], model["top"], "load", (-0.3, 0))
    flow.arrow(file["bottom"], others["top"], "same\nweights", (0.4, 0))
    flow.ax.annotate("", others["right"], model["left"], arrowprops=ARROW | {"arrowstyle": "<|-|>"})
    flow.ax.text(2.55, 0.8, "equal, layer\nby layer, to\n1e-5", ha="center", va="bottom",
                 style="italic")  # fmt: skip
    return flow.ax


def draw_training():
    """Draw what each image is used for, and where the frozen part ends."""
    flow = Flow("What learns, what chooses, what tests", 5.4, 4.5)
    images = flow.box(2.7, 3.8, 3.2, 0.7, "2,100 aerial images", "21 classes, 100 of each")
    uses = {
        "training": (0.92, "1,680 images", "blue"),
        "validation": (2.7, "210 images", "orange"),
        "test": (4.48, "210 images", "green"),
    }
    frozen = flow.ax.add_patch(Rectangle((0.1, 1.62), 5.2, 0.55, facecolor="#E4E4E4"))
    flow.ax.text(2.7, frozen.get_y() + 0.275, "conv1 to pool5: frozen, run once for each image",
                 ha="center", va="center", fontsize=10)  # fmt: skip
    ends = {
        "training": ("fc6, fc7, fc8", "learn, epoch\nby epoch"),
        "validation": ("best epoch", "chosen by its\naccuracy"),
        "test": ("accuracy", "once, with\nits interval"),
    }
    for name, (x, count, color) in uses.items():
        upper = flow.box(x, 2.8, 1.62, 0.65, name, count, color)
        lower = flow.box(x, 0.65, 1.62, 1.0, *ends[name], color)
        flow.arrow(images["bottom"], upper["top"])
        flow.arrow((x, 1.62), lower["top"])
        flow.ax.plot([x, x], [upper["bottom"][1], 2.17], color="#555555", linewidth=1.3)
        uses[name] = lower
    flow.arrow(uses["training"]["right"], uses["validation"]["left"])
    flow.arrow(uses["validation"]["right"], uses["test"]["left"])
    return flow.ax


def draw_overview(narrow=False):
    """Draw the way from one image to its answer, and from 2,100 answers to the matrix."""
    shape, size = ((3, 1), (3.9, 7.8)) if narrow else ((1, 3), (8, 2.9))
    figure, (left, middle, right) = plt.subplots(*shape, figsize=size)
    figure.get_layout_engine().set(w_pad=0.25, h_pad=0.15)
    scene = draw_scene("airplane", 4)
    left.imshow(scene[:, :, ::-1])
    left.set(title="An image", xticks=[], yticks=[])
    left.set_xlabel("a drawn airplane")

    weights, classes = read_classifier()
    [(_, answer)] = classify(weights, ["scene"], read=lambda _: scene)
    best = answer.argsort()[:-6:-1]
    bars = middle.barh([classes[i] for i in best], 100 * answer[best], color=PALETTE["blue"])
    middle.bar_label(bars, fmt="%.1f", padding=3)
    middle.set(title="Its answer", xlabel="probability (percent)", xlim=(0, 125), box_aspect=1)
    middle.set_xticks([0, 50, 100])
    middle.invert_yaxis()

    answers = pd.read_csv(RESULTS / "readout_5fold_0" / "predictions.csv")
    counts = pd.crosstab(answers["true"], answers["predicted"])
    right.imshow(counts.where(counts > 0), cmap="Blues", norm=LogNorm(0.3, 100))
    accuracy = (answers["true"] == answers["predicted"]).mean()
    right.set(title=f"{len(answers):,} photographs: {accuracy:.1%}", xticks=[], yticks=[])
    right.set(xlabel="predicted class", ylabel="true class")
    for one, other, labels in ((left, middle, 0.66), (middle, right, 0.12)):
        out, into = ((0.9, -0.05), (0.9, 1.12)) if narrow else ((1.03, 0.5), (-labels, 0.5))
        figure.add_artist(ConnectionPatch(out, into, one.transAxes, other.transAxes, **ARROW))
    return right


def draw_icon():
    """Draw the browser tab's icon: two tracks that become one."""
    _, ax = plt.subplots(figsize=(1, 1), layout="none")
    ax.set_position([0, 0, 1, 1])
    for x, y, color in ((0, 1.1, "blue"), (0, 0, "orange"), (1.1, 0.55, "green")):
        ax.add_patch(Rectangle((x, y), 0.9, 0.9, facecolor=PALETTE[color]))
    ax.set(xlim=(0, 2), ylim=(0, 2))
    ax.axis("off")
    return ax


def main():
    """Write each picture as SVG, the same bytes each time."""
    plt.style.use("alexnet_lib.teaching.book")
    plt.rcParams.update({"svg.hashsalt": "alexnet", "svg.fonttype": "path"})
    pictures = {
        "architecture": figures.draw_architecture,
        "conversion": draw_conversion,
        "overview": draw_overview,
        "overview_narrow": lambda: draw_overview(narrow=True),
        "training": draw_training,
    }
    for name, draw in pictures.items():
        draw()
        plt.savefig(IMAGES / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
    draw_icon()
    plt.savefig(IMAGES / "icon.svg", transparent=True, metadata={"Date": None})


if __name__ == "__main__":
    main()
