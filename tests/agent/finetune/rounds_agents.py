"""Agents that learn in rounds, with tiny networks on the toy environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from tests.agent.tiny import tiny_config
from util.config import resolve_target

_CRITIC = {
    "_target_": "model.common.critic.CriticObsAct",
    "mlp_dims": [16],
    "activation_type": "Mish",
    "cond_dim": 3,
    "action_dim": 2,
    "action_steps": 2,
}
_VALUE = {
    "_target_": "model.common.critic.CriticObs",
    "mlp_dims": [16],
    "activation_type": "Mish",
    "cond_dim": 3,
}
# Model, its critics, and settings of the algorithm.
KINDS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "dql": ("DQLDiffusion", {"critic": _CRITIC}, {"eta": 1.0, "target_ema_rate": 0.1}),
    "idql": (
        "IDQLDiffusion",
        {"critic_q": _CRITIC, "critic_v": _VALUE},
        {
            "critic_tau": 0.1,
            "use_expectile_exploration": True,
            "eval_deterministic": True,
            "eval_sample_num": 3,
        },
    ),
    "qsm": (
        "QSMDiffusion",
        {"critic": _CRITIC},
        {"critic_tau": 0.1, "q_grad_coeff": 5},
    ),
    "dipo": (
        "DIPODiffusion",
        {"critic": _CRITIC},
        {"target_ema_rate": 0.1, "action_lr": 0.05, "action_gradient_steps": 2},
    ),
}
# Those whose rounds are their own.
WEIGHTED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "awr": (
        "AWRDiffusion",
        {"critic": _VALUE},
        {"beta": 2.0, "max_adv_weight": 5.0, "critic_update_ratio": 2},
    ),
    "rwr": (
        "RWRDiffusion",
        {},
        {
            "beta": 2.0,
            "max_reward_weight": 5.0,
            "lr": 1e-3,
            "weight_decay": 0,
            "lr_scheduler": {"first_cycle_steps": 9, "warmup_steps": 1, "min_lr": 1e-4},
        },
    ),
}
_SHARED = {
    "buffer_size": 100,
    "replay_ratio": 4,
    "scale_reward_factor": 1.0,
    "n_critic_warmup_itr": 2,
    "batch_size": 4,
    "n_train_itr": 4,
    "val_freq": 9,
}


def make_agent(kind: str, folder: Path, **settings: Any) -> Any:
    """An agent that collects 2 x 4 transitions and takes 8 rounds in an iteration.

    Args:
        kind: A key of `KINDS` or `WEIGHTED`.
        folder: Of the run.
        **settings: Of the training.
    """
    name, critics, own = (KINDS | WEIGHTED)[kind]
    cfg = tiny_config("ppo", folder, "horizon_steps=2")
    resume = settings.pop("resume", None)
    model = OmegaConf.to_container(cfg.model)
    kept = ("horizon_steps", "obs_dim", "action_dim", "denoising_steps")
    cfg.model = {
        "_target_": f"model.diffusion.diffusion_{kind}.{name}",
        **{key: model[key] for key in kept},
        "actor" if critics else "network": model["actor"],
        **critics,
    }
    cfg.train = {**cfg.train, **_SHARED, **own, **settings}
    cfg.resume = resume
    cfg._target_ = (
        f"agent.finetune.train_{kind}_diffusion_agent.Train{kind.upper()}DiffusionAgent"
    )
    agent = resolve_target(cfg._target_)(cfg)
    agent.logger.console = lambda *_: None
    return agent
