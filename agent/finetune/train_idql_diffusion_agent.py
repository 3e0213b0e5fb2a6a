"""Implicit diffusion Q-learning (Hansen-Estruch et al., 2023)."""

from __future__ import annotations

from typing import Any, ClassVar

from agent.common.rounds import Batch, Losses, with_discount
from agent.finetune.train_rounds_agent import TrainRoundsAgent


class TrainIDQLDiffusionAgent(TrainRoundsAgent):
    """V by expectiles, Q by V, cloning; critics choose among samples when acting."""

    config_keys: ClassVar[frozenset[str]] = TrainRoundsAgent.config_keys | {
        "train.critic_tau",
        "train.use_expectile_exploration",
        "train.eval_deterministic",
        "train.eval_sample_num",
    }
    critics = ("critic_q", "critic_v")
    losses = (*TrainRoundsAgent.losses, "loss - critic q", "loss - critic v")
    counts_vector_steps = True
    aliases_final_obs = True

    def sampling(self) -> dict[str, Any]:
        """How many samples the critics choose from, and how."""
        train = self.cfg.train
        return {
            "num_sample": train.eval_sample_num,
            "use_expectile_exploration": train.use_expectile_exploration,
        }

    def build(self) -> None:
        """Evaluations may explore as well."""
        super().build()
        if not self.cfg.train.get("eval_deterministic", False):
            self._sample[False] = self._sample[True]

    def acting_noise(self, explore: bool) -> list | None:
        """One more than others if the choice among samples is drawn."""
        train = self.cfg.train
        explores = explore or not train.get("eval_deterministic", False)
        chooses = explores and train.use_expectile_exploration
        return self.draws.recorded(1 + self.model.denoising_steps + chooses)

    def round(self, batch: Batch, flags: Batch, noise: list | None) -> Losses:
        """Value, Q-functions, slow copy, cloning."""
        model, draws = self.model, self.source(noise)
        obs, actions = batch["obs"], batch["actions"]
        value = self.step_critic("critic_v", lambda: model.loss_critic_v(obs, actions))
        q = self.step_critic(
            "critic_q", lambda: model.loss_critic_q(**with_discount(batch, self.gamma))
        )
        model.update_target_critic(self.cfg.train.critic_tau)
        actor = self.step(
            "actor", lambda: model.loss(actions, obs, noise=draws), flags["actor"]
        )
        both = {"loss - critic q": q, "loss - critic v": value}
        return {"loss - critic": q + value, "loss - actor": actor, **both}

    def round_noise(self) -> list | None:
        """Step and noise of cloning."""
        return self.draws.recorded(2)
