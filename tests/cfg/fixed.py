"""Leaves of cfg/ and their values under a fixed clock and fixed folders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf

from util.config import ROOT, compose

CFG = ROOT / "cfg"
FIXED_ENVIRONMENT = {
    "DPPO_DATA_DIR": "/fixed/data",
    "DPPO_LOG_DIR": "/fixed/log",
    "DPPO_WANDB_ENTITY": "somebody",
}


def leaves() -> list[str]:
    """Every experiment below cfg/, as a path relative to it."""
    files = (path.relative_to(CFG) for path in CFG.rglob("*.yaml"))
    return sorted(str(path) for path in files if path.parts[0] != "base")


def compose_leaf(leaf: str, overrides: tuple[str, ...] = ()) -> DictConfig:
    """Composes one leaf."""
    path = CFG / leaf
    return compose(path.parent, path.stem, overrides)


@contextmanager
def fixed_surroundings() -> Iterator[None]:
    """Fixes environment variables and the `now` resolver."""
    with mock.patch.dict("os.environ", FIXED_ENVIRONMENT):
        OmegaConf.register_new_resolver("now", lambda text: f"<{text}>", replace=True)
        try:
            yield
        finally:
            setup_globals()


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """A nested container as one mapping from dotted key to scalar or list."""
    if not isinstance(value, dict) or not value:
        return {path: value}
    parts = [flat(item, f"{path}.{key}".lstrip(".")) for key, item in value.items()]
    return {key: item for part in parts for key, item in part.items()}


def values(leaf: str, overrides: tuple[str, ...] = ()) -> dict[str, Any]:
    """All values of a leaf, resolved in fixed surroundings, by dotted key."""
    with mock.patch.dict("os.environ", FIXED_ENVIRONMENT):
        cfg = compose_leaf(leaf, overrides)
        with fixed_surroundings():
            return flat(OmegaConf.to_container(cfg, resolve=True))
