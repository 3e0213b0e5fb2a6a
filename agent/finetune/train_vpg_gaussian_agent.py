"""REINFORCE (Williams, 1992) with a learned baseline on chunks of a Gaussian policy.

The reference has the model, without an objective, and no agent for it.
"""

from __future__ import annotations

from agent.finetune.train_ppo_gaussian_agent import TrainPPOGaussianAgent


class TrainVPGGaussianAgent(TrainPPOGaussianAgent):
    """Learns from each chunk once, with GAE and a value as PPO has them."""

    def build(self) -> None:
        """Refuses further epochs, in which the chunks would not be the policy's.

        Raises:
            ValueError: `train.update_epochs` is not 1.
        """
        epochs = self.cfg.train.update_epochs
        if epochs != 1:
            raise ValueError(
                f"train.update_epochs must be 1, got {epochs}: no ratio corrects for "
                "a policy that has moved since it acted; for more epochs take PPO."
            )
        super().build()
