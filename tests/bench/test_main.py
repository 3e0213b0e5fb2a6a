"""The command line."""

import json

import pytest

from tests.bench import __main__ as command
from tests.bench.test_report import results_of


def test_everything_is_measured_by_default():
    args = command.arguments([])
    assert args.only == list("abcdefgh")
    assert (args.wait, args.quick, args.out) == (False, False, None)


@pytest.mark.parametrize("given", [["--only", "a,x"], ["--rounds", "0"]])
def test_impossible_arguments_are_refused(given, capsys):
    with pytest.raises(SystemExit):
        command.arguments(given)
    assert given[0] in capsys.readouterr().err


class FakeSession:
    def __init__(self, *args):
        pass

    def measure(self, letters, rounds):
        return {k: results_of()[k] for k in ("cases", "flops", "first", "memory")}


@pytest.mark.parametrize(
    ("given", "written"),
    [([], True), (["--only", "c"], False), (["--quick"], False)],
)
def test_only_a_whole_run_replaces_the_results(
    tmp_path, monkeypatch, capsys, given, written
):
    monkeypatch.setattr(command, "OUT", tmp_path)
    monkeypatch.setattr(command, "Session", FakeSession)
    command.main(given)
    assert (tmp_path / "bench.json").exists() == written
    assert "| 4.00 |" in capsys.readouterr().out


def test_the_report_can_be_written_again(tmp_path):
    (tmp_path / "bench.json").write_text(json.dumps(results_of()))
    command.main(["--report", "--out", str(tmp_path)])
    assert "# Speed" in (tmp_path / "bench.md").read_text()
