"""The drawings show the numbers that they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from alexnet_lib.teaching import figures

CLASSES = ["cat", "dog", "emu"]


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture
def matrix():
    """True classes in rows; four cats of five are found, and no emu is ever predicted."""
    counts = np.array([[4, 1, 0], [0, 2, 0], [0, 3, 0]])
    return pd.DataFrame(counts, pd.Index(CLASSES, name="true"), pd.Index(CLASSES, name="predicted"))


def test_the_style_is_found_by_name_and_its_colours_have_names():
    with plt.style.context("alexnet_lib.teaching.book"):
        assert plt.rcParams["figure.dpi"] == 144
        cycle = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    assert cycle == list(figures.PALETTE.values())
    assert figures.PALETTE["blue"] == "#0072B2"


def written(ax):
    """Return {(row, column): text} of the cells."""
    return {
        (int(text.get_position()[1]), int(text.get_position()[0])): text.get_text()
        for text in ax.texts
    }


def test_heat_map_shows_counts_and_margins(matrix):
    cells = written(figures.plot_confusion(matrix))
    counts = {(0, 0): "4", (0, 1): "1", (1, 1): "2", (2, 1): "3"}
    recall = {(0, 3): "80", (1, 3): "100", (2, 3): "0"}
    precision = {(3, 0): "100", (3, 1): "33"}  # none for the class that is never predicted
    assert cells == counts | recall | precision | {(3, 3): "60.0"}


def test_margins_follow_the_names_of_the_axes(matrix):
    ax = figures.plot_confusion(matrix.T, title="turned")
    assert (ax.get_ylabel(), ax.get_xlabel()) == ("predicted class", "true class")
    assert ax.get_title(loc=plt.rcParams["axes.titlelocation"]) == "turned"
    labels = [
        [label.get_text() for label in axis.get_ticklabels()] for axis in (ax.yaxis, ax.xaxis)
    ]
    assert labels == [[*CLASSES, "recall (%)"], [*CLASSES, "precision (%)"]]
    turned = {(column, row): text for (row, column), text in written(ax).items()}
    assert turned == written(figures.plot_confusion(matrix))


def test_mistakes_are_coloured_by_their_share_of_the_true_class(matrix):
    for table in (matrix, matrix.T):
        mistakes = figures.plot_confusion(table).collections[1].get_array()
        assert sorted(mistakes.compressed().tolist()) == pytest.approx([1 / 5, 3 / 3])


def test_heat_map_without_mistakes():
    names = pd.Index(["a", "b"])
    matrix = pd.DataFrame(np.diag([1, 2]), names.rename("true"), names.rename("predicted"))
    assert written(figures.plot_confusion(matrix))[2, 2] == "100.0"


@pytest.mark.parametrize("names", [("true", "true"), (None, None), ("predicted", "class")])
def test_heat_map_wants_to_know_what_is_true(matrix, names):
    with pytest.raises(ValueError, match="named 'true' and 'predicted'"):
        figures.plot_confusion(matrix.rename_axis(index=names[0], columns=names[1]))


def test_heat_map_wants_the_same_classes(matrix):
    with pytest.raises(ValueError, match="the same classes"):
        figures.plot_confusion(matrix.iloc[::-1])


def test_heat_map_in_given_axes(matrix):
    _, ax = plt.subplots()
    assert figures.plot_confusion(matrix, ax=ax) is ax


def test_reliability_diagram_shows_the_table():
    table = pd.DataFrame(
        {
            "images": [3, 7],
            "probability": [0.4, 0.8],
            "accuracy": [0.5, 0.9],
            "low": [0.2, 0.8],
            "high": [0.8, 0.95],
        }
    )
    upper, lower = figures.plot_reliability(table)
    assert upper.containers[0][0].get_xydata().tolist() == [[0.4, 0.5], [0.8, 0.9]]
    (bars,) = upper.containers[0][2]
    assert [line[:, 1].tolist() for line in bars.get_segments()] == [
        pytest.approx([0.2, 0.8]),
        pytest.approx([0.8, 0.95]),
    ]
    assert [bar.get_height() for bar in lower.patches] == [3, 7]
    assert figures.plot_reliability(table, axes=(upper, lower)) == (upper, lower)


def test_roofline_shows_speeds_below_two_roofs():
    table = pd.DataFrame(
        {
            "layer": ["SGEMM", "copy", "conv", "pool", "fc", "fc"],
            "batch": [32, 32, 32, 32, 32, 1],
            "gflop": [40.0, 0.0, 30.0, 0.0, 2.0, 0.25],
            "gbyte": [0.1, 2.0, 0.5, 0.3, 0.5, 0.5],
            "ms": [100.0, 100.0, 100.0, 15.0, 50.0, 50.0],
        }
    )
    ax = figures.plot_roofline(table, title="roof")
    roof, *points = ax.lines
    # 400 GFLOP/s and 20 GB/s meet at 20 FLOP a byte.
    assert roof.get_xydata().tolist() == [[0.25, 5.0], [20.0, 400.0], [120.0, 400.0]]
    assert [line.get_label() for line in points] == ["batch 1", "batch 32"]
    assert [line.get_xydata().tolist() for line in points] == [
        [[0.5, 5.0]],
        [[60.0, 300.0], [4.0, 40.0]],
    ]
    assert {"fc", "conv"} <= {text.get_text() for text in ax.texts}
    assert "pool" not in {text.get_text() for text in ax.texts}
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert figures.plot_roofline(table, ax=ax) is ax
