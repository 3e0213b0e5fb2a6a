"""Refuses keys of a config that nothing reads, with a sentence that helps.

`util/config_schema.py` knows which keys are valid; this file goes through a composed
config, collects what is wrong, and names key, file and nearest valid key.
"""

from __future__ import annotations

import difflib
import importlib
import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from util.config_files import locate_key
from util.config_schema import Schema, resolve_target, root_schema, target_schema

log = logging.getLogger(__name__)

HYDRA_KEYS = frozenset({"_target_", "_partial_", "_convert_", "_recursive_", "_args_"})
"""Keys that Hydra itself reads in a node with `_target_`."""

_FREE = Schema("", frozenset(), is_open=True)
_REFERENCE = re.compile(r"\$\{\s*([A-Za-z_][\w.]*)\s*\}")
_warned: set[tuple[str, str]] = set()


def check_keys(
    cfg: DictConfig, source: str | Path, overrides: Sequence[str] = ()
) -> None:
    """Refuses keys that nothing reads.

    Args:
        cfg: The composed config, not resolved: a key of the user's own is accepted if
            another value refers to it.
        source: The YAML file that was composed, for messages.
        overrides: Command-line overrides, for messages.

    Raises:
        ValueError: If a key is unknown (names key, file and nearest valid key), a
            `_target_` is missing or cannot be imported, or a value is `???`.
    """
    problems = list(_Walk(cfg).problems())
    if problems:
        raise ValueError("\n".join(p.text(source, overrides) for p in problems))


def nearest_key(path: str, known: Iterable[str]) -> str | None:
    """Returns the known key that `path` most likely means, or None.

    A key of that very name elsewhere comes first, then a similar one of the parent,
    a similar one elsewhere, and the most similar path of all.
    """
    keys = sorted({key.removesuffix(".*") for key in known})
    parent, _, last = path.rpartition(".")
    siblings = {k.rpartition(".")[2]: k for k in keys if k.rpartition(".")[0] == parent}
    elsewhere = {k.rpartition(".")[2]: k for k in reversed(keys)}
    everything = {k: k for k in keys}
    for word, choices, cutoff in (
        (last, elsewhere, 1.0),
        (last, siblings, 0.7),
        (last, elsewhere, 0.8),
        (path, everything, 0.6),
    ):
        close = difflib.get_close_matches(word, choices, n=1, cutoff=cutoff)
        if close:
            return choices[close[0]]
    return None


@dataclass(frozen=True)
class _Problem:
    """Something wrong at `path`; `{where}` in the message stands for the place."""

    path: str
    message: str

    def text(self, source: str | Path, overrides: Sequence[str]) -> str:
        """The sentence for the user."""
        place = locate_key(self.path, source, overrides)
        word = "on" if place.startswith("the command line") else "in"
        return self.message.format(where=f"{word} {place}")


