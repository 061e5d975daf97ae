"""The benchmarks measure what they say, and refuse to time a wrong answer."""

import csv

import numpy as np
import pytest

from alexnet_lib.teaching.scenes import write_scenes
from benchmarks import __main__ as command
from benchmarks import accuracy, growth, roofline, startup
from benchmarks.compare import (
    PEAK,
    Product,
    at_peak,
    check_equal,
    in_own_process,
    row,
    sgemm,
    time_in_turns,
)
from benchmarks.parts import ROWS

TIMES = {"ours": np.array([10.0, 11.0, 14.0]), "peer": np.array([30.0, 22.0, 40.0])}


def test_a_row_compares_medians():
    found = row("work", "ours", "peer", TIMES | {PEAK: np.array([5.5])}, {"peer": 7.0}, reach=2.5)
    assert (found.ours_ms, found.peer_ms, found.runs) == (11.0, 30.0, 3)
    assert found.ratio == pytest.approx(30 / 11)
    assert (found.ours_spread_ms, found.peer_spread_ms) == (1.0, 4.5)
    assert found.share == 0.5
    assert (found.ours_mib, found.peer_mib) == (None, 7.0)
    assert (found.target, found.met) == ("at least 2.5x", 1)
    assert row("work", "ours", "peer", TIMES, reach=3).met == 0
    assert row("work", "ours", "peer", TIMES).met is None
    single = {name: values[:1] for name, values in TIMES.items()}
    assert row("work", "ours", "peer", single).ours_spread_ms is None


def test_the_peak_is_scaled_to_the_work():
    peak = Product(None, 2, 3, 4)
    times = at_peak({PEAK: np.array([8.0]), "ours": np.array([6.0])}, 12, peak)
    assert times == {PEAK: [4.0], "ours": [6.0]}


def test_turns_begin_with_another_one_and_then_turn_round():
    called = []
    functions = {name: lambda name=name: called.append(name) for name in "ABC"}
    times = time_in_turns(functions, runs=5)
    assert {name: len(values) for name, values in times.items()} == {"A": 5, "B": 5, "C": 5}
    assert "".join(called) == "ABC" + "ABC" + "BCA" + "CAB" + "CBA" + "ACB"


def test_a_wrong_answer_stops_the_run():
    check_equal("engine", np.array([1.0, 100.0]), np.array([1.0005, 100.0]))
    with pytest.raises(AssertionError, match=r"engine: differs by 2\.0e-05, .* more than 1e-05"):
        check_equal("engine", np.array([1.0, 100.0]), np.array([1.002, 100.0]))
    with pytest.raises(AssertionError, match="differs by nan"):
        check_equal("engine", np.array([np.nan]), np.array([1.0]))


def test_a_process_that_fails_says_why():
    with pytest.raises(RuntimeError, match="'nothing'"):
        in_own_process("benchmarks.reading", "nothing", "file")


def test_results_carry_machine_and_versions(tmp_path):
    command.write(tmp_path / "rows.csv", [row("w", "ours", "peer", TIMES)], {"cpu": "some"})
    (found,) = csv.DictReader((tmp_path / "rows.csv").open())
    assert (found["work"], found["ratio"], found["target"], found["cpu"]) == (
        "w", "2.727", "", "some",
    )  # fmt: skip
    shown = command.cells(row("w", "ours", "peer", TIMES, reach=3))
    assert (shown["ours, ms"], shown["runs"], shown["met"]) == ("11 +- 1", 3, "no")
    heads, line = command.table([shown]).splitlines()
    assert heads.split()[0] == "work"
    assert line.split()[-1] == "no"


@pytest.mark.parametrize("part", sorted(ROWS.keys() - {"startup"}))
def test_all_engines_agree(part):
    rows = list(ROWS[part](quick=True))
    assert rows
    assert all(found.ours_ms > 0 and found.peer_ms > 0 for found in rows)


def test_a_cold_start_answers_in_a_fraction_of_tensorflows_import():
    library, usage, light, full = startup.rows(quick=True)
    assert {found.peer for found in (library, usage, light, full)} == {startup.IMPORT}
    assert light.target == "at most 0.6 s and 0.15 of the import"
    assert light.ratio > 2  # by far, even where the machine is busy
    if light.ours_mib is not None:
        assert usage.ours_mib < light.ours_mib < 250
        assert full.ours_mib > 217
    slow = light._replace(ours_ms=599.0, peer_ms=3000.0)
    assert startup._judged(slow, "light").met == 0  # a fifth of the import
    assert startup._judged(slow._replace(peer_ms=4000.0), "light").met == 1
    assert startup._judged(slow._replace(ours_ms=601.0, peer_ms=9000.0), "light").met == 0


def test_a_part_replaces_its_own_rows(tmp_path):
    path, about, parts = tmp_path / "rows.csv", {"cpu": "some"}, ["one", "two"]
    for part, work in (("two", "old"), ("one", "a"), ("two", "b")):
        command.write(path, [row(work, "ours", "peer", TIMES)], about, part, parts)
    found = list(csv.DictReader(path.open()))
    assert [(each["part"], each["work"]) for each in found] == [("one", "a"), ("two", "b")]


def test_the_roofline_has_every_layer_that_computes():
    layers = {point.layer: point for point in roofline.layers(quick=True)}
    assert [name for name, point in layers.items() if point.gflop] == [
        "SGEMM", "conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8",
    ]  # fmt: skip
    fc8 = layers["fc8"]
    assert layers["SGEMM"].gflop == pytest.approx(2e-9 * sgemm().macs)
    assert fc8.gflop == pytest.approx(2e-9 * 2 * 4096 * 1000)  # 2 a MAC, two images
    assert fc8.gbyte == pytest.approx(4e-9 * (4096 * 1000 + 1000 + 2 * (4096 + 1000)))


def test_one_byte_a_value_changes_no_class():
    (found,) = accuracy.rows(quick=True)
    assert found.images == 21
    assert 0 < found.largest_error < 0.01
    assert found.changed <= 1 / 21


def test_a_stream_runs_in_a_limited_process(tmp_path):
    write_scenes(tmp_path / "scenes", growth.SCENES // 21)
    speed, mib = growth.measure("stream of files", folder=str(tmp_path), images=100)
    assert speed > 0
    assert mib < growth.ROOM_MIB
