"""Replays recorded cases of the area `process`: raw files become training sets."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from util.compat import reference


def replay(
    meta: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    folders: Sequence[Path] = (),
) -> dict[str, np.ndarray]:
    """Computes `out/<file>/<array>` of a case with this project's script.

    Args:
        meta: The case's `meta`: class (the script), file and call.
        arrays: The case's arrays, of which `noise/0` (drawn episodes) is read.
        folders: Where the raw file may lie, in it or in its `data`.

    Raises:
        FileNotFoundError: The raw file is in none of them.
    """
    script = importlib.import_module(meta["class"])
    places = [place for folder in folders for place in (folder, folder / "data")]
    found = [
        place / meta["file"] for place in places if (place / meta["file"]).is_file()
    ]
    if not found:
        raise FileNotFoundError(
            f"{meta['file']} is in none of {list(map(str, places))}."
        )
    with tempfile.TemporaryDirectory() as folder, reference():
        getattr(script, meta["method"])(
            found[0], folder, noise=arrays["noise/0"], **meta["call"]
        )
        made = sorted(Path(folder).iterdir())
        produced = {"out/files": np.array([path.name for path in made])}
        for path in made:
            with np.load(path) as file:
                produced |= {f"out/{path.stem}/{k}": file[k] for k in file.files}
    return produced
