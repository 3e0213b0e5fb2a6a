"""The report says what the numbers say, and how far to trust them."""

import json

import pytest

from tests.bench.cases import BY_ROW, ENVS, MATMUL, PROCESSES, STEPPING
from tests.bench.report import NOTES, report, to_json, write_report


def numbers(median, quiet=True):
    one = {"seconds": [median] * 3, "idle_before": 1.0, "foreign": 0.0, "waiting": 0.0}
    return {
        "median": median,
        "spread": 0.01,
        "quiet_share": 1.0 if quiet else 0.5,
        "is_quiet": quiet,
        "rounds": [one],
    }


def results_of(ours=0.05, quiet=True):
    """(c) with 200 ms against `ours`, of which 45 ms are products."""
    return {
        "command": "python -m tests.bench",
        "commit": "abc",
        "uncommitted changes": True,
        "date": "2026-01-01",
        "machine": {"cpu": "X", "processors": 2, "memory_gib": 4, "system": "Linux"},
        "threads": 2,
        "versions": {"python": "3.11"},
        "quick": False,
        "cases": {
            "c5000": {"torch": numbers(0.2), "ours": numbers(ours, quiet)},
            f"c5000{BY_ROW}": {"torch": numbers(0.25)},
            f"{MATMUL}c5000": {"torch": numbers(0.1), "ours": numbers(0.045)},
            f"{STEPPING}{PROCESSES}": {ENVS: numbers(1e-4)},
            f"{STEPPING}auto": {ENVS: numbers(2e-5)},
            "e": {"torch": numbers(80.0), "ours": numbers(16.0)},
        },
        "flops": {"c5000": {"torch": 10**10, "ours": 9 * 10**9}},
        "first": {"torch": [81.0], "ours": [30.0]},
        "memory": {
            "torch": [{"main": 500.0, "workers": 800.0, "n_workers": 40}],
            "ours": [{"main": 1200.0, "workers": 50.0, "n_workers": 2}],
        },
    }


def test_times_ratio_and_aim():
    text = report(results_of())
    assert "| 200 ms | 50 ms | 4.00 | >= 4 | yes |" in text
    assert "| 100 us | 20 us | 5.00 | >= 3 | yes |" in text
    assert "| 80 s | 16 s | 5.00 | >= 4 | yes |" in text


def test_a_missed_aim_is_marked():
    assert "| 200 ms | 51 ms | 3.92 | >= 4 | **no** |" in report(results_of(0.051))


def test_shares_of_the_matmul_rate_and_what_they_allow():
    text = report(results_of())
    assert "| ours | 9.00 | 200 | 45 ms | 90% | >= 80% | yes |" in text
    assert "| torch | 10.00 | 100 | 100 ms | 50% | >= 40% | yes |" in text
    assert "a ratio of 4.44 if ours took no longer" in text
    assert "PyTorch takes 250 ms (ratio 5.00)" in text


def test_memory_counts_workers():
    text = report(results_of())
    assert "| 500 | 800 (40) | 1,300 |" in text
    assert "no more memory than PyTorch; met: yes" in text


def test_noise_and_quick_runs_are_said_loudly():
    assert "NOT QUIET" not in report(results_of())
    assert "NOT QUIET**, so these are: c5000 (ours)" in report(results_of(quiet=False))
    assert "`--quick`" in report({**results_of(), "quick": True})


def test_conditions_are_named():
    text = report(results_of())
    for part in (
        "2 threads on each side",
        "abc with uncommitted changes",
        "python 3.11",
    ):
        assert part in text


def test_notes_are_kept_and_numbers_written(tmp_path):
    (tmp_path / NOTES).write_text("The gather takes half.\n")
    write_report(results_of(), tmp_path)
    assert "missed\n\nThe gather takes half." in (tmp_path / "bench.md").read_text()
    assert json.loads((tmp_path / "bench.json").read_text()) == results_of()
    assert (tmp_path / NOTES).read_text() == "The gather takes half.\n"


def test_one_line_for_the_seconds_of_a_round():
    assert '"seconds": [ 0.2, 0.2, 0.2 ],' in to_json(results_of())


@pytest.mark.parametrize("left_out", ["e", "c5000"])
def test_parts_that_were_not_measured_are_left_out(left_out):
    results = results_of()
    for case in [n for n in results["cases"] if left_out in n.split(" ")]:
        del results["cases"][case]
    if left_out == "e":
        del results["memory"]
    else:
        results["flops"] = {}
    titles = {"e": "A whole iteration", "c5000": "Share of the matmul rate"}
    assert titles[left_out] not in report(results)
