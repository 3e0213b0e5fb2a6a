"""Diffusion as a stochastic differential equation (Song et al., 2021, ICLR).

Time runs from 0 (clean) to 1 (noise); step i of N is the time i / N.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from model.diffusion.sampling import extract
from util.config import compat

Score = Callable[..., tf.Tensor]
DriftAndDiffusion = tuple[tf.Tensor, tf.Tensor | float]


class SDE:
    """dx = f(x, t) dt + g(t) dw.

    Args:
        N: Number of steps.
    """

    T = 1.0

    def __init__(self, N: int) -> None:
        self.N = N

    def sde(self, x: tf.Tensor, t: tf.Tensor) -> DriftAndDiffusion:
        """f(x, t), shape of x, and g(t), (B,), at steps t (B,)."""
        raise NotImplementedError

    def reverse(self, score_fn: Score, probability_flow: bool = False) -> ReverseSDE:
        """The equation that leads from noise to data, or the flow of the same law.

        Args:
            score_fn: grad_x log p_t(x), from x, t and further arguments.
            probability_flow: The flow, which adds no noise.
        """
        return ReverseSDE(self, score_fn, probability_flow)


class ReverseSDE:
    """dx = (f - c g^2 score) dt + g dw with c = 1, or c = 1/2 and no noise.

    Eqs. 6 and 13 of Song et al. (2021).

    Args:
        forward: The equation that is reversed.
        score_fn: grad_x log p_t(x).
        probability_flow: c = 1/2 and no noise.
    """

    def __init__(self, forward: SDE, score_fn: Score, probability_flow: bool) -> None:
        self.forward, self.score_fn = forward, score_fn
        self.probability_flow = probability_flow
        self.N, self.T = forward.N, forward.T

    def sde(self, x: tf.Tensor, t: tf.Tensor, **options: Any) -> DriftAndDiffusion:
        """Drift, shape of x, and diffusion, (B,) or 0.

        Args:
            x: (B, Ta, Da).
            t: Step of each row, (B,) int.
            **options: Further arguments of the score.
        """
        drift, diffusion = self.forward.sde(x, t)
        weight = tf.reshape(diffusion, [-1, *[1] * (len(x.shape) - 1)]) ** 2
        share = 0.5 if self.probability_flow else 1.0
        drift = drift - share * weight * self.score_fn(x, t, **options)
        return drift, 0.0 if self.probability_flow else diffusion


class VPSDE(SDE):
    """The variance-preserving equation with the betas of a DDPM.

    f = -beta(t) x / 2 and g = sqrt(beta(t)) with beta(i / N) = N beta_i (Song et al.,
    2021, appendix B). The reference leaves out the factor N, so that its flow ends
    long before the noise (`exact_drift_scale`).

    Args:
        N: Number of denoising steps.
    """

    def __init__(self, N: int = 1000) -> None:
        super().__init__(N)

    def set_betas(self, betas: np.ndarray, min_beta: float = 0.01) -> None:
        """Takes the schedule of a policy.

        Args:
            betas: (N,), index 0 the least noisy step.
            min_beta: Smaller ones are raised to it.

        Raises:
            ValueError: Their number is not N.
        """
        if len(betas) != self.N:
            raise ValueError(
                f"sde.N must be denoising_steps={len(betas)}, got {self.N}."
            )
        one = np.float32(1)
        self.discrete_betas = np.maximum(betas, np.float32(min_beta))
        self.alphas = one - self.discrete_betas
        self.sqrt_alphas = np.sqrt(self.alphas)
        # Accumulated in double, as PyTorch does on a CPU.
        cumprod = np.cumprod(self.alphas, dtype=np.float64)
        self.alphas_bar = cumprod.astype(np.float32)
        self.sqrt_1m_alpha_bar = np.sqrt(one - self.alphas_bar)

    def sde(self, x: tf.Tensor, t: tf.Tensor) -> DriftAndDiffusion:
        """f(x, t), shape of x, and g(t), (B,), at steps t (B,)."""
        speed = np.float32(1 if compat("exact_drift_scale") else self.N)
        betas = speed * self.discrete_betas
        drift = -0.5 * extract(betas, t, x.shape) * x
        return drift, tf.sqrt(extract(betas, t, [0]))

    def marginal_prob(self, x: tf.Tensor, t: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean, shape of x, and standard deviation, (B,), of the state at steps t."""
        root = np.sqrt(self.alphas_bar)
        return extract(root, t, x.shape) * x, extract(self.sqrt_1m_alpha_bar, t, [0])

    def prior_sampling(
        self, shape: Sequence[int], rng: tf.random.Generator
    ) -> tf.Tensor:
        """Standard normal noise."""
        return rng.normal(shape)

    def prior_logp(self, z: tf.Tensor) -> tf.Tensor:
        """log N(z; 0, 1) of chunks (B, Ta, Da), (B,)."""
        size = z.shape[-1] * z.shape[-2]
        squares = tf.reduce_sum(z**2, axis=[-2, -1])
        return -0.5 * (size * np.log(2 * np.pi).astype(np.float32) + squares)

    def discretize(self, x: tf.Tensor, t: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Change and noise of a DDPM step, sqrt(alpha) x - x and sqrt(beta).

        Args:
            x: (B, Ta, Da).
            t: Time of each row in [0, 1], (B,).
        """
        step = tf.cast(t * (self.N - 1) / self.T, tf.int64)
        change = extract(self.sqrt_alphas, step, x.shape) * x - x
        return change, tf.sqrt(extract(self.discrete_betas, step, [0]))


def get_score_fn(sde: VPSDE, model: Score, predict_epsilon: bool = False) -> Score:
    """grad_x log p_t(x) from what a network predicts.

    -eps / sqrt(1 - abar_t), or with a clean action x0 -(x - sqrt(abar_t) x0) /
    (1 - abar_t), where the reference has alpha_t and beta_t of the single step
    (`exact_score_of_clean_action`).

    Args:
        sde: Gives abar.
        model: From x (B, Ta, Da), t (B,) and further arguments to the prediction.
        predict_epsilon: The prediction is the noise, else the clean action.
    """

    def score_fn(x: tf.Tensor, t: tf.Tensor, **options: Any) -> tf.Tensor:
        prediction = model(x, t, **options)
        if predict_epsilon:
            return -prediction / extract(sde.sqrt_1m_alpha_bar, t, x.shape)
        if compat("exact_score_of_clean_action"):
            root, variance = sde.sqrt_alphas, sde.discrete_betas
        else:
            root, variance = np.sqrt(sde.alphas_bar), sde.sqrt_1m_alpha_bar**2
        mean = extract(root, t, x.shape) * prediction
        return -(x - mean) / extract(variance, t, x.shape)

    return score_fn
