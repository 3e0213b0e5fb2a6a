import logging

import numpy as np
import pytest

from agent.common.rollout import NonFiniteError
from agent.eval.eval_agent import EvalAgent
from tests.agent.fakes import scripted
from tests.agent.tiny import tiny_config
from util.metrics import read_metrics

TASK = (
    "obs_dim=1",
    "action_dim=1",
    "horizon_steps=2",
    "act_steps=2",
    "n_steps=4",
    "base_policy_path=none",
)


class StubEvalAgent(EvalAgent):
    """Does nothing, and notes whether it was to explore."""

    def build(self) -> None:
        self.explored = []

    def act(self, obs, explore):
        self.explored.append(explore)
        return np.zeros((self.venv.num_envs, 2, 1), np.float32), {}


def make_agent(tmp_path, *overrides, venv=None):
    cfg = tiny_config("eval", tmp_path, *TASK, *overrides)
    cfg.model = {"_target_": "tests.agent.fakes.StubModel"}
    return StubEvalAgent(cfg, venv or episodes())


def episodes():
    """Env 0: returns 3 and 3, then a tail; env 1: nothing ends."""
    rewards = [[1, 0], [2, 0], [3, 0], [9, 0]]
    return scripted(4, 2, rewards, terminated=[(1, 0)], truncated=[(2, 0)])


def test_base_class_leaves_the_policy_open(tmp_path):
    parent = super(StubEvalAgent, make_agent(tmp_path))
    with pytest.raises(NotImplementedError):
        parent.act({}, explore=False)


def test_result_has_the_keys_of_the_reference(tmp_path):
    returned = make_agent(tmp_path).run()
    with np.load(tmp_path / "result.npz") as file:
        result = {key: file[key].item() for key in file.files}
    assert (
        result.keys()
        == returned.keys()
        == {
            "num_episode",
            "eval_success_rate",
            "eval_episode_reward",
            "eval_best_reward",
            "time",
        }
    )
    assert result["num_episode"] == 2
    assert result["eval_episode_reward"] == 3.0
    assert result["eval_best_reward"] == 1.25
    assert result["eval_success_rate"] == 1.0
    assert result["time"] > 0


def test_evaluation_resets_once_and_does_not_explore(tmp_path):
    agent = make_agent(tmp_path)
    agent.run()
    assert agent.venv.resets_before_step == [0]
    assert agent.explored == [False] * 4
    assert agent.venv.closed


def test_numbers_are_logged_and_shown(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        make_agent(tmp_path).run()
    (row,) = read_metrics(tmp_path / "metrics.jsonl")
    assert row["eval_episode_reward"] == 3.0
    shown = caplog.text
    assert (
        "eval: num episode 2 | success rate 1.000 | avg episode reward 3.00 | "
        "avg best reward 1.250" in shown
    )


def test_no_finished_episode_is_said(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        result = make_agent(tmp_path, venv=scripted(4, 2)).run()
    assert result["num_episode"] == 0
    assert result["eval_episode_reward"] == 0.0
    assert "no episode finished in n_steps=4 chunks of 2 steps" in caplog.text
    assert "env.max_episode_steps=6" in caplog.text


def test_finished_episodes_need_no_warning(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        make_agent(tmp_path).run()
    assert "no episode" not in caplog.text


def test_broken_episodes_do_not_count(tmp_path):
    venv = scripted(
        4, 2, [[1, 0]] * 4, terminated=[(1, 0), (3, 0)], nan=[(0, 0), (2, 1)]
    )
    assert make_agent(tmp_path, venv=venv).run()["num_episode"] == 2


def test_nan_from_all_environments_stops_and_closes_them(tmp_path):
    agent = make_agent(tmp_path, venv=scripted(4, 2, nan=[(1, 0), (1, 1)]))
    with pytest.raises(NonFiniteError):
        agent.run()
    assert agent.venv.closed
    assert not (tmp_path / "result.npz").exists()


def test_videos_of_the_first_environments_are_asked_for(tmp_path):
    agent = make_agent(tmp_path, "env.save_video=true", "render_num=1")
    agent.run()
    path = tmp_path / "render" / "eval_trial-0.mp4"
    assert agent.venv.options == [[{"video_path": str(path)}, {}]]


def test_paths_are_drawn_if_there_is_a_plotter(tmp_path):
    venv = episodes()
    venv.frames = {(k, e): np.zeros((2, 2)) for k in range(4) for e in range(2)}
    venv.tables["reset_obs"] = np.zeros((9, 2, 1, 2))
    options = (
        "env.save_full_observations=true",
        "env.wrappers.multi_step.pass_full_observations=true",
        "render_num=2",
        "plotter._target_=env.plot_traj.TrajPlotter",
        "plotter.env_type=avoid",
    )
    make_agent(tmp_path, *options, venv=venv).run()
    (picture,) = (tmp_path / "render").iterdir()
    assert picture.name == "traj-0.png"


def test_more_videos_than_environments_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"render_num must be <= env\.n_envs=2, got 3"):
        make_agent(tmp_path, "env.save_video=true", "render_num=3")


def test_no_steps_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"n_steps must be >= 1, got 0\."):
        make_agent(tmp_path, "n_steps=0")


def test_chunk_longer_than_its_prediction_is_refused(tmp_path):
    with pytest.raises(ValueError, match="act_steps must be <= horizon_steps=2, got 3"):
        make_agent(tmp_path, "act_steps=3")
