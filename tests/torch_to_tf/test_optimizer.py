"""Groups and states, which all optimizers share; Adam stands for them."""

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES
from tests.torch_to_tf.adam import GROUPS, Pair, gradients, to_arrays, to_torch
from tests.torch_to_tf.compare import assert_both_refuse
from util.torch_to_tf import nn_Parameter, torch_optim_Adam


def parameter() -> nn_Parameter:
    return nn_Parameter(np.float32([1.0, -2.0]))


def tensor() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(2))


# -- groups ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_trajectory_of_groups_equals_torch_while_one_rate_changes(mode):
    pair = Pair("Adam", mode, GROUPS, lr=1e-2)
    for number, grads in enumerate(gradients(20)):
        pair.set_lr(0.1 / (1 + number), group=1)
        pair.run([grads])


def test_a_group_without_gradients_is_left_out():
    pair = Pair("Adam", groups=GROUPS, lr=1e-2)
    before = pair.ours[1].numpy()
    pair.run([[first, None, last] for first, _, last in gradients(5)])
    np.testing.assert_array_equal(pair.ours[1].numpy(), before)


def test_added_group_trains_from_then_on():
    pair = Pair("Adam", groups=[{"params": [0]}], lr=1e-2)
    pair.run([[first, None, None] for first, _, _ in gradients(3)])
    pair.add_group([2, 1], lr=0.1)
    pair.run(gradients(5))
    assert [len(g["params"]) for g in pair.optimizer.param_groups] == [1, 2]


def test_single_variable_may_be_a_group():
    first, second = parameter(), parameter()
    optimizer = torch_optim_Adam([{"params": first}, {"params": second, "lr": 0.5}])
    assert optimizer.params == [first, second]
    assert [float(g["lr"].numpy()) for g in optimizer.param_groups] == [1e-3, 0.5]


# -- state -----------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [None, GROUPS])
def test_state_has_the_layout_of_torch(groups):
    pair = Pair("Adam", groups=groups, lr=1e-2, weight_decay=0.1)
    pair.run([[first, None, last] for first, _, last in gradients(3)])
    ours, theirs = pair.optimizer.state_dict(), pair.torch.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    assert sorted(ours["state"]) == sorted(theirs["state"])
    for index, entry in theirs["state"].items():
        assert list(ours["state"][index]) == list(entry)
        for key, value in entry.items():
            own = ours["state"][index][key]
            assert own.dtype.name == value.numpy().dtype.name
            np.testing.assert_allclose(own, value, rtol=2e-6, err_msg=key)


def test_state_names_named_parameters_as_torch():
    ours = torch_optim_Adam([("a", parameter()), ("b", parameter())])
    theirs = torch.optim.Adam([("a", tensor()), ("b", tensor())])
    assert ours.state_dict() == theirs.state_dict()
    ours.load_state_dict(
        torch.optim.Adam([("c", tensor()), ("d", tensor())]).state_dict()
    )
    assert ours.state_dict()["param_groups"][0]["param_names"] == ["c", "d"]


@pytest.mark.parametrize("groups", [None, GROUPS])
def test_state_of_torch_continues_here(groups):
    pair = Pair("Adam", groups=groups, lr=1e-2, weight_decay=0.1)
    pair.run([[first, None, last] for first, _, last in gradients(5)])
    pair.optimizer = pair.fresh(lr=1.0, betas=(0.1, 0.2), maximize=True)
    pair.optimizer.load_state_dict(to_arrays(pair.torch.state_dict()))
    pair.run(gradients(5, seed=3))


@pytest.mark.parametrize("groups", [None, GROUPS])
def test_our_state_continues_in_torch(groups):
    pair = Pair("Adam", groups=groups, lr=1e-2, weight_decay=0.1)
    pair.run([[first, None, last] for first, _, last in gradients(5)])
    state = to_torch(pair.optimizer.state_dict())
    pair.torch = pair.fresh_torch(lr=1.0)
    pair.torch.load_state_dict(state)
    pair.run(gradients(5, seed=3))


