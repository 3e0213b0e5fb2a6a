"""Transitions of a data set, and batches that mix them with those of a buffer.

An extra file next to `replay.py`: three algorithms learn from both. Rows are gathered
when they are asked for, so a data set is in memory once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from omegaconf import DictConfig

from agent.common.transitions import NStep
from agent.dataset.sequence import StitchedSequenceQLearningDataset
from util.config import compat, instantiate
from util.seeding import HostDraws

Rows = dict[str, np.ndarray]


class Source(Protocol):
    """Rows by index, such as a buffer."""

    def __len__(self) -> int: ...

    def take(self, indices: np.ndarray) -> Rows:
        """Rows of the shape of `indices`."""


def sample_rows(
    draws: HostDraws,
    sources: Sequence[Source],
    batch_size: int,
    count: int = 1,
    replace: bool = True,
) -> Rows:
    """Batches (count, B, ...) of which each source gives an equal share, in order.

    Args:
        draws: Chooses the rows.
        sources: Where they come from; all of them have the same columns.
        batch_size: B, a multiple of the number of sources.
        count: Number of batches.
        replace: Whether a batch may have a row twice.
    """
    share = batch_size // len(sources)
    size = share if count == 1 else (count, share)
    parts = [
        source.take(draws.choice(len(source), size, replace=replace).reshape(count, -1))
        for source in sources
    ]
    return {key: np.concatenate([part[key] for part in parts], 1) for key in parts[0]}


class OfflineTransitions:
    """The transitions of `offline_dataset`, as a buffer has them.

    Args:
        cfg: Experiment.
        shares: Number of sources of a batch.
        returns: Whether rows have the return from each step on.

    Raises:
        ValueError: The data set is missing, of another kind or of other sizes, has
            fewer rows than its share of a batch, or chunks are not executed whole.
    """

    def __init__(self, cfg: DictConfig, shares: int = 1, returns: bool = False) -> None:
        _check_config(cfg, shares, returns)
        self.dataset = instantiate(cfg.offline_dataset)
        _check_dataset(cfg, self.dataset, cfg.train.batch_size // shares)
        self.returns = returns
        unscaled = compat("unscaled_offline_rewards")
        self.scale = 1.0 if unscaled else cfg.train.scale_reward_factor
        self._rows: Rows | None = None
        if (steps := cfg.train.get("n_step", 1)) > 1:
            self._rows = self._summed(NStep(steps, cfg.train.gamma))

    def __len__(self) -> int:
        return len(self.dataset)

    def take(self, indices: np.ndarray) -> Rows:
        """Rows by the position in the data set."""
        if self._rows is not None:
            return {key: value[indices] for key, value in self._rows.items()}
        rows = self._gather(indices.reshape(-1))
        return {k: v.reshape(*indices.shape, *v.shape[1:]) for k, v in rows.items()}

    def all_rows(self) -> Rows:
        """Every transition, in order."""
        return self.take(np.arange(len(self)))

    def _gather(self, positions: np.ndarray) -> Rows:
        batch = self.dataset.gather(positions)
        rows = {
            "obs": batch.conditions["state"],
            "next_obs": batch.conditions["next_state"],
            "actions": batch.actions,
            "rewards": batch.rewards[:, 0] * np.float32(self.scale),
            "terminated": batch.dones[:, 0],
        }
        if self.returns:
            rows["returns"] = batch.reward_to_gos[:, 0] * np.float32(self.scale)
        return rows

    def _summed(self, n_step: NStep) -> Rows:
        """All rows with rewards of several steps, which need them in memory."""
        rows = self._gather(np.arange(len(self)))
        goes_on = np.diff(self.dataset.num_before) == 1
        ends = np.append(~goes_on, True)[:, None]
        steps = {key: value[:, None] for key, value in rows.items()}
        return n_step(steps, ends, np.ones(1, bool), np.zeros_like(ends))


def _check_config(cfg: DictConfig, shares: int, returns: bool) -> None:
    if cfg.get("offline_dataset") is None:
        raise ValueError(
            "offline_dataset must be a StitchedSequenceQLearningDataset by _target_, "
            "got none."
        )
    if cfg.horizon_steps != cfg.act_steps:
        raise ValueError(
            f"act_steps must be horizon_steps={cfg.horizon_steps} to learn from "
            f"offline_dataset, whose chunks are executed whole, got {cfg.act_steps}."
        )
    if cfg.train.get("n_step", 1) > 1 and cfg.horizon_steps > 1:
        raise ValueError(
            "train.n_step must be 1 where offline_dataset has chunks of "
            f"horizon_steps={cfg.horizon_steps}, got {cfg.train.n_step}."
        )
    if cfg.train.batch_size % shares:
        raise ValueError(
            f"train.batch_size must be a multiple of {shares}, because half of a batch "
            f"is offline data, got {cfg.train.batch_size}."
        )
    if returns and not cfg.offline_dataset.get("get_mc_return", False):
        raise ValueError("offline_dataset.get_mc_return must be true, got false.")


def _check_dataset(cfg: DictConfig, dataset: Any, share: int) -> None:
    if not isinstance(dataset, StitchedSequenceQLearningDataset):
        raise ValueError(
            "offline_dataset must be a StitchedSequenceQLearningDataset, "
            f"got a {type(dataset).__name__}."
        )
    sizes = {"obs_dim": dataset.states.shape[1], "action_dim": dataset.actions.shape[1]}
    sizes["horizon_steps"], sizes["cond_steps"], _ = dataset.sizes
    for key, size in sizes.items():
        if cfg[key] != size:
            raise ValueError(
                f"{key} must be {size} as in offline_dataset, got {cfg[key]}."
            )
    if len(dataset) < share:
        raise ValueError(
            f"offline_dataset must have at least the {share} transitions that it gives "
            f"to a batch (train.batch_size={cfg.train.batch_size}), got {len(dataset)}."
        )
