"""PPO (Schulman et al., 2017) on a Gaussian or a mixture over action chunks."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from model.common.objectives import ppo_surrogate
from model.rl.gaussian_vpg import ChunkVPG, VPG_Gaussian


class ChunkPPO(ChunkVPG):
    """Clipped policy gradient on whole chunks.

    It stands before a class that has the policy, its `get_logprobs` and its `critic`.

    Args:
        clip_ploss_coef: Clip range of the ratio.
        clip_vloss_coef: Clip range of the value; None for none.
        **kwargs: Arguments of `ChunkVPG` and of the class with the policy.
    """

    def __init__(
        self,
        clip_ploss_coef: float,
        clip_vloss_coef: float | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.clip_ploss_coef = clip_ploss_coef
        self.clip_vloss_coef = clip_vloss_coef

    def policy_loss(
        self, logprobs: tf.Tensor, logratio: tf.Tensor, weights: tf.Tensor
    ) -> tf.Tensor:
        """The clipped surrogate."""
        return ppo_surrogate(logratio, weights, self.clip_ploss_coef)


class PPO_Gaussian(ChunkPPO, VPG_Gaussian):  # type: ignore[misc]
    """Clipped policy gradient on chunks of a Gaussian.

    Args:
        **kwargs: Arguments of `ChunkPPO` and `VPG_Gaussian`.
    """
