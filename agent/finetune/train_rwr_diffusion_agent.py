"""Reward-weighted regression (Peters and Schaal, 2007) of a diffusion policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from agent.common.episodes import find_spans
from agent.common.learner import learner_keys, learner_of
from agent.common.rollout import Rollout, RolloutPlan, to_tensors
from agent.common.rounds import Batch, Losses, Rounds, jit_where
from agent.common.setup import make_samplers
from agent.dataset.gather import discounted_returns
from agent.finetune.train_agent import TrainAgent
from util.checkpoint import StateRegistry
from util.config import compat

Arrays = dict[str, np.ndarray]


class TrainRWRDiffusionAgent(TrainAgent):
    """Clones the chunks of its own episodes, those with high returns more."""

    config_keys: ClassVar[frozenset[str]] = TrainAgent.config_keys | {
        "train.gamma",
        "train.beta",
        "train.max_reward_weight",
        "train.update_epochs",
        *learner_keys(""),
    }
    dead_config_keys: ClassVar[Mapping[str, str]] = {
        "train.n_critic_warmup_itr": "reward-weighted regression has no critic"
    }
    console = ("loss",)

    def build(self) -> None:
        """One learner of all parameters."""
        train = self.cfg.train
        if train.update_epochs < 1:
            raise ValueError(
                f"train.update_epochs must be >= 1, got {train.update_epochs}."
            )
        params = self.model.parameters()
        self.learner = learner_of(train, "", params, self.max_grad_norm)
        self.learners = {"model": self.learner}
        self.rounds = Rounds(self.round, ("loss",), jit=jit_where(self.learner.params))
        self._sample = make_samplers(self.model)

    def state(self) -> StateRegistry:
        """Adds the learner."""
        registry = super().state()
        registry.add("model learner", self.learner)
        return registry

    def act(
        self, obs: Mapping[str, np.ndarray], explore: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Chunks (E, Ta, Da), all steps remembered."""
        noise = self.acting_noise(explore)
        chunks = self._sample[explore](to_tensors(obs), noise).numpy()
        return chunks, {"samples": chunks}

    def acting_noise(self, explore: bool) -> list | None:
        """Recorded draws of one sampling call, if there are any."""
        return self.draws.recorded(1 + self.model.denoising_steps)

    def round_noise(self) -> list | None:
        """Recorded draws of one loss, if there are any."""
        return self.draws.recorded(2)

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Epochs over the chunks of finished episodes, with their weights."""
        rows = self.weigh(rollout)
        self.trace("weights", rows=rows)
        found: Losses = {}
        chosen = self._minibatches(len(rows["weights"]))
        for size in self.rounds.sizes(len(chosen), self.draws.replays):
            picked = [next(chosen.orders) for _ in range(size)]
            at = np.stack(picked)
            batch = {"obs": {"state": rows["state"][at]}}
            batch |= {key: rows[key][at] for key in ("samples", "weights")}
            found = self.rounds(batch, {}, self.round_noise())
            self.trace("weighted_round", rows=at[-1], batch=batch, losses=found)
        return {name: float(value) for name, value in found.items()}

    def _minibatches(self, rows: int) -> _Minibatches:
        return _Minibatches(
            self.draws, rows, self.batch_size, self.cfg.train.update_epochs
        )

    def weigh(self, rollout: Rollout) -> Arrays:
        """Observations, chunks and weights min(exp(beta G), limit), by environment.

        G is the discounted return from a chunk to the end of its episode, normalised
        over all chunks. If no episode has ended, those under way count, without
        what would still come.
        """
        train = self.cfg.train
        spans = find_spans(rollout.firsts)
        if not len(spans) and not compat("rwr_needs_finished_episode"):
            spans = all_spans(rollout.firsts)
        pieces = [(slice(a, b + 1), env) for env, a, b in spans]
        lengths = np.array([b + 1 - a for _, a, b in spans], np.int64)
        if not pieces:
            raise ValueError(
                "no episode ended in this iteration, so there is nothing to learn from "
                "(compat.rwr_needs_finished_episode); use a larger train.n_steps."
            )

        def rows(array: np.ndarray) -> np.ndarray:
            return np.concatenate([array[piece] for piece in pieces])

        returns = discounted_returns(rows(rollout.rewards), lengths, train.gamma)
        scaled = (returns - returns.mean()) / (returns.std() + 1e-3)
        weights = np.minimum(np.exp(train.beta * scaled), train.max_reward_weight)
        return {
            "state": rows(rollout.obs["state"]).astype(np.float32),
            "samples": rows(rollout.extras["samples"]).astype(np.float32),
            "returns": scaled,
            "weights": weights.astype(np.float32),
        }

    def round(self, batch: Batch, flags: Batch, noise: list | None) -> Losses:
        """One step on a minibatch (compiled)."""
        with tf.GradientTape() as tape:
            loss = self.model.loss(
                batch["samples"], batch["obs"], batch["weights"], noise=noise
            )
        self.learner.apply(tape.gradient(loss, self.learner.params))
        return {"loss": loss}

    def end_iteration(self, plan: RolloutPlan) -> None:
        """The schedule goes on, in evaluations too."""
        self.learner.step_schedule()


class _Minibatches:
    """Random minibatches of some epochs; what fills no batch is skipped.

    Args:
        draws: Source of the orders.
        rows: Number of rows.
        size: Rows of a minibatch; all rows if there are fewer.
        epochs: Number of epochs.
    """

    def __init__(self, draws: Any, rows: int, size: int, epochs: int) -> None:
        self.draws, self.rows, self.epochs = draws, rows, epochs
        self.size, self.per_epoch = min(size, rows), max(1, rows // size)
        self.orders = self._draw()

    def __len__(self) -> int:
        return self.epochs * self.per_epoch

    def _draw(self) -> Any:
        for _ in range(self.epochs):
            order = self.draws.permutation(self.rows)
            for number in range(self.per_epoch):
                yield order[number * self.size :][: self.size]


def all_spans(firsts: np.ndarray) -> np.ndarray:
    """Pieces of episodes in a rollout, finished or not.

    Args:
        firsts: 1 where an episode starts, (S + 1, E).

    Returns:
        (env, first step, last step), (N, 3) int64.
    """
    bounded = firsts.copy()
    bounded[0] = bounded[-1] = 1
    return find_spans(bounded)
