from collections import deque

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import RescaleAction

from env.gym_utils.pipeline import History, NotBatched, read_pipeline
from env.gym_utils.wrapper import MujocoLocomotionLowdimWrapper, MultiStep
from env.gym_utils.wrapper.clip_action import ClipAction
from env.gym_utils.wrapper.multi_step import stack_last_n_obs
from tests.env.gym_utils.points import make_point
from tests.fakes import POINT_ID, POINT_LIMIT, PointEnv


def wrap(env, **options):
    return MultiStep(MujocoLocomotionLowdimWrapper(env, None), **options)


def make(**kwargs):
    return gymnasium.make(POINT_ID, disable_env_checker=True, **kwargs)


def test_layers_and_limits_are_read():
    pipeline = read_pipeline(wrap(ClipAction(make())))
    assert pipeline.layers == (
        "MultiStep",
        "MujocoLocomotionLowdimWrapper",
        "ClipAction",
        "TimeLimit",
        "OrderEnforcing",
        "PointEnv",
    )
    assert pipeline.time_limit == POINT_LIMIT
    assert read_pipeline(wrap(make(max_episode_steps=7))).time_limit == 7
    assert read_pipeline(wrap(PointEnv())).time_limit is None
    assert read_pipeline(wrap(PointEnv())).bounds is None


@pytest.mark.parametrize(
    ("make_env", "message"),
    [
        (lambda: wrap(gymnasium.make(POINT_ID)), "PassiveEnvChecker cannot be batched"),
        (lambda: wrap(RescaleAction(make(), -2, 2)), "RescaleAction cannot be batched"),
        (make, "MultiStep is missing"),
        (lambda: MultiStep(make()), "MujocoLocomotionLowdimWrapper is missing"),
        (lambda: wrap(ClipAction(ClipAction(make()))), "not in the usual order"),
        (lambda: wrap(make(render_mode="human")), "render_mode='human' needs"),
    ],
)
def test_what_cannot_be_batched_is_named(make_env, message):
    with pytest.raises(NotBatched, match=message):
        read_pipeline(make_env())


def test_actions_are_clipped_if_the_environment_clips():
    actions = np.array([[0.5, 3.0], [-2.0, 1.0]], np.float32)
    clipped = read_pipeline(wrap(ClipAction(make()))).to_raw(actions)
    np.testing.assert_array_equal(clipped, [[0.5, 1], [-1, 1]])
    assert clipped.dtype == np.float32
    np.testing.assert_array_equal(read_pipeline(wrap(make())).to_raw(actions), actions)


@pytest.mark.parametrize("method", ["sum", "mean", "max", "min"])
def test_rewards_are_aggregated_as_one_by_one(method):
    pipeline = read_pipeline(make_point({"reward_agg_method": method}))
    rng = np.random.default_rng(0)
    rewards, counts = rng.normal(size=(40, 17)), rng.integers(1, 18, 40)
    function = getattr(np, method)
    expected = [function(list(r[:n])) for r, n in zip(rewards, counts, strict=True)]
    np.testing.assert_array_equal(pipeline.aggregate(rewards, counts), expected)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_history_stacks_as_multi_step(n):
    rng = np.random.default_rng(0)
    history, rows = History(3, 5, 2), deque(maxlen=5)
    for step in range(12):
        obs = rng.normal(size=(1, 2))
        begins = step in (0, 9)
        (history.restart if begins else history.append)(np.array([1]), obs)
        if begins:
            rows.clear()
        rows.append(obs[0])
        expected = stack_last_n_obs(rows, n)
        np.testing.assert_array_equal(history.last(n)[1], expected)
        assert history.counts.tolist() == [0, len(rows), 0]
        np.testing.assert_array_equal(history.get(1), list(rows))
        other = History(3, 5, 2)
        other.set(1, history.get(1))
        np.testing.assert_array_equal(other.last(n)[1], expected)
        assert other.counts[1] == len(rows)
