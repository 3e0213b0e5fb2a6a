"""Advantage-weighted regression (Peng et al., 2019) of a Gaussian policy."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from model.common.critic import Cond
from model.common.objectives import value_regression
from model.rl.gaussian_rwr import RWR_Gaussian
from util.torch_to_tf import nn_Module


class AWR_Gaussian(RWR_Gaussian):
    """Reward-weighted regression with weights from a learned state value.

    Args:
        actor: Network that returns mean and standard deviation.
        critic: State value.
        **kwargs: Arguments of `GaussianModel`.
    """

    def __init__(self, actor: nn_Module, critic: nn_Module, **kwargs: Any) -> None:
        super().__init__(actor, **kwargs)
        self.critic = critic

    def loss_critic(self, obs: Cond, advantages: tf.Tensor) -> tf.Tensor:
        """mean (V(s) - y)^2.

        Args:
            obs: {"state": (B, To, Do)}.
            advantages: y, returns of temporal differences, (B,); the reference's name.
        """
        return value_regression(self.critic(obs), advantages)
