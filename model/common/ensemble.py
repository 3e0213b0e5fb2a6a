"""Several critics as one network with stacked weights.

`RLPD_Gaussian` and `IBRL_Gaussian` have them. The reference maps one network over
stacked weights; here each layer multiplies all of them at once. Compared with one
critic after the other, ten took a quarter of the time to compile.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from model.common.critic import Cond, CriticObsAct
from model.common.objectives import polyak
from util.config import compat
from util.seeding import Draws
from util.torch_to_tf import (
    clone_network,
    nn_LayerNorm,
    nn_Linear,
    nn_Module,
    nn_ModuleList,
    nn_Parameter,
)

State = Mapping[str, np.ndarray]


class _Stacked(nn_Module):
    """Layers of N members with parameters (N, ...); `chosen` limits a call to some."""

    chosen: tf.Tensor | None = None

    def _of_chosen(self, parameter: nn_Parameter) -> tf.Tensor:
        value = tf.convert_to_tensor(parameter)
        return value if self.chosen is None else tf.gather(value, self.chosen)


class StackedLinear(_Stacked):
    """y_n = x_n W_n^T + b_n.

    Args:
        members: N.
        in_features: Size of the last axis of x.
        out_features: Size of the last axis of y.
    """

    def __init__(self, members: int, in_features: int, out_features: int) -> None:
        super().__init__()
        shape = (members, out_features, in_features)
        self.weight = nn_Parameter(np.zeros(shape, np.float32))
        self.bias = nn_Parameter(np.zeros(shape[:2], np.float32))

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Maps (N, B, in), or (B, in) for all members, to (N, B, out)."""
        weight, bias = map(self._of_chosen, (self.weight, self.bias))
        return tf.matmul(input, weight, transpose_b=True) + bias[:, None]


