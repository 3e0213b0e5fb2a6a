"""What the tests of the Gaussian policies' baselines share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.agent.runs import LEARNING, run

ACTOR = ("train.actor_lr=0.01", "train.actor_lr_scheduler.min_lr=0.01")
CRITIC = ("train.critic_lr=0.01", "train.critic_lr_scheduler.min_lr=0.01")


def trained(kind: str, folder: Path, *overrides: str, iterations: int = 12) -> Any:
    """A compiled agent that learned the point's environment, evaluated at both ends."""
    length = (f"train.n_train_itr={iterations + 1}", f"train.val_freq={iterations}")
    return run(kind, folder, *LEARNING, *length, *overrides)


class Requests:
    """Notes how many recorded draws an agent asks for, and gives none."""

    def __init__(self, agent: Any) -> None:
        self.counts: list[int] = []
        agent.draws.recorded = self.recorded

    def recorded(self, count: int) -> None:
        self.counts.append(count)
