import gymnasium
import numpy as np
import pytest

from env.gym_utils.wrapper.clip_action import ClipAction
from tests.fakes import PointEnv


def test_actions_are_clipped_to_the_bounds():
    env = ClipAction(PointEnv(action_size=3))
    clipped = env.action(np.array([-1.5, 0.25, 7.0]))
    assert clipped.tolist() == [-1.0, 0.25, 1.0]


def test_the_bounds_stay_visible():
    assert ClipAction(PointEnv()).action_space == PointEnv().action_space


def test_the_dtype_stays():
    env = ClipAction(PointEnv())
    for dtype in (np.float32, np.float64):
        assert env.action(np.zeros(2, dtype)).dtype == dtype


def test_other_actions_are_refused():
    with pytest.raises(TypeError, match="action_space must be a Box"):
        ClipAction(gymnasium.make("CartPole-v1"))
