"""Objectives of policy gradient and Q-learning as pure functions.

TensorFlow functions work eagerly, in `tf.function` and under XLA. Functions over whole
rollouts (`gae`, `discounted_returns`) are NumPy in float64, as in the reference: they
run once per iteration, outside the compiled step.
"""

from __future__ import annotations

from collections.abc import Iterable

import keras
import numpy as np
import tensorflow as tf

from util.config import compat
from util.torch_to_tf import torch_quantile, torch_std

LOGPROB_RANGE = (-5.0, 2.0)


def gae(
    rewards: np.ndarray,
    values: np.ndarray,
    next_values: np.ndarray,
    terminated: np.ndarray,
    done: np.ndarray,
    gamma: float,
    gae_lambda: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Generalised advantage estimation (Schulman et al., 2016, eq. 16).

    delta_t = r_t + gamma (1 - terminated_t) V'_t - V_t and
    A_t = delta_t + gamma lambda (1 - done_t) A_{t+1}.

    Args:
        rewards: (S, E).
        values: V(s_t), (S, E).
        next_values: V'_t, the value of the observation that follows step t in the
            same episode, (S, E). At a truncated step it is the final observation's.
        terminated: The episode ended and no value follows, (S, E) bool.
        done: The episode ended for any reason, (S, E) bool.
        gamma: Discount per chunk step.
        gae_lambda: Lambda.

    Returns:
        Advantages and returns (advantages + values), each (S, E) float64.
    """
    bootstrap = gamma * (1.0 - terminated)
    flow = gamma * gae_lambda * (1.0 - done)
    deltas = rewards + bootstrap * next_values - values
    advantages = np.zeros_like(deltas, dtype=np.float64)
    running = np.zeros(deltas.shape[1])
    for t in reversed(range(len(deltas))):
        running = deltas[t] + flow[t] * running
        advantages[t] = running
    return advantages, advantages + values


def normalise(advantages: tf.Tensor) -> tf.Tensor:
    """(A - mean) / (std + 1e-8), std with n - 1."""
    centred = advantages - tf.reduce_mean(advantages)
    return centred / (torch_std(advantages) + 1e-8)


def clip_to_quantiles(advantages: tf.Tensor, lower: float, upper: float) -> tf.Tensor:
    """Limits advantages to their own quantiles; the defaults 0 and 1 change nothing."""
    if lower <= 0.0 and upper >= 1.0:
        return advantages
    low, high = torch_quantile(advantages, lower), torch_quantile(advantages, upper)
    return tf.clip_by_value(advantages, low, high)


def clamp_logprob(logprob: tf.Tensor) -> tf.Tensor:
    """Limits a log-probability to [-5, 2]; no gradient outside."""
    return tf.clip_by_value(logprob, *LOGPROB_RANGE)


def reinforce_loss(logprob: tf.Tensor, advantages: tf.Tensor) -> tf.Tensor:
    """-mean A log pi(a|s), whose gradient is the policy's (Williams, 1992, eq. 11).

    Args:
        logprob: Of actions that the policy has just sampled, (B,).
        advantages: A, (B,).
    """
    return -tf.reduce_mean(logprob * advantages)


def ppo_surrogate(
    logratio: tf.Tensor, advantages: tf.Tensor, clip: tf.Tensor | float
) -> tf.Tensor:
    """mean max(-A r, -A clip(r, 1 - c, 1 + c)) (Schulman et al., 2017, eq. 7).

    Args:
        logratio: log pi_new - log pi_old, (B,).
        advantages: (B,).
        clip: c, a number or (B,).
    """
    ratio = tf.exp(logratio)
    clipped = tf.clip_by_value(ratio, 1.0 - clip, 1.0 + clip)
    return tf.reduce_mean(tf.maximum(-advantages * ratio, -advantages * clipped))


def ratio_diagnostics(
    logratio: tf.Tensor, clip: tf.Tensor | float
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """KL estimate mean((r - 1) - log r), share of clipped rows, mean ratio.

    The KL estimate is k3 of Schulman's note "Approximating KL divergence" (2020).
    """
    logratio = tf.stop_gradient(logratio)
    ratio = tf.exp(logratio)
    approx_kl = tf.reduce_mean((ratio - 1.0) - logratio)
    clipped = tf.cast(tf.abs(ratio - 1.0) > clip, tf.float32)
    return approx_kl, tf.reduce_mean(clipped), tf.reduce_mean(ratio)


def value_loss(
    values: tf.Tensor,
    returns: tf.Tensor,
    old_values: tf.Tensor,
    clip: float | None = None,
) -> tf.Tensor:
    """1/2 mean (V - R)^2; with `clip`, the larger of clipped and plain error.

    Args:
        values: (B,).
        returns: (B,).
        old_values: Values when the data were collected, (B,).
        clip: Largest step away from `old_values`.
    """
    error = (values - returns) ** 2
    if clip is not None:
        step = tf.clip_by_value(values - old_values, -clip, clip)
        error = tf.maximum(error, (old_values + step - returns) ** 2)
    return 0.5 * tf.reduce_mean(error)


def value_regression(values: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """mean (V - y)^2 of values (B, 1) and targets (B,), each with its own target.

    The reference subtracts the shapes as they are, which regresses every value on
    every target of the batch (`awr_broadcast`).
    """
    if not compat("awr_broadcast"):
        values = tf.squeeze(values, axis=1)
    return tf.reduce_mean((values - targets) ** 2)


def expectile_loss(diff: tf.Tensor, expectile: float = 0.8) -> tf.Tensor:
    """|expectile - 1(diff <= 0)| diff^2, elementwise (Kostrikov et al., 2022, eq. 5).

    Args:
        diff: Target minus estimate, any shape.
        expectile: Weight of positive differences; negative ones have the rest.
    """
    return tf.where(diff > 0, expectile, 1.0 - expectile) * diff**2


def bellman_error(qs: Iterable[tf.Tensor], target: tf.Tensor) -> tf.Tensor:
    """Sum over critics of mean (Q_i - y)^2 (Fujimoto et al., 2018, algorithm 1).

    Args:
        qs: Values of each critic, (B,).
        target: y, (B,).
    """
    return tf.add_n([tf.reduce_mean((q - target) ** 2) for q in qs])


def conservative_gap(
    other_values: tf.Tensor, values: tf.Tensor, lower: float, upper: float
) -> tf.Tensor:
    """mean_b clip(log sum_a exp(Q(s_b, a)) - Q(s_b, a_b)) (Kumar et al., 2020, eq. 4).

    Args:
        other_values: Values of actions that are not the data's, each less the logarithm
            of its proposal density, (..., B, A).
        values: Values of the data's actions, (..., B).
        lower: Least gap of a row.
        upper: Largest gap of a row.

    Returns:
        One gap for each critic, (...,).
    """
    gap = tf.reduce_logsumexp(other_values, axis=-1) - values
    return tf.reduce_mean(tf.clip_by_value(gap, lower, upper), axis=-1)


def q_target(
    rewards: tf.Tensor, terminated: tf.Tensor, next_value: tf.Tensor, gamma: float
) -> tf.Tensor:
    """r + gamma (1 - terminated) V(s'), without gradient. All (B,)."""
    return tf.stop_gradient(rewards + gamma * (1.0 - terminated) * next_value)


def polyak(
    targets: Iterable[keras.Variable],
    sources: Iterable[keras.Variable],
    tau: float | tf.Tensor,
) -> None:
    """target <- (1 - tau) target + tau source, in place."""
    for target, source in zip(targets, sources, strict=True):
        target.assign((1.0 - tau) * target + tau * source)
