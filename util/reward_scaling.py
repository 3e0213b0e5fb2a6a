"""Scales rewards by the running standard deviation of discounted returns.

The rewards of a chunk step become `r / sqrt(var + epsilon)`, clipped, where `var` is
the variance of the returns `ret[t] = r[t] + (1 - first[t]) * gamma * ret[t-1]` of all
chunk steps so far. The mean is not subtracted. Everything is float64.

Departures from the reference: `per_env=True` works (one variance for each env), and the
state can be saved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class RunningMeanStd:
    """Mean and variance of all samples seen so far.

    Batches are merged by the parallel algorithm of Chan, Golub and LeVeque (1979):
    `M2 = var * count + batch_var * n + delta**2 * count * n / total`. As in the
    reference, `var = M2 / (total - 1)`.

    Args:
        epsilon: Weight of the initial mean 0 and variance 1.
        shape: Shape of one sample.
    """

    def __init__(self, epsilon: float = 1e-4, shape: tuple[int, ...] = ()) -> None:
        self.mean = np.zeros(shape, np.float64)
        self.var = np.ones(shape, np.float64)
        self.count = float(epsilon)

    def update(self, samples: np.ndarray) -> None:
        """Takes in a batch.

        Args:
            samples: Shape (N, *shape), N >= 1.

        Raises:
            ValueError: If the shape does not fit.
        """
        samples = np.asarray(samples, np.float64)
        expected = self.mean.shape
        if samples.shape[1:] != expected or samples.ndim == 0 or len(samples) == 0:
            raise ValueError(
                f"samples must have shape (N >= 1, *{expected}), got {samples.shape}."
            )
        n = len(samples)
        delta = samples.mean(axis=0) - self.mean
        total = self.count + n
        m2 = self.var * self.count + samples.var(axis=0) * n
        m2 = m2 + delta**2 * self.count * n / total
        self.mean = self.mean + delta * n / total
        self.var = m2 / (total - 1)
        self.count = total

    def get_state(self) -> dict[str, Any]:
        """Returns copies of mean and variance, and the count."""
        return {"mean": self.mean.copy(), "var": self.var.copy(), "count": self.count}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned.

        Raises:
            ValueError: If it is of samples of another shape.
        """
        mean = np.array(state["mean"], np.float64)
        if mean.shape != self.mean.shape:
            raise ValueError(
                f"state must be of samples of shape {self.mean.shape}, "
                f"got {mean.shape}."
            )
        self.mean = mean
        self.var = np.array(state["var"], np.float64)
        self.count = float(state["count"])


def backward_discounted_sum(
    prevret: np.ndarray, reward: np.ndarray, first: np.ndarray, gamma: float
) -> np.ndarray:
    """Returns `ret[t] = reward[t] + (1 - first[t]) * gamma * ret[t-1]`.

    Args:
        prevret: Return before the first step. Shape (E,).
        reward: Shape (E, S).
        first: 1 where a step starts an episode, else 0. Shape (E, S).
        gamma: Discount per chunk step.

    Returns:
        Shape (E, S), float64.

    Raises:
        ValueError: If the shapes do not fit.
    """
    if reward.ndim != 2 or first.shape != reward.shape:
        raise ValueError(
            f"reward and first must have one shape (E, S), got {reward.shape} "
            f"and {first.shape}."
        )
    if prevret.shape != reward.shape[:1]:
        raise ValueError(
            f"prevret must have shape {reward.shape[:1]}, got {prevret.shape}."
        )
    keep = (1.0 - first) * gamma
    ret = np.array(reward, np.float64)
    previous = prevret
    for t in range(ret.shape[1]):
        ret[:, t] += keep[:, t] * previous
        previous = ret[:, t]
    return ret


class RunningRewardScaler:
    """Divides rewards by the running standard deviation of their returns.

    Args:
        num_envs: E.
        cliprew: Limit of a scaled reward's magnitude.
        gamma: Discount per chunk step of the returns.
        epsilon: Added to the variance.
        per_env: Keep one variance for each env instead of one for all.
    """

    def __init__(
        self,
        num_envs: int,
        cliprew: float = 10.0,
        gamma: float = 0.99,
        epsilon: float = 1e-8,
        per_env: bool = False,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs must be >= 1, got {num_envs}.")
        self.num_envs, self.per_env = num_envs, per_env
        self.cliprew, self.gamma, self.epsilon = cliprew, gamma, epsilon
        self.ret = np.zeros(num_envs, np.float64)
        self.ret_rms = RunningMeanStd(shape=(num_envs,) if per_env else ())

    def __call__(self, reward: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Takes in the returns of one iteration, then scales its rewards.

        Args:
            reward: Chunk rewards. Shape (E, S).
            first: 1 where a chunk step starts an episode, else 0. Shape (E, S).

        Returns:
            Scaled and clipped rewards. Shape (E, S), float64.

        Raises:
            ValueError: If shapes do not fit or a reward is not finite, which would
                spoil the variance for ever.
        """
        reward = np.asarray(reward, np.float64)
        first = np.asarray(first, np.float64)
        if not np.isfinite(reward).all():
            count = int(np.sum(~np.isfinite(reward)))
            raise ValueError(f"reward must be finite, got {count} NaN or infinities.")
        ret = backward_discounted_sum(self.ret, reward, first, self.gamma)
        self.ret_rms.update(ret.T if self.per_env else ret.reshape(-1))
        self.ret = ret[:, -1].copy()
        # (E, 1) or (): one divisor for each env or one for all.
        std = np.sqrt(self.ret_rms.var + self.epsilon)[..., np.newaxis]
        return np.clip(reward / std, -self.cliprew, self.cliprew)

    def get_state(self) -> dict[str, Any]:
        """Returns the carried returns and the running statistics."""
        return {"ret": self.ret.copy(), "ret_rms": self.ret_rms.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned.

        Raises:
            ValueError: If it is of another number of envs.
        """
        ret = np.array(state["ret"], np.float64)
        if ret.shape != self.ret.shape:
            raise ValueError(f"state must be of {self.num_envs} envs, got {len(ret)}.")
        self.ret_rms.set_state(state["ret_rms"])
        self.ret = ret
