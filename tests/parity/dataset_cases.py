"""Replays recorded cases of the area `dataset`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.dataset import sequence
from util.compat import reference

DATA = Path(__file__).parent / "dataset" / "data"


def replay(
    meta: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    folders: Sequence[Path] = (),
) -> dict[str, np.ndarray]:
    """Computes `out/...` of a case with this project's dataset classes.

    Args:
        meta: The case's `meta`: class, method, file and call.
        arrays: The case's arrays, of which `noise/0` (drawn positions) is read.
        folders: Where the data file may lie, besides this package.
    """
    places = [place for folder in folders for place in (folder, folder / "data")]
    files = [place / meta["file"] for place in (*places, DATA)]
    path = next((file for file in files if file.is_file()), files[-1])
    with reference():
        if meta["method"] == "set_train_val_split":
            return _replay_split(meta, arrays, path)
        return _replay_items(meta, path)


def _dataset(meta: Mapping[str, Any], path: Path, **call: Any) -> Any:
    kind = getattr(sequence, meta["class"].rsplit(".", 1)[1])
    return kind(dataset_path=path, **call)


def _replay_items(meta: Mapping[str, Any], path: Path) -> dict[str, np.ndarray]:
    try:
        return _items(_dataset(meta, path, **meta["call"]))
    except sequence.NoItemsError:
        # The reference builds a dataset without items; this project refuses to.
        return {"out/len": np.array(0), "out/indices": np.zeros((0, 2), np.int64)}


def _items(dataset: Any) -> dict[str, np.ndarray]:
    items = [dataset[position] for position in range(len(dataset))]
    out: dict[str, Any] = {
        "len": len(dataset),
        "indices": dataset.indices,
        "fields": items[0]._fields,
        "condition_keys": tuple(items[0].conditions),
    }
    for field in items[0]._fields:
        if field != "conditions":
            out[field] = np.stack([getattr(item, field) for item in items])
    for name in items[0].conditions:
        out[f"conditions/{name}"] = np.stack([item.conditions[name] for item in items])
    return {f"out/{name}": np.asarray(value) for name, value in out.items()}


def _replay_split(
    meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray], path: Path
) -> dict[str, np.ndarray]:
    """The recorded call omits the constructor's; its chunk length is in out/actions."""
    horizon, cond = (
        arrays[name].shape[1] for name in ("out/actions", "out/conditions/state")
    )
    dataset = _dataset(meta, path, horizon_steps=horizon, cond_steps=cond)
    full = dataset.indices
    drawn = arrays["noise/0"]
    held_out = dataset.set_train_val_split(**meta["call"], noise=drawn)
    return _items(dataset) | {
        "out/full_indices": full,
        # The reference reports every position; ours are those that were not drawn.
        "out/val_indices": np.union1d(held_out, drawn),
        "out/has_set_indices": np.array(hasattr(dataset, "set_indices")),
    }
