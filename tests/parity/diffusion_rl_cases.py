"""Adapter of the baselines on diffusion policies, dialect with model, call and alias.

A method's arguments are the recorded inputs in the order that `meta["method"]` gives,
or by name. Besides the result, cases hold what it was made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tests.parity import objective_cases
from tests.parity.build import (
    as_tensors,
    call_with_gradients,
    differentiated_variables,
    execute,
    recorded_choices,
)
from tests.parity.case import Case
from util.torch_to_tf import torch_nn_utils_clip_grad_norm_

Produced = dict[str, np.ndarray]
Values = dict[str, Any]

RECORDED_AS = {"guided_actions": "actions"}


def replay(case: Case, mode: str) -> Produced:
    """Computes the recorded results of a case."""
    method, names = re.match(r"([\w.]+)(?:\((.*)\))?", case.meta["method"]).groups()
    if method.startswith("update"):
        return objective_cases.replay(case, mode)
    if method.endswith("Agent.run"):
        return _action_gradient(case, mode)
    model = objective_cases.make(case)
    values = as_tensors(case.inputs()) | (case.meta.get("call") or {})
    arguments = dict(values)
    if "forward" in method:
        arguments["cond"] = arguments.pop("obs")
    weights = arguments.pop("w", None)
    order = [RECORDED_AS.get(n, n) for n in names.split(", ")] if names else []
    given = [arguments.pop(name) for name in order]
    if case.noise:
        arguments["noise"] = [tf.constant(draw) for draw in case.noise]

    def call() -> Values:
        with recorded_choices() as choices:
            result = getattr(model, method)(*given, **arguments)
        made_of = {key: EXTRAS[key](model, values) for key in _extra_keys(case)}
        if "forward" not in method:
            return {"loss": result, **made_of}
        if weights is not None:
            made_of["loss"] = tf.reduce_sum(result * weights)
        if "num_sample" in values:
            made_of |= _choice(case, model, values)
        return {"actions": result, **choices, **made_of}

    return call_with_gradients(
        call,
        (lambda outputs: outputs["loss"]) if case.meta.get("loss") else None,
        differentiated_variables(case, model),
        {},
        mode,
    )


EXTRAS: dict[str, Callable[[Any, Values], Any]] = {
    "critic": lambda model, v: model.critic(v["obs"]),
    "q1": lambda model, v: model.q_values(v["obs"], v["actions"])[0],
    "q2": lambda model, v: model.q_values(v["obs"], v["actions"])[1],
    "adv": lambda model, v: model.compute_advantages(v["obs"], v["actions"]),
}


def _extra_keys(case: Case) -> list[str]:
    return [key for key in case.under("out/") if key in EXTRAS]


def _choice(case: Case, model: Any, values: Values) -> Values:
    """Samples of which one was chosen, and their values."""
    obs, count = values["obs"], values["num_sample"]
    noise = [tf.constant(draw) for draw in case.noise]
    samples = model.candidates(obs, count, values["deterministic"], noise)
    return {
        "samples": samples,
        "cond_repeat": tf.tile(obs["state"], [count, 1, 1]),
        "q_min": model.score(obs, samples),
        "v": tf.repeat(model.value(obs)[None], count, axis=0),
    }


def _action_gradient(case: Case, mode: str) -> Produced:
    """DIPO's steps on actions, one more in each passage, and what each is made of."""
    model, call = objective_cases.make(case), case.meta["call"]
    values = as_tensors(case.inputs())
    obs, actions = values["obs"], values["actions"]
    rate, limit = call["action_lr"], call["action_grad_norm"]

    def passage(before: tf.Tensor, count: int) -> Values:
        gradient = model.descent(obs, before)
        (clipped,), norm = torch_nn_utils_clip_grad_norm_([gradient], limit)
        return {
            "loss": -tf.reduce_sum(tf.minimum(*model.q_values(obs, before))),
            "grad_raw": _flat(gradient),
            "grad_norm": norm,
            "grad_clipped": _flat(clipped),
            "actions": model.guide_actions(obs, actions, rate, count, limit),
        }

    produced, before = {}, actions
    for number in range(call["action_gradient_steps"]):
        found = execute(lambda b=before, n=number: passage(b, n + 1), mode)
        before = found.pop("actions")
        found["actions"] = _flat(before)
        produced |= {f"out/step{number}/{k}": np.asarray(v) for k, v in found.items()}
    return produced | {"out/guided_action": np.asarray(before)}


def _flat(actions: tf.Tensor) -> tf.Tensor:
    return tf.reshape(actions, [actions.shape[0], -1])
