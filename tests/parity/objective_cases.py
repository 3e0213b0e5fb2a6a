"""Adapter of model methods in the dialect with model, call, alias and loss.

Areas rollout, diffusion_rl and gaussian_rl. How a method's results are named follows
from its name; nothing depends on the name of a case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tests.parity import ensemble_cases
from tests.parity.build import (
    PendingError,
    as_tensors,
    build_model,
    call_with_gradients,
    execute,
    load_parameters,
    named_variables,
    recorded_choices,
    replayed_masks,
    split_noise,
)
from tests.parity.case import Case
from tests.parity.model_cases import method_of, name_results

Produced = dict[str, np.ndarray]

PPO_RESULTS = [
    "pg_loss",
    "entropy_loss",
    "v_loss",
    "clipfrac",
    "approx_kl",
    "ratio",
    "bc_loss",
    "eta_or_std",
]
# Arguments that were recorded under other names.
ARGUMENTS = {"weights": "reward_weights", "td": "advantages"}
LOSS_WEIGHTS = {
    "entropy_loss": "ent_coef",
    "v_loss": "vf_coef",
    "bc_loss": "bc_loss_coeff",
}


def replay(case: Case, mode: str) -> Produced:
    """Computes the recorded results of a case.

    Raises:
        PendingError: The handling of the method comes with a later issue.
    """
    method = case.meta["method"].split("(")[0].strip()
    handler = METHODS.get(method)
    if handler is None:
        raise PendingError(f"method {method!r} of {case.meta['class']}")
    return handler(case, method, mode)


def make(case: Case) -> Any:
    """The model of a case with the recorded parameters, in training mode."""
    model = build_model(case.meta["model"])
    load_parameters(model, case)
    return model.train()


def _arguments(case: Case, model: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Keyword arguments of the recorded call, and dropout masks."""
    given = as_tensors(case.inputs()) | (case.meta.get("call") or {})
    arguments = {ARGUMENTS.get(key, key): value for key, value in given.items()}
    arguments.pop("len_is_batch", None)  # how a crash was kept away when recording
    noise, masks = split_noise(case, model)
    if noise:
        arguments["noise"] = noise
    return arguments, masks


def _differentiate(
    case: Case,
    model: Any,
    call: Callable[[], dict[str, Any]],
    mode: str,
    masks: list[np.ndarray],
    extra: Mapping[str, Any] | None = None,
) -> Produced:
    """Outputs of a call and gradients of the output that `meta["loss"]` names."""

    def run() -> dict[str, Any]:
        with replayed_masks(masks):
            return call()

    name = case.meta.get("loss")
    loss_of = None if name is None else lambda outputs: outputs[name]
    variables = {**named_variables(model), **(extra or {})}
    if case.meta.get("alias"):
        variables = {k: v for k, v in variables.items() if not _is_alias(case, k)}
    return call_with_gradients(run, loss_of, variables, {}, mode)


def _is_alias(case: Case, key: str) -> bool:
    """Whether the key's tensor is recorded under another prefix only."""
    return key.startswith(tuple(case.meta["alias"]))


def _ppo_loss(case: Case, method: str, mode: str) -> Produced:
    """All results of a PPO loss, and the weighted sum that is differentiated."""
    model = make(case)
    arguments, masks = _arguments(case, model)
    weights = {name: arguments.pop(key, 0.0) for name, key in LOSS_WEIGHTS.items()}

    def call() -> dict[str, Any]:
        found = name_results(PPO_RESULTS, model.loss(**arguments))
        parts = [
            weight * tf.cast(found[name], tf.float32)
            for name, weight in weights.items()
        ]
        return {**found, "loss": found["pg_loss"] + tf.add_n(parts)}

    return _differentiate(case, model, call, mode, masks)


def _loss(case: Case, method: str, mode: str) -> Produced:
    """A loss that is one number; PPO's has eight results."""
    if "vf_coef" in (case.meta.get("call") or {}):
        return _ppo_loss(case, method, mode)
    model = make(case)
    arguments, masks = _arguments(case, model)

    def call() -> dict[str, Any]:
        return name_results(["loss"], getattr(model, method)(**arguments))

    return _differentiate(case, model, call, mode, masks)


def _temperature(case: Case, method: str, mode: str) -> Produced:
    """The loss as a function of log_alpha, a float64 number."""
    model = make(case)
    arguments, masks = _arguments(case, model)
    log_alpha = tf.Variable(np.log(arguments.pop("alpha")), dtype=tf.float64)

    def call() -> dict[str, Any]:
        loss = getattr(model, method)(alpha=tf.exp(log_alpha), **arguments)
        return {"loss": loss, "log_alpha": tf.identity(log_alpha)}

    return _differentiate(case, model, call, mode, masks, {"log_alpha": log_alpha})


def _forward(case: Case, method: str, mode: str) -> Produced:
    """Sampling: actions, and what comes with them."""
    model = make(case)
    arguments, masks = _arguments(case, model)
    if "obs" in arguments:
        arguments["cond"] = arguments.pop("obs")
    sample = method_of(model, method)

    def call() -> dict[str, Any]:
        with recorded_choices() as choices:
            result = sample(**arguments)
        if hasattr(result, "trajectories"):
            values = {"trajectories": result.trajectories, "chains": result.chains}
            return {**values, "actions": result.trajectories}
        return name_results(["actions", "logprob"], result) | choices

    return _differentiate(case, model, call, mode, masks)


def _update(case: Case, method: str, mode: str) -> Produced:
    """Target updates: the parameters afterwards."""
    model = make(case)

    def call() -> None:
        for name in case.meta["method"].split(","):
            getattr(model, name.strip())(**case.meta["call"])

    execute(call, mode)
    return {
        f"out/param_after/{key}": value for key, value in model.state_dict().items()
    }


METHODS: dict[str, Callable[[Case, str, str], Produced]] = {
    "loss": _loss,
    "loss_actor": _loss,
    "loss_critic": _loss,
    "loss_critic_q": _loss,
    "loss_critic_v": _loss,
    "loss_temperature": _temperature,
    "forward": _forward,
    "forward_train": _forward,
    "update_target_critic": _update,
    "update_target_critic, update_target_actor": _update,
    "__init__": ensemble_cases.initial,
}
