"""Do policies that see learn the pixel reacher, and do they need to see?

    python script/studies/pixel_reacher.py [--seed 42] [--episodes 100]

Makes demonstrations, clones them into a diffusion and a Gaussian policy with vision
transformers, and evaluates both, the demonstrator, random actions, and both policies
with black images. What is done already is not done again, so an interrupted study is
continued by the same command. Writes docs/results/pixel_reacher; exit status 1 means
that a policy that sees is less than half-way from chance to the demonstrator, or a
blind one is not.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from script.collect_results import describe, without_paths  # noqa: E402
from script.dataset import generate_pixel_reacher_dataset as demonstrations  # noqa: E402
from script.studies.runs import Training, run  # noqa: E402
from util.config import (  # noqa: E402
    compose,
    digest,
    prepare_environment,
    resolve_target,
)
from util.plotting import DPI  # noqa: E402
from util.run_folder import commit  # noqa: E402

POLICIES = {"diffusion": "diffusion_mlp_img", "gaussian": "gaussian_mlp_img"}
"""Name of a policy -> what the names of its configs end in."""

TITLES = {
    "random": "random actions",
    "demonstrator": "demonstrator",
    "diffusion": "diffusion",
    "diffusion_blank": "diffusion, black images",
    "gaussian": "Gaussian",
    "gaussian_blank": "Gaussian, black images",
}
"""What is evaluated."""

N_ENVS = 20
CHUNKS = 13  # chunks of 4 in an episode
N_PICTURES = 8

Arrays = dict[str, np.ndarray]


def is_policy(label: str) -> bool:
    """Whether an evaluation is of a trained policy."""
    return label.partition("_")[0] in POLICIES


def is_blind(label: str) -> bool:
    """Whether it is of a policy that is shown black images."""
    return label.endswith("_blank")


# -- stages ----------------------------------------------------------------------------


def make_data(n_demos: int, seed: int) -> None:
    """Generates the demonstrations unless they are there."""
    folder = Path(os.environ["DPPO_DATA_DIR"]) / "pixel" / "reacher"
    if not (folder / "train.npz").exists():
        options = [f"--n_demos={n_demos}", f"--seed={seed}", f"--save_dir={folder}"]
        run(["script/dataset/generate_pixel_reacher_dataset.py", *options])


def pretrain(name: str, folder: Path, seed: int) -> None:
    """Trains a policy, from where an earlier attempt ended, unless it is finished."""
    Training(
        f"pre_{POLICIES[name]}", "pixel/pretrain/reacher", folder, (f"seed={seed}",)
    ).start()


def evaluation(label: str, work: Path, episodes: int, seed: int) -> list[str]:
    """Name of the config that evaluates a policy, and what is overridden in it."""
    name = label.partition("_")[0]
    return [
        f"eval_{POLICIES[name]}",
        f"base_policy_path={work / name}",
        f"n_steps={CHUNKS * math.ceil(episodes / N_ENVS)}",
        f"env.n_envs={N_ENVS}",
        f"env.specific.blank={is_blind(label)}",
        f"seed={seed}",
        f"logdir={work / f'eval_{label}'}",
    ]


def compose_evaluation(config: str, *overrides: str) -> DictConfig:
    """The config of an evaluation, as the launcher composes it."""
    cfg = compose(ROOT / "cfg" / "pixel" / "eval" / "reacher", config, overrides)
    OmegaConf.resolve(cfg)
    return cfg


class Keeper:
    """Counts the episodes of a rollout, and keeps both.

    Args:
        count: What the agent counts episodes with.
    """

    def __init__(self, count: Any) -> None:
        self._count = count

    def __call__(self, rollout: Any) -> Any:
        """Returns what `count` does."""
        self.rollout, self.episodes = rollout, self._count(rollout)
        return self.episodes


def evaluate_policy(cfg: DictConfig) -> Arrays:
    """Single episodes of a checkpoint, and what it saw in the first one.

    The agent is the launcher's, with the same draws, and writes the same files; but it
    says means only, and intervals need single episodes.
    """
    agent = resolve_target(str(cfg._target_))(cfg)
    kept = agent.count_episodes = Keeper(agent.count_episodes)
    agent.run()
    return {
        "reward": kept.episodes.rewards,
        "success": kept.episodes.success,
        "pictures": kept.rollout.obs["rgb"][:CHUNKS, 0, -1],
    }


def evaluate_scripted(label: str, episodes: int, seed: int) -> Arrays:
    """Single episodes of the demonstrator or random actions, which need no images."""
    actors: dict[str, demonstrations.Act] = {
        "random": demonstrations.act_at_random,
        "demonstrator": demonstrations.Demonstrator(),
    }
    act = actors[label]
    data, _ = demonstrations.roll_out(act, episodes, seed, TITLES[label], blank=True)
    return demonstrations.summarise(data["rewards"])


def evaluate(label: str, work: Path, episodes: int, seed: int) -> Arrays:
    """Single episodes, as an earlier attempt left them or new."""
    file = work / f"episodes_{label}.npz"
    if not file.exists():
        if is_policy(label):
            cfg = compose_evaluation(*evaluation(label, work, episodes, seed))
            found = evaluate_policy(cfg)
        else:
            found = evaluate_scripted(label, episodes, seed)
        aside = work / f"unfinished_{label}.npz"
        np.savez(aside, **found)  # type: ignore[arg-type]
        aside.rename(file)
    with np.load(file) as archive:
        return dict(archive)


# -- numbers ---------------------------------------------------------------------------


def wilson(successes: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, 1927).

    (p + z^2 / 2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n).
    """
    share, spread = successes / count, z * z / count
    middle = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count))
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    return max(0.0, low), min(1.0, high)


