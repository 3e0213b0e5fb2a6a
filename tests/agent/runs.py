"""Runs of tiny leaves: made, resumed, and what they earn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.agent.tiny import record_losses, tiny_config
from util.checkpoint import load_state
from util.config import resolve_target
from util.metrics import read_metrics

# Enough of the point's environment for a policy to learn to stay in it.
LEARNING = (
    "env.n_envs=16",
    "env.max_episode_steps=20",
    "train.n_steps=30",
    "train.batch_size=40",
    "model.actor.fixed_std=0.5",
)


def make_agent(
    kind: str, folder: Path, *overrides: str, resume: Path | None = None
) -> Any:
    """The agent of a tiny leaf, which says nothing.

    Args:
        kind: A key of `LEAVES`.
        folder: Of the run.
        *overrides: `key=value`.
        resume: The folder to go on from.
    """
    cfg = tiny_config(kind, folder, *overrides)
    cfg.resume = resume and str(resume)
    agent = resolve_target(cfg._target_)(cfg)
    agent.logger.console = lambda *_: None
    return agent


def run(kind: str, folder: Path, *overrides: str, losses: list | None = None) -> Any:
    """An agent that has run; `losses` collects those of minibatches."""
    agent = make_agent(kind, folder, *overrides)
    if losses is not None:
        record_losses(agent, losses)
    agent.run()
    return agent


def final_states(
    kind: str, folder: Path, *overrides: str, iterations: int = 2
) -> list[dict[str, Any]]:
    """What a straight run leaves in `last`, and one that was interrupted.

    They are equal if all that matters was saved.

    Args:
        kind: A key of `LEAVES`.
        folder: Where both runs go.
        *overrides: `key=value`.
        iterations: Those before the interruption.
    """
    straight, halves = (folder / name for name in ("straight", "halves"))
    run(kind, straight, *overrides)
    agent = make_agent(kind, halves, *overrides)
    for _ in range(iterations):
        agent.iterate()
    agent.venv.close()
    make_agent(kind, halves, *overrides, resume=halves).run()
    return [load_state(run / "checkpoint" / "last")[0] for run in (straight, halves)]


def returns(folder: Path) -> list[float]:
    """Mean returns of evaluations."""
    rows = read_metrics(folder / "metrics.jsonl")
    name = "avg episode reward - eval"
    return [row[name] for row in rows if name in row]


def traces(agent: Any, *names: str) -> dict[str, int]:
    """How often compiled functions were traced, those that sample among them."""
    found = {name: getattr(agent, name) for name in names}
    found |= {f"sample {key}": value for key, value in agent._sample.items()}
    return {k: f.experimental_get_tracing_count() for k, f in found.items()}
