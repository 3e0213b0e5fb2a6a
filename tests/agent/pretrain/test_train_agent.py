import time

import numpy as np
import pytest
import tensorflow as tf

from agent.common.rollout import NonFiniteError
from agent.pretrain.train_agent import EMA, PreTrainAgent
from tests.agent.fakes import MeanAgent, MeanModel
from tests.agent.tiny import tiny_config
from util.checkpoint import is_complete, list_states, load_policy, load_state
from util.metrics import read_metrics

# 1 item for each row, as chunks have one step; the loss depends on the action alone.
TASK = ("obs_dim=1", "action_dim=1", "horizon_steps=1", "train.weight_decay=0")


def write_actions(path, actions):
    actions = np.array(actions, np.float32)
    np.savez(
        path,
        states=np.zeros((len(actions), 1), np.float32),
        actions=actions[:, None],
        traj_lengths=np.array([len(actions)]),
    )


def make_agent(tmp_path, *overrides, actions=(0.0, 1.0, 0.5, 0.0, 1.0), start=0.0):
    """An agent whose one weight is drawn to the mean of `actions`."""
    tmp_path.mkdir(exist_ok=True)
    write_actions(tmp_path / "train.npz", actions)
    path = f"train_dataset_path={tmp_path / 'train.npz'}"
    cfg = tiny_config("pretrain", tmp_path / "run", *TASK, path, *overrides)
    cfg.model = {"_target_": "tests.agent.fakes.MeanModel", "start": start}
    return MeanAgent(cfg)


def record(agent):
    """Calls of `run_step` and `run_block`: rows, EMA rates, weight, average."""
    calls = []

    def noted(function):
        def call(tensors, rows, taus, *rest):
            result = function(tensors, rows, taus, *rest)
            average = float(agent.ema.average.network.weight.numpy()[0, 0])
            calls.append((rows.numpy(), np.array(taus), agent.model.number, average))
            return result

        return call

    agent.run_step = noted(agent.run_step)
    agent.run_block = noted(agent.run_block)
    return calls


def test_base_class_leaves_the_loss_open(tmp_path):
    with pytest.raises(NotImplementedError):
        PreTrainAgent.loss(make_agent(tmp_path), None)


# -- epochs --------------------------------------------------------------------------


def test_epoch_visits_every_item_once_in_random_order(tmp_path, eager):
    agent = make_agent(tmp_path, "train.batch_size=2")
    calls = record(agent)
    agent.run_epoch()
    agent.run_epoch()
    sizes = [len(rows) for rows, *_ in calls]
    assert sizes == [2, 2, 1, 2, 2, 1]  # The last batch is smaller.
    rows = [rows for rows, *_ in calls]
    orders = [np.concatenate(rows[:3]), np.concatenate(rows[3:])]
    for order in orders:
        assert sorted(order) == [0, 1, 2, 3, 4]
    assert orders[0].tolist() != orders[1].tolist()


def test_batch_larger_than_the_data_is_one_batch(tmp_path, eager):
    agent = make_agent(tmp_path, "train.batch_size=50")
    calls = record(agent)
    agent.run_epoch()
    assert [len(rows) for rows, *_ in calls] == [5]


def test_loss_is_the_mean_over_batches(tmp_path, eager):
    # lr 0: the weight stays at 0, so a batch's loss is its mean squared action.
    options = ("train.learning_rate=0", "train.lr_scheduler.min_lr=0")
    agent = make_agent(tmp_path, *options, "train.batch_size=3")
    calls = record(agent)
    agent.run_epoch()
    squares = np.array([0, 1, 0.25, 0, 1])
    expected = np.mean([squares[rows].mean() for rows, *_ in calls])
    row = read_metrics(tmp_path / "run" / "metrics.jsonl")[0]
    assert row["loss - train"] == pytest.approx(expected, rel=1e-6)
    assert row["size - train"] == pytest.approx(2.5)


def test_weight_comes_to_the_mean(tmp_path, eager):
    agent = make_agent(
        tmp_path,
        "train.n_epochs=30",
        "train.learning_rate=0.05",
        "train.lr_scheduler.min_lr=0.01",
        "train.lr_scheduler.first_cycle_steps=100",
        "train.epoch_start_ema=1000",
    )
    agent.run()
    assert agent.model.number == pytest.approx(0.5, abs=0.1)


