"""DDIM in plain PyTorch with eta = 1, as image leaves have it."""

from __future__ import annotations

from typing import Any

import torch
from omegaconf import DictConfig

from tests.bench.peer_model import PPODiffusion, at


class PPODdim(PPODiffusion):
    """`PPODiffusion` on some of the steps.

    Args:
        cfg: Experiment.
        *args: Further arguments of `PPODiffusion`.
    """

    def __init__(self, cfg: DictConfig, *args: Any) -> None:
        super().__init__(cfg, *args)
        self.stride = self.steps // cfg.model.ddim_steps
        bar = self.bar[:: self.stride]
        self.alphas, self.before = bar, torch.cat([torch.ones(1), bar[:-1]])
        self.root = (1 - bar).sqrt()

    def posterior(
        self, x: torch.Tensor, t: torch.Tensor, e: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        i = t // self.stride
        alpha, before, root = (
            at(values, i) for values in (self.alphas, self.before, self.root)
        )
        x0 = (x - root * e) / alpha.sqrt()
        x0 = x0.clamp(-self.clip, self.clip)
        e = (x - alpha.sqrt() * x0) / root
        sigma = ((1 - before) / (1 - alpha) * (1 - alpha / before)).sqrt()
        sigma = sigma.clamp(min=1e-10)
        rest = (1.0 - before - sigma**2).clamp(min=0).sqrt()
        return before.sqrt() * x0 + rest * e, torch.log(sigma**2)
