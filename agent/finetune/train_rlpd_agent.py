"""RLPD (Ball et al., 2023): soft actor-critic on batches of which half is offline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import keras

from agent.common.learner import learner_keys
from agent.common.offline import OfflineTransitions, Source
from agent.finetune.train_soft_agent import TrainSoftAgent


class TrainRLPDAgent(TrainSoftAgent):
    """Many critic steps on new batches, then the actor's on the last (algorithm 1)."""

    config_keys: ClassVar[frozenset[str]] = TrainSoftAgent.config_keys | {
        "train.critic_num_update",
        *learner_keys("actor_", "critic_"),
    }
    learns_after = 0
    # The order of the critics, of which the first two count, and the next action.
    critic_draws = 2

    def build(self) -> None:
        """All rounds of an iteration are one call."""
        self.rounds_per_call = self.cfg.train.critic_num_update
        super().build()

    def make_sources(self) -> Sequence[Source]:
        """The data set, then the buffer."""
        return [OfflineTransitions(self.cfg, shares=2), self.buffer]

    def critic_parameters(self) -> Sequence[keras.Variable]:
        """Those of the whole ensemble."""
        return list(self.model.ensemble_params.values())

    def round_count(self) -> int:
        """`critic_num_update`."""
        return self.rounds_per_call
