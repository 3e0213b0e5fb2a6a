import numpy as np
import pytest
from gymnasium.error import (
    AlreadyPendingCallError,
    ClosedEnvironmentError,
    NoAsyncCallError,
)
from gymnasium.spaces import Box

from env.gym_utils import SyncVectorEnv
from env.gym_utils.wrapper import MultiStep
from tests.env.gym_utils.points import (
    BACKENDS,
    assert_same,
    draw_actions,
    make_point,
    make_venv,
    run,
)
from tests.fakes import PointEnv
from util.checkpoint import load_state, save_state


@pytest.fixture(params=list(BACKENDS))
def backend(request):
    return request.param


@pytest.fixture
def venv(backend):
    venv = make_venv(backend)
    venv.seed([5, 6, 7])
    venv.reset_arg([{}] * 3)
    yield venv
    venv.close()


def test_step_returns_stacked_arrays(venv):
    obs, reward, terminated, truncated, infos = venv.step(np.zeros((3, 3, 2)))
    assert obs["state"].shape == (3, 2, 4)
    assert obs["state"].dtype == np.float64
    assert reward.shape == (3,)
    assert reward.dtype == np.float64
    assert terminated.shape == truncated.shape == (3,)
    assert terminated.dtype == truncated.dtype == bool
    assert isinstance(infos, tuple)
    assert [info["distance"].shape for info in infos] == [(2,)] * 3


def test_spaces_have_the_axis_of_environments(venv):
    assert venv.single_observation_space["state"].shape == (2, 4)
    assert venv.observation_space["state"].shape == (3, 2, 4)
    assert venv.single_action_space == Box(-1, 1, (3, 2))
    assert venv.action_space.shape == (3, 3, 2)
    assert venv.is_vector_env


def test_workers_take_the_same_trajectories_as_one_process():
    results = []
    for backend in BACKENDS:
        venv = make_venv(backend, 5)
        venv.seed(3)
        first = venv.reset_arg([{}] * 5)
        results.append([first, *run(venv, 300)])
        venv.close()
    assert sum(r["terminated"].sum() for r in results[0][1:]) > 10
    assert sum(r["truncated"].sum() for r in results[0][1:]) > 10
    assert_same(*results)


@pytest.mark.full
@pytest.mark.parametrize("name", ["Hopper", "Walker2d", "HalfCheetah"])
def test_workers_take_the_same_trajectories_in_mujoco(name):
    import gymnasium

    from env.gym_utils.wrapper import MujocoLocomotionLowdimWrapper

    def make():
        # A short limit, so that the environment that never falls resets as well.
        env = gymnasium.make(f"{name}-v4", max_episode_steps=60)
        env = MujocoLocomotionLowdimWrapper(env, None)
        return MultiStep(env, n_action_steps=4, reset_within_step=True)

    results = []
    for backend in BACKENDS:
        venv = BACKENDS[backend]([make] * 3)
        venv.seed(0)
        first = venv.reset_arg([{}] * 3)
        results.append([first, *run(venv, 300)])
        venv.close()
    ends = sum((r["terminated"] | r["truncated"]).sum() for r in results[0][1:])
    assert ends > 10
    assert_same(*results)


def test_results_are_copies(venv):
    obs, reward, *_ = venv.step(np.zeros((3, 3, 2)))
    kept = obs["state"].copy(), reward.copy()
    venv.step(np.ones((3, 3, 2)))
    assert_same((obs["state"], reward), kept)


def test_wrong_action_shape_names_the_expected_one(venv):
    with pytest.raises(ValueError, match=r"\(E, Te, Da\)=\(3, 3, 2\), got \(3, 4, 2\)"):
        venv.step(np.zeros((3, 4, 2)))
    venv.step(np.zeros((3, 3, 2)))


def test_non_finite_actions_name_the_environment(venv):
    actions = np.zeros((3, 3, 2))
    actions[0, 0, 0], actions[2, 1, 1] = np.inf, np.nan
    with pytest.raises(ValueError, match="environments 0, 2 are not finite"):
        venv.step(actions)


def test_no_environments_are_refused(backend):
    with pytest.raises(ValueError, match="num_envs must be >= 1"):
        make_venv(backend, 0)


