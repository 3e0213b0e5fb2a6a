"""`torch.func`: modules as functions of their parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from util.torch_to_tf.arguments import is_tensor
from util.torch_to_tf.module import nn_Module

Tensors = dict[str, Any]


class _Place(NamedTuple):
    """An attribute of a module that holds a parameter or buffer."""

    owner: nn_Module
    attribute: str
    variable: keras.Variable


def torch_func_functional_call(
    module: nn_Module,
    parameter_and_buffer_dicts: Tensors | Sequence[Tensors],
    args: Any = None,
    kwargs: Mapping[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Calls a module with given parameters and buffers (`torch.func.functional_call`).

    The module keeps its own. Gradients go to the given tensors, and `torch_vmap` may
    give those of several modules at once. What the module changes, such as a buffer, is
    changed in the dict instead.

    Args:
        module: What to call.
        parameter_and_buffer_dicts: Tensors by name, as from `named_parameters` and
            `named_buffers`, in one dict or several; unlike in PyTorch they have the
            shape and type of what they stand for. Others stay the module's own.
        args: Positional arguments, or a single one that is no tuple.
        kwargs: Other arguments.
        tie_weights: Whether a parameter with several names is given by one of them.
        strict: Refuse missing and unexpected names; without, unexpected ones of
            existing modules are ignored.

    Raises:
        TypeError: No module, dicts or tensors, or of another type.
        ValueError: A name is given twice, has no module or, if `strict`, is missing or
            unexpected; or tied names have different tensors, or shapes differ.

    Example: `torch_func_functional_call(nn_Linear(2, 1, bias=False), {"weight":
        tf.constant([[1.0, 2.0]])}, tf.constant([[3.0, 4.0]]))` gives `[[11.0]]`.
    """
    if not isinstance(module, nn_Module):
        raise TypeError(f"module must be an nn_Module, got {module!r}.")
    dicts = _as_dicts(parameter_and_buffer_dicts)
    places = dict(_places(module))
    given = {name: value for tensors in dicts for name, value in tensors.items()}
    known = _chosen(module, places, given, tie_weights, strict)
    positional = () if args is None else args if isinstance(args, tuple) else (args,)
    _check_tied(places, given, tie_weights)
    shared, alone = _mapping(places, known, tie_weights)
    scope = keras.StatelessScope(shared)
    before = {id(v): scope.get_current_value(v) for v, _ in shared}
    with scope, _attributes(alone):
        output = module(*positional, **(kwargs or {}))
    for tensors in dicts:
        for name in tensors.keys() & known.keys():
            variable = places[name].variable
            value = scope.get_current_value(variable)
            if value is not before.get(id(variable)):
                tensors[name] = value
    return output


def torch_func_stack_module_state(
    models: Sequence[nn_Module],
) -> tuple[Tensors, Tensors]:
    """Parameters and buffers of equal modules (`torch.func.stack_module_state`).

    Each is stacked along a new first axis, for `torch_vmap` of
    `torch_func_functional_call`.

    Args:
        models: Modules of one class, or an `nn_ModuleList`.

    Returns:
        Parameters and buffers by name. Trained parameters are new variables, which an
        optimizer can train; inside a compiled function they are tensors.

    Raises:
        TypeError: No sequence of modules.
        ValueError: There is none, or classes, modes, names, shapes or what is trained
            differ.

    Example: `torch_func_stack_module_state([nn_Linear(2, 3), nn_Linear(2, 3)])[0][
        "weight"].shape` gives `(2, 3, 2)`.
    """
    if not hasattr(models, "__len__"):
        raise TypeError(f"models must be a sequence of modules, got {models!r}.")
    members = list(models)
    _check_models(members)
    parameters = [dict(model.named_parameters()) for model in members]
    buffers = [dict(model.named_buffers()) for model in members]
    return _stacked(parameters), _stacked(buffers)


def _check_models(models: list[Any]) -> None:
    if not models:
        raise ValueError("models must be at least one, got none.")
    for model in models:
        if not isinstance(model, nn_Module):
            raise TypeError(f"models must be modules, got {model!r}.")
    names = [type(model).__name__ for model in models]
    if len({type(model) for model in models}) > 1:
        raise ValueError(f"models must be of one class, got {names}.")
    modes = [model.training for model in models]
    if len(set(modes)) > 1:
        raise ValueError(f"models must be in one mode, got training={modes}.")


def _stacked(states: list[dict[str, keras.Variable]]) -> Tensors:
    names = list(states[0])
    for state in states:
        if list(state) != names:
            raise ValueError(f"models must have {names}, got {list(state)}.")
    return {name: _stack(name, [state[name] for state in states]) for name in names}


def _stack(name: str, variables: list[keras.Variable]) -> Any:
    shapes = [tuple(variable.shape) for variable in variables]
    if len(set(shapes)) > 1:
        raise ValueError(f"{name} must have one shape in all models, got {shapes}.")
    trained = [variable.trainable for variable in variables]
    if len(set(trained)) > 1:
        raise ValueError(
            f"{name} must be trained in all models or none, got {trained}."
        )
    value = tf.stop_gradient(tf.stack([tf.convert_to_tensor(v) for v in variables]))
    if not trained[0] or not tf.executing_eagerly():
        return value
    return tf.Variable(value, trainable=True, name=name)


