"""The launcher's command line: what the user gives, what Hydra gets.

A file of its own beside `run.py`, which is about running. Hydra's own command line
knows only keys that the YAML has, wants overrides in one block, and writes where it
likes; here a plain `key=value` sets any valid key, and the launcher chooses folders.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from util import config

HYDRA_SETTINGS = (
    # This file decides where a run writes; Hydra itself writes nothing in single runs.
    ("hydra.run.dir", "."),
    (
        "hydra.sweep.dir",
        "${oc.env:DPPO_LOG_DIR}/multirun/${now:%Y-%m-%d_%H-%M-%S}_" + str(os.getpid()),
    ),
    ("hydra.sweep.subdir", "."),
    ("hydra.output_subdir", "null"),
    ("hydra/job_logging", "stdout"),
)


VALUE_OPTIONS = frozenset(
    {"--config-name", "-cn", "--config-dir", "-cd", "--config-path", "-cp"}
    | {"--package", "-p", "--cfg", "-c", "--info", "-i"}
)
"""Options of Hydra whose value may be the next argument."""


def hydra_arguments(arguments: Sequence[str], layers: Sequence[Path]) -> list[str]:
    """Returns the command line that Hydra gets for the one the user gave.

    Args:
        arguments: The user's.
        layers: Folders with `/base/...` layers; the first is Hydra's own already.
    """
    config_dir = option(arguments, "--config-dir", "-cd")
    options, overrides = split(arguments)
    # Hydra's parser wants all overrides together.
    result = [*options, *(config.rewrite_override(o, config_dir) for o in overrides)]
    settings = [*HYDRA_SETTINGS]
    if len(layers) > 1:
        paths = ",".join(f"file://{path}" for path in layers[1:])
        settings.append(("hydra.searchpath", f"[{paths}]"))
    for key, value in settings:
        if not any(
            argument.lstrip("+").startswith(f"{key}=") for argument in arguments
        ):
            result.append(f"{key}={value}")
    return result


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Returns the options of a command line and its overrides, in order."""
    options: list[str] = []
    overrides: list[str] = []
    previous = ""
    for argument in arguments:
        is_value = previous in VALUE_OPTIONS
        is_override = not argument.startswith("-") and not is_value
        (overrides if is_override else options).append(argument)
        previous = argument
    return options, overrides


def check_command(arguments: Sequence[str], layers: Sequence[Path]) -> None:
    """Refuses a config that does not exist, naming those that do.

    Raises:
        SystemExit: With code 1.
    """
    name = option(arguments, "--config-name", "-cn")
    folder = option(arguments, "--config-dir", "-cd")
    if name is None or folder is None:
        return
    folders = [Path(folder), *layers]
    if any(config.leaf_file(path, name).is_file() for path in folders):
        return
    there = ", ".join(sorted(file.stem for file in Path(folder).glob("*.yaml")))
    sys.stderr.write(
        f"Error: no config {name!r} in {folder} (configs there: {there or 'none'}).\n"
    )
    raise SystemExit(1)


def option(arguments: Sequence[str], *names: str) -> str | None:
    """Returns the value of a command-line option, `--name=value` or `--name value`."""
    for index, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name in names:
            return value if equals else next(iter(arguments[index + 1 :]), None)
    return None


def command() -> str:
    """Returns the command that started this process, less what was added and resume."""
    added = [f"{key}=" for key, _ in (*HYDRA_SETTINGS, ("hydra.searchpath", ""))]
    given = [argument.removeprefix("++") for argument in sys.argv[1:]]
    kept = [a for a in given if not a.startswith((*added, "resume="))]
    return f"python {shlex.join([sys.argv[0], *kept])}"
