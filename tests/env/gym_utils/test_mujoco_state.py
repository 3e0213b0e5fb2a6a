import gymnasium
import numpy as np
import pytest

from env.gym_utils.state import StateNotSupported, get_env_state, set_env_state
from tests.env.gym_utils.points import assert_same

pytestmark = pytest.mark.full


def steps(env, n, seed):
    rng = np.random.default_rng(seed)
    results = []
    for _ in range(n):
        result = env.step(rng.uniform(-1, 1, env.action_space.shape))
        results.append(result)
        if result[2] or result[3]:
            results.append(env.reset())
    return results


@pytest.mark.parametrize(
    "name", ["Hopper", "Walker2d", "HalfCheetah", "Ant", "Humanoid", "Reacher"]
)
def test_a_simulation_continues_equally(name):
    env = gymnasium.make(f"{name}-v4")
    env.reset(seed=0)
    steps(env, 30, 1)
    state = get_env_state(env)
    expected = steps(env, 60, 2)
    other = gymnasium.make(f"{name}-v4")
    set_env_state(other, state)
    assert_same(steps(other, 60, 2), expected)
    set_env_state(other, state)
    assert_same(steps(other, 60, 2), expected)


def own_hopper(**attributes):
    from gymnasium.envs.mujoco.hopper_v4 import HopperEnv

    class Own(HopperEnv):
        def __init__(self):
            super().__init__()
            vars(self).update(attributes)

        def step(self, action):
            self.n_own_steps += 1
            self.target += 1.0
            return super().step(action)

    return Own()


def test_attributes_of_a_users_class_are_saved():
    env = own_hopper(n_own_steps=0, target=np.zeros(2))
    env.reset(seed=0)
    env.step(np.zeros(3))
    state = get_env_state(env)
    env.step(np.zeros(3))
    other = own_hopper(n_own_steps=0, target=np.zeros(2))
    set_env_state(other, state)
    assert other.n_own_steps == 1
    np.testing.assert_array_equal(other.target, np.ones(2))


def test_an_attribute_that_cannot_be_saved_is_named():
    env = own_hopper(path=[1, 2])
    with pytest.raises(StateNotSupported, match=r"Own\.path is a list"):
        get_env_state(env)
