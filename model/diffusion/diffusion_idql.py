"""Implicit diffusion Q-learning (Hansen-Estruch et al., 2023)."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from model.common.critic import Cond
from model.common.objectives import expectile_loss
from model.diffusion.exploring import TwinQDiffusion
from util.config import compat
from util.seeding import Noise
from util.torch_to_tf import nn_Module

EXPLORATIONS = ("expectile", "boltzmann")


class IDQLDiffusion(TwinQDiffusion):
    """Clones the buffer's actions; critics choose among several sampled chunks.

    Args:
        actor: Noise prediction network.
        critic_q: `CriticObsAct` with `double_q`, of whole chunks.
        critic_v: State value.
        exploration: How an exploring policy weighs the samples. "expectile": one
            weight for samples better than the state's value, another for the rest;
            "boltzmann": exp(Q / temperature), as the paper has it.
        boltzmann_temperature: Of the latter, in units of Q.
        **kwargs: Arguments of `ExploringDiffusion`.

    Raises:
        ValueError: `exploration` or `boltzmann_temperature` is impossible.
    """

    critic_names = ("critic_q", "target_q")

    def __init__(
        self,
        actor: nn_Module,
        critic_q: nn_Module,
        critic_v: nn_Module,
        exploration: str = "expectile",
        boltzmann_temperature: float = 1.0,
        **kwargs: Any,
    ) -> None:
        if exploration not in EXPLORATIONS:
            raise ValueError(
                f"exploration must be one of {EXPLORATIONS}, got {exploration!r}."
            )
        if boltzmann_temperature <= 0:
            raise ValueError(
                f"boltzmann_temperature must be > 0, got {boltzmann_temperature}."
            )
        super().__init__(actor, critic_q, **kwargs)
        self.critic_v = critic_v
        self.actor = self.network
        self.exploration = exploration
        self.boltzmann_temperature = boltzmann_temperature
        self.restore_parts()

    # -- critics --------------------------------------------------------------------

    def value(self, obs: Cond) -> tf.Tensor:
        """V(s), (B,)."""
        return tf.squeeze(self.critic_v(obs), axis=1)

    def compute_advantages(self, obs: Cond, actions: tf.Tensor) -> tf.Tensor:
        """min Q(s, a) - V(s), (B,); the slow copies of Q have no gradient."""
        return tf.stop_gradient(self.target_q_value(obs, actions)) - self.value(obs)

    def loss_critic_v(self, obs: Cond, actions: tf.Tensor) -> tf.Tensor:
        """Expectile regression of V on Q (Kostrikov et al., 2022, eq. 5).

        Args:
            obs: {"state": (B, To, Do)}.
            actions: (B, Ta, Da).
        """
        return tf.reduce_mean(expectile_loss(self.compute_advantages(obs, actions)))

    def next_value(self, next_obs: Cond, noise: Noise) -> tf.Tensor:
        """V(s'), (B,): nothing is drawn (Kostrikov et al., 2022, eq. 6)."""
        return self.value(next_obs)

    loss_critic_q = TwinQDiffusion.loss_critic

    # -- acting ---------------------------------------------------------------------

    def forward(
        self,
        cond: Cond,
        deterministic: bool = False,
        num_sample: int = 10,
        critic_hyperparam: float = 0.7,
        use_expectile_exploration: bool = True,
        noise: Noise = None,
    ) -> tf.Tensor:
        """Samples several chunks for each observation and chooses one, (B, Ta, Da).

        Args:
            cond: {"state": (B, To, Do)}.
            deterministic: No exploration noise, and the sample with the largest Q.
            num_sample: Samples N for each observation.
            critic_hyperparam: Weight of samples with Q > V; others have the rest to 1.
            use_expectile_exploration: Draw the sample by `exploration`; false takes
                the one with the largest Q.
            noise: 1 + K draws (N * B, Ta, Da), observations inner, and the index of
                the chosen sample of each observation, (B,).
        """
        draws = self.draws(noise)
        samples = self.candidates(cond, num_sample, deterministic, draws)
        q = self.score(cond, samples)
        if deterministic or not use_expectile_exploration:
            chosen = tf.argmax(q, axis=0)
        else:
            logits = self.choice_logits(q - self.value(cond), critic_hyperparam)
            chosen = draws.categorical(tf.transpose(logits))
        by_row = tf.transpose(samples, [1, 0, 2, 3])
        return tf.gather(by_row, chosen, axis=1, batch_dims=1)

    call = forward

    def candidates(
        self,
        cond: Cond,
        num_sample: int,
        deterministic: bool,
        noise: Noise = None,
    ) -> tf.Tensor:
        """N sampled chunks for each of B observations, (N, B, Ta, Da)."""
        tiled = {"state": tf.tile(cond["state"], [num_sample, 1, 1])}
        samples = super().forward(tiled, deterministic, noise)
        shape = [num_sample, -1, self.horizon_steps, self.action_dim]
        return tf.reshape(samples, shape)

    def score(self, cond: Cond, samples: tf.Tensor) -> tf.Tensor:
        """min Q of the slow copies of samples (N, B, Ta, Da), (N, B)."""
        count, _, *chunk = samples.shape
        tiled = {"state": tf.tile(cond["state"], [count, 1, 1])}
        q = self.target_q_value(tiled, tf.reshape(samples, [-1, *chunk]))
        return tf.reshape(q, [count, -1])

    def choice_logits(self, advantages: tf.Tensor, better: float) -> tf.Tensor:
        """Log-weights of samples, any shape.

        Args:
            advantages: Q - V. V is one number for all samples of an observation, so it
                has no effect on a Boltzmann choice.
            better: Weight of a positive advantage in the choice of two levels.
        """
        if self.exploration == "boltzmann" and not compat("idql_two_level_choice"):
            return advantages / self.boltzmann_temperature
        return tf.math.log(tf.where(advantages > 0, better, 1.0 - better))
