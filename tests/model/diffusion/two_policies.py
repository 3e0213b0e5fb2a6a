"""Policies of which the base and the fine-tuned network are told apart."""

from typing import Any

import numpy as np

from model.diffusion.diffusion_vpg import VPGDiffusion
from model.diffusion.eta import EtaFixed
from tests.model.fakes import ConstantPrediction, MeanCritic, normal, states

ROWS, STEPS, WIDTH = 2, 2, 3
SHAPE = (ROWS, STEPS, WIDTH)
COND = states(ROWS)
BASE, TUNED = 0.3, 0.6


def model(steps: int = 5, tuned: int = 2, **options: Any) -> VPGDiffusion:
    """A policy whose base predicts 0.3 and whose fine-tuned network 0.6."""
    made = VPGDiffusion(
        actor=ConstantPrediction(BASE),
        critic=MeanCritic(),
        ft_denoising_steps=tuned,
        denoising_steps=steps,
        horizon_steps=STEPS,
        obs_dim=2,
        action_dim=WIDTH,
        **options,
    )
    made.actor_ft.value.assign(TUNED)
    return made


def ddim(tuned: int = 2, **options: Any) -> VPGDiffusion:
    """The same with four DDIM steps and an eta of 0.7."""
    defaults = {"eta": EtaFixed(0.7)}
    return model(
        20, tuned, **{"use_ddim": True, "ddim_steps": 4, **defaults, **options}
    )


def noise(count: int) -> list[np.ndarray]:
    """Standard normal draws of the shape of a chunk."""
    return [normal(*SHAPE, seed=i) for i in range(count)]
