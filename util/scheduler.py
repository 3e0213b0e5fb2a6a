"""The learning rate schedule: linear warm-up, cosine decay, restart.

The formulas are those of "Cosine Annealing with Warmup for PyTorch" by Naoki Katsura
(after Loshchilov and Hutter 2017, SGDR), which the reference uses. At position `p` of a
cycle of length `C` with `w` warm-up steps

    lr = min + (max - min) * p / w                                           if p < w
    lr = min + (max - min) * (1 + cos(pi * (p - w) / (C - w))) / 2           else

with `max = max_lr * gamma**cycle`. The first use is always at `min_lr`, also without
warm-up. One step is one training iteration or epoch, not one optimizer step.

Departure from the reference: `min_lr > max_lr`, which makes the rate rise along the
cosine, is refused unless `compat.scheduler_min_above_max` is on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from util.compat import compat


class CosineAnnealingWarmupRestarts:
    """Sets an optimizer's learning rate; `step()` moves it on.

    Args:
        optimizer: Object with `lr`, either a variable with `assign` or a number; None
            to compute the rate only.
        first_cycle_steps: Length of the first cycle.
        cycle_mult: Factor by which the part of a cycle after its warm-up grows.
        max_lr: Rate at the end of the first warm-up.
        min_lr: Rate at the start and the end of a cycle.
        warmup_steps: Length of the warm-up of each cycle.
        gamma: Factor on `max_lr` from cycle to cycle.
        last_epoch: Position before the first step, -1 for a new schedule.

    Raises:
        ValueError: If the lengths or rates are impossible.
    """

    def __init__(
        self,
        optimizer: Any,
        first_cycle_steps: int,
        cycle_mult: float = 1.0,
        max_lr: float = 0.1,
        min_lr: float = 0.001,
        warmup_steps: int = 0,
        gamma: float = 1.0,
        last_epoch: int = -1,
    ) -> None:
        if not 0 <= warmup_steps < first_cycle_steps:
            raise ValueError(
                f"warmup_steps must be in [0, first_cycle_steps={first_cycle_steps}), "
                f"got {warmup_steps}."
            )
        if min_lr > max_lr and not compat("scheduler_min_above_max"):
            raise ValueError(
                f"min_lr must be <= max_lr={max_lr}, got {min_lr} "
                "(compat.scheduler_min_above_max=true allows it)."
            )
        if cycle_mult < 1.0:
            raise ValueError(f"cycle_mult must be >= 1, got {cycle_mult}.")
        if last_epoch < -1:
            raise ValueError(f"last_epoch must be >= -1, got {last_epoch}.")
        self.optimizer = optimizer
        self.first_cycle_steps, self.warmup_steps = first_cycle_steps, warmup_steps
        self.cycle_mult, self.gamma = cycle_mult, gamma
        self.base_max_lr, self.min_lr = max_lr, min_lr
        # Whole numbers, except after a `step(epoch)`.
        self.cur_cycle_steps: float = first_cycle_steps
        self.step_in_cycle: float = last_epoch
        self.last_epoch, self.cycle = last_epoch, 0
        self.step()
        self._set_lr(min_lr)

    @property
    def lr(self) -> float:
        """The rate in effect."""
        return self._lr

    @property
    def max_lr(self) -> float:
        """The rate at the end of the present cycle's warm-up."""
        return self.base_max_lr * self.gamma**self.cycle

    def step(self, epoch: float | None = None) -> None:
        """Moves on by one step, or to a given one.

        Args:
            epoch: Number of steps since the start; None for the next one. Cycles then
                have the length `first_cycle_steps * cycle_mult**n`, and a jump back
                into the first cycle keeps the cycle's number (both as the reference).

        Raises:
            ValueError: If `epoch` is negative.
        """
        if epoch is None:
            self._advance()
        elif epoch < 0:
            raise ValueError(f"epoch must be >= 0, got {epoch}.")
        else:
            self._jump(epoch)
        self._set_lr(self._rate())

    def _advance(self) -> None:
        self.last_epoch += 1
        self.step_in_cycle += 1
        if self.step_in_cycle >= self.cur_cycle_steps:
            self.cycle += 1
            self.step_in_cycle -= self.cur_cycle_steps
            decay = self.cur_cycle_steps - self.warmup_steps
            self.cur_cycle_steps = int(decay * self.cycle_mult) + self.warmup_steps

    def _jump(self, epoch: float) -> None:
        first, mult = self.first_cycle_steps, self.cycle_mult
        if epoch < first:
            start, length = 0.0, float(first)
        elif mult == 1.0:
            self.cycle = int(epoch // first)
            start, length = float(self.cycle * first), float(first)
        else:
            self.cycle = int(math.log(epoch / first * (mult - 1) + 1, mult))
            start = float(int(first * (mult**self.cycle - 1) / (mult - 1)))
            length = first * mult**self.cycle
        self.step_in_cycle = epoch - start
        self.cur_cycle_steps = length
        self.last_epoch = math.floor(epoch)

    def _rate(self) -> float:
        position, warmup = self.step_in_cycle, self.warmup_steps
        span = self.max_lr - self.min_lr
        if position < warmup:
            return span * position / warmup + self.min_lr
        angle = math.pi * (position - warmup) / (self.cur_cycle_steps - warmup)
        return self.min_lr + span * (1 + math.cos(angle)) / 2

    def _set_lr(self, value: float) -> None:
        self._lr = float(value)
        if self.optimizer is None:
            return
        if hasattr(self.optimizer.lr, "assign"):
            self.optimizer.lr.assign(self._lr)
        else:
            self.optimizer.lr = self._lr

    def get_state(self) -> dict[str, float]:
        """Returns the position and the rate in effect."""
        return {
            "step_in_cycle": self.step_in_cycle,
            "cycle": self.cycle,
            "cur_cycle_steps": self.cur_cycle_steps,
            "last_epoch": self.last_epoch,
            "lr": self._lr,
        }

    def set_state(self, state: Mapping[str, float]) -> None:
        """Takes over what `get_state` returned, and sets the optimizer's rate."""
        self.step_in_cycle = state["step_in_cycle"]
        self.cycle = int(state["cycle"])
        self.cur_cycle_steps = state["cur_cycle_steps"]
        self.last_epoch = int(state["last_epoch"])
        self._set_lr(state["lr"])
