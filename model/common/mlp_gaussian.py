"""Networks that return mean and standard deviation of a Gaussian over the chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from model.common.critic import Cond, flat_state
from model.common.mlp import MLP, make_mlp
from model.common.vision import ImageEncoder, ImageOptions
from util.torch_to_tf import nn_Module, nn_Parameter


class StdBounds(nn_Module):
    """Shared handling of the standard deviation of Gaussian and GMM networks.

    `logvar_min` and `logvar_max` are untrained parameters because the reference
    saves them; `logvar` exists if a fixed standard deviation is learned.

    Args:
        std_min: Lower bound of the standard deviation.
        std_max: Upper bound.
        fixed_std: Constant or initial standard deviation; None to predict it.
        learn_fixed_std: Train `logvar` instead of keeping `fixed_std`.
        logvar_size: Number of entries of `logvar`.
    """

    def __init__(
        self,
        std_min: float,
        std_max: float,
        fixed_std: float | None,
        learn_fixed_std: bool,
        logvar_size: int,
    ) -> None:
        super().__init__()
        if not 0.0 < std_min <= std_max:
            raise ValueError(
                f"0 < std_min <= std_max must hold, got {std_min} and {std_max}."
            )
        self.fixed_std, self.learn_fixed_std = fixed_std, learn_fixed_std
        if learn_fixed_std:
            if fixed_std is None:
                raise ValueError("learn_fixed_std needs fixed_std, got None.")
            start = np.float32(np.log(fixed_std**2))
            self.logvar = nn_Parameter(np.full((logvar_size,), start))
        self.logvar_min = nn_Parameter(np.float32(np.log(std_min**2)), False)
        self.logvar_max = nn_Parameter(np.float32(np.log(std_max**2)), False)

    def clamped_std(self, logvar: tf.Tensor) -> tf.Tensor:
        """exp(logvar / 2) with logvar clipped to its bounds."""
        low, high = map(tf.convert_to_tensor, (self.logvar_min, self.logvar_max))
        return tf.exp(0.5 * tf.clip_by_value(logvar, low, high))

    def constant_std(self, mean: tf.Tensor) -> tf.Tensor:
        """The fixed or learned standard deviation, tiled to the shape of `mean`.

        Args:
            mean: (B, Ta * Da), or (B, M, Ta * Da) with M * Da entries of `logvar`.
        """
        if not self.learn_fixed_std:
            return tf.ones_like(mean) * self.fixed_std
        std = self.clamped_std(tf.convert_to_tensor(self.logvar))
        modes = mean.shape[1:-1].as_list()
        std = tf.reshape(std, [*modes, -1])
        repeats = mean.shape[-1] // std.shape[-1]
        return tf.ones_like(mean) * tf.tile(std, [1] * len(modes) + [repeats])


class Gaussian_MLP(StdBounds):
    """Gaussian over the action chunk from an MLP on the state.

    Args:
        action_dim: Da.
        horizon_steps: Ta.
        cond_dim: To * Do.
        mlp_dims: Hidden widths.
        activation_type: Activation of the hidden layers.
        tanh_output: tanh on the mean.
        residual_style: `ResidualMLP` instead of `MLP`.
        use_layernorm: LayerNorm in the hidden layers.
        dropout: Dropout probability.
        fixed_std: Standard deviation; None to predict it from the state.
        learn_fixed_std: Train one standard deviation per action dimension.
        std_min: Lower bound of a learned or predicted standard deviation.
        std_max: Upper bound.
    """

    def __init__(
        self,
        action_dim: int,
        horizon_steps: int,
        cond_dim: int,
        mlp_dims: Sequence[int] = (256, 256, 256),
        activation_type: str = "Mish",
        tanh_output: bool = True,
        residual_style: bool = False,
        use_layernorm: bool = False,
        dropout: float = 0.0,
        fixed_std: float | None = None,
        learn_fixed_std: bool = False,
        std_min: float = 0.01,
        std_max: float = 1.0,
    ) -> None:
        super().__init__(std_min, std_max, fixed_std, learn_fixed_std, action_dim)
        self.action_dim, self.horizon_steps = action_dim, horizon_steps
        self.tanh_output = tanh_output
        out = action_dim * horizon_steps
        options = {
            "activation_type": activation_type,
            "use_layernorm": use_layernorm,
            "dropout": dropout,
        }
        if fixed_std is not None:
            dims = [cond_dim, *mlp_dims, out]
            self.mlp_mean = make_mlp(residual_style, dims, **options)
            return
        self.mlp_base = make_mlp(
            residual_style,
            [cond_dim, *mlp_dims],
            out_activation_type=activation_type,
            use_layernorm_final=use_layernorm,
            **options,
        )
        self.mlp_mean = MLP([mlp_dims[-1], out])
        self.mlp_logvar = MLP([mlp_dims[-1], out])

    def call(self, cond: Cond) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and standard deviation, each (B, Ta * Da).

        Args:
            cond: {"state": (B, To, Do)}.
        """
        features = flat_state(cond)
        if self.fixed_std is None:
            features = self.mlp_base(features)
        mean = self.mlp_mean(features)
        mean = tf.tanh(mean) if self.tanh_output else mean
        if self.fixed_std is not None:
            return mean, self.constant_std(mean)
        return mean, self._predicted_std(features)

    def _predicted_std(self, features: tf.Tensor) -> tf.Tensor:
        """tanh of the head, rescaled to [logvar_min, logvar_max]."""
        low, high = map(tf.convert_to_tensor, (self.logvar_min, self.logvar_max))
        squashed = tf.tanh(self.mlp_logvar(features))
        return tf.exp(0.5 * (low + 0.5 * (high - low) * (squashed + 1.0)))


