import pickle

import numpy as np
import pytest

from agent.common.replay import ReplayBuffer
from tests.agent.fakes import StubReplayAgent, make_rollout, scripted
from tests.agent.tiny import tiny_config
from util.checkpoint import load_state
from util.config import compat_scope
from util.metrics import read_metrics

TASK = (
    "obs_dim=1",
    "action_dim=1",
    "horizon_steps=1",
    "act_steps=1",
    "train.gamma=0.5",
    "train.n_explore_steps=3",
    "train.val_freq=4",
    "train.n_eval_episode=2",
    "train.n_train_itr=7",
    "train.scale_reward_factor=10",
    "train.batch_size=1",
)


def make_agent(tmp_path, *overrides, venv=None, **keys):
    """Explores in iterations 0 to 2, learns from 4 on, evaluates in iteration 4."""
    cfg = tiny_config("sac", tmp_path, *TASK, *overrides)
    cfg.model = {"_target_": "tests.agent.fakes.StubModel"}
    cfg.merge_with(keys)
    return StubReplayAgent(cfg, venv or episodes_of_2())


def episodes_of_2(steps=40):
    """Both environments earn 1 and 2 a step and terminate every second step."""
    ends = [(k, e) for k in range(1, steps, 2) for e in range(2)]
    return scripted(steps, 2, [[1, 2]] * steps, terminated=ends, action_shape=(1, 1))


def test_base_class_leaves_the_algorithm_open(tmp_path):
    agent = make_agent(tmp_path)
    for method, arguments in (
        ("round_count", ()),
        ("round_noise", (True,)),
        ("round", ({}, {}, None)),
    ):
        with pytest.raises(NotImplementedError):
            getattr(agent, method)(*arguments)


# -- plans ---------------------------------------------------------------------------


def plan_at(tmp_path, itr, after_eval=False, overrides=(), **switches):
    agent = make_agent(tmp_path, *overrides)
    agent.itr, agent.last_itr_eval = itr, after_eval
    with compat_scope(switches):
        return agent.plan()


def test_exploration_is_random(tmp_path):
    plan = plan_at(tmp_path, 2)
    assert (plan.random, plan.learn, plan.reset) == (True, True, False)
    assert (plan.max_steps, plan.max_episodes) == (1, None)


def test_policy_acts_after_the_exploration(tmp_path):
    plan = plan_at(tmp_path, 3)
    assert (plan.random, plan.explore, plan.learn) == (False, True, True)


def test_first_iteration_resets_and_does_not_evaluate(tmp_path):
    plan = plan_at(tmp_path, 0)
    assert (plan.reset, plan.learn) == (True, True)


def test_evaluation_runs_until_enough_episodes_are_over(tmp_path):
    plan = plan_at(tmp_path, 4)
    assert (plan.reset, plan.learn, plan.explore) == (True, False, False)
    assert (plan.max_steps, plan.max_episodes) == (100_000, 2)


def test_no_evaluation_during_exploration(tmp_path):
    assert plan_at(tmp_path, 4, overrides=["train.n_explore_steps=4"]).learn


def test_training_after_an_evaluation_resets(tmp_path):
    assert plan_at(tmp_path, 5, after_eval=True).reset is True
    plan = plan_at(tmp_path, 5, after_eval=True, no_reset_after_eval=True)
    assert plan.reset is False


def test_reset_at_every_iteration(tmp_path):
    plan = plan_at(tmp_path, 2, overrides=["env.reset_at_iteration=true"])
    assert plan.reset is True


# -- buffer --------------------------------------------------------------------------


def test_training_fills_the_buffer_and_evaluation_does_not(tmp_path):
    agent, sizes = make_agent(tmp_path), []
    for _ in range(6):
        agent.iterate()
        sizes.append(len(agent.buffer))
    assert sizes == [2, 4, 6, 8, 8, 10]


def test_learning_starts_after_the_exploration(tmp_path):
    agent = make_agent(tmp_path)
    agent.run()
    assert agent.learned == [5, 6]  # Iteration 4 evaluates.


def test_last_holds_the_buffer_and_numbered_states_do_not(tmp_path):
    agent = make_agent(tmp_path)
    agent.run()
    saved = ReplayBuffer(100, tmp_path / "checkpoint" / "buffer")
    saved.set_state(load_state(agent.checkpoints.last)[0]["run"]["buffer"])
    np.testing.assert_equal(*(b.take(np.arange(10)) for b in (saved, agent.buffer)))
    assert "buffer" not in load_state(tmp_path / "checkpoint" / "state_6")[0]["run"]


def test_last_is_written_now_and_then_by_default(tmp_path):
    agent = make_agent(tmp_path)
    del agent.cfg.train.save_last_minutes
    agent.iterate()
    assert agent.save_last_minutes == 5.0
    assert not agent.checkpoints.last.exists()


