"""Which environment a name in a config means.

The reference has no such file: D4RL registers its names with gym. D4RL cannot be
installed any more; gymnasium's v4 environments have the rewards and physics of its v2.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from env.gym_utils.wrapper.clip_action import ClipAction

_D4RL_TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "hopper": ("Hopper-v4", {}),
    "walker2d": ("Walker2d-v4", {}),
    "halfcheetah": ("HalfCheetah-v4", {}),
    "ant": ("Ant-v4", {"use_contact_forces": True}),  # 111 observations, as in v2
}
_D4RL_QUALITIES = (
    "random",
    "medium",
    "expert",
    "medium-replay",
    "medium-expert",
    "full-replay",
)
_D4RL_NAME = re.compile(
    f"({'|'.join(_D4RL_TASKS)})-({'|'.join(_D4RL_QUALITIES)})-v[0-2]"
)


_OLD_MUJOCO = re.compile(r"(\w+)-v[23]")


@dataclass(frozen=True)
class EnvName:
    """A gymnasium environment.

    Attributes:
        id: Of gymnasium's registry.
        kwargs: Arguments of `gymnasium.make` that the name implies.
        clips_actions: Whether it takes actions outside its bounds as the bounds.
    """

    id: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    clips_actions: bool = False

    def make(self, **kwargs: Any) -> gymnasium.Env:
        """Returns a new environment; `kwargs` go to `gymnasium.make`."""
        # By its entry, because by name gymnasium warns that v4 is out of date.
        known = gymnasium.registry.get(self.id, self.id)
        options = {"disable_env_checker": True} | dict(self.kwargs) | kwargs
        env = gymnasium.make(known, **options)
        return ClipAction(env) if self.clips_actions else env


def find_env(name: str) -> EnvName:
    """Returns what a D4RL name or a gymnasium id stands for.

    D4RL's locomotion names (`hopper-medium-v2`) are v4 environments with clipped
    actions. Other ids go through unchanged, also `module:Id-v0`.

    Raises:
        ValueError: There is no such environment; names the nearest ones.
    """
    if match := _D4RL_NAME.fullmatch(name):
        gymnasium_id, kwargs = _D4RL_TASKS[match[1]]
        return EnvName(gymnasium_id, kwargs, clips_actions=True)
    _refuse_old_mujoco(name)
    versions = [key for key in gymnasium.registry if key.startswith(f"{name}-v")]
    if ":" in name or name in gymnasium.registry or versions:
        return EnvName(name)
    d4rl = [f"{task}-{kind}-v2" for task in _D4RL_TASKS for kind in _D4RL_QUALITIES]
    known = {key.lower(): key for key in [*gymnasium.registry, *d4rl]}
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.0)
    raise ValueError(
        f"env.name={name!r} is not known; the nearest are "
        f"{', '.join(known[key] for key in near)}."
    )


def _refuse_old_mujoco(name: str) -> None:
    """Refuses ids that gymnasium lists but cannot make."""
    match = _OLD_MUJOCO.fullmatch(name)
    successor = gymnasium.registry.get(f"{match[1]}-v4") if match else None
    if successor is not None and "mujoco" in str(successor.entry_point):
        raise ValueError(
            f"env.name={name!r} is no longer part of gymnasium; {successor.id} has "
            "the reward and physics of v2."
        )
