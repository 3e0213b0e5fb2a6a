"""Recorded outputs of networks loaded from checkpoint files of the reference.

`meta` names the file and the config of the run that wrote it; the config is this
project's file of the same path.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from tests.parity.build import as_tensors, build_model, execute, replay_shifts
from tests.parity.case import Case
from util.config import compose
from util.torch_file import load_torch_file

Produced = dict[str, np.ndarray]

PRETRAIN = "cfg/gym/pretrain/hopper-medium-v2/pre_diffusion_mlp.yaml"
FINETUNE = "cfg/gym/finetune/hopper-v2/ft_ppo_diffusion_mlp.yaml"
EVALUATION = "model.diffusion.diffusion_eval.DiffusionEval"
ROOT = Path(__file__).parents[2]


def checkpoint_of(case: Case) -> Path:
    """The `.pt` file that `meta["call"]` names."""
    found = re.search(r"[\w.-]+\.pt\b", case.meta["call"])
    if found is None:
        raise ValueError(f"{case.name}: meta.call names no .pt file.")
    return case.find(found[0])


def model_config(path: str, **changes: Any) -> dict[str, Any]:
    """The `model` node of a config file, resolved, with `changes`."""
    file = ROOT / path
    cfg = compose(file.parent, file.stem)
    node = OmegaConf.to_container(cfg.model, resolve=True)
    return {**node, "network_path": None, **changes}


def _without(node: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in names}


def _evaluation_config(path: Path, **changes: Any) -> dict[str, Any]:
    """An evaluation of a file, with the network of pre-training."""
    return {
        **model_config(PRETRAIN),
        "_target_": EVALUATION,
        "network_path": str(path),
        **changes,
    }


def _sampler(
    model: Any, case: Case, start: int, cond: Any, deterministic: bool
) -> Callable[[], Any]:
    """Sampling with the recorded draws from `start` on."""
    count = 1 + len(model.sampling_t)
    noise = [as_tensors(value) for value in case.noise[start : start + count]]
    return lambda: model.forward(cond, deterministic=deterministic, noise=noise)


def pretrained(case: Case, mode: str) -> Produced:
    """Raw and averaged weights, and what each model class reads from the file."""
    path = checkpoint_of(case)
    inputs = as_tensors(case.inputs())
    content = load_torch_file(path)
    networks = {}
    for name in ("model", "ema"):
        model = build_model(_without(model_config(PRETRAIN), "network_path"))
        model.load_state_dict(content[name])
        networks[name] = model.network
    networks["DiffusionModel_network_path"] = build_model(
        model_config(PRETRAIN, network_path=str(path))
    ).network
    tuned = build_model(model_config(FINETUNE, network_path=str(path)))
    networks["PPODiffusion_actor"] = tuned.actor
    networks["PPODiffusion_actor_ft"] = tuned.actor_ft
    evaluated = build_model(_evaluation_config(path, ft_denoising_steps=0))
    networks["DiffusionEval"] = evaluated.actor
    sample = _sampler(evaluated, case, 0, inputs["cond"], deterministic=True)
    produced = {
        f"out/eps_{name}": execute(lambda net=net: net(**inputs), mode)
        for name, net in networks.items()
    }
    produced["out/DiffusionEval_trajectories"] = execute(sample, mode).trajectories
    return {key: np.asarray(value) for key, value in produced.items()}


def finetuned(case: Case, mode: str) -> Produced:
    """A fine-tuned file in the class that wrote it, and in `DiffusionEval`."""
    path = checkpoint_of(case)
    inputs = as_tensors(case.inputs())
    cond = inputs["cond"]
    model = build_model(model_config(FINETUNE, network_path=str(path)))
    draws = 1 + len(model.sampling_t)
    stochastic = execute(_sampler(model, case, 0, cond, False), mode)
    fixed = execute(_sampler(model, case, draws, cond, True), mode)
    evaluated = build_model(
        _evaluation_config(path, ft_denoising_steps=model.ft_denoising_steps)
    )
    evaluation = execute(_sampler(evaluated, case, 2 * draws, cond, True), mode)
    chains = as_tensors(case.arrays["out/stochastic_chains"])
    steps = model.ft_denoising_steps
    produced = {
        "eps_actor": execute(lambda: model.actor(**inputs), mode),
        "eps_actor_ft": execute(lambda: model.actor_ft(**inputs), mode),
        "critic_value": execute(lambda: model.critic(cond), mode),
        "stochastic_trajectories": stochastic.trajectories,
        "stochastic_chains": stochastic.chains,
        "deterministic_trajectories": fixed.trajectories,
        "logprobs_of_stochastic_chains": execute(
            lambda: model.get_logprobs(cond, chains), mode
        ),
        f"DiffusionEval_ft{steps}_trajectories": evaluation.trajectories,
    }
    return {f"out/{key}": np.asarray(value) for key, value in produced.items()}


def pretrained_unet(case: Case, mode: str) -> Produced:
    """Raw and averaged weights of a network that sees, images shifted and as they are.

    Shifted in evaluation mode, as in the reference.
    """
    content, inputs = load_torch_file(checkpoint_of(case)), as_tensors(case.inputs())
    produced = {}
    for name in case.meta["returns"]:
        _, weights, augment = name.split("_")
        network = build_model(
            {**case.meta["kwargs"]["network"], "augment": augment == "aug"}
        ).eval()
        network.load_state_dict(
            {key.removeprefix("network."): v for key, v in content[weights].items()}
        )
        replay_shifts(network, case.noise)
        produced[f"out/{name}"] = execute(lambda net=network: net(**inputs), mode)
    return {key: np.asarray(value) for key, value in produced.items()}
