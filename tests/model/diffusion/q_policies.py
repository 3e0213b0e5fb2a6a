"""Policies of one action whose samples are known, with linear critics."""

from typing import Any

import numpy as np

from model.common.critic import CriticObsAct
from tests.model.fakes import ConstantPrediction
from tests.model.rl.transitions import ROWS, WIDTH, linear_critic, set_values

STEPS = 3
FLOOR = 0.1
SHAPE = (ROWS, 1, WIDTH)
SIZES: dict[str, Any] = {
    "horizon_steps": 1,
    "obs_dim": 2,
    "action_dim": WIDTH,
    "denoising_steps": STEPS,
}
# The network predicts the clean action, so a sample is that plus the last noise.
KNOWN: dict[str, Any] = {
    **SIZES,
    "predict_epsilon": False,
    "min_sampling_denoising_std": FLOOR,
}


def make(kind: type, action: float = 0.5, **options: Any) -> Any:
    """A policy of class `kind` that predicts one action everywhere.

    Its critics and their slow copies are 0, unless there is a `critic`.
    """
    defaults = {**KNOWN, "critic": linear_critic(double_q=True)}
    made = kind(actor=ConstantPrediction(action), **{**defaults, **options})
    for critic in () if "critic" in options else critics_of(made):
        set_values(critic, (0.0, 0.0))
    return made


def critics_of(made: Any) -> list[CriticObsAct]:
    """The critic and its slow copy."""
    return [getattr(made, name) for name in made.critic_names]


def noise(last: float = 0.0, rows: int = ROWS) -> list[np.ndarray]:
    """Draws of one sample; the last step adds `last` standard deviations."""
    draws = [np.ones((rows, *SHAPE[1:]), np.float32)] * (1 + STEPS)
    return [*draws[:-1], last * draws[-1]]
