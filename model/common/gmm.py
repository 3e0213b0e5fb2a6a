"""A mixture of Gaussians over action chunks: behaviour cloning and sampling."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import tensorflow as tf

from model.common.critic import Cond
from model.common.gaussian import DETERMINISTIC_STD, Policy
from util.config import compat
from util.seeding import Draws
from util.torch_to_tf import nn_Module
from util.torch_to_tf.distributions import normal_entropy, normal_log_prob

logger = logging.getLogger(__name__)


class Mixture(NamedTuple):
    """Distributions of B chunks: mixtures of M Gaussians over all of their elements.

    Attributes:
        mean: (B, M, Ta * Da).
        std: Standard deviations, (B, M, Ta * Da).
        log_weights: Logarithms of the modes' probabilities, (B, M).
    """

    mean: tf.Tensor
    std: tf.Tensor
    log_weights: tf.Tensor

    def log_prob(self, chunks: tf.Tensor) -> tf.Tensor:
        """log sum_m w_m prod_d N(a_d; mean_md, std_md), (B,).

        Args:
            chunks: (B, Ta, Da).
        """
        flat = tf.reshape(chunks, [-1, 1, self.mean.shape[-1]])
        by_mode = tf.reduce_sum(normal_log_prob(flat, self.mean, self.std), axis=-1)
        return tf.reduce_logsumexp(self.log_weights + by_mode, axis=-1)

    def entropy(self) -> tf.Tensor:
        """Mean over chunks of the modes' joint entropies, weighted, a number.

        It leaves out what not knowing the mode adds; the mixture's own has no closed
        form.
        """
        return self._average(tf.reduce_sum(normal_entropy(self.std), axis=-1))

    def mean_std(self) -> tf.Tensor:
        """Mean over chunks of the modes' mean standard deviations, weighted."""
        return self._average(tf.reduce_mean(self.std, axis=-1))

    def _average(self, by_mode: tf.Tensor) -> tf.Tensor:
        weights = tf.exp(self.log_weights)
        return tf.reduce_mean(tf.reduce_sum(weights * by_mode, axis=-1))

    def sample(self, draws: Draws) -> tf.Tensor:
        """Flat chunks (B, Ta * Da): a mode of each, then its elements."""
        mode = draws.categorical(self.log_weights)
        mean, std = (
            tf.gather(x, mode, axis=1, batch_dims=1) for x in (self.mean, self.std)
        )
        return mean + std * draws.normal_of(mode, tf.shape(mean))


class GMMModel(Policy):
    """A mixture of Gaussians over the chunk, trained by maximum likelihood.

    Args:
        network: Returns means and standard deviations (B, M, Ta * Da), logits (B, M).
        horizon_steps: Ta.
        network_path: Checkpoint to start from.
        device: Not used.
        use_ema: Start from averaged weights if the checkpoint has them.
    """

    dead_config_keys: ClassVar[Mapping[str, str]] = {
        "randn_clip_value": "samples of a mixture are not clipped",
    }

    def __init__(
        self,
        network: nn_Module,
        horizon_steps: int,
        network_path: str | None = None,
        device: str = "auto",
        use_ema: bool | None = None,
    ) -> None:
        super().__init__(device)
        self.network = network
        self.horizon_steps = horizon_steps
        if network_path:
            default = not compat("raw_weights")
            self.load_network(network_path, default if use_ema is None else use_ema)

    def forward_train(self, cond: Cond, deterministic: bool = False) -> Mixture:
        """The distribution of chunks.

        Args:
            cond: {"state": (B, To, Do)}.
            deterministic: Use a standard deviation of 1e-4; the mode stays random.
        """
        mean, std, logits = self.network(cond)
        if deterministic:
            std = tf.ones_like(mean) * DETERMINISTIC_STD
        return Mixture(mean, std, tf.nn.log_softmax(logits))

    def loss(
        self, true_action: tf.Tensor, cond: Cond, ent_coef: float = 0.0
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """-mean log p(a), the joint density of a chunk.

        Args:
            true_action: (B, Ta, Da).
            cond: {"state": (B, To, Do)}.
            ent_coef: Has no effect, as in the reference.

        Returns:
            The loss, and {"entropy": that of `Mixture.entropy`}.
        """
        if ent_coef:
            logger.warning("ent_coef=%s has no effect on a mixture.", ent_coef)
        mixture = self.forward_train(cond)
        loss = -tf.reduce_mean(mixture.log_prob(true_action))
        return loss, {"entropy": mixture.entropy()}

    def forward(
        self,
        cond: Cond,
        deterministic: bool = False,
        get_logprob: bool = False,
        noise: Sequence[Any] | None = None,
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """Samples action chunks, without gradient and, unlike Gaussians, unclipped.

        Args:
            cond: {"state": (B, To, Do)}.
            deterministic: Sample a mode with a standard deviation of 1e-4.
            get_logprob: Also return the log-probability.
            noise: Drawn modes (B,), then a standard normal draw for each mode,
                (B, M, Ta * Da), of which that of the drawn one is used.

        Returns:
            Actions (B, Ta, Da); with `get_logprob` also their joint log-probability
            (B,).
        """
        mixture = self.forward_train(cond, deterministic)
        sample = tf.stop_gradient(mixture.sample(self.draws(noise)))
        width = sample.shape[-1] // self.horizon_steps
        chunk = tf.reshape(sample, [-1, self.horizon_steps, width])
        if not get_logprob:
            return chunk
        return chunk, tf.stop_gradient(mixture.log_prob(chunk))

    call: Any = forward
