"""Where configs lie: the search path, the layers of a leaf, the file of a key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).resolve().parent.parent
"""The repository: its `cfg` is on every search path."""


def search_path() -> list[Path]:
    """Returns the folders in which `/base/...` layers are looked for, in order.

    The working directory's `cfg` comes first, so that a copy with changed layers can
    be run from there; the project's own is always last.
    """
    folders = [Path.cwd() / "cfg", ROOT / "cfg"]
    return list(dict.fromkeys(f.resolve() for f in folders if f.is_dir()))


def leaf_file(config_dir: str | Path, config_name: str) -> Path:
    """Returns the YAML file that `--config-dir` and `--config-name` mean."""
    return Path(config_dir) / f"{config_name.removesuffix('.yaml')}.yaml"


def locate_key(path: str, source: str | Path, overrides: Sequence[str] = ()) -> str:
    """Returns where the value at `path` was written, for an error message.

    Args:
        path: Dotted key of the composed config.
        source: The leaf's YAML file.
        overrides: Command-line overrides, which win over every file.
    """
    for override in reversed(overrides):
        key = override.partition("=")[0].lstrip("+~")
        if path == key or path.startswith(f"{key}.") or key.startswith(f"{path}."):
            return f"the command line ({override.lstrip('+')})"
    leaf = Path(source)
    for file, package in reversed(list(layers(leaf))):
        inner = path.removeprefix(f"{package}.") if package else path
        if (not package or inner != path) and _has(file, inner):
            return _short(file)
    return _short(leaf)


def layers(leaf: Path, package: str = "") -> Iterator[tuple[Path, str]]:
    """Yields the files that a YAML file is composed of, itself last.

    Args:
        leaf: The file.
        package: Where in the config its keys stand; empty is the root.

    Yields:
        Pairs of file and package.
    """
    for entry in _load(leaf).get("defaults") or []:
        if isinstance(entry, str) and entry != "_self_":
            name, _, inner = entry.partition("@")
            file = _find_layer(name.removeprefix("override ").strip(), leaf.parent)
            if file is not None and file != leaf:
                yield from layers(file, ".".join(p for p in (package, inner) if p))
    if leaf.is_file():
        yield leaf, package


def _find_layer(name: str, beside: Path) -> Path | None:
    """The file of one entry of a defaults list, or None."""
    folders = [*search_path()] if name.startswith("/") else [beside]
    for folder in folders:
        file = folder / f"{name.strip('/')}.yaml"
        if file.is_file():
            return file
    return None


def _load(file: Path) -> DictConfig:
    """The mapping in a YAML file; empty if there is none."""
    content: Any = OmegaConf.load(file) if file.is_file() else None
    return content if isinstance(content, DictConfig) else OmegaConf.create({})


def _has(file: Path, path: str) -> bool:
    """Whether a YAML file itself writes a value at `path`."""
    node: Any = OmegaConf.to_container(_load(file), resolve=False)
    for key in path.split("."):
        name = key.partition("[")[0]
        if not isinstance(node, dict) or name not in node:
            return False
        node = node[name]
    return True


def _short(file: Path) -> str:
    """A file's path relative to the working directory or the project, if below it."""
    for folder in (Path.cwd(), ROOT):
        if file.resolve().is_relative_to(folder):
            return str(file.resolve().relative_to(folder))
    return str(file)
