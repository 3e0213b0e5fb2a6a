"""Policy gradient on a mixture of Gaussians over action chunks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from model.common.critic import Cond
from model.common.gmm import GMMModel
from model.rl.gaussian_vpg import ChunkVPG
from util.config import compat
from util.torch_to_tf import nn_Module


class VPG_GMM(ChunkVPG, GMMModel):  # type: ignore[misc]
    """Samples and their log-probabilities; no base policy is kept.

    Log-probabilities are the joint log-density of a chunk divided by the number of its
    elements, which has the size of a Gaussian policy's mean over them. The reference
    takes the joint one, which lies beyond the range that PPO learns from.

    A fine-tuned checkpoint restores policy and critic; the reference restores the
    policy alone.

    Args:
        actor: Network that returns means and standard deviations of modes, and logits.
        critic: State value.
        network_path: Checkpoint to start from.
        **kwargs: Arguments of `ChunkVPG` and `GMMModel`.
    """

    def __init__(
        self,
        actor: nn_Module,
        critic: nn_Module,
        network_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(network=actor, network_path=network_path, **kwargs)
        self.actor_ft = self.network
        self.critic = critic
        if network_path:
            self.load_finetuned(network_path, "critic")

    def forward(
        self,
        cond: Cond,
        deterministic: bool = False,
        get_logprob: bool = False,
        noise: Sequence[Any] | None = None,
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """As of `GMMModel`, with log-probabilities as of `get_logprobs`."""
        if not get_logprob:
            return super().forward(cond, deterministic, noise=noise)
        chunk, joint = super().forward(cond, deterministic, True, noise)
        return chunk, self._per_element(joint, chunk)

    call: Any = forward

    def get_logprobs(
        self, cond: Cond, actions: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Log-probabilities of chunks, for each of their elements.

        Args:
            cond: {"state": (B, To, Do)}.
            actions: (B, Ta, Da).

        Returns:
            Log-probabilities (B,); the joint entropy of a chunk; mean standard
            deviation.
        """
        mixture = self.forward_train(cond)
        logprob = self._per_element(mixture.log_prob(actions), actions)
        return logprob, mixture.entropy(), mixture.mean_std()

    def _per_element(self, joint: tf.Tensor, chunks: tf.Tensor) -> tf.Tensor:
        """Joint log-densities (B,) of chunks (B, Ta, Da) in the size that PPO takes."""
        if compat("gmm_joint_logprob_clamp"):
            return joint
        return joint / (chunks.shape[-1] * chunks.shape[-2])