def test_resumed_trajectory_equals_the_straight_one():
    straight, first = Pair("Adam", lr=1e-2), Pair("Adam", lr=1e-2)
    straight.run(gradients(10))
    first.run(gradients(10)[:5])
    resumed = Pair("Adam", lr=0.5)
    for new, old in zip(resumed.ours, first.ours, strict=True):
        new.assign(old.numpy())
    resumed.optimizer.load_state_dict(first.optimizer.state_dict())
    for grads in gradients(10)[5:]:
        resumed.optimizer.apply(grads)
    for one, other in zip(straight.ours, resumed.ours, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_state_of_a_fresh_optimizer_starts_again():
    pair = Pair("Adam", lr=1e-2)
    pair.run(gradients(5))
    fresh = Pair("Adam", lr=1e-2).torch.state_dict()
    assert fresh["state"] == {}
    pair.optimizer.load_state_dict(fresh)
    pair.torch.load_state_dict(fresh)
    pair.run(gradients(5, seed=3))


@pytest.mark.parametrize("now", [True, False])
def test_amsgrad_of_the_state_decides(now):
    pair = Pair("Adam", lr=1e-2, amsgrad=now)
    pair.run(gradients(5))
    pair.optimizer = pair.fresh(amsgrad=not now)
    pair.optimizer.load_state_dict(to_arrays(pair.torch.state_dict()))
    keys = {key for e in pair.optimizer.state_dict()["state"].values() for key in e}
    assert ("max_exp_avg_sq" in keys) is now
    pair.run(gradients(5, seed=3))


def test_keys_of_a_saved_state_may_be_strings():
    pair = Pair("Adam", lr=1e-2)
    pair.run(gradients(5))
    state = to_arrays(pair.torch.state_dict())
    group = {key: state["param_groups"][0][key] for key in ("lr", "params")}
    entries = {str(key): entry for key, entry in state["state"].items()}
    pair.optimizer = pair.fresh(lr=1.0)
    pair.optimizer.load_state_dict({"state": entries, "param_groups": [group]})
    pair.run(gradients(5, seed=3))


def test_state_counts_the_steps_of_each_parameter():
    optimizer = torch_optim_Adam([parameter(), parameter(), parameter()])
    for second in (None, np.ones(2, np.float32)):
        optimizer.apply([np.ones(2, np.float32), second, None])
    state = optimizer.state_dict()["state"]
    assert {index: entry["step"] for index, entry in state.items()} == {0: 2, 1: 1}


def test_state_is_a_copy():
    optimizer = torch_optim_Adam([parameter()], lr=0.1)
    optimizer.apply([np.ones(2, np.float32)])
    state = optimizer.get_state()
    optimizer.apply([np.ones(2, np.float32)])
    np.testing.assert_allclose(state["state"][0]["exp_avg"], [0.1, 0.1], rtol=1e-6)
    assert state["state"][0]["step"] == 1
    optimizer.set_state(state)
    np.testing.assert_allclose(optimizer.exp_avg[0].numpy(), [0.1, 0.1], rtol=1e-6)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([[2, 2]], r"groups of \[2\] parameters, expected \[1\]"),
        ([[2], [2]], r"groups of \[1, 1\] parameters, expected \[1\]"),
        ([[3]], r"exp_avg of shape \(3,\) for parameter 0, expected shape \(2,\)"),
    ],
)
def test_state_of_other_parameters_is_refused_and_changes_nothing(params, message):
    groups = [
        {"params": [nn_Parameter(np.zeros(n, np.float32)) for n in group]}
        for group in params
    ]
    other = torch_optim_Adam(groups, lr=0.5)
    other.apply([np.ones(n, np.float32) for group in params for n in group])
    optimizer = torch_optim_Adam([parameter()])
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(other.state_dict())
    assert optimizer.lr.numpy() == 1e-3


# -- refusals --------------------------------------------------------------------------


def test_rate_of_several_entries_is_refused():
    assert_both_refuse(
        lambda: torch_optim_Adam([parameter()], lr=tf.zeros(2)),
        lambda: torch.optim.Adam([tensor()], lr=torch.zeros(2)),
        r"lr must have one entry, got shape \(2,\)",
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (lambda p: [], "params is empty"),
        (lambda p: p, "params must be a list of variables, got a single one"),
        (lambda p: [1.0], "params must be variables, got 1.0"),
        (lambda p: [{"params": set()}], "params must have an order, got a set"),
        (lambda p: [{"params": [p]}, {"params": [p]}], "variable of another group"),
        (lambda p: [{"params": [p]}, 3], "param_group must be a dict, got 3"),
        (lambda p: [("a", p), p], "names for all variables or for none"),
        (
            lambda p: [{"params": [("a", p)]}, {"params": []}],
            "names in all groups or in none",
        ),
    ],
)
def test_impossible_parameters_are_refused(params, message):
    assert_both_refuse(
        lambda: torch_optim_Adam(params(parameter())),
        lambda: torch.optim.Adam(params(tensor())),
        message,
    )
