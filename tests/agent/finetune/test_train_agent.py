import logging
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from agent.common.rollout import NonFiniteError, RolloutPlan
from tests.agent.fakes import StubAgent, scripted
from tests.agent.tiny import tiny_config
from util.checkpoint import is_complete, list_states, load_state
from util.config import compat_scope
from util.metrics import read_metrics

TASK = (
    *("obs_dim=1", "action_dim=1", "horizon_steps=2", "act_steps=2"),
    *("env.max_episode_steps=4", "train.n_steps=2", "train.n_train_itr=4"),
)


def make_agent(tmp_path, *overrides, venv=None, **keys):
    """An agent on a scripted environment; evaluates in iterations 0 and 2."""
    cfg = tiny_config("ppo", tmp_path, *TASK, *overrides)
    cfg.model = {"_target_": "tests.agent.fakes.StubModel"}
    cfg.merge_with(keys)
    return StubAgent(cfg, venv or scripted(20, 2))


def result_rows(folder):
    return pickle.loads((folder / "result.pkl").read_bytes())


def test_base_class_leaves_the_algorithm_open(tmp_path):
    agent = make_agent(tmp_path)
    parent = super(StubAgent, agent)
    with pytest.raises(NotImplementedError):
        parent.build()
    with pytest.raises(NotImplementedError):
        parent.act({}, explore=True)
    with pytest.raises(NotImplementedError):
        parent.update(None)


@pytest.mark.parametrize("key", ["n_steps", "val_freq", "log_freq", "render.freq"])
def test_frequencies_of_zero_are_refused(tmp_path, key):
    with pytest.raises(ValueError, match=rf"train\.{key} must be >= 1, got 0\."):
        make_agent(tmp_path, f"train.{key}=0")


# -- plans ---------------------------------------------------------------------------


def plan_at(tmp_path, itr, after_eval=False, overrides=(), **switches):
    agent = make_agent(tmp_path, *overrides)
    agent.itr, agent.last_itr_eval = itr, after_eval
    with compat_scope(switches):
        plan = agent.plan()
    assert plan.max_steps == 2
    assert plan.max_episodes is None
    assert plan.random is False
    return ("learn" if plan.learn else "evaluate", plan.reset, plan.explore)


@pytest.mark.parametrize("itr", [0, 2, 4])
def test_evaluation_starts_with_a_reset_and_does_not_explore(tmp_path, itr):
    assert plan_at(tmp_path, itr) == ("evaluate", True, False)


def test_training_goes_on_with_its_episodes(tmp_path):
    assert plan_at(tmp_path, 3) == ("learn", False, True)


def test_training_after_an_evaluation_resets(tmp_path):
    assert plan_at(tmp_path, 1, after_eval=True) == ("learn", True, True)


def test_training_after_an_evaluation_goes_on_as_in_the_reference(tmp_path):
    plan = plan_at(tmp_path, 1, after_eval=True, no_reset_after_eval=True)
    assert plan == ("learn", False, True)


def test_reset_at_every_iteration(tmp_path):
    resets = ["env.reset_at_iteration=true"]
    assert plan_at(tmp_path, 3, overrides=resets) == ("learn", True, True)


def test_reset_at_every_iteration_is_the_default(tmp_path):
    agent = make_agent(tmp_path)
    del agent.cfg.env.reset_at_iteration
    assert StubAgent(agent.cfg, agent.venv).reset_at_iteration is True


def test_forced_training_never_evaluates(tmp_path):
    forced = ["train.force_train=true"]
    assert plan_at(tmp_path, 2, overrides=forced) == ("learn", False, True)


def test_forced_training_resets_before_its_first_rollout(tmp_path):
    agent = make_agent(tmp_path, "train.force_train=true", "train.n_train_itr=1")
    agent.run()
    assert agent.venv.resets_before_step == [0]
    assert len(agent.rollouts) == 1


def test_plans_of_a_run(tmp_path):
    agent = make_agent(tmp_path)
    agent.run()
    # Two steps each: evaluation, training after it, evaluation, training after it.
    assert agent.venv.resets_before_step == [0, 2, 4, 6]
    assert agent.explored == [False] * 2 + [True] * 2 + [False] * 2 + [True] * 2


def test_evaluation_may_run_on_into_training_as_in_the_reference(tmp_path):
    agent = make_agent(tmp_path)
    with compat_scope({"no_reset_after_eval": True}):
        agent.run()
    assert agent.venv.resets_before_step == [0, 4]


def test_random_actions_are_within_bounds(tmp_path):
    agent = make_agent(tmp_path)
    actions, extras = agent.act_randomly({})
    assert extras == {}
    assert actions.shape == (2, 2, 1)
    assert actions.dtype == np.float32
    assert (np.abs(actions) <= 1).all()
    assert len(np.unique(actions)) == 4


def test_random_plan_does_not_ask_the_policy(tmp_path, monkeypatch):
    agent = make_agent(tmp_path, "train.n_train_itr=2")
    monkeypatch.setattr(agent, "plan", lambda: RolloutPlan(2, random=True))
    agent.run()
    assert agent.explored == []


