import logging
import pickle

import numpy as np
import pytest

from agent.common.trajectories import TrajectoryPlots, trajectory_arrays
from tests.agent.fakes import StubAgent, make_rollout, scripted
from tests.agent.tiny import tiny_config
from util.checkpoint import load_state
from util.seeding import Seeds

TASK = (
    *("obs_dim=1", "action_dim=1", "horizon_steps=2", "act_steps=2"),
    *("env.max_episode_steps=4", "train.n_steps=2", "train.n_train_itr=4"),
)
PASSES = "env.wrappers.multi_step.pass_full_observations=true"
FRAMES = ("env.save_full_observations=true", PASSES)
PLOTTER = "train.plotter._target_=tests.agent.common.test_trajectories.Recorder"


class Recorder:
    """A plotter that remembers what it is given."""

    calls: list

    def __call__(self, **given):
        self.calls.append(given)


@pytest.fixture(autouse=True)
def calls(monkeypatch):
    """What plotters of a test were given."""
    monkeypatch.setattr(Recorder, "calls", [], raising=False)
    return Recorder.calls


def make_config(tmp_path, *overrides):
    cfg = tiny_config("ppo", tmp_path, *TASK, *overrides)
    cfg.model = {"_target_": "tests.agent.fakes.StubModel"}
    return cfg


def make_agent(tmp_path, *overrides):
    """Evaluates in iterations 0 and 2; frame k of chunk s, env e: 100 s + 10 e + k."""
    venv = scripted(8, 2, rewards=np.arange(16.0).reshape(8, 2))
    venv.frames = {
        (step, env): np.array([[100.0 * step + 10 * env + k] for k in range(2)])
        for step in range(8)
        for env in range(2)
    }
    return StubAgent(make_config(tmp_path, *overrides), venv)


def result_rows(folder):
    return pickle.loads((folder / "result.pkl").read_bytes())


# -- pictures --------------------------------------------------------------------------


def test_plotter_gets_all_observations_of_training_and_evaluation(tmp_path, calls):
    make_agent(tmp_path, *FRAMES, PLOTTER, "train.render.num=1").run()
    assert [call["itr"] for call in calls] == [0, 1, 2, 3]
    frames = [call["obs_full_trajs"] for call in calls]
    assert frames[1][:, 1, 0].tolist() == [2001, 210, 211, 310, 311]
    assert {call["n_render"] for call in calls} == {1}
    assert {call["max_episode_steps"] for call in calls} == {4}
    assert {call["render_dir"] for call in calls} == {tmp_path / "render"}


def test_pictures_follow_the_render_frequency(tmp_path, calls):
    options = ("train.render.num=2", "train.render.freq=3")
    make_agent(tmp_path, *FRAMES, PLOTTER, *options).run()
    assert [call["itr"] for call in calls] == [0, 3]


@pytest.mark.parametrize("options", [(PLOTTER,), ("train.render.num=2",)])
def test_nothing_is_drawn_without_plotter_or_number(tmp_path, calls, options):
    make_agent(tmp_path, *FRAMES, *options).run()
    assert calls == []


def test_choice_of_paths_is_part_of_a_checkpoint(tmp_path, calls):
    agent = make_agent(tmp_path, *FRAMES, PLOTTER, "train.render.num=1")
    agent.iterate()
    calls[0]["rng"].random()
    agent.iterate()
    state, _ = load_state(tmp_path / "checkpoint" / "last")
    drawn = calls[0]["rng"].random()
    seeds = Seeds(5)
    seeds.set_state(state["run"]["seeds"])
    assert seeds.numpy("plotter").random() == drawn


def test_missing_observations_are_said(tmp_path, calls, caplog):
    agent = make_agent(tmp_path, *FRAMES, PLOTTER, "train.render.num=1")
    agent.venv.frames[1, 0] = np.zeros((1, 1))
    with caplog.at_level(logging.WARNING):
        agent.run()
    assert [call["itr"] for call in calls] == [1, 2, 3]
    assert "itr 0: train.plotter draws nothing" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((PLOTTER, PASSES), "train.plotter draws all observations, so env.save_full"),
        ((FRAMES[0],), r"save_full_observations=true needs .*pass_full_observations="),
    ],
)
def test_plotter_without_observations_is_refused(tmp_path, options, message):
    cfg = make_config(tmp_path, *options)
    with pytest.raises(ValueError, match=message):
        TrajectoryPlots(cfg, "train.plotter", Seeds(0), tmp_path)


# -- result.pkl ------------------------------------------------------------------------


def test_rows_hold_the_rollout_of_each_iteration(tmp_path):
    make_agent(tmp_path, *FRAMES, "train.save_trajs=true", "train.log_freq=9").run()
    rows = result_rows(tmp_path)
    names = {"obs_full_trajs", "obs_trajs", "action_trajs", "reward_trajs"}
    assert [names <= row.keys() for row in rows] == [True] * 4
    assert rows[1]["obs_full_trajs"].shape == (1 + 2 * 2, 2, 1)
    assert rows[1]["obs_trajs"]["state"][..., 0, 0].tolist() == [[2000, 2001], [30, 31]]
    assert rows[1]["reward_trajs"].tolist() == [[4, 5], [6, 7]]
    assert rows[1]["action_trajs"].shape == (2, 2, 2, 1)


def test_rows_of_a_resumed_run_hold_all_rollouts(tmp_path):
    options = ("train.save_trajs=true",)
    make_agent(tmp_path / "straight", *options).run()
    first = make_agent(tmp_path / "halves", *options)
    for _ in range(2):
        first.iterate()
    make_agent(tmp_path / "halves", *options, f"resume={tmp_path / 'halves'}").run()
    straight, halves = (result_rows(tmp_path / n) for n in ("straight", "halves"))
    for one, other in zip(straight, halves, strict=True):
        assert "obs_full_trajs" not in one
        np.testing.assert_array_equal(one["reward_trajs"], other["reward_trajs"])
        state = one["obs_trajs"]["state"]
        np.testing.assert_array_equal(state, other["obs_trajs"]["state"])


def test_rows_have_no_arrays_unless_asked_for(tmp_path):
    make_agent(tmp_path, *FRAMES).run()
    assert not any("trajs" in key for row in result_rows(tmp_path) for key in row)


def test_arrays_of_diffusion_and_gaussian_policies():
    rollout = make_rollout([[1.0, 2.0]])
    rollout.extras = {"chains": np.ones((1, 2, 3, 1, 1)), "logprobs": np.ones((1, 2))}
    arrays = trajectory_arrays(rollout)
    assert set(arrays) == {"obs_trajs", "action_trajs", "chains_trajs", "reward_trajs"}
    np.testing.assert_array_equal(arrays["action_trajs"], rollout.actions)
    rollout.extras = {"samples": np.ones((1, 2, 4, 1))}
    arrays = trajectory_arrays(rollout)
    assert set(arrays) == {"obs_trajs", "action_trajs", "reward_trajs"}
    assert arrays["action_trajs"].shape == (1, 2, 4, 1)
