"""The wall-clock table: what is measured, and the numbers beside the paper's."""

import json
import pickle

import pytest

from script.studies import wall_clock as module
from tests.script.studies.finished import finish
from util.config import compose


@pytest.fixture
def work(tmp_path, monkeypatch):
    monkeypatch.setenv("DPPO_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.setenv("DPPO_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "log" / "studies" / "wall_clock"


def write_times(folder, training):
    """What a run of an evaluation and some training iterations leaves."""
    rows = [{"itr": 0, "time": 99.0, "eval_episode_reward": 1.0}]
    rows += [{"time": value, "train_episode_reward": 1.0} for value in training]
    (folder / "result.pkl").write_bytes(pickle.dumps(rows))


@pytest.mark.parametrize("name", module.COMPARED)
def test_iterations_are_measured_at_the_size_of_the_config(name, work):
    run = module.training(name, work, 3)
    cfg = compose(f"cfg/{run.group}", run.config, run.overrides)
    assert cfg.train.n_steps * cfg.env.n_envs * cfg.act_steps == 80_000
    assert cfg.train.n_train_itr == 5  # the evaluation and the one that compiles
    assert cfg.train.get("n_critic_warmup_itr", 0) == 0
    assert str(cfg.base_policy_path).endswith("algorithms/pre_diffusion_mlp")


def test_the_first_training_iteration_is_not_counted(tmp_path):
    write_times(tmp_path, [30.0, 4.0, 5.0])
    assert module.seconds_of(tmp_path) == [4.0, 5.0]


def test_every_algorithm_is_in_the_table_beside_the_paper(
    work, tmp_path, monkeypatch, capsys
):
    seconds = dict.fromkeys(module.COMPARED, 8.0) | {"ppo": 4.0, "qsm": 2.0}
    stale = work / "ppo" / "stale"
    stale.mkdir(parents=True)

    def start_all(runs, jobs):
        assert jobs == 1
        for run in runs:
            finish(run.folder, [1.0])
            if run.folder.parent == work:
                write_times(run.folder, [50.0, seconds[run.folder.name], 1e-3, 1e3])
        return []

    monkeypatch.setattr(module, "start_all", start_all)
    module.main([f"--out={tmp_path / 'out'}"])
    assert not stale.exists()
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    rows = result["algorithms"]
    assert list(rows) == list(module.COMPARED)
    assert rows["dql"]["ratio_to_ppo"] == 2.0
    assert rows["dql"]["seconds"] == [8.0, 1e-3, 1e3]
    text = (tmp_path / "out" / "table.md").read_text()
    assert "| qsm | 2.0 | 0.50 | 64.4 | 3.88 |" in text
    assert text in capsys.readouterr().out


def test_a_failed_run_ends_the_measurement(work, monkeypatch):
    monkeypatch.setattr(module, "start_all", lambda runs, jobs: ["ppo: broken."])
    with pytest.raises(SystemExit, match="broken"):
        module.measure(work, 1)


def test_no_iteration_is_refused(work, capsys):
    with pytest.raises(SystemExit):
        module.main(["--iterations=0"])
    assert "--iterations must be >= 1, got 0" in capsys.readouterr().err
