import pytest

from env.gym_utils import SyncVectorEnv
from tests.env.gym_utils.points import make_point, make_venv
from tests.fakes import PointEnv


def test_environments_live_in_this_process():
    made = []

    def make():
        made.append(make_point())
        return made[-1]

    venv = SyncVectorEnv([make] * 3)
    venv.reset(seed=0)
    assert [env.cnt for env in made[1:]] == [0, 0, 0]  # the first gave the spaces
    venv.step(venv.action_space.sample())
    assert [env.cnt for env in made[1:]] == [3, 3, 3]


def test_closing_closes_the_environments():
    closed = []

    class Closing(PointEnv):
        def close(self):
            closed.append(self)

    def make():
        env = make_point()
        env.env.env = Closing()
        return env

    venv = SyncVectorEnv([make] * 2)
    assert len(closed) == 1
    venv.close()
    venv.close()
    assert len(closed) == 3


def test_an_environment_that_cannot_be_made_raises_its_error():
    with pytest.raises(ValueError, match="n_obs_steps") as caught:
        SyncVectorEnv([lambda: make_point({"n_obs_steps": 0})], dummy_env_fn=make_point)
    assert "environment 0" in str(caught.value.__notes__)


def test_steps_wait_until_they_are_asked_for():
    venv = make_venv("sync")
    venv.reset(seed=0)
    venv.step_async(venv.action_space.sample())
    assert venv._group._env(0).cnt == 0
    venv.step_wait()
    assert venv._group._env(0).cnt == 3
