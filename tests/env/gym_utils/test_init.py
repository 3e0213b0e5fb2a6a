import logging

import gymnasium
import numpy as np
import pytest
from omegaconf import OmegaConf

from env import gym_utils
from env.gym_utils import AsyncVectorEnv, SyncVectorEnv, make_async, wrapper_dict
from env.gym_utils.wrapper import MujocoLocomotionLowdimWrapper, MultiStep
from tests.env.gym_utils.points import assert_same, run
from tests.fakes import POINT_ID

WRAPPERS = {
    "mujoco_locomotion_lowdim": {"normalization_path": None},
    "multi_step": {
        "n_obs_steps": 1,
        "n_action_steps": 4,
        "max_episode_steps": 30,
        "reset_within_step": True,
    },
}


def make(id=POINT_ID, num_envs=2, wrappers=WRAPPERS, backend="sync", **kwargs):
    return make_async(id, num_envs, wrappers=wrappers, backend=backend, **kwargs)


def test_wrappers_are_applied_innermost_first():
    venv = make(obs_dim=4, action_dim=2, max_episode_steps=30)
    env = venv._group._env(0)
    assert isinstance(env, MultiStep)
    assert isinstance(env.env, MujocoLocomotionLowdimWrapper)
    assert venv.num_envs == 2
    assert venv.single_action_space.shape == (4, 2)
    assert venv.reset(seed=0)["state"].shape == (2, 1, 4)


def test_wrapper_names_are_the_references():
    assert wrapper_dict["multi_step"] is MultiStep
    assert wrapper_dict["mujoco_locomotion_lowdim"] is MujocoLocomotionLowdimWrapper


def test_wrappers_may_be_a_config_with_interpolations():
    cfg = OmegaConf.create({"act_steps": 5, "env": {"wrappers": WRAPPERS}})
    cfg.env.wrappers.multi_step.n_action_steps = "${act_steps}"
    venv = make(wrappers=cfg.env.wrappers)
    assert venv.single_action_space.shape == (5, 2)


def test_other_arguments_reach_the_environment():
    venv = make(obs_size=6, bound=3.0)
    assert venv.get_attr("bound") == (3.0, 3.0)
    assert venv.single_observation_space["state"].shape == (1, 6)


def test_backends_are_equal():
    results = []
    for backend in ("sync", "async"):
        venv = make(num_envs=5, backend=backend)
        results.append([venv.reset(seed=1), *run(venv, 30)])
        venv.close()
    assert_same(*results)


@pytest.mark.parametrize(
    ("processors", "num_envs", "asynchronous", "kind"),
    [
        (2, 3, True, SyncVectorEnv),
        (2, 4, True, AsyncVectorEnv),
        (2, 4, False, SyncVectorEnv),
        (1, 40, True, SyncVectorEnv),
    ],
)
def test_auto_uses_workers_for_many_environments(
    monkeypatch, processors, num_envs, asynchronous, kind
):
    monkeypatch.setattr(gym_utils, "count_processors", lambda: processors)
    venv = make(num_envs=num_envs, backend="auto", asynchronous=asynchronous)
    assert type(venv) is kind
    venv.close()


def test_the_choice_is_logged_with_its_reason(monkeypatch, caplog):
    monkeypatch.setattr(gym_utils, "count_processors", lambda: 1)
    with caplog.at_level(logging.INFO):
        make(num_envs=4, backend="auto")
        make(num_envs=3, backend="auto")
        make(backend="sync")
    assert [record.getMessage() for record in caplog.records] == [
        f"4 x {POINT_ID} in a SyncVectorEnv (not native: there is no native task for "
        f"{POINT_ID}).",
        f"3 x {POINT_ID} in a SyncVectorEnv (fewer than 4).",
        f"2 x {POINT_ID} in a SyncVectorEnv (as asked for).",
    ]


def test_render_asks_for_a_window():
    venv = make(render=True)
    assert venv.get_attr("render_mode") == ("human", "human")


def test_the_time_limit_holds_without_multi_step():
    wrappers = {"mujoco_locomotion_lowdim": {"normalization_path": None}}
    venv = make(wrappers=wrappers, max_episode_steps=3, bound=99)
    venv.reset(seed=0)
    flags = [venv.step(np.zeros((2, 2)))[2:4] for _ in range(3)]
    assert [truncated.tolist() for _, truncated in flags] == [
        [False, False],
        [False, False],
        [True, True],
    ]
    assert not any(terminated.any() for terminated, _ in flags)


