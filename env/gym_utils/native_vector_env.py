"""MuJoCo tasks of gymnasium stepped by threads, without gymnasium's Python.

The reference has no such file. Each environment has its own `MjData`, stepped by the
calls that gymnasium makes, so that the solver's warm start is carried on and results
are equal to `SyncVectorEnv`'s, however many threads there are. MuJoCo lets go of the
interpreter while it steps. Its `rollout` was not faster for Hopper (24,700 env steps
per second and processor against 24,800), and it returns no warm start, does not stop
at a termination, and handles a diverged simulation otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import mujoco
import numpy as np
from gymnasium.utils import seeding

from env.gym_utils.async_vector_env import count_processors
from env.gym_utils.batched_vector_env import BatchedVectorEnv
from env.gym_utils.env_group import EnvFactory
from env.gym_utils.mujoco_state import get_simulation, set_simulation
from env.gym_utils.native_tasks import Task, find_task
from env.gym_utils.pipeline import NotBatched
from env.gym_utils.state import get_generator, make_generator


class NativeVectorEnv(BatchedVectorEnv):
    """A vector environment of one of the tasks in `native_tasks`.

    Args:
        env_fns: E times the same function.
        num_threads: Threads that step; by default one for each processor, at most E.

    Raises:
        ValueError: There are no environments, or num_threads is below 1.
        NotBatched: The task or a wrapper is not supported.
    """

    def __init__(
        self, env_fns: Sequence[EnvFactory], num_threads: int | None = None
    ) -> None:
        if num_threads is not None and num_threads < 1:
            raise ValueError(f"num_threads must be >= 1, got {num_threads}.")
        super().__init__(env_fns)
        base = self._pipeline.base
        task = find_task(base)
        if task is None:
            raise NotBatched(f"there is no native task for {type(base).__name__}.")
        self._task: Task = task
        self._model, self._frame_skip = base.model, base.frame_skip
        self._rngs: list[np.random.Generator | None] = [None] * self.num_envs
        self._datas = [mujoco.MjData(self._model) for _ in range(self.num_envs)]
        self._fields = {
            name: np.zeros((self.num_envs, *getattr(self._datas[0], name).shape))
            for name in task.fields
        }
        self._copies = [
            [(array[i], getattr(data, name)) for name, array in self._fields.items()]
            for i, data in enumerate(self._datas)
        ]
        self._ctrl = np.zeros((self.num_envs, self._model.nu))
        self._threads = min(num_threads or count_processors(), self.num_envs)
        self._pool = ThreadPoolExecutor(max(1, self._threads - 1), "native env")
        self.closed = False

    def _close(self) -> None:
        self._pool.shutdown()

    # -- stepping ---------------------------------------------------------------------

    def _advance(
        self, indices: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        before = self._task.track(self._select(indices))
        self._ctrl[indices] = actions
        # One iterator for all threads: each takes the next environment that is left.
        queue = iter(indices.tolist())
        helpers = min(self._threads, len(indices)) - 1
        waiting = [self._pool.submit(self._simulate, queue) for _ in range(helpers)]
        try:
            self._simulate(queue)
        finally:
            if waiting:
                wait(waiting)  # nothing may still step when an error goes up
        for future in waiting:
            future.result()
        fields = self._select(indices)
        reward, terminated = self._task.evaluate(before, fields, actions)
        return self._task.observe(fields), reward, terminated

    def _simulate(self, queue: Iterator[int]) -> None:
        """Steps environments until none is left."""
        model, ctrl, frame_skip = self._model, self._ctrl, self._frame_skip
        contacts = self._task.post_constraint
        for index in queue:
            data = self._datas[index]
            data.ctrl[:] = ctrl[index]
            try:
                mujoco.mj_step(model, data, frame_skip)
                if contacts:
                    mujoco.mj_rnePostConstraint(model, data)
            except Exception as error:
                error.add_note(f"This happened in environment {index}.")
                raise
            for target, source in self._copies[index]:
                target[...] = source

    def _select(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        """Copies of the fields, (n, ...)."""
        return {name: array[indices] for name, array in self._fields.items()}

    def _read(self, index: int) -> None:
        for target, source in self._copies[index]:
            target[...] = source

    # -- resets and states ------------------------------------------------------------

    def _restart(self, indices: np.ndarray, seeds: Sequence[int | None]) -> np.ndarray:
        for index, seed in zip(indices, seeds, strict=True):
            rng = self._rngs[index]
            if rng is None or seed is not None:
                rng, _ = seeding.np_random(seed)
                self._rngs[index] = rng
            data = self._datas[index]
            mujoco.mj_resetData(self._model, data)
            data.qpos[:], data.qvel[:] = self._task.draw(rng)
            mujoco.mj_forward(self._model, data)
            self._read(index)
        return self._task.observe(self._select(indices))

    def _get_simulation(self, index: int) -> tuple[dict[str, Any], Any]:
        simulation = get_simulation(self._model, self._datas[index])
        return simulation | {"attributes": {}}, get_generator(self._rngs[index])

    def _set_simulation(self, index: int, state: Mapping[str, Any], rng: Any) -> None:
        set_simulation(self._model, self._datas[index], state)
        self._rngs[index] = make_generator(rng)
        self._read(index)
