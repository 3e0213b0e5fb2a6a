"""The policies behind generated data: which ones, and a Gaussian actor in NumPy."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.dataset.normalise import denormalise, normalise

DEMONSTRATORS = Path(__file__).with_name("demonstrators")
"""Where the weights files are."""


@dataclass(frozen=True)
class Part:
    """One policy's part in a data set.

    Attributes:
        weights: Its file, in `DEMONSTRATORS` unless the path is absolute.
        share: Of the env steps.
        stochastic: Whether its actions are always sampled, as training collected them;
            otherwise they are means unless asked for.
    """

    weights: str
    share: float = 1.0
    stochastic: bool = False

    @property
    def path(self) -> Path:
        """The weights file."""
        return DEMONSTRATORS / self.weights


@dataclass(frozen=True)
class Recipe:
    """How the data of an experiment are made.

    Attributes:
        env_id: Of gymnasium.
        parts: In the order of the data; their shares sum to 1.
    """

    env_id: str
    parts: tuple[Part, ...]


def _qualities(task: str, env_id: str) -> dict[str, Recipe]:
    """D4RL's four qualities of data, from one run of soft actor-critic.

    Args:
        task: Such as walker2d.
        env_id: Of gymnasium.
    """
    medium, expert = f"{task}.npz", f"{task}-expert.npz"
    # Evenly spaced in training, from the first learned actor to the medium one.
    replay = [*(f"{task}-replay-{i}.npz" for i in range(1, 6)), medium]
    parts = {
        "medium": (Part(medium),),
        "expert": (Part(expert),),
        "medium-expert": (Part(medium, 0.5), Part(expert, 0.5)),
        "medium-replay": tuple(Part(file, 1 / len(replay), True) for file in replay),
    }
    return {f"{task}-{name}-v2": Recipe(env_id, each) for name, each in parts.items()}


RECIPES: dict[str, Recipe] = {
    "hopper-medium-v2": Recipe("Hopper-v4", (Part("hopper.npz"),)),
    **_qualities("walker2d", "Walker2d-v4"),
    **_qualities("halfcheetah", "HalfCheetah-v4"),
}
"""Experiment -> how its data are made. D4RL's names."""

_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "ReLU": lambda x: np.maximum(x, 0.0),
    "Tanh": np.tanh,
    "Mish": lambda x: x * np.tanh(np.logaddexp(0.0, x)),
}


class Demonstrator:
    """A Gaussian policy read from a weights file, evaluated in NumPy.

    The file has the arrays of a `Gaussian_MLP` under their PyTorch names and a JSON
    string `meta` (command, seed, return, activation, tanh, optionally env_id and
    randn_clip_value). Optional obs_min, obs_max, action_min, action_max say that the
    policy sees and returns values normalised with them.

    Args:
        path: The weights file.

    Raises:
        ValueError: If the file is damaged or incomplete; names the file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with np.load(self.path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            self.meta: dict[str, Any] = json.loads(str(arrays.pop("meta")))
            self.weights = {k: v.astype(np.float64) for k, v in arrays.items()}
            self.hidden = self._layers("mlp_base")
            self.heads = self._layers("mlp_mean") + self._layers("mlp_logvar")
            self.logvar_bounds = self.weights["logvar_min"], self.weights["logvar_max"]
            self.activation = _ACTIVATIONS[self.meta.get("activation", "ReLU")]
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{path}: not a demonstrator's weights: {error}"
            ) from error
        if not self.hidden or len(self.heads) != 2:
            raise ValueError(f"{path}: layers are missing, got {sorted(arrays)}.")

    def _layers(self, name: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Weights (out, in) and biases of the linear layers of one network."""
        layers = []
        key = f"{name}.moduleList.0.linear_1"
        while f"{key}.weight" in self.weights:
            layers.append((self.weights[f"{key}.weight"], self.weights[f"{key}.bias"]))
            key = f"{name}.moduleList.{len(layers)}.linear_1"
        return layers

    @property
    def obs_dim(self) -> int:
        """Do."""
        return self.hidden[0][0].shape[1]

    @property
    def action_dim(self) -> int:
        """Da."""
        return self.heads[0][0].shape[0]

    def act(self, obs: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """Actions for several environments.

        Evaluated in float64 and rounded to float32, so that the order in which a
        linear algebra library sums does not show.

        Args:
            obs: (E, Do), as the simulator gives it.
            rng: Samples from the policy; None takes its mean.

        Returns:
            (E, Da), float32, as the simulator takes it.
        """
        features = obs.astype(np.float64)
        if "obs_min" in self.weights:
            features = normalise(features, *self._bounds("obs"))
        for weight, bias in self.hidden:
            features = self.activation(features @ weight.T + bias)
        mean, squashed = (features @ weight.T + bias for weight, bias in self.heads)
        if rng is not None:
            mean = mean + self._noise(squashed, rng)
        actions = np.tanh(mean) if self.meta.get("tanh", True) else mean.clip(-1, 1)
        if "action_min" in self.weights:
            actions = denormalise(actions, *self._bounds("action"))
        return actions.astype(np.float32)

    def _noise(self, squashed: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Deviations from the mean, with the standard deviation of `Gaussian_MLP`."""
        low, high = self.logvar_bounds
        std = np.exp(0.5 * (low + 0.5 * (high - low) * (np.tanh(squashed) + 1.0)))
        limit = self.meta.get("randn_clip_value", np.inf)
        return std * rng.standard_normal(std.shape).clip(-limit, limit)

    def _bounds(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        return self.weights[f"{name}_min"], self.weights[f"{name}_max"]


def available_demonstrators() -> list[str]:
    """Experiments of which data can be generated: all their policies are shipped."""
    return sorted(
        name
        for name, recipe in RECIPES.items()
        if all(part.path.is_file() for part in recipe.parts)
    )


def find_recipe(env_name: str) -> Recipe:
    """How the data of an experiment are made.

    Args:
        env_name: Such as hopper-medium-v2.

    Raises:
        FileNotFoundError: If no data of it can be generated; lists those that can.
    """
    if env_name in available_demonstrators():
        return RECIPES[env_name]
    raise FileNotFoundError(
        f"No demonstrator for {env_name!r} in {DEMONSTRATORS}; there are those of: "
        f"{', '.join(available_demonstrators()) or 'none'}."
    )
