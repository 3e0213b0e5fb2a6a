"""Evaluation of a Gaussian policy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from agent.common.rollout import to_tensors
from agent.eval.eval_agent import EvalAgent


class EvalGaussianAgent(EvalAgent):
    """Nearly the mean of the policy of a checkpoint."""

    def build(self) -> None:
        """Refuses to evaluate an untrained policy, which the reference does.

        Raises:
            ValueError: The config names no checkpoint.
        """
        if self.cfg.model.get("network_path") is None:
            raise ValueError(
                "base_policy_path must be a .pt file, a state folder or a run folder, "
                "got null."
            )
        super().build()

    def act(
        self, obs: Mapping[str, np.ndarray], explore: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Chunks (E, Ta, Da)."""
        shape = (self.venv.num_envs, self.cfg.horizon_steps * self.cfg.action_dim)
        noise = self.draws.policy_noise(1, shape)
        return self._sample(to_tensors(obs), noise).numpy(), {}