# -- numbers -------------------------------------------------------------------------


def run_of_4(tmp_path, *overrides, **keys):
    """Every step has reward 1 and 2; env 0 ends every second step, env 1 never."""
    venv = scripted(
        8, 2, rewards=[[1, 2]] * 8, terminated=[(k, 0) for k in (1, 3, 5, 7)]
    )
    agent = make_agent(tmp_path, *overrides, venv=venv, **keys)
    agent.run()
    return agent


def test_result_has_a_row_for_each_iteration(tmp_path):
    run_of_4(tmp_path)
    rows = result_rows(tmp_path)
    # Only training counts: 2 environments * 2 chunks * 2 env steps.
    assert [row["itr"] for row in rows] == [0, 1, 2, 3]
    assert [row["step"] for row in rows] == [0, 8, 8, 16]
    training = {"itr", "step", "time", "train_episode_reward"}
    evaluation = {"eval_success_rate", "eval_episode_reward", "eval_best_reward"}
    assert set(rows[1]) == training
    assert set(rows[2]) == {"itr", "step", "time"} | evaluation
    assert rows[2]["eval_episode_reward"] == 2.0
    assert rows[2]["eval_best_reward"] == 0.5
    assert rows[2]["eval_success_rate"] == 1.0


def test_metrics_have_the_names_of_the_reference(tmp_path):
    run_of_4(tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    evaluation, training = rows[2], rows[3]
    evaluation.pop("time"), training.pop("time")
    assert evaluation == {
        "step": 2,
        "total env step": 8,
        "success rate - eval": 1.0,
        "avg episode reward - eval": 2.0,
        "avg best reward - eval": 0.5,
        "num episode - eval": 1,
    }
    assert training == {
        "step": 3,
        "total env step": 16,
        "loss": 0.5,
        "avg episode reward - train": 2.0,
        "num episode - train": 1,
    }


def test_console_shows_training_and_evaluation(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        run_of_4(tmp_path)
    lines = caplog.text
    assert "2: eval: success rate  1.000 | avg episode reward      2.00" in lines
    assert "3: step       16 | loss   0.5000 | reward     2.00" in lines


def test_iterations_between_logs_leave_only_their_number(tmp_path):
    run_of_4(tmp_path, "train.log_freq=10", "train.val_freq=3")
    rows = result_rows(tmp_path)
    assert [set(row) for row in rows[1:3]] == [{"itr", "step"}] * 2
    logged = [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert logged == [0, 3]  # Evaluations are always logged.


def test_evaluation_without_a_finished_episode_is_said(tmp_path, caplog):
    agent = make_agent(tmp_path, "train.n_train_itr=1")
    with caplog.at_level(logging.WARNING):
        agent.run()
    assert "itr 0: no episode finished; rewards are 0." in caplog.text


@pytest.mark.parametrize(
    ("longest", "said"), [("6", True), ("4", False), ("null", False)]
)
def test_iterations_shorter_than_an_episode_are_said(tmp_path, caplog, longest, said):
    agent = make_agent(tmp_path, f"env.max_episode_steps={longest}")
    with caplog.at_level(logging.WARNING):
        agent.warn_about_length()
    expected = (
        "train.n_steps=2 chunks of 2 steps are shorter than an episode "
        "(env.max_episode_steps=6): evaluations may finish none. Use "
        "train.n_steps>=3."
    )
    assert (expected in caplog.text) is said


# -- what is not finite --------------------------------------------------------------


def test_broken_episodes_are_dropped_and_counted(tmp_path):
    ends = [(k, e) for k in range(8) for e in range(2)]
    rewards = np.arange(16.0).reshape(8, 2)
    venv = scripted(8, 2, rewards, terminated=ends, nan=[(2, 0), (6, 1)])
    agent = make_agent(tmp_path, venv=venv)
    agent.run()
    rows = read_metrics(tmp_path / "metrics.jsonl")
    trained = [row for row in rows if "loss" in row]
    assert [row["num broken episode"] for row in trained] == [1, 2]
    assert [row["num episode - train"] for row in trained] == [3, 3]
    # Iteration 1 has the steps 2 and 3, rewards 4, 5 and 6, 7; the 4 is lost.
    assert trained[0]["avg episode reward - train"] == 6.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_loss_that_is_not_finite_stops_the_run(tmp_path, value):
    agent = make_agent(tmp_path, "train.val_freq=10")
    agent.iterate()
    agent.iterate()
    agent.metrics = {"loss": 0.5, "value loss": value}
    with pytest.raises(NonFiniteError) as stop:
        agent.run()
    aside = tmp_path / "checkpoint" / "nonfinite_2"
    last = tmp_path / "checkpoint" / "last"
    assert f"iteration 2: value loss is {value}." in str(stop.value)
    assert f"The state is in {aside}" in str(stop.value)
    assert f"is {last}" in str(stop.value)
    assert f"resume={tmp_path}" in str(stop.value)
    assert is_complete(aside)
    assert load_state(last)[1]["itr"] == 2
    assert agent.venv.closed
    assert len(result_rows(tmp_path)) == 2


def test_failure_before_the_first_checkpoint_names_none(tmp_path):
    agent = make_agent(tmp_path, "train.force_train=true")
    agent.metrics = {"loss": np.nan}
    with pytest.raises(NonFiniteError) as stop:
        agent.run()
    assert str(tmp_path / "checkpoint" / "nonfinite_0") in str(stop.value)
    assert str(tmp_path / "checkpoint" / "last") not in str(stop.value)


def test_nan_of_other_metrics_is_let_through(tmp_path):
    agent = make_agent(tmp_path, "train.n_train_itr=2")
    agent.metrics = {"loss": 0.5, "explained variance": np.nan}
    agent.run()
    row = read_metrics(tmp_path / "metrics.jsonl")[1]
    assert np.isnan(row["explained variance"])


def test_nan_from_all_environments_stops_the_run(tmp_path):
    venv = scripted(8, 2, nan=[(3, 0), (3, 1)])
    agent = make_agent(tmp_path, venv=venv)
    with pytest.raises(NonFiniteError, match="iteration 1: all environments returned"):
        agent.run()
    assert is_complete(tmp_path / "checkpoint" / "nonfinite_1")
    assert load_state(tmp_path / "checkpoint" / "last")[1]["itr"] == 1


# -- checkpoints ---------------------------------------------------------------------


def test_states_are_saved_first_last_and_in_between(tmp_path):
    make_agent(tmp_path, "train.save_model_freq=2").run()
    states = list_states(tmp_path / "checkpoint")
    assert [number for number, _ in states] == [0, 2, 3]
    meta = load_state(states[1][1])[1]
    assert meta["kind"] == "finetune"
    assert meta["horizon_steps"] == 2
    assert load_state(tmp_path / "checkpoint" / "last")[1]["itr"] == 4


def test_last_is_written_after_every_iteration(tmp_path):
    agent = make_agent(tmp_path)
    for done in (1, 2, 3):
        agent.iterate()
        assert load_state(tmp_path / "checkpoint" / "last")[1]["itr"] == done


def test_last_may_be_written_less_often(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    agent = make_agent(tmp_path, "train.save_last_minutes=1")
    found = []
    for _ in range(4):
        now[0] += 31
        agent.iterate()
        last = tmp_path / "checkpoint" / "last"
        found.append(load_state(last)[1]["itr"] if last.exists() else None)
    assert found == [None, 2, 2, 4]


def test_resumed_run_leaves_what_a_straight_one_does(tmp_path):
    straight, halves = tmp_path / "straight", tmp_path / "halves"
    run_of_4(straight)
    first = make_agent(halves, venv=scripted(8, 2))
    first.venv.tables = run_of_4(tmp_path / "other").venv.tables
    for _ in range(2):
        first.iterate()
    second = make_agent(halves, resume=str(halves))
    second.venv.tables = first.venv.tables
    second.run()
    assert [rollout.rewards.tolist() for rollout in second.rollouts] == [[[1, 2]] * 2]

    def untimed(rows):
        return [{k: v for k, v in row.items() if k != "time"} for row in rows]

    assert untimed(result_rows(halves)) == untimed(result_rows(straight))
    assert untimed(read_metrics(halves / "metrics.jsonl")) == untimed(
        read_metrics(straight / "metrics.jsonl")
    )


def test_finished_run_does_nothing_when_resumed(tmp_path):
    run_of_4(tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    agent = make_agent(tmp_path, resume=str(tmp_path))
    agent.run()
    assert agent.itr == 4
    assert agent.rollouts == []
    assert (tmp_path / "metrics.jsonl").read_text() == before


# -- the rest ------------------------------------------------------------------------


def test_environments_and_files_are_closed_when_a_run_fails(tmp_path, monkeypatch):
    agent = make_agent(tmp_path)
    monkeypatch.setattr(agent, "act", lambda obs, explore: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        agent.run()
    assert agent.venv.closed


def test_videos_are_asked_for_at_the_render_frequency(tmp_path):
    agent = make_agent(
        tmp_path,
        "env.save_video=true",
        "env.reset_at_iteration=true",
        "train.render.num=1",
        "train.render.freq=2",
    )
    agent.run()
    names = [options[0].get("video_path", "none") for options in agent.venv.options]
    assert [Path(name).name for name in names] == [
        "itr-0_trial-0.mp4",
        "none",
        "itr-2_trial-0.mp4",
        "none",
    ]
    assert Path(names[0]).parent == tmp_path / "render"
    assert all(options[1] == {} for options in agent.venv.options)


def test_more_videos_than_environments_are_refused(tmp_path):
    message = r"render\.num must be <= env\.n_envs=2, got 3"
    with pytest.raises(ValueError, match=message):
        make_agent(tmp_path, "train.render.num=3")


def test_videos_of_no_environment_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"save_video needs train\.render\.num >= 1"):
        make_agent(tmp_path, "env.save_video=true")


def test_chunk_longer_than_its_prediction_is_refused(tmp_path):
    with pytest.raises(ValueError, match="act_steps must be <= horizon_steps=2, got 3"):
        make_agent(tmp_path, "act_steps=3")
