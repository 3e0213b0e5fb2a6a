"""Cal-QL (Nakamoto et al., 2023): conservative Q-learning with calibrated values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from model.common.critic import Cond, repeat_rows
from model.common.objectives import bellman_error, conservative_gap, q_target
from model.rl.gaussian_sac import SAC_Gaussian
from util.config import compat
from util.seeding import Draws
from util.torch_to_tf import nn_Module


class CalQL_Gaussian(SAC_Gaussian):
    """Soft actor-critic whose critics are low where the data have no actions.

    Values of the policy's actions are pushed down, but not below the return that the
    data's policy had from the same state.

    Args:
        actor: Network that returns mean and standard deviation.
        critic: `CriticObsAct` with `double_q`.
        network_path: Checkpoint of this algorithm; actor, critics and targets are
            restored.
        cql_clip_diff_min: Lower bound of the conservative gap of a row.
        cql_clip_diff_max: Upper bound.
        cql_min_q_weight: Weight of the conservative gap.
        cql_n_actions: Next actions, the best of which makes the target.
        **kwargs: Arguments of `GaussianModel`.
    """

    def __init__(
        self,
        actor: nn_Module,
        critic: nn_Module,
        network_path: str | None = None,
        cql_clip_diff_min: float = -math.inf,
        cql_clip_diff_max: float = math.inf,
        cql_min_q_weight: float = 5.0,
        cql_n_actions: int = 10,
        **kwargs: Any,
    ) -> None:
        if cql_n_actions < 1:
            raise ValueError(f"cql_n_actions must be >= 1, got {cql_n_actions}.")
        if cql_clip_diff_min > cql_clip_diff_max:
            raise ValueError(
                "cql_clip_diff_min must be <= cql_clip_diff_max="
                f"{cql_clip_diff_max}, got {cql_clip_diff_min}."
            )
        super().__init__(actor, critic, network_path=network_path, **kwargs)
        if network_path:
            self.load_finetuned(network_path, "critic", "target_critic", strict=True)
        self.clip_diff = (cql_clip_diff_min, cql_clip_diff_max)
        self.cql_min_q_weight = cql_min_q_weight
        self.cql_n_actions = cql_n_actions

    def loss_critic(
        self,
        obs: Cond,
        next_obs: Cond,
        actions: tf.Tensor,
        random_actions: tf.Tensor,
        rewards: tf.Tensor,
        returns: tf.Tensor,
        terminated: tf.Tensor,
        gamma: float,
        noise: Sequence[Any] | None = None,
    ) -> tf.Tensor:
        """Bellman errors and weighted conservative gaps of both critics (eq. 5.1).

        The gradient reaches the actor, too, through its log-probabilities; only that
        of the critics is meant.

        Args:
            obs: {"state": (B, To, Do)}.
            next_obs: As `obs`.
            actions: (B, Ta, Da).
            random_actions: Uniform on [-1, 1], (B, R, Ta, Da).
            rewards: (B,).
            returns: Discounted sum of rewards from here on in the data, (B,).
            terminated: (B,), 0 or 1.
            gamma: Discount per chunk step.
            noise: The draws for the next actions of the target, (B * N, Ta * Da), for
                the actions and for the next actions of the gap, (B, Ta * Da) each.
        """
        draws = self.draws(noise)
        target = q_target(
            rewards, terminated, self._best_next_value(next_obs, draws), gamma
        )
        q = self.critic(obs, actions)
        others = self._other_values(obs, next_obs, random_actions, returns, draws)
        gap = conservative_gap(others, tf.stack(q), *self.clip_diff)
        return bellman_error(q, target) + self.cql_min_q_weight * tf.reduce_sum(gap)

    def _best_next_value(self, next_obs: Cond, draws: Draws) -> tf.Tensor:
        """The highest of N sampled actions' lower target value, (B,)."""
        count = self.cql_n_actions
        rows = repeat_rows(next_obs, count)
        values = tf.minimum(*self.target_critic(rows, self.forward(rows, noise=draws)))
        return tf.reduce_max(tf.reshape(values, [-1, count]), axis=-1)

    def _other_values(
        self,
        obs: Cond,
        next_obs: Cond,
        random_actions: tf.Tensor,
        returns: tf.Tensor,
        draws: Draws,
    ) -> tf.Tensor:
        """Q - log(proposal density) of actions that are not the data's, (2, B, R + 2).

        Random actions, and one of the policy for each of both observations, whose
        values are at least the return of the row (definition 4.1).
        """
        count, *chunk = random_actions.shape[1:]
        drawn = self.critic(
            repeat_rows(obs, count), tf.reshape(random_actions, [-1, *chunk])
        )
        density = 0.5 ** math.prod(chunk)
        if not compat("calql_density"):
            density = math.log(density)
        parts = [tf.reshape(tf.stack(drawn), [2, -1, count]) - density]
        for cond in (obs, next_obs):
            actions, logprob = self.forward(cond, get_logprob=True, noise=draws)
            value = tf.maximum(tf.stack(self.critic(cond, actions)), returns)
            if not compat("calql_broadcast"):
                logprob = logprob[:, None]
            parts.append(value[..., None] - logprob)
        return tf.concat(parts, axis=-1)
