"""The book's figures: their palette, and the plots that several chapters share.

The style is in `book.mplstyle`: `plt.style.use("alexnet_lib.teaching.book")`.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib import rc_params_from_file
from matplotlib.patches import Polygon

from alexnet_lib.errors import InputError
from alexnet_lib.port.architecture import CLASSES, describe

__all__ = [
    "GREY",
    "PALETTE",
    "TIMES",
    "draw_architecture",
    "plot_confusion",
    "plot_filters",
    "plot_reliability",
    "plot_roofline",
]

_PARAMETERS = rc_params_from_file(
    Path(__file__).with_name("book.mplstyle"), use_default_template=False
)
_NAMES = ("blue", "orange", "green", "vermillion", "purple", "sky", "black")
#: The colours of all figures by name, told apart by colour-blind readers too.
PALETTE = dict(zip(_NAMES, _PARAMETERS["axes.prop_cycle"].by_key()["color"], strict=True))
#: The colour of axes and notes.
GREY = _PARAMETERS["axes.edgecolor"]
#: The sign in sizes such as 3×3.
TIMES = "\N{MULTIPLICATION SIGN}"
NOTE = {"boxstyle": "round", "facecolor": "#F2F2F2", "edgecolor": GREY, "linewidth": 0.8}


def plot_filters(kernel, columns=16, title="Filters", ax=None):
    """Show the first layer's kernel as a grid of small colour pictures.

    Each filter is scaled by its own largest magnitude: grey is zero, brighter is positive.

    Args:
        kernel: array (height, width, 3, count), HWIO, input channels in the order blue, green, red.
        columns: number of pictures in a row.
        title: title of the axes.
        ax: matplotlib axes to draw in; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: if `kernel` does not have three input channels.
    """
    kernel = np.asarray(kernel)
    if kernel.ndim != 4 or kernel.shape[2] != 3:
        raise InputError(
            f"expected a kernel of (height, width, 3, count). Received: shape={kernel.shape}"
        )
    height, width, _, count = kernel.shape
    largest = np.maximum(np.abs(kernel).max(axis=(0, 1, 2)), np.finfo(np.float32).tiny)
    tiles = (0.5 + 0.5 * kernel / largest)[:, :, ::-1].transpose(3, 0, 1, 2)  # BGR to RGB
    rows = -(-count // columns)
    canvas = np.ones((rows * (height + 1) + 1, columns * (width + 1) + 1, 3))
    for index, tile in enumerate(tiles):
        top = index // columns * (height + 1) + 1
        left = index % columns * (width + 1) + 1
        canvas[top : top + height, left : left + width] = tile
    if ax is None:
        _, ax = plt.subplots(figsize=(8, 8 * canvas.shape[0] / canvas.shape[1] + 0.5))
    ax.imshow(canvas, interpolation="nearest")
    ax.set(title=title, xticks=[], yticks=[])
    ax.set_xlabel(f"{count} filters, each {height} {TIMES} {width} pixels; grey is zero")
    ax.spines[:].set_visible(False)
    return ax


def draw_architecture(classes=CLASSES, ax=None):
    """Draw AlexNet's eight layers as volumes, with the two groups as an upper and a lower track.

    Each volume is the output of a layer before pooling. It is drawn in two halves if its own layer
    or the next one has groups. Arrows show which half feeds which; they cross at layers without
    groups. The side of a volume grows with the square root of height and width, and its thickness
    with that of the channels. Everything is derived from `describe`.

    Args:
        classes: number of outputs of fc8.
        ax: matplotlib axes to draw in; a new figure by default.

    Returns:
        The axes.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(5.3, 4.1))
    rows = describe(classes)
    steps = [row for row in rows if row.kernel_shape]
    pitch, track, top, bottom = 10, 8.5, 16, -22
    previous = [_draw_volume(ax, -1.5, 0, rows[0].input_shape, GREY)]
    _label(ax, -1.5, bottom, "data", rows[0].input_shape)
    ax.text(4.5, top, "kernel\nstride\ngroups", ha="right", va="bottom", color="#555555")
    for column, step in enumerate(steps, start=1):
        layer, shape, x = step.layer, step.output_shape, column * pitch
        next_groups = steps[column].layer.groups if column < len(steps) else 1
        if max(layer.groups, next_groups) == 2:
            half = (*shape[:-1], shape[-1] // 2)
            volumes = [
                _draw_volume(ax, x, track, half, PALETTE["blue"]),
                _draw_volume(ax, x, -track, half, PALETTE["orange"]),
            ]
        else:
            volumes = [_draw_volume(ax, x, 0, shape, PALETTE["green"])]
        for i, (_, start) in enumerate(previous):
            for j, (end, _) in enumerate(volumes):
                if layer.groups == 1 or i == j:
                    style = {"arrowstyle": "-|>", "color": "#555555", "shrinkA": 3, "shrinkB": 3}
                    ax.annotate("", end, start, arrowprops=style)
        _label(ax, x, bottom, layer.name, shape)
        if layer.type == "Convolution":
            window = f"{layer.kernel}{TIMES}{layer.kernel}"
            text = f"{window}\n{layer.stride}\n{layer.groups}"
            ax.text(x, top, text, ha="center", va="bottom")
        previous = volumes

    column = 0  # LRN and pooling are between the columns of the adjacent layers
    notes = {}
    for row in rows:
        column += bool(row.kernel_shape)
        if row.layer.type in ("LRN", "Pooling"):
            notes.setdefault(column, []).append(row.layer.name)
    for column, names in notes.items():
        x = (column + 0.5) * pitch
        ax.text(x, -16.5, "\n".join(names), ha="center", va="center", bbox=NOTE)
    ax.set(title="AlexNet: eight layers, two tracks", aspect="equal")
    ax.set(xlim=(-7, len(steps) * pitch + 4.5), ylim=(-32, 25.5))
    ax.axis("off")
    return ax


def plot_confusion(matrix, title="Confusion matrix", ax=None):
    """Show a confusion matrix with the recall and the precision of each class.

    Cells show counts, and are empty for zero. Correct predictions are blue and mistakes orange; the
    larger their share of the true class, the darker. The margins show recall and precision in
    percent, darker where they are lower, and the accuracy in the corner.

    Args:
        matrix: `pandas.DataFrame` (classes, classes) of counts with the same classes in rows and
            columns. Its axes are named "true" and "predicted", in either order.
        title: title of the axes.
        ax: matplotlib axes to draw in; a new figure by default.

    Returns:
        The axes.

    Raises:
        ValueError: if the axes are not named "true" and "predicted", or the classes differ.
    """
    names = (matrix.index.name, matrix.columns.name)
    rates = {"true": "recall (%)", "predicted": "precision (%)"}
    if sorted(map(str, names)) != sorted(rates) or list(matrix.index) != list(matrix.columns):
        raise InputError(
            "expected the same classes in rows and columns, and axes named 'true' and 'predicted'. "
            f"Received: axes named {names}, shape={matrix.shape}"
        )
    counts = matrix.to_numpy()
    n, right = len(counts), np.diag(counts)
    with np.errstate(divide="ignore", invalid="ignore"):  # a class without images has no rate
        margins = np.full((n + 1, n + 1), np.nan)
        margins[:n, n], margins[n, :n] = right / counts.sum(axis=1), right / counts.sum(axis=0)
        margins[n, n] = right.sum() / counts.sum()
        share = counts / counts.sum(axis=names.index("predicted"), keepdims=True)
    shown = np.pad(np.where(counts > 0, share, np.nan), (0, 1), constant_values=np.nan)
    text = np.pad(counts.astype(object), (0, 1), constant_values="")
    text[~np.isnan(margins)] = [f"{rate:.0f}" for rate in 100 * margins[~np.isnan(margins)]]
    text[n, n] = f"{100 * margins[n, n]:.1f}"
    diagonal = np.eye(n + 1, dtype=bool)
    mistakes = shown[~diagonal]
    if ax is None:
        side = 0.3 * (n + 1)
        _, ax = plt.subplots(figsize=(side + 1.9, side + 2))
    for values, mask, palette, most in (
        (shown, ~diagonal, "Blues", 1.0),
        (shown, diagonal, "Oranges", np.nanmax(mistakes, initial=0.01)),
        (1 - margins, np.zeros_like(diagonal), "Greys", 1.0),
    ):
        sns.heatmap(
            values, mask=mask | np.isnan(values), cmap=palette, vmin=0, vmax=most, annot=text,
            fmt="", annot_kws={"fontsize": 9}, linewidths=0.5, linecolor="#EEEEEE", cbar=False,
            xticklabels=[*matrix.columns, rates[names[0]]],
            yticklabels=[*matrix.index, rates[names[1]]], ax=ax,
        )  # fmt: skip
    for line in (ax.axhline, ax.axvline):
        line(n, color=PALETTE["black"], linewidth=1.2)
    ax.tick_params(length=0)
    ax.tick_params(axis="x", rotation=90)
    ax.tick_params(axis="y", rotation=0)
    words = {"true": "true class", "predicted": "predicted class"}
    ax.set(title=title, ylabel=words[names[0]], xlabel=words[names[1]])
    return ax


def plot_reliability(table, title="Reliability", axes=None):
    """Show how often predictions of each probability are correct, and how many there are.

    Args:
        table: `pandas.DataFrame` that `Evaluation.reliability` returns, with one row per bin and
            the columns images, probability (their mean), accuracy, low and high (its interval).
        title: title of the upper axes.
        axes: two matplotlib axes to draw in; a new figure by default.

    Returns:
        The two axes.
    """
    if axes is None:
        _, axes = plt.subplots(
            2, 1, figsize=(5.3, 5.3), sharex=True, gridspec_kw={"height_ratios": [3, 1]}
        )
    upper, lower = axes
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="honest: as often as it says")
    upper.errorbar(
        table["probability"], table["accuracy"],
        [table["accuracy"] - table["low"], table["high"] - table["accuracy"]],
        fmt="o-", color=PALETTE["blue"], linewidth=1.5, capsize=3, label="seen, 95 % interval",
    )  # fmt: skip
    upper.set(title=title, ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.03))
    upper.legend(loc="lower right")
    bars = lower.bar(table["probability"], table["images"], 0.05, color=PALETTE["sky"])
    lower.bar_label(bars)
    lower.set(xlabel="probability that the network gives its answer", ylabel="images")
    lower.margins(y=0.25)
    return axes


