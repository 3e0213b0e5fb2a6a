from __future__ import annotations

import errno
import json
import math
import pickle

import numpy as np
import pytest

from util import metrics_files
from util.metrics_files import (
    MetricsFile,
    ResultTable,
    check_writable,
    extract_curve,
    has_env_steps,
    read_metrics,
    rows_of_results,
    to_number,
    write_npz,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


# -- folder -----------------------------------------------------------------------


def test_a_folder_is_made_and_left_empty(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert names(tmp_path / "a" / "b") == []


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path):
    (tmp_path / "log").touch()
    with pytest.raises(OSError, match="logdir must be a folder.*log is not"):
        check_writable(tmp_path / "log")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_read_only_or_full_folder_is_named(tmp_path, monkeypatch, number):
    def fail(descriptor):
        raise OSError(number, "no")

    monkeypatch.setattr(metrics_files.os, "fsync", fail)
    with pytest.raises(OSError, match=f"{tmp_path} is not: no") as caught:
        check_writable(tmp_path)
    assert caught.value.errno == number
    assert names(tmp_path) == []


# -- metrics.jsonl ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1, 1),
        (True, True),
        (np.float32(0.5), 0.5),
        (np.array([[2.0]]), 2.0),
        (np.int64(3), 3),
    ],
)
def test_scalars_of_any_kind_become_numbers(value, number):
    result = to_number("loss", value)
    assert result == number
    assert type(result) is type(number)


@pytest.mark.parametrize("value", [np.zeros(2), "1", None, 1j, []])
def test_what_is_no_scalar_is_refused_by_name(value):
    with pytest.raises(TypeError, match="loss must be one real number"):
        to_number("loss", value)


def test_a_line_holds_step_time_and_scalars(tmp_path):
    file = MetricsFile(tmp_path / "m.jsonl")
    file.append(3, 1.5, {"loss - train": 0.25, "count": 2})
    # Written at once: another process may look while the run goes on.
    (line,) = (tmp_path / "m.jsonl").read_text().splitlines()
    assert json.loads(line) == {
        "step": 3,
        "time": 1.5,
        "loss - train": 0.25,
        "count": 2,
    }


def test_values_that_are_not_finite_are_null_and_named(tmp_path):
    file = MetricsFile(tmp_path / "m.jsonl")
    file.append(0, 0.0, {"a": math.nan, "b": 1.0, "c": -math.inf})
    text = (tmp_path / "m.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "step": 0,
        "time": 0.0,
        "a": None,
        "b": 1.0,
        "c": None,
        "nonfinite": ["a", "c"],
    }
    (row,) = read_metrics(tmp_path / "m.jsonl")
    assert math.isnan(row["a"])


@pytest.mark.parametrize("name", ["step", "nonfinite"])
def test_reserved_names_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"must not be called '{name}'"):
        MetricsFile(tmp_path / "m.jsonl").append(0, 0.0, {name: 1})
    assert names(tmp_path) == []


def test_a_line_that_cannot_be_written_names_the_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="cannot write .*m.jsonl"):
        MetricsFile(tmp_path / "file" / "m.jsonl").append(0, 0.0, {})


def test_a_scalar_called_time_takes_the_place_of_the_runs(tmp_path):
    MetricsFile(tmp_path / "m.jsonl").append(0, 1.5, {"time": 7.0})
    assert read_metrics(tmp_path / "m.jsonl") == [{"step": 0, "time": 7.0}]


def write_lines(path, steps, tail=""):
    path.write_text("".join(f'{{"step": {step}}}\n' for step in steps) + tail)
    return path


def test_later_lines_are_dropped_and_appending_goes_on(tmp_path):
    path = write_lines(tmp_path / "m.jsonl", [0, 1, 2, 3])
    file = MetricsFile(path)
    file.keep(lambda index, row: row["step"] <= 1)
    file.append(2, 0.5, {"new": 1})
    assert [row["step"] for row in read_metrics(path)] == [0, 1, 2]
    assert read_metrics(path)[2]["new"] == 1
    assert file.lines == 3
    assert names(tmp_path) == ["m.jsonl"]


