import gymnasium
import numpy as np
import pytest

from env.gym_utils import make_async
from env.gym_utils.wrapper.d3il_lowdim import D3ilLowdimWrapper
from tests.fakes import POINT_ID
from util.compat import reference

OBS_MIN, OBS_MAX = np.array([0.2, -0.3, 0.2, -0.3]), np.array([0.8, 0.5, 0.8, 0.5])


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "normalization.npz"
    ranges = {"action_min": [-0.01, 0.0], "action_max": [0.01, 0.02]}
    np.savez(file, obs_min=OBS_MIN, obs_max=OBS_MAX, **ranges)
    return file


def make(path=None, **kwargs):
    return D3ilLowdimWrapper(gymnasium.make(POINT_ID, **kwargs), path)


def test_observations_are_normalised(path):
    raw, _ = gymnasium.make(POINT_ID).reset(seed=0)
    obs, _ = make(path).reset(seed=0)
    expected = 2 * ((raw - OBS_MIN) / (OBS_MAX - OBS_MIN + 1e-6) - 0.5)
    np.testing.assert_allclose(obs["state"], expected)


def test_actions_are_displacements_without_clipping(path):
    env = make(path)
    env.reset(seed=0)
    seen = []
    env.unwrapped.step = lambda action: (
        seen.append(action) or (np.zeros(4), 0.0, False, False, {})
    )
    env.step(np.array([2.0, -1.0]))
    np.testing.assert_allclose(seen[0], [0.02, 0.0], atol=1e-12)


@pytest.mark.parametrize("on", [False, True])
def test_no_end_but_that_of_a_time_limit_is_reported(on):
    with reference(on):
        env = make(max_episode_steps=2, bound=0.1)
    env.reset(seed=0)
    flags = [env.step(np.zeros(2))[2:4] for _ in range(2)]
    assert flags == [(False, False), (False, True)]


def test_episodes_of_a_vector_env_last_until_the_limit_and_are_not_reset():
    wrappers = {
        "d3il_lowdim": {"normalization_path": None},
        "multi_step": {
            "n_action_steps": 2,
            "max_episode_steps": 4,
            "pass_full_observations": True,
        },
    }
    venv = make_async(POINT_ID, 2, wrappers=wrappers, obs_dim=4, bound=0.1)
    venv.reset(seed=0)
    steps = [venv.step(np.zeros((2, 2, 2))) for _ in range(2)]
    for (obs, _, terminated, truncated, infos), over in zip(
        steps, (False, True), strict=True
    ):
        assert terminated.tolist() == [False, False]
        assert truncated.tolist() == [over, over]
        assert "final_obs" not in infos[0]
        frames = infos[0]["full_obs"]["state"]
        assert frames.shape == (2, 4)
        np.testing.assert_array_equal(frames[-1], obs["state"][0, -1])
