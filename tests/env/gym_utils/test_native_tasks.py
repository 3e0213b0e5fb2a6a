from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

from env.gym_utils.native_tasks import (
    Ant,
    Humanoid,
    InvertedDoublePendulum,
    Pusher,
    Swimmer,
    Walker,
    find_task,
    has_task,
)
from tests.env.gym_utils.batched_points import assert_equal_to_sync
from tests.fakes import POINT_ID, PointEnv

NAMES = (
    *("Hopper", "Walker2d", "HalfCheetah", "Ant"),
    *("Humanoid", "Swimmer", "InvertedDoublePendulum"),
)
INF = float("inf")


def fake(**attributes):
    """What a task reads of an environment: two positions more than velocities."""
    defaults = {
        "init_qpos": np.arange(5.0),
        "init_qvel": np.zeros(3),
        "dt": 0.5,
        "_reset_noise_scale": 0.1,
        "_forward_reward_weight": 3.0,
        "_ctrl_cost_weight": 0.1,
        "_healthy_reward": 2.0,
        "_terminate_when_unhealthy": True,
        "_healthy_z_range": (1.0, 2.0),
        "_healthy_angle_range": (-1.0, 1.0),
        "_exclude_current_positions_from_observation": True,
    }
    return SimpleNamespace(**(defaults | attributes))


def state(*rows):
    return {"qpos": np.array(rows, float), "qvel": np.zeros((len(rows), 3))}


def test_the_eight_tasks_are_known():
    ids = [f"{name}-v{version}" for name in NAMES for version in (4, 5)]
    assert [id for id in [*ids, "Pusher-v5"] if not has_task(id)] == []
    for id in ("Pusher-v4", "Reacher-v5", POINT_ID, "hopper-medium-v2", "Nothing-v0"):
        assert not has_task(id)


def test_other_environments_have_no_task():
    assert find_task(PointEnv()) is None


@pytest.mark.parametrize(("old", "in_the_end"), [(True, 2.0), (False, 0.0)])
def test_a_walker_is_paid_for_speed_and_health(old, in_the_end):
    task = Walker(fake(), old=old)
    before = task.track(state([1, 1.5, 0, 0, 0]))
    rows = ([2, 1.5, 0, 0, 0], [2, 1.0, 0, 0, 0], [2, 1.5, -1, 0, 0])
    action = np.array([[1.0, 2.0]] * 3)
    reward, terminated = task.evaluate(np.repeat(before, 3), state(*rows), action)
    # 3 * (2 - 1) / 0.5 + alive - 0.1 * (1 + 4); bounds themselves are outside
    np.testing.assert_allclose(reward, [7.5, 5.5 + in_the_end, 5.5 + in_the_end])
    assert terminated.tolist() == [False, True, True]


def test_a_walker_that_may_fall_never_terminates():
    task = Walker(fake(_terminate_when_unhealthy=False), old=True)
    rows = ([0, 1.5, 0, 0, 0], [0, 9, 0, 0, 0])
    reward, terminated = task.evaluate(np.zeros(2), state(*rows), np.zeros((2, 2)))
    assert reward.tolist() == [2.0, 0.0]
    assert not terminated.any()


def test_a_hopper_is_unhealthy_beyond_its_state_range():
    task = Walker(fake(_healthy_state_range=(-5, 5)), old=True)
    fields = state(*[[0, 1.5, 0, 0, 0]] * 3, [0, 1.5, 0, 0, 5])
    fields["qvel"][1, 0], fields["qvel"][2, 2] = -5, 4
    _, terminated = task.evaluate(np.zeros(4), fields, np.zeros((4, 2)))
    assert terminated.tolist() == [False, True, False, True]


def test_observations_leave_the_place_out_and_limit_speeds():
    fields = state([7, 1, 2, 3, 4])
    fields["qvel"][0] = [-20, 1, 20]
    assert Walker(fake(), True).observe(fields)[0].tolist() == [
        *(1, 2, 3, 4),
        *(-10, 1, 10),
    ]
    assert Swimmer(fake(), True).observe(fields)[0].tolist() == [2, 3, 4, -20, 1, 20]
    env = fake(_exclude_current_positions_from_observation=False)
    assert Swimmer(env, True).observe(fields)[0].tolist() == [
        *(7, 1, 2, 3, 4),
        *(-20, 1, 20),
    ]


