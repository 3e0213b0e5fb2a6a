"""Advantage-weighted regression (Peng et al., 2019) of a diffusion policy."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from model.common.critic import Cond
from model.common.objectives import value_regression
from model.diffusion.diffusion_rwr import RWRDiffusion
from util.torch_to_tf import nn_Module


class AWRDiffusion(RWRDiffusion):
    """Weights are exponentiated advantages over a learned state value.

    Args:
        actor: Noise prediction network.
        critic: State value.
        **kwargs: Arguments of `RWRDiffusion`.
    """

    def __init__(self, actor: nn_Module, critic: nn_Module, **kwargs: Any) -> None:
        super().__init__(network=actor, **kwargs)
        self.critic = critic
        self.actor = self.network
        self.restore_parts()

    def loss_critic(self, obs: Cond, advantages: tf.Tensor) -> tf.Tensor:
        """mean (V(s) - y)^2.

        Args:
            obs: {"state": (B, To, Do)}.
            advantages: Targets y of the values, returns by TD(lambda), (B,). The name
                is the reference's.
        """
        return value_regression(self.critic(obs), advantages)
