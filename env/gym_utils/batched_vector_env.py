"""Vector environments whose chunks, histories, limits and resets are arrays.

The reference has no such file. It does what `MultiStep`, `TimeLimit` and the wrapper
`mujoco_locomotion_lowdim` do, for all environments in one NumPy operation each; how
environments are stepped is a subclass's part. Infos of gymnasium (`x_velocity`, ...)
are left out: `info` has `final_obs`, `full_obs` and `nan` of `MultiStep` only.
"""

from __future__ import annotations

import copy
import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Dict

from env.gym_utils.env_group import Buffers, EnvFactory
from env.gym_utils.pipeline import History, NotBatched, Pipeline, read_pipeline
from env.gym_utils.state import check_layers
from env.gym_utils.vector_env import Args, VectorEnv
from env.gym_utils.wrapper.multi_step import stack_last_n_obs
from env.gym_utils.wrapper.seed_option import choose_seed

logger = logging.getLogger(__name__)


class BatchedVectorEnv(VectorEnv):
    """E environments of one kind without an object for each.

    Args:
        env_fns: E times the same function. It makes one environment, which is read.

    Raises:
        NotBatched: The functions differ, or the wrappers are others than
            `multi_step` and `mujoco_locomotion_lowdim`.
    """

    def __init__(self, env_fns: Sequence[EnvFactory]) -> None:
        if any(env_fn is not env_fns[0] for env_fn in env_fns):
            raise NotBatched("the environments differ.")
        env = env_fns[0]() if env_fns else None
        super().__init__(env_fns, lambda: env)  # type: ignore[arg-type,return-value]
        self._pipeline: Pipeline = read_pipeline(env)  # type: ignore[arg-type]
        options = self._pipeline.multi_step
        n, length = self.num_envs, max(options.n_obs_steps + 1, options.n_action_steps)
        obs_dim = self.single_observation_space["state"].shape[-1]  # type: ignore[index]
        self._history = History(n, length, obs_dim)
        self._cnt, self._elapsed = np.zeros(n, int), np.zeros(n, int)
        self._has_reset = np.zeros(n, bool)
        self._seeds: list[int | None] = [None] * n
        self._previous: list[deque] = [
            deque(maxlen=options.n_obs_steps) for _ in range(n)
        ]
        self._samplers = [copy.deepcopy(self._pipeline.action_space) for _ in range(n)]

    # -- what a subclass does ---------------------------------------------------------

    @abstractmethod
    def _advance(
        self, indices: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Takes one env step in the environments `indices`.

        Args:
            indices: n ascending indices.
            actions: Raw, (n, Da).

        Returns:
            Raw observations (n, Do), rewards (n,), terminated (n,).
        """

    @abstractmethod
    def _restart(self, indices: np.ndarray, seeds: Sequence[int | None]) -> np.ndarray:
        """Resets the environments `indices`; returns raw observations (n, Do).

        A seed of None goes on with the environment's generator.
        """

    @abstractmethod
    def _get_simulation(self, index: int) -> tuple[dict[str, Any], Any]:
        """Returns states of a simulator and of its environment's generator."""

    @abstractmethod
    def _set_simulation(self, index: int, state: Mapping[str, Any], rng: Any) -> None:
        """Takes over what `_get_simulation` returned."""

    # -- commands ---------------------------------------------------------------------

    def _allocate(self, space: Dict) -> Buffers:
        return Buffers.allocate(self.num_envs, space)

    def _dispatch(self, command: str, args: Args, indices: Sequence[int]) -> None:
        self._waiting = command, args, indices

    def _gather(self, timeout: float | None) -> list[Any]:
        command, args, indices = self._waiting
        if command == "step":
            return self._step(np.array(args))
        if command == "reset":
            return self._reset(np.array(indices), list(args))
        commands: dict[str, Callable[[int, Any], Any]] = {
            "seed": self._seed,
            "call": self._call,
            "set_attr": self._set_attr,
            "get_state": self._get_state,
            "set_state": self._set_state,
        }
        handle = commands[command]
        return [handle(index, arg) for index, arg in zip(indices, args, strict=True)]

    def _seed(self, index: int, seed: int | None) -> None:
        self._seeds[index] = seed

    def _call(self, index: int, arg: tuple[str, tuple, dict]) -> Any:
        name, args, kwargs = arg
        if name == "get_prev_action":
            return self._get_prev_action(index, *args, **kwargs)
        if name == "cnt":
            return int(self._cnt[index])
        raise AttributeError(
            f"{type(self).__name__} has no environments to ask for {name!r}; it knows "
            "cnt and get_prev_action. With env.backend=sync they exist."
        )

    def _set_attr(self, index: int, arg: tuple[str, Any]) -> None:
        raise AttributeError(
            f"{type(self).__name__} has no environments to set {arg[0]!r} of; with "
            "env.backend=sync they exist."
        )

    def _get_prev_action(self, index: int, n_steps: int | None = None) -> np.ndarray:
        options = self._pipeline.multi_step
        if not options.prev_action:
            raise ValueError("prev_action must be True to ask for previous actions.")
        count = options.n_obs_steps - 1 if n_steps is None else n_steps
        return stack_last_n_obs(self._previous[index], count)

    # -- resets -----------------------------------------------------------------------

    def _reset(
        self, indices: np.ndarray, options: Sequence[Mapping[str, Any]]
    ) -> list[None]:
        seeds = [
            choose_seed(self._seeds[index], own)
            for index, own in zip(indices, options, strict=True)
        ]
        self._begin_episodes(indices, seeds)
        for index in indices:
            self._seeds[index] = None  # later resets go on with the generator
        last = self._history.last(self._pipeline.multi_step.n_obs_steps)
        self._buffers.obs["state"][indices] = last[indices]
        return [None] * len(indices)

    def _begin_episodes(self, indices: np.ndarray, seeds: Sequence[int | None]) -> None:
        obs = self._pipeline.normalize_obs(self._restart(indices, seeds))
        self._history.restart(indices, obs)
        self._cnt[indices] = self._elapsed[indices] = 0
        self._has_reset[indices] = True
        for index, seed in zip(indices, seeds, strict=True):
            if seed is not None:
                self._samplers[index].seed(seed)
            if self._pipeline.multi_step.prev_action:
                self._previous[index].clear()
                self._previous[index].append(self._samplers[index].sample())

    # -- steps ------------------------------------------------------------------------

    def _step(self, chunks: np.ndarray) -> list[dict[str, Any]]:
        """Executes chunks (E, Te, Da) and leaves the results in the buffers."""
        if not self._has_reset.all():
            error = ResetNeeded("reset must be called before step.")
            index = np.flatnonzero(~self._has_reset)[0]
            error.add_note(f"This happened in environment {index}.")
            raise error
        rewards, counts, finite = self._execute(chunks)
        b, options = self._buffers, self._pipeline.multi_step
        b.rewards[:] = self._pipeline.aggregate(rewards, counts)
        b.obs["state"][:] = self._history.last(options.n_obs_steps)
        if options.prev_action:
            for own, chunk, count in zip(self._previous, chunks, counts, strict=True):
                own.extend(chunk[:count])
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for index in np.flatnonzero(~finite):
            infos[index]["nan"] = True
        if options.pass_full_observations:
            self._add_full_obs(infos, counts, chunks.shape[1])
        ended = np.flatnonzero(b.terminated | b.truncated)
        if ended.size:
            self._end_episodes(ended, infos)
        return infos

    def _execute(self, chunks: np.ndarray) -> tuple[np.ndarray, ...]:
        """Returns rewards (E, Te), executed steps (E,), whether all were finite (E,).

        An environment whose episode ends drops what is left of its chunk. Sets the
        flags in the buffers.
        """
        n, n_steps = chunks.shape[:2]
        rewards, counts = np.zeros((n, n_steps)), np.zeros(n, int)
        all_finite, b = np.ones(n, bool), self._buffers
        live = np.arange(n)
        for step in range(n_steps):
            actions = self._pipeline.to_raw(chunks[live, step])
            raw, reward, terminated = self._advance(live, actions)
            obs = self._pipeline.normalize_obs(raw)
            self._history.append(live, obs)
            rewards[live, step] = reward
            counts[live] += 1
            finite = np.isfinite(reward) & np.isfinite(obs).all(axis=1)
            all_finite[live] = finite
            terminated, truncated = self._limit(live, terminated)
            b.terminated[live], b.truncated[live] = terminated, truncated
            live = live[~(terminated | truncated) & finite]
            if not live.size:
                break
        # As `MultiStep` counts: also the action at which a chunk stops early.
        self._cnt[counts < n_steps] += 1
        return rewards, counts, all_finite

    def _limit(
        self, indices: np.ndarray, terminated: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Counts an env step; returns terminated and truncated, see `MultiStep`."""
        self._elapsed[indices] += 1
        self._cnt[indices] += 1
        truncated = np.zeros_like(terminated)
        if self._pipeline.time_limit is not None:
            truncated = self._elapsed[indices] >= self._pipeline.time_limit
            truncated &= ~terminated
            if self._pipeline.limit_terminates:
                terminated = terminated | truncated
        if (limit := self._pipeline.multi_step.max_episode_steps) is not None:
            truncated = truncated | (~terminated & (self._cnt[indices] >= limit))
        return terminated, truncated

    def _add_full_obs(
        self, infos: list[dict[str, Any]], counts: np.ndarray, n_steps: int
    ) -> None:
        """One more than the executed ones if a chunk stopped early."""
        longest = np.minimum(np.minimum(counts + 1, n_steps), self._history.counts)
        rows = self._history.last(int(longest.max()))
        for info, row, n_full in zip(infos, rows, longest, strict=True):
            info["full_obs"] = {"state": row[len(row) - n_full :].copy()}

    def _end_episodes(self, ended: np.ndarray, infos: list[dict[str, Any]]) -> None:
        b, options = self._buffers, self._pipeline.multi_step
        if options.verbose:
            for index in ended:
                logger.info(
                    "Episode of %d env steps: terminated=%s, truncated=%s.",
                    self._cnt[index],
                    b.terminated[index],
                    b.truncated[index],
                )
        if not options.reset_within_step:
            return
        state = b.obs["state"]
        for index in ended[b.truncated[ended]]:
            infos[index]["final_obs"] = {"state": state[index].copy()}
        self._begin_episodes(ended, [None] * len(ended))
        state[ended] = self._history.last(options.n_obs_steps)[ended]

    # -- states: those of `SyncVectorEnv`, without gymnasium's infos ------------------

    def _get_state(self, index: int, _: None) -> dict[str, Any]:
        simulation, generator = self._get_simulation(index)
        own = {
            "MultiStep": {
                "cnt": int(self._cnt[index]),
                "obs": [{"state": np.array(o)} for o in self._history.get(index)],
                "actions": [np.array(a) for a in self._previous[index]],
                "infos": {},
                "action_generator": self._samplers[index].np_random.bit_generator.state,
            },
            "TimeLimit": {"value": int(self._elapsed[index])},
            "OrderEnforcing": {"value": bool(self._has_reset[index])},
            self._pipeline.layers[-1]: simulation,
        }
        layers = [
            {"type": name, "state": own.get(name, {})} for name in self._pipeline.layers
        ]
        env = {"layers": layers, "generator": generator}
        return {"env": env, "seed": self._seeds[index]}

    def _set_state(self, index: int, state: Mapping[str, Any]) -> None:
        env = state["env"]
        check_layers(self._pipeline.layers, env)
        own = {part["type"]: part["state"] for part in env["layers"]}
        chunks = own["MultiStep"]
        self._seeds[index] = state["seed"]
        self._cnt[index] = chunks["cnt"]
        self._history.set(index, [obs["state"] for obs in chunks["obs"]])
        self._previous[index].clear()
        self._previous[index].extend(chunks["actions"])
        sampler = self._samplers[index].np_random.bit_generator
        sampler.state = chunks["action_generator"]
        self._elapsed[index] = own.get("TimeLimit", {"value": 0})["value"]
        self._has_reset[index] = own.get("OrderEnforcing", {"value": True})["value"]
        simulation = own[self._pipeline.layers[-1]]
        self._set_simulation(index, simulation, env["generator"])
