"""Plain arithmetic for configs: named resolvers and a parser that runs no code.

A config derives a value with a named resolver, `${mul:${obs_dim},${cond_steps}}`. A
user's YAML in the reference's style says `${eval:'${obs_dim} * ${cond_steps}'}`; there
the reference calls Python's `eval`, here `evaluate` reads numbers, `+ - * / // % **`,
signs, parentheses and `round int float min max`, and refuses everything else.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

Number = int | float

MAX_LENGTH = 500
"""Longest expression read; longer ones could exhaust the parser's stack."""
MAX_BITS = 256
"""Largest size of an integer result, so that `9**9**9` cannot stall a run."""

MAX_DIGITS = 30
"""Largest number of digits that `round` takes: `round(5, -10**9)` never returns."""


def _digits(digits: Any) -> int | None:
    """Checks the second argument of `round`."""
    if digits is None or (isinstance(digits, int) and abs(digits) <= MAX_DIGITS):
        return digits
    raise TypeError(f"round takes at most {MAX_DIGITS} digits, got {digits}")


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}
_CALLS: dict[str, tuple[Callable[..., Any], int, int]] = {
    "round": (lambda value, digits=None: round(value, _digits(digits)), 1, 2),
    "int": (int, 1, 1),
    "float": (float, 1, 1),
    "min": (min, 1, MAX_LENGTH),
    "max": (max, 1, MAX_LENGTH),
}


def evaluate(expression: Any) -> Number:
    """Returns the value of an arithmetic expression.

    Args:
        expression: Text such as `"11 * 2"` or `"round(300 / 8)"`; a number is
            returned as it is.

    Raises:
        ValueError: If the text is anything but plain arithmetic, or its value is not
            a real number of reasonable size.
    """
    if isinstance(expression, (int, float)) and not isinstance(expression, bool):
        return expression
    text = str(expression).strip()
    if len(text) > MAX_LENGTH:
        raise ValueError(
            f"eval: the expression must have at most {MAX_LENGTH} characters, "
            f"got {len(text)}."
        )
    try:
        tree = ast.parse(text, mode="eval")
        return _value(tree.body, text)
    except (SyntaxError, MemoryError, RecursionError) as error:
        raise _refusal(text, "it cannot be read") from error
    except (ArithmeticError, TypeError) as error:
        raise _refusal(text, str(error)) from error


def _refusal(text: str, reason: str) -> ValueError:
    """The error for an expression that is not accepted."""
    return ValueError(
        f"eval: only plain arithmetic is accepted (numbers, + - * / // % **, "
        f"parentheses, round int float min max), got {text!r}: {reason}."
    )


def _value(node: ast.expr, text: str) -> Number:
    """The value of one syntax node, checked to be a real number."""
    value: Any
    if isinstance(node, ast.Constant):
        value = node.value
    elif isinstance(node, ast.BinOp) and type(node.op) in _BINARY:
        left, right = _value(node.left, text), _value(node.right, text)
        _check_power(node.op, left, right, text)
        value = _BINARY[type(node.op)](left, right)
    elif isinstance(node, ast.UnaryOp) and type(node.op) in _UNARY:
        value = _UNARY[type(node.op)](_value(node.operand, text))
    elif isinstance(node, ast.Call):
        value = _call(node, text)
    else:
        raise _refusal(text, f"{type(node).__name__} is not arithmetic")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise _refusal(text, f"a value has more than {MAX_BITS} bits")
    if type(value) not in (int, float) or not math.isfinite(value):
        raise _refusal(text, f"{value!r} is not a finite real number")
    return value


def _check_power(op: ast.operator, base: Number, exponent: Number, text: str) -> None:
    """Refuses an integer power before it is computed if it would be huge."""
    if not isinstance(op, ast.Pow) or isinstance(base, float):
        return
    if isinstance(exponent, int) and base.bit_length() * exponent > 2 * MAX_BITS:
        raise _refusal(text, f"a value has more than {MAX_BITS} bits")


def _call(node: ast.Call, text: str) -> Any:
    """The value of `round int float min max` of numbers."""
    if not isinstance(node.func, ast.Name) or node.func.id not in _CALLS:
        raise _refusal(text, "only round int float min max can be called")
    function, fewest, most = _CALLS[node.func.id]
    if node.keywords or not fewest <= len(node.args) <= most:
        raise _refusal(text, f"{node.func.id} takes {fewest} or more plain numbers")
    return function(*[_value(argument, text) for argument in node.args])


def _numbers(name: str, values: tuple[Any, ...]) -> tuple[Number, ...]:
    """Checks that a resolver got at least one argument and only numbers."""
    if not values:
        raise ValueError(f"{name}: expected at least one number, got none.")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name}: every argument must be a number, got {value!r}.")
    return values


def add(*values: Any) -> Number:
    """Returns the sum of the arguments."""
    return sum(_numbers("add", values))


def mul(*values: Any) -> Number:
    """Returns the product of the arguments."""
    return math.prod(_numbers("mul", values))


def neg(value: Any) -> Number:
    """Returns the argument with its sign changed."""
    return -_numbers("neg", (value,))[0]


def _quotient(name: str, values: tuple[Any, ...]) -> Number:
    """First argument divided by all the others, in order."""
    first, *divisors = _numbers(name, values)
    for divisor in divisors:
        if divisor == 0:
            raise ValueError(f"{name}: a divisor must not be 0, got {list(values)}.")
        first = first / divisor
    return first


def round_up(*values: Any) -> int:
    """Returns the ceiling of `a / b / c ...` (of `a` alone with one argument)."""
    return math.ceil(_quotient("round_up", values))


def round_down(*values: Any) -> int:
    """Returns the floor of `a / b / c ...` (of `a` alone with one argument)."""
    return math.floor(_quotient("round_down", values))


def round_even(*values: Any) -> int:
    """Returns `a / b / c ...` rounded to the nearest integer, halves to even.

    This is Python's `round`, which the reference's configs use.
    """
    return round(_quotient("round_even", values))


RESOLVERS: dict[str, Callable[..., Number]] = {
    "add": add,
    "mul": mul,
    "neg": neg,
    "round_up": round_up,
    "round_down": round_down,
    "round_even": round_even,
    "eval": evaluate,
}
"""Resolver name to function."""
