"""RLPD (Ball et al., 2023): soft actor-critic with an ensemble of critics.

What else it consists of, such as batches of which half is offline data, is its agent's.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from model.common.critic import Cond, CriticObsAct
from model.common.ensemble import EnsembleCritics
from model.rl.gaussian_sac import SoftGaussian
from util.seeding import Draws
from util.torch_to_tf import nn_Module


class RLPD_Gaussian(EnsembleCritics, SoftGaussian):  # type: ignore[misc]
    """Actor, an ensemble of critics and their targets.

    Args:
        actor: Network that returns mean and standard deviation.
        critic: `CriticObsAct` without `double_q`, the first of the ensemble.
        n_critics: Number of critics.
        backup_entropy: Entropy bonus in the target of the critics.
        network_path: Where to start; a checkpoint of this algorithm has critics, too.
        **kwargs: Arguments of `GaussianModel`.
    """

    def __init__(
        self,
        actor: nn_Module,
        critic: CriticObsAct,
        n_critics: int,
        backup_entropy: bool = False,
        network_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(network=actor, network_path=network_path, **kwargs)
        self.add_critics(critic, n_critics, network_path)
        self.backup_entropy = backup_entropy

    def next_value(
        self, next_obs: Cond, alpha: tf.Tensor | float, draws: Draws
    ) -> tf.Tensor:
        """The lower value of two random targets, maybe with the entropy bonus, (B,).

        Draws the order of the critics, of which the first two count, then the action.
        """
        pair = self.random_pair(draws)
        actions, logprob = self.forward(next_obs, get_logprob=True, noise=draws)
        value = tf.reduce_min(self.target_networks(next_obs, actions, pair), axis=0)
        return value - alpha * logprob if self.backup_entropy else value

    def policy_value(self, obs: Cond, actions: tf.Tensor) -> tf.Tensor:
        """The mean of all critics, (B,)."""
        return tf.reduce_mean(self.trained_critics(obs, actions), axis=0)
