import logging

import numpy as np
import pytest
import tensorflow as tf

from agent.common.episodes import summarise
from agent.common.rollout import Collector, NonFiniteError, RolloutPlan, to_tensors
from env.gym_utils.state import StateNotSupported
from tests.agent.fakes import make_rollout, scripted


def act(obs):
    """Chunks of 3 steps, of which the fakes execute 2: observation, then 7s."""
    chunk = np.full((len(obs["state"]), 3, 1), 7.0)
    chunk[:, 0] = obs["state"][:, -1]
    return chunk, {"seen": obs["state"][:, 0, 0]}


def numbers(obs):
    return obs["state"][..., 0, 0].tolist()


def test_rollout_is_time_major():
    venv = scripted(3, 2, rewards=[[1, 2], [3, 4], [5, 6]])
    rollout = Collector(venv, 2).collect(RolloutPlan(3), act)
    assert numbers(rollout.obs) == [[1000, 1001], [10, 11], [20, 21]]
    assert rollout.obs["state"].shape == (3, 2, 1, 1)
    assert rollout.actions.shape == (3, 2, 2, 1)
    assert rollout.actions[1, 1].tolist() == [[11], [7]]
    assert rollout.extras["seen"].tolist() == [[1000, 1001], [10, 11], [20, 21]]
    assert rollout.rewards.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert rollout.rewards.dtype == np.float64
    assert numbers(rollout.last_obs) == [30, 31]
    assert not rollout.broken.any()
    np.testing.assert_array_equal(np.stack(venv.actions), rollout.actions)


def test_first_collection_resets_even_if_not_asked():
    venv = scripted(2, 2)
    rollout = Collector(venv, 2).collect(RolloutPlan(1, reset=False), act)
    assert venv.resets_before_step == [0]
    assert rollout.firsts[0].tolist() == [1, 1]


def test_collection_goes_on_where_the_last_one_ended():
    venv = scripted(4, 2, terminated=[(1, 0)])
    collector = Collector(venv, 2)
    collector.collect(RolloutPlan(2), act)
    second = collector.collect(RolloutPlan(2), act)
    assert venv.resets_before_step == [0]
    assert numbers(second.obs) == [[20, 21], [30, 31]]
    # Environment 0 was reset by itself at the end of the first rollout.
    assert second.firsts.tolist() == [[1, 0], [0, 0], [0, 0]]


def test_collection_of_no_steps_leaves_the_environments_alone():
    venv = scripted(4, 2)
    collector = Collector(venv, act_steps=2)
    rollout = collector.collect(RolloutPlan(0, reset=True), act=None)
    assert (venv.actions, venv.resets_before_step, collector.obs) == ([], [], {})
    assert rollout.rewards.shape == rollout.done.shape == rollout.broken.shape == (0, 2)
    assert summarise(rollout, act_steps=2, threshold=0.0).count == 0


def test_collection_that_resets_starts_new_episodes():
    venv = scripted(4, 2)
    collector = Collector(venv, 2)
    collector.collect(RolloutPlan(2, reset=True), act)
    second = collector.collect(RolloutPlan(2, reset=True), act)
    assert venv.resets_before_step == [0, 2]
    assert numbers(second.obs) == [[2000, 2001], [30, 31]]
    assert second.firsts[0].tolist() == [1, 1]


def test_each_environment_gets_its_reset_options():
    venv = scripted(2, 2)
    collector = Collector(venv, 2)
    collector.collect(RolloutPlan(1), act, options=[{"video_path": "a"}, {}])
    collector.collect(RolloutPlan(1, reset=True), act)
    assert venv.options == [[{"video_path": "a"}, {}], [{}, {}]]