def test_plain_observations_are_refused(backend):
    with pytest.raises(TypeError, match="must be a Dict of boxes"):
        BACKENDS[backend]([PointEnv])


def test_different_observations_are_refused(backend):
    fns = [make_point, lambda: make_point(obs_size=7)]
    with pytest.raises(ValueError, match="observation_space must have") as caught:
        BACKENDS[backend](fns)
    assert "environment 1" in str(caught.value.__notes__)


# -- seeds and resets ------------------------------------------------------------------


def test_seeds_make_resets_and_the_resets_within_steps_reproducible(venv):
    results = []
    for _ in range(2):
        venv.seed([5, 6, 7])
        results.append([venv.reset_arg([{}] * 3), *run(venv, 40)])
    assert_same(*results)


def test_environments_with_different_seeds_differ(venv):
    venv.seed([1, 1, 2])
    state = venv.reset_arg([{}] * 3)["state"]
    assert_same(state[0], state[1])
    assert (state[0] != state[2]).all()


def test_a_seed_is_used_once(venv):
    venv.seed([1, 1, 1])
    first = venv.reset_arg([{}] * 3)["state"]
    assert (first != venv.reset_arg([{}] * 3)["state"]).all()


def test_an_integer_seeds_consecutively(venv):
    venv.seed(8)
    first = venv.reset_arg([{}] * 3)
    venv.seed([8, 9, 10])
    assert_same(first, venv.reset_arg([{}] * 3))


def test_reset_takes_a_seed_and_common_options(venv):
    first = venv.reset(seed=8)
    assert_same(first, venv.reset(seed=[8, 9, 10], options={"other": 1}))


def test_the_option_seed_wins_over_seed(venv):
    expected = venv.reset_arg([{}, {"seed": 9}, {}])["state"][1]
    venv.seed([1, 2, 3])
    state = venv.reset_arg([{}, {"seed": 9}, {}])["state"]
    assert_same(state[1], expected)
    venv.seed([1, None, 3])
    assert_same(state[[0, 2]], venv.reset_arg([{}] * 3)["state"][[0, 2]])


def test_reset_one_leaves_the_others_alone(venv):
    twin = make_venv("sync")
    twin.set_state(venv.get_state())
    fresh = venv.reset_one_arg(1, {"seed": 4})
    assert fresh["state"].shape == (2, 4)
    assert_same(fresh["state"], venv.reset_one_arg(1, {"seed": 4})["state"])
    actions = np.zeros((3, 3, 2))
    ours, theirs = venv.step(actions), twin.step(actions)
    assert_same(ours[0]["state"][[0, 2]], theirs[0]["state"][[0, 2]])
    assert (ours[0]["state"][1] != theirs[0]["state"][1]).all()


def test_reset_one_refuses_an_unknown_environment(venv):
    with pytest.raises(ValueError, match=r"env_ind must be in 0..2, got 3"):
        venv.reset_one_arg(3)


@pytest.mark.parametrize(
    ("method", "name"), [("reset_arg", "options_list"), ("seed", "seeds")]
)
def test_lists_of_another_length_are_refused(venv, method, name):
    with pytest.raises(ValueError, match=f"{name} must have one entry for each of"):
        getattr(venv, method)([{}])


# -- attributes ------------------------------------------------------------------------


def test_attributes_are_read_and_written(venv):
    assert venv.get_attr("bound") == (1.4,) * 3
    venv.set_attr("bound", [1.0, 2.0, 3.0])
    assert venv.get_attr("bound") == (1.0, 2.0, 3.0)
    venv.set_attr("bound", 5.0)
    assert venv.get_attr("bound") == (5.0,) * 3
    with pytest.raises(ValueError, match="values must have one entry"):
        venv.set_attr("bound", [1.0])


def test_methods_are_called_with_arguments(venv):
    venv.step(np.zeros((3, 3, 2)))
    previous = venv.call("get_prev_action", n_steps=1)
    assert_same(previous, tuple(np.zeros((3, 1, 2))))


def test_an_unknown_attribute_is_an_error(venv):
    with pytest.raises(AttributeError, match="unheard_of"):
        venv.get_attr("unheard_of")


class _Painting(PointEnv):
    def render(self):
        return f"{self.n_steps} steps"


