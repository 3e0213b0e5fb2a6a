"""Replays recorded cases of `util`: schedules, reward scaling, explained variance."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from util.compat import reference
from util.reward_scaling import RunningRewardScaler
from util.scheduler import CosineAnnealingWarmupRestarts
from util.stats import explained_variance

Arrays = Mapping[str, np.ndarray]


def replay(meta: Mapping[str, Any], arrays: Arrays) -> dict[str, np.ndarray]:
    """Computes `out/...` of a case with this project's code.

    Args:
        meta: The case's `meta`.
        arrays: The case's arrays, of which `in/...` is read.

    Raises:
        KeyError: If the case is of another area; see `can_replay`.
    """
    with reference():
        out = _REPLAYS[_key(meta)](meta, arrays)
    return {f"out/{name}": np.asarray(value) for name, value in out.items()}


def can_replay(meta: Mapping[str, Any]) -> bool:
    """Whether `replay` knows the class, or method of a recorded block, of a case."""
    return _key(meta) in _REPLAYS


def _key(meta: Mapping[str, Any]) -> str:
    """The class's name; of a block of an agent's `run`, what the block computes."""
    if "(block" in meta["class"]:
        return meta["method"]
    return meta["class"].rpartition(".")[2]


def _arguments(kind: Callable, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are parameters of a constructor."""
    return {k: v for k, v in options.items() if k in inspect.signature(kind).parameters}


class _Optimizer:
    """What a schedule needs of an optimizer."""

    lr = 0.0


def _replay_scheduler(meta: Mapping[str, Any], _: Arrays) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for index, options in enumerate(meta["sets"]):
        arguments = _arguments(CosineAnnealingWarmupRestarts, options)
        optimizer = _Optimizer()
        scheduler = CosineAnnealingWarmupRestarts(optimizer, **arguments)
        rates, states = [optimizer.lr], [_position(scheduler)]
        for epoch in options.get("explicit_epochs", [None] * meta["n_steps"]):
            scheduler.step(epoch)
            rates.append(optimizer.lr)
            states.append(_position(scheduler))
        out[f"lr/{index}"] = np.array(rates)
        out[f"state/{index}"] = np.array(states, np.int64)
    return out


def _position(scheduler: CosineAnnealingWarmupRestarts) -> list[float]:
    state = scheduler.get_state()
    names = ("step_in_cycle", "cycle", "cur_cycle_steps", "last_epoch")
    return [state[name] for name in names]


def _replay_reward_scaler(meta: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    options = {**meta.get("kwargs", {}), **meta.get("call", {})}
    arguments = _arguments(RunningRewardScaler, options)
    arguments.setdefault("num_envs", len(arrays["in/reward/0"]))
    scaler, out = RunningRewardScaler(**arguments), {}
    for call in range(sum(name.startswith("in/reward/") for name in arrays)):
        scaled = scaler(arrays[f"in/reward/{call}"], arrays[f"in/first/{call}"])
        state = scaler.get_state()
        results = {"scaled": scaled, "ret": state["ret"], **state["ret_rms"]}
        out |= {f"{name}/{call}": value for name, value in results.items()}
    return out


def _replay_explained_variance(_: Mapping[str, Any], arrays: Arrays) -> dict[str, Any]:
    return {
        "explained_var": explained_variance(arrays["in/values"], arrays["in/returns"])
    }


_REPLAYS: dict[str, Callable[[Mapping[str, Any], Arrays], dict[str, Any]]] = {
    "CosineAnnealingWarmupRestarts": _replay_scheduler,
    "RunningRewardScaler": _replay_reward_scaler,
    "explained variance": _replay_explained_variance,
}
