import json
import math

import numpy as np
import pytest
import tensorflow as tf
import torch

from tests.modes import MODES, in_mode
from util.scheduler import CosineAnnealingWarmupRestarts
from util.torch_to_tf import (
    nn_Parameter,
    tf_CosineAnnealingWarmupRestarts,
    torch_optim_Adam,
    torch_optim_AdamW,
)

OPTIONS = {"max_lr": 1.0, "min_lr": 0.1, "warmup_steps": 3, "gamma": 0.5}


def parameter():
    return nn_Parameter(np.float32([1.0]))


def optimizer(groups=2):
    return torch_optim_Adam([{"params": [parameter()]} for _ in range(groups)])


def rates_of_torch(kind, lr, steps, **options):
    """The rates of one of PyTorch's own schedules."""
    peer = torch.optim.Adam([torch.zeros(1)], lr=lr)
    schedule, rates = getattr(torch.optim.lr_scheduler, kind)(peer, **options), []
    for _ in range(steps):
        rates.append(peer.param_groups[0]["lr"])
        peer.step()
        schedule.step()
    return rates


def rates(schedule, steps):
    found = []
    for _ in range(steps):
        found.append(schedule.get_last_lr()[0])
        schedule.step()
    return found


def closed_form(number, first, mult, warmup, high, low, gamma):
    """The rate of a use, from the start of its cycle."""
    length, cycle = first, 0
    while number >= length:
        number, cycle = number - length, cycle + 1
        length = int((length - warmup) * mult) + warmup
    top = high * gamma**cycle
    if number < warmup:
        return low + (top - low) * number / warmup
    angle = math.pi * (number - warmup) / (length - warmup)
    return low + (top - low) * (1 + math.cos(angle)) / 2


@pytest.mark.parametrize("mult", [1.0, 1.5, 2.0])
@pytest.mark.parametrize(("first", "warmup"), [(10, 3), (7, 1), (5, 4), (6, 0)])
@pytest.mark.parametrize("gamma", [1.0, 0.5])
def test_rates_follow_the_closed_form(first, warmup, mult, gamma):
    schedule = tf_CosineAnnealingWarmupRestarts(
        None, first, mult, 1.0, 0.1, warmup, gamma
    )
    expected = [closed_form(n, first, mult, warmup, 1.0, 0.1, gamma) for n in range(60)]
    expected[0] = 0.1  # Also without warm-up.
    np.testing.assert_allclose(rates(schedule, 60), expected, rtol=1e-12)


@pytest.mark.parametrize("mult", [1, 2])
def test_rates_without_warmup_are_those_of_cosine_annealing_with_warm_restarts(mult):
    expected = rates_of_torch(
        "CosineAnnealingWarmRestarts", 1.0, 40, T_0=8, T_mult=mult, eta_min=0.1
    )
    schedule = tf_CosineAnnealingWarmupRestarts(None, 8, mult, 1.0, 0.1)
    np.testing.assert_allclose(rates(schedule, 40)[1:], expected[1:], rtol=1e-6)


def test_warmup_is_that_of_linear_lr_and_decay_that_of_cosine_annealing():
    found = rates(tf_CosineAnnealingWarmupRestarts(None, 12, 1.0, 2.0, 0.5, 4), 12)
    linear = rates_of_torch("LinearLR", 2.0, 5, start_factor=0.25, total_iters=4)
    cosine = rates_of_torch("CosineAnnealingLR", 2.0, 8, T_max=8, eta_min=0.5)
    np.testing.assert_allclose(found[:5], linear, rtol=1e-6)
    np.testing.assert_allclose(found[4:], cosine, rtol=1e-6)


def test_it_is_the_schedule_of_the_agents():
    ours = tf_CosineAnnealingWarmupRestarts(None, 10, 1.5, **OPTIONS)
    plain = CosineAnnealingWarmupRestarts(None, 10, 1.5, **OPTIONS)
    assert isinstance(ours, CosineAnnealingWarmupRestarts)
    for epoch in (None, None, 4, None, 11, 37.5, None):
        ours.step(epoch)
        plain.step(epoch)
        assert ours.get_state() == plain.get_state()


