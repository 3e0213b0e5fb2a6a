"""Models of recorded cases, and calls of them: eager, compiled, with gradients."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf

from model.common.modules import RandomShiftsAug
from model.diffusion.diffusion_vpg import VPGDiffusion
from tests.parity.case import Case
from util.config import instantiate
from util.config_schema import TARGET_ALIASES
from util.seeding import Draws
from util.torch_to_tf import nn_Dropout, nn_Module
from util.torch_to_tf.layers import replay_dropout

MODES = ("eager", "compiled", "jit")
OUR_PACKAGES = ("agent", "env", "model", "script", "util")
ENSEMBLE = "ensemble_params."


class PendingError(Exception):
    """A case needs a class that this project does not have yet."""


def targets_of(node: Any) -> set[str]:
    """Every `_target_` in a nested config."""
    if isinstance(node, Mapping):
        found = {str(node["_target_"])} if "_target_" in node else set()
        return found.union(*(targets_of(value) for value in node.values()))
    if isinstance(node, list | tuple):
        return set().union(*(targets_of(value) for value in node))
    return set()


def needed_classes(meta: Mapping[str, Any]) -> list[str]:
    """Classes of this project that a case needs, as dotted names."""
    names = {_class_name(str(meta["class"]))}
    for key in ("kwargs", "model", "cfg"):
        names |= targets_of(meta.get(key) or {})
    ours = {TARGET_ALIASES.get(name, name) for name in names}
    return sorted(n for n in ours if n.split(".")[0] in OUR_PACKAGES and "." in n)


def _class_name(described: str) -> str:
    """The class behind a `meta["class"]`, also where it describes part of a loop.

    `TrainAWRDiffusionAgent.run (block, lines 318-322)` is a part of
    `agent.finetune.train_awr_diffusion_agent.TrainAWRDiffusionAgent`.
    """
    block = re.match(r"(Train\w+Agent)\.run \(block", described)
    if block is None:
        return described.split(" ")[0]
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+", block[1])
    return f"agent.finetune.{'_'.join(words).lower()}.{block[1]}"


def is_available(name: str) -> bool:
    """Whether a dotted name of this project can be imported."""
    module, _, attribute = name.rpartition(".")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = str(error.name)
        if module == missing or module.startswith(missing + "."):
            return hasattr_of_parent(module, attribute)
        raise
    if hasattr(found, attribute):
        return True
    return hasattr_of_parent(module, attribute)


def hasattr_of_parent(module: str, attribute: str) -> bool:
    """Whether `module` + `attribute` is itself a module."""
    try:
        importlib.import_module(f"{module}.{attribute}")
    except ModuleNotFoundError:
        return False
    return True


def require(names: Sequence[str]) -> None:
    """Raises `PendingError` for the first name that cannot be imported."""
    for name in names:
        if not is_available(name):
            raise PendingError(name)


def build_model(config: Mapping[str, Any], **extra: Any) -> Any:
    """The model of a `_target_` config, on the CPU or wherever TensorFlow puts it."""
    node = {**config, **extra, "device": "auto"} if "device" in config else config
    return instantiate({**node, **extra})


def load_parameters(model: nn_Module, case: Case) -> None:
    """Gives a model the recorded parameters; keys must agree exactly.

    A tensor that has several keys may be recorded under one of them. Trained critics of
    an ensemble are recorded beside the state dict.
    """
    state = case.parameters()
    for key in [key for key in state if key.startswith(ENSEMBLE)]:
        model.ensemble_params[key.removeprefix(ENSEMBLE)].assign(state.pop(key))
    if not state:
        return
    own = dict(model._named_state())
    recorded = {id(own[key]): value for key, value in state.items() if key in own}
    aliases = {k: recorded[id(v)] for k, v in own.items() if id(v) in recorded}
    model.load_state_dict({**aliases, **state}, strict=True)


def as_tensors(value: Any) -> Any:
    """Nested arrays as tensors of the same type."""
    if isinstance(value, Mapping):
        return {key: as_tensors(item) for key, item in value.items()}
    return tf.convert_to_tensor(value)


def split_noise(case: Case, model: Any) -> tuple[list[Any], list[np.ndarray]]:
    """Recorded draws: those of samplers and losses, and scaled dropout masks.

    Shifts of images are given to the model's augmentations.
    """
    noise, masks, shifts = [], [], []
    for name, value in zip(case.noise_names, case.noise, strict=True):
        if value.shape[1:] == (1, 1, 2):
            shifts.append(value)
        elif "dropout" not in name:
            noise.append(tf.constant(value))
        elif "already scaled" in name:
            masks.append(value)
        else:
            masks.append(value / (1.0 - dropout_rate(model)))
    if shifts:
        replay_shifts(model, shifts, case.meta["method"])
    return noise, masks


class ShiftTape:
    """What a `RandomShiftsAug` draws from: recorded shifts in order."""

    def __init__(self, shifts: Sequence[np.ndarray]) -> None:
        self.shifts = list(shifts)

    def uniform(self, shape: Any, maxval: int, dtype: tf.DType) -> tf.Tensor:
        """The next shifts, (B, 2)."""
        return tf.cast(self.shifts.pop(0).reshape(-1, 2), dtype)


def replay_shifts(
    model: nn_Module, shifts: Sequence[np.ndarray], method: str = "forward"
) -> None:
    """Makes all augmentations of a model use recorded shifts of images in order.

    Where only fine-tuned steps are asked for, the reference evaluates the base policy
    first all the same, and drops what it gives; here it is not evaluated.
    """
    if isinstance(model, VPGDiffusion) and method != "p_mean_var":
        shifts = shifts[model.actor.images.num_img :]
    tape = ShiftTape(shifts)
    for part in model.modules():
        if isinstance(part, RandomShiftsAug):
            part.generator = tape


def dropout_rate(model: nn_Module) -> float:
    """The one dropout probability of a model.

    Raises:
        ValueError: Its layers have none, or several.
    """
    rates = {m.p for m in model.modules() if isinstance(m, nn_Dropout) and m.p > 0}
    if len(rates) != 1:
        raise ValueError(f"masks fit one dropout probability, the model has {rates}.")
    return rates.pop()


@contextmanager
def replayed_masks(masks: Sequence[np.ndarray]) -> Iterator[None]:
    """Dropout uses these masks; without masks it draws as usual."""
    with ExitStack() as stack:
        if masks:
            stack.enter_context(replay_dropout(masks))
        yield


@contextmanager
def recorded_choices() -> Iterator[dict[str, tf.Tensor]]:
    """Collects the probabilities of random choices, by the recorded names."""
    found: dict[str, tf.Tensor] = {}
    draw = Draws.categorical

    def categorical(draws: Draws, logits: tf.Tensor) -> tf.Tensor:
        found[f"multinomial_probs/{len(found)}"] = tf.nn.softmax(logits)
        return draw(draws, logits)

    with mock.patch.object(Draws, "categorical", categorical):
        yield found


def execute(function: Callable[[], Any], mode: str) -> Any:
    """Runs a function of no arguments plainly or as a compiled graph."""
    if mode == "eager":
        return function()
    return tf.function(function, jit_compile=mode == "jit")()


@contextmanager
def running(mode: str) -> Iterator[None]:
    """Compiled functions run as they are, or line by line in mode "eager"."""
    tf.config.run_functions_eagerly(mode == "eager")
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


def named_variables(module: nn_Module) -> dict[str, Any]:
    """Trainable variables under every key of the state dict, aliases included.

    Trained critics of an ensemble have the keys under which they are recorded.
    """
    ensemble = getattr(module, "ensemble_params", {})
    found = {k: v for k, v in module._named_state() if v.trainable}
    return found | {f"{ENSEMBLE}{k}": v for k, v in ensemble.items()}


def differentiated_variables(case: Case, module: nn_Module) -> dict[str, Any]:
    """As `named_variables`, without aliases of what is recorded under another key."""
    recorded = {key.removeprefix("grad/") for key in case.arrays}
    recorded |= set(case.meta.get("gradsum_keys", []))
    variables = named_variables(module)
    known = {id(v) for k, v in variables.items() if k in recorded}
    return {k: v for k, v in variables.items() if k in recorded or id(v) not in known}


def call_with_gradients(
    function: Callable[[], dict[str, Any]],
    loss_of: Callable[[dict[str, Any]], Any] | None,
    variables: Mapping[str, Any],
    inputs: Mapping[str, tf.Tensor],
    mode: str,
) -> dict[str, np.ndarray]:
    """Outputs of a call and gradients of a scalar made of them.

    Args:
        function: The call; returns outputs by name.
        loss_of: Scalar to differentiate, from the outputs; None for no gradients.
        variables: Differentiated variables by name.
        inputs: Differentiated inputs by name.
        mode: One of `MODES`.

    Returns:
        Arrays under `out/`, `grad/` and `gradin/`.
    """

    def run() -> tuple[dict, dict]:
        with tf.GradientTape() as tape:
            tape.watch(list(inputs.values()))
            outputs = function()
            loss = None if loss_of is None else loss_of(outputs)
        if loss is None:
            return outputs, {}
        sources = {
            **{f"grad/{key}": value for key, value in variables.items()},
            **{f"gradin/{key}": value for key, value in inputs.items()},
        }
        found = dict(
            zip(sources, tape.gradient(loss, list(sources.values())), strict=True)
        )
        return outputs, {
            key: value for key, value in found.items() if value is not None
        }

    outputs, gradients = execute(run, mode)
    named = {f"out/{key}": value for key, value in flatten(outputs).items()}
    return {key: np.asarray(value) for key, value in {**named, **gradients}.items()}


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested outputs as `name.key`; None is left out."""
    flat: dict[str, Any] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            flat |= flatten(item, f"{prefix}{key}.")
        elif item is not None:
            flat[f"{prefix}{key}"] = item
    return flat
