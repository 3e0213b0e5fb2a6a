"""Q-score matching (Psenka et al., 2024)."""

from __future__ import annotations

from typing import ClassVar

from agent.common.rounds import Batch, Losses, with_discount
from agent.finetune.train_rounds_agent import TrainRoundsAgent


class TrainQSMDiffusionAgent(TrainRoundsAgent):
    """Critic step, score step, slow copy."""

    config_keys: ClassVar[frozenset[str]] = TrainRoundsAgent.config_keys | {
        "train.critic_tau",
        "train.q_grad_coeff",
    }
    counts_vector_steps = True
    aliases_final_obs = True

    def critic_module(self, name: str) -> str:
        """The reference calls the critic `critic_q` in the model."""
        return "critic_q"

    def round(self, batch: Batch, flags: Batch, noise: list | None) -> Losses:
        """Algorithm 1 of Psenka et al. (2024)."""
        model, train, draws = self.model, self.cfg.train, self.source(noise)
        critic = self.step_critic(
            "critic",
            lambda: model.loss_critic(**with_discount(batch, self.gamma), noise=draws),
        )
        obs, actions = batch["obs"], batch["actions"]
        actor = self.step(
            "actor",
            lambda: model.loss_actor(obs, actions, train.q_grad_coeff, draws),
            flags["actor"],
        )
        model.update_target_critic(train.critic_tau)
        return {"loss - critic": critic, "loss - actor": actor}

    def round_noise(self) -> list | None:
        """Next action, noise and step of the score."""
        return self.draws.recorded(1 + self.model.denoising_steps + 2)
