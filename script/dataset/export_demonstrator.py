"""Turns a SAC run into a demonstrator: picks the checkpoint nearest a return.

    python script/dataset/export_demonstrator.py RUN --target 1500 --out FILE.npz

The checkpoints from `--first` to `--last` are rolled out as data are generated, with
mean actions; the one whose mean return comes nearest to `--target`, or without a target
the best, is written with the command that trained it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from agent.dataset.demonstrator import generate_dataset  # noqa: E402
from util.checkpoint import list_states, load_policy  # noqa: E402
from util.run_folder import read_run  # noqa: E402

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


def describe_run(run: Path) -> tuple[str, dict]:
    """The experiment of a run, and what a demonstrator's file says of its training."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    words = str(read_run(run).get("command", "unknown")).split(" ")
    return config["env_name"], {
        "command": " ".join(word for word in words if not word.startswith("logdir=")),
        "seed": config["seed"],
        "activation": config["model"]["actor"]["activation_type"],
        "tanh": config["model"]["tanh_output"],
        "randn_clip_value": config["model"]["randn_clip_value"],
    }


def measure_states(options: argparse.Namespace) -> list[tuple[dict, Path]]:
    """What the data of each checkpoint in question are like, and the checkpoint."""
    env_name, meta = describe_run(options.run)
    candidates = []
    for step, state in list_states(options.run / "checkpoint"):
        if not options.first <= step <= options.last:
            continue
        with tempfile.NamedTemporaryFile(suffix=".npz") as file:
            write_actor(state, Path(file.name), meta)
            found = measure(Path(file.name), env_name, options.n_steps, options.seed)
        print(f"state_{step}: {found}", flush=True)
        candidates.append(({**meta, "step": step, **found}, state))
    return candidates


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a SAC run")
    parser.add_argument("--target", type=float, help="mean return; else the highest")
    parser.add_argument("--first", type=int, default=0, help="first checkpoint")
    parser.add_argument("--last", type=float, default=math.inf, help="last checkpoint")
    parser.add_argument("--n_steps", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line.

    Args:
        arguments: Instead of `sys.argv[1:]`.
    """
    options = parse(arguments)
    candidates = measure_states(options)
    if not candidates:
        sys.exit(
            f"{options.run} has no checkpoint from iteration {options.first} to "
            f"{options.last}."
        )

    def preference(candidate: tuple[dict, Path]) -> float:
        reached = candidate[0]["mean_return"]
        return reached if options.target is None else -abs(reached - options.target)

    meta, state = max(candidates, key=preference)
    write_actor(state, options.out, meta)
    print(f"wrote {options.out} from {state.name}: {meta['mean_return']:.1f}")


if __name__ == "__main__":
    main()
