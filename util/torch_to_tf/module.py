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
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np

from util.torch_to_tf.arguments import is_tensor
from util.torch_to_tf.parameter import nn_Parameter

Array = np.ndarray


class nn_Module(keras.layers.Layer):
    """Base of every network and algorithm (`torch.nn.Module`).

    Attributes assigned in `__init__` are registered in order: `nn_Parameter`s under
    their name, modules under `name.`; a module assigned twice is saved twice and
    counted once, as in PyTorch. Subclasses define `call` where PyTorch's define
    `forward`.

    Example: `nn_Module().eval().training` gives `False`.
    """

    _allow_non_tensor_positional_args = True

    def __new__(cls, *args: Any, **kwargs: Any) -> nn_Module:
        """Remembers the constructor arguments for `get_config`."""
        self = super().__new__(cls, *args, **kwargs)
        signature = inspect.signature(cls.__init__)
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        given = dict(bound.arguments)
        given.pop("self", None)
        for name, parameter in signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                given.update(given.pop(name))
        self.__dict__["_arguments"] = given
        return self

    def __init__(self, **kwargs: Any) -> None:
        object.__setattr__(self, "_torch_parameters", {})
        object.__setattr__(self, "_torch_buffers", {})
        object.__setattr__(self, "_unsaved_buffers", set())
        object.__setattr__(self, "_torch_modules", {})
        kwargs.setdefault("autocast", False)
        super().__init__(**kwargs)
        self.built = True
        self.training = True

    def __setattr__(self, name: str, value: Any) -> None:
        kept = self.__dict__
        if isinstance(value, nn_Module | nn_Parameter):
            kept["_torch_buffers"].pop(name, None)
            is_module = isinstance(value, nn_Module)
            kept["_torch_modules" if is_module else "_torch_parameters"][name] = value
        elif name in kept.get("_torch_buffers", ()):
            self._set_buffer(name, value)
            return
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

    def register_buffer(self, name: str, tensor: Any, persistent: bool = True) -> None:
        """Stores a tensor that is never trained as `self.<name>`.

        A tensor assigned to that name later changes the buffer: in place, which
        compiled code can do, if shape and type are the same.

        Args:
            name: Attribute, and key of the state dict.
            tensor: Value, which is copied. None is a buffer that has none yet and
                that no state dict names.
            persistent: Whether the state dict has it.

        Raises:
            TypeError: The name is no string, or the value no tensor.
            ValueError: The name is empty, has a dot or is taken.
        """
        if not isinstance(name, str):
            raise TypeError(f"name must be a string, got {name!r}.")
        if not name or "." in name:
            raise ValueError(f"name must not be empty or have a dot, got {name!r}.")
        buffers = self.__dict__["_torch_buffers"]
        if name not in buffers and hasattr(self, name):
            raise ValueError(f"name must be free, but {name!r} is an attribute.")
        self._set_buffer(name, tensor)
        (set.discard if persistent else set.add)(self._unsaved_buffers, name)

    def _set_buffer(self, name: str, tensor: Any) -> None:
        if tensor is not None and not is_tensor(tensor):
            raise TypeError(
                f"buffer {name!r} must be a tensor or None, got {tensor!r}."
            )
        buffers = self.__dict__["_torch_buffers"]
        old, value = buffers.get(name), tensor
        if old is not None and tensor is not None and _is_alike(old, tensor):
            old.assign(tensor)
            return
        if old is not None:
            super().__delattr__(name)  # Keras lets go of the variable.
        if tensor is not None:
            data = np.asarray(tensor)
            value = keras.Variable(data, dtype=data.dtype.name, trainable=False)
        buffers[name] = value
        super().__setattr__(name, value)

    def add_module(self, name: str, module: nn_Module) -> None:
        """Registers `module` under `name`; a sequence uses its index as the name.

        The module is an attribute of that name, unless Keras keeps the name for
        itself (`output`).

        Raises:
            TypeError: It is no module, or the name no string.
            ValueError: The name is empty, has a dot or is taken.
        """
        if not isinstance(module, nn_Module):
            raise TypeError(f"module must be an nn_Module, got {module!r}.")
        if not isinstance(name, str):
            raise TypeError(f"name must be a string, got {name!r}.")
        if not name or "." in name:
            raise ValueError(f"name must not be empty or have a dot, got {name!r}.")
        held = self.__dict__["_torch_modules"]
        is_own = not hasattr(keras.layers.Layer, name)
        if is_own and name not in held and hasattr(self, name):
            raise ValueError(f"name must be free, but {name!r} is an attribute.")
        held[name] = module
        super().__setattr__(f"_child_{name}", module)

    def __getattr__(self, name: str) -> Any:
        """Modules that `add_module` registered; all else is found without this."""
        held = self.__dict__.get("_torch_modules", {})
        if name in held:
            return held[name]
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}.")

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
            if value is not None and name not in self._unsaved_buffers:
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

    def named_buffers(self) -> Iterator[tuple[str, keras.Variable]]:
        """Buffers in PyTorch's order, each once, saved or not."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in module.__dict__["_torch_buffers"].items():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def buffers(self) -> list[keras.Variable]:
        """All buffers, each once."""
        return [value for _, value in self.named_buffers()]

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


def _is_alike(variable: keras.Variable, tensor: Any) -> bool:
    dtype = getattr(tensor.dtype, "name", tensor.dtype)
    return tuple(variable.shape) == tuple(tensor.shape) and variable.dtype == dtype


def _pack(value: Any) -> Any:
    if isinstance(value, nn_Module):
        return {
            "module": f"{type(value).__module__}.{type(value).__qualname__}",
            "config": value.get_config(),
        }
    if isinstance(value, list | tuple):
        return type(value)(_pack(item) for item in value)
    if isinstance(value, OrderedDict):
        return OrderedDict((name, _pack(item)) for name, item in value.items())
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, Mapping) and set(value) == {"module", "config"}:
        path, _, name = value["module"].rpartition(".")
        return getattr(importlib.import_module(path), name).from_config(value["config"])
    if isinstance(value, list | tuple):
        return type(value)(_unpack(item) for item in value)
    if isinstance(value, OrderedDict):
        return OrderedDict((name, _unpack(item)) for name, item in value.items())
    return value
