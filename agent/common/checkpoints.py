"""When and where a run saves, and how it continues.

`checkpoint/state_<n>` holds networks and everything a resumed run needs except a
replay buffer; `checkpoint/last` is rewritten as the run goes on and has all of it, for
which the rows of a buffer are in `checkpoint/buffer` beside it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from omegaconf import DictConfig

from agent.common.rollout import NonFiniteError
from util.checkpoint import StateRegistry, is_complete, load_state, save_state
from util.config import digest
from util.torch_to_tf import nn_Module

logger = logging.getLogger(__name__)

NETWORKS = ("model", "ema")
ONLY_IN_LAST = ("buffer",)


def buffer_folder(cfg: DictConfig) -> Path:
    """Where a run keeps the rows of its buffer."""
    return Path(cfg.logdir) / "checkpoint" / "buffer"


class RunCheckpoints:
    """Saves named objects of one run.

    Args:
        cfg: Experiment; `resume` continues from `<logdir>/checkpoint/last`.
        registry: Everything to be saved. Entries called "model" and "ema" hold state
            dicts, which evaluation and fine-tuning read.
        meta: Returns what the manifest says about the state.
    """

    def __init__(
        self,
        cfg: DictConfig,
        registry: StateRegistry,
        meta: Callable[[], Mapping[str, Any]],
    ) -> None:
        self.cfg, self.registry, self.meta = cfg, registry, meta
        self.folder = Path(cfg.logdir) / "checkpoint"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._last_saved = time.monotonic()

    @property
    def last(self) -> Path:
        """The rolling checkpoint."""
        return self.folder / "last"

    def save(self, number: int) -> Path:
        """Writes `state_<number>`."""
        return self._write(self.folder / f"state_{number}", without=ONLY_IN_LAST)

    def save_last(self, minutes: float = 0.0, force: bool = False) -> None:
        """Rewrites `last` if `minutes` have passed since it was written."""
        if force or time.monotonic() - self._last_saved >= 60.0 * minutes:
            self._write(self.last)
            self.registry.settle()
            self._last_saved = time.monotonic()

    def save_aside(self, name: str) -> str:
        """Writes the present state under another name, for a look at a failure.

        Returns:
            Where it is, and which good one there is to continue from.
        """
        folder = self._write(self.folder / name, without=ONLY_IN_LAST, aside=True)
        if not is_complete(self.last):
            return f"The state is in {folder}; no good one was saved before."
        return (
            f"The state is in {folder}; the last good one, which "
            f"resume={self.cfg.logdir} continues, is {self.last}."
        )

    def _refuse_nan(self, networks: Mapping[str, Mapping[str, np.ndarray]]) -> None:
        """A good checkpoint is never replaced by one that holds NaN."""
        for name, weights in networks.items():
            for key, value in weights.items():
                if np.isnan(value).any():
                    raise NonFiniteError(
                        f"{key} of {name} is NaN, so no checkpoint was written. The "
                        f"last good one is {self.last}."
                    )

    def _write(
        self, folder: Path, without: tuple[str, ...] = (), aside: bool = False
    ) -> Path:
        state = self.registry.get_state(without)
        networks = {name: state.pop(name) for name in NETWORKS if name in state}
        if not aside:
            self._refuse_nan(networks)
        meta = {**self.meta(), "digest": digest(self.cfg), "seed": self.cfg.seed}
        save_state(folder, {**networks, "run": state}, meta)
        return folder

    def resume(self) -> bool:
        """Continues from `last` if the config says so.

        Returns:
            Whether there was something to continue from.
        """
        if not self.cfg.get("resume"):
            return False
        try:
            state, meta = load_state(self.last)
        except FileNotFoundError:
            logger.warning("nothing to resume in %s: starting anew.", self.folder)
            return False
        if meta["seed"] != self.cfg.seed:
            raise ValueError(
                f"seed must be {meta['seed']} to resume {self.last}, "
                f"got {self.cfg.seed}."
            )
        self.registry.set_state({**state.pop("run"), **state})
        logger.warning("resumed %s (%s).", self.last, _describe(meta))
        return True


class ModuleState:
    """A module's state dict as registry state."""

    def __init__(self, module: nn_Module) -> None:
        self.module = module

    def get_state(self) -> dict[str, np.ndarray]:
        """The state dict."""
        return self.module.state_dict()

    def set_state(self, state: Mapping[str, np.ndarray]) -> None:
        """Loads the state dict."""
        self.module.load_state_dict(state)


class AttributeState:
    """Named attributes of an object as registry state.

    Args:
        owner: The object.
        *names: Attributes holding numbers, flags or arrays.
    """

    def __init__(self, owner: Any, *names: str) -> None:
        self.owner, self.names = owner, names

    def get_state(self) -> dict[str, Any]:
        """The attributes by name; of variables, their values."""
        values = {name: getattr(self.owner, name) for name in self.names}
        return {k: _value(v) for k, v in values.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Sets the attributes; variables are assigned in place."""
        for name in self.names:
            current = getattr(self.owner, name)
            if isinstance(current, tf.Variable):
                current.assign(state[name])
            else:
                setattr(self.owner, name, state[name])


def _value(value: Any) -> Any:
    return value.numpy() if isinstance(value, tf.Variable) else value


def _describe(meta: Mapping[str, Any]) -> str:
    return ", ".join(f"{k} {meta[k]}" for k in ("itr", "epoch") if k in meta)
