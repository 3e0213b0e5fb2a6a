"""Configs: composing, checking, building from them, and what identifies a run.

`compose` gives the config that `script/run.py` would run. The parts live in files of
their own, because each is a subject of its own and one file would be too long:
`util/compat.py` (switches), `util/arithmetic.py` (resolvers), `util/config_schema.py`
and `util/config_check.py` (valid keys), `util/config_files.py` (where YAML files lie).
This module hands all of their public names on. Nothing here imports TensorFlow.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from util.arithmetic import RESOLVERS
from util.compat import COMPAT, apply_compat, compat, compat_scope, reference
from util.config_check import check_keys
from util.config_files import ROOT, leaf_file, search_path
from util.config_schema import ROOT_KEYS, TARGET_ALIASES, dead_keys, resolve_target

__all__ = [
    "COMPAT",
    "ROOT",
    "ROOT_KEYS",
    "apply_compat",
    "check_keys",
    "compat",
    "compat_scope",
    "compose",
    "digest",
    "finish",
    "instantiate",
    "leaf_file",
    "prepare_environment",
    "reference",
    "register_resolvers",
    "resolve_target",
    "rewrite_override",
    "search_path",
]

log = logging.getLogger(__name__)

ENTITY = "DPPO_WANDB_ENTITY"
FOLDERS = {"DPPO_DATA_DIR": "data", "DPPO_LOG_DIR": "log"}
"""Environment variables for folders, and the folder that each defaults to."""

VOLATILE_KEYS = frozenset({"logdir", "seed", "wandb", "resume", "data", "hydra"})
"""Root keys that `digest` leaves out."""

_PLAIN_OVERRIDE = re.compile(r"([A-Za-z_][\w.]*)(\[\d+\])*=")
_noted: set[str] = set()


def register_resolvers() -> None:
    """Makes the resolvers of `util/arithmetic.py` known to OmegaConf."""
    for name, function in RESOLVERS.items():
        OmegaConf.register_new_resolver(name, function, replace=True)


def prepare_environment() -> None:
    """Gives DPPO_DATA_DIR and DPPO_LOG_DIR absolute values, `./data` and `./log`."""
    for name, default in FOLDERS.items():
        folder = os.environ.get(name) or default
        os.environ[name] = os.path.abspath(os.path.expanduser(folder))


def compose(
    config_dir: str | Path, config_name: str, overrides: Sequence[str] = ()
) -> DictConfig:
    """Returns a composed config, interpolations not yet resolved.

    Args:
        config_dir: Folder of the leaf.
        config_name: Its file name, with or without `.yaml`.
        overrides: `key=value` as on the command line.

    Raises:
        FileNotFoundError: If there is no such file; lists what the folder has.
        hydra.errors.HydraException: If a layer is missing or an override malformed.
    """
    prepare_environment()
    register_resolvers()
    folder = Path(config_dir).absolute()
    if not leaf_file(folder, config_name).is_file():
        there = ", ".join(sorted(f.stem for f in folder.glob("*.yaml"))) or "none"
        raise FileNotFoundError(
            f"No config {config_name!r} in {config_dir} (configs there: {there})."
        )
    given = [rewrite_override(override, folder) for override in overrides]
    layers = ",".join(f"file://{path}" for path in search_path())
    with (
        _apart_from_running_app(),
        hydra.initialize_config_dir(str(folder), version_base=None, job_name="run"),
    ):
        cfg = hydra.compose(
            config_name.removesuffix(".yaml"), [f"hydra.searchpath=[{layers}]", *given]
        )
    return finish(cfg)


@contextmanager
def _apart_from_running_app() -> Iterator[None]:
    """Lets a config be composed while the launcher's own Hydra is at work."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = running


def rewrite_override(override: str, config_dir: str | Path | None = None) -> str:
    """Returns `++key=value` for a plain `key=value`, anything else as it is.

    Hydra accepts `key=value` only for keys the YAML has. All valid keys may be given
    here: `check_keys` refuses the others afterwards.

    Args:
        override: One command-line argument.
        config_dir: Folder of the leaf. An override that chooses among the files of a
            folder in it stays as it is.
    """
    match = _PLAIN_OVERRIDE.match(override)
    if not match or match[1].partition(".")[0] == "hydra":
        return override
    if config_dir is not None and (Path(config_dir) / match[1]).is_dir():
        return override
    return f"++{override}"


