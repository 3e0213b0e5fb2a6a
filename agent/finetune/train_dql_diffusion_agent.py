"""Diffusion Q-learning (Wang et al., 2023)."""

from __future__ import annotations

from typing import ClassVar

from agent.common.rounds import Batch, Losses, with_discount
from agent.finetune.train_rounds_agent import TrainRoundsAgent


class TrainDQLDiffusionAgent(TrainRoundsAgent):
    """Critic step, actor step through the sampler, slow copy."""

    config_keys: ClassVar[frozenset[str]] = TrainRoundsAgent.config_keys | {
        "train.eta",
        "train.target_ema_rate",
    }

    def round(self, batch: Batch, flags: Batch, noise: list | None) -> Losses:
        """Algorithm 1 of Wang et al. (2023)."""
        model, train, draws = self.model, self.cfg.train, self.source(noise)
        critic = self.step_critic(
            "critic",
            lambda: model.loss_critic(**with_discount(batch, self.gamma), noise=draws),
        )
        obs, actions = batch["obs"], batch["actions"]
        actor = self.step(
            "actor",
            lambda: model.loss_actor(obs, train.eta, self.act_steps, actions, draws),
            flags["actor"],
        )
        model.update_target_critic(train.target_ema_rate)
        return {"loss - critic": critic, "loss - actor": actor}

    def round_noise(self) -> list | None:
        """Next action, sampled action, step and noise of cloning, the coin."""
        return self.draws.recorded(2 * (1 + self.model.denoising_steps) + 3)
