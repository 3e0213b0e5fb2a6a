"""Agents that learn step by step from a data set, too, with tiny networks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.agent.tiny import changed, tiny_config, weights
from util.config import resolve_target

_SCHEDULE = {"first_cycle_steps": 9, "warmup_steps": 1, "min_lr": 1e-4}
_LEARNERS = {
    f"{name}_{key}": value
    for name in ("actor", "critic")
    for key, value in (
        ("lr", 1e-3),
        ("weight_decay", 0),
        ("lr_scheduler", _SCHEDULE),
    )
}
_SHARED = {
    **_LEARNERS,
    "batch_size": 4,
    "n_train_itr": 6,
    "n_explore_steps": 2,
    "val_freq": 4,
    "n_eval_episode": 1,
    "target_ema_rate": 0.25,
    "buffer_size": 100,
    "log_freq": 1,
    "save_last_minutes": 0,
}
_ENSEMBLE = {"n_critics": 3}
_SINGLE = {"double_q": False}
_CALQL: dict[str, Any] = {"n_explore_steps": 0, "n_random_actions": 2, "num_update": 3}
# Agent, model, its arguments, those of the critic, settings of the training.
KINDS: dict[str, tuple[str, str, dict, dict, dict]] = {
    "rlpd": (
        "rlpd_agent.TrainRLPDAgent",
        "gaussian_rlpd.RLPD_Gaussian",
        {**_ENSEMBLE, "backup_entropy": True},
        _SINGLE,
        {"critic_num_update": 3},
    ),
    "ibrl": (
        "ibrl_agent.TrainIBRLAgent",
        "gaussian_ibrl.IBRL_Gaussian",
        {**_ENSEMBLE, "soft_action_sample": True, "tanh_output": False},
        _SINGLE,
        {"critic_num_update": 2, "update_freq": 2, "n_explore_steps": 0},
    ),
    "calql offline": (
        "calql_agent.TrainCalQLAgent",
        "gaussian_calql.CalQL_Gaussian",
        {"cql_n_actions": 2},
        {},
        {**_CALQL, "train_online": False},
    ),
    "calql online": (
        "calql_agent.TrainCalQLAgent",
        "gaussian_calql.CalQL_Gaussian",
        {"cql_n_actions": 2},
        {},
        {**_CALQL, "train_online": True},
    ),
}


def write_transitions(folder: Path, episodes: int = 3, steps: int = 5) -> Path:
    """A data set for Q-learning, Do = 3, Da = 2; episodes terminate."""
    rng, rows = np.random.default_rng(1), episodes * steps
    path = folder / "offline.npz"
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(
        path,
        states=rng.uniform(-1, 1, (rows, 3)),
        actions=rng.uniform(-1, 1, (rows, 2)),
        rewards=np.arange(rows) / rows,
        terminals=np.arange(rows) % steps == steps - 1,
        traj_lengths=np.full(episodes, steps),
    )
    return path


def make_agent(kind: str, folder: Path, **settings: Any) -> Any:
    """An agent that takes a few rounds in each iteration.

    Args:
        kind: A key of `KINDS`.
        folder: Of the run.
        **settings: Of the training; those with a dot are anywhere in the config.
    """
    agent, model, own, critic, train = KINDS[kind]
    overrides = [f"{key}={value}" for key, value in settings.items() if "." in key]
    cfg = tiny_config("sac", folder)
    cfg.env.n_envs = 1 if "calql" in kind else 2
    cfg.model = {
        **cfg.model,
        "_target_": f"model.rl.{model}",
        "actor": {**cfg.model.actor, "mlp_dims": [8]},
        "critic": {**cfg.model.critic, "mlp_dims": [8], **critic},
        **own,
    }
    resume = settings.pop("resume", None)
    given = {key: value for key, value in settings.items() if "." not in key}
    cfg.train = {**cfg.train, **_SHARED, **train, **given}
    cfg.offline_dataset = {
        "_target_": "agent.dataset.sequence.StitchedSequenceQLearningDataset",
        "dataset_path": str(write_transitions(folder)),
        "horizon_steps": 1,
        "cond_steps": 1,
        "device": "cpu",
    }
    if "calql" in kind:
        cfg.offline_dataset.update(discount_factor=0.9, get_mc_return=True)
    cfg.resume = resume
    cfg._target_ = f"agent.finetune.train_{agent}"
    cfg.merge_with_dotlist(overrides)
    made = resolve_target(cfg._target_)(cfg)
    made.logger.console = lambda *_: None
    return made


def iterate(agent: Any, count: int) -> None:
    """So many iterations."""
    for _ in range(count):
        agent.iterate()


def recorded_rounds(agent: Any) -> list[dict[str, Any]]:
    """What each call of rounds passes to the trace from now on, with its iteration."""
    seen: list[dict[str, Any]] = []

    def trace(label: str, **values: Any) -> None:
        if label == "stepwise_round":
            seen.append({"itr": agent.itr, **values})

    agent.trace = trace
    return seen


def steps_of(agent: Any) -> dict[str, int]:
    """How many steps each learner has taken."""
    return {
        name: int(learner.optimizer.steps[0].numpy()[0])
        for name, learner in agent.learners.items()
    }


def assert_resumed_run_equals_the_straight_one(
    kind: str, folder: Path, **settings: Any
) -> None:
    """The second half of a run that ended in the middle is that of a straight one."""
    straight = make_agent(kind, folder / "straight", **settings)
    straight.run()
    halves = folder / "halves"
    first = make_agent(kind, halves, **settings)
    iterate(first, 4)
    first.venv.close()
    second = make_agent(kind, halves, **settings, **{"resume": str(halves)})
    second.run()
    assert changed(weights(straight.model), weights(second.model)) == set()
    buffers = [a.buffer.take(np.arange(len(a.buffer))) for a in (straight, second)]
    np.testing.assert_equal(*buffers)
    for agent in (straight, second):
        agent.metrics.pop("time", None)
    assert second.metrics == straight.metrics