def test_firsts_follow_both_kinds_of_ends():
    venv = scripted(3, 2, terminated=[(0, 0)], truncated=[(1, 1), (2, 0)])
    rollout = Collector(venv, 2).collect(RolloutPlan(3), act)
    assert rollout.firsts.tolist() == [[1, 1], [1, 0], [0, 1], [1, 0]]
    assert rollout.firsts.dtype == np.float64
    assert rollout.done.tolist() == [[True, False], [False, True], [True, False]]
    assert rollout.terminated.tolist() == [[True, False], [False] * 2, [False] * 2]


def test_next_obs_does_not_cross_a_truncation():
    venv = scripted(3, 2, terminated=[(0, 0)], truncated=[(1, 1), (2, 0)])
    rollout = Collector(venv, 2).collect(RolloutPlan(3), act)
    assert set(rollout.final_obs) == {(1, 1), (2, 0)}
    assert numbers(rollout.next_obs()) == [[10, 11], [20, -21], [-30, 31]]
    # What the policy saw next is the new episode's.
    assert numbers(rollout.obs) == [[1000, 1001], [10, 11], [20, 21]]
    assert numbers(rollout.last_obs) == [30, 31]


def test_collection_stops_after_enough_episodes():
    venv = scripted(6, 2, terminated=[(1, 0), (1, 1), (4, 0)])
    collector = Collector(venv, 2)
    assert len(collector.collect(RolloutPlan(6, max_episodes=2), act).rewards) == 2
    assert len(collector.collect(RolloutPlan(6, max_episodes=1), act).rewards) == 3
    assert len(collector.collect(RolloutPlan(1, max_episodes=1), act).rewards) == 1


# -- broken simulators ---------------------------------------------------------------


def test_environment_with_nan_is_reset_and_marked():
    venv = scripted(3, 2, rewards=[[1, 1], [2, 2], [3, 3]], nan=[(1, 1)])
    rollout = Collector(venv, 2).collect(RolloutPlan(3), act)
    assert venv.reset_ones == [1]
    assert rollout.broken.tolist() == [[False, False], [False, True], [False, False]]
    assert rollout.truncated.tolist() == rollout.broken.tolist()
    assert rollout.rewards.tolist() == [[1, 1], [2, 0], [3, 3]]
    # The episode ends on the last good observation; the policy never sees NaN.
    assert numbers(rollout.obs) == [[1000, 1001], [10, 11], [20, 1001]]
    assert numbers(rollout.next_obs()) == [[10, 11], [20, 11], [30, 31]]
    assert rollout.firsts.tolist() == [[1, 1], [0, 0], [0, 1], [0, 0]]


def test_broken_episode_does_not_count_as_terminated():
    venv = scripted(2, 2, nan=[(0, 1)], terminated=[(0, 1)])
    rollout = Collector(venv, 2).collect(RolloutPlan(1), act)
    assert not rollout.terminated.any()
    assert rollout.truncated.tolist() == [[False, True]]


@pytest.mark.parametrize("reward", [np.nan, np.inf])
def test_environment_with_a_reward_that_is_not_finite_is_broken(reward):
    venv = scripted(1, 2, rewards=[[reward, 1]])
    rollout = Collector(venv, 2).collect(RolloutPlan(1), act)
    assert rollout.broken.tolist() == [[True, False]]
    assert rollout.rewards.tolist() == [[0, 1]]
    assert venv.reset_ones == [0]


def test_environment_that_reset_itself_after_nan_is_broken():
    venv = scripted(1, 2)
    venv.says_nan = {(0, 0)}
    rollout = Collector(venv, 2).collect(RolloutPlan(1), act)
    assert rollout.broken.tolist() == [[True, False]]
    assert numbers(rollout.last_obs) == [1000, 11]


def test_nan_from_all_environments_is_an_error():
    venv = scripted(2, 2, nan=[(1, 0), (1, 1)])
    with pytest.raises(NonFiniteError, match="all environments returned NaN"):
        Collector(venv, 2).collect(RolloutPlan(2), act)


