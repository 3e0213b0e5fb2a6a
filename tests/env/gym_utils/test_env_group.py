import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from env.gym_utils.env_group import Buffers, EnvFailure, EnvGroup, check_obs_space
from tests.env.gym_utils.points import make_point

SPACE = Dict(
    {"state": Box(-1, 1, (2, 4), np.float64), "rgb": Box(0, 255, (1, 3), np.uint8)}
)


def make_group(first=2, num_envs=2):
    env_fns = [make_point] * num_envs
    buffers = Buffers.allocate(first + num_envs, Dict({"state": SPACE["state"]}))
    return EnvGroup(env_fns, first, buffers), buffers


def test_buffers_follow_the_space():
    buffers = Buffers.allocate(5, SPACE)
    assert buffers.obs["state"].shape == (5, 2, 4)
    assert buffers.obs["state"].dtype == np.float64
    assert buffers.obs["rgb"].shape == (5, 1, 3)
    assert buffers.obs["rgb"].dtype == np.uint8
    assert buffers.rewards.dtype == np.float64
    assert buffers.terminated.dtype == buffers.truncated.dtype == bool


def test_buffers_use_the_given_memory():
    memory = []

    def new(shape, dtype):
        memory.append(np.ones(shape, dtype))
        return memory[-1]

    buffers = Buffers.allocate(1, SPACE, new)
    assert any(buffers.truncated is array for array in memory)
    assert len(memory) == 5


def test_a_group_writes_the_rows_of_its_environments():
    group, buffers = make_group()
    assert group.handle("reset", [{"seed": 1}] * 2, [2, 3]) == [None, None]
    assert not buffers.obs["state"][:2].any()
    np.testing.assert_array_equal(buffers.obs["state"][2], buffers.obs["state"][3])
    infos = group.handle("step", np.zeros((1, 3, 2)), [3])
    assert [set(info) for info in infos] == [{"distance"}]
    assert buffers.rewards[2] == 0 != buffers.rewards[3]


def test_results_follow_the_given_order():
    group, _ = make_group()
    group.handle("set_attr", [("bound", 3.0), ("bound", 2.0)], [3, 2])
    asked = [("bound", (), {})] * 2
    assert group.handle("call", asked, [2, 3]) == [2.0, 3.0]


def test_a_failure_names_the_environment_and_stops():
    group, buffers = make_group()
    group.handle("reset", [{}] * 2, [2, 3])
    with pytest.raises(EnvFailure) as caught:
        group.handle("step", [np.zeros((0, 2)), np.zeros((3, 2))], [2, 3])
    assert caught.value.index == 2
    assert isinstance(caught.value.__cause__, ValueError)
    assert buffers.rewards[3] == 0


def test_a_failure_to_make_an_environment_names_it():
    def fail():
        raise OSError("no file")

    buffers = Buffers.allocate(4, Dict({"state": SPACE["state"]}))
    with pytest.raises(EnvFailure) as caught:
        EnvGroup([make_point, fail], 2, buffers)
    assert caught.value.index == 3


def test_only_named_boxes_are_observations():
    assert check_obs_space(SPACE) is SPACE
    for space in (SPACE["state"], Dict({"choice": Discrete(2)})):
        with pytest.raises(TypeError, match="must be a Dict of boxes"):
            check_obs_space(space)
