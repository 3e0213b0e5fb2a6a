"""DPPO on camera images."""

from __future__ import annotations

from typing import ClassVar

from agent.finetune.train_ppo_diffusion_agent import TrainPPODiffusionAgent
from agent.finetune.train_ppo_img_agent import TrainPPOImgAgent


class TrainPPOImgDiffusionAgent(TrainPPOImgAgent, TrainPPODiffusionAgent):
    """Fine-tunes a diffusion policy that sees."""

    config_keys: ClassVar[frozenset[str]] = (
        TrainPPOImgAgent.config_keys | TrainPPODiffusionAgent.config_keys
    )

    logprobs_of = TrainPPODiffusionAgent.logprobs_of
