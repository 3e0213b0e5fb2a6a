"""Rows of a buffer from rollouts: scaled rewards, and rewards of several steps.

An extra file next to `replay.py`: all agents with a Q-target make their rows here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from agent.common.rollout import Rollout

Rows = dict[str, np.ndarray]


def step_columns(
    rollout: Rollout, reward_scale: float, **columns: np.ndarray
) -> dict[str, np.ndarray]:
    """Columns (S, E, ...) of a rollout, float32; episodes are not crossed.

    Args:
        rollout: One iteration.
        reward_scale: Factor of the rewards.
        **columns: More of them, (S, E, ...).
    """
    found = {
        "obs": rollout.obs["state"],
        "next_obs": rollout.next_obs()["state"],
        "actions": rollout.actions,
        "rewards": rollout.rewards * reward_scale,
        "terminated": rollout.terminated,
        **columns,
    }
    return {key: value.astype(np.float32) for key, value in found.items()}


class Transitions:
    """Turns rollouts into rows (N, ...) of a buffer.

    Steps in which the simulator broke are left out, and nothing reaches beyond them.

    Args:
        gamma: Discount per chunk step.
        reward_scale: Factor of the rewards.
        n_step: Chunk steps whose rewards are summed before the target's value. Rows
            of more than one have `gamma`, the discount of that value.
    """

    def __init__(self, gamma: float, reward_scale: float, n_step: int = 1) -> None:
        self.reward_scale = reward_scale
        self.n_step = NStep(n_step, gamma)

    def __call__(self, rollout: Rollout, **columns: np.ndarray) -> Rows:
        """Rows that are complete; the last ones wait for the next rollout.

        Args:
            rollout: One iteration.
            **columns: More columns, (S, E, ...).
        """
        steps = step_columns(rollout, self.reward_scale, **columns)
        if self.n_step.n == 1:
            return {key: value[~rollout.broken] for key, value in steps.items()}
        first = rollout.firsts[0] == 1
        return self.n_step(steps, rollout.done, first, rollout.broken)


class NStep:
    """Rewards of several steps of an episode, summed (Sutton, 1988).

    R = sum_{k<m} gamma^k r_{t+k}, followed by gamma^m Q(s_{t+m}). m is n, or less where
    the episode ends before: then s_{t+m} is its last observation.

    Args:
        n: Steps.
        gamma: Discount per chunk step.

    Raises:
        ValueError: n is below 1.
    """

    def __init__(self, n: int, gamma: float) -> None:
        if n < 1:
            raise ValueError(f"train.n_step must be >= 1, got {n}.")
        self.n, self.gamma = n, gamma
        # Of each environment, the steps whose rewards have not all come.
        self._waiting: list[Rows] = []

    def __call__(
        self,
        steps: Mapping[str, np.ndarray],
        done: np.ndarray,
        first: np.ndarray,
        broken: np.ndarray,
    ) -> Rows:
        """Rows (N, ...) that are complete, by environment, then by time.

        Args:
            steps: Columns (S, E, ...) with rewards, next_obs and terminated.
            done: Whether the episode ended in this step, (S, E) bool.
            first: Whether an episode begins with the first step, (E,) bool; that of
                the steps that wait was cut then.
            broken: Steps to leave out, (S, E) bool.
        """
        envs = range(done.shape[1])
        waiting = self._waiting or [
            {k: v[:0, e] for k, v in steps.items()} for e in envs
        ]
        rows, self._waiting = [], []
        for env, before in zip(envs, waiting, strict=True):
            own = {k: np.concatenate([before[k], v[:, env]]) for k, v in steps.items()}
            held = np.zeros(len(before["rewards"]), bool)
            lost = np.concatenate([held, broken[:, env]])
            held[-1:] = first[env]
            ends = np.concatenate([held, done[:, env]])
            ends[:-1] |= lost[1:]
            own = {key: value[~lost] for key, value in own.items()}
            complete, rest = self._sum(own, ends[~lost])
            rows.append(complete)
            self._waiting.append(rest)
        return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}

    def _sum(self, steps: Rows, ends: np.ndarray) -> tuple[Rows, Rows]:
        """Complete rows, and the steps that wait, of one environment.

        Args:
            steps: Columns (L, ...).
            ends: Whether the episode ends with a step, (L,) bool.
        """
        length = len(ends)
        at = np.arange(length)
        last = np.where(ends, at, length + self.n)
        last = np.minimum.accumulate(last[::-1])[::-1]
        last = np.minimum(last, at + self.n - 1)
        count = int((last < length).sum())
        at, last = at[:count], last[:count]
        summed = np.zeros(count)
        for k in range(self.n):
            inside = at + k <= last
            summed[inside] += self.gamma**k * steps["rewards"][(at + k)[inside]]
        rows = {key: value[:count] for key, value in steps.items()}
        rows |= {key: steps[key][last] for key in ("next_obs", "terminated")}
        rows["rewards"] = summed.astype(np.float32)
        rows["gamma"] = (self.gamma ** (last - at + 1)).astype(np.float32)
        return rows, {key: value[count:] for key, value in steps.items()}

    def get_state(self) -> dict[str, Any]:
        """The steps that wait."""
        return {"waiting": self._waiting}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Continues from `get_state`."""
        self._waiting = [dict(steps) for steps in state["waiting"]]
