"""Value functions of states and of state-action pairs."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import tensorflow as tf

from model.common.mlp import make_mlp
from model.common.vision import ImageEncoder, ImageOptions
from util.torch_to_tf import nn_Module

logger = logging.getLogger(__name__)

Cond = Mapping[str, tf.Tensor]


def flat_state(cond: Cond) -> tf.Tensor:
    """`cond["state"]` (B, To, Do) as (B, To * Do), oldest step first."""
    state = tf.convert_to_tensor(cond["state"])
    width = state.shape[-1] * state.shape[-2]
    return tf.reshape(state, [-1, width])


def repeat_rows(cond: Cond, copies: int) -> Cond:
    """Observations with `copies` rows in succession for each of theirs."""
    if copies == 1:
        return cond
    return {key: tf.repeat(value, copies, axis=0) for key, value in cond.items()}


class CriticObs(nn_Module):
    """V(s): an MLP over the flat state.

    Args:
        cond_dim: To * Do.
        mlp_dims: Hidden widths.
        activation_type: Activation of the hidden layers.
        use_layernorm: LayerNorm in the hidden layers.
        residual_style: `ResidualMLP` instead of `MLP`.
    """

    dead_config_keys: ClassVar[Mapping[str, str]] = {
        "action_dim": "a state value takes no action",
        "action_steps": "a state value takes no action",
    }

    def __init__(
        self,
        cond_dim: int,
        mlp_dims: Sequence[int],
        activation_type: str = "Mish",
        use_layernorm: bool = False,
        residual_style: bool = False,
    ) -> None:
        super().__init__()
        self.Q1 = make_mlp(
            residual_style,
            [cond_dim, *mlp_dims, 1],
            activation_type=activation_type,
            use_layernorm=use_layernorm,
        )

    def call(self, cond: Cond | tf.Tensor) -> tf.Tensor:
        """Values (B, 1) of {"state": (B, To, Do)} or of features (B, cond_dim)."""
        return self.Q1(flat_state(cond) if isinstance(cond, Mapping) else cond)


class CriticObsAct(nn_Module):
    """Q(s, a): one or two MLPs over the flat state and the flat action chunk.

    The reference misspells its switch for residual layers, so `residual_style` in a
    YAML never had an effect, and released critics are plain MLPs. The key is
    accepted and ignored, with a warning; `residual_tyle` is the switch.

    Args:
        cond_dim: To * Do.
        mlp_dims: Hidden widths.
        action_dim: Da.
        action_steps: Steps of the action chunk.
        activation_type: Activation of the hidden layers.
        use_layernorm: LayerNorm in the hidden layers.
        residual_tyle: `ResidualMLP` instead of `MLP`.
        double_q: Two independent networks.
    """

    dead_config_keys: ClassVar[Mapping[str, str]] = {
        "residual_style": "released critics are plain MLPs (DIFFERENCES.md)",
    }

    def __init__(
        self,
        cond_dim: int,
        mlp_dims: Sequence[int],
        action_dim: int,
        action_steps: int = 1,
        activation_type: str = "Mish",
        use_layernorm: bool = False,
        residual_tyle: bool = False,
        double_q: bool = True,
    ) -> None:
        super().__init__()
        dims = [cond_dim + action_dim * action_steps, *mlp_dims, 1]
        options: dict[str, Any] = {
            "activation_type": activation_type,
            "use_layernorm": use_layernorm,
        }
        self.action_width = action_dim * action_steps
        self.double_q = double_q
        self.Q1 = make_mlp(residual_tyle, dims, **options)
        if double_q:
            self.Q2 = make_mlp(residual_tyle, dims, **options)

    def call(
        self, cond: Cond, action: tf.Tensor
    ) -> tf.Tensor | tuple[tf.Tensor, tf.Tensor]:
        """Values (B,), two of them with `double_q`.

        Args:
            cond: {"state": (B, To, Do)}.
            action: (B, action_steps, Da) or flat.
        """
        action = tf.reshape(action, [-1, self.action_width])
        x = tf.concat([flat_state(cond), action], axis=-1)
        q1 = tf.squeeze(self.Q1(x), axis=-1)
        return (q1, tf.squeeze(self.Q2(x), axis=-1)) if self.double_q else q1


class ViTCritic(CriticObs, ImageEncoder):
    """V(s): an MLP over the features of camera images and the flat state.

    Args:
        backbone: Maps images to features of patches, such as `VitEncoder`.
        cond_dim: To * Do.
        img_cond_steps: How many of the newest images are seen.
        spatial_emb: Features of an image.
        dropout: Probability with which a feature of an image is dropped.
        augment: Shift images at random in training mode.
        num_img: Images of a time step.
        **kwargs: Arguments of `CriticObs`.
    """

    def __init__(
        self,
        backbone: nn_Module,
        cond_dim: int,
        img_cond_steps: int = 1,
        spatial_emb: int = 128,
        dropout: float = 0.0,
        augment: bool = False,
        num_img: int = 1,
        **kwargs: Any,
    ) -> None:
        images = ImageOptions(
            img_cond_steps,
            spatial_emb,
            dropout=dropout,
            num_img=num_img,
            augment=augment,
        )
        super().__init__(images.width + cond_dim, **kwargs)
        self.add_images(backbone, images, cond_dim)

    def call(self, cond: Cond, no_augment: bool = False) -> tf.Tensor:
        """Values (B, 1).

        Args:
            cond: {"state": (B, To, Do), "rgb": (B, T, C, H, W) in 0..255}.
            no_augment: Keep images as they are in training mode, too.
        """
        augment = False if no_augment else None
        return self.Q1(self.see(cond["rgb"], flat_state(cond), augment))
