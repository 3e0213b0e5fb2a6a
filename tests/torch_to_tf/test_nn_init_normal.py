import numpy as np
import pytest
import torch

from tests.torch_to_tf.compare import assert_both_refuse
from tests.torch_to_tf.init_cases import (
    assert_fills_variables_of_floats,
    assert_follows_seed_and_generator,
    assert_refuses_what_is_no_variable,
    assert_refuses_whole_numbers,
    filled,
)
from util.torch_to_tf import torch_nn_init_normal_


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-2.0, 0.1), (3.0, 0.0)])
def test_values_have_the_mean_and_spread(mean, std):
    values = filled(torch_nn_init_normal_, (100, 300), mean=mean, std=std)
    assert values.mean() == pytest.approx(mean, abs=0.02 * std + 1e-6)
    assert values.std() == pytest.approx(std, rel=0.02)
    if std:
        assert np.mean(np.abs(values - mean) < 1.96 * std) == pytest.approx(
            0.95, abs=0.01
        )


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4), (0, 2)])
def test_any_number_of_axes_is_filled(shape):
    values = filled(torch_nn_init_normal_, shape)
    assert values.shape == shape
    assert not np.any(values == 7.0)


def test_variables_of_all_kinds_are_filled():
    assert_fills_variables_of_floats(torch_nn_init_normal_)


def test_values_follow_the_seed_and_the_generator():
    assert_follows_seed_and_generator(torch_nn_init_normal_)


def test_what_cannot_be_filled_is_refused():
    assert_refuses_what_is_no_variable(torch_nn_init_normal_)
    assert_refuses_whole_numbers(torch_nn_init_normal_, torch.nn.init.normal_)


def test_negative_spread_is_refused():
    assert_both_refuse(
        lambda: filled(torch_nn_init_normal_, (2,), std=-1.0),
        lambda: torch.nn.init.normal_(torch.zeros(2), std=-1.0),
        "std must be >= 0, got -1.0",
    )