def summarise(episodes: Arrays) -> dict[str, Any]:
    """Success and reward of single episodes, with 95 % intervals."""
    success, reward = episodes["success"], episodes["reward"].astype(np.float64)
    count, mean = len(success), float(reward.mean())
    error = 1.96 * float(reward.std()) / math.sqrt(count)
    return {
        "episodes": count,
        "success_rate": float(success.mean()),
        "success_rate_interval": list(wilson(int(success.sum()), count)),
        "episode_reward": mean,
        "episode_reward_interval": [mean - error, mean + error],
    }


def shares_of_the_way(table: Mapping[str, dict[str, Any]], key: str) -> dict:
    """How far each policy is from chance (0) to the demonstrator (1)."""
    low, high = table["random"][key], table["demonstrator"][key]
    return {
        label: (table[label][key] - low) / (high - low)
        for label in table
        if is_policy(label)
    }


def is_learned(shares: Mapping[str, float]) -> bool:
    """Whether all that see are half-way at least, and no blind one is."""
    return all((share >= 0.5) != is_blind(label) for label, share in shares.items())


# -- the result ------------------------------------------------------------------------


def how_evaluated(label: str, work: Path, episodes: int, seed: int) -> dict[str, Any]:
    """What makes the same evaluation: the launcher's command, or this study alone."""
    if not is_policy(label):
        return {"seed": seed}
    config, *overrides = evaluation(label, work, episodes, seed)
    folder = "--config-dir=cfg/pixel/eval/reacher"
    words = ["python script/run.py", f"--config-name={config}", folder, *overrides]
    return {
        "seed": seed,
        "command": without_paths(" ".join(words), work / label),
        "config_digest": digest(compose_evaluation(config, *overrides)),
    }


