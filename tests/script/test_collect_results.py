"""Committed results: what they say about runs, and that nothing is dropped."""

import json
import sys

import numpy as np
import pytest
import yaml

from script import collect_results
from util.run_folder import write_run

REWARD = collect_results.METRIC


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(collect_results, "ROOT", tmp_path / "project")
    monkeypatch.setenv("DPPO_LOG_DIR", str(tmp_path / "log"))
    folder = tmp_path / "log" / "run"
    folder.mkdir(parents=True)
    command = f"python script/run.py logdir={folder} base={tmp_path}/log/pre"
    facts = {"name": "toy", "seed": 3, "digest": "d", "status": "finished"}
    write_run(folder, command=command, commit="c", versions={}, **facts)
    (folder / "config.yaml").write_text(yaml.safe_dump({"logdir": str(folder)}))
    rows = [
        {"step": i, "time": 36.0 * i, "total env step": 10 * i, REWARD: value}
        for i, value in enumerate([1.0, 5.0, 2.0, 6.0])
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines)
    return folder


def test_result_has_start_end_and_all_evaluations(run, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["collect", "toy", str(run), "--last", "2"])
    collect_results.main()
    folder = tmp_path / "project" / "docs" / "results" / "toy"
    result = json.loads((folder / "result.json").read_text())
    assert (result["start"], result["end"]) == (1.0, 4.0)
    assert result["runs"][0]["evaluations"] == 4
    assert result["runs"][0]["hours"] == pytest.approx(0.03)
    raw = (folder / "seed_3" / "metrics.jsonl").read_text()
    assert raw == (run / "metrics.jsonl").read_text()
    assert (folder / "curve.png").stat().st_size > 1000


def test_result_names_no_folder_of_this_machine(run, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["collect", "toy", str(run)])
    collect_results.main()
    folder = tmp_path / "project" / "docs" / "results" / "toy"
    for file in ("result.json", "seed_3/config.yaml"):
        assert str(tmp_path) not in (folder / file).read_text()
    command = json.loads((folder / "result.json").read_text())["runs"][0]["command"]
    assert command == "python script/run.py logdir=RUNS/run base=RUNS/pre"


def test_improvement_is_of_the_last_fifth_and_resamples_runs():
    ten = np.array([1.0, 0, 0, 0, 0, 0, 0, 0, 5.0, 7.0])
    one = collect_results.improvement([ten])
    assert one["mean"] == 5.0
    assert (one["low"], one["high"]) == (
        4.0,
        6.0,
    )  # One evaluation twice, or the other.
    flat = np.full(10, 2.0)
    both = collect_results.improvement([ten, flat])
    assert both["mean"] == 2.5
    assert both["low"] == 0.0  # A quarter of the resamples has the flat run twice.
    assert both["high"] > 4.0
    assert both == collect_results.improvement([ten, flat])