class StackedLayerNorm(_Stacked):
    """LayerNorm of the last axis with weight and bias of each member.

    Args:
        members: N.
        size: Size of the last axis.
        eps: Added to the variance.
    """

    def __init__(self, members: int, size: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn_Parameter(np.ones((members, size), np.float32))
        self.bias = nn_Parameter(np.zeros((members, size), np.float32))

    def call(self, input: tf.Tensor) -> tf.Tensor:
        """Shape (N, B, size) stays."""
        weight, bias = map(self._of_chosen, (self.weight, self.bias))
        mean, variance = tf.nn.moments(input, [-1], keepdims=True)
        return tf.nn.batch_normalization(
            input, mean, variance, bias[:, None], weight[:, None], self.eps
        )


def _stack_layers(module: nn_Module, members: int) -> None:
    """Replaces the layers below `module` by layers of N members."""
    for name, child in list(module.named_children()):
        new: nn_Module
        if isinstance(child, nn_Linear):
            new = StackedLinear(members, child.in_features, child.out_features)
        elif isinstance(child, nn_LayerNorm):
            new = StackedLayerNorm(members, child.normalized_shape[-1], child.eps)
        else:
            _stack_layers(child, members)
            continue
        if isinstance(module, nn_ModuleList):
            module[int(name)] = new
        else:
            setattr(module, name, new)


class CriticEnsemble(CriticObsAct):
    """N critics with initial values of their own, in the reference with equal ones.

    Parameters are (N, ...); a state dict has those of each member, `<member>.<key>`.

    Args:
        critic: The first member.
        n_critics: N.
    """

    def __init__(self, critic: CriticObsAct, n_critics: int) -> None:
        if not isinstance(critic, CriticObsAct) or critic.double_q:
            raise ValueError(
                "critic must be a CriticObsAct with double_q: false, which is one "
                f"member of an ensemble; got a {type(critic).__name__}"
                f"{' with double_q: true' if hasattr(critic, 'double_q') else ''}."
            )
        config = critic.get_config()
        super().__init__(**config)
        self.n_critics = n_critics
        _stack_layers(self, n_critics)
        equal = compat("identical_ensembles")
        others = [
            critic if equal else type(critic).from_config(config)
            for _ in range(n_critics - 1)
        ]
        states = [member.state_dict() for member in (critic, *others)]
        self.load_state_dict(
            {f"{i}.{key}": v for i, s in enumerate(states) for key, v in s.items()}
        )

    def call(
        self, cond: Cond, action: tf.Tensor, members: tf.Tensor | None = None
    ) -> tf.Tensor:
        """Values (N, B), or (n, B) of n members.

        Args:
            cond: {"state": (B, To, Do)}.
            action: (B, action_steps, Da) or flat.
            members: Indices of those to evaluate, (n,) int; None for all.
        """
        for layer in self.modules():
            if isinstance(layer, _Stacked):
                layer.chosen = members
        return super().call(cond, action)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Entries of each member, one after the other."""
        return _by_member(super().state_dict(), "")

    def load_state_dict(
        self, state_dict: State, strict: bool = True
    ) -> tuple[list[str], list[str]]:
        """As of `nn_Module`, from entries of each member."""
        return super().load_state_dict(_stacked(state_dict, "", self.n_critics), strict)


def _by_member(state: State, prefix: str) -> dict[str, np.ndarray]:
    """A state with the entries (N, ...) below `prefix` split, at its end."""
    rest = {key: value for key, value in state.items() if not key.startswith(prefix)}
    own = {k.removeprefix(prefix): v for k, v in state.items() if k not in rest}
    members = range(len(next(iter(own.values()))))
    split = {f"{prefix}{i}.{key}": v[i] for i in members for key, v in own.items()}
    return {**rest, **split}


def _stacked(state: State, prefix: str, members: int) -> dict[str, np.ndarray]:
    """The inverse of `_by_member`; a state without any such entry stays.

    Raises:
        ValueError: There are other members, or they have other entries or shapes.
    """
    rest = {key: value for key, value in state.items() if not key.startswith(prefix)}
    own = {k.removeprefix(prefix): v for k, v in state.items() if k not in rest}
    found = list(dict.fromkeys(key.partition(".")[0] for key in own))
    expected = [str(i) for i in range(members)]
    if own and sorted(found) != sorted(expected):
        raise ValueError(
            f"{prefix}* must have the members 0 to {members - 1} of "
            f"n_critics={members}, got {found}."
        )
    for key in dict.fromkeys(key.partition(".")[2] for key in own):
        values = [own[f"{i}.{key}"] for i in expected if f"{i}.{key}" in own]
        shapes = [np.shape(value) for value in values]
        if len(values) < members or len(set(shapes)) > 1:
            raise ValueError(
                f"{prefix}*.{key} must have one shape in all members, got {shapes}."
            )
        rest[prefix + key] = np.stack(values)
    return rest


class EnsembleCritics(nn_Module):
    """The critics of a policy, their targets, and which of them are trained.

    It stands before a class with the policy. In the reference the trained critics are
    stacked copies outside the state dict, and `critic_networks` stay as they were made.

    Args:
        **kwargs: Arguments of the class with the policy.
    """

    load_finetuned: Any
    critic_networks: CriticEnsemble
    target_networks: CriticEnsemble

    def add_critics(
        self, critic: CriticObsAct, n_critics: int, network_path: str | None
    ) -> None:
        """Makes critics and targets, and restores those of a fine-tuned checkpoint.

        Args:
            critic: The first member.
            n_critics: How many.
            network_path: Checkpoint to start from.

        Raises:
            ValueError: There are too few, or `critic` is none that can be stacked.
        """
        if n_critics < 2:
            raise ValueError(
                "n_critics must be >= 2, because a target is the lower value of two "
                f"critics; got {n_critics}."
            )
        self.n_critics = n_critics
        self.critic_networks = trained = CriticEnsemble(critic, n_critics)
        self.target_networks = clone_network(self.critic_networks)
        if compat("stale_ensemble_checkpoint"):
            trained = clone_network(self.critic_networks)
        elif network_path:
            self.load_finetuned(network_path, *_ENSEMBLES)
        # In a tuple the state dict does not see it.
        self._trained = (trained,)

    @property
    def trained_critics(self) -> CriticEnsemble:
        """The critics that losses use."""
        return self._trained[0]

    @property
    def ensemble_params(self) -> dict[str, nn_Parameter]:
        """What the critics' optimizer trains: parameters (N, ...) by name."""
        return dict(self.trained_critics.named_parameters())

    def random_pair(self, draws: Draws) -> tf.Tensor:
        """Indices (2,) of two different critics."""
        return draws.permutation(self.n_critics)[:2]

    def critic_error(
        self, obs: Cond, actions: tf.Tensor, target: tf.Tensor
    ) -> tf.Tensor:
        """mean (Q_n(s, a) - y)^2 over critics and rows.

        Args:
            obs: {"state": (B, To, Do)}.
            actions: (B, Ta, Da).
            target: y, (B,).
        """
        return tf.reduce_mean((self.trained_critics(obs, actions) - target) ** 2)

    def update_target_critic(self, tau: float) -> None:
        """target <- (1 - tau) target + tau critic, for each critic."""
        sources = self.trained_critics.parameters()
        polyak(self.target_networks.parameters(), sources, tau)

    def state_dict(self) -> dict[str, np.ndarray]:
        """As of `nn_Module`, with the entries of each critic."""
        state = super().state_dict()
        for name in _ENSEMBLES:
            state = _by_member(state, f"{name}.")
        return state

    def load_state_dict(
        self, state_dict: State, strict: bool = True
    ) -> tuple[list[str], list[str]]:
        """As of `nn_Module`, from the entries of each critic."""
        for name in _ENSEMBLES:
            state_dict = _stacked(state_dict, f"{name}.", self.n_critics)
        return super().load_state_dict(state_dict, strict)


_ENSEMBLES = ("critic_networks", "target_networks")
