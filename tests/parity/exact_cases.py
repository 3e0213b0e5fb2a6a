"""Adapter of the exact likelihood and of the equation behind it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tests.parity.build import (
    as_tensors,
    build_model,
    call_with_gradients,
    differentiated_variables,
    execute,
    load_parameters,
)
from tests.parity.case import Case

Produced = dict[str, np.ndarray]
POINTS = 10


def likelihood(case: Case, mode: str) -> Produced:
    """Log-likelihoods with their gradient, and the path of the flow.

    The reference reads the path at ten times; between the solver's it interpolates.
    """
    model = build_model({"_target_": case.meta["class"], **case.meta["kwargs"]})
    load_parameters(model, case)
    inputs = as_tensors(case.inputs())
    noise = [tf.constant(draw) for draw in case.noise]
    flow, steps = model.likelihood, model.denoising_steps
    times = flow.times(steps)
    wanted = np.linspace(flow.eps, 1.0, POINTS, dtype=np.float32)

    def call() -> dict[str, Any]:
        logprob = model.get_exact_logprobs(**inputs, noise=noise)
        x, change = flow.path(
            (model.actor, model.actor_ft),
            inputs["samples"],
            (steps, model.ft_denoising_steps),
            inputs["cond"],
            model.draws(noise),
        )
        flat = tf.reshape(x, [*x.shape[:2], -1])
        return {
            "logprob": logprob,
            "path": tf.concat([flat, change[..., None]], axis=-1),
            "grad_loss": tf.reduce_sum(logprob**2),
        }

    produced = call_with_gradients(
        call,
        lambda outputs: outputs["grad_loss"],
        differentiated_variables(case, model),
        {},
        mode,
    )
    path = produced.pop("out/path")
    at = np.clip(np.searchsorted(times, wanted) - 1, 0, len(times) - 2)
    share = ((wanted - times[at]) / (times[at + 1] - times[at]))[:, None, None]
    return {
        **produced,
        "out/ode_solution": path[at] + share * (path[at + 1] - path[at]),
        "out/ode_t_eval": wanted,
        "out/ode_eval_times": times[:-1],
    }


def equation(case: Case, mode: str) -> Produced:
    """Tables, drifts and scores of a `VPSDE` with a network as the model."""
    from model.diffusion.sde_lib import VPSDE, get_score_fn

    network = build_model({"_target_": case.meta["class"], **case.meta["kwargs"]})
    load_parameters(network, case)
    inputs, sde = as_tensors(case.inputs()), VPSDE(case.meta["args"]["N"])
    sde.set_betas(case.arrays["in/betas"], case.meta["args"]["min_beta"])
    x, t, cond = inputs["x"], inputs["t"], inputs["cond"]
    score, score_x0 = (get_score_fn(sde, network, known) for known in (True, False))
    flow = sde.reverse(score, probability_flow=True)
    reverse = sde.reverse(score, probability_flow=False)

    def call() -> dict[str, Any]:
        pairs: dict[str, tuple[Any, Any]] = {
            "sde": sde.sde(x, t),
            "reverse_pf": flow.sde(x, t, cond=cond),
            "reverse_sde": reverse.sde(x, t, cond=cond),
        }
        f, g = sde.discretize(x, inputs["t_cont"])
        return {
            **{f"{name}_drift": drift for name, (drift, _) in pairs.items()},
            **{f"{name}_diffusion": tf.identity(d) for name, (_, d) in pairs.items()},
            "discretize_f": f,
            "discretize_G": g,
            "prior_logp": sde.prior_logp(inputs["z"]),
            "score_eps": score(x, t, cond=cond),
            "score_x0": score_x0(x, t, cond=cond),
        }

    tables = ("discrete_betas", "alphas", "sqrt_alphas", "alphas_bar")
    attributes = {name: getattr(sde, name) for name in (*tables, "sqrt_1m_alpha_bar")}
    found = {**execute(call, mode), **attributes, "T": np.float32(sde.T)}
    return {f"out/{name}": np.asarray(value) for name, value in found.items()}


OPS: dict[str, Callable[[Case, str], Produced]] = {
    "exact_logprob": likelihood,
    "sde_quant": equation,
}
