"""IBRL (Hu et al., 2023): a cloned policy proposes actions, also in targets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import tensorflow as tf

from model.common.critic import Cond, CriticObsAct
from model.common.ensemble import CriticEnsemble, EnsembleCritics
from model.common.gaussian import GaussianModel
from model.common.objectives import polyak, q_target
from util.config import compat
from util.torch_to_tf import clone_network, nn_Module


class IBRL_Gaussian(EnsembleCritics, GaussianModel):  # type: ignore[misc]
    """Actor and its target, the frozen teacher, an ensemble of critics and targets.

    The teacher is always in evaluation mode; in the reference it acts with dropout.

    Args:
        actor: Network that returns mean and standard deviation.
        critic: `CriticObsAct` without `double_q`, the first of the ensemble.
        n_critics: Number of critics.
        soft_action_sample: Choose between the teacher's and the actor's action by
            chance when exploring, instead of by the higher value.
        soft_action_sample_beta: beta, how sharply chance prefers the higher value.
        network_path: Cloned policy, teacher and start of the actor; or a checkpoint of
            this algorithm, which restores everything.
        **kwargs: Arguments of `GaussianModel`.
    """

    def __init__(
        self,
        actor: nn_Module,
        critic: CriticObsAct,
        n_critics: int,
        soft_action_sample: bool = False,
        soft_action_sample_beta: float = 10,
        network_path: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(network=actor, network_path=network_path, **kwargs)
        self.target_actor = clone_network(self.network)
        self.bc_policy = clone_network(self.network).requires_grad_(False)
        self.add_critics(critic, n_critics, network_path)
        if network_path and not compat("stale_ensemble_checkpoint"):
            self.load_finetuned(network_path, "target_actor", "bc_policy")
        self.soft_action_sample = soft_action_sample
        self.soft_action_sample_beta = soft_action_sample_beta
        self.train()

    def train(self, mode: bool = True) -> Self:
        """Sets training mode; the teacher stays in evaluation mode."""
        super().train(mode)
        if not compat("ibrl_teacher_dropout"):
            self.bc_policy.eval()
        return self

    def loss_critic(
        self,
        obs: Cond,
        next_obs: Cond,
        actions: tf.Tensor,
        rewards: tf.Tensor,
        terminated: tf.Tensor,
        gamma: float,
        noise: Sequence[Any] | None = None,
    ) -> tf.Tensor:
        """Mean squared Bellman error of all critics (algorithm 1).

        y = r + gamma (1 - terminated) max(Q'(s', a_teacher), Q'(s', a_target)), where
        Q' is the lower value of two random targets. Arguments are those of
        `SoftGaussian.loss_critic` without the temperature; `noise` has the order of the
        critics, of which the first two count, and the draws of teacher and target.
        """
        draws = self.draws(noise)
        pair = self.random_pair(draws)
        taught = super().forward(next_obs, True, self.bc_policy, noise=draws)
        own = super().forward(next_obs, False, self.target_actor, noise=draws)
        values = self._both(self.target_networks, next_obs, taught, own, pair)
        next_q = tf.reduce_max(values, axis=-1)
        target = q_target(rewards, terminated, next_q, gamma)
        return self.critic_error(obs, actions, target)

    def loss_actor(self, obs: Cond, noise: Sequence[Any] | None = None) -> tf.Tensor:
        """-mean min_n Q_n(s, a) with a of the online actor, reparameterised."""
        actions = super().forward(obs, reparameterize=True, noise=noise)
        return -tf.reduce_mean(
            tf.reduce_min(self.trained_critics(obs, actions), axis=0)
        )

    def forward(
        self,
        cond: Cond,
        deterministic: bool = False,
        reparameterize: bool = False,
        noise: Sequence[Any] | None = None,
    ) -> tf.Tensor:
        """Chooses between the teacher's and the actor's chunks, (B, Ta, Da).

        Args:
            cond: {"state": (B, To, Do)}.
            deterministic: Sample with a standard deviation of 1e-4, as the teacher
                always does, and take what has the higher value.
            reparameterize: Let gradients flow through the actor's sample.
            noise: Order of the critics, of which the first two count, the draws of
                teacher and actor, and the choices (B,) if they are by chance.
        """
        draws = self.draws(noise)
        pair = self.random_pair(draws)
        taught = super().forward(cond, True, self.bc_policy, noise=draws)
        own = super().forward(
            cond, deterministic, reparameterize=reparameterize, noise=draws
        )
        values = self._both(self.critic_networks, cond, taught, own, pair)
        if deterministic or not self.soft_action_sample:
            is_own = values[:, 0] <= values[:, 1]
        else:
            is_own = draws.categorical(self.choice_logits(values)) == 1
        return tf.where(is_own[:, None, None], own, taught)

    call: Any = forward

    def choice_logits(self, values: tf.Tensor) -> tf.Tensor:
        """beta Q (section 4.1), from which softmax makes probabilities, (B, 2).

        The reference takes exp(beta Q), so that softmax is applied to exponentials.

        Args:
            values: Q of the teacher's and of the actor's action, (B, 2).
        """
        logits = self.soft_action_sample_beta * values
        return tf.exp(logits) if compat("ibrl_exp_of_exp") else logits

    def _both(
        self,
        critics: CriticEnsemble,
        cond: Cond,
        taught: tf.Tensor,
        own: tf.Tensor,
        pair: tf.Tensor,
    ) -> tf.Tensor:
        """Values of two proposals under the lower critic of a pair, (B, 2)."""
        values = [critics(cond, actions, pair) for actions in (taught, own)]
        return tf.stack([tf.reduce_min(value, axis=0) for value in values], axis=-1)

    def update_target_actor(self, tau: float) -> None:
        """target <- (1 - tau) target + tau actor."""
        polyak(self.target_actor.parameters(), self.network.parameters(), tau)
