"""Policy gradient on a Gaussian over action chunks: a base policy and a trained one.

`actor_ft` is the trained network itself and `actor` its frozen copy, the other way
round than in `VPGDiffusion`; checkpoints of the reference have it so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from model.common.critic import Cond
from model.common.gaussian import GaussianModel
from util.torch_to_tf import clone_network, nn_Module
from util.torch_to_tf.distributions import normal_entropy, normal_log_prob


class VPG_Gaussian(GaussianModel):
    """Samples and their log-probabilities under the trained and the base policy.

    A fine-tuned checkpoint restores policy, base policy and critic; the reference
    restores the policy alone and calls it the base.

    Args:
        actor: Network that returns mean and standard deviation.
        critic: State value.
        network_path: Checkpoint to start from.
        **kwargs: Arguments of `GaussianModel`.
    """

    def __init__(
        self,
        actor: nn_Module,
        critic: nn_Module,
        network_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(network=actor, network_path=network_path, **kwargs)
        self.critic = critic
        self.actor_ft = self.network
        self.actor = clone_network(self.network).requires_grad_(False)
        if network_path:
            self.load_finetuned(network_path, "critic", "actor")

    def forward(
        self,
        cond: Cond,
        deterministic: bool = False,
        use_base_policy: bool = False,
        get_logprob: bool = False,
        noise: Sequence[Any] | None = None,
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """Samples action chunks, without gradient.

        Args:
            cond: {"state": (B, To, Do)}.
            deterministic: Sample with a standard deviation of 1e-4.
            use_base_policy: Sample from the frozen base policy.
            get_logprob: Also return the log-probability.
            noise: One standard normal draw (B, Ta * Da).

        Returns:
            Actions (B, Ta, Da); with `get_logprob` also the log-probability of each
            chunk, averaged over its elements, (B,).
        """
        network = self.actor if use_base_policy else None
        chunk, joint = super().forward(
            cond, deterministic, network, get_logprob=True, noise=noise
        )
        chunk, joint = tf.stop_gradient(chunk), tf.stop_gradient(joint)
        elements = chunk.shape[-1] * chunk.shape[-2]
        return (chunk, joint / elements) if get_logprob else chunk

    call: Any = forward

    def get_logprobs(
        self, cond: Cond, actions: tf.Tensor, use_base_policy: bool = False
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Log-probabilities of chunks, averaged over their elements.

        Args:
            cond: {"state": (B, To, Do)}.
            actions: (B, Ta, Da).
            use_base_policy: Score under the base policy.

        Returns:
            Log-probabilities (B,); mean entropy of an element; mean standard deviation.
        """
        network = self.actor if use_base_policy else None
        mean, std = self.forward_train(cond, network_override=network)
        logprob = normal_log_prob(tf.reshape(actions, tf.shape(mean)), mean, std)
        entropy = tf.reduce_mean(normal_entropy(std))
        return tf.reduce_mean(logprob, axis=-1), entropy, tf.reduce_mean(std)

    def loss(self, *_: Any, **__: Any) -> Any:
        """Left to `PPO_Gaussian`."""
        raise NotImplementedError
