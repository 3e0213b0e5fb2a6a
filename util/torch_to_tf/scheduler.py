"""The learning rate schedule of the package `cosine_annealing_warmup`.

`util.scheduler` computes it. What is added here is PyTorch's side: all groups of an
optimizer, and a state under the package's names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from util.scheduler import CosineAnnealingWarmupRestarts

_POSITION = ("cur_cycle_steps", "cycle", "step_in_cycle", "last_epoch")
_OPTIONS = ("first_cycle_steps", "cycle_mult", "base_max_lr", "min_lr") + (
    "warmup_steps",
    "gamma",
)


class tf_CosineAnnealingWarmupRestarts(CosineAnnealingWarmupRestarts):
    """Warm-up, cosine decay and restarts of a rate (`CosineAnnealingWarmupRestarts`).

    Formulas and departures are those of `util.scheduler`. All groups of the optimizer
    get the same rate, the first one being `min_lr`.

    Args:
        optimizer: One of this library; None to compute the rate only.
        first_cycle_steps: Length of the first cycle.
        cycle_mult: Factor by which the part of a cycle after its warm-up grows.
        max_lr: Rate at the end of the first warm-up.
        min_lr: Rate at the start and the end of a cycle.
        warmup_steps: Length of the warm-up of each cycle.
        gamma: Factor on `max_lr` from cycle to cycle.
        last_epoch: Position before the first step, -1 for a new schedule.

    Raises:
        ValueError: The lengths or rates are impossible.

    Example: `tf_CosineAnnealingWarmupRestarts(None, 10, max_lr=1.0, min_lr=0.25,
        warmup_steps=2).get_lr()` gives `[0.25]`.
    """

    def _set_lr(self, value: float) -> None:
        groups = getattr(self.optimizer, "param_groups", None)
        if groups is None:
            super()._set_lr(value)
            return
        self._lr = float(value)
        for group in groups:
            group["lr"] = self._lr

    def _for_each_group(self, value: float) -> list[float]:
        return [value] * len(getattr(self.optimizer, "param_groups", [None]))

    def get_lr(self) -> list[float]:
        """The formula's rate, for each group; that in effect, except at the start."""
        return self._for_each_group(self._rate())

    def get_last_lr(self) -> list[float]:
        """The rate in effect, for each group."""
        return self._for_each_group(self.lr)

    def state_dict(self) -> dict[str, Any]:
        """Options, position and rates, by the package's names."""
        named = {name: getattr(self, name) for name in (*_OPTIONS, *_POSITION)}
        rates = self.get_last_lr()
        return {**named, "max_lr": self.max_lr, "_last_lr": rates, "lr": self.lr}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues from a `state_dict`, here or of the package, and sets the rate.

        Options are taken over too.
        """
        for name in (*_OPTIONS, *_POSITION):
            setattr(self, name, state_dict[name])
        # The package does not say; its first rate is not the formula's.
        rate = self.min_lr if self.last_epoch <= 0 else self._rate()
        self._set_lr(state_dict.get("lr", rate))
