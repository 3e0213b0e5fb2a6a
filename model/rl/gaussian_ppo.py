"""PPO (Schulman et al., 2017) on a Gaussian or a mixture over action chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from model.common.critic import Cond
from model.common.objectives import (
    clamp_logprob,
    normalise,
    ppo_surrogate,
    ratio_diagnostics,
    value_loss,
)
from model.rl.gaussian_vpg import VPG_Gaussian
from util.torch_to_tf import nn_Module


class GaussianPPOLosses(NamedTuple):
    """Terms and diagnostics of one minibatch, in the reference's order."""

    pg_loss: tf.Tensor
    entropy_loss: tf.Tensor
    v_loss: tf.Tensor
    clipfrac: tf.Tensor
    approx_kl: tf.Tensor
    ratio: tf.Tensor
    bc_loss: tf.Tensor
    std: tf.Tensor


class ChunkPPO(nn_Module):
    """Clipped policy gradient on whole chunks.

    It stands before a class that has the policy, its `get_logprobs` and its `critic`.

    Args:
        clip_ploss_coef: Clip range of the ratio.
        clip_vloss_coef: Clip range of the value; None for none.
        norm_adv: Normalise advantages within the minibatch.
        **kwargs: Arguments of the class with the policy.
    """

    critic: nn_Module
    get_logprobs: Any
    forward: Any

    def __init__(
        self,
        clip_ploss_coef: float,
        clip_vloss_coef: float | None = None,
        norm_adv: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.clip_ploss_coef = clip_ploss_coef
        self.clip_vloss_coef = clip_vloss_coef
        self.norm_adv = norm_adv

    def weigh_advantages(self, advantages: tf.Tensor) -> tf.Tensor:
        """Normalises advantages (B,) of a minibatch if configured."""
        return normalise(advantages) if self.norm_adv else advantages

    def loss(
        self,
        obs: Cond,
        actions: tf.Tensor,
        returns: tf.Tensor,
        oldvalues: tf.Tensor,
        advantages: tf.Tensor,
        oldlogprobs: tf.Tensor,
        use_bc_loss: bool = False,
        noise: Sequence[Any] | None = None,
        weighed: bool = False,
    ) -> GaussianPPOLosses:
        """All terms for B chunks.

        Log-probabilities are those of `get_logprobs`, means over the whole chunk, and
        clamped after the mean; those of diffusion policies are clamped before it.

        Args:
            obs: Observations.
            actions: Sampled chunks, (B, Ta, Da).
            returns: (B,).
            oldvalues: Values when the data were collected, (B,).
            advantages: (B,).
            oldlogprobs: Mean log-probabilities then, (B,).
            use_bc_loss: Add likelihood of the base policy's samples.
            noise: Draw of the base policy's samples.
            weighed: Advantages are those of `weigh_advantages` already.
        """
        newlogprobs, entropy, std = self.get_logprobs(obs, actions)
        logratio = clamp_logprob(newlogprobs) - clamp_logprob(oldlogprobs)
        clip = self.clip_ploss_coef
        approx_kl, clipfrac, ratio = ratio_diagnostics(logratio, clip)
        weights = advantages if weighed else self.weigh_advantages(advantages)
        values = tf.reshape(self.critic(obs), [-1])
        return GaussianPPOLosses(
            pg_loss=ppo_surrogate(logratio, weights, clip),
            entropy_loss=-entropy,
            v_loss=value_loss(values, returns, oldvalues, self.clip_vloss_coef),
            clipfrac=clipfrac,
            approx_kl=approx_kl,
            ratio=ratio,
            bc_loss=self.bc_loss(obs, noise) if use_bc_loss else tf.constant(0.0),
            std=std,
        )

    def bc_loss(self, obs: Cond, noise: Sequence[Any] | None = None) -> tf.Tensor:
        """-mean log-probability of chunks sampled from the base policy."""
        self.check_bc_loss()
        actions = self.forward(obs, use_base_policy=True, noise=noise)
        return -tf.reduce_mean(clamp_logprob(self.get_logprobs(obs, actions)[0]))

    def check_bc_loss(self) -> None:
        """Refuses `use_bc_loss` where there is no frozen base policy, `actor`.

        Raises:
            ValueError: There is none.
        """
        if not hasattr(self, "actor"):
            raise ValueError(
                "use_bc_loss must be false: a "
                f"{type(self).__name__} keeps no base policy to imitate."
            )


class PPO_Gaussian(ChunkPPO, VPG_Gaussian):  # type: ignore[misc]
    """Clipped policy gradient on chunks of a Gaussian.

    Args:
        **kwargs: Arguments of `ChunkPPO` and `VPG_Gaussian`.
    """
