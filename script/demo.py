"""Pre-trains, fine-tunes and evaluates a diffusion policy on Hopper in minutes.

`make demo` runs it. Every stage is an ordinary command of the launcher, printed before
it runs; only budgets differ from the configs. Exit status 1 means that fine-tuning did
not improve on the pre-trained policy.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from util.config import prepare_environment  # noqa: E402
from util.metrics_files import read_metrics  # noqa: E402

REWARD = "avg episode reward - eval"
TASK = "hopper"
PRETRAIN = [
    "data.n_steps=200000",
    "train.n_epochs=15",
    "train.lr_scheduler.first_cycle_steps=15",
    "train.epoch_start_ema=5",
    "train.save_model_freq=15",
]
FINETUNE = [
    "data.n_steps=200000",
    "train.n_train_itr=13",
    "train.n_steps=250",
    "train.batch_size=10000",
    "train.val_freq=4",
    "train.save_model_freq=12",
]


def command(name: str, folder: str, *overrides: str) -> list[str]:
    """The launcher's command for one stage."""
    return [
        sys.executable,
        "script/run.py",
        f"--config-name={name}",
        f"--config-dir=cfg/gym/{folder}",
        "wandb=null",
        *overrides,
    ]


def run_stage(title: str, arguments: list[str]) -> None:
    """Prints and runs one stage; its failure ends the demo."""
    shown = " ".join(["python", *arguments[1:]])
    print(f"\n=== {title}\n$ {shown}\n", flush=True)
    started = time.perf_counter()
    status = subprocess.run(arguments, cwd=ROOT).returncode
    if status:
        sys.exit(f"{title} failed with status {status}: {shown}")
    print(f"--- {title}: {time.perf_counter() - started:.0f} s", flush=True)


def evaluations(run: Path) -> list[float]:
    """Mean episode rewards of a run's evaluations, in order."""
    rows = read_metrics(run / "metrics.jsonl")
    return [row[REWARD] for row in rows if REWARD in row]


def main() -> int:
    """Runs the stages and compares the first with the last evaluation."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=42)
    seed = parser.parse_args().seed
    prepare_environment()
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    folder = Path(os.environ["DPPO_LOG_DIR"]) / "demo" / f"{stamp}_{seed}"
    stages = {name: folder / name for name in ("pretrain", "finetune", "eval")}
    run_stage(
        "1/3 pre-training",
        command(
            "pre_diffusion_mlp",
            f"pretrain/{TASK}-medium-v2",
            *PRETRAIN,
            f"logdir={stages['pretrain']}",
            f"seed={seed}",
        ),
    )
    run_stage(
        "2/3 fine-tuning",
        command(
            "ft_ppo_diffusion_mlp",
            f"finetune/{TASK}-v2",
            *FINETUNE,
            f"base_policy_path={stages['pretrain']}",
            f"logdir={stages['finetune']}",
            f"seed={seed}",
        ),
    )
    run_stage(
        "3/3 evaluation",
        command(
            "eval_diffusion_mlp",
            f"eval/{TASK}-v2",
            f"base_policy_path={stages['finetune']}",
            "data.n_steps=200000",
            "n_steps=500",
            f"logdir={stages['eval']}",
            f"seed={seed + 1}",
        ),
    )
    rewards = evaluations(stages["finetune"])
    print(
        f"\nepisode reward: pre-trained {rewards[0]:.1f}, fine-tuned {rewards[-1]:.1f}"
        f"\nlearning curve: {stages['finetune'] / 'curve.png'}"
    )
    if rewards[-1] <= rewards[0]:
        print("the fine-tuned policy is not better than the pre-trained one")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
