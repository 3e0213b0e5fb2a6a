"""What optimizers share: groups of parameters, and a state laid out as in PyTorch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from util.torch_to_tf.arguments import is_tensor

_VARIABLES = (keras.Variable, tf.Variable)

# In a state dict beside the options used here, so that PyTorch finds what it writes.
_UNUSED = {"foreach": None, "capturable": False, "differentiable": False, "fused": None}


class Group(dict):
    """Options of parameters that share them; a new "lr" goes into its variable."""

    def __setitem__(self, key: str, value: Any) -> None:
        if key == "lr" and isinstance(self.get("lr"), _VARIABLES):
            self["lr"].assign(value)
        else:
            super().__setitem__(key, value)


class Optimizer:
    """Groups of parameters, their counts of steps and their averages.

    Args:
        params: Variables to train, or (name, variable) pairs; or mappings, each with
            the "params" of one group and the options in which it differs.
        defaults: Options of a group that says nothing else.
    """

    def __init__(self, params: Iterable[Any], defaults: Mapping[str, Any]) -> None:
        if is_tensor(params):
            raise TypeError("params must be a list of variables, got a single one.")
        self.defaults = dict(defaults)
        self.param_groups: list[Group] = []
        self.params: list[keras.Variable] = []
        # By name, a variable for each parameter; None where its group has none.
        self.averages: dict[str, list[Any]] = {}
        # By group, one count for each parameter: it counts its own gradients.
        self.steps: list[tf.Variable] = []
        given = list(params)
        if not given:
            raise ValueError("params is empty, expected at least one variable.")
        groups = given if isinstance(given[0], Mapping) else [{"params": given}]
        for group in groups:
            self.add_param_group(group)

    def names_of_averages(self, group: Mapping[str, Any]) -> Sequence[str]:
        """What is kept for each parameter of a group, as PyTorch calls it."""
        raise NotImplementedError

    @property
    def lr(self) -> Any:
        """Rate of the first group, a variable."""
        return self.param_groups[0]["lr"]

    def add_param_group(self, param_group: Mapping[str, Any]) -> None:
        """Trains further variables from the next step on.

        Their gradients follow those of the groups before. Functions that were traced
        with fewer gradients have to be traced again.

        Args:
            param_group: "params", and options that differ from the constructor's.

        Raises:
            TypeError: No mapping, no variables, or a set, which has no order.
            ValueError: A variable is in a group already; names for only some.
        """
        if not isinstance(param_group, Mapping):
            raise TypeError(f"param_group must be a dict, got {param_group!r}.")
        names, variables = _named(param_group["params"])
        known = {id(p) for p in self.params}
        if any(id(p) in known for p in variables):
            raise ValueError("param_group has a variable of another group.")
        if any((names is None) == ("param_names" in g) for g in self.param_groups):
            raise ValueError("params must have names in all groups or in none.")
        group = Group({**self.defaults, **param_group, "params": variables})
        group["lr"] = _as_rate(group.pop("lr"))
        if names is not None:
            group["param_names"] = names
        self.param_groups.append(group)
        self.params += variables
        counts = np.zeros(len(variables), np.int64)
        self.steps.append(tf.Variable(counts, trainable=False, name="step"))
        self._make_averages()

    def _make_averages(self) -> None:
        """Zeros for each average that a group asks for and does not have."""
        wanted = [
            (p, self.names_of_averages(group))
            for group in self.param_groups
            for p in group["params"]
        ]
        asked = [name for _, names in wanted for name in names]
        for name in dict.fromkeys([*self.averages, *asked]):
            old = self.averages.get(name, [])
            old += [None] * (len(wanted) - len(old))
            self.averages[name] = [
                (_zeros_like(p) if value is None else value) if name in names else None
                for value, (p, names) in zip(old, wanted, strict=True)
            ]

    def state_dict(self) -> dict[str, Any]:
        """Averages, steps and options as arrays and numbers, under PyTorch's keys.

        As there, a parameter that has had no gradient has no entry.
        """
        groups: list[dict[str, Any]] = []
        steps: list[int] = []
        for group, counts in zip(self.param_groups, self.steps, strict=True):
            number = len(steps)
            steps += counts.numpy().tolist()
            rate = float(np.reshape(group["lr"].numpy(), []))
            members = list(range(number, len(steps)))
            groups.append({**group, **_UNUSED, "lr": rate, "params": members})
        state = {i: self._entry(i, step) for i, step in enumerate(steps) if step}
        return {"state": state, "param_groups": groups}

    def _entry(self, index: int, step: int) -> dict[str, Any]:
        entry: dict[str, Any] = {"step": np.float32(step)}
        for name, values in self.averages.items():
            variable = values[index]
            if variable is not None:
                entry[name] = variable.numpy()
        return entry

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continues from a `state_dict`, of this class or of PyTorch (as arrays).

        Options are taken over too, as in PyTorch; compiled functions take over the
        rate only. A parameter without an entry starts again.

        Raises:
            ValueError: The groups, or the number or shapes of their parameters, differ.
        """
        saved = state_dict["param_groups"]
        sizes = [len(group["params"]) for group in saved]
        expected = [len(group["params"]) for group in self.param_groups]
        if sizes != expected:
            raise ValueError(
                f"state_dict has groups of {sizes} parameters, expected {expected}."
            )
        order = [int(key) for group in saved for key in group["params"]]
        given = {int(key): entry for key, entry in state_dict["state"].items()}
        entries = [given.get(key, {}) for key in order]
        for index, entry in enumerate(entries):
            self._check_entry(index, entry)
        for group, options in zip(self.param_groups, saved, strict=True):
            self._take_options(group, options)
        self._make_averages()
        for name, values in self.averages.items():
            for variable, entry in zip(values, entries, strict=True):
                if variable is not None:
                    variable.assign(entry.get(name, tf.zeros_like(variable)))
        steps = np.array([int(entry.get("step", 0)) for entry in entries], np.int64)
        parts = np.split(steps, np.cumsum(expected)[:-1])
        for counts, part in zip(self.steps, parts, strict=True):
            counts.assign(part)

    def _check_entry(self, index: int, entry: Mapping[str, Any]) -> None:
        shape = tuple(self.params[index].shape)
        for key, value in entry.items():
            if key != "step" and np.shape(value) != shape:
                raise ValueError(
                    f"state_dict has {key} of shape {np.shape(value)} for parameter "
                    f"{index}, expected shape {shape}."
                )

    def _take_options(self, group: Group, saved: Mapping[str, Any]) -> None:
        for key, value in saved.items():
            if key in self.defaults or key == "param_names":
                group[key] = tuple(value) if key == "betas" else value

    get_state = state_dict
    set_state = load_state_dict


