"""PPO (Schulman et al., 2017) on a mixture of Gaussians over action chunks."""

from __future__ import annotations

from model.rl.gaussian_ppo import ChunkPPO
from model.rl.gmm_vpg import VPG_GMM


class PPO_GMM(ChunkPPO, VPG_GMM):  # type: ignore[misc]
    """Clipped policy gradient on chunks of a mixture; its `bc_loss` is 0.

    Args:
        **kwargs: Arguments of `ChunkPPO` and `VPG_GMM`.
    """
