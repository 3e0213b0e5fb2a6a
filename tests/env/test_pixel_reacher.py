"""The pixel reacher: what is seen, what is rewarded, and that it can be continued."""

import gymnasium
import numpy as np
import pytest

import env.pixel_reacher as module
from env.gym_utils import AsyncVectorEnv, make_async
from env.gym_utils.registry import find_env
from env.gym_utils.state import get_env_state, set_env_state
from env.rendering import RenderingError
from tests.env.gym_utils.points import assert_same
from tests.rendering import (
    need_renderer,
    need_working_renderer,
    run_in_its_own_process,
)

pytestmark = pytest.mark.full

NAME = "env.pixel_reacher:dppo-tf/PixelReacher-v0"
WRAPPERS = {
    "multi_step": {
        "n_obs_steps": 1,
        "n_action_steps": 4,
        "max_episode_steps": 8,
        "reset_within_step": True,
    }
}
SHAPES = {
    "obs": {"rgb": {"shape": [3, 64, 64]}, "state": {"shape": [6]}},
    "action": {"shape": [2]},
}


@pytest.fixture
def make():
    """Makes environments and closes them; those that see need a renderer."""
    made = []

    def make_one(**options):
        if not options.get("blank"):
            need_renderer()
        made.append(find_env(NAME).make(**options))
        return made[-1]

    yield make_one
    for each in made:
        each.close()


def place(env, angles, target):
    """Puts arm and target somewhere, at rest."""
    import mujoco

    body = env.unwrapped
    body.data.qpos[:], body.data.qvel[:] = [*angles, *target], 0.0
    mujoco.mj_forward(body.model, body.data)
    return body


def find(image, colour):
    """Where (x, y) in metres a colour is in an image (3, H, W)."""
    wanted = np.array(colour)[:, None, None] * 255
    rows, columns = np.nonzero(np.abs(image - wanted).max(axis=0) < 40)
    pixel = 2 * module._VIEW / image.shape[1]
    middle = (image.shape[1] - 1) / 2
    return (columns.mean() - middle) * pixel, (middle - rows.mean()) * pixel


def test_observations_are_of_their_space(make):
    env = make()
    obs, info = env.reset(seed=0)
    assert env.observation_space.contains(obs)
    assert (obs["rgb"].dtype, obs["rgb"].shape) == (np.uint8, (3, 64, 64))
    obs, reward, terminated, truncated, info = env.step(np.array([0.3, -0.2]))
    assert env.observation_space.contains(obs)
    assert isinstance(reward, float)
    assert (terminated, truncated) == (False, False)
    assert info["distance"] == env.unwrapped.distance


def test_images_show_tip_and_target_upright(make):
    env = make(image_size=96)
    env.reset(seed=0)
    body = place(env, [np.pi / 2, 0.0], [0.12, -0.08])
    image = body._observe()["rgb"]
    tip, target = (find(image, module._COLOURS[n]) for n in ("fingertip", "target"))
    np.testing.assert_allclose(tip, [0.0, sum(module.LINKS)], atol=0.008)
    np.testing.assert_allclose(target, [0.12, -0.08], atol=0.008)


def test_the_target_is_in_the_image_only(make):
    env = make()
    env.reset(seed=0)
    first, second = (
        place(env, [0.3, 0.5], target)._observe()
        for target in ([0.1, 0.1], [-0.1, 0.05])
    )
    np.testing.assert_array_equal(first["state"], second["state"])
    assert (first["rgb"] != second["rgb"]).any()


def test_states_are_cosines_sines_and_scaled_velocities(make):
    env = make(blank=True)
    env.reset(seed=0)
    body = place(env, [0.3, -0.5], [0.1, 0.1])
    body.data.qvel[:2] = [5.0, -2.5]
    expected = [np.cos(0.3), np.cos(-0.5), np.sin(0.3), np.sin(-0.5), 0.5, -0.25]
    np.testing.assert_allclose(body._observe()["state"], expected, rtol=1e-6)


@pytest.mark.parametrize(("gap", "reward"), [(0.0, 1.0), (0.025, 1.0), (0.035, 0.0)])
def test_steps_near_the_target_are_rewarded(make, gap, reward):
    env = make(blank=True)
    env.reset(seed=0)
    body = place(env, [0.0, 0.0], [sum(module.LINKS) - gap, 0.0])
    assert body.distance == pytest.approx(gap, abs=1e-9)
    assert env.step(np.zeros(2))[1] == reward


def test_the_arm_moves_as_gymnasiums_does(make):
    env, other = make(blank=True), gymnasium.make("Reacher-v4").unwrapped
    env.reset(seed=0)
    other.reset(seed=0)
    body = place(env, [0.1, -0.2], [0.1, 0.1])
    other.set_state(body.data.qpos.copy(), body.data.qvel.copy())
    for action in np.random.default_rng(0).uniform(-1, 1, (30, 2)):
        env.step(action)
        other.step(module.TORQUE * action)
    np.testing.assert_allclose(body.data.qpos, other.data.qpos, atol=1e-9)


def test_actions_beyond_the_bounds_count_as_the_bounds(make):
    envs = [make(blank=True), make(blank=True)]
    for env, action in zip(envs, ([1.0, -1.0], [3.0, -9.0]), strict=True):
        env.reset(seed=0)
        state = env.step(np.array(action))[0]["state"]
    np.testing.assert_array_equal(envs[0].unwrapped._observe()["state"], state)


