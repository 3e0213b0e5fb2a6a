"""Adapter of what was recorded of ensembles of critics themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from model.common.ensemble import EnsembleCritics
from tests.parity.build import as_tensors, build_model, call_with_gradients
from tests.parity.case import Case

Produced = dict[str, np.ndarray]


def values(case: Case, model: EnsembleCritics, mode: str) -> Produced:
    """Values under trained critics that are equal to the saved ones, and targets."""
    model.trained_critics.load_state_dict(model.critic_networks.state_dict())
    inputs = as_tensors(case.inputs())

    def call() -> dict[str, Any]:
        ensembles = {
            "ensemble_q": model.trained_critics,
            "critic_networks_q": model.critic_networks,
            "target_networks_q": model.target_networks,
        }
        return {
            key: q(inputs["obs"], inputs["actions"]) for key, q in ensembles.items()
        }

    return call_with_gradients(call, None, {}, {}, mode)


def initial(case: Case, method: str, mode: str) -> Produced:
    """Whether fresh members are equal, and what the state dict has of trained ones."""
    model = build_model(case.meta["model"])
    before = model.state_dict()
    for parameter in model.ensemble_params.values():
        parameter.assign(parameter + 1.0)
    after = model.state_dict()
    shared = any(not np.array_equal(before[key], after[key]) for key in before)
    return {
        "out/max_abs_difference_between_members": np.float32(_spread(model)),
        "out/ensemble_params_share_memory_with_state_dict": np.array(shared),
        "out/ensemble_params_in_state_dict": np.array(
            any(key.startswith("ensemble_params") for key in before)
        ),
    }


def _spread(model: EnsembleCritics) -> float:
    """Largest difference between a member and the first one."""
    stacked = [p.numpy() for p in model.critic_networks.parameters()]
    return max(float(np.abs(value - value[:1]).max()) for value in stacked)
