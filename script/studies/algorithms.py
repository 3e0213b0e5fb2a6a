"""Does every algorithm learn, and how do they compare with each other?

    python script/studies/algorithms.py [NAME ...] [--seeds 42 43] [--jobs 2]

Clones a diffusion and a Gaussian policy from Hopper's medium data, and improves the
same two policies with each algorithm (all if no NAME is given). What is done already is
not done again, so an interrupted study is continued by the same command. In the end
writes docs/results/<name>_hopper for each algorithm whose seeds are through, and draws
the diffusion algorithms in one figure, as in figure 5 of the DPPO paper.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from script.collect_results import main as collect  # noqa: E402
from script.figures import main as draw_figure  # noqa: E402
from script.studies.runs import Training, start_all  # noqa: E402
from util.config import prepare_environment  # noqa: E402

CLONED = {"diffusion": "pre_diffusion_mlp", "gaussian": "pre_gaussian_mlp_ta4"}
"""Name of a cloned policy -> its config."""
CLONING = (
    "train.n_epochs=20",
    "train.lr_scheduler.first_cycle_steps=20",
    "train.save_model_freq=20",
)
# Eight evaluations and 21 iterations of 40,000 steps, half of the paper's.
IN_ITERATIONS = ("train.n_steps=250", "train.n_train_itr=29", "train.val_freq=4")
SHORT = "40 environments, 250 chunks of 4 and 21 iterations, half of the paper's size."


@dataclass(frozen=True)
class Algorithm:
    """How an algorithm is shown.

    Attributes:
        config: Name of the config in cfg/gym/finetune/hopper-v2.
        start: The cloned policy that it starts from.
        overrides: Its budget, and what else differs from the config.
        note: What of that has to be said.
        seeds: How many of the seeds given, for an algorithm that takes long.
    """

    config: str
    overrides: tuple[str, ...] = IN_ITERATIONS
    note: str = SHORT
    start: str = "diffusion"
    seeds: int = 2


def fewer_steps(ratio: int, usual: str) -> tuple[tuple[str, ...], str]:
    """Overrides and note of an algorithm whose gradient steps take too long here."""
    note = f"{SHORT} train.replay_ratio is {ratio} instead of {usual}."
    return (*IN_ITERATIONS, f"train.replay_ratio={ratio}"), note


ALGORITHMS = {
    "ppo": Algorithm("ft_ppo_diffusion_mlp"),
    "rwr": Algorithm("ft_rwr_diffusion_mlp"),
    "awr": Algorithm("ft_awr_diffusion_mlp"),
    "dipo": Algorithm("ft_dipo_diffusion_mlp", *fewer_steps(16, "64"), seeds=1),
    "idql": Algorithm("ft_idql_diffusion_mlp"),
    "dql": Algorithm("ft_dql_diffusion_mlp", *fewer_steps(4, "16"), seeds=1),
    "qsm": Algorithm("ft_qsm_diffusion_mlp"),
    "ppo_exact": Algorithm("ft_ppo_exact_diffusion_mlp", seeds=1),
    "rwr_gaussian": Algorithm("ft_rwr_gaussian_mlp", start="gaussian"),
    "awr_gaussian": Algorithm("ft_awr_gaussian_mlp", start="gaussian"),
    "vpg_gaussian": Algorithm(
        "ft_vpg_gaussian_mlp",
        (*IN_ITERATIONS, "train.batch_size=10000"),
        start="gaussian",
    ),
}
COMPARED = ("ppo", "rwr", "awr", "dipo", "idql", "dql", "qsm")


def clonings(work: Path) -> list[Training]:
    """The two policies that everything starts from."""
    group = "gym/pretrain/hopper-medium-v2"
    return [
        Training(config, group, work / config, (*CLONING, "seed=42"))
        for config in CLONED.values()
    ]


def trainings(name: str, work: Path, seeds: Sequence[int]) -> list[Training]:
    """The runs of an algorithm, one for each seed."""
    algorithm = ALGORITHMS[name]
    start = f"base_policy_path={work / CLONED[algorithm.start]}"
    return [
        Training(
            algorithm.config,
            "gym/finetune/hopper-v2",
            work / f"{name}_{seed}",
            (start, *algorithm.overrides, f"seed={seed}"),
        )
        for seed in seeds[: algorithm.seeds]
    ]


def write(name: str, runs: Sequence[Training]) -> None:
    """Writes docs/results/<name>_hopper from finished runs."""
    folders = [str(run.folder) for run in runs]
    note = ALGORITHMS[name].note
    collect([f"{name}_hopper", *folders, "--last=2", f"--note={note}"])


def compare(results: Path) -> None:
    """Draws the algorithms that fine-tune the diffusion policy, as far as there."""
    made = [results / f"{name}_hopper" for name in COMPARED]
    folders = [str(folder) for folder in made if folder.is_dir()]
    if folders:
        out = str(results / "algorithms_hopper.png")
        draw_figure([*folders, "--metric=eval_episode_reward", f"--out={out}"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the study; 1 if a run failed.

    Args:
        arguments: Instead of `sys.argv[1:]`.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(ALGORITHMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43])
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(ALGORITHMS):
        parser.error(f"{min(unknown)} is none of {', '.join(ALGORITHMS)}.")
    prepare_environment()
    work = Path(os.environ["DPPO_LOG_DIR"]) / "studies" / "algorithms"
    work.mkdir(parents=True, exist_ok=True)
    chosen = {
        name: trainings(name, work, options.seeds)
        for name in options.names or ALGORITHMS
    }
    failed = start_all(clonings(work), options.jobs)
    if not failed:
        failed = start_all([r for runs in chosen.values() for r in runs], options.jobs)
    for name, runs in chosen.items():
        if all(run.is_finished() for run in runs):
            write(name, runs)
    compare(ROOT / "docs" / "results")
    print("\n".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
