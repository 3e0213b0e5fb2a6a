"""DPPO: PPO on (environment step, denoising step) pairs of a diffusion policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from agent.common.learner import Learner
from agent.common.rollout import Rollout, RolloutPlan, to_tensors
from agent.finetune.train_ppo_agent import Tensors, TrainPPOAgent
from model.diffusion.diffusion_ppo import PPOLosses
from util.checkpoint import StateRegistry


class TrainPPODiffusionAgent(TrainPPOAgent):
    """Samples chains, scores each denoising step, and learns from single steps."""

    config_keys: ClassVar[frozenset[str]] = TrainPPOAgent.config_keys | {
        "reward_horizon",
        "train.eta_lr",
        "train.eta_weight_decay",
        "train.eta_update_interval",
        "train.eta_lr_scheduler.first_cycle_steps",
        "train.eta_lr_scheduler.warmup_steps",
        "train.eta_lr_scheduler.min_lr",
    }

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

    def compile(self) -> None:
        """Sampling runs under XLA; large minibatches gain nothing from it on CPU."""
        self._sample = {
            explore: tf.function(self._make_sampler(explore), jit_compile=True)
            for explore in (True, False)
        }
        obs = {"state": tf.TensorSpec([None, self.cfg.cond_steps, self.cfg.obs_dim])}
        self.value = tf.function(self.model.critic, input_signature=[obs])
        self.learn_step = tf.function(self._learn_step)

    def _make_sampler(self, explore: bool) -> Any:
        def sample(obs: dict[str, tf.Tensor], noise: list | None) -> tuple:
            return self.model.forward(obs, deterministic=not explore, noise=noise)

        return sample

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

    def score(self, rollout: Rollout) -> Tensors:
        """Observations, chains and log-probabilities by row (step, env)."""
        obs = to_tensors(
            {k: v.reshape(-1, *v.shape[2:]) for k, v in rollout.obs.items()}
        )
        extras = {
            key: tf.constant(value.reshape(-1, *value.shape[2:]))
            for key, value in rollout.extras.items()
        }
        return {"obs": obs, **extras}

    def rows(self, data: Tensors) -> int:
        """One row for each environment step and denoising step."""
        return len(data["chains"]) * self.model.ft_denoising_steps

    def _learn_step(self, data: Tensors, rows: tf.Tensor, inputs: Tensors) -> PPOLosses:
        """Gathers rows (B,), computes the losses and takes one step."""
        steps = self.model.ft_denoising_steps
        step, inner = rows // steps, rows % steps
        pair = tf.stack([step, inner], axis=1)
        with tf.GradientTape() as tape:
            losses = self.model.loss(
                {key: tf.gather(value, step) for key, value in data["obs"].items()},
                tf.gather_nd(data["chains"], pair),
                tf.gather_nd(data["chains"], tf.stack([step, inner + 1], axis=1)),
                inner,
                tf.gather(data["returns"], step),
                tf.gather(data["values"], step),
                tf.gather(data["advantages"], step),
                tf.gather_nd(data["logprobs"], pair),
                use_bc_loss=self.use_bc_loss,
                reward_horizon=self.reward_horizon,
                noise=inputs.get("noise"),
                values=self._values_of_rows(data, step),
            )
            total = self.total_loss(losses)
        self.apply_losses(total, tape, inputs["train"])
        return losses

    def _values_of_rows(self, data: Tensors, step: tf.Tensor) -> tf.Tensor | None:
        """Values of the environment steps (B,), if asking for all of them is less work.

        An environment step stands in several rows, one for each denoising step.
        """
        total = len(data["chains"])
        if step.shape[0] is None or step.shape[0] <= total:
            return None
        return tf.gather(tf.reshape(self.model.critic(data["obs"]), [-1]), step)

    def step_inputs(self, number: int) -> Tensors:
        """Adds when eta is trained, and recorded draws of the BC term."""
        inputs = super().step_inputs(number)
        if "eta" in self.learners:
            interval = self.cfg.train.eta_update_interval
            due = self.itr >= self.warmup and number % interval == 0
            inputs["train"]["eta"] = tf.constant(due)
        if self.use_bc_loss:
            inputs["noise"] = self.policy_noise(self.batch_size)
        return inputs

    def policy_noise(self, rows: int) -> list | None:
        """Draws of one sampling call for `rows` observations, if they are recorded."""
        shape = (rows, self.model.horizon_steps, self.model.action_dim)
        return self.draws.policy_noise(1 + len(self.model.sampling_t), shape)

    def total_loss(self, losses: PPOLosses) -> tf.Tensor:
        """pg + ent_coef entropy + vf_coef value + bc_loss_coeff bc."""
        return (
            losses.pg_loss
            + self.ent_coef * losses.entropy_loss
            + self.vf_coef * losses.v_loss
            + self.bc_loss_coeff * losses.bc_loss
        )

    def summarise_losses(self, losses: PPOLosses) -> dict[str, float]:
        """Metrics of the last minibatch."""
        return {
            "loss": float(self.total_loss(losses)),
            "pg loss": float(losses.pg_loss),
            "value loss": float(losses.v_loss),
            "bc loss": float(losses.bc_loss),
            "eta": float(losses.eta),
            "approx kl": float(losses.approx_kl),
            "ratio": float(losses.ratio),
            "diffusion - min sampling std": (
                self.model.get_min_sampling_denoising_std()
            ),
            "actor lr": self.actor_learner.lr,
            "critic lr": self.critic_learner.lr,
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
