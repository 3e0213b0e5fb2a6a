"""Changes of containers of modules, the same here and in PyTorch."""

from collections.abc import Callable
from typing import Any

# The first sizes tell linear layers apart.
COUNT = 4


def linears(linear: Callable[..., Any], count: int = COUNT) -> list[Any]:
    """Layers that can be told apart by their number of inputs."""
    return [linear(number + 1, 2) for number in range(count)]


def keys(module: Any) -> list[str]:
    """The keys of the state dict."""
    return list(module.state_dict())


def inputs(container: Any) -> list[int]:
    """Which layers it holds, in order."""
    return [layer.in_features for layer in container]


def _new(container: Any) -> Any:
    return type(container[0])(9, 2)


EDITS: dict[str, Callable[[Any], Any]] = {
    "append": lambda c: c.append(_new(c)),
    "extend": lambda c: c.extend([_new(c), _new(c)]),
    "insert first": lambda c: c.insert(0, _new(c)),
    "insert within": lambda c: c.insert(2, _new(c)),
    "insert last": lambda c: c.insert(COUNT, _new(c)),
    "replace": lambda c: c.__setitem__(1, _new(c)),
    "replace last": lambda c: c.__setitem__(-1, _new(c)),
    "delete": lambda c: c.__delitem__(1),
    "delete last": lambda c: c.__delitem__(-1),
    "delete some": lambda c: c.__delitem__(slice(0, None, 2)),
    "delete all": lambda c: c.__delitem__(slice(None)),
    "pop": lambda c: c.pop(0),
}


def assert_edits_equal_torch(
    edit: Callable[[Any], Any], ours: Any, theirs: Any
) -> None:
    """After a change both hold the same layers under the same names."""
    results = edit(ours), edit(theirs)
    assert inputs(ours) == inputs(theirs)
    assert keys(ours) == keys(theirs)
    assert len(ours) == len(theirs)
    assert len(ours.trainable_variables) == len(list(theirs.parameters()))
    assert (results[0] is ours) == (results[1] is theirs)
    assert getattr(results[0], "in_features", 0) == getattr(
        results[1], "in_features", 0
    )