def test_nan_right_after_a_reset_is_an_error():
    venv = scripted(2, 2)
    venv.tables["reset_obs"][0] = np.nan
    with pytest.raises(NonFiniteError, match="right after a reset"):
        Collector(venv, 2).collect(RolloutPlan(2), act)


# -- frames --------------------------------------------------------------------------


def frame(step, env, count=2):
    return np.array([[100.0 * step + 10 * env + i] for i in range(count)])


def test_frames_are_all_observations_in_order():
    venv = scripted(2, 2)
    venv.frames = {(k, e): frame(k, e) for k in range(2) for e in range(2)}
    rollout = Collector(venv, 2).collect(RolloutPlan(2), act)
    assert rollout.frames.shape == (1 + 2 * 2, 2, 1)
    assert rollout.frames[:, 0, 0].tolist() == [1000, 0, 1, 100, 101]
    assert rollout.frames[:, 1, 0].tolist() == [1001, 10, 11, 110, 111]


def test_no_frames_if_a_chunk_stopped_early():
    venv = scripted(2, 2)
    venv.frames = {(k, e): frame(k, e) for k in range(2) for e in range(2)}
    venv.frames[0, 1] = frame(0, 1, count=1)
    assert Collector(venv, 2).collect(RolloutPlan(2), act).frames is None


def test_no_frames_if_an_environment_passes_none():
    venv = scripted(2, 2)
    venv.frames = {(k, 0): frame(k, 0) for k in range(2)}
    assert Collector(venv, 2).collect(RolloutPlan(2), act).frames is None


def test_no_frames_if_nobody_asks_for_them():
    venv = scripted(1, 1)
    venv.frames = {(0, 0): frame(0, 0)}
    collector = Collector(venv, 2, keep_frames=False)
    assert collector.collect(RolloutPlan(1), act).frames is None


# -- state and tensors ---------------------------------------------------------------


def test_restored_collector_goes_on_like_the_saved_one():
    ends = {"terminated": [(1, 1)], "truncated": [(2, 0)]}
    one = Collector(scripted(4, 2, **ends), 2)
    one.collect(RolloutPlan(2), act)
    other = Collector(scripted(4, 2, **ends), 2)
    other.set_state(one.get_state())
    expected = one.collect(RolloutPlan(2), act)
    found = other.collect(RolloutPlan(2), act)
    assert found.firsts.tolist() == expected.firsts.tolist()
    assert found.firsts[0].tolist() == [0, 1]
    assert numbers(found.obs) == numbers(expected.obs)


def test_environments_that_cannot_be_saved_are_reset_after_a_resume(caplog):
    def refuse():
        raise StateNotSupported("Walls cannot be saved; equal from the next reset.")

    venv = scripted(4, 2, terminated=[(1, 1)])
    venv.get_state = refuse
    collector = Collector(venv, 2)
    collector.collect(RolloutPlan(2), act)
    with caplog.at_level(logging.WARNING):
        states = [collector.get_state() for _ in range(3)]
    assert caplog.text.count("Walls cannot be saved") == 1
    other = Collector(scripted(4, 2), 2)
    other.set_state(states[-1])
    rollout = other.collect(RolloutPlan(1), act)
    assert rollout.firsts[0].tolist() == [1, 1]
    assert numbers(rollout.obs) == [[1000, 1001]]


def test_next_obs_of_a_rollout_without_truncation_is_the_shifted_one():
    rollout = make_rollout([[1], [1]], obs=[[5], [6]], last_obs=[7])
    assert numbers(rollout.next_obs()) == [[6], [7]]


def test_states_become_float32_and_images_stay_bytes():
    tensors = to_tensors(
        {"state": np.array([[0.1]]), "rgb": np.array([[255]], np.uint8)}
    )
    assert tensors["state"].dtype == tf.float32
    assert tensors["state"].numpy()[0, 0] == np.float32(0.1)
    assert tensors["rgb"].dtype == tf.uint8
