import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.adam import Pair, gradients
from tests.torch_to_tf.compare import assert_both_refuse
from util.torch_to_tf import nn_Parameter, torch_optim_Adam

OPTIONS = [
    {},
    {"lr": 0.1, "weight_decay": 0.1},
    {"lr": 3e-2, "eps": 1e-3},
    {"lr": 1e-2, "betas": (0.5, 0.9)},
    {"lr": 1e-2, "amsgrad": True, "weight_decay": 0.1},
    {"lr": 1e-2, "maximize": True, "weight_decay": 0.1},
    {"lr": 1e-2, "decoupled_weight_decay": True, "weight_decay": 0.1},
    {"lr": 0.0},
]


def parameter() -> nn_Parameter:
    return nn_Parameter(np.float32([1.0, -2.0]))


def tensor() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(2))


@pytest.mark.parametrize("options", OPTIONS)
def test_trajectory_of_100_steps_equals_torch(options):
    Pair("Adam", "graph", **options).run(gradients(100))


def test_eager_trajectory_equals_torch():
    Pair("Adam", lr=1e-2).run(gradients(10))


@pytest.mark.parametrize("mode", MODES[1:])
def test_compiled_trajectory_equals_torch_while_the_rate_changes(mode):
    pair = Pair("Adam", mode, lr=1e-2, weight_decay=1e-2)
    for number, grads in enumerate(gradients(50)):
        pair.set_lr(1e-2 / (1 + number))
        pair.run([grads])


def test_first_step_is_the_rate_times_the_sign():
    value = parameter()
    torch_optim_Adam([value], lr=0.1).apply([np.float32([3.0, -1e-3])])
    np.testing.assert_allclose(value.numpy(), [0.9, -1.9], rtol=1e-5)


def test_eps_is_added_outside_the_root():
    value = nn_Parameter(np.float32(0.0))
    torch_optim_Adam([value], lr=1.0, eps=1.0).apply([np.float32(3.0)])
    assert value.numpy() == pytest.approx(-3.0 / (3.0 + 1.0))


def test_parameter_without_gradient_stays_as_it_is():
    pair = Pair("Adam", lr=0.1, weight_decay=0.1)
    before = pair.ours[1].numpy()
    pair.run([[first, None, last] for first, _, last in gradients(10)])
    np.testing.assert_array_equal(pair.ours[1].numpy(), before)


def test_steps_without_gradient_do_not_count_as_in_torch():
    pair = Pair("Adam", lr=0.1)
    for number, (first, second, last) in enumerate(gradients(10)):
        pair.run([[first, None if number % 3 else second, last]])
    pair.run([[None, None, None]])


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_parameters_of_other_types_keep_their_precision(dtype):
    start = np.array([1.0, -0.3], dtype)
    ours, theirs = nn_Parameter(start), torch.nn.Parameter(torch.from_numpy(start))
    optimizer = torch_optim_Adam([parameter(), ours], lr=1e-2, eps=1e-3)
    peer = torch.optim.Adam([theirs], lr=1e-2, eps=1e-3)
    for number in range(5):
        grad = np.array([0.1 * number, -0.2], dtype)
        optimizer.apply([None, grad])
        theirs.grad = torch.from_numpy(grad)
        peer.step()
    assert ours.numpy().dtype == dtype
    precision = 1e-13 if dtype == np.float64 else 2e-3
    np.testing.assert_allclose(ours.numpy(), theirs.detach(), rtol=precision)


# -- the rate --------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES[:2])
def test_rate_is_read_at_each_step(mode):
    pair = Pair("Adam", mode, lr=0.1)
    pair.run(gradients(1))
    before = [p.numpy() for p in pair.ours]
    pair.optimizer.lr.assign(0.0)
    pair.torch.param_groups[0]["lr"] = 0.0
    pair.run(gradients(2))
    for old, new in zip(before, pair.ours, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_a_variable_is_the_rate_itself():
    rate, value = tf.Variable(0.1), nn_Parameter(np.float32(0.0))
    optimizer = torch_optim_Adam([value], lr=rate)
    rate.assign(0.5)
    optimizer.apply([np.float32(2.0)])
    assert optimizer.lr is rate
    assert value.numpy() == pytest.approx(-0.5)


@pytest.mark.parametrize("rate", [np.float32([0.25]), tf.constant(0.25)])
def test_a_tensor_gives_the_rate(rate):
    assert torch_optim_Adam([parameter()], lr=rate).lr.numpy() == 0.25


# -- refusals --------------------------------------------------------------------------


def test_wrong_number_of_gradients_is_refused():
    with pytest.raises(ValueError, match="grads has 2 entries, expected 1"):
        torch_optim_Adam([parameter()]).apply([None, None])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr must be >= 0, got -1.0"),
        ({"lr": float("nan")}, "lr must be >= 0, got nan"),
        ({"eps": -1.0}, "eps must be >= 0, got -1.0"),
        ({"weight_decay": -1.0}, "weight_decay must be >= 0, got -1.0"),
        ({"betas": (1.0, 0.9)}, r"betas\[0\] must be in \[0, 1\), got 1.0"),
        ({"betas": (0.9, -0.1)}, r"betas\[1\] must be in \[0, 1\), got -0.1"),
        ({"betas": (0, 0.9)}, r"betas must be two floats, got \(0, 0.9\)"),
    ],
)
def test_impossible_options_are_refused(options, message):
    assert_both_refuse(
        lambda: torch_optim_Adam([parameter()], **options),
        lambda: torch.optim.Adam([tensor()], **options),
        message,
    )
