"""The peer's models of an experiment."""

from __future__ import annotations

from omegaconf import DictConfig
from torch import nn

from tests.bench.leaves import image_shape, layer_widths
from tests.bench.peer_ddim import PPODdim
from tests.bench.peer_model import Critic, Diffusion, Network, PPODiffusion
from tests.bench.peer_networks import Unet, VisionCritic, VisionNetwork


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