def test_an_episode_is_truncated_after_50_steps(make):
    env = make(blank=True)
    env.reset(seed=0)
    flags = [env.step(np.zeros(2))[2:4] for _ in range(50)]
    assert flags == [(False, False)] * 49 + [(False, True)]


def test_targets_lie_on_a_disc_and_first_states_near_straight(make):
    env = make(blank=True)
    env.reset(seed=0)
    targets = []
    for _ in range(300):
        env.reset()
        body = env.unwrapped
        targets.append(body.target)
        assert np.abs(body.data.qpos[:2]).max() <= 0.1
    radii = np.linalg.norm(targets, axis=1)
    assert radii.max() <= 0.2
    # Half of a disc lies beyond 0.2 / sqrt(2).
    assert np.mean(radii > 0.2 / np.sqrt(2)) == pytest.approx(0.5, abs=0.1)


def test_equal_seeds_give_equal_images(make):
    first, second = make(), make()
    results = [
        [env.reset(seed=4), *(env.step(np.array([0.5, 0.2])) for _ in range(5))]
        for env in (first, second)
    ]
    assert_same(*results)


def test_blank_images_are_black_and_need_no_renderer(make, monkeypatch):
    def refuse():
        raise RenderingError("none")

    monkeypatch.setattr(module, "choose_renderer", refuse)
    env = make(blank=True)
    blank, _ = env.reset(seed=4)
    assert blank["rgb"].shape == (3, 64, 64)
    assert not blank["rgb"].any()
    with pytest.raises(RenderingError):
        find_env(NAME).make()


def test_blank_environments_differ_in_images_only(make):
    envs = make(blank=True, render_mode="rgb_array"), make()
    (blank, _), (seen, _) = (env.reset(seed=4) for env in envs)
    np.testing.assert_array_equal(blank["state"], seen["state"])
    assert seen["rgb"].any()
    np.testing.assert_array_equal(envs[0].render(), seen["rgb"].transpose(1, 2, 0))


def test_an_episode_continues_equally(make):
    env, other = make(), make()
    env.reset(seed=0)
    for action in np.random.default_rng(0).uniform(-1, 1, (10, 2)):
        env.step(action)
    state = get_env_state(env)
    set_env_state(other, state)
    actions = np.random.default_rng(1).uniform(-1, 1, (40, 2))
    continued = [
        [*(each.step(action) for action in actions), each.reset()]
        for each in (env, other)
    ]
    assert_same(*continued)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 4}, "image_size must be >= 8, got 4"),
        ({"render_mode": "human"}, "null or rgb_array, got 'human'"),
    ],
)
def test_impossible_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        module.PixelReacher(blank=True, **options)


def test_closing_frees_the_renderer(make):
    env = make()
    env.reset(seed=0)
    renderer = env.unwrapped._renderer
    env.close()
    env.close()
    assert renderer._context is None


def make_many(backend, n=20):
    return make_async(
        NAME,
        n,
        wrappers=WRAPPERS,
        backend=backend,
        obs_dim=6,
        action_dim=2,
        shape_meta=SHAPES,
        use_image_obs=True,
    )


def run_episode(venv):
    """First observations and results of each chunk of an episode; closes."""
    venv.seed(list(range(venv.num_envs)))
    results = [venv.reset()]
    rng = np.random.default_rng(0)
    for _ in range(2):
        results.append(venv.step(rng.uniform(-1, 1, (venv.num_envs, 4, 2))))
    venv.close()
    return results


def test_workers_show_images_as_bytes_in_shared_memory():
    need_working_renderer()
    venv = make_many("auto")
    buffer = venv._buffers.obs["rgb"]
    first, *_, last = run_episode(venv)
    assert buffer.dtype == np.uint8
    assert not buffer.flags.owndata
    assert (first["rgb"].dtype, first["rgb"].shape) == (np.uint8, (20, 1, 3, 64, 64))
    obs, _, _, truncated, infos = last
    assert truncated.all()
    final = infos[0]["final_obs"]["rgb"]
    assert (final.dtype, final.shape) == (np.uint8, (1, 3, 64, 64))
    assert (final != obs["rgb"][0]).any()


def test_one_environment_that_renders_has_a_worker_too():
    venv = make_many("auto", n=1)
    assert isinstance(venv, AsyncVectorEnv)
    assert venv._context.get_start_method() == "forkserver"
    venv.close()


def test_workers_show_the_same_as_this_process():
    need_renderer()
    alone, shared = (run_episode(make_many(kind, 3)) for kind in ("sync", "async"))
    assert_same(alone, shared)


def test_images_must_be_asked_for():
    with pytest.raises(ValueError, match="use_image_obs must be True for env.pixel_"):
        make_async(NAME, 1, wrappers=WRAPPERS, blank=True)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            {"obs": {"rgb": {"shape": [3, 96, 96]}}},
            r"obs\.rgb\.shape must be .*\[3, 64, 64\], got \[3, 96, 96\]",
        ),
        (
            {"obs": {"depth": {"shape": [1, 64, 64]}}},
            r"obs\.depth\.shape must be .* no such observation",
        ),
        ({"action": {"shape": [7]}}, r"action\.shape must be .*\[2\], got \[7\]"),
    ],
)
def test_other_shapes_are_refused_by_name(shapes, message):
    with pytest.raises(ValueError, match=message):
        make_async(
            NAME,
            wrappers=WRAPPERS,
            shape_meta=shapes,
            use_image_obs=True,
            backend="sync",
            blank=True,
        )


def test_pictures_in_a_process_of_their_own():
    run_in_its_own_process(__file__)
