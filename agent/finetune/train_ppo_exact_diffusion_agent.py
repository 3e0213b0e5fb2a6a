"""PPO on the exact likelihood of a diffusion policy's actions (DPPO, section 5.1).

The denoising steps are no actions of their own here: a row is a chunk, scored by the
probability flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import tensorflow as tf

from agent.common.rollout import Rollout
from agent.finetune.train_ppo_agent import Tensors, TrainPPOAgent
from agent.finetune.train_ppo_diffusion_agent import TrainPPODiffusionAgent
from agent.finetune.train_ppo_gaussian_agent import ChunkRows
from model.diffusion.diffusion_ppo_exact import ExactPPOLosses


class TrainPPOExactDiffusionAgent(ChunkRows, TrainPPODiffusionAgent):
    """Samples as DPPO does and learns from chunks as PPO on a Gaussian does."""

    dead_config_keys: ClassVar[Mapping[str, str]] = {
        "reward_horizon": "the likelihood is that of the whole chunk",
        "train.ent_coef": "the entropy of the flow is not known",
    }
    console = ("loss", "pg loss", "value loss")
    # Gradients of gradients are not divided among devices.
    shares_devices = False
    # The flow keeps activations of every denoising step, and of their derivatives.
    cpu_block_size = 250

    def compile(self) -> None:
        """Adds the scoring of chunks."""
        super().compile()
        self.rescore = tf.function(self.model.get_exact_logprobs)

    def act(
        self, obs: Mapping[str, np.ndarray], explore: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Chunks (E, Ta, Da), all steps remembered, and their chains."""
        chunks, extras = super().act(obs, explore)
        return chunks, {"samples": chunks, "chains": extras["chains"]}

    def score(self, rollout: Rollout) -> Tensors:
        """Log-likelihoods (S * E,) of the chunks, with probes of their own."""
        data = super().score(rollout)
        del data["chains"]
        parts = [
            self.rescore(piece["obs"], piece["samples"], self.draws.recorded(1))
            for piece in self.slices(data)
        ]
        return {**data, "logprobs": tf.concat(parts, axis=0)}

    def step_inputs(self, number: int) -> Tensors:
        """Adds recorded probes, if there are any."""
        return {**super().step_inputs(number), "noise": self.draws.recorded(1)}

    def total_loss(self, losses: ExactPPOLosses) -> tf.Tensor:
        """pg + vf_coef value."""
        return losses.pg_loss + self.vf_coef * losses.v_loss

    def summarise_losses(self, losses: ExactPPOLosses) -> dict[str, float]:
        """Without what belongs to denoising steps."""
        return TrainPPOAgent.summarise_losses(self, losses)
