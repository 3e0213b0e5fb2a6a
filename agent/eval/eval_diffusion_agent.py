"""Evaluation of a diffusion policy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from agent.common.rollout import to_tensors
from agent.eval.eval_agent import EvalAgent


class EvalDiffusionAgent(EvalAgent):
    """Deterministic sampling from a checkpoint."""

    def act(
        self, obs: Mapping[str, np.ndarray], explore: bool
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Chunks (E, Ta, Da)."""
        model = self.model
        shape = (self.venv.num_envs, model.horizon_steps, model.action_dim)
        noise = self.draws.policy_noise(1 + len(model.sampling_t), shape)
        return self._sample(to_tensors(obs), noise).trajectories.numpy(), {}
