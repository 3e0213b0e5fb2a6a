import sys
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box

from env.gym_utils import make_async
from env.gym_utils.state import StateNotSupported
from env.gym_utils.wrapper import MujocoLocomotionLowdimWrapper, MultiStep
from tests.env.gym_utils.points import assert_same, draw_actions
from tests.fakes import POINT_ID

WRAPPERS = {
    "mujoco_locomotion_lowdim": {"normalization_path": None},
    "multi_step": {
        "n_obs_steps": 2,
        "n_action_steps": 3,
        "max_episode_steps": 8,
        "reset_within_step": True,
    },
}


class FakePool:
    """Answers as EnvPool does: float32 rewards, in any order, resets after an end."""

    made: list = []  # noqa: RUF012

    def __init__(self, num_envs, env_seed, max_episode_steps, obs_size=4, bound=1.4):
        FakePool.made.append(self)
        self.seeds, self.closed, self.limit = env_seed, False, max_episode_steps
        self.observation_space = Box(-np.inf, np.inf, (obs_size,), np.float64)
        self.action_space = Box(-1, 1, (2,), np.float64)
        self.rngs = [np.random.default_rng(seed) for seed in env_seed]
        self.state = np.zeros((num_envs, obs_size))
        self.over = np.zeros(num_envs, bool)
        self.bound = bound

    def reset(self, env_id):
        assert env_id.dtype == np.int32
        for index in env_id:
            self.state[index] = self.rngs[index].normal(size=self.state.shape[1]) * 0.3
            self.over[index] = False
        return self.state[env_id[::-1]].copy(), {"env_id": env_id[::-1]}

    def step(self, action, env_id):
        assert action.dtype == np.float64
        assert not self.over[env_id].any()  # would reset, and drop the action
        self.state[env_id, :2] += action
        self.over[env_id] = np.abs(self.state[env_id, 0]) > self.bound
        back = env_id[::-1]
        reward = self.state[back, 0].astype(np.float32)
        over, info = self.over[back], {"env_id": back}
        return self.state[back].copy(), reward, over, np.zeros_like(over), info

    def close(self):
        self.closed = True


@pytest.fixture(autouse=True)
def envpool(monkeypatch):
    def make(id, env_type, **kwargs):
        assert (id, env_type) == (POINT_ID, "gymnasium")
        return FakePool(**kwargs)

    FakePool.made = []
    module = SimpleNamespace(make=make, list_all_envs=lambda: [POINT_ID])
    monkeypatch.setitem(sys.modules, "envpool", module)


def make_venv(num_envs=3, wrappers=WRAPPERS, **kwargs):
    return make_async(
        POINT_ID, num_envs, wrappers=wrappers, backend="envpool", **kwargs
    )


def test_chunks_are_those_of_multi_step_around_the_pool():
    """A gymnasium environment with the pool's dynamics, stepped by `MultiStep`."""

    class One(gymnasium.Env):
        observation_space = Box(-np.inf, np.inf, (4,), np.float64)
        action_space = Box(-1, 1, (2,), np.float32)

        def reset(self, *, seed=None, options=None):
            if seed is not None:
                self.pool = FakePool(1, [seed], 0)
            return self.pool.reset(np.zeros(1, np.int32))[0][0], {}

        def step(self, action):
            one = np.asarray(action, np.float64)[None]
            *results, _ = self.pool.step(one, np.zeros(1, np.int32))
            return *(result[0] for result in results), {}

    venv = make_venv()
    options = WRAPPERS["multi_step"]
    envs = [
        MultiStep(MujocoLocomotionLowdimWrapper(One(), None), **options)
        for _ in range(3)
    ]
    first = [env.reset(seed=5 + i)[0]["state"] for i, env in enumerate(envs)]
    assert_same(venv.reset(seed=5)["state"], np.array(first))
    rng, ends = np.random.default_rng(0), 0
    for _ in range(60):
        actions = draw_actions(venv, rng)
        obs, reward, terminated, truncated, infos = venv.step(actions)
        assert reward.dtype == np.float64
        for i, env in enumerate(envs):
            expected = env.step(actions[i])
            assert_same(obs["state"][i], expected[0]["state"])
            assert (reward[i], terminated[i], truncated[i]) == expected[1:4]
            assert_same(infos[i], expected[4])
        ends += (terminated | truncated).sum()
    assert ends > 30


def test_a_seeded_reset_makes_a_new_pool():
    venv = make_venv()
    venv.seed([5, None, 2**40 + 7])
    venv.reset()
    old, new = FakePool.made
    assert old.closed
    assert new.seeds[0] == 5
    assert new.seeds[2] == 7
    assert all(isinstance(seed, int) for seed in old.seeds + new.seeds)
    venv.reset()
    assert len(FakePool.made) == 2  # goes on with its generators
    assert new.limit > 10**9  # ours is the limit
    venv.close()
    assert new.closed


def test_a_seed_for_some_environments_is_refused():
    venv = make_venv()
    venv.reset(seed=0)
    venv.reset_one_arg(1)
    with pytest.raises(ValueError, match="seeds all environments at once, got a seed"):
        venv.reset_one_arg(1, {"seed": 3})


def test_arguments_reach_the_pool():
    venv = make_venv(bound=99.0, max_episode_steps=7)
    assert FakePool.made[0].bound == 99.0
    assert venv.num_envs == 3
    with pytest.raises(TypeError, match="boundary"):
        make_venv(boundary=3)


def test_answers_of_other_environments_are_refused(monkeypatch):
    venv = make_venv()
    venv.reset(seed=0)
    monkeypatch.setattr(
        FakePool, "reset", lambda self, ids: (np.zeros((1, 4)), {"env_id": ids[:1]})
    )
    with pytest.raises(RuntimeError, match=r"environments \[0, 1, 2\], got \[0\]"):
        venv.reset()


def test_states_cannot_be_saved():
    venv = make_venv()
    venv.reset(seed=0)
    with pytest.raises(StateNotSupported, match="only from the next reset"):
        venv.get_state()


def test_it_is_never_chosen_by_auto():
    venv = make_async(POINT_ID, 2, wrappers=WRAPPERS)
    assert type(venv).__name__ != "EnvPoolVectorEnv"
    assert FakePool.made == []
    venv.close()


def test_what_is_not_in_the_pool_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"envpool is impossible: .*MultiStep is miss"):
        make_venv(wrappers={"mujoco_locomotion_lowdim": {"normalization_path": None}})
    monkeypatch.setattr(sys.modules["envpool"], "list_all_envs", list)
    with pytest.raises(ValueError, match=f"EnvPool has no environment {POINT_ID}"):
        make_venv()


def test_other_sizes_are_refused(monkeypatch):
    make = sys.modules["envpool"].make
    monkeypatch.setattr(
        sys.modules["envpool"], "make", lambda *a, **k: make(*a, obs_size=7, **k)
    )
    with pytest.raises(
        ValueError, match=r"observation_space .*\(7,\), gymnasium's \(4"
    ):
        make_venv()
    assert FakePool.made[0].closed


def test_without_envpool_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "envpool", None)
    with pytest.raises(ValueError, match=r"pip install dppo-tf\[envpool\]"):
        make_venv()