def test_render_returns_a_frame_of_each(backend):
    venv = BACKENDS[backend]([lambda: _as_dict(_Painting())] * 2)
    venv.reset_arg([{}] * 2)
    assert venv.render() == ("0 steps",) * 2
    venv.close()


def _as_dict(env):
    from env.gym_utils.wrapper import MujocoLocomotionLowdimWrapper

    return MultiStep(MujocoLocomotionLowdimWrapper(env, None))


# -- states ----------------------------------------------------------------------------


def test_a_restored_vector_env_continues_equally(venv, backend, tmp_path):
    run(venv, 13)
    venv.seed([1, None, 2])  # waits for a reset; part of the state
    save_state(tmp_path / "state", {"venv": venv.get_state()}, {})
    expected = [run(venv, 30, seed=1), venv.reset_arg([{}] * 3), run(venv, 9)]
    other = make_venv("sync" if backend == "async" else "async")
    other.set_state(load_state(tmp_path / "state")[0]["venv"])
    got = [run(other, 30, seed=1), other.reset_arg([{}] * 3), run(other, 9)]
    other.close()
    assert_same(got, expected)


def test_a_state_can_be_restored_twice(venv):
    run(venv, 4)
    state = venv.get_state()
    expected = run(venv, 20)
    for _ in range(2):
        venv.set_state(state)
        assert_same(run(venv, 20), expected)


def test_a_state_of_other_environments_is_refused(venv):
    state = venv.get_state()
    with pytest.raises(ValueError, match="envs of the state must have one entry"):
        venv.set_state({"envs": state["envs"][:2]})


# -- errors and life time --------------------------------------------------------------


class _Failing(PointEnv):
    """Fails in the third episode step, if told to."""

    fail = False

    def step(self, action):
        if self.fail and self.n_steps == 2:
            raise ZeroDivisionError("the simulator broke")
        return super().step(action)


def test_an_exception_keeps_its_type_and_names_the_environment(backend):
    venv = BACKENDS[backend]([lambda: _as_dict(_Failing())] * 3)
    venv.set_attr("fail", [False, True, False])
    venv.reset(seed=0)
    actions = np.zeros((3, 1, 2))
    for _ in range(2):
        venv.step(actions)
    with pytest.raises(ZeroDivisionError, match="the simulator broke") as caught:
        venv.step(actions)
    assert "environment 1" in str(caught.value.__notes__)
    venv.reset(seed=0)
    venv.step(actions)  # still usable
    venv.close()


def test_overlapping_calls_are_refused(venv):
    actions = draw_actions(venv, np.random.default_rng(0))
    venv.step_async(actions)
    with pytest.raises(AlreadyPendingCallError, match="pending step"):
        venv.step_async(actions)
    with pytest.raises(AlreadyPendingCallError, match="pending step"):
        venv.reset_arg([{}] * 3)
    venv.step_wait()


def test_waiting_without_a_call_is_refused(venv):
    with pytest.raises(NoAsyncCallError, match="no step was started"):
        venv.step_wait()


def test_a_closed_vector_env_refuses_to_work(venv):
    venv.close()
    venv.close()
    assert venv.closed
    with pytest.raises(ClosedEnvironmentError, match="step on a closed"):
        venv.step(np.zeros((3, 3, 2)))
    with pytest.raises(ClosedEnvironmentError, match="reset on a closed"):
        venv.reset_arg([{}] * 3)


def test_spaces_come_from_the_dummy_environment():
    made = []

    def make():
        made.append(1)
        return make_point()

    venv = SyncVectorEnv([make] * 2, dummy_env_fn=make_point)
    assert len(made) == 2
    venv.close()


def test_non_finite_observations_are_marked(backend):
    venv = BACKENDS[backend]([make_point, lambda: make_point(nan_after=4)])
    venv.reset(seed=0)
    venv.step(np.zeros((2, 3, 2)))
    obs, _, terminated, _, infos = venv.step(np.zeros((2, 3, 2)))
    assert ["nan" in info for info in infos] == [False, True]
    assert not np.isfinite(obs["state"][1]).all()
    assert not terminated.any()
    venv.reset_one_arg(1, {})
    assert not any("nan" in info for info in venv.step(np.zeros((2, 3, 2)))[4])
    venv.close()
