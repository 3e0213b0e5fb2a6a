"""Toy environments of the quick suite: no simulator, exact under a seed.

Importing this module registers `dppo-tf/Point-v0` with gymnasium. In a config,
`env.name=dppo-tf/Point-v0` with `env.specific={obs_size: 11, action_size: 3}` stands in
for Hopper; `point_id(11, 3)` is a name for the same that needs no `specific`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

POINT_ID = "dppo-tf/Point-v0"
POINT_LIMIT = 40  # env steps, gymnasium's TimeLimit


class PointEnv(gymnasium.Env):
    """A point that is pushed around and should stay near the origin.

    The first `action_size` coordinates move by 0.2 times the action, all of them by
    noise. Reward is 1 - |position|. The episode terminates beyond `bound`. A policy
    that pushes towards the origin earns about 0.8 per step, an idle one about 0.1.

    Args:
        obs_size: Coordinates.
        action_size: Those that can be pushed; more than obs_size have no effect.
        bound: Distance from the origin at which an episode terminates.
        noise: Standard deviation of the noise of each coordinate.
        nan_after: Env steps after which observations become NaN; None for never.
    """

    metadata: Mapping[str, Any] = {"render_modes": ["human"], "render_fps": 10}  # noqa: RUF012

    def __init__(
        self,
        obs_size: int = 4,
        action_size: int = 2,
        bound: float = 1.4,
        noise: float = 0.02,
        nan_after: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.observation_space = Box(-np.inf, np.inf, (obs_size,), np.float64)
        self.action_space = Box(-1.0, 1.0, (action_size,), np.float32)
        self.pushed = min(obs_size, action_size)
        self.bound, self.noise, self.nan_after = bound, noise, nan_after
        self.render_mode = render_mode
        self.position = np.zeros(obs_size)
        self.n_steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        start = self.np_random.normal(size=self.position.shape)
        self.position = start / np.linalg.norm(start)
        self.n_steps = 0
        return self.position.copy(), {}

    def step(self, action):
        move = self.noise * self.np_random.normal(size=self.position.shape)
        move[: self.pushed] += 0.2 * np.clip(action, -1, 1)[: self.pushed]
        self.position = self.position + move
        self.n_steps += 1
        distance = float(np.linalg.norm(self.position))
        obs = self.position.copy()
        if self.nan_after is not None and self.n_steps > self.nan_after:
            obs[:] = np.nan
        info = {"distance": distance}
        return obs, 1.0 - distance, distance > self.bound, False, info

    def get_state(self):
        return {"position": self.position.copy(), "n_steps": self.n_steps}

    def set_state(self, state):
        self.position = np.array(state["position"])
        self.n_steps = state["n_steps"]


SEEN_POINT_ID = "dppo-tf/SeenPoint-v0"
IMAGE_SIZE = 16


class SeenPointEnv(PointEnv):
    """A `PointEnv` that is observed by its coordinates and as a bright spot."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        image = Box(0, 255, (3, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        self.observation_space = Dict({"state": self.observation_space, "rgb": image})

    def reset(self, *, seed=None, options=None):
        state, info = super().reset(seed=seed, options=options)
        return self._seen(state), info

    def step(self, action):
        state, *rest = super().step(action)
        return self._seen(state), *rest

    def _seen(self, state):
        """The spot is at the first two coordinates; all of it in 0..255."""
        image = np.full((3, IMAGE_SIZE, IMAGE_SIZE), 20, np.uint8)
        finite = np.nan_to_num(state[:2])
        column, row = np.clip((finite + 1.5) / 3 * IMAGE_SIZE, 1, IMAGE_SIZE - 2)
        image[:, int(row) - 1 : int(row) + 2, int(column) - 1 : int(column) + 2] = 250
        return {"state": state, "rgb": image}


def point_id(obs_size: int, action_size: int) -> str:
    """Registers a `PointEnv` of that size and returns its gymnasium id."""
    name = f"dppo-tf/Point{obs_size}x{action_size}-v0"
    _register(name, obs_size=obs_size, action_size=action_size)
    return name


def _register(name: str, kind: type = PointEnv, **kwargs: Any) -> None:
    if name not in gymnasium.registry:
        gymnasium.register(name, kind, max_episode_steps=POINT_LIMIT, kwargs=kwargs)


_register(POINT_ID)
_register(SEEN_POINT_ID, SeenPointEnv)


class ScriptedVectorEnv:
    """Plays back the tables of a recorded agent run; actions have no effect.

    Args:
        tables: `obs` (N, E, To, Do), what step k returns; `reward`, `terminated`,
            `truncated` (N, E); `final_obs` like obs, for the info where truncated;
            `reset_obs` (R, E, To, Do), what the r-th reset returns; for images also
            `rgb` and `reset_rgb`. Names may begin with `in/env/`.
        action_shape: (Te, Da) of `single_action_space`, bounds -1 and 1.

    Attributes:
        actions: Those of each step, each (E, Te, Da).
        resets_before_step: Steps before each reset.
    """

    def __init__(
        self,
        tables: Mapping[str, np.ndarray],
        action_shape: tuple[int, int] = (1, 1),
    ) -> None:
        prefix = "in/env/"
        self.tables = {
            name.removeprefix(prefix): table
            for name, table in tables.items()
            if name.startswith(prefix) or "/" not in name
        }
        self.num_envs = self.tables["reward"].shape[1]
        if "reset_obs" in self.tables:
            self.single_observation_space = Dict(
                {
                    key: Box(-np.inf, np.inf, value.shape[1:], value.dtype)
                    for key, value in self._reset_obs(0).items()
                }
            )
        self.single_action_space = Box(-1.0, 1.0, action_shape, np.float32)
        self.actions: list[np.ndarray] = []
        self.resets_before_step: list[int] = []
        self.closed = False

    def seed(self, seeds: Any = None) -> None:
        """Does nothing: all is scripted."""

    def reset_arg(self, options_list: Any) -> dict[str, np.ndarray]:
        assert len(options_list) == self.num_envs
        index = len(self.resets_before_step)
        self.resets_before_step.append(len(self.actions))
        return self._reset_obs(index)

    def reset_one_arg(self, env_ind: int, options: Any = None):
        """The row of the last reset."""
        index = max(0, len(self.resets_before_step) - 1)
        return {key: value[env_ind] for key, value in self._reset_obs(index).items()}

    def step(self, actions: np.ndarray):
        k = len(self.actions)
        self.actions.append(np.array(actions))
        rows = {
            name: self.tables[name][k].copy()
            for name in ("reward", "terminated", "truncated")
        }
        infos = tuple(
            {"final_obs": {"state": self.tables["final_obs"][k, env].copy()}}
            if rows["truncated"][env]
            else {}
            for env in range(self.num_envs)
        )
        obs = self._named(self.tables["obs"][k], self.tables.get("rgb"), k)
        return obs, rows["reward"], rows["terminated"], rows["truncated"], infos

    def _reset_obs(self, index: int) -> dict[str, np.ndarray]:
        images = self.tables.get("reset_rgb")
        return self._named(self.tables["reset_obs"][index], images, index)

    @staticmethod
    def _named(state, images, index: int) -> dict[str, np.ndarray]:
        obs = {"state": state.copy()}
        if images is not None:
            obs["rgb"] = images[index].astype(np.float32)
        return obs

    def get_state(self) -> dict[str, Any]:
        return {
            "actions": [a.copy() for a in self.actions],
            "resets_before_step": list(self.resets_before_step),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        self.actions = list(state["actions"])
        self.resets_before_step = list(state["resets_before_step"])

    def close(self) -> None:
        self.closed = True
