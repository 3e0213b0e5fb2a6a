import gymnasium
import numpy as np
import pytest

from tests.fakes import POINT_ID, POINT_LIMIT, PointEnv, ScriptedVectorEnv, point_id


def episodes(policy, count=30, **kwargs):
    env = gymnasium.make(POINT_ID, **kwargs)
    returns, ends = [], []
    for seed in range(count):
        obs, _ = env.reset(seed=seed)
        total, terminated, truncated = 0.0, False, False
        while not (terminated or truncated):
            obs, reward, terminated, truncated, _ = env.step(policy(obs))
            total += reward
        returns.append(total)
        ends.append(terminated)
    return np.mean(returns), np.mean(ends)


def test_pushing_to_the_origin_beats_random_actions():
    rng = np.random.default_rng(0)
    good, good_ends = episodes(lambda obs: -5 * obs[:2], obs_size=2)
    random, random_ends = episodes(lambda obs: rng.uniform(-1, 1, 2), obs_size=2)
    assert good > 0.8 * POINT_LIMIT
    assert random < 0.5 * POINT_LIMIT
    assert good_ends == 0
    assert 0 < random_ends <= 1


def test_sizes_can_be_those_of_hopper():
    env = gymnasium.make(point_id(11, 3))
    assert env.observation_space.shape == (11,)
    assert env.action_space.shape == (3,)
    env.reset(seed=0)
    assert env.step(np.ones(3))[0].shape == (11,)


def test_more_actions_than_coordinates_are_ignored():
    env = PointEnv(obs_size=1, action_size=3, noise=0.0)
    env.reset(seed=0)
    before = env.position
    np.testing.assert_allclose(env.step(np.ones(3))[0], before + 0.2)


@pytest.fixture
def tables():
    rng = np.random.default_rng(0)
    return {
        "in/env/obs": rng.normal(size=(4, 2, 1, 3)),
        "in/env/final_obs": rng.normal(size=(4, 2, 1, 3)),
        "in/env/reset_obs": rng.normal(size=(2, 2, 1, 3)),
        "in/env/reward": rng.normal(size=(4, 2)),
        "in/env/terminated": np.zeros((4, 2), bool),
        "in/env/truncated": np.array([[0, 0], [0, 1], [0, 0], [0, 0]], bool),
        "out/env/actions": np.zeros(1),
    }


def test_a_script_is_played_back(tables):
    venv = ScriptedVectorEnv(tables, action_shape=(2, 3))
    first = venv.reset_arg([{}, {}])
    np.testing.assert_array_equal(first["state"], tables["in/env/reset_obs"][0])
    results = [venv.step(np.full((2, 2, 3), k)) for k in range(2)]
    np.testing.assert_array_equal(results[1][0]["state"], tables["in/env/obs"][1])
    np.testing.assert_array_equal(results[1][1], tables["in/env/reward"][1])
    assert results[1][3].tolist() == [False, True]
    assert [set(info) for info in results[1][4]] == [set(), {"final_obs"}]
    final = results[1][4][1]["final_obs"]["state"]
    np.testing.assert_array_equal(final, tables["in/env/final_obs"][1, 1])
    second = venv.reset_arg([{}, {}])
    np.testing.assert_array_equal(second["state"], tables["in/env/reset_obs"][1])
    assert venv.resets_before_step == [0, 2]
    assert [a[0, 0, 0] for a in venv.actions] == [0, 1]
    assert venv.single_action_space.shape == (2, 3)


def test_a_script_can_have_images(tables):
    tables["in/env/rgb"] = np.ones((4, 2, 1, 3, 5, 5), np.uint8)
    tables["in/env/reset_rgb"] = np.zeros((2, 2, 1, 3, 5, 5), np.uint8)
    venv = ScriptedVectorEnv(tables)
    assert venv.reset_arg([{}, {}])["rgb"].dtype == np.float32
    assert venv.step(np.zeros((2, 1, 1)))[0]["rgb"].min() == 1


def test_a_script_goes_on_from_a_state(tables):
    venv, other = ScriptedVectorEnv(tables), ScriptedVectorEnv(tables)
    venv.reset_arg([{}, {}])
    venv.step(np.zeros((2, 1, 1)))
    other.set_state(venv.get_state())
    np.testing.assert_equal(
        other.step(np.zeros((2, 1, 1))), venv.step(np.zeros((2, 1, 1)))
    )
