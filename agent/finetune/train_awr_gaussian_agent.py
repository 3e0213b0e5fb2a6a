"""Advantage-weighted regression (Peng et al., 2019) of a Gaussian policy.

The reference has the model and no agent for it.
"""

from __future__ import annotations

from agent.finetune.train_awr_diffusion_agent import TrainAWRDiffusionAgent
from agent.finetune.train_rwr_gaussian_agent import GaussianDraws


class TrainAWRGaussianAgent(GaussianDraws, TrainAWRDiffusionAgent):
    """Regresses values, then raises the likelihood of what was better than them."""
