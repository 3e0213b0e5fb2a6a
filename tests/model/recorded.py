"""What was recorded of the reference's networks: entries of their state, fresh values.

The files lie with the parity cases: `state_dict_shapes.json` has every network of its
configs, `init_stats.json` statistics of four fresh networks of each class.
"""

import json
from functools import cache
from typing import Any

import numpy as np

from tests.model.fakes import count_parameters
from tests.parity.case import HERE
from util.config import instantiate
from util.torch_to_tf import nn_Module, torch_manual_seed

# How far samples may lie from what is expected of them. Extremes tell a normal from a
# uniform distribution if there are enough.
SIGMAS, SAMPLES, EXTREMES = 6.0, 2000, 0.45


@cache
def _read(name: str) -> Any:
    return json.loads((HERE / "networks" / f"{name}.json").read_text())


def recorded_networks(target: str) -> list[dict[str, Any]]:
    """Networks of a class that configs of the reference have."""
    networks = _read("state_dict_shapes")["networks"]
    return [entry for entry in networks if entry["class"] == target]


def recorded_initials(target: str) -> dict[str, Any]:
    """Statistics of fresh networks of a class."""
    (entry,) = (e for e in _read("init_stats")["classes"] if e["class"] == target)
    return entry


def make_network(entry: dict[str, Any]) -> nn_Module:
    """A network with the arguments of an entry."""
    return instantiate({"_target_": entry["class"], **entry["kwargs"]})


def assert_state_as_recorded(entry: dict[str, Any]) -> None:
    """Keys, their order, shapes and the number of parameters agree."""
    module = make_network(entry)
    state = {key: list(value.shape) for key, value in module.state_dict().items()}
    assert list(state.items()) == list(entry["state_dict"].items())
    assert count_parameters(module) == entry["n_params"]


def assert_initials_as_recorded(entry: dict[str, Any]) -> None:
    """Mean, deviation and extremes of four fresh networks are those recorded."""
    torch_manual_seed(0)
    states = [make_network(entry).state_dict() for _ in range(4)]
    for key, theirs in entry["params"].items():
        values = np.stack([state[key] for state in states]).astype(np.float64)
        count, std = values.size, theirs["std"]
        # Both sides are samples.
        error = SIGMAS * std * np.sqrt(2.0 / count) + 1e-6
        assert abs(values.mean() - theirs["mean"]) <= error, key
        assert abs(values.std() - std) <= error, key
        if count > SAMPLES:
            for name in ("min", "max"):
                found, expected = getattr(values, name)(), theirs[name]
                assert abs(found - expected) <= EXTREMES * abs(expected), key
