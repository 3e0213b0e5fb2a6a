"""How much noise DDIM sampling adds: eta in eq. 16 of Song et al. (2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import tensorflow as tf

from model.common.critic import Cond, flat_state
from model.common.mlp import MLP
from util.torch_to_tf import init, nn_Module, nn_Parameter

_FOREIGN = {
    key: "belongs to another kind of eta"
    for key in ("input_dim", "mlp_dims", "action_dim")
}


class _EtaLogit(nn_Module):
    """Eta between two bounds through a tanh of a free parameter.

    Args:
        size: Number of etas.
        base_eta: Initial value; equal to `max_eta` it makes the logit +inf, and eta
            exactly `max_eta`, as in released checkpoints.
        min_eta: Lower bound.
        max_eta: Upper bound.
    """

    def __init__(
        self, size: int, base_eta: float, min_eta: float, max_eta: float
    ) -> None:
        super().__init__()
        if not min_eta <= base_eta <= max_eta:
            raise ValueError(
                f"min_eta <= base_eta <= max_eta must hold, got {min_eta}, "
                f"{base_eta}, {max_eta}."
            )
        self.min_eta, self.max_eta = min_eta, max_eta
        with np.errstate(divide="ignore"):
            position = np.float32(2 * (base_eta - min_eta) / (max_eta - min_eta) - 1)
            logit = np.full((size,), np.arctanh(position), np.float32)
        self.eta_logit = nn_Parameter(logit)

    def values(self) -> tf.Tensor:
        """Eta, (size,)."""
        position = 0.5 * (tf.tanh(tf.convert_to_tensor(self.eta_logit)) + 1.0)
        return position * (self.max_eta - self.min_eta) + self.min_eta


class EtaFixed(_EtaLogit):
    """One eta for everything, without gradient.

    Args:
        base_eta: The value.
        min_eta: Lower bound.
        max_eta: Upper bound.
    """

    dead_config_keys: ClassVar[Mapping[str, str]] = _FOREIGN

    def __init__(
        self, base_eta: float = 0.5, min_eta: float = 0.1, max_eta: float = 1.0
    ) -> None:
        super().__init__(1, base_eta, min_eta, max_eta)

    def call(self, cond: Cond) -> tf.Tensor:
        """Eta (B, 1)."""
        rows = tf.shape(cond["state"])[0]
        return tf.tile(tf.stop_gradient(self.values())[None], [rows, 1])


class EtaAction(_EtaLogit):
    """One trained eta for each action dimension.

    Args:
        action_dim: Da.
        base_eta: Initial value.
        min_eta: Lower bound.
        max_eta: Upper bound.
    """

    dead_config_keys: ClassVar[Mapping[str, str]] = {
        key: why for key, why in _FOREIGN.items() if key != "action_dim"
    }

    def __init__(
        self,
        action_dim: int,
        base_eta: float = 0.5,
        min_eta: float = 0.1,
        max_eta: float = 1.0,
    ) -> None:
        super().__init__(action_dim, base_eta, min_eta, max_eta)

    def call(self, cond: Cond) -> tf.Tensor:
        """Eta (B, Da)."""
        return tf.tile(self.values()[None], [tf.shape(cond["state"])[0], 1])


class _EtaNetwork(nn_Module):
    """clip(base_eta + tanh(MLP(state)), min_eta, max_eta)."""

    def __init__(
        self,
        input_dim: int,
        mlp_dims: Sequence[int],
        outputs: int,
        activation_type: str,
        out_activation_type: str,
        base_eta: float,
        bounds: tuple[float, float],
        gain: float,
    ) -> None:
        super().__init__()
        self.base_eta, self.bounds = base_eta, bounds
        self.mlp_res = MLP(
            [input_dim, *mlp_dims, outputs],
            activation_type=activation_type,
            out_activation_type=out_activation_type,
        )
        for name, parameter in self.mlp_res.named_parameters():
            shape = tuple(parameter.shape)
            parameter.assign(
                np.zeros(shape, np.float32)
                if name.endswith("bias")
                else init.xavier_normal(shape, gain)
            )

    def call(self, cond: Cond) -> tf.Tensor:
        """Eta (B, outputs)."""
        if "rgb" in cond:
            raise NotImplementedError(
                f"{type(self).__name__} reads states only, got an observation with "
                "'rgb'. Use EtaFixed or EtaAction."
            )
        residual = tf.tanh(self.mlp_res(flat_state(cond)))
        return tf.clip_by_value(residual + self.base_eta, *self.bounds)


class EtaState(_EtaNetwork):
    """One eta predicted from the state.

    Args:
        input_dim: To * Do.
        mlp_dims: Hidden widths.
        activation_type: Activation of the hidden layers.
        out_activation_type: Activation of the output.
        base_eta: Value the prediction is added to.
        min_eta: Lower bound.
        max_eta: Upper bound.
        gain: Scale of the initial weights.
    """

    dead_config_keys: ClassVar[Mapping[str, str]] = {
        "action_dim": _FOREIGN["action_dim"]
    }

    def __init__(
        self,
        input_dim: int,
        mlp_dims: Sequence[int],
        activation_type: str = "ReLU",
        out_activation_type: str = "Identity",
        base_eta: float = 0.5,
        min_eta: float = 0.1,
        max_eta: float = 1.0,
        gain: float = 1e-2,
    ) -> None:
        super().__init__(
            input_dim,
            mlp_dims,
            1,
            activation_type,
            out_activation_type,
            base_eta,
            (min_eta, max_eta),
            gain,
        )


class EtaStateAction(_EtaNetwork):
    """One eta for each action dimension, predicted from the state.

    Args:
        input_dim: To * Do.
        mlp_dims: Hidden widths.
        action_dim: Da.
        activation_type: Activation of the hidden layers.
        out_activation_type: Activation of the output.
        base_eta: Value the prediction is added to.
        min_eta: Lower bound.
        max_eta: Upper bound.
        gain: Scale of the initial weights.
    """

    def __init__(
        self,
        input_dim: int,
        mlp_dims: Sequence[int],
        action_dim: int,
        activation_type: str = "ReLU",
        out_activation_type: str = "Identity",
        base_eta: float = 1.0,
        min_eta: float = 1e-3,
        max_eta: float = 2.0,
        gain: float = 1e-2,
    ) -> None:
        super().__init__(
            input_dim,
            mlp_dims,
            action_dim,
            activation_type,
            out_activation_type,
            base_eta,
            (min_eta, max_eta),
            gain,
        )
