"""Denoising diffusion over action chunks: schedules, posterior, sampling, training.

Step t = 0 is the least noisy; sampling runs through *positions* i = 0, 1, ..., where
position 0 is the noisiest step (t = K - 1 for DDPM, `ddim_t[0]` for DDIM). Leaves say
which network predicts (`predict`), how much noise is added (`sampling_std`), and what
the loss is; there is one posterior (`posterior`) and one sampling loop (`denoise`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from model.common.critic import Cond
from model.common.gaussian import Policy
from model.diffusion.modules import len_of, predict_at
from model.diffusion.sampling import cosine_beta_schedule, extract, make_timesteps
from util.seeding import Noise
from util.torch_to_tf import nn_Module

Network = Callable[..., tf.Tensor]


class Sample(NamedTuple):
    """Result of sampling.

    Attributes:
        trajectories: Actions (B, Ta, Da).
        chains: Action before and after each fine-tuned step, (B, K + 1, Ta, Da).
        logprobs: Log-probability of each fine-tuned step, (B, K, Ta, Da).
    """

    trajectories: tf.Tensor
    chains: tf.Tensor | None = None
    logprobs: tf.Tensor | None = None


class DiffusionModel(Policy):
    """Diffusion policy trained by behaviour cloning (Ho et al., 2020).

    Args:
        network: Maps (x (B, Ta, Da), t (B,), cond) to a prediction (B, Ta, Da).
        horizon_steps: Ta.
        obs_dim: Do.
        action_dim: Da.
        network_path: Checkpoint to start from.
        device: Not used.
        denoised_clip_value: Limit of the predicted clean action; None for none.
        randn_clip_value: Limit of the noise added in each step.
        final_action_clip_value: Limit of the sampled action; None for none.
        eps_clip_value: Limit of the predicted noise (DDIM); None for none.
        denoising_steps: Steps of the training schedule.
        predict_epsilon: The network predicts the noise, else the clean action.
        use_ddim: Sample with DDIM instead of DDPM.
        ddim_discretize: Only "uniform".
        ddim_steps: Number of DDIM steps.
        use_ema: Start from averaged weights if the checkpoint has them.
    """

    def __init__(
        self,
        network: nn_Module,
        horizon_steps: int,
        obs_dim: int,
        action_dim: int,
        network_path: str | None = None,
        device: str = "auto",
        denoised_clip_value: float | None = 1.0,
        randn_clip_value: float = 10,
        final_action_clip_value: float | None = None,
        eps_clip_value: float | None = None,
        denoising_steps: int = 100,
        predict_epsilon: bool = True,
        use_ddim: bool = False,
        ddim_discretize: str = "uniform",
        ddim_steps: int | None = None,
        use_ema: bool = True,
    ) -> None:
        super().__init__(device)
        self.horizon_steps, self.obs_dim = horizon_steps, obs_dim
        self.action_dim = action_dim
        self.denoised_clip_value = denoised_clip_value
        self.randn_clip_value = randn_clip_value
        self.final_action_clip_value = final_action_clip_value
        self.eps_clip_value = eps_clip_value
        self.denoising_steps = int(denoising_steps)
        self.predict_epsilon, self.use_ddim = predict_epsilon, use_ddim
        self.ddim_steps, self.use_ema = ddim_steps, use_ema
        self.network = network
        if network_path:
            self.load_network(network_path, use_ema)
        self._make_ddpm_schedule()
        if use_ddim:
            self._make_ddim_schedule(ddim_discretize)

    # -- schedules ----------------------------------------------------------------

    def _make_ddpm_schedule(self) -> None:
        """Arrays over t of eqs. 4, 7 and 15 of Ho et al. (2020), float32."""
        one = np.float32(1)
        self.betas = cosine_beta_schedule(self.denoising_steps)
        self.alphas = one - self.betas
        # Accumulated in double, as PyTorch does on a CPU.
        self.alphas_cumprod = np.cumprod(self.alphas, dtype=np.float64).astype(
            np.float32
        )
        cumprod, prev = self.alphas_cumprod, np.append(one, self.alphas_cumprod[:-1])
        self.alphas_cumprod_prev = prev
        self.sqrt_alphas_cumprod = np.sqrt(cumprod)
        self.sqrt_one_minus_alphas_cumprod = np.sqrt(one - cumprod)
        self.sqrt_recip_alphas_cumprod = np.sqrt(one / cumprod)
        self.sqrt_recipm1_alphas_cumprod = np.sqrt(one / cumprod - one)
        self.ddpm_var = self.betas * (one - prev) / (one - cumprod)
        self.ddpm_logvar_clipped = np.log(np.maximum(self.ddpm_var, np.float32(1e-20)))
        self.ddpm_mu_coef1 = self.betas * np.sqrt(prev) / (one - cumprod)
        self.ddpm_mu_coef2 = (one - prev) * np.sqrt(self.alphas) / (one - cumprod)

    def _make_ddim_schedule(self, discretize: str) -> None:
        """Arrays over positions, noisiest first, of eq. 12 of Song et al. (2021)."""
        steps = self.ddim_steps
        if discretize != "uniform":
            raise ValueError(f"ddim_discretize must be 'uniform', got {discretize!r}.")
        if not self.predict_epsilon:
            raise ValueError("use_ddim needs predict_epsilon=True, got False.")
        if steps is None or not 1 <= steps <= self.denoising_steps:
            raise ValueError(
                f"ddim_steps must be in 1..denoising_steps={self.denoising_steps}, "
                f"got {steps}."
            )
        one = np.float32(1)
        t = np.arange(steps) * (self.denoising_steps // steps)
        alphas = self.alphas_cumprod[t]
        prev = np.append(one, self.alphas_cumprod[t[:-1]])
        self.ddim_t = t[::-1].astype(np.int64)
        self.ddim_alphas = alphas[::-1].copy()
        self.ddim_alphas_sqrt = np.sqrt(self.ddim_alphas)
        self.ddim_alphas_prev = prev[::-1].copy()
        self.ddim_sqrt_one_minus_alphas = np.sqrt(one - self.ddim_alphas)
        self.ddim_sigmas = np.zeros_like(self.ddim_alphas)

    @property
    def sampling_t(self) -> np.ndarray:
        """Denoising step at each sampling position, noisiest first."""
        return self.ddim_t if self.use_ddim else np.arange(self.denoising_steps)[::-1]

    # -- posterior ----------------------------------------------------------------

    def p_mean_var(
        self,
        x: tf.Tensor,
        t: tf.Tensor,
        cond: Cond,
        index: tf.Tensor | None = None,
        network_override: nn_Module | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean (B, Ta, Da) and log-variance (B, 1, 1) of the next less noisy action.

        Args:
            x: Noisy chunk (B, Ta, Da).
            t: Denoising step of each row, (B,) int.
            cond: Observations.
            index: Sampling position of each row, (B,) int; DDIM only.
            network_override: Another network instead of `network`.
        """
        prediction = (network_override or self.network)(x, t, cond=cond)
        return self.posterior(x, prediction, t, index)

    def posterior(
        self,
        x: tf.Tensor,
        prediction: tf.Tensor,
        t: tf.Tensor,
        index: tf.Tensor | None,
        eta: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and log-variance from the network's prediction (B, Ta, Da).

        DDPM: eq. 7 of Ho et al. (2020); DDIM: eq. 12 of Song et al. (2021) with
        `eta` (B, 1, 1 or Da) as in its eq. 16; None for the deterministic sampler.
        """
        if self.use_ddim:
            return self._ddim_posterior(x, prediction, index, eta)
        x0 = prediction
        if self.predict_epsilon:
            x0 = (
                extract(self.sqrt_recip_alphas_cumprod, t, x.shape) * x
                - extract(self.sqrt_recipm1_alphas_cumprod, t, x.shape) * prediction
            )
        x0 = _limit(x0, self.denoised_clip_value)
        mu = (
            extract(self.ddpm_mu_coef1, t, x.shape) * x0
            + extract(self.ddpm_mu_coef2, t, x.shape) * x
        )
        return mu, extract(self.ddpm_logvar_clipped, t, x.shape)

    def _ddim_posterior(
        self,
        x: tf.Tensor,
        noise: tf.Tensor,
        index: tf.Tensor,
        eta: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        alpha = extract(self.ddim_alphas, index, x.shape)
        alpha_prev = extract(self.ddim_alphas_prev, index, x.shape)
        root = extract(self.ddim_sqrt_one_minus_alphas, index, x.shape)
        x0 = (x - root * noise) / tf.sqrt(alpha)
        if self.denoised_clip_value is not None:
            x0 = _limit(x0, self.denoised_clip_value)
            noise = (x - tf.sqrt(alpha) * x0) / root
        noise = _limit(noise, self.eps_clip_value)
        if eta is None:
            sigma = extract(self.ddim_sigmas, index, x.shape)
        else:
            spread = (1 - alpha_prev) / (1 - alpha) * (1 - alpha / alpha_prev)
            sigma = tf.maximum(eta * tf.sqrt(spread), 1e-10)
        direction = tf.sqrt(tf.maximum(1.0 - alpha_prev - sigma**2, 0.0))
        return tf.sqrt(alpha_prev) * x0 + direction * noise, tf.math.log(sigma**2)

    # -- sampling -----------------------------------------------------------------

    def sampling_posterior(
        self,
        x: tf.Tensor,
        prediction: tf.Tensor,
        t: tf.Tensor,
        index: tf.Tensor,
        cond: Cond,
        deterministic: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """`posterior` as sampling uses it; leaves with an eta override this."""
        return self.posterior(x, prediction, t, index)

    def sampling_std(
        self, logvar: tf.Tensor, t: tf.Tensor, deterministic: bool
    ) -> tf.Tensor:
        """Standard deviation of the noise added after step t.

        DDIM adds none; DDPM none in the last step and at least 1e-3 before it.
        """
        if self.use_ddim:
            return tf.zeros_like(logvar)
        std = tf.maximum(tf.exp(0.5 * logvar), 1e-3)
        return tf.where(t == 0, 0.0, std)

    def denoise(
        self,
        x: tf.Tensor,
        noise: tf.Tensor,
        cond: Cond,
        network: nn_Module,
        positions: range,
        deterministic: bool,
        score: Callable[..., tf.Tensor] = lambda x, mu, logvar: x[:, :0],
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Runs the sampler over `positions`; one loop in the graph.

        Args:
            x: Noisy chunk before the first position, (B, Ta, Da).
            noise: Standard normal draws (n, B, Ta, Da), all positions.
            cond: Observations.
            network: Predicts at all these positions.
            positions: Consecutive sampling positions.
            deterministic: Passed to `sampling_posterior` and `sampling_std`.
            score: Maps the chunk after a step and the step's mean and log-variance to
                what else to keep of it; nothing by default.

        Returns:
            The chunk after the last position, and after each, (len, B, Ta, Da), and
            what `score` gave, (len, B, ...).
        """
        rows, last = len_of(x), len(self.sampling_t) - 1
        t_of = tf.constant(self.sampling_t, tf.int64)
        predict = predict_at(network, cond, t_of)

        def body(
            i: tf.Tensor, x: tf.Tensor, kept: tf.TensorArray, scores: tf.TensorArray
        ) -> tuple:
            t, at = t_of[i], i - positions.start
            mu, logvar = self.sampling_posterior(
                x,
                predict(x, i),
                make_timesteps(rows, t),
                make_timesteps(rows, i),
                cond,
                deterministic,
            )
            std = self.sampling_std(logvar, t, deterministic)
            x = mu + std * _limit(noise[i], self.randn_clip_value)
            x = tf.where(i == last, _limit(x, self.final_action_clip_value), x)
            scored = scores.write(at, score(x, mu, logvar))
            return i + 1, x, kept.write(at, x), scored

        shape = score(x, x, x[:, :1, :1]).shape
        kept = tf.TensorArray(tf.float32, len(positions), element_shape=x.shape)
        scores = tf.TensorArray(tf.float32, len(positions), element_shape=shape)
        _, x, kept, scores = tf.while_loop(
            lambda *_: True,  # a second condition would be read from the device
            body,
            (tf.constant(positions.start), x, kept, scores),
            maximum_iterations=len(positions),
        )
        return x, kept.stack(), scores.stack()

    def sampling_noise(self, cond: Cond, noise: Noise) -> tuple[tf.Tensor, tf.Tensor]:
        """The initial chunk (B, Ta, Da) and the noise of all positions."""
        shape = [len_of(cond["state"]), self.horizon_steps, self.action_dim]
        draws = self.draws(noise).normals(1 + len(self.sampling_t), shape)
        return draws[0], draws[1:]

    def forward(
        self,
        cond: Cond,
        deterministic: bool = True,
        noise: Noise = None,
    ) -> Sample:
        """Samples actions.

        Args:
            cond: Observations.
            deterministic: As in `sampling_std`.
            noise: 1 + n standard normal draws (B, Ta, Da): start, then each step.
        """
        x, z = self.sampling_noise(cond, noise)
        positions = range(len(self.sampling_t))
        return Sample(
            self.denoise(x, z, cond, self.network, positions, deterministic)[0]
        )

    call: Callable[..., Any] = forward

    # -- training -----------------------------------------------------------------

    def loss(
        self, x: tf.Tensor, cond: Cond, *args: Any, noise: Noise = None
    ) -> tf.Tensor:
        """Denoising loss at one random step per row (Ho et al., 2020, eq. 14).

        Args:
            x: Clean chunks (B, Ta, Da).
            cond: Observations.
            *args: Further arguments of `p_losses` before t.
            noise: Steps (B,) and noise (B, Ta, Da).
        """
        t, epsilon = self.loss_draws(x, noise)
        # Leaves put further arguments before t.
        p_losses: Callable[..., tf.Tensor] = self.p_losses
        return p_losses(x, cond, *args, t, noise=[epsilon])

    def loss_draws(self, x: tf.Tensor, noise: Noise = None) -> list[tf.Tensor]:
        """Steps (B,) and noise (B, Ta, Da) of one `loss` of x."""
        draws = self.draws(noise)
        t = draws.integers([len_of(x)], self.denoising_steps)
        return [t, draws.normal(tf.shape(x))]

    def p_losses(
        self,
        x_start: tf.Tensor,
        cond: Cond,
        t: tf.Tensor,
        noise: Noise = None,
    ) -> tf.Tensor:
        """Mean squared error of the prediction at steps t (B,)."""
        return tf.reduce_mean(self.squared_error(x_start, cond, t, noise))

    def squared_error(
        self,
        x_start: tf.Tensor,
        cond: Cond,
        t: tf.Tensor,
        noise: Noise = None,
    ) -> tf.Tensor:
        """Elementwise squared error of the prediction, (B, Ta, Da)."""
        epsilon = self.draws(noise).normal(tf.shape(x_start))
        prediction = self.network(self.q_sample(x_start, t, epsilon), t, cond=cond)
        return (prediction - (epsilon if self.predict_epsilon else x_start)) ** 2

    def q_sample(
        self,
        x_start: tf.Tensor,
        t: tf.Tensor,
        noise: tf.Tensor | Sequence[Any] | None = None,
    ) -> tf.Tensor:
        """x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) noise (Ho et al., 2020, eq. 4)."""
        if noise is None or isinstance(noise, list | tuple):
            noise = self.draws(noise).normal(tf.shape(x_start))
        return (
            extract(self.sqrt_alphas_cumprod, t, x_start.shape) * x_start
            + extract(self.sqrt_one_minus_alphas_cumprod, t, x_start.shape) * noise
        )


def _limit(x: tf.Tensor, bound: float | None) -> tf.Tensor:
    """`x` limited to +-bound; unchanged for None."""
    return x if bound is None else tf.clip_by_value(x, -bound, bound)
