"""Runs chunks of actions and stacks observations.

Kept from the reference, and recorded in its cases: the step counter also counts the
action at which a chunk stops early, and `full_obs` then begins with one observation
from before the chunk. Departures: unknown arguments are refused, `prev_action=False`
works, resets can be seeded, a non-finite simulator ends the chunk and sets
`info["nan"]`, and `verbose` logs.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from env.gym_utils.wrapper.seed_option import choose_seed

logger = logging.getLogger(__name__)

Obs = np.ndarray | dict[str, np.ndarray]

_AGGREGATE: dict[str, Callable[[Sequence[float]], Any]] = {
    "sum": np.sum,
    "mean": np.mean,
    "max": np.max,
    "min": np.min,
}


class MultiStep(gymnasium.Wrapper):
    """One step executes a chunk of actions and returns the last observations.

    Args:
        env: Environment with a `Box` of actions and a `Box` or a `Dict` of boxes of
            observations.
        n_obs_steps: To, observations that are returned, the newest last; the first
            one of an episode is repeated in front.
        n_action_steps: Te, actions in a chunk.
        max_episode_steps: Env steps after which an episode is truncated; None leaves
            that to the environment.
        reward_agg_method: How the rewards of a chunk become one: sum, mean, max, min.
        prev_action: Remember executed actions for `get_prev_action`.
        reset_within_step: A step in which the episode ends resets and returns the
            first observation of the next episode. The last one of the old episode is
            in `info["final_obs"]` if it was truncated.
        pass_full_observations: Put all observations of a chunk in `info["full_obs"]`.
        verbose: Log the end of each episode.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        n_obs_steps: int = 1,
        n_action_steps: int = 1,
        max_episode_steps: int | None = None,
        reward_agg_method: str = "sum",
        prev_action: bool = True,
        reset_within_step: bool = False,
        pass_full_observations: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__(env)
        _check_positive("n_obs_steps", n_obs_steps)
        _check_positive("n_action_steps", n_action_steps)
        if max_episode_steps is not None:
            _check_positive("max_episode_steps", max_episode_steps)
        if reward_agg_method not in _AGGREGATE:
            raise ValueError(
                f"reward_agg_method must be one of {', '.join(_AGGREGATE)}, "
                f"got {reward_agg_method!r}."
            )
        self.observation_space = repeated_space(env.observation_space, n_obs_steps)
        self.action_space = repeated_space(env.action_space, n_action_steps)
        self.n_obs_steps, self.n_action_steps = n_obs_steps, n_action_steps
        self.max_episode_steps = max_episode_steps
        self.reset_within_step = reset_within_step
        self.pass_full_observations = pass_full_observations
        self.prev_action, self.verbose = prev_action, verbose
        self.aggregate = _AGGREGATE[reward_agg_method]
        self.cnt = 0
        self._obs: deque[Obs] = deque(maxlen=max(n_obs_steps + 1, n_action_steps))
        self._actions: deque[np.ndarray] = deque(maxlen=n_obs_steps)
        self._infos: dict[str, deque] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Obs, dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: Of the environment's generators; None goes on with them.
            options: Of the environment; `seed` in it replaces `seed`.

        Returns:
            Observation, each (To, ...), and the environment's info.
        """
        seed = choose_seed(seed, options)
        obs, info = self.env.reset(seed=seed, options=options)
        if seed is not None:
            self.env.action_space.seed(seed)
        self.cnt = 0
        self._obs.clear()
        self._obs.append(_copy(obs))
        self._infos.clear()
        if self.prev_action:
            self._actions.clear()
            self._actions.append(self.env.action_space.sample())
        return stack_last_n_obs(self._obs, self.n_obs_steps), info

    def step(self, action: np.ndarray) -> tuple[Obs, float, bool, bool, dict[str, Any]]:
        """Executes a chunk until the episode ends; what is left of it is dropped.

        Args:
            action: (Te, Da), or one action (Da,).

        Returns:
            Observation, each (To, ...); aggregated reward of the executed env steps;
            terminated; truncated; and the environment's infos, each with its last To
            values, plus `final_obs`, `full_obs` and `nan` as described above.

        Raises:
            ValueError: The chunk is empty.
        """
        chunk = np.atleast_2d(action)
        rewards, terminated, truncated, finite = self._execute(chunk)
        obs: Obs = stack_last_n_obs(self._obs, self.n_obs_steps)
        info = self._summarise_infos()
        if not finite:
            info["nan"] = True
        if self.pass_full_observations:
            # One more than the executed ones if the chunk stopped early.
            n_full = min(len(rewards) + 1, len(chunk), len(self._obs))
            info["full_obs"] = stack_last_n_obs(self._obs, n_full)
        if terminated or truncated:
            obs = self._end_episode(obs, terminated, truncated, info)
        return obs, float(self.aggregate(rewards)), terminated, truncated, info

    def _execute(self, chunk: np.ndarray) -> tuple[list[float], bool, bool, bool]:
        """Returns rewards of the executed steps, terminated, truncated, finite."""
        rewards: list[float] = []
        terminated = truncated = False
        finite = True
        if not len(chunk):
            raise ValueError("action must hold at least one action, got an empty one.")
        for action in chunk:
            self.cnt += 1
            if terminated or truncated or not finite:
                break
            obs, reward, terminated, truncated, info = self.env.step(action)
            if not terminated and self.max_episode_steps is not None:
                truncated = truncated or self.cnt >= self.max_episode_steps
            finite = math.isfinite(reward) and _is_finite(obs)
            rewards.append(float(reward))
            self._remember(obs, action, info)
        return rewards, bool(terminated), bool(truncated), finite

    def _remember(self, obs: Obs, action: np.ndarray, info: Mapping[str, Any]) -> None:
        self._obs.append(_copy(obs))
        if self.prev_action:
            self._actions.append(action)
        for key, value in info.items():
            if key not in self._infos:
                self._infos[key] = deque(maxlen=self.n_obs_steps + 1)
            self._infos[key].append(value)

    def _summarise_infos(self) -> dict[str, Any]:
        """The last To values of each info of this episode."""
        return {
            key: _to_array(list(values)[-self.n_obs_steps :])
            for key, values in self._infos.items()
        }

    def _end_episode(
        self, obs: Obs, terminated: bool, truncated: bool, info: dict[str, Any]
    ) -> Obs:
        """Resets if asked to; returns the observation to act on next."""
        if self.verbose:
            logger.info(
                "Episode of %d env steps: terminated=%s, truncated=%s.",
                self.cnt,
                terminated,
                truncated,
            )
        if not self.reset_within_step:
            return obs
        if truncated:
            info["final_obs"] = obs
        return self.reset()[0]

    def get_prev_action(self, n_steps: int | None = None) -> np.ndarray:
        """Returns the last executed actions, (n_steps, Da); by default To - 1.

        Raises:
            ValueError: The actions are not remembered, see `prev_action`.
        """
        if not self.prev_action:
            raise ValueError("prev_action must be True to ask for previous actions.")
        count = self.n_obs_steps - 1 if n_steps is None else n_steps
        return stack_last_n_obs(self._actions, count)

    def get_state(self) -> dict[str, Any]:
        """What this wrapper remembers; see `env.gym_utils.state`.

        Infos that are no numbers, strings or arrays are left out.
        """
        return {
            "cnt": self.cnt,
            "obs": list(self._obs),
            "actions": list(self._actions),
            "infos": {
                key: list(values)
                for key, values in self._infos.items()
                if all(isinstance(v, _PLAIN) for v in values)
            },
            "action_generator": self.env.action_space.np_random.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned."""
        self.cnt = state["cnt"]
        self._obs = deque(state["obs"], self._obs.maxlen)
        self._actions = deque(state["actions"], self._actions.maxlen)
        self._infos = {
            key: deque(values, self.n_obs_steps + 1)
            for key, values in state["infos"].items()
        }
        generator = self.env.action_space.np_random.bit_generator
        generator.state = state["action_generator"]


