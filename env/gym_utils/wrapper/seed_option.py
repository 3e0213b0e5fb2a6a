"""The reset option `seed`, which all wrappers understand alike."""

from collections.abc import Mapping
from typing import Any


def choose_seed(seed: int | None, options: Mapping[str, Any] | None) -> int | None:
    """Returns `options["seed"]` if it is given, else `seed`."""
    given = None if options is None else options.get("seed")
    return seed if given is None else given
