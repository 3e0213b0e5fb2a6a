"""Chooses the device that a run computes on, or the devices that share its batches."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence

log = logging.getLogger(__name__)

_NAME = re.compile(r"/?(?:device:)?(auto|cpu|gpu|cuda)(?::(\d+))?", re.IGNORECASE)


def select_device(name: str | Sequence[str] = "auto") -> str:
    """Returns TensorFlow's name of the device that a config asks for.

    Args:
        name: `auto` (the first GPU if TensorFlow sees one, else the CPU), `cpu`,
            `gpu`, `cuda`, or one of them with a number (`gpu:1`, `cuda:0`). Of several
            (`shared_devices`), the first is meant.

    Returns:
        A name for `tf.device`: `/CPU:0` or `/GPU:<n>`.

    Raises:
        ValueError: If the name is none of these, or the GPU is not there.
    """
    several = shared_devices(name)
    if several:
        return several[0]
    name = _as_list(name)[0]
    match = _NAME.fullmatch(name)
    kind, number = (match[1].lower(), match[2]) if match else ("", None)
    if not kind or (kind == "auto" and number) or (kind == "cpu" and int(number or 0)):
        raise ValueError(
            f"device must be auto, cpu, gpu, gpu:<n> or cuda:<n>, got {name!r}."
        )
    if kind == "cpu":
        return "/CPU:0"
    index = int(number or 0)
    found = _count_gpus()
    if kind == "auto":
        device = "/GPU:0" if found else "/CPU:0"
        log.info("device=auto: TensorFlow sees %d GPU(s), using %s", found, device)
        return device
    if index >= found:
        raise ValueError(
            f"device={name}: TensorFlow sees {found} GPU(s) on this machine, number "
            f"{index} is not among them. Use device=auto to take what is there."
        )
    return f"/GPU:{index}"


def shared_devices(names: str | Sequence[str]) -> list[str]:
    """Returns TensorFlow's names of the devices that share batches; none for a single.

    Args:
        names: A list of devices, or its text with commas, or `gpu:all`. Also `cpu:<n>`
            in a list, if TensorFlow was told to see several.

    Raises:
        ValueError: A device is not there or named twice.
    """
    given = _as_list(names)
    if given in (["gpu:all"], ["cuda:all"]):
        given = [f"gpu:{index}" for index in range(_count_gpus())] or ["gpu"]
        if len(given) == 1:
            return [select_device(given[0])]
    if len(given) < 2:
        return []
    devices = [_select_shared(name, names) for name in given]
    if len(set(devices)) < len(devices):
        raise ValueError(f"device must name each device once, got {names}.")
    return devices


def _as_list(names: str | Sequence[str]) -> list[str]:
    """The names one by one."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        names = str(names).split(",")
    return [str(name).strip() for name in names]


def _select_shared(name: str, names: str | Sequence[str]) -> str:
    """One device of several: with a number, and there."""
    import tensorflow as tf

    match = _NAME.fullmatch(name)
    if match is None or match[1].lower() == "auto":
        raise ValueError(f"device must list gpu:<n>, got {name!r} in {names}.")
    if match[1].lower() != "cpu":
        return select_device(name)
    index = int(match[2] or 0)
    if index >= len(tf.config.list_logical_devices("CPU")):
        raise ValueError(f"device must list gpu:<n>, got {name!r} in {names}.")
    return f"/CPU:{index}"


def _count_gpus() -> int:
    """How many GPUs TensorFlow sees."""
    # Imported here: configs and tools read device names without TensorFlow.
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))