# -- optimizers ------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [1, 3])
def test_all_groups_get_the_rate(groups):
    trained = optimizer(groups)
    variables = [group["lr"] for group in trained.param_groups]
    schedule = tf_CosineAnnealingWarmupRestarts(trained, 10, **OPTIONS)
    for _ in range(15):
        assert schedule.get_last_lr() == [schedule.lr] * groups
        assert [v.numpy() for v in variables] == [schedule.lr] * groups
        schedule.step()
        assert schedule.get_lr() == schedule.get_last_lr()


def test_an_optimizer_of_torch_gets_the_same_rates():
    ours, peer = optimizer(), torch.optim.Adam([torch.zeros(1)])
    schedules = [
        tf_CosineAnnealingWarmupRestarts(x, 10, **OPTIONS) for x in (ours, peer)
    ]
    for _ in range(15):
        assert ours.lr.numpy() == peer.param_groups[0]["lr"]
        for schedule in schedules:
            schedule.step()


@pytest.mark.parametrize("mode", MODES)
def test_compiled_steps_use_the_rate(mode):
    value = nn_Parameter(np.float32([0.0]))
    trained = torch_optim_AdamW([value], weight_decay=0.0)
    schedule = tf_CosineAnnealingWarmupRestarts(trained, 10, **OPTIONS)
    step = in_mode(lambda: trained.apply([tf.constant([2.0])]), mode)
    expected = 0.0
    for _ in range(5):
        expected -= schedule.lr
        step()
        schedule.step()
        np.testing.assert_allclose(value.numpy(), [expected], rtol=1e-5)


def test_formula_and_rate_differ_at_the_start_without_warmup():
    schedule = tf_CosineAnnealingWarmupRestarts(optimizer(), 10, 1.0, 1.0, 0.1)
    assert schedule.get_lr() == [1.0, 1.0]
    assert schedule.get_last_lr() == [0.1, 0.1]


# -- state -----------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 12])
def test_state_continues_the_schedule(steps):
    first = tf_CosineAnnealingWarmupRestarts(optimizer(), 10, 1.5, **OPTIONS)
    rates(first, steps)
    trained = optimizer()
    second = tf_CosineAnnealingWarmupRestarts(trained, 4)
    rates(second, 2)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert trained.lr.numpy() == first.lr
    assert rates(second, 30) == rates(first, 30)


@pytest.mark.parametrize("steps", [0, 1, 12])
def test_state_of_the_package_continues_here(steps):
    first = tf_CosineAnnealingWarmupRestarts(optimizer(), 10, 1.5, **OPTIONS)
    rates(first, steps)
    # The package leaves `_last_lr` at its first value and adds some of its own.
    state = {**first.state_dict(), "_last_lr": [7.0], "_step_count": 1}
    del state["lr"]
    second = tf_CosineAnnealingWarmupRestarts(optimizer(), 4)
    second.load_state_dict(state)
    assert rates(second, 30) == rates(first, 30)


def test_state_has_the_names_of_the_package():
    names = {"first_cycle_steps", "cycle_mult", "base_max_lr", "max_lr", "min_lr"}
    names |= {"warmup_steps", "gamma", "cur_cycle_steps", "cycle", "step_in_cycle"}
    state = tf_CosineAnnealingWarmupRestarts(optimizer(), 10, **OPTIONS).state_dict()
    assert names | {"last_epoch", "_last_lr"} < set(state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup_steps": 10}, "warmup_steps must be in"),
        ({"cycle_mult": 0.5}, "cycle_mult must be >= 1, got 0.5"),
        ({"max_lr": 0.1, "min_lr": 0.2}, "min_lr must be <= max_lr=0.1, got 0.2"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tf_CosineAnnealingWarmupRestarts(optimizer(), 10, **options)
