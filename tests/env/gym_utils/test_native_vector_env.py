import re

import numpy as np
import pytest

from env.gym_utils import SyncVectorEnv, make_async
from env.gym_utils.pipeline import NotBatched
from env.gym_utils.registry import find_env
from env.gym_utils.wrapper import MujocoLocomotionLowdimWrapper, MultiStep
from tests.env.gym_utils.batched_points import (
    assert_equal_to_sync,
    count_ends,
    run_kept,
)
from tests.env.gym_utils.points import assert_same, make_point

pytestmark = pytest.mark.full


def native(*args, **kwargs):
    from env.gym_utils.native_vector_env import NativeVectorEnv

    return NativeVectorEnv(*args, **kwargs)


def factory(name, multi_step=None, path=None, **kwargs):
    known = find_env(name)
    options = {"n_action_steps": 4, "reset_within_step": True} | (multi_step or {})

    def make():
        env = MujocoLocomotionLowdimWrapper(known.make(**kwargs), path)
        return MultiStep(env, **options)

    return make


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("Hopper-v4", 30),
        ("Walker2d-v5", 30),
        ("HalfCheetah-v4", 9),
        ("Ant-v5", 9),
        ("Humanoid-v5", 30),
        ("Swimmer-v4", 9),
        ("InvertedDoublePendulum-v5", 30),
        ("Pusher-v5", 30),
    ],
)
def test_1000_steps_are_gymnasiums_to_the_last_bit(name, ends):
    # A short limit, so that environments that never fall reset as well.
    limit = 90 if name.startswith("Pusher") else 301
    make = factory(name, max_episode_steps=limit)
    results = assert_equal_to_sync(native, make, 250)
    assert count_ends(results) >= ends


@pytest.mark.parametrize(
    "options",
    [
        {"n_action_steps": 1},
        {"n_obs_steps": 2, "pass_full_observations": True},
        {"n_action_steps": 10, "max_episode_steps": 25},
        {"reset_within_step": False, "reward_agg_method": "mean"},
    ],
    ids=str,
)
def test_chunks_are_those_of_multi_step(options):
    results = assert_equal_to_sync(native, factory("Hopper-v4", options), 100)
    assert count_ends(results) > 5


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("name", "dims"), [("hopper", (11, 3)), ("ant", (111, 8))])
def test_d4rl_names_clip_and_normalise_equally(name, dims, dtype, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        f"{kind}_{end}": rng.uniform(1, 2, size) * sign
        for kind, size in zip(("obs", "action"), dims, strict=True)
        for end, sign in (("min", -1), ("max", 1))
    }
    np.savez(tmp_path / "n.npz", **arrays)
    make = factory(f"{name}-medium-v2", path=tmp_path / "n.npz")
    assert_equal_to_sync(native, make, 60, dtype=dtype)


def test_results_do_not_depend_on_the_number_of_threads():
    results = []
    for threads in (1, 2, 7):
        venv = native([factory("Hopper-v4")] * 8, num_threads=threads)
        results.append([venv.reset(seed=1), run_kept(venv, 60)])
        venv.close()
    assert count_ends(results[0][1]) > 20
    assert_same(results[0], results[1])
    assert_same(results[0], results[2])


def test_the_same_seed_gives_the_same_results():
    venv = native([factory("Hopper-v4")] * 3)
    results = [[venv.reset(seed=4), run_kept(venv, 30)] for _ in range(2)]
    assert_same(*results)
    assert (venv.reset(seed=5)["state"] != results[0][0]["state"]).any()


@pytest.mark.parametrize("name", ["Hopper-v4", "Humanoid-v4", "Ant-v5", "Pusher-v5"])
@pytest.mark.parametrize("other", [native, SyncVectorEnv])
def test_a_restored_simulation_continues_equally(name, other):
    make = factory(name, {"n_obs_steps": 2})
    venv = native([make] * 2)
    venv.reset(seed=1)
    run_kept(venv, 6)
    state = venv.get_state()
    expected = [run_kept(venv, 30), venv.reset()]
    second = other([make] * 2)
    second.set_state(state)
    assert_same([run_kept(second, 30), second.reset()], expected)


@pytest.mark.parametrize("value", [np.nan, 1e12])
def test_a_diverged_simulation_goes_on_as_in_gymnasium(value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # MuJoCo leaves a log of its warnings
    make, both = factory("Hopper-v4"), []
    for kind in (SyncVectorEnv, native):
        venv = kind([make] * 2)
        venv.reset(seed=1)
        if kind is SyncVectorEnv:
            data = [venv._group._env(i).unwrapped.data for i in range(2)]
        else:
            data = venv._datas
        data[1].qvel[3] = value
        both.append(run_kept(venv, 20))
    assert_same(*both)


def test_reset_one_leaves_the_others_alone():
    venv, twin = (native([factory("Hopper-v4")] * 3) for _ in range(2))
    venv.reset(seed=1)
    twin.reset(seed=1)
    venv.reset_one_arg(1, {"seed": 9})
    actions = np.zeros((3, 4, 3))
    ours, theirs = venv.step(actions)[0]["state"], twin.step(actions)[0]["state"]
    assert_same(ours[[0, 2]], theirs[[0, 2]])
    assert (ours[1] != theirs[1]).any()


def test_a_failure_in_a_thread_names_its_environment(monkeypatch):
    import mujoco

    venv = native([factory("Hopper-v4")] * 3, num_threads=2)
    venv.reset(seed=0)
    step, broken = mujoco.mj_step, venv._datas[2]

    def fail(model, data, count):
        if data is broken:
            raise mujoco.FatalError("no memory")
        step(model, data, count)

    monkeypatch.setattr(mujoco, "mj_step", fail)
    with pytest.raises(mujoco.FatalError, match="no memory") as caught:
        venv.step(np.zeros((3, 4, 3)))
    assert "environment 2" in str(caught.value.__notes__)
    monkeypatch.undo()
    venv.reset(seed=0)
    venv.step(np.zeros((3, 4, 3)))


def test_what_is_not_native_is_refused():
    from gymnasium.envs.mujoco.hopper_v4 import HopperEnv

    class Own(HopperEnv):
        pass

    def make_own():
        return MultiStep(MujocoLocomotionLowdimWrapper(Own(), None))

    for make, name in ((make_point, "PointEnv"), (make_own, "Own")):
        with pytest.raises(NotBatched, match=f"no native task for {name}"):
            native([make] * 2)
    with pytest.raises(ValueError, match="num_threads must be >= 1, got 0"):
        native([factory("Hopper-v4")], num_threads=0)


def test_auto_is_native_and_all_backends_are_equal():
    wrappers = {
        "mujoco_locomotion_lowdim": {"normalization_path": None},
        "multi_step": {"n_action_steps": 4, "reset_within_step": True},
    }
    results = []
    for backend in ("auto", "native", "sync", "async"):
        venv = make_async(
            "hopper-medium-v2", 5, wrappers=wrappers, backend=backend, obs_dim=11
        )
        results.append(re.sub("VectorEnv", "", type(venv).__name__))
        results.append([venv.reset(seed=0), run_kept(venv, 40)])
        venv.close()
    assert results[::2] == ["Native", "Native", "Sync", "Async"]
    for other in results[3::2]:
        assert_same(results[1], other)