def test_first_states_are_drawn_as_gymnasium_draws_them():
    qpos, qvel = Walker(fake(), True).draw(np.random.default_rng(3))
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(qpos, np.arange(5) + rng.uniform(-0.1, 0.1, 5))
    np.testing.assert_array_equal(qvel, rng.uniform(-0.1, 0.1, 3))


def ant(old, **attributes):
    body = SimpleNamespace(body=lambda name: SimpleNamespace(id=1))
    return Ant(
        fake(
            data=body,
            _main_body=1,
            _contact_force_range=(-1.0, 1.0),
            _contact_cost_weight=0.5,
            **attributes,
        ),
        old,
    )


def test_contact_forces_of_an_ant_are_clipped_paid_for_and_observed():
    fields = state(*([0, 0, z, 0, 0] for z in (2.0, 1.0, 2.1, np.nan)))
    fields["xpos"] = np.zeros((4, 2, 3))
    fields["cfrc_ext"] = np.tile([[0.5, 3.0], [-4.0, 0.0]], (4, 1, 1))
    for old, flag in (
        (True, "_use_contact_forces"),
        (False, "_include_cfrc_ext_in_observation"),
    ):
        task = ant(old, **{flag: True})
        reward, terminated = task.evaluate(np.zeros(4), fields, np.zeros((4, 2)))
        # 2 for health, bounds included, - 0.5 * (0.25 + 1 + 1)
        assert reward[0] == 2 - 1.125
        assert terminated.tolist() == [False, False, True, True]
        forces = task.observe(fields)[0, 6:].tolist()
        assert forces == ([0.5, 1.0, -1.0, 0.0] if old else [-1.0, 0.0])
    task = ant(True, _use_contact_forces=False)
    assert "cfrc_ext" not in task.fields
    assert not task.post_constraint
    assert task.evaluate(np.zeros(4), fields, np.zeros((4, 2)))[0][0] == 2
    assert ant(False, _include_cfrc_ext_in_observation=False).post_constraint


def test_a_humanoid_pays_for_its_controls_and_contacts():
    parts = {f"_include_{name}_in_observation": False for name in Humanoid.parts}
    env = fake(
        model=SimpleNamespace(body_mass=np.array([1.0, 3.0])),
        _contact_cost_weight=0.5,
        _contact_cost_range=(-INF, 1.0),
        **(parts | {"_include_cvel_in_observation": True}),
    )
    task = Humanoid(env, False)
    fields = state([0, 0, 1.5, 0, 0], [0, 0, 1.5, 0, 0])
    fields["xipos"] = np.tile([[4.0, 0, 0], [8.0, 0, 0]], (2, 1, 1))
    fields["ctrl"] = np.array([[1.0, 2.0]] * 2)
    fields["cfrc_ext"] = np.array([[[1.0]], [[9.0]]])
    fields["cvel"] = np.arange(8.0).reshape(2, 2, 2)
    assert task.track(fields).tolist() == [7, 7]
    reward, _ = task.evaluate(np.full(2, 6.0), fields, np.full((2, 2), 50))
    # 3 * 1 / 0.5 + 2 - 0.1 * 5 - contacts, at most 1
    assert reward.tolist() == [7, 6.5]
    assert task.observe(fields)[0, -2:].tolist() == [2, 3]


def test_a_pendulum_is_paid_for_standing():
    fields = state([0.5, 0, np.pi / 2])
    fields["qvel"][0] = [20, 1, 2]
    fields["site_xpos"] = np.array([[[1.0, 0, 1.0]]])
    fields["qfrc_constraint"] = np.array([[30.0, 2.0, 3.0]])
    for old, alive, forces in ((True, 10, [10, 2, 3]), (False, 0, [10])):
        task = InvertedDoublePendulum(fake(_healthy_reward=7), old)
        reward, terminated = task.evaluate(np.zeros(1), fields, np.zeros((1, 1)))
        np.testing.assert_allclose(reward, alive - 0.01 - 1 - 0.001 - 0.02)
        assert terminated.tolist() == [True]
        np.testing.assert_allclose(
            task.observe(fields)[0], [0.5, 0, 1, 1, 0, 10, 1, 2, *forces], atol=1e-15
        )