def test_first_epoch_has_the_least_learning_rate(tmp_path, eager):
    agent = make_agent(
        tmp_path, "train.learning_rate=0.1", "train.lr_scheduler.min_lr=0.01"
    )
    agent.run_epoch()
    # Adam's first step is as large as the rate.
    assert agent.model.number == pytest.approx(0.01, rel=1e-4)
    assert agent.learner.lr == pytest.approx(0.1)  # One epoch of warm-up.


def test_blocks_of_steps_are_the_single_steps(tmp_path):
    results = []
    for name, steps in (("single", 1), ("blocks", 3)):
        agent = make_agent(
            tmp_path / name,
            "train.batch_size=2",
            f"train.steps_per_call={steps}",
            "train.update_ema_freq=2",
            "train.epoch_start_ema=2",
            "train.n_epochs=2",
            actions=np.linspace(-1, 1, 15),
        )
        agent.run()
        metrics = read_metrics(tmp_path / name / "run" / "metrics.jsonl")
        counts = (
            agent.run_block.experimental_get_tracing_count(),
            agent.run_step.experimental_get_tracing_count(),
        )
        average = agent.ema.average.network.weight.numpy()[0, 0]
        losses = [row["loss - train"] for row in metrics]
        results.append((agent.model.number, float(average), *losses))
        # Of 8 batches: 7 blocks of one, or two of three and a single one; the last
        # batch is smaller and has a trace of its own.
        assert counts == {1: (1, 1), 3: (1, 2)}[steps]
        assert agent.cnt_batch == 16
    assert results[0] == pytest.approx(results[1], rel=1e-5)


# -- average -------------------------------------------------------------------------


def test_average_moves_towards_the_model():
    model = MeanModel(start=0.0)
    ema = EMA(model, decay=0.75)
    model.network.weight.assign([[1.0]])
    assert ema.average.number == 0.0
    ema.step(tf.constant(0.25))
    assert ema.average.number == 0.25
    ema.step(tf.constant(1.0))
    assert ema.average.number == 1.0


def test_average_is_a_copy_first_and_then_lags_behind(tmp_path, eager):
    agent = make_agent(
        tmp_path,
        "train.batch_size=1",
        "train.update_ema_freq=3",
        "train.epoch_start_ema=2",
        "ema.decay=0.9",
        actions=[1.0] * 5,
        start=-1.0,
    )
    calls = record(agent)
    agent.run_epoch()
    agent.run_epoch()
    expected, average = [], -1.0
    for batch, (_, _, weight, _) in enumerate(calls):
        if batch % 3 == 0:  # Batches 0 and 3 are in epoch 1; 6 and 9 in epoch 2.
            average = weight if batch < 5 else 0.9 * average + 0.1 * weight
        expected.append(average)
    assert [found for *_, found in calls] == pytest.approx(expected, rel=1e-5)
    assert agent.ema.average.number != pytest.approx(agent.model.number, rel=1e-4)


def test_average_starts_as_the_model(tmp_path):
    agent = make_agent(tmp_path, start=0.7)
    assert agent.ema.average.number == pytest.approx(0.7)


# -- validation ----------------------------------------------------------------------


def test_held_out_items_are_validated_and_not_trained_on(tmp_path, eager):
    agent = make_agent(
        tmp_path,
        "train.train_split=0.6",
        "train.val_freq=2",
        "train.batch_size=1",
        "train.learning_rate=0",
        "train.lr_scheduler.min_lr=0",
        actions=[0.1, 0.2, 0.3, 0.4, 0.5],
    )
    assert (len(agent.dataset), len(agent.validation)) == (3, 2)
    train = agent.dataset.as_arrays().actions.ravel()
    held_out = agent.validation.as_arrays().actions.ravel()
    assert sorted([*train, *held_out]) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    agent.run()
    first, second, third = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert "loss - val" not in first
    assert "loss - val" not in third
    assert second["loss - val"] == pytest.approx(np.mean(held_out**2), rel=1e-5)
    assert second["loss - train"] == pytest.approx(np.mean(train**2), rel=1e-5)


