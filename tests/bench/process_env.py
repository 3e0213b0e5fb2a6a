"""A vector environment with one process for each environment, as the original has it.

Observations go through shared memory, all else through a pipe for each process, as in
gymnasium's `AsyncVectorEnv`.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import gymnasium
import numpy as np
from omegaconf import DictConfig, OmegaConf

from env.gym_utils import wrapper_dict
from env.gym_utils.registry import find_env

Factory = Callable[[], gymnasium.Env]


def env_factory(cfg: DictConfig) -> Factory:
    """Makes one environment of an experiment, with its wrappers."""
    name = find_env(cfg.env.name)
    wrappers: Any = OmegaConf.to_container(cfg.env.wrappers, resolve=True)

    def make() -> gymnasium.Env:
        env = name.make()
        for key, arguments in wrappers.items():
            env = wrapper_dict[key](env, **arguments)
        return env

    return make


class ProcessVectorEnv:
    """Environments in processes of their own.

    Args:
        factory: Makes one of them.
        num_envs: E.
        seed: Of the first one's first reset; the others count on from it.
    """

    def __init__(self, factory: Factory, num_envs: int, seed: int = 42) -> None:
        context = multiprocessing.get_context("fork")
        example = factory()
        box = example.observation_space["state"]
        self.single_action_space = example.action_space
        example.close()
        self.num_envs = num_envs
        size = int(np.prod(box.shape)) * num_envs
        shared = context.RawArray(np.ctypeslib.as_ctypes_type(box.dtype), size)
        self._obs = np.frombuffer(shared, box.dtype).reshape(num_envs, *box.shape)
        self._pipes: list[Connection] = []
        self.processes: list[Any] = []
        for index in range(num_envs):
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_serve,
                args=(theirs, factory, self._obs[index], seed + index),
                daemon=True,
            )
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self.processes.append(process)

    def reset(self) -> np.ndarray:
        """Observations (E, To, Do)."""
        for pipe in self._pipes:
            pipe.send(("reset", None))
        for pipe in self._pipes:
            pipe.recv()
        return self._obs.copy()

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, ...]:
        """Observations (E, To, Do), rewards, terminated and truncated, each (E,)."""
        for pipe, action in zip(self._pipes, actions, strict=True):
            pipe.send(("step", action))
        results = [pipe.recv() for pipe in self._pipes]
        rewards, terminated, truncated, _ = zip(*results, strict=True)
        return (
            self._obs.copy(),
            np.array(rewards),
            np.array(terminated, bool),
            np.array(truncated, bool),
        )

    def close(self) -> None:
        """Ends the processes."""
        for pipe in self._pipes:
            pipe.send(("close", None))
        for process in self.processes:
            process.join()


def _serve(pipe: Connection, factory: Factory, row: np.ndarray, seed: int) -> None:
    """Runs one environment; `row` is where its observation goes."""
    env, first = factory(), True
    while True:
        command, action = pipe.recv()
        if command == "close":
            env.close()
            return
        if command == "reset":
            row[:] = env.reset(seed=seed if first else None)[0]["state"]
            first = False
            pipe.send(None)
            continue
        obs, reward, terminated, truncated, info = env.step(action)
        row[:] = obs["state"]
        pipe.send((reward, terminated, truncated, info))
