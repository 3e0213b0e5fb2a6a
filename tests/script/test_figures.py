from __future__ import annotations

import csv
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from script import figures
from script.figures import group_runs, load_runs, main

ROOT = Path(__file__).parents[2]


class Evil:
    def __reduce__(self):
        return os.system, ("true",)


def make_run(folder, rewards, name="hopper", seed=0, digest="d1", spacing=100):
    """A run of this project with an evaluation at every iteration."""
    folder.mkdir(parents=True)
    facts = {"name": name, "seed": seed, "digest": digest}
    (folder / "run.json").write_text(json.dumps(facts))
    rows = [
        {
            "step": itr,
            "time": 3600.0 * itr,
            "total env step": spacing * itr,
            "avg episode reward - eval": reward,
        }
        for itr, reward in enumerate(rewards)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(text)
    return folder


def make_reference_run(folder, rewards):
    """A run of the reference: a result.pkl with NumPy numbers, Hydra's config."""
    folder.mkdir(parents=True)
    rows = []
    for itr, reward in enumerate(rewards):
        row = {"itr": itr, "step": 100 * itr, "time": 1800.0}
        rows += [row | {"eval_episode_reward": np.float64(reward)}]
    (folder / "result.pkl").write_bytes(pickle.dumps(rows))
    return folder


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def column(rows, name):
    return [float(row[name]) for row in rows]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "figures" / "figure.png"


def test_seeds_of_an_experiment_are_drawn_together(tmp_path, out, capsys):
    runs = [make_run(tmp_path / f"r{s}", [0.0, 2 * s, 6], seed=s) for s in (0, 1, 2)]
    main([*map(str, runs), "--out", str(out)])
    assert out.read_bytes().startswith(b"\x89PNG")
    rows = read_csv(out.with_suffix(".csv"))
    assert list(rows[0]) == ["group", "x", "mean", "low", "high", "n_seeds"]
    assert [row["group"] for row in rows] == ["hopper"] * 3
    assert column(rows, "x") == [0, 100, 200]
    assert column(rows, "mean") == [0, 2, 6]
    assert column(rows, "low") == [0, 0, 6]
    assert column(rows, "high") == [0, 4, 6]
    assert column(rows, "n_seeds") == [3, 3, 3]
    assert "figure.csv" in capsys.readouterr().out


def test_the_same_runs_give_the_same_numbers(tmp_path, out):
    runs = [make_run(tmp_path / f"r{s}", [0.0, s**2, 6]) for s in range(5)]
    main([*map(str, runs), "--out", str(out)])
    first = out.with_suffix(".csv").read_text()
    main([*map(str, runs), "--out", str(out)])
    assert out.with_suffix(".csv").read_text() == first


def test_a_parent_folder_gives_all_runs_in_it(tmp_path, out):
    make_run(tmp_path / "log" / "hopper" / "a", [1.0, 3.0])
    make_run(tmp_path / "log" / "hopper" / "b", [3.0, 5.0])
    make_run(tmp_path / "log" / "walker" / "a", [7.0, 9.0], name="walker")
    # Not runs of their own.
    make_run(tmp_path / "log" / "wandb" / "x", [100.0])
    make_run(tmp_path / "log" / ".hidden", [100.0])
    main([str(tmp_path / "log"), "--out", str(out)])
    rows = read_csv(out.with_suffix(".csv"))
    assert [(r["group"], float(r["mean"]), r["n_seeds"]) for r in rows] == [
        ("hopper", 2.0, "2"),
        ("hopper", 4.0, "2"),
        ("walker", 7.0, "1"),
        ("walker", 9.0, "1"),
    ]


def test_a_run_that_is_given_twice_counts_once(tmp_path):
    run = make_run(tmp_path / "log" / "a", [1.0])
    files = [run, run / "metrics.jsonl", tmp_path / "log"]
    assert len(load_runs(files)) == 1


def test_runs_of_the_reference_are_read(tmp_path, out):
    for seed, shift in ((0, 0), (1, 2)):
        folder = tmp_path / "hopper_ppo" / f"2024-09-01_10-00-00_{seed}"
        make_reference_run(folder, [1 + shift, 2 + shift])
    main([str(tmp_path / "hopper_ppo"), "--out", str(out)])
    rows = read_csv(out.with_suffix(".csv"))
    assert rows[0]["group"] == "hopper_ppo"
    assert column(rows, "x") == [0, 100]
    assert column(rows, "mean") == [2, 3]


def test_the_name_may_come_from_hydras_config(tmp_path):
    run = make_reference_run(tmp_path / "2024-09-01_10-00-00_42", [1.0])
    (run / ".hydra").mkdir()
    (run / ".hydra" / "config.yaml").write_text("name: walker\nseed: 42\n")
    assert load_runs([run])[0].name == "walker"


def test_a_results_folder_with_one_file_for_each_seed_is_a_group(tmp_path, out):
    folder = tmp_path / "docs" / "results" / "hopper_ppo"
    run = make_run(tmp_path / "a", [1.0, 3.0])
    folder.mkdir(parents=True)
    for seed in (0, 1):
        (folder / f"metrics_seed{seed}.jsonl").write_bytes(
            (run / "metrics.jsonl").read_bytes()
        )
    (folder / "result.json").write_text('{"command": "x", "config digest": "d"}')
    main([str(folder), "--out", str(out)])
    rows = read_csv(out.with_suffix(".csv"))
    assert {(row["group"], row["n_seeds"]) for row in rows} == {("hopper_ppo", "2")}


def test_runs_may_be_grouped_by_config(tmp_path):
    runs = [
        make_run(tmp_path / "a", [1.0], digest="0123456789"),
        make_run(tmp_path / "b", [1.0], digest="0123456789"),
        make_run(tmp_path / "c", [1.0], digest="abcdefghij"),
    ]
    groups = group_runs(load_runs(runs), "config")
    assert {name: len(group) for name, group in groups.items()} == {
        "hopper (01234567)": 2,
        "hopper (abcdefgh)": 1,
    }
    assert list(group_runs(load_runs(runs), "name")) == ["hopper"]


def test_configs_that_differ_in_the_seed_only_are_one_group(tmp_path):
    runs = []
    for seed, rate in ((0, 1), (1, 1), (2, 5)):
        run = make_run(tmp_path / f"{seed}", [1.0])
        (run / "run.json").unlink()
        text = f"name: hopper\nseed: {seed}\nlogdir: {run}\nrate: {rate}\n"
        (run / "config.yaml").write_text(text)
        runs.append(run)
    groups = group_runs(load_runs(runs), "config")
    assert sorted(len(group) for group in groups.values()) == [1, 2]


def test_x_may_be_iterations_or_hours(tmp_path, out, monkeypatch):
    labels = []

    def record(curves, path, xlabel, ylabel):
        labels.append((xlabel, ylabel))

    monkeypatch.setattr(figures, "plot_curves", record)
    run = str(make_run(tmp_path / "a", [1.0, 2.0]))
    expected = {"step": [0, 100], "itr": [0, 1], "time": [0, 1]}
    for x, values in expected.items():
        main([run, "--x", x, "--out", str(out)])
        assert column(read_csv(out.with_suffix(".csv")), "x") == values
    assert [xlabel for xlabel, _ in labels] == [
        "env steps",
        "iteration or epoch",
        "time (h)",
    ]
    assert labels[0][1] == "avg episode reward - eval"


def test_a_missing_metric_lists_those_there_are(tmp_path, out):
    run = make_run(tmp_path / "a", [1.0])
    with pytest.raises(SystemExit) as caught:
        main([str(run), "--metric", "sucess", "--out", str(out)])
    assert caught.value.code == (
        "Error: no run has the metric 'sucess'; "
        "available: eval_episode_reward, avg episode reward - eval."
    )
    assert not out.parent.exists()


def test_runs_without_the_metric_are_left_out_with_a_warning(tmp_path, out, caplog):
    make_run(tmp_path / "log" / "a", [1.0, 2.0])
    other = make_run(tmp_path / "log" / "b", [])
    (other / "metrics.jsonl").write_text('{"step": 1, "time": 0, "loss - train": 1}\n')
    main([str(tmp_path / "log"), "--out", str(out)])
    assert column(read_csv(out.with_suffix(".csv")), "n_seeds") == [1, 1]
    assert "b/metrics.jsonl has no 'eval_episode_reward'" in caplog.text


def test_an_incomplete_last_line_is_tolerated_with_a_warning(tmp_path, out, caplog):
    run = make_run(tmp_path / "a", [1.0, 2.0])
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "ti')
    main([str(run), "--out", str(out)])
    assert column(read_csv(out.with_suffix(".csv")), "mean") == [1, 2]
    assert "incomplete" in caplog.text


def test_an_empty_metrics_file_falls_back_to_result_pkl(tmp_path, out, caplog):
    run = make_reference_run(tmp_path / "a", [4.0])
    (run / "metrics.jsonl").touch()
    main([str(run), "--out", str(out)])
    assert column(read_csv(out.with_suffix(".csv")), "mean") == [4]
    assert "metrics.jsonl is empty" in caplog.text


def test_a_run_that_ended_early_is_told(tmp_path, out, caplog):
    make_run(tmp_path / "log" / "a", [0.0, 1, 2, 3])
    make_run(tmp_path / "log" / "b", [0.0, 1])
    main([str(tmp_path / "log"), "--out", str(out)])
    assert column(read_csv(out.with_suffix(".csv")), "x") == [0, 100]
    assert "hopper is drawn up to x=100" in caplog.text
    assert "another run goes on to 300" in caplog.text


def test_different_env_steps_are_interpolated(tmp_path, out):
    make_run(tmp_path / "log" / "a", [0.0, 1, 2], spacing=100)
    make_run(tmp_path / "log" / "b", [0.0, 2], spacing=200)
    main([str(tmp_path / "log"), "--out", str(out)])
    rows = read_csv(out.with_suffix(".csv"))
    assert column(rows, "x") == [0, 100, 200]
    assert column(rows, "mean") == [0, 1, 2]


def fail(arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    return caught.value.code


def test_runs_without_a_common_range_name_the_group(tmp_path, out):
    make_run(tmp_path / "log" / "a", [0.0])
    run = make_run(tmp_path / "log" / "b", [])
    row = {"step": 9, "time": 0, "total env step": 900, "avg episode reward - eval": 1}
    (run / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    message = fail([tmp_path / "log", "--out", out])
    assert message.startswith("Error: hopper: curves must overlap")


def test_bad_input_is_one_line_that_names_it(tmp_path, out):
    (tmp_path / "empty").mkdir()
    run = make_run(tmp_path / "a", [1.0])
    hostile = tmp_path / "hostile"
    hostile.mkdir()
    (hostile / "result.pkl").write_bytes(pickle.dumps([Evil()]))
    broken = make_run(tmp_path / "broken", [1.0])
    (broken / "metrics.jsonl").write_text('oops\n{"step": 1}\n')
    expected = {
        (tmp_path / "missing",): "missing does not exist",
        (tmp_path / "empty",): "no metrics*.jsonl or result.pkl in it",
        (hostile,): "nothing in it was executed",
        (broken,): "line 1 is not a metrics row",
        (run, "--out", tmp_path / "figure.pdf"): "--out must end in .png",
        (run, "--out", run / "run.json" / "f.png"): "run.json",
    }
    for arguments, part in expected.items():
        message = fail(["--out", out, *arguments])
        assert message.startswith("Error: ")
        assert part in message


def test_the_file_runs_as_a_script_from_anywhere(tmp_path):
    run = make_run(tmp_path / "a", [1.0, 2.0])
    command = [sys.executable, str(ROOT / "script" / "figures.py"), str(run)]
    subprocess.run(command, check=True, cwd=tmp_path, capture_output=True)
    assert (tmp_path / "figure.png").exists()
    assert (tmp_path / "figure.csv").exists()
