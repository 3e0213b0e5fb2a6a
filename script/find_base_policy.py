"""Finds the own pre-training run that stands in for a missing `base_policy_path`.

Configs name checkpoints of the reference's authors, `<log>/<bench>-pretrain/<run>/
<timestamp>/checkpoint/state_<n>.pt`. Without that file the newest own run of the same
name is taken if its policy has the shape this config asks for and its data were
normalised in the same way.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from util.checkpoint import list_states
from util.config import compose, search_path
from util.run_folder import read_run

SHAPE_KEYS = (
    "obs_dim",
    "action_dim",
    "horizon_steps",
    "cond_steps",
    "denoising_steps",
)
"""Root keys in which pre-training and fine-tuning must agree."""

FREE_NETWORK_KEYS = frozenset(
    {"fixed_std", "learn_fixed_std", "std_min", "std_max", "dropout", "augment"}
)
"""Arguments of a network in which they may differ."""

_STATE = re.compile(r"state_(\d+)(\.pt)?")
_RUN = re.compile(r".+?_(?P<kind>(?:pre|calql)_.+)_ta(?P<ta>\d+)(?:_td(?P<td>\d+))?")
_AVOID_SETS = {"avoid_d56_r12": "m1", "avoid_d57_r12": "m2", "avoid_d58_r12": "m3"}


@dataclass(frozen=True)
class WantedPolicy:
    """What a `base_policy_path` asks for.

    Attributes:
        benches: Folders `<log>/<bench>-pretrain`, outermost first.
        run: Name of the run, with the config's own chunk length and number of
            denoising steps: a config that changes them needs another policy.
        step: Number of the state.
        is_literal: Whether `run` is the run in the path.
    """

    benches: tuple[Path, ...]
    run: str
    step: int
    is_literal: bool


def wanted_policy(cfg: DictConfig) -> WantedPolicy | None:
    """What `cfg.base_policy_path` asks for; None if it has no such form.

    Args:
        cfg: With base_policy_path; horizon_steps and denoising_steps if it has them.
    """
    path = Path(str(cfg.base_policy_path)).expanduser().absolute()
    state = _STATE.fullmatch(path.name)
    if not state or path.parent.name != "checkpoint" or len(path.parts) < 5:
        return None
    folders = path.parents[3:]
    benches = [folder for folder in folders if folder.name.endswith("-pretrain")]
    named = path.parents[2].name
    run = named
    for mark, key in (("ta", "horizon_steps"), ("td", "denoising_steps")):
        if cfg.get(key) is not None:
            run = re.sub(rf"_{mark}\d+(?=_|$)", f"_{mark}{cfg[key]}", run)
    ours = benches[::-1] or folders[:1]
    return WantedPolicy(tuple(ours), run, int(state[1]), run == named)


def find_base_policy(cfg: DictConfig, normalization: Path | None = None) -> Path:
    """The state of an own pre-training run that fits, the newest finished one first.

    Args:
        cfg: With a base_policy_path that is not there.
        normalization: The normalisation file this config uses, if any.

    Returns:
        The state with the number asked for, else the last one of that run.

    Raises:
        FileNotFoundError: If none fits; says why, and which command makes one.
    """
    wanted = wanted_policy(cfg)
    if wanted is None:
        raise FileNotFoundError(
            f"base_policy_path={cfg.base_policy_path}: no such checkpoint. It must "
            "be a .pt file, a state folder or a run folder."
        )
    reasons = []
    finished_first = sorted(_runs(wanted), key=_is_finished, reverse=True)
    for run in finished_first:
        states = dict(list_states(run / "checkpoint"))
        reason = misfit(cfg, run, normalization) if states else "it has no state"
        if reason is None:
            return states.get(wanted.step, states[max(states)])
        reasons.append(f"{run}: {reason}")
    raise FileNotFoundError(
        f"base_policy_path={cfg.base_policy_path}: no such checkpoint, and no own "
        f"pre-training run {wanted.run!r} fits ({'; '.join(reasons) or 'there is none'}"
        f"). Make one:\n    {pretrain_command(wanted)}"
    )


def _runs(wanted: WantedPolicy) -> Iterator[Path]:
    """Own runs of the name, newest first as their time stamps sort."""
    for bench in wanted.benches:
        named = [
            path
            for name in _names(wanted.run)
            for path in (bench / name, *bench.glob(f"*/{name}"))
        ]
        runs = [run for path in named if path.is_dir() for run in path.iterdir()]
        yield from sorted(
            (run for run in runs if (run / "checkpoint").is_dir()),
            key=lambda run: run.name,
            reverse=True,
        )


def _names(run: str) -> set[str]:
    """`run`, and how the reference's newer configs call it."""
    pairs = _AVOID_SETS.items()
    return {run, *(run.replace(old, f"avoid_{new}") for old, new in pairs)}


