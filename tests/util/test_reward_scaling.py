from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.parity.util_cases import replay
from util.reward_scaling import (
    RunningMeanStd,
    RunningRewardScaler,
    backward_discounted_sum,
)

FOLDER = Path(__file__).parents[1] / "parity" / "rollout"
CASES = sorted(FOLDER.glob("reward_scaling*.npz"))
REWARD = np.array([[1.0, 0.0, 2.0], [0.5, 0.5, 0.0]])
FIRST = np.array([[1.0, 0.0, 1.0], [1.0, 0.0, 0.0]])


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_scaling_equals_the_recorded_one(path):
    arrays = dict(np.load(path))
    out = replay(json.loads(str(arrays["meta"])), arrays)
    assert set(out) == {name for name in arrays if name.startswith("out/")}
    for name, value in out.items():
        np.testing.assert_allclose(value, arrays[name], rtol=1e-13, err_msg=name)


def test_the_recorded_cases_are_here():
    assert [path.stem for path in CASES] == ["reward_scaling", "reward_scaling_single"]


def test_two_calls_by_hand():
    scaler = RunningRewardScaler(2)
    scaled = scaler(REWARD, FIRST)
    np.testing.assert_allclose(
        scaled,
        [[2.029675, 0, 4.059350], [1.014837, 1.014837, 0]],
        atol=5e-7,
    )
    state = scaler.get_state()
    np.testing.assert_allclose(state["ret"], [2, 0.98505])
    assert state["ret_rms"]["mean"] == pytest.approx(1.0783237)
    assert state["ret_rms"]["var"] == pytest.approx(0.2427432, abs=5e-8)
    assert state["ret_rms"]["count"] == pytest.approx(6.0001)
    scaled = scaler(REWARD, np.zeros((2, 3)))
    np.testing.assert_allclose(scaled[0], [0.802369, 0, 1.604739], atol=5e-7)
    np.testing.assert_allclose(scaler.ret, [4.920698, 1.940843], atol=5e-7)


def test_returns_start_anew_where_an_episode_does():
    ret = backward_discounted_sum(np.array([8.0]), REWARD[:1], FIRST[:1], gamma=0.5)
    np.testing.assert_array_equal(ret, [[1.0, 0.5, 2.0]])


def test_returns_carry_on_across_calls():
    first = np.zeros((1, 3))
    ret = backward_discounted_sum(np.array([8.0]), REWARD[:1], first, gamma=0.5)
    np.testing.assert_array_equal(ret, [[5.0, 2.5, 3.25]])


def test_scaled_rewards_are_clipped():
    scaler = RunningRewardScaler(1, cliprew=0.75)
    scaled = scaler(np.array([[-3.0, 3.0, 0.1]]), np.ones((1, 3)))
    np.testing.assert_array_equal(scaled[0, :2], [-0.75, 0.75])
    assert 0 < scaled[0, 2] < 0.75


def test_per_env_scales_each_env_as_if_it_were_alone():
    rng = np.random.default_rng(0)
    reward = rng.normal(size=(3, 5)) * [[1.0], [10.0], [100.0]]
    first = rng.integers(0, 2, size=(3, 5))
    together = RunningRewardScaler(3, per_env=True)
    alone = [RunningRewardScaler(1) for _ in range(3)]
    for _ in range(2):
        scaled = together(reward, first)
        for env in range(3):
            rows = slice(env, env + 1)
            expected = alone[env](reward[rows], first[rows])
            np.testing.assert_allclose(scaled[rows], expected, rtol=1e-12)


@pytest.mark.parametrize("per_env", [False, True])
def test_state_continues_the_statistics(per_env):
    first = RunningRewardScaler(2, per_env=per_env)
    first(REWARD, FIRST)
    second = RunningRewardScaler(2, per_env=per_env)
    second.set_state(first.get_state())
    np.testing.assert_array_equal(first(REWARD, FIRST), second(REWARD, FIRST))


def test_state_is_a_copy():
    scaler = RunningRewardScaler(2)
    scaler(REWARD, FIRST)
    state = scaler.get_state()
    kept = state["ret"].copy()
    scaler(REWARD, FIRST * 0)
    np.testing.assert_array_equal(state["ret"], kept)


def test_state_of_another_number_of_envs_is_refused():
    state = RunningRewardScaler(3).get_state()
    with pytest.raises(ValueError, match="state must be of 2 envs, got 3"):
        RunningRewardScaler(2).set_state(state)


def test_state_of_another_kind_of_statistic_is_refused():
    state = RunningRewardScaler(2, per_env=True).get_state()
    with pytest.raises(ValueError, match="samples of shape"):
        RunningRewardScaler(2).set_state(state)


def test_a_reward_that_is_not_finite_is_refused_and_changes_nothing():
    scaler = RunningRewardScaler(2)
    before = scaler.get_state()
    with pytest.raises(ValueError, match="reward must be finite, got 1 NaN"):
        scaler(np.where(REWARD == 2, np.nan, REWARD), FIRST)
    np.testing.assert_equal(scaler.get_state(), before)


def test_shapes_that_do_not_fit_are_refused():
    scaler = RunningRewardScaler(2)
    with pytest.raises(ValueError, match="one shape"):
        scaler(REWARD, FIRST[:, :2])
    with pytest.raises(ValueError, match="prevret must have shape"):
        scaler(REWARD[:1], FIRST[:1])


def test_no_env_is_refused():
    with pytest.raises(ValueError, match="num_envs must be >= 1, got 0"):
        RunningRewardScaler(0)


def test_merging_batches_gives_the_moments_of_all_samples():
    samples = np.random.default_rng(1).normal(3.0, 2.0, size=(60, 4))
    running = RunningMeanStd(epsilon=0.0, shape=(4,))
    for part in np.split(samples, [10, 11, 40]):
        running.update(part)
    np.testing.assert_allclose(running.mean, samples.mean(axis=0))
    # M2 / (total - 1) is rescaled by total at each merge: equal up to that factor.
    np.testing.assert_allclose(running.var, samples.var(axis=0), rtol=0.2)
    assert running.count == 60


@pytest.mark.parametrize("shape", [(0, 4), (4,), (5, 3)])
def test_samples_of_a_wrong_shape_are_refused(shape):
    with pytest.raises(ValueError, match="samples must have shape"):
        RunningMeanStd(shape=(4,)).update(np.zeros(shape))
