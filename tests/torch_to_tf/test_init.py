import numpy as np
import pytest

from util.torch_to_tf import init, torch_manual_seed


def test_seed_decides_all_draws():
    draws = []
    for seed in (1, 1, 2):
        torch_manual_seed(seed)
        draws.append(init.normal((5,)))
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert init.generator().random() != init.generator().random()


def test_uniform_fills_its_range():
    values = init.uniform((100, 200), 0.25)
    assert values.dtype == np.float32
    assert -0.25 <= values.min() < -0.2499
    assert 0.2499 < values.max() <= 0.25
    assert values.mean() == pytest.approx(0.0, abs=0.005)
    assert values.std() == pytest.approx(0.25 / np.sqrt(3), rel=0.02)


def test_normal_has_its_mean_and_spread():
    values = init.normal((100, 200), 1.0, 0.5)
    assert values.dtype == np.float32
    assert values.mean() == pytest.approx(1.0, abs=0.02)
    assert values.std() == pytest.approx(0.5, rel=0.02)


def test_fan_in_uniform_without_inputs_is_zero():
    np.testing.assert_array_equal(init.fan_in_uniform((3,), 0), np.zeros(3))
    assert np.abs(init.fan_in_uniform((1000,), 16)).max() <= 0.25


def test_xavier_normal_has_its_spread():
    values = init.xavier_normal((150, 50), gain=3.0)
    assert values.shape == (150, 50)
    assert values.std() == pytest.approx(3.0 * np.sqrt(2 / 200), rel=0.03)