def test_videos_that_nobody_records_are_reported(caplog):
    with caplog.at_level(logging.WARNING):
        make(render_offscreen=True)
    assert "env.save_video has no effect" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_envs": 0}, "num_envs must be >= 1, got 0"),
        ({"backend": "fast"}, "one of auto, sync, async, native, envpool, got 'fast'"),
        ({"backend": "native"}, f"native is impossible: .* task for {POINT_ID}"),
        ({"obs_dim": 11}, "obs_dim must be 4, as the environment has, got 11"),
        ({"action_dim": 3}, "action_dim must be 2, as the environment has, got 3"),
        ({"env_type": "furniture"}, "the family 'furniture' are not available yet"),
        ({"id": "kitchen-mixed-v0"}, "the family 'kitchen' are not available yet"),
        ({"id": "avoiding-m5"}, "the family 'd3il' are not available yet"),
        ({"robomimic_env_cfg_path": "x"}, "the family 'robomimic' are not available"),
        ({"wrappers": {"robomimic_image": {}}}, "the family 'robomimic' are not"),
        ({"wrappers": {"multistep": {}}}, "'multistep'; the nearest is 'multi_step'"),
        ({"use_image_obs": True}, "env.use_image_obs: .* has no image observations"),
        (
            {"shape_meta": {"obs": {"state": {"shape": [5]}}}},
            r"obs\.state.* \[4\], got",
        ),
        ({"shape_meta": {"obs": {"rgb": {"shape": [3]}}}}, "obs.rgb.* no such observ"),
        (
            {"shape_meta": {"action": {"shape": [3]}}},
            r"action\.shape must .* \[2\], got",
        ),
        ({"id": "Pointless-v0"}, "env.name='Pointless-v0' is not known"),
    ],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)


def test_shapes_that_fit_are_accepted():
    shapes = {"obs": {"state": {"shape": [4]}}, "action": {"shape": [2]}}
    assert make(shape_meta=OmegaConf.create(shapes)).num_envs == 2


def test_unknown_arguments_are_refused():
    with pytest.raises(TypeError, match="boundary"):
        make(boundary=3)
    with pytest.raises(TypeError, match="n_steps"):
        make(wrappers={"multi_step": {"n_steps": 3}})


def test_workers_end_when_sizes_do_not_fit():
    with pytest.raises(ValueError, match="obs_dim must be"):
        make(backend="async", obs_dim=11)


def test_an_environment_without_wrappers_says_what_it_needs():
    with pytest.raises(TypeError, match="mujoco_locomotion_lowdim makes one"):
        make(wrappers=None)


@pytest.mark.full
def test_a_d4rl_name_runs_with_its_time_limit_as_truncation():
    wrappers = WRAPPERS | {
        "multi_step": {"n_action_steps": 4, "reset_within_step": True}
    }
    venv = make("halfcheetah-medium-v2", 1, wrappers, obs_dim=17, action_dim=6)
    venv.reset(seed=0)
    for chunk in range(250):
        _, _, terminated, truncated, infos = venv.step(np.zeros((1, 4, 6)))
        assert not terminated[0]
        assert truncated[0] == (chunk == 249)
    assert infos[0]["final_obs"]["state"].shape == (1, 17)


@pytest.mark.full
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"render": True}, "rendering needs gymnasium's objects"),
        ({"disable_env_checker": False}, "PassiveEnvChecker cannot be batched"),
        (
            {
                "wrappers": {
                    "mujoco_locomotion_lowdim": WRAPPERS["mujoco_locomotion_lowdim"]
                }
            },
            "the wrapper MultiStep is missing",
        ),
    ],
)
def test_what_cannot_be_native_is_named(monkeypatch, arguments, message):
    with pytest.raises(
        ValueError, match=f"env.backend=native is impossible: .*{message}"
    ):
        make("Hopper-v5", 4, **({"backend": "native"} | arguments))
    if "render" not in arguments:
        monkeypatch.setattr(gym_utils, "count_processors", lambda: 1)
        venv = make("Hopper-v5", 4, **({"backend": "auto"} | arguments))
        assert type(venv) is SyncVectorEnv


@pytest.mark.full
@pytest.mark.parametrize(
    ("num_envs", "asynchronous", "kind"),
    [
        (3, True, "SyncVectorEnv"),
        (4, True, "NativeVectorEnv"),
        (4, False, "SyncVectorEnv"),
    ],
)
def test_auto_is_native_for_mujoco(num_envs, asynchronous, kind):
    venv = make("hopper-medium-v2", num_envs, backend="auto", asynchronous=asynchronous)
    assert type(venv).__name__ == kind
    venv.close()


@pytest.mark.full
def test_a_gymnasium_trajectory_is_reproduced():
    venv = make("hopper-medium-v2", 1)
    plain = gymnasium.make("Hopper-v4")
    obs, _ = plain.reset(seed=3)
    np.testing.assert_array_equal(venv.reset(seed=3)["state"][0, -1], obs)
    chunk = np.random.default_rng(0).uniform(-1, 1, (1, 4, 3))
    result = venv.step(chunk)
    steps = [plain.step(action) for action in chunk[0]]
    np.testing.assert_array_equal(result[0]["state"][0, -1], steps[-1][0])
    assert result[1][0] == np.sum([step[1] for step in steps])
