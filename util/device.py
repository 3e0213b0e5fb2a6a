"""Chooses the device that a run computes on."""

from __future__ import annotations

import logging
import re

log = logging.getLogger(__name__)

_NAME = re.compile(r"/?(?:device:)?(auto|cpu|gpu|cuda)(?::(\d+))?", re.IGNORECASE)


def select_device(name: str = "auto") -> str:
    """Returns TensorFlow's name of the device that a config asks for.

    Args:
        name: `auto` (the first GPU if TensorFlow sees one, else the CPU), `cpu`,
            `gpu`, `cuda`, or one of them with a number (`gpu:1`, `cuda:0`).

    Returns:
        A name for `tf.device`: `/CPU:0` or `/GPU:<n>`.

    Raises:
        ValueError: If the name is none of these, or the GPU is not there.
    """
    match = _NAME.fullmatch(str(name).strip())
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


def _count_gpus() -> int:
    """How many GPUs TensorFlow sees."""
    # Imported here: configs and tools read device names without TensorFlow.
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))
