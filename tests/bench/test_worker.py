"""A side's process answers commands, fails loudly and ends."""

import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from tests.bench import worker as worker_module
from tests.bench.cases import ENVS, STEPPING, Prepared
from tests.bench.leaves import leaf
from tests.bench.test_cases import POINT
from tests.bench.worker import Runner, Worker


def test_a_process_measures_and_says_what_went_wrong(tmp_path):
    cfg = OmegaConf.to_container(leaf("finetune", tmp_path, *POINT))
    side = Worker(ENVS, threads=1, quick=True)
    try:
        side.ask("prepare", f"{STEPPING}sync", cfg)
        (seconds,) = side.ask("run", f"{STEPPING}sync")
        assert 0 < seconds < 1
        with pytest.raises(RuntimeError, match=r"envs, prepare:[\s\S]*AttributeError"):
            side.ask("prepare", "nonsense", cfg)
        assert side.ask("memory")["main"] > 1
    finally:
        side.close()
    assert not side.is_alive


@pytest.mark.parametrize(("case", "calls", "warm_up"), [("a", 30, 20), ("b", 1, 1)])
def test_calls_of_a_round(monkeypatch, case, calls, warm_up):
    done = []
    prepared = Prepared(lambda: done.append(1), units=4)
    monkeypatch.setattr(worker_module, "prepare", lambda *args: prepared)
    runner = Runner("ours", quick=False)
    assert len(runner.prepare(case, {})) == warm_up
    assert len(runner.run(case)) == calls
    assert len(done) == calls + warm_up


def test_dropping_a_case_closes_it(monkeypatch):
    closed = []
    prepared = Prepared(lambda: None, close=lambda: closed.append(1))
    monkeypatch.setattr(worker_module, "prepare", lambda *args: prepared)
    runner = Runner("ours", quick=False)
    runner.prepare("e", {})
    runner.drop("e")
    assert closed == [1]
    assert runner.prepared == {}


@pytest.mark.parametrize(
    ("module", "stranger"),
    [("tests.bench.peer", "tensorflow"), ("tests.bench.ours", "torch")],
)
def test_a_side_does_not_import_the_other_framework(module, stranger):
    imports = f"import sys, tests.bench.__main__, {module}"
    script = f"{imports}; print({stranger!r} in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False"]