def check_rate(lr: Any) -> None:
    """Refuses a learning rate that is negative or has several entries."""
    if is_tensor(lr) and np.prod(lr.shape) != 1:
        raise ValueError(f"lr must have one entry, got shape {tuple(lr.shape)}.")
    if not lr >= 0.0:
        raise ValueError(f"lr must be >= 0, got {lr}.")


def _as_rate(lr: Any) -> tf.Variable:
    """The variable of a rate, which is double: PyTorch's rates are Python floats."""
    if isinstance(lr, _VARIABLES):
        return lr
    value = np.reshape(np.asarray(lr), [])
    return tf.Variable(value, dtype=tf.float64, trainable=False, name="lr")


def _named(params: Any) -> tuple[list[str] | None, list[keras.Variable]]:
    """Names, if there are any, and the variables."""
    if isinstance(params, set):
        raise TypeError("params must have an order, got a set.")
    given = [params] if is_tensor(params) else list(params)
    pairs = [p for p in given if isinstance(p, tuple)]
    if pairs and len(pairs) < len(given):
        raise ValueError("params must have names for all variables or for none.")
    variables = [p[1] for p in pairs] if pairs else given
    for variable in variables:
        if not isinstance(variable, _VARIABLES):
            raise TypeError(f"params must be variables, got {variable!r}.")
    return ([p[0] for p in pairs] if pairs else None), variables


def _zeros_like(param: keras.Variable) -> tf.Variable:
    return tf.Variable(tf.zeros(param.shape, param.dtype), trainable=False)
