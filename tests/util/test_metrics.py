from __future__ import annotations

import json
import math
import os
import pickle

import numpy as np
import pytest

from util import metrics
from util.checkpoint import load_state, save_state
from util.metrics import MetricsLogger
from util.metrics_files import read_metrics


def make(folder, total=10, **options):
    arguments = {"config": {}, "wandb": None, "tensorboard": False, **options}
    return MetricsLogger(folder, "hopper", total=total, **arguments)


def iterate(logger, itr):
    """What an agent reports of an iteration; every third is an evaluation."""
    row = {"itr": itr, "step": 100 * itr}
    if itr % 3 == 0:
        row |= {"time": 0.5, "eval_episode_reward": 2.0 * itr}
        reward = {"avg episode reward - eval": 2.0 * itr, "num episode - eval": 4}
        logger.log(itr, {"total env step": 100 * itr, **reward}, commit=False)
    else:
        row |= {"time": 0.5, "train_episode_reward": 1.0 * itr}
        reward = {"avg episode reward - train": 1.0 * itr}
        logger.log(itr, {"total env step": 100 * itr, "loss": 1 / itr, **reward})
    logger.record(row)
    logger.progress(itr + 1, step=100 * itr)


def results(folder):
    return pickle.loads((folder / "result.pkl").read_bytes())


