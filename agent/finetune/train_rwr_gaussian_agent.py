"""Reward-weighted regression (Peters and Schaal, 2007) of a Gaussian policy.

The reference has the model and no agent for it.
"""

from __future__ import annotations

from agent.finetune.train_agent import TrainAgent
from agent.finetune.train_rwr_diffusion_agent import TrainRWRDiffusionAgent


class GaussianDraws(TrainAgent):
    """A chunk is one draw, and its likelihood none."""

    def acting_noise(self, explore: bool) -> list | None:
        """The recorded draw of one sampling call, if there is one."""
        return self.draws.recorded(1)

    def round_noise(self) -> list | None:
        """Nothing."""
        return None


class TrainRWRGaussianAgent(GaussianDraws, TrainRWRDiffusionAgent):
    """Maximises the likelihood of its own chunks, those with high returns more."""