def finish(cfg: DictConfig) -> DictConfig:
    """Repairs what the reference's YAMLs get wrong; changes and returns `cfg`.

    Wrong `_target_`s are replaced (said once), and a missing DPPO_WANDB_ENTITY means
    null instead of an error.
    """
    OmegaConf.set_struct(cfg, False)
    wandb = cfg.get("wandb")
    if isinstance(wandb, DictConfig) and not os.environ.get(ENTITY):
        raw = OmegaConf.to_container(wandb, resolve=False)
        if isinstance(raw, dict) and f"oc.env:{ENTITY}" in str(raw.get("entity")):
            wandb.entity = None
    _follow_aliases(cfg)
    return cfg


def _follow_aliases(node: Any) -> None:
    """Replaces wrong `_target_`s below `node`."""
    children: Any = []
    if isinstance(node, DictConfig):
        children = [node._get_node(key) for key in node]
        target = node._get_node("_target_")
        right = TARGET_ALIASES.get(str(target))
        if right:
            if str(target) not in _noted:
                log.info("_target_ %s: the class is %s", target, right)
            _noted.add(str(target))
            node["_target_"] = right
    for child in children:
        _follow_aliases(child)


def instantiate(node: Any, **extra: Any) -> Any:
    """Builds the object that a config node with `_target_` describes.

    Containers arrive as plain lists and dicts, dead keys are dropped. An error of a
    constructor is raised as it is, with a note that says where in the config.

    Args:
        node: Mapping with `_target_`, resolved or not.
        **extra: Further arguments of the outermost constructor.

    Raises:
        ValueError: If a `_target_` cannot be imported.
        Exception: Whatever a constructor raises.
    """
    if isinstance(node, DictConfig):
        node = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
    clean = _drop_dead(node)
    try:
        return hydra.utils.instantiate(clean, _convert_="all", **extra)
    except InstantiationException as error:
        cause = error.__cause__ or error
        cause.add_note(str(error).splitlines()[0])
    raise cause


def _drop_dead(value: Any) -> Any:
    """A copy of a plain container without dead keys, `_target_`s corrected."""
    if isinstance(value, Mapping):
        copy = {key: _drop_dead(item) for key, item in value.items()}
        if "_target_" in copy:
            target = str(copy["_target_"])
            dead = dead_keys(resolve_target(target))
            copy = {key: item for key, item in copy.items() if key not in dead}
            copy["_target_"] = TARGET_ALIASES.get(target, target)
        return copy
    if isinstance(value, (list, tuple)):
        return [_drop_dead(item) for item in value]
    return value


def digest(cfg: DictConfig | Mapping[str, Any]) -> str:
    """Returns 16 hexadecimal digits that are equal for runs of the same experiment.

    They are a SHA-256 of all resolved values except

    * `logdir`, `wandb`, `resume`, `hydra`: where and how a run reports;
    * `data`: how missing files are obtained, not which files are read;
    * `seed`: runs of several seeds belong together (`resume=auto` compares it apart);
    * `device`, wherever it stands: results do not depend on it by intent;
    * the folders in DPPO_DATA_DIR and DPPO_LOG_DIR, replaced by their names: a run may
      be continued on another machine.

    `name` and all of `train` count: a run with another budget is another experiment.
    1 and 1.0 count as equal. Take the digest of the config as it was composed, before
    missing files are replaced by others.
    """
    if isinstance(cfg, DictConfig):
        cfg = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    kept = {key: value for key, value in cfg.items() if key not in VOLATILE_KEYS}
    text = json.dumps(_canonical(kept), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _canonical(value: Any) -> Any:
    """A value as `digest` sees it."""
    if isinstance(value, Mapping):
        return {str(k): _canonical(v) for k, v in value.items() if k != "device"}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str):
        for name in FOLDERS:
            folder = os.environ.get(name)
            if folder and (
                value == folder or value.startswith(folder.rstrip("/") + "/")
            ):
                return f"${name}{value[len(folder.rstrip('/')) :]}"
    return value
