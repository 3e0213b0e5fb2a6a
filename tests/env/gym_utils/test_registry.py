import gymnasium
import numpy as np
import pytest

from env.gym_utils.registry import EnvName, find_env
from env.gym_utils.wrapper.clip_action import ClipAction
from tests.fakes import POINT_ID, point_id


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hopper-medium-v2", "Hopper-v4"),
        ("hopper-random-v0", "Hopper-v4"),
        ("walker2d-medium-replay-v2", "Walker2d-v4"),
        ("halfcheetah-medium-expert-v2", "HalfCheetah-v4"),
        ("ant-full-replay-v2", "Ant-v4"),
    ],
)
def test_d4rl_names_are_v4_environments(name, expected):
    found = find_env(name)
    assert found.id == expected
    assert found.clips_actions


def test_ant_has_the_contact_forces_of_v2():
    assert find_env("ant-medium-v2").kwargs == {"use_contact_forces": True}


@pytest.mark.parametrize("name", [POINT_ID, "Hopper-v5", "Hopper", "module:Own-v0"])
def test_other_ids_go_through(name):
    assert find_env(name) == EnvName(name)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("hoper-medium-v2", "hopper-medium-v2"),
        ("hopper-medium-v7", "hopper-medium-v2"),
        ("HOPPER-MEDIUM-V2", "hopper-medium-v2"),
    ],
)
def test_an_unknown_name_says_the_nearest(name, nearest):
    with pytest.raises(ValueError, match=f"{name}.* is not known; .*{nearest}"):
        find_env(name)


@pytest.mark.parametrize("version", [2, 3])
def test_old_mujoco_ids_say_the_successor(version):
    with pytest.raises(ValueError, match="Walker2d-v4 has the reward and physics"):
        find_env(f"Walker2d-v{version}")


def test_make_passes_arguments_on():
    env = find_env(POINT_ID).make(obs_size=6, max_episode_steps=3)
    assert env.observation_space.shape == (6,)
    env.reset(seed=0)
    assert [env.step(np.zeros(2))[3] for _ in range(3)] == [False, False, True]


def test_make_clips_if_the_name_does():
    name = point_id(5, 3)
    assert isinstance(EnvName(name, clips_actions=True).make(), ClipAction)
    assert not isinstance(EnvName(name).make(), ClipAction)


@pytest.mark.full
@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("hopper-medium-v2", (11, 3)),
        ("walker2d-medium-v2", (17, 6)),
        ("halfcheetah-medium-v2", (17, 6)),
        ("ant-medium-v2", (111, 8)),
    ],
)
def test_d4rl_environments_have_the_known_sizes(name, sizes, recwarn):
    env = find_env(name).make()
    assert (*env.observation_space.shape, *env.action_space.shape) == sizes
    assert not [w for w in recwarn if "out of date" in str(w.message)]
    env.close()


@pytest.mark.full
def test_d4rl_actions_outside_the_bounds_count_as_the_bounds():
    ours, plain = find_env("hopper-medium-v2").make(), gymnasium.make("Hopper-v4")
    for env in (ours, plain):
        env.reset(seed=0)
    mine, theirs = ours.step(np.full(3, 5.0)), plain.step(np.ones(3))
    np.testing.assert_array_equal(mine[0], theirs[0])
    assert mine[1] == theirs[1]
