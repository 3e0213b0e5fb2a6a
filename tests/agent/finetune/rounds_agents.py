"""Agents that learn in rounds, with tiny networks on the toy environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.agent.tiny import tiny_config
from util.config import resolve_target

# Settings of the algorithm that differ from the leaf's: much happens in a few rounds.
KINDS: dict[str, dict[str, Any]] = {
    "dql": {"target_ema_rate": 0.1},
    "idql": {"critic_tau": 0.1},
    "qsm": {"critic_tau": 0.1, "q_grad_coeff": 5},
    "dipo": {"target_ema_rate": 0.1, "action_lr": 0.05},
}
# Those whose rounds are their own.
WEIGHTED: dict[str, dict[str, Any]] = {
    "awr": {"beta": 2.0, "max_adv_weight": 5.0},
    "rwr": {
        "beta": 2.0,
        "max_reward_weight": 5.0,
        "lr": 1e-3,
        "lr_scheduler": {"first_cycle_steps": 9, "warmup_steps": 1, "min_lr": 1e-4},
    },
}
_SHARED = {"scale_reward_factor": 1.0, "val_freq": 9, "save_last_minutes": 5.0}


def make_agent(kind: str, folder: Path, **settings: Any) -> Any:
    """An agent that collects 2 x 4 transitions and takes 8 rounds in an iteration.

    Args:
        kind: A key of `KINDS` or `WEIGHTED`.
        folder: Of the run.
        **settings: Of the training.
    """
    cfg = tiny_config(kind, folder)
    cfg.resume = settings.pop("resume", None)
    cfg.train = {**cfg.train, **_SHARED, **(KINDS | WEIGHTED)[kind], **settings}
    agent = resolve_target(cfg._target_)(cfg)
    agent.logger.console = lambda *_: None
    return agent
