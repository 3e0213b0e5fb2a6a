"""Normalisation of low-dimensional observations and actions by a data set's ranges.

The reference repeats these lines in each benchmark wrapper; here they stand once.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

_EPSILON = 1e-6  # of observations only; the reference has none for actions
_NAMES = ("obs_min", "obs_max", "action_min", "action_max")


@dataclass(frozen=True)
class Normalization:
    """Maps raw observations to about [-1, 1] and actions of [-1, 1] to raw ones.

    obs_n = 2 ((obs - obs_min) / (obs_max - obs_min + 1e-6) - 1/2)
    action = (action_n + 1) / 2 (action_max - action_min) + action_min

    Nothing is clipped.

    Args:
        obs_min: Smallest value of each observation dimension, (Do,).
        obs_max: Largest, (Do,).
        action_min: Smallest value of each action dimension, (Da,).
        action_max: Largest, (Da,).
    """

    obs_min: np.ndarray
    obs_max: np.ndarray
    action_min: np.ndarray
    action_max: np.ndarray
    _obs_range: np.ndarray = field(init=False, repr=False)
    _action_range: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        obs_range = self.obs_max - self.obs_min + _EPSILON
        object.__setattr__(self, "_obs_range", obs_range)
        object.__setattr__(self, "_action_range", self.action_max - self.action_min)

    @classmethod
    def load(cls, path: str | Path, obs_dim: int, action_dim: int) -> Normalization:
        """Returns the ranges in a ``normalization.npz``.

        Args:
            path: File with the arrays obs_min, obs_max, action_min, action_max.
            obs_dim: Do of the environment.
            action_dim: Da of the environment.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is damaged, lacks an array, or is of another environment.
        """
        arrays = _read(Path(path).expanduser())
        for name, array in arrays.items():
            size = obs_dim if name.startswith("obs") else action_dim
            if array.shape != (size,):
                raise ValueError(
                    f"normalization_path: {name} of {path} must have shape ({size},), "
                    f"got {array.shape}; the environment has obs_dim={obs_dim} and "
                    f"action_dim={action_dim}."
                )
            if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
                raise ValueError(
                    f"normalization_path: {name} of {path} must hold finite numbers."
                )
        return cls(**arrays)

    def normalize_obs(self, obs: np.ndarray) -> np.ndarray:
        """Returns normalised observations (..., Do)."""
        return 2 * ((obs - self.obs_min) / self._obs_range - 0.5)

    def unnormalize_obs(self, obs: np.ndarray) -> np.ndarray:
        """Returns raw observations (..., Do), the inverse of `normalize_obs`."""
        return (obs / 2 + 0.5) * self._obs_range + self.obs_min

    def unnormalize_action(self, action: np.ndarray) -> np.ndarray:
        """Returns raw actions (..., Da)."""
        return (action + 1) / 2 * self._action_range + self.action_min


def _read(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(
            f"normalization_path: there is no file {path}. It comes with train.npz of "
            "the data set; null means an environment without normalisation."
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in _NAMES}
    except KeyError as error:
        raise ValueError(
            f"normalization_path: {path} must hold {', '.join(_NAMES)}; {error.args[0]}"
        ) from error
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise ValueError(
            f"normalization_path: {path} is damaged or not an npz file: {error}"
        ) from error
