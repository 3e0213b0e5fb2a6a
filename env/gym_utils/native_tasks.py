"""Observation, reward, termination and reset of gymnasium's MuJoCo tasks, in batches.

The reference has no such file: it steps gym's environments one by one. A task reads
its parameters from one environment that gymnasium made, so that all versions and
keyword arguments come out right. The arithmetic keeps gymnasium's order of operations,
so that the numbers are equal to the last bit.

`Fields` below are arrays of MuJoCo's `MjData`, with an axis of environments in front:
qpos (n, nq), qvel (n, nv), xpos (n, nbody, 3), ....
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np

Fields = Mapping[str, np.ndarray]


class Task(ABC):
    """What a task makes of the simulation, for n environments at once.

    Args:
        env: An environment of the task, unwrapped; only read.

    Attributes:
        fields: Names of the fields of `MjData` that are read after each env step.
        post_constraint: Whether MuJoCo has to compute contact forces after a step.
    """

    fields: tuple[str, ...] = ("qpos", "qvel")
    post_constraint = False

    def __init__(self, env: Any) -> None:
        self._qpos, self._qvel = env.init_qpos.copy(), env.init_qvel.copy()
        self._dt = env.dt

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Returns positions (nq,) and velocities (nv,) of one first state."""

    @abstractmethod
    def observe(self, fields: Fields) -> np.ndarray:
        """Returns observations (n, Do)."""

    def track(self, fields: Fields) -> np.ndarray:
        """Returns what the reward takes the velocity of, (n,)."""
        return np.zeros(len(fields["qpos"]))

    @abstractmethod
    def evaluate(
        self, before: np.ndarray, fields: Fields, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns rewards (n,) and whether episodes terminate (n,).

        Args:
            before: What `track` returned before the env step, (n,).
            fields: After the env step.
            actions: As the environment gets them, (n, Da).
        """


class _Locomotion(Task):
    """weight * velocity + survival - control cost; unhealthy bodies may terminate.

    Args:
        env: As `Task`.
        old: v4, which pays for survival in the last step too.
        noise: Distribution of the first velocities.
    """

    skipped = 1  # coordinates that say where the body is, not how
    max_speed: float | None = None

    def __init__(self, env: Any, old: bool, noise: str = "uniform") -> None:
        super().__init__(env)
        self._old, self._noise = old, noise
        self._scale = env._reset_noise_scale
        self._weight = getattr(env, "_forward_reward_weight", 1.0)
        self._ctrl_weight = env._ctrl_cost_weight
        self._alive = getattr(env, "_healthy_reward", 0.0)
        self._terminates = getattr(env, "_terminate_when_unhealthy", False)
        if not env._exclude_current_positions_from_observation:
            self.skipped = 0

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        scale, nv = self._scale, self._qvel.size
        qpos = self._qpos + rng.uniform(-scale, scale, self._qpos.size)
        if self._noise == "uniform":
            return qpos, self._qvel + rng.uniform(-scale, scale, nv)
        return qpos, self._qvel + scale * rng.standard_normal(nv)

    def observe(self, fields: Fields) -> np.ndarray:
        qvel = fields["qvel"]
        if self.max_speed is not None:
            qvel = np.clip(qvel, -self.max_speed, self.max_speed)
        return np.concatenate((fields["qpos"][:, self.skipped :], qvel), axis=1)

    def track(self, fields: Fields) -> np.ndarray:
        return fields["qpos"][:, 0].copy()

    def evaluate(
        self, before: np.ndarray, fields: Fields, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        velocity = (self.track(fields) - before) / self._dt
        healthy = self._healthy(fields)
        paid = np.ones_like(healthy) if self._old and self._terminates else healthy
        reward = self._weight * velocity + paid * self._alive
        reward = reward - self._costs(fields, actions)
        return reward, ~healthy if self._terminates else np.zeros_like(healthy)

    def _healthy(self, fields: Fields) -> np.ndarray:
        return np.ones(len(fields["qpos"]), bool)

    def _costs(self, fields: Fields, actions: np.ndarray) -> np.ndarray:
        return self._ctrl_weight * np.sum(np.square(actions), axis=1)


class Swimmer(_Locomotion):
    """Swimmer-v4 and -v5."""

    skipped = 2


class Walker(_Locomotion):
    """Hopper and Walker2d: healthy within ranges of height, angle and state."""

    max_speed = 10.0

    def __init__(self, env: Any, old: bool) -> None:
        super().__init__(env, old)
        self._z_range = env._healthy_z_range
        self._angle_range = env._healthy_angle_range
        self._state_range = getattr(env, "_healthy_state_range", None)

    def _healthy(self, fields: Fields) -> np.ndarray:
        qpos = fields["qpos"]
        healthy = _inside(qpos[:, 1], self._z_range)
        healthy &= _inside(qpos[:, 2], self._angle_range)
        if self._state_range is not None:
            healthy &= _inside(qpos[:, 2:], self._state_range).all(axis=1)
            healthy &= _inside(fields["qvel"], self._state_range).all(axis=1)
        return healthy


class Ant(_Locomotion):
    """Ant: contact forces are observed and paid for if asked to (v4), or unless (v5).

    Args:
        env: As `Task`.
        old: v4, which observes the world body's forces too.
    """

    skipped = 2

    def __init__(self, env: Any, old: bool) -> None:
        super().__init__(env, old, "normal")
        name = "_use_contact_forces" if old else "_include_cfrc_ext_in_observation"
        self._observes = bool(getattr(env, name))
        self.post_constraint = self._observes or not old
        self.fields = (*self.fields, "xpos")
        if self.post_constraint:
            self.fields = (*self.fields, "cfrc_ext")
        self._force_range = env._contact_force_range
        self._force_weight = env._contact_cost_weight
        self._z_range = env._healthy_z_range
        self._body = env.data.body("torso" if old else env._main_body).id

    def _forces(self, fields: Fields) -> np.ndarray:
        return np.clip(fields["cfrc_ext"], *self._force_range)

    def observe(self, fields: Fields) -> np.ndarray:
        """Adds the contact forces, if they are observed."""
        obs = super().observe(fields)
        if not self._observes:
            return obs
        forces = self._forces(fields)[:, 0 if self._old else 1 :]
        return np.concatenate((obs, _flat(forces)), axis=1)

    def track(self, fields: Fields) -> np.ndarray:
        """Returns the torso's x, one substep behind the positions as in gymnasium."""
        return fields["xpos"][:, self._body, 0].copy()

    def _healthy(self, fields: Fields) -> np.ndarray:
        qpos, (low, high) = fields["qpos"], self._z_range
        finite = np.isfinite(qpos).all(axis=1) & np.isfinite(fields["qvel"]).all(axis=1)
        return finite & (low <= qpos[:, 2]) & (qpos[:, 2] <= high)

    def _costs(self, fields: Fields, actions: np.ndarray) -> np.ndarray:
        costs = super()._costs(fields, actions)
        if not self.post_constraint:
            return costs
        forces = np.sum(np.square(_flat(self._forces(fields))), axis=1)
        return costs + self._force_weight * forces


class Humanoid(_Locomotion):
    """Humanoid: inertia, velocities and forces of all bodies are observed."""

    skipped = 2
    post_constraint = True
    parts = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")

    def __init__(self, env: Any, old: bool) -> None:
        super().__init__(env, old)
        self.fields = (*self.fields, "ctrl", "xipos", *self.parts)
        self._mass = np.expand_dims(env.model.body_mass, 1)
        self._z_range = env._healthy_z_range
        # v5 leaves the world body and the root's six forces out.
        self._parts = [
            (name, 0 if old else 6 if name == "qfrc_actuator" else 1)
            for name in self.parts
            if old or getattr(env, f"_include_{name}_in_observation") is True
        ]
        if not old:
            self._force_weight = env._contact_cost_weight
            self._cost_range = env._contact_cost_range

    def observe(self, fields: Fields) -> np.ndarray:
        """Adds what is known of each body."""
        parts = [_flat(fields[name][:, start:]) for name, start in self._parts]
        return np.concatenate((super().observe(fields), *parts), axis=1)

    def track(self, fields: Fields) -> np.ndarray:
        """Returns x of the centre of mass, one substep behind as in gymnasium."""
        centre = np.sum(self._mass * fields["xipos"], axis=1) / np.sum(self._mass)
        return centre[:, 0]

    def _healthy(self, fields: Fields) -> np.ndarray:
        return _inside(fields["qpos"][:, 2], self._z_range)

    def _costs(self, fields: Fields, actions: np.ndarray) -> np.ndarray:
        costs = super()._costs(fields, fields["ctrl"])
        if self._old:
            return costs
        forces = np.sum(np.square(_flat(fields["cfrc_ext"])), axis=1)
        return costs + np.clip(self._force_weight * forces, *self._cost_range)


class InvertedDoublePendulum(Task):
    """Balancing two poles on a cart.

    Args:
        env: As `Task`.
        old: v4, which observes all constraint forces and pays in the last step too.
    """

    fields = ("qpos", "qvel", "qfrc_constraint", "site_xpos")

    def __init__(self, env: Any, old: bool) -> None:
        super().__init__(env)
        self._old = old
        self._scale = 0.1 if old else env._reset_noise_scale
        self._alive = 10 if old else env._healthy_reward

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Returns a first state near the upright one."""
        qpos = self._qpos + rng.uniform(-self._scale, self._scale, self._qpos.size)
        return qpos, self._qvel + rng.standard_normal(self._qvel.size) * self._scale

    def observe(self, fields: Fields) -> np.ndarray:
        """Returns place, angles, speeds and forces."""
        qpos, forces = fields["qpos"], np.clip(fields["qfrc_constraint"], -10, 10)
        parts = (
            qpos[:, :1],
            np.sin(qpos[:, 1:]),
            np.cos(qpos[:, 1:]),
            np.clip(fields["qvel"], -10, 10),
            forces if self._old else forces[:, :1],
        )
        return np.concatenate(parts, axis=1)

    def evaluate(
        self, before: np.ndarray, fields: Fields, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """10 - distance of the tip - speed; ends when the tip is low."""
        x, y = fields["site_xpos"][:, 0, 0], fields["site_xpos"][:, 0, 2]
        v1, v2 = fields["qvel"][:, 1], fields["qvel"][:, 2]
        terminated = y <= 1
        paid = np.ones_like(terminated) if self._old else ~terminated
        distance = 0.01 * x**2 + (y - 2) ** 2
        speed = 1e-3 * v1**2 + 5e-3 * v2**2
        return self._alive * paid - distance - speed, terminated


class Pusher(Task):
    """Pusher-v5: an arm moves a cylinder to a goal. It never terminates."""

    fields = ("qpos", "qvel", "xpos")
    min_distance = 0.17  # of the cylinder from the goal, in metres

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        bodies = ("tips_arm", "object", "goal")
        self._bodies = [env.data.body(name).id for name in bodies]
        self._near_weight = env._reward_near_weight
        self._dist_weight = env._reward_dist_weight
        self._ctrl_weight = env._reward_control_weight

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Returns a first state with the cylinder off the goal."""
        place = np.zeros(2)
        while np.linalg.norm(place) <= self.min_distance:
            place[0], place[1] = rng.uniform(-0.3, 0), rng.uniform(-0.2, 0.2)
        qpos = self._qpos.copy()
        qpos[-4:-2], qpos[-2:] = place, 0
        qvel = self._qvel + rng.uniform(-0.005, 0.005, self._qvel.size)
        qvel[-4:] = 0
        return qpos, qvel

    def observe(self, fields: Fields) -> np.ndarray:
        """Returns the arm's angles and speeds, then tip, cylinder and goal."""
        bodies = _flat(fields["xpos"][:, self._bodies])
        parts = (fields["qpos"][:, :7], fields["qvel"][:, :7], bodies)
        return np.concatenate(parts, axis=1)

    def evaluate(
        self, before: np.ndarray, fields: Fields, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """-(distance to the goal + effort + distance of the tip)."""
        tip, cylinder, goal = (fields["xpos"][:, body] for body in self._bodies)
        near = -_norm(cylinder - tip) * self._near_weight
        dist = -_norm(cylinder - goal) * self._dist_weight
        effort = -np.square(actions).sum(axis=1) * self._ctrl_weight
        return dist + effort + near, np.zeros(len(near), bool)


_ROOT = "gymnasium.envs.mujoco."
_TASKS: dict[str, Callable[[Any], Task]] = {
    "hopper_v4": partial(Walker, old=True),
    "hopper_v5": partial(Walker, old=False),
    "walker2d_v4": partial(Walker, old=True),
    "walker2d_v5": partial(Walker, old=False),
    "half_cheetah_v4": partial(_Locomotion, old=True, noise="normal"),
    "half_cheetah_v5": partial(_Locomotion, old=False, noise="normal"),
    "ant_v4": partial(Ant, old=True),
    "ant_v5": partial(Ant, old=False),
    "humanoid_v4": partial(Humanoid, old=True),
    "humanoid_v5": partial(Humanoid, old=False),
    "swimmer_v4": partial(Swimmer, old=True),
    "swimmer_v5": partial(Swimmer, old=False),
    "inverted_double_pendulum_v4": partial(InvertedDoublePendulum, old=True),
    "inverted_double_pendulum_v5": partial(InvertedDoublePendulum, old=False),
    "pusher_v5": Pusher,  # gymnasium refuses v4 with this MuJoCo
}
"""Module of gymnasium -> the task of the environment in it."""


def has_task(id: str) -> bool:
    """Returns whether an id of gymnasium is one of these tasks; makes nothing."""
    known = gymnasium.registry.get(id)
    return known is not None and str(known.entry_point).split(":")[0] in _MODULES


def find_task(env: Any) -> Task | None:
    """Returns the task of an environment without wrappers; None if there is none.

    A user's subclass has none, because it may do anything else.
    """
    make = _MODULES.get(type(env).__module__)
    return None if make is None else make(env)


_MODULES = {f"{_ROOT}{name}": make for name, make in _TASKS.items()}


def _inside(values: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """Whether values lie strictly between two bounds."""
    return (bounds[0] < values) & (values < bounds[1])


def _flat(values: np.ndarray) -> np.ndarray:
    """(n, ...) as (n, size), contiguous."""
    return np.ascontiguousarray(values).reshape(len(values), -1)


def _norm(vectors: np.ndarray) -> np.ndarray:
    """Length of each row, by the dot product that `np.linalg.norm` uses for one."""
    return np.sqrt(np.vecdot(vectors, vectors))
