"""The peer's models of an experiment."""

from __future__ import annotations

from omegaconf import DictConfig
from torch import nn

from tests.bench.leaves import image_shape, layer_widths, transition_rows
from tests.bench.peer_ddim import PPODdim
from tests.bench.peer_model import Critic, Diffusion, Network, PPODiffusion
from tests.bench.peer_networks import Unet, VisionCritic, VisionNetwork
from tests.bench.peer_rlpd import RLPDRounds
from tests.bench.peer_rounds import DQLRounds, IDQLRounds, Rounds


def make_network(cfg: DictConfig) -> nn.Module:
    """The network that predicts noise."""
    node = cfg.model.get("actor") or cfg.model.network
    if "dim_mults" in node:
        return Unet(
            node.action_dim,
            node.cond_dim,
            node.dim,
            node.dim_mults,
            node.diffusion_step_embed_dim,
            node.kernel_size,
            node.n_groups,
        )
    given = (
        layer_widths(cfg)["actor"],
        node.time_dim,
        node.get("activation_type", "Mish"),
    )
    image = image_shape(cfg)
    return Network(*given) if image is None else VisionNetwork(*given, node, image)


def make_critic(cfg: DictConfig) -> nn.Module:
    """The network of the state's value."""
    node, image = cfg.model.critic, image_shape(cfg)
    given = (layer_widths(cfg)["critic"], node.activation_type)
    return Critic(*given) if image is None else VisionCritic(*given, node, image)


def cloning_model(cfg: DictConfig) -> Diffusion:
    """What is pre-trained."""
    return Diffusion(cfg, make_network(cfg))


def policy(cfg: DictConfig, by_row: bool = False) -> PPODiffusion:
    """What is fine-tuned."""
    kind = PPODdim if cfg.model.get("use_ddim") else PPODiffusion
    return kind(cfg, make_network(cfg), make_critic(cfg), by_row)


def rounds(cfg: DictConfig) -> Rounds:
    """What learns from stored rows."""
    name = cfg.model._target_.rpartition(".")[2]
    if name == "RLPD_Gaussian":
        return RLPDRounds(cfg, [transition_rows(cfg, seed=3), transition_rows(cfg)])
    kind = {"DQLDiffusion": DQLRounds, "IDQLDiffusion": IDQLRounds}[name]
    return kind(cfg, [transition_rows(cfg)])
