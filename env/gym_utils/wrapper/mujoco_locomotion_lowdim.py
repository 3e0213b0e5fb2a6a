"""Normalisation for gymnasium's locomotion tasks and any other `Box` observation.

Departures from the reference: `reset` seeds the environment's own generator; a time
limit is truncation only (`compat.gae_ignores_truncation` brings back both flags);
`normalization_path` may be null; normalised actions have the bounds -1 and 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from env.gym_utils.wrapper.normalization import Normalization
from env.gym_utils.wrapper.seed_option import choose_seed
from util.compat import compat


class MujocoLocomotionLowdimWrapper(gymnasium.Wrapper):
    """Returns observations `{"state": (Do,)}`, normalised, and takes such actions.

    A termination in the very step of the time limit counts as termination.

    Args:
        env: Environment with `Box` spaces of one dimension.
        normalization_path: A ``normalization.npz``; None leaves observations and
            actions as they are.

    Attributes:
        ranges: Of the data set; None if nothing is normalised.
        limit_terminates: Whether a time limit counts as termination too.
    """

    def __init__(
        self, env: gymnasium.Env, normalization_path: str | Path | None
    ) -> None:
        super().__init__(env)
        obs_space = _check_box("observation_space", env.observation_space)
        action_space = _check_box("action_space", env.action_space)
        self.ranges: Normalization | None = None
        if normalization_path is not None:
            self.ranges = Normalization.load(
                normalization_path, obs_space.shape[0], action_space.shape[0]
            )
            obs_space, self.action_space = _unit(obs_space), _unit(action_space)
        self.observation_space = Dict({"state": obs_space})
        self.limit_terminates = compat("gae_ignores_truncation")

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: Of the environment's generator; None goes on with it.
            options: Of the environment; `seed` in it replaces `seed`.
        """
        obs, info = self.env.reset(seed=choose_seed(seed, options), options=options)
        return self._observe(obs), info

    def step(
        self, action: np.ndarray
    ) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Takes one env step with a normalised action (Da,)."""
        if self.ranges is not None:
            action = self.ranges.unnormalize_action(action)
        obs, reward, terminated, truncated, info = self.env.step(action)
        terminated, truncated = self.flags(bool(terminated), bool(truncated))
        return self._observe(obs), float(reward), terminated, truncated, info

    def flags(self, terminated: bool, truncated: bool) -> tuple[bool, bool]:
        """What the environment's own flags count as: terminated, truncated."""
        truncated = truncated and not terminated
        return terminated or (truncated and self.limit_terminates), truncated

    def _observe(self, obs: np.ndarray) -> dict[str, np.ndarray]:
        if self.ranges is not None:
            obs = self.ranges.normalize_obs(obs)
        return {"state": obs}


def _check_box(name: str, space: gymnasium.Space) -> Box:
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise TypeError(f"{name} must be a Box of one dimension, got {space}.")
    return space


def _unit(box: Box) -> Box:
    """Bounds of normalised values; they say nothing about observations."""
    return Box(-1, 1, box.shape, box.dtype)  # type: ignore[arg-type]