def plot_roofline(table, title="Roofline", ax=None):
    """Show how fast each layer computes, and the limits of arithmetic and memory.

    Args:
        table: `pandas.DataFrame` with one row per layer and batch size: layer, batch, gflop, gbyte
            (the least that must be moved) and ms. The rows "SGEMM" and "copy" are the machine's
            limits, measured together with the layers. Layers without gflop are left out.
        title: title of the axes.
        ax: matplotlib axes to draw in; a new figure by default.

    Returns:
        The axes: FLOP/byte on x, GFLOP/s on y, both logarithmic.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(8, 5))
    table = table.assign(
        intensity=table["gflop"] / table["gbyte"], speed=1000 * table["gflop"] / table["ms"]
    )
    peak = table.loc[table["layer"] == "SGEMM", "speed"].max()
    copies = table[table["layer"] == "copy"]
    bandwidth = (1000 * copies["gbyte"] / copies["ms"]).max()
    layers = table[~table["layer"].isin(["SGEMM", "copy"]) & (table["gflop"] > 0)]
    corner = peak / bandwidth
    low, high = layers["intensity"].min() / 2, max(layers["intensity"].max(), corner) * 2
    roof = np.array([low, corner, high])
    ax.plot(roof, np.minimum(bandwidth * roof, peak), color=PALETTE["black"], linewidth=1.5)
    ax.text(corner, 1.1 * peak, f"SGEMM {peak:.0f} GFLOP/s", ha="right", va="bottom")
    middle = np.sqrt(low * corner)
    ax.text(1.4 * middle, bandwidth * middle, f"memory {bandwidth:.0f} GB/s")
    styles = zip(layers.groupby("batch"), ("o", "s", "^", "D"), strict=False)
    for (batch, points), marker in styles:
        ax.plot(points["intensity"], points["speed"], marker, label=f"batch {batch}")
        for _, kind in points.groupby(points["layer"].str.rstrip("0123456789")):
            names = kind["layer"].iloc[[0, -1]].unique()
            place = (kind["intensity"].max(), np.exp(np.log(kind["speed"]).mean()))
            ax.annotate(
                "-".join(names), place, (8, 0), textcoords="offset points", va="center",
                bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none"},
            )  # fmt: skip
    ax.set(title=title, xlabel="arithmetic intensity (FLOP/byte)", ylabel="speed (GFLOP/s)")
    ax.set(xscale="log", yscale="log", ylim=(None, 2.5 * peak), xlim=(None, 6 * high))
    ax.grid(True, which="major")
    ax.legend(loc="lower right")
    return ax


def _draw_volume(ax, x, y, shape, color):
    """Draw a box centred on (x, y); return the points where arrows end and start."""
    if len(shape) == 3:
        side, width = np.sqrt(shape[0]), 0.28 * np.sqrt(shape[2])
    else:
        side, width = 0.36 * np.sqrt(shape[0]), 1.2
    depth = 0.2 * min(side, 10)
    left, right = x - (width + depth) / 2, x + (width - depth) / 2
    low, high = y - (side + depth) / 2, y + (side - depth) / 2
    corners = np.array([(left, low), (right, low), (right, high), (left, high)])
    lid, flank = corners[[3, 2, 2, 3]], corners[[1, 1, 2, 2]]
    lid[2:] += depth
    flank[1:3] += depth
    for face, alpha in ((corners, 0.95), (lid, 0.45), (flank, 0.7)):
        ax.add_patch(Polygon(face, facecolor=color, edgecolor="white", linewidth=0.8, alpha=alpha))
    return (left, y), (right + depth, y)


def _label(ax, x, y, name, shape):
    ax.text(x, y, name, ha="center", va="top", weight="bold")
    *sides, depth = shape
    text = TIMES.join(map(str, sides)) + f"\n{TIMES}{depth}" if sides else str(depth)
    ax.text(x, y - 3.5, text, ha="center", va="top")
