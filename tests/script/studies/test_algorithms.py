"""The study of all algorithms: they start from the same policies and compose."""

import json

import pytest

from script.studies import algorithms as module
from tests.script.studies.finished import finish
from util.config import compose


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Where the runs are, with results written below `tmp_path` too."""
    monkeypatch.setenv("DPPO_LOG_DIR", str(tmp_path / "log"))
    monkeypatch.setenv("DPPO_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr("script.collect_results.ROOT", tmp_path)
    (tmp_path / "docs" / "results").mkdir(parents=True)
    return tmp_path / "log" / "studies" / "algorithms"


@pytest.mark.parametrize("name", module.ALGORITHMS)
def test_runs_compose_and_start_from_a_cloned_policy(name, work):
    clones = {run.folder for run in module.clonings(work)}
    for run in module.trainings(name, work, [42, 43]):
        cfg = compose(f"cfg/{run.group}", run.config, run.overrides)
        assert cfg.seed in (42, 43)
        assert work / str(cfg.base_policy_path).rpartition("/")[2] in clones


def test_each_learns_in_twenty_iterations_at_least(work):
    for name in module.ALGORITHMS:
        run = module.trainings(name, work, [42])[0]
        cfg = compose(f"cfg/{run.group}", run.config, run.overrides)
        evaluations = -(-cfg.train.n_train_itr // cfg.train.val_freq)
        assert cfg.train.n_train_itr - evaluations >= 20
        # Two in the last fifth, of which the interval is made.
        assert evaluations > 5


def test_results_are_of_finished_algorithms_only(work, monkeypatch, capsys):
    begun = []

    def start_all(runs, jobs):
        begun.extend(runs)
        for run in runs:
            if not run.folder.name.startswith("dql"):
                finish(run.folder, [1.0, 2.0, 5.0])
        return ["dql_42: that failed."] if len(runs) > 2 else []

    monkeypatch.setattr(module, "start_all", start_all)
    assert module.main(["rwr", "dql"]) == 1
    assert "dql_42: that failed." in capsys.readouterr().out
    names = [run.folder.name for run in begun]
    assert names == [*module.CLONED.values(), "rwr_42", "rwr_43", "dql_42"]
    results = module.ROOT / "docs" / "results"
    result = json.loads((results / "rwr_hopper" / "result.json").read_text())
    assert (result["start"], result["end"]) == (1.0, 3.5)
    assert (results / "algorithms_hopper.png").stat().st_size > 10_000
    assert not (results / "dql_hopper").exists()


def test_unknown_names_are_refused(capsys):
    with pytest.raises(SystemExit):
        module.main(["ppq"])
    assert "ppq is none of ppo, rwr" in capsys.readouterr().err
