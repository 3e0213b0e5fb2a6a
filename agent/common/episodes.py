"""Statistics of the episodes inside a rollout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from agent.common.rollout import Rollout
from util.config import compat


@dataclass(frozen=True)
class Episodes:
    """Finished episodes of an iteration, by environment, then by time.

    Attributes:
        spans: (env, first step, last step) of each, (N, 3) int.
        rewards: Sum of rewards, (N,).
        best_rewards: Largest chunk reward per env step, (N,).
        success: Whether `best_rewards` reaches the threshold, (N,) bool.
        broken: Episodes dropped because the simulator returned NaN.
    """

    spans: np.ndarray
    rewards: np.ndarray
    best_rewards: np.ndarray
    success: np.ndarray
    broken: int = 0

    @property
    def count(self) -> int:
        """Number of finished episodes."""
        return len(self.spans)

    def mean(self, name: str) -> float:
        """Mean of a field over episodes; 0 without episodes, as in the reference."""
        values = getattr(self, name)
        return float(np.mean(values)) if self.count else 0.0


def find_spans(firsts: np.ndarray) -> np.ndarray:
    """Complete episodes between two episode starts.

    Args:
        firsts: 1 where an episode starts, (S + 1, E).

    Returns:
        (env, first step, last step), (N, 3) int64. Tails that did not finish, and
        heads whose start is not in the rollout, are left out.
    """
    shortest = 2 if compat("drop_single_chunk_episodes") else 1
    spans = []
    for env in range(firsts.shape[1]):
        starts = np.flatnonzero(firsts[:, env] == 1)
        spans += [
            (env, start, end - 1)
            for start, end in zip(starts, starts[1:], strict=False)
            if end - start >= shortest
        ]
    return np.array(spans, np.int64).reshape(-1, 3)


def summarise(
    rollout: Rollout,
    act_steps: int,
    threshold: float,
    sparse_furniture: bool = False,
) -> Episodes:
    """Rewards and success of the finished episodes, from unscaled rewards.

    Args:
        rollout: One iteration.
        act_steps: Te; the reward of a chunk is a sum over Te env steps.
        threshold: Success needs `best_rewards` at least this high.
        sparse_furniture: The best reward is the sum over the episode.
    """
    spans = find_spans(rollout.firsts)
    hurt = [rollout.broken[start : end + 1, env].any() for env, start, end in spans]
    kept = spans[~np.array(hurt, bool)]
    pieces = [rollout.rewards[start : end + 1, env] for env, start, end in kept]
    rewards = np.array([piece.sum() for piece in pieces])
    if sparse_furniture:
        best = rewards
    else:
        best = np.array([piece.max() / act_steps for piece in pieces])
    return Episodes(kept, rewards, best, best >= threshold, len(spans) - len(kept))
