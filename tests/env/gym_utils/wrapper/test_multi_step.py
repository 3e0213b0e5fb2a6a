import logging

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from env.gym_utils.wrapper.multi_step import (
    MultiStep,
    repeated_space,
    stack_last_n_obs,
)
from tests.env.gym_utils.points import assert_same, make_point


class Counter(gymnasium.Env):
    """Observes the step count; flags and rewards by step."""

    def __init__(self, terminate_at=None, truncate_at=None, rewards=None):
        self.observation_space = Dict({"state": Box(-np.inf, np.inf, (1,))})
        self.action_space = Box(-1, 1, (2,), seed=0)
        self.terminate_at, self.truncate_at = terminate_at, truncate_at
        self.rewards = rewards or {}
        self.n_steps = 0
        self.buffer = np.zeros(1)  # given away and written to again

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.options = options
        self.n_steps = 0
        self.buffer[:] = 0
        return {"state": self.buffer}, {"start": True}

    def step(self, action):
        self.n_steps += 1
        self.buffer[:] = self.n_steps
        reward = self.rewards.get(self.n_steps, float(self.n_steps))
        info = {"k": self.n_steps, "odd": [0] * (self.n_steps % 2)}
        terminated = self.n_steps == self.terminate_at
        truncated = self.n_steps == self.truncate_at
        return {"state": self.buffer}, reward, terminated, truncated, info


def make(n_action_steps=4, reset_within_step=True, env=None, **kwargs):
    env = MultiStep(
        env or Counter(),
        n_action_steps=n_action_steps,
        reset_within_step=reset_within_step,
        **kwargs,
    )
    env.reset(seed=0)
    return env


def chunk(n=4):
    return np.zeros((n, 2))


def test_spaces_have_the_leading_axes():
    env = make(n_obs_steps=3)
    assert env.action_space == Box(-1, 1, (4, 2))
    assert env.observation_space["state"].shape == (3, 1)


def test_the_first_observation_fills_the_history():
    obs, info = make(n_obs_steps=3).reset()
    assert_same(obs["state"], np.zeros((3, 1)))
    assert info == {"start": True}


def test_the_history_comes_from_every_env_step():
    obs, reward, terminated, truncated, info = make(n_obs_steps=3).step(chunk())
    assert_same(obs["state"], np.array([[2.0], [3.0], [4.0]]))
    assert reward == 1 + 2 + 3 + 4
    assert (terminated, truncated) == (False, False)
    assert info["k"].tolist() == [2, 3, 4]


def test_a_single_action_is_a_chunk():
    obs, reward, *_ = make().step(np.zeros(2))
    assert obs["state"].tolist() == [[1.0]]
    assert reward == 1


def test_a_chunk_stops_when_the_episode_ends():
    env = make(env=Counter(terminate_at=2))
    obs, reward, terminated, truncated, info = env.step(chunk())
    assert reward == 1 + 2
    assert (terminated, truncated) == (True, False)
    assert obs["state"].tolist() == [[0.0]]  # of the next episode
    assert info["k"].tolist() == [2]
    assert "final_obs" not in info
    assert env.step(chunk(1))[1] == 1


@pytest.mark.parametrize(
    "kwargs", [{"max_episode_steps": 3}, {"env": Counter(truncate_at=3)}]
)
def test_a_truncated_episode_gives_its_final_observation(kwargs):
    env = make(n_obs_steps=2, **kwargs)
    obs, reward, terminated, truncated, info = env.step(chunk())
    assert (terminated, truncated) == (False, True)
    assert reward == 1 + 2 + 3
    assert info["final_obs"]["state"].tolist() == [[2.0], [3.0]]
    assert obs["state"].tolist() == [[0.0], [0.0]]


def test_termination_at_the_limit_is_termination():
    env = make(env=Counter(terminate_at=3), max_episode_steps=3)
    _, _, terminated, truncated, info = env.step(chunk())
    assert (terminated, truncated) == (True, False)
    assert "final_obs" not in info


def test_without_reset_the_last_observation_stays():
    env = make(reset_within_step=False, max_episode_steps=2)
    obs, _, _, truncated, info = env.step(chunk())
    assert truncated
    assert obs["state"].tolist() == [[2.0]]
    assert "final_obs" not in info


def test_the_counter_counts_the_action_that_was_dropped():
    env = make(reset_within_step=False, env=Counter(terminate_at=2))
    env.step(chunk())
    assert env.cnt == 3