def without_times(folder):
    rows = read_metrics(folder / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "time"} for row in rows]


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is moved."""
    now = [1000.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])
    return now


# -- numbers ----------------------------------------------------------------------


def test_nothing_is_in_the_folder_before_the_first_number(tmp_path):
    make(tmp_path / "run", tensorboard=True, wandb={"entity": "e"})
    assert list((tmp_path / "run").iterdir()) == []


def test_every_call_appends_a_line_at_once(tmp_path, clock):
    logger = make(tmp_path)
    clock[0] += 2.5
    logger.log(0, {"loss": np.float32(0.5)})
    text = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(text) == {"step": 0, "time": 2.5, "loss": 0.5}
    logger.log(np.int64(1), {"loss": math.nan})
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in rows] == [0, 1]
    assert rows[1]["nonfinite"] == ["loss"]


def test_a_value_that_is_no_number_is_refused_by_name(tmp_path):
    with pytest.raises(TypeError, match="loss must be one real number"):
        make(tmp_path).log(0, {"loss": np.zeros(3)})
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_gets_the_numbers(tmp_path):
    logger = make(tmp_path, tensorboard=True)
    logger.log(0, {"loss": 1.0})
    logger.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert b"loss" in file.read_bytes()


def test_wandb_gets_the_numbers(tmp_path, monkeypatch):
    sent = []

    class Sink(metrics.WandbSink):
        def log(self, step, scalars, commit):
            sent.append((self.options, self.config, step, scalars, commit))

    monkeypatch.setattr(metrics, "WandbSink", Sink)
    logger = make(tmp_path, wandb={"entity": "me"}, config={"a": 1})
    logger.log(3, {"loss": 1.0}, commit=False)
    assert sent == [({"entity": "me"}, {"a": 1}, 3, {"loss": 1.0}, False)]


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_folder_that_cannot_be_written_is_named_at_construction(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=f"logdir must be a folder.*{place} is not"):
        make(tmp_path / place)


def test_a_file_that_becomes_unwritable_is_named(tmp_path):
    logger = make(tmp_path, resume_step=0)
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(OSError, match=r"cannot write .*metrics\.jsonl"):
        logger.log(0, {"loss": 1.0})


# -- result.pkl -------------------------------------------------------------------


def test_result_pkl_is_that_of_the_reference(tmp_path):
    logger = make(tmp_path)
    for itr in range(3):
        iterate(logger, itr)
    logger.close()
    assert results(tmp_path) == [
        {"itr": 0, "step": 0, "time": 0.5, "eval_episode_reward": 0.0},
        {"itr": 1, "step": 100, "time": 0.5, "train_episode_reward": 1.0},
        {"itr": 2, "step": 200, "time": 0.5, "train_episode_reward": 2.0},
    ]


def test_result_pkl_is_written_once_a_minute_and_at_the_end(tmp_path, clock):
    logger = make(tmp_path)
    logger.record({"itr": 0})
    assert len(results(tmp_path)) == 1
    for itr in range(1, 130):
        clock[0] += 1
        logger.record({"itr": itr})
        assert len(results(tmp_path)) == 1 + 60 * (itr // 60)
    logger.close()
    assert len(results(tmp_path)) == 130


def test_a_slow_result_pkl_is_written_less_often(tmp_path, clock, monkeypatch):
    logger = make(tmp_path)
    write = metrics.ResultTable.write

    def write_slowly(table, path):
        write(table, path)
        clock[0] += 4

    monkeypatch.setattr(metrics.ResultTable, "write", write_slowly)
    logger.record({"itr": 0})
    clock[0] += 199
    logger.record({"itr": 1})
    assert len(results(tmp_path)) == 1
    clock[0] += 1
    logger.record({"itr": 2})
    assert len(results(tmp_path)) == 3


def test_npz_goes_into_the_folder(tmp_path):
    make(tmp_path).write_npz("result.npz", {"num_episode": 3, "time": 0.5})
    with np.load(tmp_path / "result.npz") as file:
        assert (file["num_episode"], file["time"]) == (3, 0.5)


# -- console ----------------------------------------------------------------------


def test_lines_go_to_the_console(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("util.progress.log.hasHandlers", lambda: False)
    make(tmp_path).console("3: train loss 0.5")
    assert capsys.readouterr().out == "3: train loss 0.5\n"


def test_progress_counts_in_the_unit(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("util.progress.log.hasHandlers", lambda: False)
    make(tmp_path, total=2, unit="epoch").progress(2, loss=0.25)
    out = capsys.readouterr().out
    assert out.startswith("[100%] 2/2 epoch | ")
    assert out.endswith("loss 0.25\n")


# -- resuming ---------------------------------------------------------------------


@pytest.mark.parametrize("same_process", [True, False])
def test_a_resumed_run_leaves_the_files_of_an_uninterrupted_one(tmp_path, same_process):
    straight = make(tmp_path / "straight")
    for itr in range(8):
        iterate(straight, itr)
    straight.close()

    folder = tmp_path / "resumed"
    logger = make(folder)
    for itr in range(7):
        if itr == 4:
            save_state(tmp_path / "last", {"metrics": logger.get_state()}, {})
        iterate(logger, itr)
    if not same_process:
        # Killed in the middle of a line.
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"step": 7, "lo')
        logger = make(folder)
    state, _ = load_state(tmp_path / "last")
    logger.set_state(state["metrics"])
    for itr in range(4, 8):
        iterate(logger, itr)
    logger.close()
    assert without_times(folder) == without_times(tmp_path / "straight")
    assert results(folder) == results(tmp_path / "straight")
    assert (folder / "curve.png").exists()


def test_a_checkpoint_before_the_first_number_can_be_resumed(tmp_path):
    state = make(tmp_path).get_state()
    iterate(make(tmp_path), 0)
    logger = make(tmp_path)
    logger.set_state(state)
    assert without_times(tmp_path) == []
    iterate(logger, 0)
    assert [row["step"] for row in without_times(tmp_path)] == [0]


def test_time_goes_on_without_the_pause(tmp_path, clock):
    logger = make(tmp_path)
    clock[0] += 10
    logger.log(0, {})
    state = logger.get_state()
    clock[0] += 1000
    resumed = make(tmp_path)
    resumed.set_state(state)
    clock[0] += 5
    resumed.log(1, {})
    assert [row["time"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [10, 15]
    assert resumed.elapsed() == 15


def test_wandb_run_goes_on_after_a_resume(tmp_path):
    logger = make(tmp_path, wandb={"entity": "e"})
    assert logger.get_state()["wandb_id"] is None
    state = logger.get_state() | {"wandb_id": "abc"}
    logger.set_state(state)
    assert logger.get_state()["wandb_id"] == "abc"


def test_missing_lines_are_told(tmp_path, caplog):
    logger = make(tmp_path)
    logger.set_state(make(tmp_path).get_state() | {"lines": 3})
    assert "has 0 of the 3 lines" in caplog.text


def test_resume_step_alone_continues_the_files(tmp_path):
    logger = make(tmp_path)
    for itr in range(6):
        iterate(logger, itr)
    logger.close()
    resumed = make(tmp_path, resume_step=2)
    iterate(resumed, 3)
    resumed.close()
    assert [row["step"] for row in without_times(tmp_path)] == [0, 1, 2, 3]
    assert [row["itr"] for row in results(tmp_path)] == [0, 1, 2, 3]


def test_a_new_run_in_a_used_folder_does_not_mix_with_the_old_one(tmp_path, caplog):
    first = make(tmp_path)
    for itr in range(3):
        iterate(first, itr)
    iterate(make(tmp_path), 0)
    assert [row["step"] for row in without_times(tmp_path)] == [0]
    assert len((tmp_path / "metrics.jsonl.old1").read_text().splitlines()) == 3
    assert "metrics.jsonl.old1" in caplog.text


# -- end --------------------------------------------------------------------------


@pytest.fixture
def plots(monkeypatch):
    """The arguments of what is drawn."""
    made = []

    def record(curves, path, **options):
        made.append(({curve.label: curve for curve in curves}, path, options))

    monkeypatch.setattr(metrics, "plot_curves", record)
    return made


def test_rewards_are_drawn_against_env_steps(tmp_path, plots):
    logger = make(tmp_path)
    for itr in range(5):
        iterate(logger, itr)
    logger.close()
    ((curves, path, options),) = plots
    assert path == tmp_path / "curve.png"
    np.testing.assert_array_equal(curves["evaluation"].x, [0, 300])
    np.testing.assert_array_equal(curves["evaluation"].y, [0, 6])
    np.testing.assert_array_equal(curves["training"].x, [100, 200, 400])
    assert options["xlabel"] == "env steps"
    assert options["ylabel"] == "episode reward"
    assert options["title"] == "hopper"


def test_losses_are_drawn_where_there_are_no_rewards(tmp_path, plots):
    logger = make(tmp_path, unit="epoch")
    for epoch in (1, 2, 3):
        scalars = {"loss - train": 1 / epoch, "entropy - train": 3.0}
        logger.log(epoch, scalars | ({"loss - val": 0.5} if epoch == 2 else {}))
    logger.close()
    ((curves, _, options),) = plots
    assert list(curves) == ["loss - train", "loss - val"]
    np.testing.assert_array_equal(curves["loss - val"].x, [2])
    assert (options["xlabel"], options["ylabel"]) == ("epoch", "loss")
    assert options["log_y"]


def test_a_run_without_numbers_has_no_curve(tmp_path):
    make(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_close_may_be_called_twice(tmp_path, plots):
    logger = make(tmp_path, tensorboard=True)
    iterate(logger, 0)
    logger.close()
    logger.close()
    assert len(plots) == 1


def test_close_does_not_replace_an_exception_on_its_way(tmp_path, caplog):
    logger = make(tmp_path)
    iterate(logger, 0)
    logger.record({"itr": 1})
    os.unlink(tmp_path / "result.pkl")
    (tmp_path / "result.pkl" / "full").mkdir(parents=True)

    def train():
        try:
            raise ZeroDivisionError("the training's own")
        finally:
            logger.close()

    with pytest.raises(ZeroDivisionError, match="the training's own"):
        train()
    assert "result.pkl" in caplog.text
    assert (tmp_path / "curve.png").exists()


def test_close_tells_wandb_whether_the_run_failed(tmp_path, monkeypatch):
    ended = []
    monkeypatch.setattr(
        metrics.WandbSink, "close", lambda s, failed: ended.append(failed)
    )
    make(tmp_path).close()
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        make(tmp_path).close()
    assert ended == [False, True]


def test_close_raises_if_results_cannot_be_written(tmp_path):
    logger = make(tmp_path)
    iterate(logger, 0)
    logger.record({"itr": 1})
    os.unlink(tmp_path / "result.pkl")
    (tmp_path / "result.pkl" / "full").mkdir(parents=True)
    with pytest.raises(OSError, match=r"cannot write .*result\.pkl"):
        logger.close()
    assert (tmp_path / "curve.png").exists()


def test_a_curve_that_cannot_be_drawn_is_only_told(tmp_path, monkeypatch, caplog):
    def fail(*args, **options):
        raise ImportError("no matplotlib")

    monkeypatch.setattr(metrics, "plot_curves", fail)
    logger = make(tmp_path)
    iterate(logger, 0)
    logger.close()
    assert "curve.png was not drawn: no matplotlib" in caplog.text
    assert results(tmp_path)[0]["itr"] == 0