# -- reports -------------------------------------------------------------------------


def rows_of(tmp_path):
    return read_metrics(tmp_path / "metrics.jsonl")


def test_returns_span_iterations_of_one_step(tmp_path):
    agent = make_agent(tmp_path)
    agent.run()
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == [4, 5, 6]
    # Six episodes of 2 and 4 are over before iteration 5; then two more end.
    assert rows[1]["num episode - train"] == 4
    assert rows[1]["avg episode reward - train"] == 3.0
    assert rows[2]["num episode - train"] == 2
    assert rows[2]["avg episode reward - train"] == 3.0


def test_evaluation_has_its_own_episodes(tmp_path):
    make_agent(tmp_path).run()
    evaluation = rows_of(tmp_path)[0]
    assert evaluation["num episode - eval"] == 2
    assert evaluation["avg episode reward - eval"] == 3.0
    assert evaluation["total env step"] == 8


def test_episode_that_an_evaluation_cuts_off_does_not_count(tmp_path):
    agent = make_agent(tmp_path, "train.n_explore_steps=2", "train.val_freq=3")
    # Iterations 0 to 2 end in the middle of an episode of return 1 and 2.
    for _ in range(4):
        agent.iterate()
    assert agent.returns.tolist() == [0, 0]


def test_episode_that_a_reset_cuts_off_does_not_count(tmp_path):
    venv = scripted(9, 2, [[1, 2]] * 9, terminated=[(2, 0)], action_shape=(1, 1))
    agent = make_agent(tmp_path, "env.reset_at_iteration=true", venv=venv)
    for _ in range(3):
        agent.iterate()
    assert agent.finished_returns == [1.0]


def test_result_has_rows_of_logged_iterations_only(tmp_path):
    make_agent(tmp_path).run()
    rows = pickle.loads((tmp_path / "result.pkl").read_bytes())
    assert [row["itr"] for row in rows] == [4, 5, 6]
    evaluation = {"eval_success_rate", "eval_episode_reward", "eval_best_reward"}
    assert set(rows[0]) == {"itr", "step", "time"} | evaluation
    assert set(rows[1]) == {"itr", "step", "time", "train_episode_reward"}


def test_iterations_are_logged_at_their_frequency(tmp_path):
    make_agent(tmp_path, "train.log_freq=5").run()
    assert [row["step"] for row in rows_of(tmp_path)] == [4, 5]


def test_iterations_of_one_step_report_no_episodes_as_in_the_reference(tmp_path):
    with compat_scope({"single_step_episode_statistics": True}):
        make_agent(tmp_path).run()
    training = [row for row in rows_of(tmp_path) if "num episode - train" in row]
    assert [row["num episode - train"] for row in training] == [0, 0]
    assert [row["avg episode reward - train"] for row in training] == [0.0, 0.0]


def test_metrics_of_the_last_update_are_kept_between_updates(tmp_path):
    agent = make_agent(tmp_path, "train.n_train_itr=6")
    agent.run()
    agent.should_update = lambda: False
    assert agent.update(make_rollout([[1, 2]])) == {"loss - critic": 1.0}


def test_broken_episodes_are_dropped_and_counted(tmp_path):
    ends = [(k, e) for k in range(1, 40, 2) for e in range(2)]
    venv = scripted(
        40, 2, [[1, 2]] * 40, terminated=ends, nan=[(1, 0)], action_shape=(1, 1)
    )
    make_agent(tmp_path, venv=venv).run()
    training = rows_of(tmp_path)[1:]
    assert [row["num broken episode"] for row in training] == [1, 1]
    # Of the four episodes before iteration 5, one of return 2 is lost.
    assert training[0]["num episode - train"] == 3
    assert training[0]["avg episode reward - train"] == pytest.approx(10 / 3)


def test_short_iterations_need_no_warning(tmp_path, caplog):
    make_agent(tmp_path).warn_about_length()
    assert caplog.text == ""


def test_resumed_run_leaves_what_a_straight_one_does(tmp_path):
    straight = make_agent(tmp_path / "straight")
    straight.run()
    halves = tmp_path / "halves"
    first = make_agent(halves)
    for _ in range(6):
        first.iterate()
    second = make_agent(halves, resume=str(halves))
    second.run()
    assert second.learned == [6]
    buffers = [b.take(np.arange(len(b))) for b in (second.buffer, straight.buffer)]
    np.testing.assert_equal(*buffers)
    for row, other in zip(rows_of(halves), rows_of(tmp_path / "straight"), strict=True):
        row.pop("time"), other.pop("time"), row.pop("loss - critic", 0)
        other.pop("loss - critic", 0)
        assert row == other
