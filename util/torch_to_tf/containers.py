"""Containers of `torch.nn`."""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, Self

from util.torch_to_tf.module import nn_Module


class _Numbered(nn_Module):
    """Modules in order; what is added is named by its number."""

    def __iter__(self) -> Iterator[nn_Module]:
        return iter(list(self.__dict__["_torch_modules"].values()))

    def __len__(self) -> int:
        return len(self.__dict__["_torch_modules"])

    def __getitem__(self, idx: int | slice) -> Any:
        if isinstance(idx, slice):
            return self._part(list(self.named_children())[idx])
        return list(self)[self._place(idx)]

    def __setitem__(self, idx: int, module: nn_Module) -> None:
        name = list(self.__dict__["_torch_modules"])[self._place(idx)]
        self._hold({**dict(self.named_children()), name: _checked(module)})

    def __delitem__(self, idx: int | slice) -> None:
        kept = list(self)
        del kept[idx if isinstance(idx, slice) else self._place(idx)]
        self._hold(_numbered(kept))

    def append(self, module: nn_Module) -> Self:
        """Adds a module at the end."""
        self.add_module(str(len(self)), _checked(module))
        return self

    def extend(self, modules: Iterable[nn_Module]) -> Self:
        """Adds modules at the end.

        Raises:
            TypeError: `modules` is not iterable.
        """
        if not isinstance(modules, Iterable):
            raise TypeError(f"modules must be iterable, got {modules!r}.")
        for module in list(modules):
            self.append(module)
        return self

    def pop(self, key: int | slice) -> Any:
        """Takes a module out and returns it."""
        found = self[key]
        del self[key]
        return found

    def _insert(self, index: int, module: nn_Module) -> None:
        """Adds a module before the one at `index`; names are numbers afterwards."""
        if not -len(self) <= index <= len(self):
            raise IndexError(
                f"index must be in [{-len(self)}, {len(self)}], got {index}."
            )
        modules = list(self)
        modules.insert(index, _checked(module))
        self._hold(_numbered(modules))

    def _part(self, named: list[tuple[str, nn_Module]]) -> nn_Module:
        raise NotImplementedError

    def _place(self, idx: int) -> int:
        """The place that an index names, counted from 0."""
        size = len(self)
        idx = operator.index(idx)
        if not -size <= idx < size:
            raise IndexError(f"idx must be in [{-size}, {size - 1}], got {idx}.")
        return idx % size

    def _hold(self, named: Mapping[str, nn_Module]) -> None:
        """Holds these modules and no other."""
        held = self.__dict__["_torch_modules"]
        for name, module in list(held.items()):
            self._tracker.untrack(module)
            delattr(self, f"_child_{name}")
        held.clear()
        for name, module in named.items():
            self.add_module(name, module)


class nn_Sequential(_Numbered):
    """Calls modules one after the other (`torch.nn.Sequential`).

    Args:
        *args: Modules, whose keys are `0.`, `1.` and so on; or one OrderedDict of
            modules by name, which are attributes then.

    Example: `nn_Sequential(nn_ReLU(), nn_Tanh())(tf.constant([-1.0]))` gives `[0.0]`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        by_name = len(args) == 1 and isinstance(args[0], OrderedDict)
        for name, module in (args[0] if by_name else _numbered(args)).items():
            self.add_module(name, _checked(module))

    def call(self, input: Any) -> Any:
        """The output of the last module."""
        for module in self.__dict__["_torch_modules"].values():
            input = module(input)
        return input

    def insert(self, index: int, module: nn_Module) -> Self:
        """Adds a module before the one at `index`; names are numbers afterwards.

        Raises:
            IndexError: There is no such place.
        """
        self._insert(index, module)
        return self

    def __add__(self, other: nn_Sequential) -> nn_Sequential:
        return nn_Sequential(*self, *_sequence(other))

    def __iadd__(self, other: nn_Sequential) -> Self:
        return self.extend(_sequence(other))

    def __mul__(self, other: int) -> nn_Sequential:
        return nn_Sequential(*(list(self) * _factor(other)))

    __rmul__ = __mul__

    def __imul__(self, other: int) -> Self:
        return self.extend(list(self) * (_factor(other) - 1))

    def get_config(self) -> dict[str, Any]:
        """The modules that it holds now, by name if they have names of their own."""
        if type(self).__init__ is nn_Sequential.__init__:
            named = OrderedDict(self.named_children())
            numbers = list(named) == [str(i) for i in range(len(named))]
            self._arguments["args"] = tuple(self) if numbers else (named,)
        return super().get_config()

    def _part(self, named: list[tuple[str, nn_Module]]) -> nn_Module:
        return type(self)(OrderedDict(named))


class nn_ModuleList(_Numbered):
    """A list of modules with keys `0.`, `1.` and so on (`torch.nn.ModuleList`).

    Args:
        modules: Its first entries.

    Example: `len(nn_ModuleList([nn_ReLU(), nn_Tanh()])[1:])` gives `1`.
    """

    def __init__(
        self, modules: Iterable[nn_Module] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if modules is not None:
            self.extend(modules)

    def insert(self, index: int, module: nn_Module) -> None:
        """Adds a module before the one at `index`.

        Raises:
            IndexError: There is no such place.
        """
        self._insert(index, module)

    def __add__(self, other: Iterable[nn_Module]) -> nn_ModuleList:
        return nn_ModuleList(chain(self, other))

    def __iadd__(self, modules: Iterable[nn_Module]) -> Self:
        return self.extend(modules)

    def get_config(self) -> dict[str, Any]:
        """The modules that it holds now."""
        if type(self).__init__ is nn_ModuleList.__init__:
            self._arguments["modules"] = list(self)
        return super().get_config()

    def _part(self, named: list[tuple[str, nn_Module]]) -> nn_Module:
        return type(self)([module for _, module in named])


def _numbered(modules: Iterable[nn_Module]) -> dict[str, nn_Module]:
    return {str(number): module for number, module in enumerate(modules)}


def _checked(module: Any) -> nn_Module:
    if not isinstance(module, nn_Module):
        raise TypeError(f"module must be an nn_Module, got {module!r}.")
    return module


def _sequence(other: Any) -> nn_Sequential:
    if not isinstance(other, nn_Sequential):
        raise ValueError(f"other must be an nn_Sequential, got {other!r}.")
    return other


def _factor(other: Any) -> int:
    if not isinstance(other, int):
        raise TypeError(f"other must be an int, got {other!r}.")
    if other <= 0:
        raise ValueError(f"other must be positive, got {other}.")
    return other