@pytest.mark.parametrize("tail", ['{"step": 2, "lo', '{"step": 2}', "\0\0\n", "[1]\n"])
def test_a_broken_last_line_is_dropped(tmp_path, tail):
    path = write_lines(tmp_path / "m.jsonl", [0, 1], tail)
    MetricsFile(path).keep(lambda index, row: True)
    assert path.read_text() == '{"step": 0}\n{"step": 1}\n'


def test_dropping_while_the_file_is_open_loses_nothing(tmp_path):
    file = MetricsFile(tmp_path / "m.jsonl")
    for step in range(4):
        file.append(step, 0.0, {})
    file.keep(lambda index, row: index < 2)
    file.append(7, 0.0, {})
    assert [row["step"] for row in read_metrics(file.path)] == [0, 1, 7]


def test_a_complete_file_is_not_rewritten(tmp_path):
    path = write_lines(tmp_path / "m.jsonl", [0, 1])
    before = path.stat().st_ino
    file = MetricsFile(path)
    file.keep(lambda index, row: True)
    assert path.stat().st_ino == before
    assert file.lines == 2


def test_keeping_of_a_missing_file_makes_none(tmp_path):
    file = MetricsFile(tmp_path / "m.jsonl")
    file.keep(lambda index, row: True)
    assert file.lines == 0
    assert names(tmp_path) == []


def test_an_earlier_file_is_set_aside_under_a_free_name(tmp_path):
    path = write_lines(tmp_path / "m.jsonl", [5])
    (tmp_path / "m.jsonl.old1").write_text("older")
    aside = MetricsFile(path).set_aside()
    assert aside == tmp_path / "m.jsonl.old2"
    assert names(tmp_path) == ["m.jsonl.old1", "m.jsonl.old2"]
    assert MetricsFile(path).set_aside() is None


@pytest.mark.parametrize("tail", ['{"step": 2, "lo', '{"step": 2, "loss": 0.5}\n{"st'])
def test_an_incomplete_last_line_is_left_out_with_a_warning(tmp_path, caplog, tail):
    path = write_lines(tmp_path / "m.jsonl", [0, 1], tail)
    rows = read_metrics(path)
    assert [row["step"] for row in rows] == [0, 1, 2][: 1 + len(tail.splitlines())]
    assert "the last line is incomplete" in caplog.text


def test_a_broken_line_in_the_middle_is_an_error(tmp_path):
    path = write_lines(tmp_path / "m.jsonl", [0], 'oops\n{"step": 1}\n')
    with pytest.raises(ValueError, match="line 2 is not a metrics row: oops"):
        read_metrics(path)


def test_an_empty_file_has_no_rows(tmp_path):
    assert read_metrics(write_lines(tmp_path / "m.jsonl", [])) == []


# -- curves -----------------------------------------------------------------------

ROWS = [
    {"step": 0, "time": 0.0, "avg episode reward - eval": 1.0, "num episode - eval": 4},
    {"step": 1, "time": 36.0, "total env step": 100, "loss": 0.5},
    {"step": 2, "time": 72.0, "total env step": 200, "loss": math.nan},
    {"step": 3, "time": 108.0, "avg episode reward - eval": 5.0},
    {
        "step": 4,
        "time": 144.0,
        "total env step": 200,
        "avg episode reward - eval": 0.0,
        "num episode - eval": 0,
    },
]


def test_evaluations_stand_at_the_env_steps_before_them():
    x, y = extract_curve(ROWS, "avg episode reward - eval")
    np.testing.assert_array_equal(x, [0, 200])
    np.testing.assert_array_equal(y, [1, 5])


def test_a_metric_may_have_its_name_of_result_pkl():
    short = extract_curve(ROWS, "eval_episode_reward")
    np.testing.assert_array_equal(
        short, extract_curve(ROWS, "avg episode reward - eval")
    )


def test_x_may_be_iterations_or_hours():
    np.testing.assert_array_equal(extract_curve(ROWS, "loss", "itr")[0], [1])
    np.testing.assert_allclose(extract_curve(ROWS, "loss", "time")[0], [0.01])