class Gaussian_VisionMLP(StdBounds, ImageEncoder):
    """Gaussian over the action chunk from an MLP on camera images and the state.

    Args:
        backbone: Maps images to features of patches, such as `VitEncoder`.
        action_dim: Da.
        horizon_steps: Ta.
        cond_dim: To * Do.
        img_cond_steps: How many of the newest images are seen.
        mlp_dims: Hidden widths.
        activation_type: Activation of the hidden layers.
        residual_style: `ResidualMLP` instead of `MLP` for the mean.
        use_layernorm: LayerNorm in the hidden layers.
        fixed_std: Standard deviation; None to predict it.
        learn_fixed_std: Train one standard deviation per action dimension.
        std_min: Lower bound of a learned or predicted standard deviation.
        std_max: Upper bound.
        spatial_emb: Features of an image by `SpatialEmb`; 0 for a linear layer.
        visual_feature_dim: Features of an image by a linear layer.
        dropout: Probability with which a feature of an image is dropped.
        num_img: Images of a time step.
        augment: Shift images at random in training mode.
    """

    def __init__(
        self,
        backbone: nn_Module,
        action_dim: int,
        horizon_steps: int,
        cond_dim: int,
        img_cond_steps: int = 1,
        mlp_dims: Sequence[int] = (256, 256, 256),
        activation_type: str = "Mish",
        residual_style: bool = False,
        use_layernorm: bool = False,
        fixed_std: float | None = None,
        learn_fixed_std: bool = False,
        std_min: float = 0.01,
        std_max: float = 1.0,
        spatial_emb: int = 0,
        visual_feature_dim: int = 128,
        dropout: float = 0.0,
        num_img: int = 1,
        augment: bool = False,
    ) -> None:
        super().__init__(std_min, std_max, fixed_std, learn_fixed_std, action_dim)
        images = ImageOptions(
            img_cond_steps, spatial_emb, visual_feature_dim, dropout, num_img, augment
        )
        self.add_images(backbone, images, cond_dim)
        features, out = images.width + cond_dim, action_dim * horizon_steps
        options: dict[str, Any] = {
            "activation_type": activation_type,
            "use_layernorm": use_layernorm,
        }
        self.mlp_mean = make_mlp(residual_style, [features, *mlp_dims, out], **options)
        if fixed_std is None:
            self.mlp_logvar = MLP([features, mlp_dims[-1], out], **options)

    def call(self, cond: Cond) -> tuple[tf.Tensor, tf.Tensor]:
        """Mean and standard deviation, each (B, Ta * Da).

        Args:
            cond: {"state": (B, To, Do), "rgb": (B, T, C, H, W) in 0..255}.
        """
        features = self.see(cond["rgb"], flat_state(cond))
        mean = tf.tanh(self.mlp_mean(features))
        if self.fixed_std is not None:
            return mean, self.constant_std(mean)
        return mean, self.clamped_std(self.mlp_logvar(features))