def write_result(
    found: Mapping[str, Arrays], work: Path, options: argparse.Namespace
) -> bool:
    """Writes numbers, raw metrics and the picture; returns whether it is learned."""
    out, seed = options.out, options.seed + 1
    out.mkdir(parents=True, exist_ok=True)
    for name in POLICIES:
        copy_run(work / name, out / name)
    table = {
        label: summarise(episodes) | how_evaluated(label, work, options.episodes, seed)
        for label, episodes in found.items()
    }
    ways = {
        key: shares_of_the_way(table, key) for key in ("success_rate", "episode_reward")
    }
    learned = all(is_learned(shares) for shares in ways.values())
    result = {
        "name": out.name,
        "command": f"python script/studies/pixel_reacher.py --seed={options.seed} "
        f"--episodes={options.episodes} --n_demos={options.n_demos}",
        "commit": commit(),
        "machine": f"{os.cpu_count()} CPU cores, no GPU",
        "learned": learned,
        "share_of_the_way_from_random_to_demonstrator": ways,
        "evaluations": table,
        "training": {
            name: describe(work / name, "loss - train", 1) for name in POLICIES
        },
    }
    single = {
        label: {key: episodes[key].tolist() for key in ("success", "reward")}
        for label, episodes in found.items()
    }
    (out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "episodes.json").write_text(json.dumps(single) + "\n")
    draw(found, table, out / "result.png")
    return learned


def copy_run(run_folder: Path, target: Path) -> None:
    """Copies raw metrics and config of a run, without folders of this machine."""
    target.mkdir(exist_ok=True)
    shutil.copy(run_folder / "metrics.jsonl", target)
    text = without_paths((run_folder / "config.yaml").read_text(), run_folder)
    config = yaml.safe_load(text)
    (target / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))


def draw(found: Mapping[str, Arrays], table: Mapping[str, dict], path: Path) -> None:
    """Bars with intervals above, what the policies saw in one episode below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.0, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.0, 0.9))
    above, below = parts
    left, right = above.subplots(1, 2, sharey=True)
    draw_bars(left, table, "success_rate")
    draw_bars(right, table, "episode_reward")
    left.set_xlabel("success rate")
    right.set_xlabel("steps at the target, of 50")
    grid = below.subplots(len(POLICIES), N_PICTURES)
    chunks = np.linspace(0, CHUNKS - 1, N_PICTURES).round().astype(int)
    for name, row in zip(POLICIES, grid, strict=True):
        for chunk, axes in zip(chunks, row, strict=True):
            picture = found[name]["pictures"][chunk].transpose(1, 2, 0)
            axes.imshow(picture, interpolation="nearest")
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"step {4 * chunk}", fontsize=8)
        row[0].set_ylabel(TITLES[name])
    figure.savefig(path, dpi=DPI)


def draw_bars(axes: Any, table: Mapping[str, dict], key: str) -> None:
    """One bar for each evaluation, with its 95 % interval."""
    labels = list(table)
    values = np.array([table[label][key] for label in labels])
    limits = np.array([table[label][f"{key}_interval"] for label in labels])
    colours = [
        "0.7" if not is_policy(label) else "C3" if is_blind(label) else "C0"
        for label in labels
    ]
    errors = np.maximum(0.0, np.abs(limits.T - values))
    names = [TITLES[label] for label in labels]
    axes.barh(names, values, xerr=errors, color=colours, capsize=2)
    axes.spines[["top", "right"]].set_visible(False)
    if not axes.yaxis_inverted():
        axes.invert_yaxis()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the study; 0 if the policies learned and those that are blind failed.

    Args:
        arguments: Instead of `sys.argv[1:]`.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--n_demos", type=int, default=500)
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/pixel_reacher")
    options = parser.parse_args(arguments)
    prepare_environment()
    work = Path(os.environ["DPPO_LOG_DIR"]) / "studies" / "pixel_reacher"
    work.mkdir(parents=True, exist_ok=True)
    make_data(options.n_demos, seed=0)
    for name in POLICIES:
        pretrain(name, work / name, options.seed)
    found = {}
    for label, title in TITLES.items():
        found[label] = evaluate(label, work, options.episodes, options.seed + 1)
        numbers = summarise(found[label])
        print(
            f"{title:>24}: success rate {numbers['success_rate']:.2f}, "
            f"reward {numbers['episode_reward']:.1f}",
            flush=True,
        )
    learned = write_result(found, work, options)
    print(f"{options.out}: {'learned' if learned else 'NOT learned'}")
    return 0 if learned else 1


if __name__ == "__main__":
    sys.exit(main())
