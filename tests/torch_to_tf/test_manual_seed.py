import importlib.util

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from tests.torch_to_tf.compare import assert_both_refuse
from util.torch_to_tf import (
    nn_Linear,
    random,
    torch_manual_seed,
    torch_multinomial,
    torch_rand,
    torch_randint,
    torch_randn,
    torch_randperm,
)


def draws():
    weights = tf.ones([20])
    return (
        torch_randn(20),
        torch_rand(20),
        torch_randint(1000, (20,)),
        torch_randperm(20),
        torch_multinomial(weights, 10),
    )


@pytest.mark.parametrize("mode", MODES)
def test_functions_that_were_traced_before_follow_the_seed(mode):
    function = in_mode(draws, mode)
    function()
    runs = []
    for _ in range(2):
        torch_manual_seed(7)
        runs.append([value.numpy() for _ in range(2) for value in function()])
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first, second)
    for now, later in zip(runs[0][:5], runs[0][5:], strict=True):
        assert not np.array_equal(now, later)


def test_eager_code_and_graphs_have_the_same_numbers():
    runs = []
    for mode in MODES[:2]:
        torch_manual_seed(7)
        runs.append(in_mode(draws, mode)())
    for first, second in zip(*runs, strict=True):
        np.testing.assert_array_equal(first, second)


def test_initial_values_and_draws_do_not_depend_on_each_other():
    runs = []
    for first in (True, False):
        torch_manual_seed(7)
        values = torch_randn(3).numpy() if first else None
        weight = nn_Linear(2, 3).state_dict()["weight"]
        runs.append((torch_randn(3).numpy() if values is None else values, weight))
    np.testing.assert_array_equal(runs[0][0], runs[1][0])
    np.testing.assert_array_equal(runs[0][1], runs[1][1])


def test_generator_is_returned_and_draws_what_the_functions_draw():
    generator = torch_manual_seed(7)
    values = torch_randn(3).numpy()
    torch_manual_seed(7)
    np.testing.assert_array_equal(generator.normal([3]), values)


@pytest.mark.parametrize("seed", [0, 2**64 - 1, -1, -(2**63), 1.7, "3", True])
def test_seeds_that_torch_accepts_are_accepted(seed):
    torch.manual_seed(seed)
    runs = []
    for _ in range(2):
        torch_manual_seed(seed)
        runs.append([torch_randn(3).numpy(), nn_Linear(1, 3).state_dict()["bias"]])
    np.testing.assert_array_equal(runs[0], runs[1])


@pytest.mark.parametrize("pair", [(-1, 2**64 - 1), (1.7, 1), ("3", 3)])
def test_seeds_that_are_the_same_in_torch_are_the_same(pair):
    states = [torch_manual_seed(seed).state.numpy().tolist() for seed in pair]
    assert states[0] == states[1]
    seeds = [torch.manual_seed(seed).initial_seed() for seed in pair]
    assert seeds[0] == seeds[1]


@pytest.mark.parametrize(
    ("seed", "match"),
    [
        (2**64, "seed must be in"),
        (-(2**63) - 1, "seed must be in"),
        ("x", "invalid literal"),
        (None, "int"),
    ],
)
def test_other_seeds_are_refused(seed, match):
    assert_both_refuse(
        lambda: torch_manual_seed(seed), lambda: torch.manual_seed(seed), match
    )


def test_seeding_inside_a_graph_is_refused():
    with pytest.raises(ValueError, match="outside of a tf.function"):
        tf.function(lambda: torch_manual_seed(3).state, autograph=False)()


@pytest.fixture
def fresh():
    """The module as it is right after its import."""
    spec = importlib.util.find_spec(random.__name__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_import_makes_no_generator_so_that_devices_can_still_be_set(fresh):
    assert fresh._GENERATORS == []
    assert fresh.default_generator() is fresh.default_generator()


def test_graph_draws_without_a_seed_too(fresh):
    draw = tf.function(lambda: fresh.torch_randn(3))
    assert not np.array_equal(draw(), draw())
    other = fresh.default_generator().state.numpy()
    assert not np.array_equal(random.default_generator().state, other)
