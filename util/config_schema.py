"""Which keys a config may have.

Nothing here lists the keys of a model or an agent by hand: a node with `_target_`
takes what the constructor of that class takes, the root takes `ROOT_KEYS` and what the
agent's class declares in `config_keys`, a wrapper takes what its class takes. Classes
name in `dead_config_keys` (key to reason) what the reference's YAMLs carry in vain;
such a key is accepted with one warning and dropped before the class is built.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from util.compat import COMPAT

ROOT_KEYS: dict[str, str] = {
    "_target_": "class of the agent that the launcher builds and runs",
    "name": "name of the experiment; a part of logdir",
    "logdir": "folder of this run's results",
    "seed": "seed of every random draw",
    "device": "auto, cpu, gpu, gpu:<n> or cuda:<n>; several: a list, or gpu:all",
    "resume": "folder of a run to continue, auto (newest unfinished), or null",
    "reference": "true: behave as the reference everywhere (util/compat.py)",
    "use_ema": "false: raw instead of averaged weights of a pre-trained policy",
    "data.source": "auto, download, generate or local: how missing data is obtained",
    "data.n_steps": "size of a generated data set, in environment steps",
    "data.seed": "seed of a generated data set",
    "data.stochastic": "whether the demonstrator of a generated data set draws actions",
    "wandb": "null switches Weights & Biases off",
    "wandb.entity": "account that owns the Weights & Biases run",
    "wandb.project": "project of the Weights & Biases run",
    "wandb.run": "name of the Weights & Biases run",
    "wandb.mode": "online, offline or disabled",
    "env": "data set (pre-training), or settings of the environments",
    "env.name": "id of the environment",
    "env.wrappers.*": "wrappers, innermost first, with their arguments",
    "env.specific.*": "arguments of one kind of environment only",
    "env_name": "name of environment and data set",
    "obs_dim": "size of one observation",
    "action_dim": "size of one action",
    "cond_steps": "observations the policy sees (To)",
    "horizon_steps": "actions the policy predicts (Ta)",
    "mode": "which Avoid data set",
    "shape_meta.*": "shapes of the observations by kind",
    "normalization_path": "file with the ranges of observations and actions",
    "train_dataset_path": "file with the demonstrations",
    "offline_dataset_path": "file with transitions for offline reinforcement learning",
    "base_policy_path": "checkpoint to start from",
    "robomimic_env_cfg_path": "file that describes a robomimic environment",
    "model": "the model, by `_target_`",
    "train_dataset": "the demonstrations, by `_target_`",
    "offline_dataset": "the offline transitions, by `_target_`",
    "plotter": "what draws trajectories, by `_target_`",
    **{f"compat.{name}": text for name, text in COMPAT.items()},
}
"""Keys any config may have at its root. `x.*` allows anything under `x`.

A variable such as `ddim_steps` has no entry: it is accepted where another value refers
to it, or where the agent declares it. Elsewhere setting it would change nothing.
"""

TARGET_ALIASES: dict[str, str] = {
    "model.diffusion.diffusion_eval_ft.DiffusionEval": (
        "model.diffusion.diffusion_eval.DiffusionEval"
    ),
}
"""Wrong `_target_`s of the reference's YAMLs and the class that is meant."""


@dataclass(frozen=True)
class Schema:
    """Keys that one node of a config may have.

    Args:
        owner: Class that the keys belong to, for messages.
        keys: Accepted keys, dotted.
        dead: Keys accepted in vain, with the reason.
        is_open: Whether any other key is accepted too.
        is_nested: Whether a mapping may hold declared keys only. True for the root,
            whose keys are dotted; an argument of a class may be any mapping.
    """

    owner: str
    keys: frozenset[str]
    dead: Mapping[str, str] = field(default_factory=dict)
    is_open: bool = False
    is_nested: bool = False

    def free_under(self, path: str) -> bool:
        """Whether anything may stand under `path`."""
        parts = path.split(".")
        heads = (".".join(parts[: i + 1]) for i in range(len(parts)))
        return self.is_open or any(f"{head}.*" in self.keys for head in heads)

    def has_children(self, path: str) -> bool:
        """Whether some accepted key lies under `path`."""
        return any(key.startswith(f"{path}.") for key in (*self.keys, *self.dead))

    def accepts(self, path: str) -> bool:
        """Whether `path` is an accepted key or leads to one."""
        known = path in self.keys or path in self.dead
        return known or self.free_under(path) or self.has_children(path)


def target_schema(target: Any) -> Schema:
    """Returns the keys that a `_target_` takes: its constructor's parameters.

    Where a constructor takes `**kwargs` its parent's parameters are added, and so on
    up the MRO; Keras' own base classes add none.

    Args:
        target: The class or function itself.
    """
    owner = getattr(target, "__name__", str(target))
    if not inspect.isclass(target):
        names, rest = _parameters(target, skip=0)
        return Schema(owner, frozenset(names), is_open=rest)
    keys: set[str] = set()
    rest = True
    for cls in target.__mro__:
        if not rest or cls.__module__.partition(".")[0] == "keras":
            rest = False
            break
        if "__init__" in vars(cls) and cls is not object:
            names, rest = _parameters(vars(cls)["__init__"], skip=1)
            keys.update(names)
    # Only a class of somebody else can get here with `rest`: it keeps its **kwargs.
    has_init = target.__init__ is not object.__init__
    return Schema(owner, frozenset(keys), dead_keys(target), rest and has_init)


def _parameters(function: Any, skip: int) -> tuple[list[str], bool]:
    """Names a function can be given by keyword, and whether it takes `**kwargs`."""
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    rest = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [p.name for p in parameters if p.kind in named], rest


def dead_keys(target: Any) -> dict[str, str]:
    """Returns the `dead_config_keys` of a class and its parents, key to reason."""
    dead: dict[str, str] = {}
    for cls in reversed(getattr(target, "__mro__", ())):
        dead.update(vars(cls).get("dead_config_keys", {}))
    return dead


def root_schema(agent: type) -> Schema:
    """Returns the keys of a whole config whose root `_target_` is `agent`.

    An agent without any `config_keys` is somebody's own: its keys are not checked.
    """
    declared = [c for c in agent.__mro__ if "config_keys" in vars(c)]
    keys = set(ROOT_KEYS).union(*(vars(c)["config_keys"] for c in declared))
    return Schema(
        agent.__name__,
        frozenset(keys),
        dead_keys(agent),
        is_open=not declared,
        is_nested=True,
    )


def resolve_target(target: str) -> Any:
    """Returns the object that a `_target_` names, aliases followed.

    Raises:
        ValueError: If it cannot be imported; says why.
    """
    try:
        return _import(TARGET_ALIASES.get(target, target))
    except Exception as error:
        raise ValueError(
            f"_target_ {target!r} is not importable: {type(error).__name__}: {error}"
        ) from error


def _import(path: str) -> Any:
    """The object at a dotted path: a module's attribute, or one of a class in it."""
    parts = path.split(".")
    missing: Exception = ImportError("expected module.Class")
    for cut in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:cut])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            # The last parts may be classes; a module missing elsewhere is an error.
            if not f"{name}.".startswith(f"{error.name}."):
                raise
            missing = error if cut == len(parts) - 1 else missing
            continue
        for part in parts[cut:]:
            if not hasattr(found, part) and isinstance(missing, ModuleNotFoundError):
                raise missing
            found = getattr(found, part)
        return found
    raise missing
