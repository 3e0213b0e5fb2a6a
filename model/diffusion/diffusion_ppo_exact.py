"""PPO on the exact likelihood of actions instead of that of denoising steps.

DPPO, section 5.1 and figure A9: the flow's likelihood (Song et al., 2021) has a
gradient, but it is costly and noisy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from model.common.critic import Cond
from model.common.objectives import (
    clamp_logprob,
    ppo_surrogate,
    ratio_diagnostics,
    value_loss,
)
from model.diffusion.diffusion_vpg import VPGDiffusion
from model.diffusion.exact_likelihood import ExactLikelihood
from model.diffusion.sde_lib import VPSDE
from model.rl.gaussian_ppo import ChunkPPO
from util.seeding import Noise

_ADAPTIVE = "the solver has fixed steps"


class ExactPPOLosses(NamedTuple):
    """Terms and diagnostics of one minibatch, in the reference's order."""

    pg_loss: tf.Tensor
    v_loss: tf.Tensor
    clipfrac: tf.Tensor
    approx_kl: tf.Tensor
    ratio: tf.Tensor
    bc_loss: tf.Tensor


class PPOExactDiffusion(ChunkPPO, VPGDiffusion):  # type: ignore[misc]
    """Clipped policy gradient on whole chunks, scored by the probability flow.

    Args:
        sde: `VPSDE` with N = denoising_steps.
        sde_hutchinson_type: Law of the probes, "Rademacher" or "Gaussian".
        sde_eps: Time at which the flow starts.
        sde_step_size: Of the solver; one denoising step if None.
        sde_method: Only "euler".
        sde_probability_flow: Solve the flow; see `ExactLikelihood`.
        sde_num_epsilon: Probes for each action.
        sde_min_beta: Smaller betas are raised to it.
        **kwargs: Arguments of `ChunkPPO` and `VPGDiffusion`.

    Raises:
        ValueError: An option is impossible, or N is another number.
    """

    dead_config_keys: ClassVar[Mapping[str, str]] = {
        "rtol": _ADAPTIVE,
        "atol": _ADAPTIVE,
        "sde_rtol": _ADAPTIVE,
        "sde_atol": _ADAPTIVE,
        "sde_continuous": "networks know the denoising steps only",
    }

    def __init__(
        self,
        sde: VPSDE,
        sde_hutchinson_type: str = "Rademacher",
        sde_eps: float = 1e-4,
        sde_step_size: float | None = None,
        sde_method: str = "euler",
        sde_probability_flow: bool = False,
        sde_num_epsilon: int = 1,
        sde_min_beta: float = 1e-2,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if self.use_ddim:
            raise ValueError(
                "use_ddim must be false, got True: the flow goes through every "
                "denoising step."
            )
        sde.set_betas(self.betas, sde_min_beta)
        self.likelihood = ExactLikelihood(
            sde,
            hutchinson_type=sde_hutchinson_type,
            method=sde_method,
            step_size=sde_step_size,
            eps=sde_eps,
            probability_flow=sde_probability_flow,
            predict_epsilon=self.predict_epsilon,
            num_epsilon=sde_num_epsilon,
        )

    def get_exact_logprobs(
        self, cond: Cond, samples: tf.Tensor, noise: Noise = None
    ) -> tf.Tensor:
        """Log-likelihoods in bits per dimension, (B,).

        Args:
            cond: {"state": (B, To, Do)}.
            samples: Actions (B, Ta, Da).
            noise: The probes, (B * n, Ta, Da), those of an action in succession.
        """
        return self.likelihood(
            self.actor,
            self.actor_ft,
            samples,
            self.denoising_steps,
            self.ft_denoising_steps,
            cond,
            self.draws(noise),
        )

    def loss(
        self,
        obs: Cond,
        samples: tf.Tensor,
        returns: tf.Tensor,
        oldvalues: tf.Tensor,
        advantages: tf.Tensor,
        oldlogprobs: tf.Tensor,
        use_bc_loss: bool = False,
        noise: Noise = None,
        weighed: bool = False,
    ) -> ExactPPOLosses:
        """All terms for B chunks.

        New and old log-probabilities have probes of their own, so the ratio is not 1
        before the first step.

        Args:
            obs: Observations.
            samples: Actions (B, Ta, Da).
            returns: (B,).
            oldvalues: Values when the data were collected, (B,).
            advantages: (B,).
            oldlogprobs: `get_exact_logprobs` then, (B,).
            use_bc_loss: Must be false.
            noise: The probes.
            weighed: Advantages are those of `weigh_advantages` already.

        Raises:
            ValueError: `use_bc_loss` is true.
        """
        if use_bc_loss:
            self.check_bc_loss()
        newlogprobs = self.get_exact_logprobs(obs, samples, noise)
        logratio = clamp_logprob(newlogprobs) - clamp_logprob(oldlogprobs)
        clip = self.clip_ploss_coef
        approx_kl, clipfrac, ratio = ratio_diagnostics(logratio, clip)
        weights = advantages if weighed else self.weigh_advantages(advantages)
        values = tf.reshape(self.critic(obs), [-1])
        return ExactPPOLosses(
            pg_loss=ppo_surrogate(logratio, weights, clip),
            v_loss=value_loss(values, returns, oldvalues, self.clip_vloss_coef),
            clipfrac=clipfrac,
            approx_kl=approx_kl,
            ratio=ratio,
            bc_loss=tf.constant(0.0),
        )

    def check_bc_loss(self) -> None:
        """Refuses `use_bc_loss`.

        Raises:
            ValueError: Always.
        """
        raise ValueError(
            "use_bc_loss must be false: the exact likelihood has no BC term."
        )
