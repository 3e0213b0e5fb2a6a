"""Adapter of the dialect with class, kwargs, method, args and op.

Areas networks, diffusion, gaussian and checkpoint. What to call follows from `op` and
`method`; nothing depends on the name of a case.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from tests.parity import checkpoint_cases, ensemble_cases, exact_cases
from tests.parity.build import (
    PendingError,
    as_tensors,
    build_model,
    call_with_gradients,
    differentiated_variables,
    load_parameters,
    replayed_masks,
    split_noise,
)
from tests.parity.case import Case, summarise_array
from util.torch_file import save_torch_file
from util.torch_to_tf.distributions import normal_entropy, normal_log_prob

Produced = dict[str, np.ndarray]


def replay(case: Case, mode: str) -> Produced:
    """Computes the recorded results of a case.

    Raises:
        PendingError: The handling of the op comes with a later issue.
    """
    handler = OPS.get(case.meta["op"])
    if handler is None:
        raise PendingError(f"op {case.meta['op']!r} of {case.meta['class']}")
    return handler(case, mode)


# -- construction ----------------------------------------------------------------------


def make(case: Case) -> Any:
    """The model of a case with the recorded parameters."""
    config = {"_target_": case.meta["class"], **case.meta["kwargs"]}
    if case.meta.get("build") == "from_checkpoint":
        with tempfile.TemporaryDirectory() as folder:
            path = write_checkpoint(case, Path(folder))
            model = build_model({**config, "network_path": str(path)})
    else:
        model = build_model(config)
        load_parameters(model, case)
    _check_digest(case, model)
    return model.train(case.meta.get("mode") == "train")


def write_checkpoint(case: Case, folder: Path) -> Path:
    """The recorded parameters as a file in the reference's format."""
    content: dict[str, Any] = {"itr": 0, "model": case.parameters()}
    average = case.under("ema/")
    if average:
        content = {"epoch": 0, "model": case.parameters(), "ema": average}
    path = folder / "state_0.pt"
    save_torch_file(content, path)
    return path


def _check_digest(case: Case, model: Any) -> None:
    """Regenerated parameters must be those that were used."""
    rows = case.arrays.get("paramsum")
    if rows is None:
        return
    state = model.state_dict()
    for key, row in zip(case.meta["paramsum_keys"], rows, strict=True):
        got = summarise_array(state[key])
        if not np.allclose(row, got, rtol=1e-6, atol=1e-6, equal_nan=True):
            raise ValueError(f"{case.name}: parameter {key} was not regenerated.")


# -- calls -----------------------------------------------------------------------------


def _arguments(case: Case, model: Any) -> tuple[dict[str, Any], list[np.ndarray]]:
    """Keyword arguments of the recorded call, and dropout masks."""
    arguments = as_tensors(case.inputs()) | case.meta.get("args", {})
    noise, masks = split_noise(case, model)
    if noise:
        # `q_sample` takes the tensor itself, everything else its draws in order.
        arguments["noise"] = noise[0] if case.meta["method"] == "q_sample" else noise
    return arguments, masks


def method_of(model: Any, name: str) -> Callable[..., Any]:
    """A method by the reference's name; modules are called for `forward`."""
    if name in ("forward", "__call__") and not hasattr(model, name):
        return model
    return getattr(model, name)


def name_results(names: list[str], result: Any) -> dict[str, Any]:
    """Returned values by the recorded names."""
    values = list(result) if isinstance(result, tuple | list) else [result]
    return dict(zip(names, values, strict=False))


def gradient_scalar(meta: Mapping[str, Any]) -> Callable[[dict], tf.Tensor] | None:
    """The scalar whose gradients were recorded; added to the outputs."""
    rule = meta.get("grad_loss")
    if rule is None:
        return None

    def scalar(outputs: dict[str, Any]) -> tf.Tensor:
        if rule == "sum_sq":
            parts = [tf.reduce_sum(outputs[n] ** 2) for n in meta["grad_loss_outputs"]]
        else:
            parts = [
                weight * tf.cast(outputs[name], tf.float32)
                for name, weight in rule.items()
            ]
        outputs["grad_loss"] = tf.add_n(parts)
        return outputs["grad_loss"]

    return scalar


