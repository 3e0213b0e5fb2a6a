"""Advantage-weighted regression (Peng et al., 2019) of a diffusion policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import numpy as np
import tensorflow as tf

from agent.common.checkpoints import buffer_folder
from agent.common.replay import ReplayBuffer
from agent.common.rollout import Rollout
from agent.common.rounds import Batch, Losses, Rounds, as_rows
from agent.finetune.train_rounds_agent import TrainRoundsAgent
from model.common.objectives import gae
from util.config import compat
from util.torch_to_tf import torch_std

ALPHA, LAMBDA, GAMMA = 0.95, 0.95, 0.99


def td_values(
    states: np.ndarray | None,
    rewards: np.ndarray,
    terminateds: np.ndarray,
    state_values: np.ndarray,
    gamma: float = GAMMA,
    alpha: float = ALPHA,
    lam: float = LAMBDA,
    next_values: np.ndarray | None = None,
    cuts: np.ndarray | None = None,
) -> np.ndarray:
    """Targets V + alpha A of the values, A with `gae` (Peng et al., 2019, section 3.1).

    Args:
        states: Not used; the reference passes them.
        rewards: (S, E).
        terminateds: (S, E) bool.
        state_values: V(s_t), (S, E).
        gamma: Discount per chunk step.
        alpha: How far a value goes towards its return.
        lam: Lambda.
        next_values: V of what follows each step in its episode, (S, E); None takes the
            next row's, and for the last row its own, as the reference does.
        cuts: Where a row is not followed by the next one, (S, E) bool; None for
            `terminateds`.

    Returns:
        (S, E) float32.
    """
    if next_values is None:
        next_values = np.concatenate([state_values[1:], state_values[-1:]])
    cuts = terminateds if cuts is None else cuts
    advantages, _ = gae(
        rewards, state_values, next_values, terminateds, cuts, gamma, lam
    )
    return (state_values + alpha * advantages).astype(np.float32)


class TrainAWRDiffusionAgent(TrainRoundsAgent):
    """Regresses values on TD(lambda) returns, then clones what was better than them."""

    config_keys: ClassVar[frozenset[str]] = TrainRoundsAgent.config_keys | {
        "train.beta",
        "train.max_adv_weight",
        "train.critic_update_ratio",
        "train.td_lambda",
    }
    dead_config_keys: ClassVar[Mapping[str, str]] = {
        "train.logprob_batch_size": "nothing is scored in slices",
    }
    losses = ("loss - actor",)

    def build(self) -> None:
        """A row of the buffer is a step of all environments, in the order of time."""
        if self.act_steps != self.cfg.horizon_steps:
            raise ValueError(
                f"act_steps must be horizon_steps={self.cfg.horizon_steps}, got "
                f"{self.act_steps}: what was executed is cloned."
            )
        super().build()
        if self.transitions.n_step.n > 1:
            raise ValueError(
                "train.n_step must be 1, because TD(lambda) sums rewards along whole "
                f"episodes (train.td_lambda), got {self.transitions.n_step.n}."
            )
        self.buffer = ReplayBuffer(self.cfg.train.buffer_size, buffer_folder(self.cfg))
        self.critic_rounds = Rounds(
            self.critic_round, ("loss - critic",), self.rounds_per_call, self.jit
        )
        shape = [None, self.cfg.cond_steps, self.cfg.obs_dim]
        spec = {"state": tf.TensorSpec(shape)}
        self.value = tf.function(self.model.critic, input_signature=[spec])

    def update(self, rollout: Rollout) -> dict[str, float]:
        """Critic rounds on the targets, then actor rounds on new advantages."""
        self.buffer.add(self.vector_steps(rollout))
        count = int(rollout.rewards.size / self.batch_size * self.replay_ratio)
        steps = self.buffer.take(np.arange(len(self.buffer)))
        values, targets = self.estimate(steps)
        self.trace("td", steps=steps, values=values, targets=targets)
        learned = self._learn_critic(
            steps, targets, count // self.cfg.train.critic_update_ratio
        )
        values, targets = self.estimate(steps)
        self.trace("adv", values=values, targets=targets)
        return learned | self._learn_actor(steps, targets - values, count)

    def vector_steps(self, rollout: Rollout) -> dict[str, np.ndarray]:
        """Rows (S, E, ...) of a rollout; nothing is carried past its end."""
        cuts = rollout.done.copy()
        cuts[-1] = True
        rows = {
            "obs": rollout.obs["state"],
            "next_obs": rollout.next_obs()["state"],
            "actions": rollout.actions,
            "rewards": rollout.rewards * self.scale_reward_factor,
        }
        flags = {"terminated": rollout.terminated, "cuts": cuts}
        return {key: value.astype(np.float32) for key, value in rows.items()} | flags

    def estimate(self, steps: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Values and their targets, each (S, E) float32."""
        values = self.values_of(steps["obs"])
        discounts = {"gamma": self.gamma}
        discounts["lam"] = self.cfg.train.get("td_lambda", LAMBDA)
        own = {} if compat("awr_fixed_discount") else discounts
        if not compat("gae_ignores_truncation"):
            own["next_values"] = self.values_of(steps["next_obs"])
            own["cuts"] = steps["cuts"]
        rewards, terminated = steps["rewards"], steps["terminated"]
        return values, td_values(None, rewards, terminated, values, **own)

    def values_of(self, obs: np.ndarray) -> np.ndarray:
        """Values (S, E) float32 of observations (S, E, To, Do)."""
        flat = tf.reshape(obs, [-1, *obs.shape[2:]])
        return self.value({"state": flat}).numpy().reshape(obs.shape[:2])

    def _learn_critic(
        self, steps: dict[str, np.ndarray], targets: np.ndarray, count: int
    ) -> dict[str, float]:
        rows = {"obs": flat(steps["obs"]), "targets": flat(targets)}
        among = len(self.buffer) if compat("awr_oldest_rows") else targets.size
        return self._take(self.critic_rounds, rows, among, count)

    def _learn_actor(
        self, steps: dict[str, np.ndarray], advantages: np.ndarray, count: int
    ) -> dict[str, float]:
        rows = {key: flat(steps[key]) for key in ("obs", "actions")}
        rows["advantages"] = flat(advantages)
        among = advantages.size
        return self._take(self.rounds, rows, among, count, self.round_noise)

    def round_noise(self) -> list | None:
        """Recorded draws of one loss of the actor, if there are any."""
        return self.draws.recorded(2)

    def _take(
        self,
        rounds: Rounds,
        rows: dict[str, np.ndarray],
        among: int,
        count: int,
        noise: Callable[[], list | None] = lambda: None,
    ) -> dict[str, float]:
        """Rounds on random rows; losses of the last one."""
        found: Losses = {}
        for size in rounds.sizes(count, self.draws.replays):
            at = self.choose(size, among)
            batch = {key: value[at] for key, value in rows.items()}
            found = rounds(as_rows(batch), self.flags(), noise())
            self.trace("weighted_round", rows=at[-1], batch=batch, losses=found)
        return {name: float(value) for name, value in found.items()}

    def critic_round(self, batch: Batch, flags: Batch, noise: list | None) -> Losses:
        """One step of the critic (compiled)."""
        obs, targets = batch["obs"], batch["targets"]
        loss = self.step_critic("critic", lambda: self.model.loss_critic(obs, targets))
        return {"loss - critic": loss}

    def round(self, batch: Batch, flags: Batch, noise: list | None) -> Losses:
        """One step of the actor with weights min(exp(beta A), limit) (compiled)."""
        weights = self.weigh(batch["advantages"])
        actor = self.step(
            "actor",
            lambda: self.model.loss(
                batch["actions"], batch["obs"], weights, noise=noise
            ),
            flags["actor"],
        )
        return {"loss - actor": actor}

    def weigh(self, advantages: tf.Tensor) -> tf.Tensor:
        """Weights (B,) of advantages (B,), which are normalised over the batch."""
        train = self.cfg.train
        growth = tf.exp(train.beta * self.normalise(advantages))
        return tf.minimum(growth, train.max_adv_weight)

    @staticmethod
    def normalise(advantages: tf.Tensor) -> tf.Tensor:
        """(A - mean) / (std + 1e-6), std with n - 1."""
        centred = advantages - tf.reduce_mean(advantages)
        return centred / (torch_std(advantages) + 1e-6)


def flat(array: np.ndarray) -> np.ndarray:
    """Rows (S * E, ...) of steps of all environments (S, E, ...)."""
    return array.reshape(-1, *array.shape[2:])
