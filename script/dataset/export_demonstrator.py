"""Turns a SAC run into a demonstrator: picks the checkpoint nearest a return.

    python script/dataset/export_demonstrator.py RUN --target 1500 --out FILE.npz

Every checkpoint of the run is rolled out as data are generated; the one whose mean
return comes nearest to `--target` is written with the command that trained it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from agent.dataset.demonstrator import generate_dataset  # noqa: E402
from util.checkpoint import list_states, load_policy  # noqa: E402

ACTOR = ("mlp_base.", "mlp_mean.", "mlp_logvar.", "logvar_")


def write_actor(state: Path, out: Path, meta: dict) -> None:
    """Writes the actor of a SAC checkpoint as plain arrays."""
    weights = load_policy(state).weights or {}
    arrays = {
        key.removeprefix("network."): value
        for key, value in weights.items()
        if key.startswith("network.")
    }
    unknown = [key for key in arrays if not key.startswith(ACTOR)]
    if unknown or not arrays:
        raise ValueError(f"{state} is not a SAC actor with an MLP: {unknown}.")
    arrays["meta"] = np.array(json.dumps(meta))
    np.savez_compressed(out, allow_pickle=False, **arrays)


def measure(weights: Path, env_name: str, n_steps: int, seed: int) -> dict:
    """What a policy's data are like."""
    with tempfile.TemporaryDirectory() as folder:
        source = generate_dataset(env_name, folder, n_steps, seed, weights_path=weights)
    return {key: source[key] for key in ("episodes", "mean_return", "std_return")}


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a SAC run")
    parser.add_argument("--target", type=float, default=1500.0)
    parser.add_argument("--first", type=int, default=0, help="first checkpoint")
    parser.add_argument("--n_steps", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--command", required=True, help="what trained the run")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    config = yaml.safe_load((options.run / "config.yaml").read_text())
    meta = {
        "command": options.command,
        "seed": config["seed"],
        "activation": config["model"]["actor"]["activation_type"],
        "tanh": config["model"]["tanh_output"],
        "randn_clip_value": config["model"]["randn_clip_value"],
    }
    best = None
    for step, state in list_states(options.run / "checkpoint"):
        if step < options.first:
            continue
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            write_actor(state, Path(file.name), meta)
            found = measure(
                Path(file.name), config["env_name"], options.n_steps, options.seed
            )
        print(f"state_{step}: {found}", flush=True)
        distance = abs(found["mean_return"] - options.target)
        if best is None or distance < best[0]:
            best = (distance, step, state, found)
    if best is None:
        sys.exit(f"{options.run} has no checkpoint from iteration {options.first} on.")
    _, step, state, found = best
    write_actor(state, options.out, {**meta, "step": step, **found})
    print(f"wrote {options.out} from state_{step}: {found}")


if __name__ == "__main__":
    main()
