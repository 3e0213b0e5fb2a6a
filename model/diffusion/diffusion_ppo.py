"""PPO over the two-layer MDP of denoising and environment (DPPO, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from model.common.critic import Cond
from model.common.objectives import (
    clamp_logprob,
    clip_to_quantiles,
    normalise,
    ppo_surrogate,
    ratio_diagnostics,
    value_loss,
)
from model.diffusion.diffusion_vpg import VPGDiffusion
from util.config import compat


class PPOLosses(NamedTuple):
    """Terms and diagnostics of one minibatch, in the reference's order."""

    pg_loss: tf.Tensor
    entropy_loss: tf.Tensor
    v_loss: tf.Tensor
    clipfrac: tf.Tensor
    approx_kl: tf.Tensor
    ratio: tf.Tensor
    bc_loss: tf.Tensor
    eta: tf.Tensor


class PPODiffusion(VPGDiffusion):
    """Clipped policy gradient on single denoising steps.

    Args:
        gamma_denoising: Discount of the advantage towards noisier steps.
        clip_ploss_coef: Clip range of the ratio at the last (clean) step.
        clip_ploss_coef_base: Clip range at the noisiest fine-tuned step.
        clip_ploss_coef_rate: Rate of the exponential between the two.
        clip_vloss_coef: Clip range of the value; None for none.
        clip_advantage_lower_quantile: Advantages below it are raised to it.
        clip_advantage_upper_quantile: Advantages above it are lowered to it.
        norm_adv: Normalise advantages within the minibatch.
        **kwargs: Arguments of `VPGDiffusion`.
    """

    def __init__(
        self,
        gamma_denoising: float,
        clip_ploss_coef: float,
        clip_ploss_coef_base: float = 1e-3,
        clip_ploss_coef_rate: float = 3,
        clip_vloss_coef: float | None = None,
        clip_advantage_lower_quantile: float = 0,
        clip_advantage_upper_quantile: float = 1,
        norm_adv: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.gamma_denoising = gamma_denoising
        self.clip_ploss_coef = clip_ploss_coef
        self.clip_ploss_coef_base = clip_ploss_coef_base
        self.clip_ploss_coef_rate = clip_ploss_coef_rate
        self.clip_vloss_coef = clip_vloss_coef
        self.clip_advantage_lower_quantile = clip_advantage_lower_quantile
        self.clip_advantage_upper_quantile = clip_advantage_upper_quantile
        self.norm_adv = norm_adv

    def clip_range(self, denoising_inds: tf.Tensor) -> tf.Tensor:
        """Clip range of each row, growing towards the clean action (DPPO, app. C.2).

        With a single fine-tuned step, that step is the clean one (the reference
        divides zero by zero there).
        """
        last = self.ft_denoising_steps - 1
        position = tf.cast(denoising_inds, tf.float32)
        if last or compat("single_step_clip_nan"):
            position = position / last
        else:
            position = tf.ones_like(position)
        growth = tf.math.expm1(self.clip_ploss_coef_rate * position)
        share = growth / tf.math.expm1(float(self.clip_ploss_coef_rate))
        spread = self.clip_ploss_coef - self.clip_ploss_coef_base
        return self.clip_ploss_coef_base + spread * share

    def weigh_advantages(
        self, advantages: tf.Tensor, denoising_inds: tf.Tensor
    ) -> tf.Tensor:
        """Normalises, clips and discounts advantages (B,) by denoising step."""
        if self.norm_adv:
            advantages = normalise(advantages)
        advantages = clip_to_quantiles(
            advantages,
            self.clip_advantage_lower_quantile,
            self.clip_advantage_upper_quantile,
        )
        distance = self.ft_denoising_steps - 1 - tf.cast(denoising_inds, tf.int64)
        return advantages * self.gamma_denoising ** tf.cast(distance, tf.float32)

    def loss(
        self,
        obs: Cond,
        chains_prev: tf.Tensor,
        chains_next: tf.Tensor,
        denoising_inds: tf.Tensor,
        returns: tf.Tensor,
        oldvalues: tf.Tensor,
        advantages: tf.Tensor,
        oldlogprobs: tf.Tensor,
        use_bc_loss: bool = False,
        reward_horizon: int = 4,
        noise: Sequence[Any] | None = None,
        values: tf.Tensor | None = None,
        weighed: bool = False,
    ) -> PPOLosses:
        """All terms for B rows of (environment step, denoising step).

        Args:
            obs: Observations.
            chains_prev: Action before the denoising step, (B, Ta, Da).
            chains_next: Action after it, (B, Ta, Da).
            denoising_inds: Index of the step in the chain, (B,), 0 the noisiest.
            returns: (B,).
            oldvalues: Values when the data were collected, (B,).
            advantages: (B,).
            oldlogprobs: Elementwise log-probabilities then, (B, Ta, Da).
            use_bc_loss: Add likelihood of the base policy's samples.
            reward_horizon: Steps of the chunk that count.
            noise: Draws of the base policy's samples.
            values: The critic's values of the rows, (B,), if it has been asked already.
            weighed: Advantages are those of `weigh_advantages` already.
        """
        newlogprobs, eta = self.get_logprobs_subsample(
            obs, chains_prev, chains_next, denoising_inds, get_ent=True
        )
        logratio = _mean_logprob(newlogprobs, reward_horizon) - _mean_logprob(
            oldlogprobs, reward_horizon
        )
        clip = self.clip_range(denoising_inds)
        approx_kl, clipfrac, ratio = ratio_diagnostics(logratio, clip)
        if not weighed:
            advantages = self.weigh_advantages(advantages, denoising_inds)
        values = tf.reshape(self.critic(obs) if values is None else values, [-1])
        bc_loss = self.bc_loss(obs, noise) if use_bc_loss else tf.constant(0.0)
        return PPOLosses(
            pg_loss=ppo_surrogate(logratio, advantages, clip),
            entropy_loss=-tf.reduce_mean(eta),
            v_loss=value_loss(values, returns, oldvalues, self.clip_vloss_coef),
            clipfrac=clipfrac,
            approx_kl=approx_kl,
            ratio=ratio,
            bc_loss=bc_loss,
            eta=tf.stop_gradient(tf.reduce_mean(eta)),
        )

    def bc_loss(self, obs: Cond, noise: Sequence[Any] | None = None) -> tf.Tensor:
        """-mean log-probability of chains sampled from the base policy."""
        chains = self.forward(obs, use_base_policy=True, noise=noise).chains
        logprobs = self.get_logprobs(obs, tf.stop_gradient(chains))
        return -tf.reduce_mean(clamp_logprob(logprobs))


def _mean_logprob(logprobs: tf.Tensor, reward_horizon: int) -> tf.Tensor:
    """Clamped log-probability averaged over the executed steps and dimensions.

    The mean, not the sum: released configurations are tuned for it.
    """
    return tf.reduce_mean(clamp_logprob(logprobs)[:, :reward_horizon], axis=[1, 2])
