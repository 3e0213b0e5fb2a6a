from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.parity.util_cases import replay
from util.compat import compat_scope
from util.scheduler import CosineAnnealingWarmupRestarts

CASES = sorted((Path(__file__).parents[1] / "parity" / "util").glob("scheduler_*.npz"))


class Optimizer:
    lr = 0.0


class Variable:
    def __init__(self):
        self.value = 0.0

    def assign(self, value):
        self.value = value


def rates(scheduler, uses):
    """The rate of each use, with a step after each."""
    result = []
    for _ in range(uses):
        result.append(scheduler.lr)
        scheduler.step()
    return result


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_rates_and_positions_equal_the_recorded_ones(path):
    arrays = dict(np.load(path))
    out = replay(json.loads(str(arrays["meta"])), arrays)
    assert set(out) == {name for name in arrays if name.startswith("out/")}
    for name, value in out.items():
        np.testing.assert_allclose(
            value, arrays[name], rtol=1e-14, atol=0, err_msg=name
        )


def test_both_recorded_cases_are_here():
    assert [path.stem for path in CASES] == ["scheduler_cfg_sets", "scheduler_misc"]


def test_rate_follows_the_formulas_by_hand():
    scheduler = CosineAnnealingWarmupRestarts(None, 10, max_lr=1.0, min_lr=0.1)
    expected = [0.1, 0.977975, 0.914058, 0.814503, 0.689058, 0.55]
    expected += [0.410942, 0.285497, 0.185942, 0.122025, 1.0]
    assert rates(scheduler, 11) == pytest.approx(expected, abs=5e-7)


def test_warmup_is_linear_and_a_cycle_restarts_at_min_lr():
    scheduler = CosineAnnealingWarmupRestarts(
        None, 10, max_lr=1.0, min_lr=0.1, warmup_steps=3
    )
    expected = [0.1, 0.4, 0.7, 1.0, 0.9554, 0.8306, 0.6502, 0.4499, 0.2694, 0.1446]
    assert rates(scheduler, 12) == pytest.approx([*expected, 0.1, 0.4], abs=1e-4)


def test_gamma_lowers_the_maximum_of_the_next_cycle():
    scheduler = CosineAnnealingWarmupRestarts(
        None, 4, max_lr=1.0, min_lr=0.0, warmup_steps=1, gamma=0.5
    )
    assert rates(scheduler, 6)[5] == 0.5
    assert scheduler.max_lr == 0.5


def test_a_number_in_the_optimizer_is_set():
    optimizer = Optimizer()
    scheduler = CosineAnnealingWarmupRestarts(
        optimizer, 10, max_lr=1.0, min_lr=0.1, warmup_steps=1
    )
    assert optimizer.lr == 0.1
    scheduler.step()
    assert optimizer.lr == scheduler.lr == 1.0


def test_a_variable_in_the_optimizer_is_assigned():
    optimizer = Optimizer()
    optimizer.lr = variable = Variable()
    CosineAnnealingWarmupRestarts(optimizer, 10, max_lr=1.0, min_lr=0.25)
    assert optimizer.lr is variable
    assert variable.value == 0.25


def test_a_jump_sets_the_position():
    scheduler = CosineAnnealingWarmupRestarts(
        None, 10, max_lr=1.0, min_lr=0.1, warmup_steps=2, gamma=0.5
    )
    scheduler.step(11)
    assert scheduler.cycle == 1
    assert scheduler.lr == pytest.approx(0.3)


def test_state_continues_the_schedule():
    options = {"max_lr": 1.0, "min_lr": 0.1, "warmup_steps": 2, "cycle_mult": 1.5}
    first = CosineAnnealingWarmupRestarts(None, 7, **options)
    rates(first, 9)
    optimizer = Optimizer()
    second = CosineAnnealingWarmupRestarts(optimizer, 7, **options)
    second.set_state(json.loads(json.dumps(first.get_state())))
    assert optimizer.lr == first.lr
    assert rates(second, 20) == rates(first, 20)


def test_state_right_after_construction_keeps_the_first_use_at_min_lr():
    options = {"max_lr": 1.0, "min_lr": 0.1}
    second = CosineAnnealingWarmupRestarts(None, 7, **options)
    second.step()
    second.set_state(CosineAnnealingWarmupRestarts(None, 7, **options).get_state())
    assert second.lr == 0.1


def test_min_lr_above_max_lr_is_refused():
    with pytest.raises(ValueError, match=r"min_lr must be <= max_lr=2e-05, got 0.0001"):
        CosineAnnealingWarmupRestarts(None, 10, max_lr=2e-5, min_lr=1e-4)


def test_min_lr_above_max_lr_rises_as_in_the_reference_if_asked():
    with compat_scope({"scheduler_min_above_max": True}):
        scheduler = CosineAnnealingWarmupRestarts(None, 4, max_lr=0.0, min_lr=1.0)
    expected = [1.0, 0.146447, 0.5, 0.853553, 0.0]
    assert rates(scheduler, 5) == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"warmup_steps": 10}, "warmup_steps must be in"),
        ({"warmup_steps": -1}, "warmup_steps must be in"),
        ({"cycle_mult": 0.5}, "cycle_mult must be >= 1, got 0.5"),
        ({"last_epoch": -2}, "last_epoch must be >= -1, got -2"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CosineAnnealingWarmupRestarts(None, 10, **options)


def test_a_negative_epoch_is_refused():
    scheduler = CosineAnnealingWarmupRestarts(None, 10)
    with pytest.raises(ValueError, match="epoch must be >= 0, got -3"):
        scheduler.step(-3)
