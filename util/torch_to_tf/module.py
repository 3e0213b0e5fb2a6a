"""`nn_Module`: a Keras layer that names, orders and stores its state as PyTorch does.

A released PyTorch checkpoint therefore loads key for key, and what is saved here
loads in PyTorch with `strict=True`. Differences from a plain Keras layer:

* parameters are made in `__init__`, in PyTorch's array layout;
* `module(x)` runs `call` directly. Keras' own `__call__` costs about 80 us of Python
  for each layer and casts inputs, which PyTorch does not do; it is still used for
  symbolic Keras inputs, so modules work inside functional Keras models;
* constructor arguments are remembered, so `get_config`, `from_config` and `clone`
  need no code in subclasses.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

Array = np.ndarray


class nn_Parameter(keras.Variable):
    """A float tensor that belongs to a module (`torch.nn.Parameter`).

    Args:
        data: Initial value, array or tensor. It is copied.
        requires_grad: Whether `parameters` that ask for gradients include it.
    """

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        value = np.asarray(data)
        super().__init__(value, dtype=value.dtype.name, trainable=requires_grad)

    @property
    def requires_grad(self) -> bool:
        """Whether the parameter is trained."""
        return self.trainable

    @requires_grad.setter
    def requires_grad(self, flag: bool) -> None:
        self.trainable = flag
        # Gradient tapes ask the inner variable, which Keras does not tell.
        self.value._trainable = flag


class nn_Module(keras.layers.Layer):
    """Base of every network and algorithm (`torch.nn.Module`).

    Attributes assigned in `__init__` are registered in order: `nn_Parameter`s under
    their name, modules under `name.`; a module assigned twice is saved twice and
    counted once, as in PyTorch.
    """

    _allow_non_tensor_positional_args = True

    def __new__(cls, *args: Any, **kwargs: Any) -> nn_Module:
        """Remembers the constructor arguments for `get_config`."""
        self = super().__new__(cls, *args, **kwargs)
        bound = inspect.signature(cls.__init__).bind(self, *args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        given.pop("self", None)
        given.update(given.pop("kwargs", {}))
        self.__dict__["_arguments"] = given
        return self

    def __init__(self, **kwargs: Any) -> None:
        object.__setattr__(self, "_torch_parameters", {})
        object.__setattr__(self, "_torch_buffers", {})
        object.__setattr__(self, "_torch_modules", {})
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.built = True
        self.training = True

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn_Module):
            self.__dict__["_torch_modules"][name] = value
        elif isinstance(value, nn_Parameter):
            self.__dict__["_torch_parameters"][name] = value
        super().__setattr__(name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs `call`; symbolic Keras inputs take Keras' own route."""
        if any(isinstance(a, keras.KerasTensor) for a in args):
            return super().__call__(*args, **kwargs)
        replicated = self.__dict__.get("_replicated")  # set by nn_DataParallel
        if replicated is not None:
            return replicated(self, args, kwargs)
        return self.call(*args, **kwargs)

    # -- registration -----------------------------------------------------------

    def register_buffer(self, name: str, data: Any, persistent: bool = True) -> None:
        """Stores a tensor that is saved but never trained, as `self.<name>`."""
        value = np.asarray(data)
        buffer = keras.Variable(value, dtype=value.dtype.name, trainable=False)
        if persistent:
            self.__dict__["_torch_buffers"][name] = buffer
        super().__setattr__(name, buffer)

    def add_module(self, name: str, module: nn_Module) -> None:
        """Registers `module` under `name`; a sequence uses its index as the name.

        Also for names that Keras keeps for itself (`layers`): the module is then
        reached through an attribute of another name.
        """
        self.__dict__["_torch_modules"][name] = module
        super().__setattr__(f"_child_{name}", module)

    def named_children(self) -> Iterator[tuple[str, nn_Module]]:
        """Direct submodules with their names, in the order of registration."""
        yield from self.__dict__["_torch_modules"].items()

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, nn_Module]]:
        """This module and all below it, each once."""
        seen: set[int] = set()

        def walk(module: nn_Module, name: str) -> Iterator[tuple[str, nn_Module]]:
            if id(module) in seen:
                return
            seen.add(id(module))
            yield name, module
            for child_name, child in module.named_children():
                yield from walk(child, f"{name}.{child_name}" if name else child_name)

        yield from walk(self, prefix)

    def modules(self) -> Iterator[nn_Module]:
        """This module and all below it, each once."""
        for _, module in self.named_modules():
            yield module

    def _named_state(self, prefix: str = "") -> Iterator[tuple[str, keras.Variable]]:
        """Every (key, variable) of the state dict; aliases appear again."""
        for name, value in self.__dict__["_torch_parameters"].items():
            yield prefix + name, value
        for name, value in self.__dict__["_torch_buffers"].items():
            yield prefix + name, value
        for name, child in self.named_children():
            yield from child._named_state(f"{prefix}{name}.")

    def named_parameters(self) -> Iterator[tuple[str, nn_Parameter]]:
        """Parameters in PyTorch's order, each once, under its first name."""
        seen: set[int] = set()
        for key, value in self._named_state():
            if isinstance(value, nn_Parameter) and id(value) not in seen:
                seen.add(id(value))
                yield key, value

    def parameters(self) -> list[nn_Parameter]:
        """All parameters, each once, trainable or not."""
        return [value for _, value in self.named_parameters()]

    # -- state ------------------------------------------------------------------

    def state_dict(self) -> dict[str, Array]:
        """Parameters and buffers under PyTorch's keys, as NumPy copies."""
        return {key: np.array(value.numpy()) for key, value in self._named_state()}

    def load_state_dict(
        self, state_dict: Mapping[str, Array], strict: bool = True
    ) -> tuple[list[str], list[str]]:
        """Copies arrays into the parameters and buffers of the same key.

        Args:
            state_dict: Key to array, as from `state_dict` here or in PyTorch.
            strict: Refuse missing and unexpected keys.

        Returns:
            Keys that were missing, and keys that were not expected.

        Raises:
            ValueError: A shape differs; or, if strict, the keys differ.
        """
        own = dict(self._named_state())
        shapes = {key: tuple(np.shape(value)) for key, value in state_dict.items()}
        missing = [key for key in own if key not in state_dict]
        unexpected = [key for key in state_dict if key not in own]
        problems = [
            f"{key} has shape {shape}, expected {tuple(own[key].shape)}"
            for key, shape in shapes.items()
            if key in own and shape != tuple(own[key].shape)
        ]
        if strict and missing:
            problems.append(f"missing keys: {', '.join(missing)}")
        if strict and unexpected:
            problems.append(f"unexpected keys: {', '.join(unexpected)}")
        if problems:
            raise ValueError(
                f"state_dict does not fit {type(self).__name__}: " + "; ".join(problems)
            )
        for key, value in state_dict.items():
            if key in own:
                own[key].assign(np.asarray(value))
        return missing, unexpected

    def requires_grad_(self, requires_grad: bool = True) -> nn_Module:
        """Marks every parameter as trained or frozen."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def train(self, mode: bool = True) -> nn_Module:
        """Sets training mode here and below; only dropout depends on it.

        A compiled function keeps the mode it was traced with.
        """
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> nn_Module:
        """Sets evaluation mode here and below."""
        return self.train(False)

    # -- configuration ------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments; modules among them as class path and config."""
        return {name: _pack(value) for name, value in self._arguments.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> nn_Module:
        """Builds a module from `get_config`; parameters are fresh."""
        bound = {name: _unpack(value) for name, value in config.items()}
        positional = bound.pop("args", ())
        return cls(*positional, **bound)


def clone_network(module: nn_Module) -> nn_Module:
    """A second module of the same class and arguments with equal state."""
    copy = type(module).from_config(module.get_config())
    copy.load_state_dict(module.state_dict())
    return copy


def _pack(value: Any) -> Any:
    if isinstance(value, nn_Module):
        return {
            "module": f"{type(value).__module__}.{type(value).__qualname__}",
            "config": value.get_config(),
        }
    if isinstance(value, list | tuple):
        return type(value)(_pack(item) for item in value)
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) == {"module", "config"}:
        path, _, name = value["module"].rpartition(".")
        return getattr(importlib.import_module(path), name).from_config(value["config"])
    if isinstance(value, list | tuple):
        return type(value)(_unpack(item) for item in value)
    return value
