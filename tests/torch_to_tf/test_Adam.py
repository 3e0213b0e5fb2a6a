import numpy as np
import pytest
import torch

from tests.modes import MODES
from tests.torch_to_tf.adam import SHAPES, Pair, gradients
from util.torch_to_tf import nn_Parameter, torch_optim_Adam

OPTIONS = [
    {},
    {"lr": 0.1, "weight_decay": 0.1},
    {"lr": 3e-2, "eps": 1e-3},
    {"lr": 1e-2, "betas": (0.5, 0.9)},
    {"lr": 0.0},
]


def parameter() -> nn_Parameter:
    return nn_Parameter(np.float32([1.0, -2.0]))


def as_integer_keys(state: dict) -> dict:
    """PyTorch's optimizers number their parameters, with tensors as values."""
    entries = {
        int(index): {key: torch.as_tensor(value) for key, value in entry.items()}
        for index, entry in state["state"].items()
    }
    return {"state": entries, "param_groups": state["param_groups"]}


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


@pytest.mark.parametrize("mode", MODES[:2])
def test_rate_is_read_at_each_step(mode):
    pair = Pair("Adam", mode, lr=0.1)
    pair.run(gradients(1))
    before = [p.numpy() for p in pair.ours]
    pair.set_lr(0.0)
    pair.run(gradients(2))
    for old, new in zip(before, pair.ours, strict=True):
        np.testing.assert_array_equal(old, new.numpy())


def test_state_continues_the_trajectory():
    straight, first = Pair("Adam", lr=1e-2), Pair("Adam", lr=1e-2)
    straight.run(gradients(10))
    first.run(gradients(10)[:5])
    first.set_lr(1e-2)
    resumed = Pair("Adam", lr=0.5)
    for new, old in zip(resumed.ours, first.ours, strict=True):
        new.assign(old.numpy())
    resumed.optimizer.load_state_dict(first.optimizer.state_dict())
    assert resumed.optimizer.lr.numpy() == np.float32(1e-2)
    for grads in gradients(10)[5:]:
        resumed.optimizer.apply(grads)
    for one, other in zip(straight.ours, resumed.ours, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_state_of_torch_continues_here():
    pair = Pair("Adam", lr=1e-2)
    pair.run(gradients(5))
    state = pair.torch.state_dict()
    arrays = {
        index: {key: value.numpy() for key, value in entry.items()}
        for index, entry in state["state"].items()
    }
    fresh = torch_optim_Adam(pair.ours, lr=1.0)
    fresh.load_state_dict({"state": arrays, "param_groups": state["param_groups"]})
    pair.optimizer = fresh
    pair.run(gradients(5, seed=3))


def test_our_state_continues_in_torch():
    pair = Pair("Adam", lr=1e-2)
    pair.run(gradients(5))
    state = as_integer_keys(pair.optimizer.state_dict())
    layout = pair.torch.state_dict()
    for index, entry in layout["state"].items():
        assert list(state["state"][index]) == list(entry)
    pair.torch.load_state_dict(
        {
            "state": state["state"],
            "param_groups": [{**layout["param_groups"][0], **state["param_groups"][0]}],
        }
    )
    pair.run(gradients(5, seed=3))


def test_state_of_a_fresh_optimizer_starts_again():
    pair = Pair("Adam", lr=1e-2)
    pair.run(gradients(5))
    pair.optimizer.load_state_dict(Pair("Adam", lr=1e-2).torch.state_dict())
    pair.torch.load_state_dict(Pair("Adam", lr=1e-2).torch.state_dict())
    pair.run(gradients(5, seed=3))


def test_state_counts_the_steps_of_each_parameter():
    optimizer = torch_optim_Adam([parameter(), parameter()])
    for second in (None, np.ones(2, np.float32)):
        optimizer.apply([np.ones(2, np.float32), second])
    steps = [entry["step"] for entry in optimizer.state_dict()["state"].values()]
    assert steps == [2, 1]


def test_state_is_a_copy():
    optimizer = torch_optim_Adam([parameter()], lr=0.1)
    state = optimizer.get_state()
    optimizer.apply([np.ones(2, np.float32)])
    np.testing.assert_array_equal(state["state"]["0"]["exp_avg"], [0.0, 0.0])
    assert state["state"]["0"]["step"] == 0
    optimizer.set_state(state)
    np.testing.assert_array_equal(optimizer.exp_avg[0].numpy(), [0.0, 0.0])


def test_state_of_other_parameters_is_refused():
    optimizer = torch_optim_Adam([parameter()])
    three = Pair("Adam").optimizer.state_dict()
    with pytest.raises(ValueError, match=rf"{len(SHAPES)} parameters, expected 1"):
        optimizer.load_state_dict(three)
    other = torch_optim_Adam([nn_Parameter(np.zeros(3, np.float32))]).state_dict()
    with pytest.raises(ValueError, match="[Ss]hape"):
        optimizer.load_state_dict(other)


def test_wrong_number_of_gradients_is_refused():
    with pytest.raises(ValueError, match="grads has 2 entries, expected 1"):
        torch_optim_Adam([parameter()]).apply([None, None])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": -1.0}, "lr must be >= 0, got -1.0"),
        ({"eps": -1.0}, "eps must be >= 0, got -1.0"),
        ({"weight_decay": -1.0}, "weight_decay must be >= 0, got -1.0"),
        ({"betas": (1.0, 0.9)}, r"betas\[0\] must be in \[0, 1\), got 1.0"),
        ({"betas": (0.9, -0.1)}, r"betas\[1\] must be in \[0, 1\), got -0.1"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match="Invalid"):
        torch.optim.Adam([torch.zeros(1)], **options)
    with pytest.raises(ValueError, match=message):
        torch_optim_Adam([parameter()], **options)


def test_no_parameters_are_refused():
    with pytest.raises(ValueError, match="params is empty"):
        torch_optim_Adam([])
