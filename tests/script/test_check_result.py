"""Committed results come out again, or the check says so."""

import json
import shlex
import sys

import pytest

from script import check_result, collect_results
from tests.agent.tiny import LEAVES, OVERRIDES

EVAL = "avg episode reward - eval"
LOSS = "value loss"
COMMAND = (
    "python script/run.py --config-name=ft_ppo_diffusion_mlp --config-dir=cfg/x "
    "train.n_train_itr=201 'model.actor.mlp_dims=[8,8]' base_policy_path=RUNS/pre "
    "seed=3 logdir=RUNS/ft"
)


def test_command_stops_early_and_names_its_folders(tmp_path):
    words = check_result.shortened(COMMAND, tmp_path, 2)
    assert words[-2:] == ["train.n_train_itr=2", "resume=null"]
    assert "train.n_train_itr=201" not in words
    assert f"base_policy_path={tmp_path}/pre" in words
    assert "model.actor.mlp_dims=[8,8]" in words
    pre = COMMAND.replace("ft_ppo_diffusion_mlp", "pre_diffusion_mlp")
    assert "train.n_epochs=2" in check_result.shortened(pre, tmp_path, 2)


def test_other_commands_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"not made by script/run\.py but by 'rm -r x'"
    ):
        check_result.shortened("rm -r x", tmp_path, 2)


def test_base_policy_is_trained_unless_it_is_there(tmp_path):
    base = {"path": "RUNS/pre/state_2", "command": f"{COMMAND} a=1"}
    facts = {"data": {"base_policy_path": base}}
    (words,) = check_result.needed(facts, tmp_path)
    assert words[-1] == "a=1"
    assert f"logdir={tmp_path}/ft" in words
    (tmp_path / "pre" / "state_2").mkdir(parents=True)
    assert check_result.needed(facts, tmp_path) == []
    assert check_result.needed({"data": {}}, tmp_path) == []


@pytest.mark.parametrize(
    ("now", "verdict", "close"),
    [
        (100.0, "equal", True),
        (104.0, "close", True),
        (120.0, "DIFFERENT", False),
        (None, "missing", False),
    ],
)
def test_numbers_are_compared_within_the_tolerance(now, verdict, close):
    then = [{"step": 0, EVAL: 100.0, "unknown": 1.0}]
    row = {"step": 0} if now is None else {"step": 0, EVAL: now}
    lines, result = check_result.compare(then, [row], 0.1)
    assert result is close
    assert len(lines) == 1
    assert lines[0].endswith(verdict)


def test_missing_iterations_are_no_success():
    row = {"step": 0, LOSS: 1.0}
    assert not check_result.compare([row, row], [row], 0.1)[1]
    assert not check_result.compare([], [], 0.1)[1]


def test_a_study_names_its_own_command(tmp_path):
    (tmp_path / "result.json").write_text(json.dumps({"command": "python study.py"}))
    with pytest.raises(
        SystemExit, match=r"is a study; made again by: python study\.py"
    ):
        check_result.check(tmp_path, tmp_path, None, 2, 0.1)


def test_unknown_names_and_seeds_list_what_there_is(tmp_path):
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "result.json").write_text(json.dumps({"runs": [{"seed": 3}]}))
    with pytest.raises(SystemExit, match="toi is no result; there are: toy"):
        check_result.check(tmp_path / "toi", tmp_path, None, 2, 0.1)
    with pytest.raises(SystemExit, match="toy has no seed 4; it has 3"):
        check_result.check(folder, tmp_path, 4, 2, 0.1)


@pytest.mark.full
def test_a_run_comes_out_again_and_a_changed_number_is_found(tmp_path, monkeypatch):
    """The launcher itself, on the toy environment."""
    leaf, name = LEAVES["scratch"]
    words = [
        f"--config-name={name}",
        f"--config-dir=cfg/{leaf}",
        *OVERRIDES["scratch"],
        "seed=3",
        "logdir=RUNS/toy",
    ]
    command = shlex.join(["python", "script/run.py", *words])
    run = tmp_path / "runs" / "toy"
    check_result.run(check_result.shortened(command, run.parent, 3), tmp_path / "data")
    monkeypatch.setattr(collect_results, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["collect", "toy", str(run)])
    collect_results.main()
    folder = tmp_path / "docs" / "results" / "toy"
    result = json.loads((folder / "result.json").read_text())
    result["runs"][0]["command"] = command
    (folder / "result.json").write_text(json.dumps(result))
    assert check_result.check(folder, tmp_path / "work", None, 2, tolerance=0.0)
    metrics = folder / "seed_3" / "metrics.jsonl"
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    rows[0][EVAL] += 0.5
    metrics.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert not check_result.check(folder, tmp_path / "work", None, 2, tolerance=0.01)
