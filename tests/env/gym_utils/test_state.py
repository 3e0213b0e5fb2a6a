import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation, RescaleAction, TimeLimit

from env.gym_utils.state import StateNotSupported, get_env_state, set_env_state
from tests.env.gym_utils.points import assert_same, make_point
from tests.fakes import POINT_ID, POINT_LIMIT, PointEnv

ACTION = np.array([0.3, -0.1])


def make(**kwargs):
    return gymnasium.make(POINT_ID, **kwargs)


def steps(env, n):
    return [env.step(ACTION) for _ in range(n)]


def test_an_environment_continues_equally():
    env = make()
    env.reset(seed=2)
    steps(env, 3)
    state = get_env_state(env)
    expected = [*steps(env, 9), env.reset()]
    other = make()
    set_env_state(other, state)  # needs no reset before
    assert_same([*steps(other, 9), other.reset()], expected)


def test_the_time_limit_goes_on():
    env = make(bound=99)
    env.reset(seed=0)
    steps(env, POINT_LIMIT - 3)
    other = make(bound=99)
    set_env_state(other, get_env_state(env))
    assert [step[3] for step in steps(other, 3)] == [False, False, True]


def test_an_environment_that_never_drew_has_no_generator():
    env = make()
    state = get_env_state(env)
    assert state["generator"] is None
    used = make()
    used.reset(seed=1)
    set_env_state(used, state)
    assert used.unwrapped._np_random is None


def test_stateless_wrappers_take_part():
    env = RescaleAction(make(), -2, 2)
    env.reset(seed=0)
    state = get_env_state(env)
    expected = steps(env, 5)
    set_env_state(env, state)
    assert_same(steps(env, 5), expected)


class _Silent(gymnasium.Wrapper):
    def __init__(self, env):
        super().__init__(env)
        self.memory = []


@pytest.mark.parametrize(
    ("wrap", "name"),
    [
        (_Silent, "_Silent"),
        (lambda env: FrameStackObservation(env, 2), "FrameStackObservation"),
    ],
)
def test_an_unknown_wrapper_is_named(wrap, name):
    with pytest.raises(StateNotSupported, match=f"{name} cannot be saved"):
        get_env_state(wrap(make()))


class _Unsaved(gymnasium.Env):
    pass


def test_an_unknown_environment_is_named():
    with pytest.raises(NotImplementedError, match="_Unsaved .* the next reset"):
        get_env_state(TimeLimit(_Unsaved(), 3))


def test_a_state_of_other_wrappers_is_refused():
    env = make_point()
    env.reset(seed=0)
    with pytest.raises(ValueError, match="state must be of .*TimeLimit.*, got one of"):
        set_env_state(make(), get_env_state(env))


def test_multi_step_history_goes_on():
    env = make_point({"n_obs_steps": 3, "pass_full_observations": True})
    env.reset(seed=0)
    env.step(np.ones((2, 2)))
    state = get_env_state(env)

    def go_on(env):
        results = [env.step(np.ones((2, 2))), env.get_prev_action(), env.cnt]
        return [*results, env.reset(), env.get_prev_action()]

    expected = go_on(env)
    other = make_point({"n_obs_steps": 3, "pass_full_observations": True})
    set_env_state(other, state)
    assert_same(go_on(other), expected)


def test_the_toy_environment_itself_needs_no_generator_in_its_state():
    assert set(PointEnv().get_state()) == {"position", "n_steps"}
