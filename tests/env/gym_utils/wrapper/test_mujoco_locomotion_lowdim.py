import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict

from env.gym_utils.wrapper.mujoco_locomotion_lowdim import (
    MujocoLocomotionLowdimWrapper,
)
from tests.fakes import POINT_ID, PointEnv
from util.compat import compat_scope, reference


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "normalization.npz"
    np.savez(
        file,
        obs_min=np.full(4, -2.0),
        obs_max=np.full(4, 4.0),
        action_min=np.array([-0.5, 0.0]),
        action_max=np.array([0.5, 0.2]),
    )
    return file


def make(path=None, **kwargs):
    return MujocoLocomotionLowdimWrapper(gymnasium.make(POINT_ID, **kwargs), path)


def test_observations_are_normalised(path):
    raw, _ = gymnasium.make(POINT_ID).reset(seed=0)
    obs, _ = make(path).reset(seed=0)
    np.testing.assert_allclose(obs["state"], 2 * ((raw + 2) / 6.000001 - 0.5))


def test_actions_are_unnormalised_without_clipping(path):
    env = make(path)
    env.reset(seed=0)
    seen = []
    env.unwrapped.step = lambda action: (
        seen.append(action) or (np.zeros(4), 0.0, False, False, {})
    )
    env.step(np.array([3.0, 0.0]))
    np.testing.assert_allclose(seen[0], [1.5, 0.1])


def test_normalised_spaces_reach_from_minus_one_to_one(path):
    env = make(path)
    assert env.observation_space == Dict({"state": Box(-1, 1, (4,), np.float64)})
    assert env.action_space == Box(-1, 1, (2,), np.float32)


def test_null_leaves_everything_as_it_is():
    raw, _ = gymnasium.make(POINT_ID).reset(seed=0)
    env = make(None)
    np.testing.assert_array_equal(env.reset(seed=0)[0]["state"], raw)
    assert env.observation_space["state"].high[0] == np.inf
    assert env.action_space == PointEnv().action_space


@pytest.mark.parametrize("arguments", [{"seed": 3}, {"options": {"seed": 3}}])
def test_resets_are_seeded(arguments):
    expected, _ = gymnasium.make(POINT_ID).reset(seed=3)
    env = make()
    np.testing.assert_array_equal(env.reset(**arguments)[0]["state"], expected)
    assert (env.reset()[0]["state"] != expected).all()


def test_the_option_seed_wins():
    env = make()
    first = env.reset(seed=3)[0]["state"]
    second = env.reset(seed=4, options={"seed": 3})[0]["state"]
    np.testing.assert_array_equal(first, second)


def last_flags(**kwargs):
    env = make(max_episode_steps=2, **kwargs)
    env.reset(seed=0)
    env.step(np.zeros(2))
    return env.step(np.zeros(2))[2:4]


def test_a_time_limit_is_truncation_only():
    assert last_flags(bound=99) == (False, True)


def test_the_reference_calls_a_time_limit_a_termination_too():
    with compat_scope({"gae_ignores_truncation": True}):
        assert last_flags(bound=99) == (True, True)


@pytest.mark.parametrize("on", [False, True])
def test_termination_at_the_time_limit_is_termination(on):
    with reference(on):
        assert last_flags(bound=0.1) == (True, False)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"normalization_path: .*{tmp_path}"):
        make(tmp_path / "none.npz")


def test_ranges_of_another_environment_are_refused(path):
    with pytest.raises(ValueError, match=r"obs_min .* must have shape \(5,\)"):
        make(path, obs_size=5)


class _Images(PointEnv):
    def __init__(self):
        super().__init__()
        self.observation_space = Box(0, 255, (3, 8, 8), np.uint8)


def test_other_observations_are_refused():
    with pytest.raises(TypeError, match="observation_space must be a Box of one dim"):
        MujocoLocomotionLowdimWrapper(_Images(), None)
