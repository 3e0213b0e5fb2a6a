"""Policy gradient on a Gaussian over action chunks: a base policy and a trained one.

The reference leaves the objective of these classes open; here it is REINFORCE.

`actor_ft` is the trained network itself and `actor` its frozen copy, the other way
round than in `VPGDiffusion`; checkpoints of the reference have it so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from model.common.critic import Cond
from model.common.gaussian import GaussianModel
from model.common.objectives import (
    clamp_logprob,
    normalise,
    ratio_diagnostics,
    reinforce_loss,
    value_loss,
)
from util.torch_to_tf import clone_network, nn_Module
from util.torch_to_tf.distributions import normal_entropy, normal_log_prob


class ChunkLosses(NamedTuple):
    """Terms and diagnostics of one minibatch, in the reference's order."""

    pg_loss: tf.Tensor
    entropy_loss: tf.Tensor
    v_loss: tf.Tensor
    clipfrac: tf.Tensor
    approx_kl: tf.Tensor
    ratio: tf.Tensor
    bc_loss: tf.Tensor
    std: tf.Tensor


class ChunkVPG(nn_Module):
    """Policy gradient on whole chunks with a value as its baseline.

    It stands before a class that has the policy, its `get_logprobs` and its `critic`.

    Args:
        norm_adv: Normalise advantages within the minibatch.
        **kwargs: Arguments of the class with the policy.
    """

    critic: nn_Module
    get_logprobs: Any
    forward: Any
    # How far an update may go; `ChunkPPO` says it.
    clip_ploss_coef: float = float("inf")
    clip_vloss_coef: float | None = None

    def __init__(self, norm_adv: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.norm_adv = norm_adv

    def weigh_advantages(self, advantages: tf.Tensor) -> tf.Tensor:
        """Normalises advantages (B,) of a minibatch if configured."""
        return normalise(advantages) if self.norm_adv else advantages

    def policy_loss(
        self, logprobs: tf.Tensor, logratio: tf.Tensor, weights: tf.Tensor
    ) -> tf.Tensor:
        """What raises the likelihood of good chunks: REINFORCE.

        Args:
            logprobs: Of the chunks under the present policy, (B,).
            logratio: To the policy that sampled them, both clamped, (B,).
            weights: Advantages (B,).
        """
        return reinforce_loss(logprobs, weights)

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
    ) -> ChunkLosses:
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
        approx_kl, clipfrac, ratio = ratio_diagnostics(logratio, self.clip_ploss_coef)
        weights = advantages if weighed else self.weigh_advantages(advantages)
        values = tf.reshape(self.critic(obs), [-1])
        return ChunkLosses(
            pg_loss=self.policy_loss(newlogprobs, logratio, weights),
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


class VPG_Gaussian(ChunkVPG, GaussianModel):  # type: ignore[misc]
    """Samples and their log-probabilities under the trained and the base policy.

    A fine-tuned checkpoint restores policy, base policy and critic; the reference
    restores the policy alone and calls it the base.

    Args:
        actor: Network that returns mean and standard deviation.
        critic: State value.
        network_path: Checkpoint to start from.
        **kwargs: Arguments of `ChunkVPG` and `GaussianModel`.
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