class _Walk:
    """Goes through one config and collects what is wrong with it."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        raw = str(OmegaConf.to_container(cfg, resolve=False))
        self.referred = frozenset(_REFERENCE.findall(raw))
        self.known: set[str] = set()
        self.unknown: list[str] = []

    def problems(self) -> Iterator[_Problem]:
        """Yields every problem; unknown keys last, when all valid keys are known."""
        target = self.cfg.get("_target_")
        if not target:
            yield _Problem("_target_", "No _target_ {where}: nothing to run.")
            return
        try:
            schema = root_schema(resolve_target(str(target)))
        except ValueError as error:
            yield _failed("_target_", error)
            return
        self._learn("", schema)
        yield from self._mapping(self.cfg, "", "", schema)
        for path in self.unknown:
            near = nearest_key(path, self.known)
            hint = f" Did you mean {near!r}?" if near else ""
            yield _Problem(path, f"Unknown key {path!r} {{where}}.{hint}")

    def _learn(self, top: str, schema: Schema) -> None:
        """Remembers the valid keys of a node at `top`, to suggest them."""
        self.known.update(_join(top, k) for k in (*schema.keys, *schema.dead))

    def _mapping(
        self, node: DictConfig, path: str, inner: str, schema: Schema
    ) -> Iterator[_Problem]:
        """Checks the keys of one mapping.

        Args:
            node: The mapping.
            path: Its place in the whole config.
            inner: Its place below the node that `schema` describes.
            schema: What is accepted.
        """
        for key in map(str, node):
            here, below = _join(path, key), _join(inner, key)
            if key in HYDRA_KEYS or here == "hydra":
                continue
            if OmegaConf.is_missing(node, key):
                yield _Problem(here, f"{here} must be given, it is ??? {{where}}.")
            elif here == "env.wrappers":
                yield from self._wrappers(_child(node, key))
            elif not schema.accepts(below):
                if not self._is_referred(here):
                    self.unknown.append(here)
            else:
                if below in schema.dead:
                    _warn_dead(schema.owner, here, schema.dead[below])
                yield from self._value(_child(node, key), here, below, schema)

    def _value(
        self, value: Any, path: str, inner: str, schema: Schema
    ) -> Iterator[_Problem]:
        """Checks what stands under an accepted key."""
        if isinstance(value, ListConfig):
            for index in range(len(value)):
                if OmegaConf.is_missing(value, index):
                    continue
                item = value[index]
                yield from self._value(item, f"{path}[{index}]", "", _FREE)
        elif isinstance(value, DictConfig) and value.get("_target_"):
            yield from self._target(value, path)
        elif isinstance(value, DictConfig):
            checked = schema.is_nested and not schema.free_under(inner)
            rules = (inner, schema) if checked else ("", _FREE)
            yield from self._mapping(value, path, *rules)

    def _target(self, node: DictConfig, path: str) -> Iterator[_Problem]:
        """Checks a node that names the class it builds."""
        try:
            schema = target_schema(resolve_target(str(node["_target_"])))
        except ValueError as error:
            yield _failed(f"{path}._target_", error)
            return
        self._learn(path, schema)
        yield from self._mapping(node, path, "", schema)

    def _wrappers(self, node: Any) -> Iterator[_Problem]:
        """Checks the arguments of every environment wrapper."""
        if not isinstance(node, DictConfig):
            return
        try:
            # By name: env is above util.
            wrapper_dict = importlib.import_module("env.gym_utils").wrapper_dict
        except ImportError as error:
            yield _failed("env.wrappers", error)
            return
        self.known.update(f"env.wrappers.{name}" for name in wrapper_dict)
        for name in map(str, node):
            path = f"env.wrappers.{name}"
            if name not in wrapper_dict:
                self.unknown.append(path)
                continue
            schema = target_schema(wrapper_dict[name])
            # The first parameter of a wrapper is the environment it wraps.
            schema = Schema(schema.owner, schema.keys - {"env"}, schema.dead)
            self._learn(path, schema)
            arguments = _child(node, name)
            if isinstance(arguments, DictConfig):
                yield from self._mapping(arguments, path, "", schema)

    def _is_referred(self, path: str) -> bool:
        """Whether another value refers to `path`, to part of it or to its parent."""
        return any(
            path == other
            or other.startswith(f"{path}.")
            or path.startswith(f"{other}.")
            for other in self.referred
        )


def _join(path: str, key: str) -> str:
    """The dotted path of `key` below `path`."""
    return f"{path}.{key}" if path else key


def _failed(path: str, error: Exception) -> _Problem:
    """The problem of a node whose keys cannot be found out."""
    text = str(error).replace("{", "{{").replace("}", "}}")
    return _Problem(path, f"{path} {{where}}: {text}")


def _child(node: DictConfig, key: str) -> Any:
    """The child of a node; an interpolation that cannot be resolved counts as None."""
    try:
        return node[key]
    except OmegaConfBaseException:
        # Resolving the whole config reports it, with its key.
        return None


def _warn_dead(owner: str, path: str, reason: str) -> None:
    """Says once that a key has no effect."""
    if (owner, path) not in _warned:
        _warned.add((owner, path))
        log.warning("%s has no effect on %s: %s", path, owner, reason)
