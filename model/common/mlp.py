"""Multi-layer perceptrons, plain and residual."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

import tensorflow as tf

from util.torch_to_tf import (
    nn_Dropout,
    nn_ELU,
    nn_GELU,
    nn_Identity,
    nn_LayerNorm,
    nn_Linear,
    nn_Mish,
    nn_Module,
    nn_ModuleList,
    nn_ReLU,
    nn_Softplus,
    nn_Tanh,
)

activation_dict: dict[str, Callable[[], nn_Module]] = {
    "ReLU": nn_ReLU,
    "ELU": nn_ELU,
    "GELU": nn_GELU,
    "Tanh": nn_Tanh,
    "Mish": nn_Mish,
    "Identity": nn_Identity,
    "Softplus": nn_Softplus,
}


def make_activation(name: str) -> nn_Module:
    """A new activation module by its configuration name.

    Raises:
        ValueError: The name is not in `activation_dict`.
    """
    if name not in activation_dict:
        raise ValueError(
            f"activation_type must be one of {sorted(activation_dict)}, got {name!r}."
        )
    return activation_dict[name]()


class _Block(nn_Module):
    """Linear -> [LayerNorm] -> [Dropout] -> activation."""

    def __init__(
        self, d_in: int, d_out: int, activation: str, norm: bool, dropout: float
    ) -> None:
        super().__init__()
        self.linear_1 = nn_Linear(d_in, d_out)
        self.norm_1 = nn_LayerNorm(d_out) if norm else nn_Identity()
        self.dropout_1 = nn_Dropout(dropout) if dropout > 0 else nn_Identity()
        self.act_1 = make_activation(activation)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return self.act_1(self.dropout_1(self.norm_1(self.linear_1(x))))


class MLP(nn_Module):
    """A stack of linear layers with optional normalisation, dropout, extra input.

    Args:
        dim_list: Widths d_0, ..., d_n; n layers are built.
        append_dim: Width of the extra input `append`.
        append_layers: Indices of the layers whose input is extended by `append`.
        activation_type: Activation after all layers but the last.
        out_activation_type: Activation after the last layer.
        use_layernorm: LayerNorm after the linear map of all layers but the last.
        use_layernorm_final: Also after the last (with `use_layernorm`).
        dropout: Dropout probability, 0 for none.
        use_drop_final: Dropout also in the last layer.
    """

    def __init__(
        self,
        dim_list: Sequence[int],
        append_dim: int = 0,
        append_layers: Container[int] | None = None,
        activation_type: str = "Tanh",
        out_activation_type: str = "Identity",
        use_layernorm: bool = False,
        use_layernorm_final: bool = False,
        dropout: float = 0.0,
        use_drop_final: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__()
        if len(dim_list) < 2:
            raise ValueError(
                f"dim_list needs at least two widths, got {list(dim_list)}."
            )
        self.append_layers = append_layers if append_dim > 0 else None
        self.moduleList = nn_ModuleList()
        last = len(dim_list) - 2
        for i, (d_in, d_out) in enumerate(zip(dim_list, dim_list[1:], strict=False)):
            extra = append_dim if self._appends_at(i) else 0
            self.moduleList.append(
                _Block(
                    d_in + extra,
                    d_out,
                    out_activation_type if i == last else activation_type,
                    norm=use_layernorm and (i < last or use_layernorm_final),
                    dropout=dropout if i < last or use_drop_final else 0.0,
                )
            )

    def _appends_at(self, index: int) -> bool:
        return self.append_layers is not None and index in self.append_layers

    def call(self, x: tf.Tensor, append: tf.Tensor | None = None) -> tf.Tensor:
        """Maps (..., d_0) to (..., d_n); `append` is (..., append_dim)."""
        for i, block in enumerate(self.moduleList):
            if append is not None and self._appends_at(i):
                x = tf.concat([x, append], axis=-1)
            x = block(x)
        return x


class ResidualMLP(nn_Module):
    """Linear -> residual blocks -> Linear -> [LayerNorm] -> output activation.

    Two hidden layers make one pre-activation block, so the number of hidden layers
    is odd. All hidden widths equal `dim_list[1]`.

    Args:
        dim_list: Input width, hidden widths, output width.
        activation_type: Activation inside the blocks.
        out_activation_type: Activation of the output.
        use_layernorm: LayerNorm inside the blocks.
        use_layernorm_final: LayerNorm of the output.
        dropout: Must be 0 if there is a block; accepted for the shared signature.
    """

    def __init__(
        self,
        dim_list: Sequence[int],
        activation_type: str = "Mish",
        out_activation_type: str = "Identity",
        use_layernorm: bool = False,
        use_layernorm_final: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        inner = len(dim_list) - 3
        if inner < 0 or inner % 2:
            raise ValueError(
                "a residual MLP needs an odd number of hidden layers "
                f"(1, 3, 5, ...), got dim_list={list(dim_list)}."
            )
        hidden = dim_list[1]
        layers = nn_ModuleList([nn_Linear(dim_list[0], hidden)])
        for _ in range(inner // 2):
            layers.append(
                TwoLayerPreActivationResNetLinear(
                    hidden, activation_type, use_layernorm, dropout
                )
            )
        layers.append(nn_Linear(hidden, dim_list[-1]))
        if use_layernorm_final:
            layers.append(nn_LayerNorm(dim_list[-1]))
        layers.append(make_activation(out_activation_type))
        # Keras keeps the attribute name `layers` for itself.
        self.add_module("layers", layers)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Maps (..., d_0) to (..., d_n)."""
        for layer in self._child_layers:
            x = layer(x)
        return x


class TwoLayerPreActivationResNetLinear(nn_Module):
    """x + l2(act(norm2(l1(act(norm1(x)))))).

    LayerNorm's eps is 1e-6 here, 1e-5 elsewhere; released checkpoints need it.

    Args:
        hidden_dim: Width of input and output.
        activation_type: Activation before each linear map.
        use_layernorm: Whether the norms exist.
        dropout: Must be 0.
    """

    def __init__(
        self,
        hidden_dim: int,
        activation_type: str = "Mish",
        use_layernorm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if dropout > 0:
            raise NotImplementedError(
                f"dropout must be 0 in a residual block, got {dropout}."
            )
        self.l1 = nn_Linear(hidden_dim, hidden_dim)
        self.l2 = nn_Linear(hidden_dim, hidden_dim)
        self.act = make_activation(activation_type)
        self.use_layernorm = use_layernorm
        if use_layernorm:
            self.norm1 = nn_LayerNorm(hidden_dim, eps=1e-6)
            self.norm2 = nn_LayerNorm(hidden_dim, eps=1e-6)

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Shape (..., hidden_dim) stays."""
        y = self.norm1(x) if self.use_layernorm else x
        y = self.l1(self.act(y))
        y = self.norm2(y) if self.use_layernorm else y
        return x + self.l2(self.act(y))


def make_mlp(residual_style: bool, dim_list: Sequence[int], **kwargs: Any) -> nn_Module:
    """`ResidualMLP` or `MLP` over `dim_list`."""
    return (ResidualMLP if residual_style else MLP)(dim_list, **kwargs)
