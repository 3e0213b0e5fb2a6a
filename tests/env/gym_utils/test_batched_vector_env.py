import logging

import gymnasium
import numpy as np
import pytest
from gymnasium.error import AlreadyPendingCallError, ResetNeeded

from env.gym_utils import SyncVectorEnv
from env.gym_utils.pipeline import NotBatched
from env.gym_utils.wrapper import MujocoLocomotionLowdimWrapper, MultiStep
from env.gym_utils.wrapper.clip_action import ClipAction
from tests.env.gym_utils.batched_points import (
    BatchedPoints,
    assert_equal_to_sync,
    count_ends,
    run_kept,
)
from tests.env.gym_utils.points import MULTI_STEP, assert_same, draw_actions, make_point
from tests.fakes import POINT_ID
from util.compat import compat_scope


@pytest.fixture
def venv():
    venv = BatchedPoints([make_point] * 3)
    venv.reset(seed=5)
    return venv


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"n_obs_steps": 3, "n_action_steps": 1},
        {"n_obs_steps": 1, "n_action_steps": 9, "pass_full_observations": True},
        {"n_obs_steps": 4, "pass_full_observations": True, "max_episode_steps": 7},
        {"reset_within_step": False},
        {"max_episode_steps": None},
        {"reward_agg_method": "mean", "n_action_steps": 9},
        {"reward_agg_method": "max"},
        {"reward_agg_method": "min", "prev_action": False},
    ],
    ids=str,
)
def test_chunks_are_those_of_multi_step(options):
    results = assert_equal_to_sync(BatchedPoints, lambda: make_point(options), 120)
    assert count_ends(results) > 10


def make_normalised(folder):
    rng = np.random.default_rng(0)
    low, high = rng.uniform(-2, -1, (2, 4)), rng.uniform(1, 2, (2, 4))
    names = ("obs_min", "obs_max", "action_min", "action_max")
    arrays = (low[0], high[0], low[1, :2], high[1, :2])
    np.savez(folder / "n.npz", **dict(zip(names, arrays, strict=True)))

    def make():
        env = ClipAction(gymnasium.make(POINT_ID, disable_env_checker=True))
        env = MujocoLocomotionLowdimWrapper(env, folder / "n.npz")
        return MultiStep(env, **MULTI_STEP)

    return make


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_normalisation_and_clipping_are_those_of_the_wrappers(tmp_path, dtype):
    make = make_normalised(tmp_path)
    results = assert_equal_to_sync(BatchedPoints, make, 60, dtype=dtype)
    assert np.abs(results[0][0]["state"]).max() < 2


@pytest.mark.parametrize("on", [True, False])
def test_gymnasiums_time_limit_is_that_of_the_wrapper(on):
    def make():
        return make_point({"max_episode_steps": None}, bound=99)

    with compat_scope({"gae_ignores_truncation": on}):
        results = assert_equal_to_sync(BatchedPoints, make, 40)
    truncated = sum(r[3].sum() for r in results)
    assert truncated >= 3
    assert sum(r[2].sum() for r in results) == (truncated if on else 0)


def test_non_finite_observations_end_the_chunk_and_are_marked():
    results = assert_equal_to_sync(
        BatchedPoints, lambda: make_point({"n_action_steps": 5}, nan_after=4), 6
    )
    assert any("nan" in info for r in results for info in r[4])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_previous_actions_are_those_of_multi_step(dtype):
    both = []
    for kind in (SyncVectorEnv, BatchedPoints):
        options = {"n_obs_steps": 3, "reset_within_step": False}
        venv = kind([lambda options=options: make_point(options)] * 3)
        own = [(venv.reset(seed=2), venv.call("get_prev_action", n_steps=1))]
        rng = np.random.default_rng(0)
        for _ in range(9):
            venv.step(draw_actions(venv, rng).astype(dtype))
            own.append(venv.call("get_prev_action"))
        own.append((venv.reset(), venv.call("get_prev_action", n_steps=3)))
        both.append(own)
    assert_same(*both)


def test_remembered_actions_are_copies(venv):
    actions = np.full((3, 3, 2), 0.5)
    venv.step(actions)
    actions[:] = 0
    assert_same(venv.call("get_prev_action"), (np.full((1, 2), 0.5),) * 3)