_PLAIN = (bool, int, float, str, np.ndarray, np.generic)


def repeated_space(space: gymnasium.Space, n: int) -> gymnasium.Space:
    """Returns `space` with a new leading axis of length `n`.

    Raises:
        TypeError: It is neither a `Box` nor a `Dict` of boxes.
    """
    if isinstance(space, Box):
        low, high = (np.repeat(b[None], n, axis=0) for b in (space.low, space.high))
        return Box(low, high, dtype=space.dtype)
    if isinstance(space, Dict):
        return Dict({key: repeated_space(part, n) for key, part in space.items()})
    raise TypeError(f"a space must be a Box or a Dict of boxes, got {space}.")


def stack_last_n_obs(history: Sequence[Any], n: int) -> Any:
    """Returns the last `n` entries as one array, or one array per key.

    The oldest entry is repeated in front if there are fewer. Shape (n, ...), dtype of
    the newest entry.
    """
    newest = history[-1]
    if isinstance(newest, dict):
        return {key: _stack([entry[key] for entry in history], n) for key in newest}
    return _stack(list(history), n)


def _stack(rows: list[np.ndarray], n: int) -> np.ndarray:
    newest = rows[-1]
    if n == 0:
        return np.zeros((0, *newest.shape), newest.dtype)
    rows = [rows[0]] * (n - len(rows)) + rows[-n:]
    return np.array(rows, dtype=newest.dtype)


def _copy(obs: Any) -> Obs:
    """A copy, because some environments write into the array that they return."""
    if isinstance(obs, Mapping):
        return {key: np.array(value) for key, value in obs.items()}
    return np.array(obs)


def _is_finite(obs: Any) -> bool:
    parts = obs.values() if isinstance(obs, Mapping) else (obs,)
    return all(np.isfinite(p).all() for p in parts if np.asarray(p).dtype.kind == "f")


def _to_array(values: list[Any]) -> np.ndarray:
    """Values of one info, as objects if their shapes differ."""
    try:
        return np.array(values)
    except ValueError:
        array = np.empty(len(values), object)
        for index, value in enumerate(values):
            array[index] = value
        return array


def _check_positive(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} must be >= 1, got {value}.")