def _as_dicts(given: Any) -> list[Tensors]:
    """The dicts, each name in one of them only."""
    dicts = [given] if isinstance(given, dict) else given
    if not isinstance(dicts, Sequence) or not all(isinstance(d, dict) for d in dicts):
        raise TypeError(
            f"parameter_and_buffer_dicts must be a dict or several, got {given!r}."
        )
    twice = [n for n, k in Counter(name for d in dicts for name in d).items() if k > 1]
    if twice:
        raise ValueError(f"parameter_and_buffer_dicts must have {twice} only once.")
    return list(dicts)


def _places(module: nn_Module, prefix: str = "") -> Iterator[tuple[str, _Place]]:
    """All parameters and buffers by name, under each of their names."""
    for kind in ("_torch_parameters", "_torch_buffers"):
        for name, variable in module.__dict__[kind].items():
            if variable is not None:
                yield prefix + name, _Place(module, name, variable)
    for name, child in module.named_children():
        yield from _places(child, f"{prefix}{name}.")


def _chosen(
    module: nn_Module,
    places: dict[str, _Place],
    given: Tensors,
    tie_weights: bool,
    strict: bool,
) -> Tensors:
    """The tensors whose names stand for something."""
    known = {}
    for name, value in given.items():
        if name in places:
            known[name] = _fitting(name, value, places[name].variable)
        else:
            _check_unknown(module, name)
    if not strict:
        return known
    reached = {id(places[name].variable) for name in known}
    missing = [
        name
        for name, place in places.items()
        if name not in known and not (tie_weights and id(place.variable) in reached)
    ]
    unexpected = sorted(given.keys() - known.keys())
    if missing or unexpected:
        raise ValueError(
            f"parameter_and_buffer_dicts do not fit {type(module).__name__}: missing "
            f"{missing}, unexpected {unexpected}."
        )
    return known


def _check_unknown(module: nn_Module, name: str) -> None:
    """Refuses a name that cannot be one of a parameter."""
    paths = {path for path, _ in module.named_modules()}
    if name in paths:
        raise TypeError(f"{name!r} must be a parameter or buffer, it is a module.")
    parent = name.rpartition(".")[0]
    if parent not in paths:
        raise ValueError(f"{name!r} must be in a module, there is no {parent!r}.")


def _fitting(name: str, value: Any, variable: keras.Variable) -> tf.Tensor:
    """The tensor, of the shape and type of the variable."""
    if not is_tensor(value):
        raise TypeError(f"{name!r} must be a tensor, got {value!r}.")
    tensor = tf.convert_to_tensor(value)
    if tensor.dtype.name != variable.dtype:
        raise TypeError(
            f"{name!r} must have type {variable.dtype}, got {tensor.dtype.name}."
        )
    shape = tuple(variable.shape)
    if not tensor.shape.is_compatible_with(shape):
        raise ValueError(
            f"{name!r} must have shape {shape}, got {tuple(tensor.shape)}."
        )
    return tensor if tensor.shape == shape else tf.ensure_shape(tensor, shape)


def _names(places: dict[str, _Place]) -> list[list[str]]:
    """All names of each variable."""
    names: dict[int, list[str]] = {}
    for name, place in places.items():
        names.setdefault(id(place.variable), []).append(name)
    return list(names.values())


def _check_tied(places: dict[str, _Place], given: Tensors, tie_weights: bool) -> None:
    """Refuses several tensors for one variable, unless they are to be told apart."""
    for tied in _names(places):
        found = [name for name in tied if name in given]
        if tie_weights and len({id(given[name]) for name in found}) > 1:
            raise ValueError(
                f"{found} are tied and must have one tensor, or tie_weights=False."
            )


def _mapping(
    places: dict[str, _Place], known: Tensors, tie_weights: bool
) -> tuple[list[tuple[keras.Variable, tf.Tensor]], list[tuple[_Place, tf.Tensor]]]:
    """Tensors for variables, and those for only one of several names of a variable."""
    shared, alone = [], []
    for tied in _names(places):
        found = [name for name in tied if name in known]
        if found and (tie_weights or len(tied) == 1):
            shared.append((places[found[0]].variable, known[found[0]]))
        else:
            alone += [(places[name], known[name]) for name in found]
    return shared, alone


@contextmanager
def _attributes(values: list[tuple[_Place, tf.Tensor]]) -> Iterator[None]:
    """Within, attributes of modules are tensors instead of variables."""
    # Past `__setattr__`, which would register them.
    for place, tensor in values:
        place.owner.__dict__[place.attribute] = tensor
    try:
        yield
    finally:
        for place, _ in values:
            place.owner.__dict__[place.attribute] = place.variable
