"""PPO on a Gaussian policy that sees camera images."""

from __future__ import annotations

from typing import ClassVar

from agent.finetune.train_ppo_gaussian_agent import TrainPPOGaussianAgent
from agent.finetune.train_ppo_img_agent import TrainPPOImgAgent


class TrainPPOImgGaussianAgent(TrainPPOImgAgent, TrainPPOGaussianAgent):
    """Fine-tunes a Gaussian policy that sees."""

    config_keys: ClassVar[frozenset[str]] = (
        TrainPPOImgAgent.config_keys | TrainPPOGaussianAgent.config_keys
    )

    logprobs_of = TrainPPOGaussianAgent.logprobs_of
