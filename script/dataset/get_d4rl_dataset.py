"""Makes a training set from a D4RL file in HDF5.

    python script/dataset/get_d4rl_dataset.py --load_path=hopper_medium-v2.hdf5 \
        --save_dir=$DPPO_DATA_DIR/gym/hopper-medium-v2

Writes `<prefix>train.npz`, `<prefix>val.npz` and `<prefix>normalization.npz`. The
reference needs the d4rl package and MuJoCo 2.1 for this; the file is all that is read
here. Departures: every episode is kept, whatever its return; the ranges are those of
the data that are kept; the split is seeded. `--compat d4rl_drop_nonpositive_returns`
does as the reference.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from tqdm import tqdm

if __package__ in (None, ""):
    # Started as a file: Python then looks for modules beside it, not in the root.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from agent.dataset.normalise import bounds_of, normalise, write_together
from util.compat import compat, compat_scope

log = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray]

_RANKS = {
    "observations": 2,
    "actions": 2,
    "rewards": 1,
    "terminals": 1,
    "timeouts": 1,
}
_READ_AT_ONCE = 100_000


def read_d4rl(path: str | Path) -> Arrays:
    """The arrays of a D4RL file, with a progress bar.

    Args:
        path: The HDF5 file.

    Returns:
        observations (N, Do), actions (N, Da) and rewards (N,), float32; terminals and
        timeouts (N,), bool. Without timeouts in the file, none is set.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or an array is missing, of the wrong shape
            or not finite. Names file and array.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"load_path={path}: there is no such file.")
    try:
        with h5py.File(path, "r") as file:
            arrays = {name: _read(path, file, name) for name in _RANKS}
    except OSError as error:
        raise ValueError(f"{path}: not a readable HDF5 file: {error}") from error
    rows = len(arrays["observations"])
    for name, array in arrays.items():
        if len(array) != rows:
            raise ValueError(
                f"{path}: array {name!r} must have {rows} rows as observations, got "
                f"{len(array)}."
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{path}: array {name!r} has NaN or infinite values.")
    return arrays


def _read(path: str | Path, file: h5py.File, name: str) -> np.ndarray:
    """One array, piece by piece."""
    if name == "timeouts" and name not in file:
        log.warning("%s has no timeouts: episodes end at terminals only.", path)
        return np.zeros(len(file["terminals"]), bool)
    if not isinstance(file.get(name), h5py.Dataset):
        raise ValueError(f"{path}: array {name!r} is missing, got {sorted(file)}.")
    stored = file[name]
    if stored.ndim != _RANKS[name] or stored.dtype.kind not in "biuf":
        raise ValueError(
            f"{path}: array {name!r} must be numeric with {_RANKS[name]} axes, got "
            f"{stored.dtype} {stored.shape}."
        )
    is_flag = name in ("terminals", "timeouts")
    array = np.empty(stored.shape, bool if is_flag else np.float32)
    for start in tqdm(range(0, len(array), _READ_AT_ONCE), desc=name, leave=False):
        array[start : start + _READ_AT_ONCE] = stored[start : start + _READ_AT_ONCE]
    return array


def episode_lengths(terminals: np.ndarray, timeouts: np.ndarray) -> np.ndarray:
    """Lengths of the episodes that come to an end. (n_episodes,).

    Args:
        terminals: (N,), bool.
        timeouts: (N,), bool.
    """
    if compat("d4rl_drop_nonpositive_returns"):
        # A step with both flags ends two episodes there, the second of no steps.
        both = np.concatenate([np.flatnonzero(terminals), np.flatnonzero(timeouts)])
        return np.diff(np.sort(both), prepend=-1)
    return np.diff(np.flatnonzero(terminals | timeouts), prepend=-1)


def make_dataset(
    load_path: str | Path,
    save_dir: str | Path,
    save_name_prefix: str = "",
    val_split: float = 0.0,
    max_episodes: int = -1,
    rng: np.random.Generator | None = None,
    noise: Sequence[int] | np.ndarray | None = None,
) -> dict[str, Arrays]:
    """Writes training and validation set and their normalisation.

    Args:
        load_path: D4RL file in HDF5.
        save_dir: Created if missing.
        save_name_prefix: Before the names of the files.
        val_split: Share of the episodes that is held out, in [0, 1).
        max_episodes: Only the first this many; -1 for all.
        rng: Draws the training episodes; by default seeded with 0.
        noise: Numbers of the training episodes, instead of `rng`.

    Returns:
        The arrays of each file, by its name.

    Raises:
        ValueError: If an argument or the file is not valid, or no episode is left.
    """
    if not 0.0 <= val_split < 1.0:
        raise ValueError(f"val_split must be in [0, 1), got {val_split}.")
    if max_episodes < 1 and max_episodes != -1:
        raise ValueError(f"max_episodes must be >= 1 or -1, got {max_episodes}.")
    raw = read_d4rl(load_path)
    lengths = episode_lengths(raw["terminals"], raw["timeouts"])
    lengths = lengths[: len(lengths) if max_episodes == -1 else max_episodes]
    if not len(lengths):
        raise ValueError(f"{load_path}: no episode comes to an end.")
    if noise is None:
        drawn = rng or np.random.default_rng(0)
        noise = drawn.permutation(len(lengths))[: int(len(lengths) * (1 - val_split))]
    is_train = np.isin(np.arange(len(lengths)), noise)
    kept = _kept_episodes(raw["rewards"], lengths)
    if not (kept & is_train).any():
        raise ValueError(f"{load_path}: no episode is left for training.")
    rows = int(lengths.sum())
    used = slice(None if compat("d4rl_drop_nonpositive_returns") else rows)
    bounds = bounds_of(raw["observations"][used], raw["actions"][used])
    files = {"normalization.npz": bounds}
    for name, chosen in (("val.npz", ~is_train), ("train.npz", is_train)):
        files[name] = _selected(raw, lengths, kept & chosen, bounds)
    named = {save_name_prefix + name: arrays for name, arrays in files.items()}
    write_together(save_dir, named, compress=True)
    return named


def _kept_episodes(rewards: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Which episodes are used. (n_episodes,), bool."""
    if not compat("d4rl_drop_nonpositive_returns"):
        return np.ones(len(lengths), bool)
    sums = np.concatenate([[0.0], np.cumsum(rewards, dtype=np.float64)])
    ends = np.cumsum(lengths)
    return sums[ends] > sums[ends - lengths]


def _selected(
    raw: Arrays, lengths: np.ndarray, chosen: np.ndarray, bounds: Arrays
) -> Arrays:
    """The arrays of `train.npz` for the chosen episodes."""
    rows = np.flatnonzero(np.repeat(chosen, lengths))
    obs = bounds["obs_min"], bounds["obs_max"]
    action = bounds["action_min"], bounds["action_max"]
    arrays = {
        "states": normalise(raw["observations"][rows], *obs),
        "actions": normalise(raw["actions"][rows], *action),
        "rewards": raw["rewards"][rows],
        "terminals": raw["terminals"][rows],
        "traj_lengths": lengths[chosen].astype(np.int64),
    }
    if len(rows) == 0 and compat("d4rl_drop_nonpositive_returns"):
        return {name: np.array([]) for name in arrays}
    return arrays


def _summary(arrays: Arrays) -> str:
    lengths = arrays["traj_lengths"].astype(np.int64)
    if not len(lengths):
        return "no episodes"
    starts = np.cumsum(lengths) - lengths
    returns = np.add.reduceat(arrays["rewards"].astype(np.float64), starts)
    return (
        f"{len(lengths)} episodes, {lengths.sum()} steps, return "
        f"{returns.mean():.1f} +- {returns.std():.1f}"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Args:
        arguments: Instead of `sys.argv[1:]`.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env_name", default="hopper-medium-v2")
    parser.add_argument("--load_path", required=True)
    parser.add_argument("--save_dir", default=".")
    parser.add_argument("--save_name_prefix", default="")
    parser.add_argument("--val_split", type=float, default=0.0)
    parser.add_argument("--max_episodes", type=int, default=-1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compat", nargs="*", default=[])
    options = parser.parse_args(arguments)
    with compat_scope(dict.fromkeys(options.compat, True)):
        files = make_dataset(
            options.load_path,
            options.save_dir,
            options.save_name_prefix,
            options.val_split,
            options.max_episodes,
            np.random.default_rng(options.seed),
        )
    for name, arrays in files.items():
        if "traj_lengths" in arrays:
            print(f"{options.env_name} {name}: {_summary(arrays)}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"Error: {error}")
