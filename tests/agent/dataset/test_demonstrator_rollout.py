"""Rolling out a demonstrator: whole episodes, the same in one process or in two."""

import gymnasium
import numpy as np
import pytest

from agent.dataset.demonstrator_rollout import count_streams, simulate
from tests.agent.dataset.fake_demonstrator import write_weights


class Countdown(gymnasium.Env):
    """Terminates after a random number of steps; pays 1, and 10 at the end."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = int(self.np_random.integers(2, 12))
        return np.array([self.left, 0.0]), {}

    def step(self, action):
        self.left -= 1
        obs = np.array([self.left, action[0]])
        return obs, 1.0 if self.left else 10.0, self.left == 0, False, {}


@pytest.fixture
def job(tmp_path):
    gymnasium.register("Countdown-v0", Countdown, max_episode_steps=8)
    weights = write_weights(tmp_path / "fake.npz", 2, 1)
    yield {
        "env_id": "Countdown-v0",
        "weights": str(weights),
        "n_steps": 600,
        "streams": 6,
        "seed": 3,
        "stochastic": True,
    }
    gymnasium.registry.pop("Countdown-v0")


def test_episodes_are_whole_and_in_order(job):
    data = simulate(job, 1)
    lengths = data["traj_lengths"]
    assert 500 < lengths.sum() <= 600
    assert all(len(data[name]) == lengths.sum() for name in data if "traj" not in name)
    first = np.cumsum(lengths) - lengths
    last = np.cumsum(lengths) - 1
    countdown = data["states"][:, 0]
    for start, length in zip(first, lengths, strict=True):
        expected = countdown[start] - np.arange(length)
        np.testing.assert_array_equal(countdown[start : start + length], expected)
    # Eight steps are the time limit: an episode that would be longer is truncated.
    terminated = countdown[first] == lengths
    assert 0 < terminated.sum() < len(lengths)
    np.testing.assert_array_equal(data["terminals"][last], terminated)
    assert data["terminals"].sum() == terminated.sum()
    np.testing.assert_array_equal(data["rewards"][last], np.where(terminated, 10, 1))


def test_state_is_what_the_action_was_chosen_from(job):
    data = simulate(job, 1)
    first = np.cumsum(data["traj_lengths"]) - data["traj_lengths"]
    inner = np.setdiff1d(np.arange(len(data["states"])), first)
    shown = data["states"][inner, 1]
    np.testing.assert_array_equal(shown, data["actions"][inner - 1, 0])


def test_seed_alone_decides(job):
    runs = [simulate(job | {"seed": seed}, 1) for seed in (3, 3, 4)]
    for name, array in runs[0].items():
        assert array.tobytes() == runs[1][name].tobytes()
    assert runs[0]["actions"].tobytes() != runs[2]["actions"].tobytes()


def test_mean_actions_do_not_draw(job):
    data = simulate(job | {"stochastic": False}, 1)
    _, first = np.unique(data["states"], axis=0, return_index=True)
    again = simulate(job | {"stochastic": False, "seed": 4}, 1)
    actions = {
        tuple(s): a
        for s, a in zip(data["states"][first], data["actions"][first], strict=True)
    }
    starts = [s for s in map(tuple, again["states"]) if s in actions]
    assert starts
    for state, action in zip(again["states"], again["actions"], strict=True):
        if tuple(state) in actions:
            np.testing.assert_array_equal(action, actions[tuple(state)])


def test_streams_start_differently(job):
    data = simulate(job, 1)
    first = np.cumsum(data["traj_lengths"]) - data["traj_lengths"]
    assert len(np.unique(data["states"][first, 0])) > 3


def test_number_of_streams_follows_from_the_number_of_steps():
    assert [count_streams(n) for n in (1, 9_999, 25_000, 10**6)] == [1, 1, 2, 32]


def test_policy_of_another_size_is_refused(job, tmp_path):
    weights = str(write_weights(tmp_path / "other.npz", 3, 1))
    with pytest.raises(ValueError, match=r"other\.npz.*Countdown-v0, got"):
        simulate(job | {"weights": weights}, 1)


def pendulum(job, tmp_path, **changes):
    """A job for an environment that other processes know too."""
    weights = str(write_weights(tmp_path / "pendulum.npz", 3, 1))
    return job | {"env_id": "Pendulum-v1", "weights": weights, "streams": 2} | changes


def test_processes_do_not_change_the_data(job, tmp_path):
    job = pendulum(job, tmp_path, n_steps=2400)
    alone, shared = simulate(job, 1), simulate(job, 2)
    assert alone["traj_lengths"].tolist() == [200] * 12
    assert not alone["terminals"].any()
    for name, array in alone.items():
        assert array.tobytes() == shared[name].tobytes()


def test_failure_of_a_process_is_reported(job, tmp_path):
    job = pendulum(job, tmp_path, env_id="Nowhere-v7")
    with pytest.raises(RuntimeError, match="Nowhere"):
        simulate(job, 2)