def _call(case: Case, mode: str) -> Produced:
    """One call of one method."""
    model = make(case)
    arguments, masks = _arguments(case, model)
    method = method_of(model, case.meta["method"])
    watched = {name: arguments[name] for name in case.meta.get("grad_inputs") or []}

    def call() -> dict[str, Any]:
        with replayed_masks(masks):
            return name_results(case.meta["returns"], method(**arguments))

    return call_with_gradients(
        call,
        gradient_scalar(case.meta),
        differentiated_variables(case, model),
        watched,
        mode,
    )


def _schedule(case: Case, mode: str) -> Produced:
    """Attributes of the model, which are computed at construction."""
    model = make(case)
    return {f"out/{name}": getattr(model, name) for name in case.meta["returns"]}


def _activation(case: Case, mode: str) -> Produced:
    """Every activation and its derivative on a grid."""
    from model.common.mlp import activation_dict

    x, produced = tf.constant(case.arrays["in/x"]), {}
    for name in case.meta["args"]["names"]:

        def call(name: str = name) -> dict[str, Any]:
            return {f"y.{name}": activation_dict[name]()(x)}

        found = call_with_gradients(
            call, lambda out: tf.reduce_sum(*out.values()), {}, {"x": x}, mode
        )
        produced[f"out/dy.{name}"] = found.pop("gradin/x")
        produced |= found
    return produced


def _anneal(case: Case, mode: str) -> Produced:
    """`step()` several times, then the posterior with what is left to fine-tune."""
    model = make(case)
    steps = []
    for _ in range(case.meta["args"]["n_calls"]):
        model.step()
        steps.append(model.ft_denoising_steps)
    arguments = as_tensors(case.inputs())
    first, *names = case.meta["returns"]
    produced = call_with_gradients(
        lambda: name_results(names, model.p_mean_var(**arguments)), None, {}, {}, mode
    )
    return {f"out/{first}": np.array(steps), **produced}


def _dist_normal(case: Case, mode: str) -> Produced:
    """The Gaussian of `forward_train`: parameters, log-probability, entropy."""
    model = make(case)
    arguments, _ = _arguments(case, model)
    value = arguments.pop("value")

    def call() -> dict[str, Any]:
        mean, std = model.forward_train(**arguments)
        log_prob = normal_log_prob(tf.reshape(value, tf.shape(mean)), mean, std)
        return {
            "loc": mean,
            "scale": std,
            "log_prob": log_prob,
            "entropy": normal_entropy(std),
        }

    return call_with_gradients(
        call,
        gradient_scalar(case.meta),
        differentiated_variables(case, model),
        {},
        mode,
    )


def _dist_gmm(case: Case, mode: str) -> Produced:
    """The mixture of `forward_train`: parameters, log-probability, entropy."""
    model = make(case)
    arguments, _ = _arguments(case, model)
    value = arguments.pop("value")

    def call() -> dict[str, Any]:
        mixture = model.forward_train(**arguments)
        return {
            "loc": mixture.mean,
            "scale": mixture.std,
            "logits": mixture.log_weights,
            "probs": tf.exp(mixture.log_weights),
            "log_prob": mixture.log_prob(value),
            "approx_entropy": mixture.entropy(),
            "std": mixture.mean_std(),
        }

    return call_with_gradients(
        call,
        gradient_scalar(case.meta),
        differentiated_variables(case, model),
        {},
        mode,
    )


def _ensemble(case: Case, mode: str) -> Produced:
    """Values of an ensemble of critics."""
    return ensemble_cases.values(case, make(case), mode)


OPS: dict[str, Callable[[Case, str], Produced]] = {
    "call": _call,
    "aug_call": _call,
    "dm_sample": _call,
    "dm_loss": _call,
    "min_std": _call,
    "schedule": _schedule,
    "activation": _activation,
    "anneal": _anneal,
    "dist_normal": _dist_normal,
    "dist_gmm": _dist_gmm,
    "ensemble": _ensemble,
    **exact_cases.OPS,
    "ck_pretrain": checkpoint_cases.pretrained,
    "ck_finetune": checkpoint_cases.finetuned,
    "ck_unet": checkpoint_cases.pretrained_unet,
}
