"""The reference's values of the configs that this project has.

`python -m tests.cfg.reference <configs.json>` copies what `tests/cfg` needs out of the
flattened configs of the reference (path to key to value) into `reference.json`. Run it
after adding a leaf.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from tests.cfg.fixed import fixed_surroundings, flat, leaves
from util.config import register_resolvers

HERE = Path(__file__).parent
REFERENCE = HERE / "reference.json"
DIFFERENCES = HERE / "differences.yaml"
_NUMBER = re.compile(r"[-+]?[\d.]+[eE][-+]?\d+")


def regenerate(source: Path) -> None:
    """Copies the configs of all present leaves out of `source`."""
    everything = json.loads(source.read_text())
    kept = {leaf: everything[leaf] for leaf in leaves() if leaf in everything}
    REFERENCE.write_text(json.dumps(kept, indent=1) + "\n")


def reference_leaves() -> dict[str, dict[str, Any]]:
    """The stored configs: leaf to dotted key to unresolved value."""
    return json.loads(REFERENCE.read_text())


def reference_values(leaf: str, overrides: dict[str, Any] | None = None) -> dict:
    """All values of a leaf of the reference, resolved as `fixed.values` does.

    Text such as `1e-4` becomes the number that it means.
    """
    cfg = OmegaConf.create({})
    for key, value in reference_leaves()[leaf].items():
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        OmegaConf.update(cfg, key, value, force_add=True)
    for key, value in (overrides or {}).items():
        OmegaConf.update(cfg, key, value, force_add=True)
    register_resolvers()
    with fixed_surroundings():
        resolved = flat(OmegaConf.to_container(cfg, resolve=True))
    return {k: v for k, v in resolved.items() if k not in ("defaults", "hydra.run.dir")}


def differences() -> dict[str, Any]:
    """The table of deliberate differences."""
    return yaml.safe_load(DIFFERENCES.read_text())


def is_deliberate(leaf: str, key: str, ours: Any, theirs: Any) -> bool:
    """Whether the table allows `key` of `leaf` to differ in this way."""
    for entry in differences()["values"]:
        found = {"leaf": leaf, "key": key, "theirs": theirs, "ours": ours}
        if all(re.fullmatch(entry[name], str(text)) for name, text in found.items()):
            return True
    return False


if __name__ == "__main__":
    regenerate(Path(sys.argv[1]))
