import numpy as np
import pytest

from env.gym_utils.wrapper.normalization import Normalization

ARRAYS = {
    "obs_min": np.array([-1.0, 0.0]),
    "obs_max": np.array([3.0, 0.0]),
    "action_min": np.array([-2.0]),
    "action_max": np.array([4.0]),
}


@pytest.fixture
def save(tmp_path):
    def save(**changes):
        path = tmp_path / "normalization.npz"
        arrays = {k: v for k, v in (ARRAYS | changes).items() if v is not None}
        np.savez(path, **arrays)
        return path

    return save


def test_observations_map_to_minus_one_and_one():
    ranges = Normalization(**ARRAYS)
    obs = np.array([[-1.0, 0.0], [3.0, 0.0], [1.0, 1e-6]])
    expected = [[-1.0, -1.0], [1.0, -1.0], [0.0, 1.0]]
    np.testing.assert_allclose(ranges.normalize_obs(obs), expected, atol=1e-6)
    back = ranges.unnormalize_obs(ranges.normalize_obs(obs))
    np.testing.assert_allclose(back, obs, rtol=1e-12, atol=1e-12)


def test_actions_map_from_minus_one_and_one_without_clipping():
    ranges = Normalization(**ARRAYS)
    raw = ranges.unnormalize_action(np.array([[-1.0], [0.0], [1.0], [2.0]]))
    assert raw.tolist() == [[-2.0], [1.0], [4.0], [7.0]]


def test_a_file_is_loaded(save):
    ranges = Normalization.load(str(save(other=np.zeros(3))), 2, 1)
    np.testing.assert_array_equal(ranges.obs_max, ARRAYS["obs_max"])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"normalization_path: .*none\.npz"):
        Normalization.load(tmp_path / "none.npz", 2, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"obs_max": np.zeros(3)},
            r"obs_max of .* shape \(2,\), got \(3,\).*obs_dim=2",
        ),
        ({"action_min": np.zeros((1, 1))}, r"action_min of .*\(1,\).*action_dim=1"),
        ({"obs_min": np.array([0.0, np.nan])}, "obs_min of .* finite numbers"),
        ({"obs_min": np.array(["a", "b"])}, "obs_min of .* finite numbers"),
        ({"action_max": None}, "must hold .*action_max"),
        ({"action_max": np.array([None])}, "damaged or not an npz"),
    ],
)
def test_unfit_arrays_are_refused(save, changes, message):
    with pytest.raises(ValueError, match=f"normalization_path: .*{message}"):
        Normalization.load(save(**changes), 2, 1)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"neither"])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "normalization.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged or not an npz file"):
        Normalization.load(path, 2, 1)


def test_a_truncated_file_is_refused(save):
    path = save()
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="is damaged or not an npz file"):
        Normalization.load(path, 2, 1)
