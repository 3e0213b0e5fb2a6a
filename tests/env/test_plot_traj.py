import numpy as np
import pytest

from env.plot_traj import PILLARS, TrajPlotter

LOW, HIGH = np.array([0.2, -0.3, 0.2, -0.3]), np.array([0.6, 0.5, 0.8, 0.7])


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "normalization.npz"
    np.savez(file, obs_min=LOW, obs_max=HIGH, action_min=[0, 0], action_max=[1, 1])
    return file


def paths(steps=6, envs=5, dims=4):
    """Environment e is at (e, step) / 10 in its first two dimensions."""
    full = np.zeros((steps, envs, dims))
    full[..., 0] = np.arange(envs) / 10
    full[..., 1] = (np.arange(steps) / 10)[:, None]
    return full


def draw(plotter, folder, full=None, n_render=2, steps=100, itr=3, rng=None):
    plotter(
        obs_full_trajs=paths() if full is None else full,
        n_render=n_render,
        max_episode_steps=steps,
        render_dir=folder,
        itr=itr,
        rng=rng,
    )
    return sorted(file.name for file in folder.glob("*.png"))


def lines(figure):
    """Paths in a picture of Avoid, without the goal line."""
    return [line.get_xydata() for line in figure.axes[0].lines[1:]]


def test_avoid_is_one_picture_of_desired_positions(tmp_path, figures):
    assert draw(TrajPlotter("avoid"), tmp_path) == ["traj-3.png"]
    axes = figures[0].axes[0]
    expected = [paths()[:, env, :2] for env in (0, 1)]
    np.testing.assert_array_equal(lines(figures[0]), expected)
    np.testing.assert_array_equal([d.get_offsets() for d in axes.collections], expected)
    assert axes.lines[0].get_ydata() == [0.4, 0.4]
    circles = [(*circle.center, circle.radius) for circle in axes.patches]
    assert circles == [(*center, 0.01) for center in PILLARS]
    assert (axes.get_xlim(), axes.get_ylim()) == ((0.2, 0.8), (-0.3, 0.5))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("X pos", "Y pos")
    assert axes.get_aspect() == 1.0


def test_positions_are_those_before_normalisation(tmp_path, path, figures):
    raw = np.linspace(LOW, HIGH, 5)[:, None]
    full = 2 * ((raw - LOW) / (HIGH - LOW + 1e-6) - 0.5)
    draw(TrajPlotter("avoid", path), tmp_path, full, n_render=1)
    np.testing.assert_allclose(lines(figures[0])[0], raw[:, 0, :2], rtol=1e-12)


def test_observations_beyond_the_longest_episode_are_left_out(tmp_path, figures):
    draw(TrajPlotter("avoid"), tmp_path, steps=4)
    assert [len(line) for line in lines(figures[0])] == [4, 4]


def chosen(seed, folder, figures):
    draw(TrajPlotter("avoid"), folder, n_render=4, rng=np.random.default_rng(seed))
    return [round(10 * line[0, 0]) for line in lines(figures[-1])]


def test_generator_chooses_whose_paths_are_drawn(tmp_path, figures):
    first, again, other = (chosen(seed, tmp_path, figures) for seed in (0, 0, 2))
    assert first == again
    assert first != other
    assert len(set(first)) == 4


def test_equal_paths_are_equal_files(tmp_path):
    for name in ("one", "other"):
        draw(TrajPlotter("avoid"), tmp_path / name, n_render=1)
    one, other = ((tmp_path / n / "traj-3.png").read_bytes() for n in ("one", "other"))
    assert one == other


def test_toy_is_a_picture_for_each_environment(tmp_path, figures):
    full = np.full((3, 5, 2), 0.5)
    full[1, :, 0] = 0.0
    names = draw(TrajPlotter("toy"), tmp_path, full)
    assert names == ["traj-3-0.png", "traj-3-1.png"]
    dots, start, target = figures[1].axes[0].collections
    assert dots.get_offsets().tolist() == [[4, 0], [0, 0], [4, 0]]
    assert dots.get_array().tolist() == [0, 1, 2]
    assert start.get_offsets().tolist() == [[4, 0]]
    assert target.get_offsets().tolist() == [[6, 0]]


def test_without_a_kind_nothing_is_drawn(tmp_path):
    assert draw(TrajPlotter(None), tmp_path) == []


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="env_type must be avoid, toy or null, got 'a"):
        TrajPlotter("avoiding")


@pytest.mark.parametrize("number", [0, 6])
def test_number_of_paths_must_be_possible(tmp_path, number):
    with pytest.raises(ValueError, match=rf"n_render must be in 1\.\.5, got {number}"):
        draw(TrajPlotter("avoid"), tmp_path, n_render=number)


def test_files_of_ranges_are_checked_at_once(tmp_path):
    with pytest.raises(FileNotFoundError, match="normalization_path: there is no file"):
        TrajPlotter("avoid", tmp_path / "none.npz")