def test_a_pusher_is_paid_for_nearness_and_starts_off_the_goal():
    ids = {"tips_arm": 0, "object": 1, "goal": 2}
    env = fake(
        init_qpos=np.ones(11),
        init_qvel=np.zeros(11),
        data=SimpleNamespace(body=lambda name: SimpleNamespace(id=ids[name])),
        _reward_near_weight=0.5,
        _reward_dist_weight=2.0,
        _reward_control_weight=0.1,
    )
    task = Pusher(env)
    bodies = np.array([[[0, 0, 3.0], [4.0, 0, 0], [0, 0, 0]]])
    fields = {"qpos": np.ones((1, 11)), "qvel": np.ones((1, 11)), "xpos": bodies}
    reward, terminated = task.evaluate(np.zeros(1), fields, np.array([[1.0, 2.0]]))
    np.testing.assert_allclose(reward, -(2 * 4 + 0.1 * 5 + 0.5 * 5))
    assert not terminated[0]
    assert task.observe(fields).shape == (1, 23)
    rng = np.random.default_rng(0)
    for _ in range(50):
        qpos, qvel = task.draw(rng)
        assert np.linalg.norm(qpos[-4:-2]) > 0.17
        assert qpos[:7].tolist() == [1] * 7
        assert qpos[-2:].tolist() == [0, 0]
        assert (qvel[:7] != 0).all()
        assert (qvel[-4:] == 0).all()


# -- against gymnasium -----------------------------------------------------------------

VARIANTS = [
    ("Hopper-v5", {"healthy_state_range": (-3, 3), "forward_reward_weight": 2}),
    ("Hopper-v4", {"terminate_when_unhealthy": False, "healthy_reward": 3}),
    ("Hopper-v5", {"terminate_when_unhealthy": False, "frame_skip": 2}),
    ("Walker2d-v4", {"exclude_current_positions_from_observation": False}),
    ("HalfCheetah-v5", {"reset_noise_scale": 0.3, "ctrl_cost_weight": 0.7}),
    ("Swimmer-v5", {"exclude_current_positions_from_observation": False}),
    ("Ant-v4", {"use_contact_forces": True, "contact_force_range": (-0.5, 0.5)}),
    ("Ant-v4", {"healthy_z_range": (0.5, 0.9)}),
    ("Ant-v5", {"include_cfrc_ext_in_observation": False, "main_body": 3}),
    ("Humanoid-v4", {"terminate_when_unhealthy": False}),
    ("Humanoid-v5", {"include_cvel_in_observation": False, "contact_cost_weight": 1}),
    ("Humanoid-v5", {"include_cinert_in_observation": False}),
    ("InvertedDoublePendulum-v4", {}),
    ("InvertedDoublePendulum-v5", {"healthy_reward": 3, "reset_noise_scale": 0.3}),
    ("Pusher-v5", {"reward_near_weight": 2, "reward_control_weight": 1}),
]


@pytest.mark.full
@pytest.mark.parametrize(("name", "kwargs"), VARIANTS, ids=str)
def test_arguments_of_gymnasium_are_followed(name, kwargs):
    from env.gym_utils.native_vector_env import NativeVectorEnv
    from env.gym_utils.wrapper import MujocoLocomotionLowdimWrapper, MultiStep

    def make():
        env = gymnasium.make(
            name, disable_env_checker=True, max_episode_steps=50, **kwargs
        )
        env = MujocoLocomotionLowdimWrapper(env, None)
        return MultiStep(env, n_action_steps=4, reset_within_step=True)

    assert_equal_to_sync(NativeVectorEnv, make, 30, num_envs=2)
