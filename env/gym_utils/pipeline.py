"""What the wrappers of an environment do, for many environments at once.

The reference has no such file. `NativeVectorEnv` and `EnvPoolVectorEnv` make one
environment with its wrappers, read here what they do, and do it in batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import OrderEnforcing, TimeLimit

from env.gym_utils.state import env_layers
from env.gym_utils.wrapper.clip_action import ClipAction
from env.gym_utils.wrapper.mujoco_locomotion_lowdim import (
    MujocoLocomotionLowdimWrapper,
)
from env.gym_utils.wrapper.multi_step import MultiStep
from env.gym_utils.wrapper.normalization import Normalization

_ORDER = (
    MultiStep,
    MujocoLocomotionLowdimWrapper,
    ClipAction,
    TimeLimit,
    OrderEnforcing,
)
_NEEDED = (MultiStep, MujocoLocomotionLowdimWrapper)


class NotBatched(ValueError):  # noqa: N818
    """An environment that the batched back ends do not have; says why."""


@dataclass(frozen=True)
class Pipeline:
    """Wrappers around one environment.

    Attributes:
        layers: Class names of the wrappers, the outermost first, and the environment.
        multi_step: Chunks, history, time limit and resets; only its options are read.
        action_space: Of one action, as the policy gives it, (Da,).
        ranges: Normalisation; None for none.
        limit_terminates: Whether a time limit counts as termination too.
        bounds: Smallest and largest action, to which actions are clipped; None if
            they are not.
        time_limit: Env steps after which gymnasium truncates; None for no limit.
        base: The environment without its wrappers.
    """

    layers: tuple[str, ...]
    multi_step: MultiStep
    action_space: gymnasium.Space
    ranges: Normalization | None
    limit_terminates: bool
    bounds: tuple[np.ndarray, np.ndarray] | None
    time_limit: int | None
    base: Any

    def to_raw(self, actions: np.ndarray) -> np.ndarray:
        """Returns actions (n, Da) as the environment takes them."""
        if self.ranges is not None:
            actions = self.ranges.unnormalize_action(actions)
        if self.bounds is not None:
            actions = np.minimum(np.maximum(actions, self.bounds[0]), self.bounds[1])
        return actions

    def normalize_obs(self, obs: np.ndarray) -> np.ndarray:
        """Returns observations (n, Do) as the policy gets them."""
        return obs if self.ranges is None else self.ranges.normalize_obs(obs)

    def aggregate(self, rewards: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Returns one reward for each chunk, (E,) float64.

        Rows of different length are taken apart: zeros in the sum of many would
        change the order of additions.

        Args:
            rewards: Of env steps, (E, Te) float64.
            counts: How many of a row are executed steps, (E,).
        """
        result = np.empty(len(rewards))
        function: Callable[..., Any] = self.multi_step.aggregate
        for count in np.unique(counts):
            rows = counts == count
            result[rows] = function(rewards[rows, :count], axis=1)
        return result


def read_pipeline(env: gymnasium.Env) -> Pipeline:
    """Returns what the wrappers of `env` do.

    Raises:
        NotBatched: A wrapper is unknown or missing, or `env` renders.
    """
    *wrappers, base = env_layers(env)
    found: dict[type, Any] = {type(wrapper): wrapper for wrapper in wrappers}
    _check_order([type(wrapper) for wrapper in wrappers])
    if getattr(base, "render_mode", None) is not None:
        raise NotBatched(f"render_mode={base.render_mode!r} needs gymnasium's objects.")
    lowdim, clip = found[MujocoLocomotionLowdimWrapper], found.get(ClipAction)
    limit = found.get(TimeLimit)
    return Pipeline(
        layers=tuple(type(layer).__name__ for layer in (*wrappers, base)),
        multi_step=found[MultiStep],
        action_space=lowdim.action_space,
        ranges=lowdim.ranges,
        limit_terminates=lowdim.limit_terminates,
        bounds=None if clip is None else (clip.low, clip.high),
        time_limit=None if limit is None else limit._max_episode_steps,
        base=base,
    )


def _check_order(kinds: Sequence[type]) -> None:
    for kind in kinds:
        if kind not in _ORDER:
            raise NotBatched(f"the wrapper {kind.__name__} cannot be batched.")
    for kind in _NEEDED:
        if kind not in kinds:
            raise NotBatched(f"the wrapper {kind.__name__} is missing.")
    places = [_ORDER.index(kind) for kind in kinds]
    if places != sorted(set(places)):
        names = ", ".join(kind.__name__ for kind in kinds)
        raise NotBatched(f"the wrappers {names} are not in the usual order.")


class History:
    """The last observations of each environment, as `MultiStep` keeps them.

    Rows begin with copies of the oldest observation while there are fewer than
    `length`, so that the last n of a row are always the stacked observation.

    Args:
        num_envs: E.
        length: Observations that are kept.
        obs_dim: Do.
    """

    def __init__(self, num_envs: int, length: int, obs_dim: int) -> None:
        self._rows = np.zeros((num_envs, length, obs_dim))
        self.counts = np.zeros(num_envs, int)

    def restart(self, indices: np.ndarray, obs: np.ndarray) -> None:
        """Begins episodes with `obs` (n, Do)."""
        self._rows[indices] = obs[:, None]
        self.counts[indices] = 1

    def append(self, indices: np.ndarray, obs: np.ndarray) -> None:
        """Adds the newest observations (n, Do)."""
        self._rows[indices, :-1] = self._rows[indices, 1:]
        self._rows[indices, -1] = obs
        longest = self._rows.shape[1]
        self.counts[indices] = np.minimum(self.counts[indices] + 1, longest)

    def last(self, n: int) -> np.ndarray:
        """Returns the last `n` observations of each environment, (E, n, Do)."""
        return self._rows[:, self._rows.shape[1] - n :].copy()

    def get(self, index: int) -> list[np.ndarray]:
        """Returns the observations of one environment, the newest last."""
        return list(self._rows[index, self._rows.shape[1] - self.counts[index] :])

    def set(self, index: int, obs: Sequence[np.ndarray]) -> None:
        """Takes over what `get` returned."""
        self.counts[index] = 0
        for position, one in enumerate(obs):
            add = self.restart if position == 0 else self.append
            add(np.array([index]), np.asarray(one)[None])