def _is_finished(run: Path) -> bool:
    return read_run(run).get("status") == "finished"


def misfit(cfg: DictConfig, run: Path, normalization: Path | None) -> str | None:
    """Why the policy of a run does not serve a config, or None.

    Args:
        cfg: The config that needs a policy.
        run: Folder of a pre-training run.
        normalization: The normalisation file the config uses, if any.
    """
    try:
        theirs = OmegaConf.load(run / "config.yaml")
        differing = _differing(cfg, theirs)
    except (OSError, OmegaConfBaseException, ValueError) as error:
        return f"its config.yaml cannot be read ({error})"
    if differing:
        return "it differs in " + ", ".join(differing)
    data = read_run(run).get("data") or {}
    used = (data.get("train_dataset_path") or {}).get("normalization_sha256")
    if used and normalization is not None and used != file_digest(normalization):
        return f"its data were normalised otherwise than {normalization} says"
    return None


def _differing(cfg: DictConfig, theirs: Any) -> list[str]:
    found = [
        f"{key} ({theirs[key]}, wanted {cfg[key]})"
        for key in SHAPE_KEYS
        if None not in (cfg.get(key), theirs.get(key)) and cfg[key] != theirs[key]
    ]
    return found + _differing_nodes("network", _network(cfg), _network(theirs))


def _differing_nodes(path: str, ours: Any, theirs: Any) -> list[str]:
    """Keys both have, below `path`, with values that differ."""
    if not isinstance(ours, dict) or not isinstance(theirs, dict):
        return [] if ours == theirs else [f"{path} ({theirs}, wanted {ours})"]
    shared = [key for key in ours if key in theirs and key not in FREE_NETWORK_KEYS]
    nested = (_differing_nodes(f"{path}.{k}", ours[k], theirs[k]) for k in shared)
    return [line for lines in nested for line in lines]


def _network(cfg: Any) -> dict[str, Any]:
    """The policy's network: `model.network` or, in fine-tuning, `model.actor`."""
    model = cfg.get("model") or {}
    node = model.get("network") or model.get("actor") or {}
    plain = OmegaConf.to_container(node, resolve=True) if node else {}
    return plain if isinstance(plain, dict) else {}  # type: ignore[return-value]


def file_digest(path: Path) -> str | None:
    """The SHA-256 of a file; None if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None


def pretrain_command(wanted: WantedPolicy) -> str:
    """The command that makes the policy, found by composing pre-training configs.

    Args:
        wanted: What is needed.
    """
    parts = _RUN.fullmatch(wanted.run)
    bench = wanted.benches[0].name.removesuffix("-pretrain")
    pattern = f"{bench}/pretrain/*/{parts['kind'] if parts else ''}*.yaml"
    for root in search_path():
        for leaf in sorted(root.glob(pattern)):
            overrides = _overrides_for(leaf, wanted.run, parts)
            if overrides is not None:
                folder = leaf.parent.relative_to(root.parent)
                command = f"--config-name={leaf.stem} --config-dir={folder}"
                return " ".join(["python script/run.py", command, *overrides])
    task = f"cfg/{bench}/pretrain/<task>"
    return (
        f"python script/run.py --config-name=<name> --config-dir={task} "
        f"name={wanted.run}"
    )


def _overrides_for(
    leaf: Path, run: str, parts: re.Match[str] | None
) -> list[str] | None:
    """Overrides with which a leaf has this run name; None if there are none."""
    sizes = parts.groupdict() if parts else {}
    wanted = {"horizon_steps": sizes.get("ta"), "denoising_steps": sizes.get("td")}
    try:
        plain = compose(leaf.parent, leaf.stem)
        overrides = [
            f"{key}={value}"
            for key, value in wanted.items()
            if value is not None and str(plain.get(key)) != value
        ]
        name = compose(leaf.parent, leaf.stem, overrides).get("name")
    except (HydraException, OmegaConfBaseException, OSError, ValueError):
        return None
    return overrides if name in _names(run) else None