def test_runs_without_env_steps_count_epochs():
    rows = [{"step": 1, "time": 0.0, "loss - train": 2.0}]
    assert not has_env_steps(rows)
    np.testing.assert_array_equal(extract_curve(rows, "loss - train"), ([1], [2]))


def test_the_number_of_episodes_itself_may_be_zero():
    _, y = extract_curve(ROWS, "num episode - eval")
    np.testing.assert_array_equal(y, [4, 0])


def test_a_metric_that_does_not_occur_has_no_points():
    x, y = extract_curve(ROWS, "nothing")
    assert x.shape == y.shape == (0,)


# -- result.pkl -------------------------------------------------------------------

RESULTS = [
    {"itr": 0, "step": 0, "time": 2.0, "eval_success_rate": 0.5, "eval_best_reward": 3},
    {"itr": 1, "step": 100},
    {"itr": 2, "step": 200, "time": 4.0, "train_episode_reward": 7.0},
]


def test_rows_of_result_pkl_get_the_names_of_metrics_jsonl():
    rows = rows_of_results(RESULTS)
    assert rows[0]["success rate - eval"] == 0.5
    assert rows[0]["avg best reward - eval"] == 3
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert [row["total env step"] for row in rows] == [0, 100, 200]
    assert [row["time"] for row in rows] == [2.0, 2.0, 6.0]
    np.testing.assert_array_equal(extract_curve(rows, "train_episode_reward")[0], [200])


def test_rows_without_an_iteration_are_refused():
    with pytest.raises(ValueError, match="must have itr"):
        rows_of_results([{"step": 1}])


def make_table(rows):
    table = ResultTable()
    for row in rows:
        table.append(row)
    return table


def test_result_pkl_is_a_list_of_dicts_of_plain_numbers(tmp_path):
    rows = [*RESULTS, {"itr": np.int64(3), "time": np.float32(0.5), "note": "x"}]
    make_table(rows).write(tmp_path / "result.pkl")
    read = pickle.loads((tmp_path / "result.pkl").read_bytes())
    assert read == rows
    assert list(read[0]) == list(rows[0])
    assert type(read[3]["itr"]) is int
    assert type(read[3]["time"]) is float


@pytest.mark.parametrize(
    "values", [[1, 2], [1.0, 2.0], [1, 2.5], [2.5, None], [True, 1], [1, "a"]]
)
def test_values_and_their_types_survive_the_state(values):
    rows = [{"itr": i, "a": value} for i, value in enumerate(values)]
    table = make_table(rows)
    assert table.to_list() == rows
    restored = ResultTable()
    restored.set_state(table.get_state())
    restored.append({"itr": 9})
    assert restored.to_list() == [*rows, {"itr": 9}]
    kinds = [type(row["a"]) for row in restored.to_list()[:-1]]
    assert kinds == [type(value) for value in values]


def test_state_is_made_of_vectors_and_is_a_copy():
    table = make_table(RESULTS)
    state = table.get_state()
    table.append({"itr": 3, "step": 300})
    assert state["rows"] == 3
    np.testing.assert_array_equal(state["columns"]["step"]["values"], [0, 100, 200])
    np.testing.assert_array_equal(state["columns"]["time"]["rows"], [0, 2])


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "result.pkl"
    make_table(RESULTS).write(path)
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError)):
        make_table([{"a": lambda: None}]).write(path)
    assert path.read_bytes() == before
    assert names(tmp_path) == ["result.pkl"]


# -- result.npz -------------------------------------------------------------------


def test_npz_holds_the_values(tmp_path):
    write_npz(tmp_path / "result.npz", {"num_episode": 3, "time": 1.5})
    with np.load(tmp_path / "result.npz", allow_pickle=False) as file:
        assert {name: file[name].item() for name in file.files} == {
            "num_episode": 3,
            "time": 1.5,
        }
    assert names(tmp_path) == ["result.npz"]


def test_npz_of_objects_is_refused(tmp_path):
    with pytest.raises(TypeError, match="bad must hold numbers or text"):
        write_npz(tmp_path / "result.npz", {"bad": None})
    assert names(tmp_path) == []


def test_npz_that_cannot_be_written_names_the_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"result\.npz"):
        write_npz(tmp_path / "file" / "result.npz", {"a": 1})
