"""PPO (Schulman et al., 2017) on chunks of a Gaussian or a mixture policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from agent.common.rollout import to_tensors
from agent.finetune.train_ppo_agent import Tensors, TrainPPOAgent
from model.rl.gaussian_vpg import ChunkLosses


class ChunkRows(TrainPPOAgent):
    """Minibatches of single chunks; the model scores and weighs them (`ChunkVPG`)."""

    def build(self) -> None:
        """Refuses to imitate a base policy where the model keeps none."""
        super().build()
        if self.use_bc_loss:
            self.model.check_bc_loss()

    def rows(self, data: Tensors) -> int:
        """One row for each chunk."""
        return len(data["samples"])

    def prepare(self, data: Tensors, rows: tf.Tensor) -> Tensors:
        """Weighed advantages of the chunks."""
        advantages = tf.gather(data["advantages"], rows)
        return {"advantages": self.model.weigh_advantages(advantages)}

    def losses(
        self, data: Tensors, rows: tf.Tensor, prepared: Tensors, noise: list | None
    ) -> Any:
        """Losses of chunks."""
        return self.model.loss(
            {key: tf.gather(value, rows) for key, value in data["obs"].items()},
            tf.gather(data["samples"], rows),
            tf.gather(data["returns"], rows),
            tf.gather(data["values"], rows),
            prepared["advantages"],
            tf.gather(data["logprobs"], rows),
            use_bc_loss=self.use_bc_loss,
            noise=noise,
            weighed=True,
        )


class TrainPPOGaussianAgent(ChunkRows):
    """Samples chunks with their likelihood and learns from single chunks."""

    console = ("loss", "pg loss", "value loss", "entropy")
    sampling: ClassVar[Mapping[str, Any]] = {"get_logprob": True}

    def act(
        self, obs: Mapping[str, np.ndarray], explore: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Chunks (E, Ta, Da), all steps remembered, and log-probabilities (E,)."""
        noise = self.policy_noise(self.venv.num_envs)
        chunks, logprobs = self._sample[explore](to_tensors(obs), noise)
        chunks = chunks.numpy()
        return chunks, {"samples": chunks, "logprobs": logprobs.numpy()}

    def logprobs_of(self, data: Tensors) -> tf.Tensor:
        """Of stored chunks, (B,)."""
        return self.model.get_logprobs(data["obs"], data["samples"])[0]

    def policy_noise(self, rows: int) -> list | None:
        """One draw for the elements of each chunk, if it is recorded."""
        width = self.model.horizon_steps * self.cfg.action_dim
        return self.draws.policy_noise(1, (rows, width))

    def summarise_losses(self, losses: ChunkLosses) -> dict[str, float]:
        """Adds entropy and standard deviation of an action's element."""
        return {
            **super().summarise_losses(losses),
            "entropy": -float(losses.entropy_loss),
            "std": float(losses.std),
        }