def test_validation_weights_its_smaller_last_batch(tmp_path, eager):
    agent = make_agent(
        tmp_path,
        "train.train_split=0.4",
        "train.val_freq=1",
        "train.batch_size=2",
        "train.learning_rate=0",
        "train.lr_scheduler.min_lr=0",
        "train.n_epochs=1",
    )
    held_out = agent.validation.as_arrays().actions.ravel()
    agent.run()
    row = read_metrics(tmp_path / "run" / "metrics.jsonl")[0]
    assert row["loss - val"] == pytest.approx(np.mean(held_out**2), rel=1e-5)


def test_no_validation_without_a_split(tmp_path):
    agent = make_agent(tmp_path)
    assert agent.validation is None
    assert len(agent.dataset) == 5


def test_split_that_leaves_no_item_is_refused(tmp_path):
    with pytest.raises(ValueError, match="train_split must be in"):
        make_agent(tmp_path, "train.train_split=0.1")


# -- checkpoints ---------------------------------------------------------------------


def test_states_are_saved_at_their_frequency_and_at_the_end(tmp_path, eager):
    make_agent(tmp_path).run()
    states = list_states(tmp_path / "run" / "checkpoint")
    assert [number for number, _ in states] == [2, 3]
    state, meta = load_state(states[0][1])
    assert (meta["kind"], meta["epoch"]) == ("pretrain", 2)
    assert {"model", "ema", "run"} == set(state)
    policy = load_policy(tmp_path / "run")
    assert policy.step == 3
    assert policy.ema is not None


def test_last_is_written_with_every_state_and_every_few_minutes(
    tmp_path, monkeypatch, eager
):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    agent = make_agent(tmp_path, "train.save_model_freq=4", "train.n_epochs=5")
    last, found = tmp_path / "run" / "checkpoint" / "last", []
    for minutes in (1, 1.9, 0.2, 0, 0):
        now[0] += 60 * minutes
        agent.run_epoch()
        found.append(load_state(last)[1]["epoch"] if last.exists() else None)
    assert found == [None, None, 3, 4, 5]


def test_resumed_run_equals_the_straight_one(tmp_path, eager):
    options = (
        "train.batch_size=2",
        "train.save_last_minutes=0",
        "train.epoch_start_ema=2",
    )
    straight = make_agent(tmp_path / "straight", *options)
    straight.run()
    make_agent(tmp_path / "halves", *options).run_epoch()
    folder = tmp_path / "halves" / "run"
    again = make_agent(tmp_path / "halves", *options, f"resume={folder}")
    again.run()
    assert again.model.number == straight.model.number
    assert again.ema.average.number == straight.ema.average.number
    assert again.cnt_batch == straight.cnt_batch == 9
    rows, expected = (
        read_metrics(path / "metrics.jsonl")
        for path in (folder, tmp_path / "straight" / "run")
    )
    for row, other in zip(rows, expected, strict=True):
        row.pop("time"), other.pop("time")
        assert row == other


def test_nan_loss_is_saved_aside_and_names_the_last_good_state(tmp_path, eager):
    agent = make_agent(tmp_path, "train.save_last_minutes=0")
    agent.run_epoch()
    agent.model.network.weight.assign([[np.nan]])
    with pytest.raises(NonFiniteError) as stop:
        agent.run()
    folder = tmp_path / "run" / "checkpoint"
    assert "epoch 2: loss is nan." in str(stop.value)
    assert str(folder / "nonfinite_2") in str(stop.value)
    assert str(folder / "last") in str(stop.value)
    assert is_complete(folder / "nonfinite_2")
    assert load_state(folder / "last")[1]["epoch"] == 1
    assert not (folder / "state_2").exists()


# -- reports and refusals ------------------------------------------------------------


def test_epochs_between_logs_are_not_reported(tmp_path, eager):
    make_agent(tmp_path, "train.log_freq=2").run()
    rows = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [2]


def test_console_shows_the_loss(tmp_path, eager, caplog):
    with caplog.at_level("INFO"):
        make_agent(tmp_path).run_epoch()
    assert "1: train loss " in caplog.text


@pytest.mark.parametrize("key", ["n_epochs", "batch_size", "save_model_freq"])
def test_sizes_below_1_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match=rf"train\.{key} must be >= 1, got 0"):
        make_agent(tmp_path, f"train.{key}=0")


def test_empty_blocks_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"steps_per_call must be >= 1, got 0\."):
        make_agent(tmp_path, "train.steps_per_call=0")
