"""A network that returns a mixture of Gaussians over the chunk."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from model.common.critic import Cond, flat_state
from model.common.mlp import make_mlp
from model.common.mlp_gaussian import StdBounds
from util.torch_to_tf import nn_Module


class GMM_MLP(StdBounds):
    """Means, standard deviations and weights of M modes, each from its own MLP.

    Args:
        action_dim: Da.
        horizon_steps: Ta.
        cond_dim: To * Do.
        mlp_dims: Hidden widths.
        num_modes: M.
        activation_type: Activation of the hidden layers.
        residual_style: `ResidualMLP` instead of `MLP`.
        use_layernorm: LayerNorm in the hidden layers.
        fixed_std: Standard deviation; None to predict it from the state.
        learn_fixed_std: Train one standard deviation per mode and action dimension.
        std_min: Lower bound of a learned or predicted standard deviation.
        std_max: Upper bound.
    """

    def __init__(
        self,
        action_dim: int,
        horizon_steps: int,
        cond_dim: int,
        mlp_dims: Sequence[int] = (256, 256, 256),
        num_modes: int = 5,
        activation_type: str = "Mish",
        residual_style: bool = False,
        use_layernorm: bool = False,
        fixed_std: float | None = None,
        learn_fixed_std: bool = False,
        std_min: float = 0.01,
        std_max: float = 1.0,
    ) -> None:
        size = num_modes * action_dim
        super().__init__(std_min, std_max, fixed_std, learn_fixed_std, size)
        check_modes(num_modes)
        self.num_modes, self.width = num_modes, action_dim * horizon_steps

        def network(outputs: int) -> nn_Module:
            return make_mlp(
                residual_style,
                [cond_dim, *mlp_dims, outputs],
                activation_type=activation_type,
                use_layernorm=use_layernorm,
            )

        self.mlp_mean = network(num_modes * self.width)
        if fixed_std is None:
            self.mlp_logvar = network(num_modes * self.width)
        self.mlp_weights = network(num_modes)

    def call(self, cond: Cond) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Means and standard deviations (B, M, Ta * Da) and logits of modes (B, M).

        Args:
            cond: {"state": (B, To, Do)}.
        """
        state, shape = flat_state(cond), [-1, self.num_modes, self.width]
        mean = tf.reshape(tf.tanh(self.mlp_mean(state)), shape)
        if self.fixed_std is None:
            std = self.clamped_std(tf.reshape(self.mlp_logvar(state), shape))
        else:
            std = self.constant_std(mean)
        return mean, std, self.mlp_weights(state)


def check_modes(num_modes: int) -> None:
    """Refuses a mixture without modes.

    Raises:
        ValueError: There is not at least one.
    """
    if num_modes < 1:
        raise ValueError(f"num_modes must be >= 1, got {num_modes}.")
