"""DPPO: PPO on (environment step, denoising step) pairs of a diffusion policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow as tf

from agent.common.learner import Learner, host_flag, learner_keys
from agent.common.rollout import RolloutPlan, to_tensors
from agent.finetune.train_ppo_agent import Tensors, TrainPPOAgent
from model.diffusion.diffusion_ppo import PPOLosses
from util.checkpoint import StateRegistry


class TrainPPODiffusionAgent(TrainPPOAgent):
    """Samples chains, scores each denoising step, and learns from single steps."""

    config_keys: ClassVar[frozenset[str]] = TrainPPOAgent.config_keys | {
        "reward_horizon",
        "train.eta_update_interval",
        *learner_keys("eta_"),
    }

    console: ClassVar[tuple[str, ...]] = (
        "loss",
        "pg loss",
        "value loss",
        "bc loss",
        "eta",
    )

    def build(self) -> None:
        """Checks that there is something to fine-tune."""
        if self.model.ft_denoising_steps < 1:
            raise ValueError(
                "ft_denoising_steps must be >= 1 to fine-tune, "
                f"got {self.model.ft_denoising_steps}."
            )
        self.reward_horizon = self.cfg.get("reward_horizon", self.act_steps)
        super().build()

    def make_learners(self) -> dict[str, Learner]:
        """Adds the learner of eta."""
        learners = super().make_learners()
        if self.model.learn_eta:
            learners["eta"] = self.make_learner("eta", self.model.eta, None)
        return learners

    def state(self) -> StateRegistry:
        """Adds how far the annealing of the model is."""
        registry = super().state()
        registry.add("annealing", _Annealing(self))
        return registry

    def act(
        self, obs: Mapping[str, np.ndarray], explore: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Chunks (E, Ta, Da) and the chains that led to them, (E, K + 1, Ta, Da).

        When exploring also log-probabilities of the chains, (E, K, Ta, Da).
        """
        noise = self.policy_noise(self.venv.num_envs)
        sample = self._sample[explore](to_tensors(obs), noise)
        extras = {"chains": sample.chains.numpy()}
        if explore:
            extras["logprobs"] = sample.logprobs.numpy()
        return sample.trajectories.numpy(), extras

    def logprobs_of(self, data: Tensors) -> tf.Tensor:
        """Of stored chains, (B, K, Ta, Da)."""
        scored = self.model.get_logprobs(data["obs"], data["chains"])
        return tf.reshape(scored, tf.shape(data["chains"][:, 1:]))

    def rows(self, data: Tensors) -> int:
        """One row for each environment step and denoising step."""
        return len(data["chains"]) * self.model.ft_denoising_steps

    def prepare(self, data: Tensors, rows: tf.Tensor) -> Tensors:
        """Weighed advantages of the pairs; values if asking for all is less work."""
        step, inner = self._pair(rows)
        prepared = {
            "advantages": self.model.weigh_advantages(
                tf.gather(data["advantages"], step), inner
            )
        }
        values = self._values_of_rows(data, step)
        return prepared if values is None else prepared | {"values": values}

    def losses(
        self, data: Tensors, rows: tf.Tensor, prepared: Tensors, noise: list | None
    ) -> PPOLosses:
        """Losses of pairs (environment step, denoising step)."""
        step, inner = self._pair(rows)
        pair = tf.stack([step, inner], axis=1)
        return self.model.loss(
            {key: tf.gather(value, step) for key, value in data["obs"].items()},
            tf.gather_nd(data["chains"], pair),
            tf.gather_nd(data["chains"], tf.stack([step, inner + 1], axis=1)),
            inner,
            tf.gather(data["returns"], step),
            tf.gather(data["values"], step),
            prepared["advantages"],
            tf.gather_nd(data["logprobs"], pair),
            use_bc_loss=self.use_bc_loss,
            reward_horizon=self.reward_horizon,
            noise=noise,
            values=prepared.get("values"),
            weighed=True,
        )

    def _pair(self, rows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Environment step and denoising step of rows."""
        steps = self.model.ft_denoising_steps
        return rows // steps, rows % steps

    def _values_of_rows(self, data: Tensors, step: tf.Tensor) -> tf.Tensor | None:
        """Values of the environment steps (B,), if asking for all of them is less work.

        An environment step stands in several rows, one for each denoising step.
        """
        total = len(data["chains"])
        if step.shape[0] is None or step.shape[0] <= total:
            return None
        return tf.gather(tf.reshape(self.model.critic(data["obs"]), [-1]), step)

    def step_inputs(self, number: int) -> Tensors:
        """Adds when eta is trained."""
        inputs = super().step_inputs(number)
        if "eta" in self.learners:
            interval = self.cfg.train.eta_update_interval
            due = self.itr >= self.warmup and number % interval == 0
            inputs["train"]["eta"] = host_flag(due)
        return inputs

    def policy_noise(self, rows: int) -> list | None:
        """Draws of one sampling call for `rows` observations, if they are recorded."""
        shape = (rows, self.model.horizon_steps, self.model.action_dim)
        return self.draws.policy_noise(1 + len(self.model.sampling_t), shape)

    def summarise_losses(self, losses: PPOLosses) -> dict[str, float]:
        """Adds eta and the exploration noise."""
        return {
            **super().summarise_losses(losses),
            "eta": float(losses.eta),
            "diffusion - min sampling std": (
                self.model.get_min_sampling_denoising_std()
            ),
        }

    def end_iteration(self, plan: RolloutPlan) -> None:
        """Advances schedules and annealing; recompiles if the chain got shorter."""
        super().end_iteration(plan)
        if self.model.step():
            self.compile()


class _Annealing:
    """The annealing of an agent's model as registry state."""

    def __init__(self, agent: TrainPPODiffusionAgent) -> None:
        self.agent = agent

    def get_state(self) -> dict[str, int]:
        """Iterations so far and present number of fine-tuned steps."""
        model = self.agent.model
        return {
            "count": model.ft_denoising_steps_cnt,
            "ft_denoising_steps": model.ft_denoising_steps,
        }

    def set_state(self, state: Mapping[str, int]) -> None:
        """Continues from `get_state`; compiled code depends on it."""
        self.agent.model.resume_annealing(**state)
        self.agent.compile()