def test_ends_are_logged_as_by_multi_step(caplog):
    texts = []
    for kind in (SyncVectorEnv, BatchedPoints):
        venv = kind([lambda: make_point({"verbose": True})] * 2)
        venv.reset(seed=0)
        caplog.clear()
        with caplog.at_level(logging.INFO):
            run_kept(venv, 9)
        texts.append([r.getMessage() for r in caplog.records])
    assert len(texts[0]) >= 4
    assert texts[0] == texts[1]


# -- resets and states -----------------------------------------------------------------


def test_reset_one_leaves_the_others_alone(venv):
    twin = BatchedPoints([make_point] * 3)
    twin.set_state(venv.get_state())
    fresh = venv.reset_one_arg(1, {"seed": 4})
    assert_same(fresh, venv.reset_one_arg(1, {"seed": 4}))
    actions = np.zeros((3, 3, 2))
    ours, theirs = venv.step(actions)[0], twin.step(actions)[0]
    assert_same(ours["state"][[0, 2]], theirs["state"][[0, 2]])
    assert (ours["state"][1] != theirs["state"][1]).all()


def test_a_seed_is_used_once(venv):
    venv.seed([1, 1, 1])
    first = venv.reset()["state"]
    assert_same(first[0], first[1])
    assert (first != venv.reset()["state"]).all()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (BatchedPoints, BatchedPoints),
        (BatchedPoints, SyncVectorEnv),
        (SyncVectorEnv, BatchedPoints),
    ],
)
@pytest.mark.parametrize("limit", [10, None])  # of MultiStep, or of gymnasium
def test_states_are_those_of_the_sync_env(first, second, limit):
    def make():
        return make_point({"max_episode_steps": limit}, bound=1.4 if limit else 99)

    def go_on(venv):
        results = [venv.call("get_prev_action", n_steps=2), run_kept(venv, 30)]
        first = [venv.reset(), venv.call("get_prev_action", n_steps=1)]
        return [*results, *first, run_kept(venv, 9)]

    venv, other = (kind([make] * 3) for kind in (first, second))
    venv.reset(seed=1)
    run_kept(venv, 12)
    venv.seed([1, None, 2])  # waits for a reset; part of the state
    state = venv.get_state()
    expected = go_on(venv)
    assert count_ends(expected[1]) >= 3
    for _ in range(2):
        other.set_state(state)
        assert_same(go_on(other), expected)


def test_a_state_of_other_wrappers_is_refused(venv):
    env = gymnasium.make(POINT_ID)
    other = SyncVectorEnv([lambda: MultiStep(MujocoLocomotionLowdimWrapper(env, None))])
    state = other.get_state()["envs"] * 3
    with pytest.raises(ValueError, match="state must be of .*, got one of .*Passive"):
        venv.set_state({"envs": state})


# -- errors ----------------------------------------------------------------------------


def test_different_environments_are_refused():
    with pytest.raises(NotBatched, match="the environments differ"):
        BatchedPoints([make_point, lambda: make_point()])
    with pytest.raises(ValueError, match="num_envs must be >= 1"):
        BatchedPoints([])


def test_a_step_before_the_first_reset_is_refused():
    venv = BatchedPoints([make_point] * 2)
    venv.reset_one_arg(0)
    with pytest.raises(ResetNeeded) as caught:
        venv.step(np.zeros((2, 3, 2)))
    assert "environment 1" in str(caught.value.__notes__)
    venv.reset()
    venv.step(np.zeros((2, 3, 2)))


def test_bad_actions_are_refused(venv):
    with pytest.raises(ValueError, match=r"\(E, Te, Da\)=\(3, 3, 2\), got \(3, 4, 2\)"):
        venv.step(np.zeros((3, 4, 2)))
    actions = np.zeros((3, 3, 2))
    actions[1] = np.nan
    with pytest.raises(ValueError, match="environments 1 are not finite"):
        venv.step(actions)


def test_a_step_waits_until_it_is_asked_for(venv):
    venv.step_async(np.zeros((3, 3, 2)))
    with pytest.raises(AlreadyPendingCallError):
        venv.reset()
    venv.step_wait()
    assert venv.call("cnt") == (3, 3, 3)


def test_what_needs_environments_is_refused(venv):
    with pytest.raises(AttributeError, match="'bound'.*env.backend=sync"):
        venv.get_attr("bound")
    with pytest.raises(AttributeError, match="to set 'bound' of"):
        venv.set_attr("bound", 3)
    with pytest.raises(AttributeError, match="'render'"):
        venv.render()
    other = BatchedPoints([lambda: make_point({"prev_action": False})])
    with pytest.raises(ValueError, match="prev_action must be True"):
        other.call("get_prev_action")