@pytest.mark.parametrize(
    ("method", "expected"), [("sum", 9), ("mean", 3), ("max", 5), ("min", 1)]
)
def test_rewards_are_aggregated(method, expected):
    rewards = {1: 3.0, 2: 5.0, 3: 1.0}
    env = make(3, env=Counter(rewards=rewards), reward_agg_method=method)
    assert env.step(chunk(3))[1] == expected


def test_all_observations_of_a_chunk_are_passed():
    env = make(pass_full_observations=True)
    info = env.step(chunk())[4]
    assert info["full_obs"]["state"].tolist() == [[1.0], [2.0], [3.0], [4.0]]


def test_an_early_stop_passes_one_observation_more():
    env = make(pass_full_observations=True, env=Counter(terminate_at=2))
    info = env.step(chunk())[4]
    assert info["full_obs"]["state"].tolist() == [[0.0], [1.0], [2.0]]


def test_previous_actions_are_the_last_executed():
    env = make(n_obs_steps=3)
    env.step(np.arange(8.0).reshape(4, 2))
    assert env.get_prev_action().tolist() == [[4.0, 5.0], [6.0, 7.0]]
    assert env.get_prev_action(1).tolist() == [[6.0, 7.0]]
    assert make().get_prev_action().shape == (0, 2)


def test_the_action_before_the_first_is_drawn_with_the_seed():
    env = make(n_obs_steps=2)
    first = env.get_prev_action()
    env.reset()
    assert (env.get_prev_action() != first).any()
    env.reset(options={"seed": 0})
    assert_same(env.get_prev_action(), first)


def test_previous_actions_can_be_left_out():
    env = make(prev_action=False)
    assert env.step(chunk())[1] == 10
    with pytest.raises(ValueError, match="prev_action must be True"):
        env.get_prev_action()


def test_options_reach_the_environment():
    env = make()
    env.reset(options={"video_path": "x"})
    assert env.unwrapped.options == {"video_path": "x"}


def test_infos_of_different_shapes_are_objects():
    info = make(n_obs_steps=2).step(chunk(2))[4]
    assert info["odd"].dtype == object
    assert info["odd"].tolist() == [[0], []]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_non_finite_reward_ends_the_chunk_and_is_marked(value):
    env = make(env=Counter(rewards={2: value}))
    info = env.step(chunk())[4]
    assert info["nan"] is True
    assert env.unwrapped.n_steps == 2
    env.reset()
    assert "nan" not in env.step(chunk(1))[4]


def test_a_non_finite_observation_ends_the_chunk_and_is_marked():
    env = make_point({"n_action_steps": 5}, nan_after=2)
    env.reset(seed=0)
    obs, _, terminated, truncated, info = env.step(np.zeros((5, 2)))
    assert info["nan"] is True
    assert np.isnan(obs["state"][-1]).all()
    assert env.unwrapped.n_steps == 3
    assert not terminated
    assert not truncated


def test_verbose_logs_the_end_of_an_episode(caplog):
    with caplog.at_level(logging.INFO):
        make(max_episode_steps=3, verbose=True).step(chunk(3))
    assert "Episode of 3 env steps: terminated=False, truncated=True." in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_obs_steps": 0}, "n_obs_steps must be >= 1, got 0"),
        ({"n_action_steps": -1}, "n_action_steps must be >= 1, got -1"),
        ({"max_episode_steps": 0}, "max_episode_steps must be >= 1, got 0"),
        ({"reward_agg_method": "total"}, "must be one of sum, mean, max, min"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        MultiStep(Counter(), **arguments)


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="n_steps"):
        MultiStep(Counter(), n_steps=3)


def test_an_empty_chunk_is_refused():
    with pytest.raises(ValueError, match="at least one action"):
        make().step(chunk(0))


def test_repeated_space_takes_boxes_only():
    space = repeated_space(Dict({"rgb": Box(0, 255, (3, 2), np.uint8)}), 5)
    assert space["rgb"].shape == (5, 3, 2)
    assert space["rgb"].dtype == np.uint8
    with pytest.raises(TypeError, match="must be a Box or a Dict of boxes"):
        repeated_space(Discrete(3), 2)


def test_stacking_has_the_dtype_of_the_newest_entry():
    history = [np.zeros(2, np.float64), np.ones(2, np.float32)]
    stacked = stack_last_n_obs(history, 3)
    assert stacked.dtype == np.float32
    assert stacked.tolist() == [[0, 0], [0, 0], [1, 1]]
    assert stack_last_n_obs(history, 1).tolist() == [[1, 1]]


def test_infos_that_cannot_be_saved_are_left_out_of_the_state():
    env = make()
    env.step(chunk())
    state = env.get_state()
    assert state["cnt"] == 4
    assert state["infos"] == {"k": [3, 4]}
