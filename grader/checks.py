"""The vocabulary of checks: what a test in `tests/<id>/` says about the values that an attempt returned.

See docs/checks.md. A plain `assert condition, "sentence"` belongs to it too.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from grader.compare import difference, number
from grader.cost import Cost
from grader.fault import Fault

__all__ = ["Wrong", "agree", "agree_one_of", "at_most", "in_torch", "part", "refusal"]


class Wrong(AssertionError):
    """A check that does not hold; the message is what the learner reads."""


def part(name: str) -> pytest.MarkDecorator:
    """Say to which part of `exercise.toml` a check belongs."""
    return pytest.mark.part(name)


def agree(
    got: Any,
    want: Any,
    *,
    axes: str = "",
    of: str,
    tol: float | None = None,
    dtype: bool = True,
    along: Mapping[str, Sequence[int]] | None = None,
    known: Mapping[str, Any] | None = None,
) -> None:
    """Hold that `got` is `want`: type, shape, dtype, finiteness and values.

    axes: the letters of the tensors' axes. of: what was computed, with its sizes; it opens the message.
    tol: largest error relative to the largest expected value; by default it follows the dtype.
    known: name of a known mistake to the value it gives, or to a function that computes it.
    """
    said = difference(got, want, axes=axes, tol=tol, dtype=dtype, along=along)
    if said:
        only_dtype = dtype and difference(got, want, tol=tol, dtype=False) is None
        raise Wrong(f"{of}: {said}{'' if only_dtype else _recognised(got, known, tol)}")


def agree_one_of(
    got: Any,
    wants: Mapping[str, Any],
    *,
    axes: str = "",
    of: str,
    tol: float | None = None,
    dtype: bool = True,
    known: Mapping[str, Any] | None = None,
) -> str:
    """Hold that `got` follows one of several conventions of the field; returns the name of the one seen."""
    said = {name: difference(got, want, axes=axes, tol=tol, dtype=dtype) for name, want in wants.items()}
    for name, wrong in said.items():
        if wrong is None:
            return name
    name, wrong = next(iter(said.items()))
    others = ", ".join(f"'{other}'" for other in list(wants)[1:])
    also = f"\n  Nor is it {others}." if others else ""
    raise Wrong(f"{of}, as '{name}': {wrong}{also}{_recognised(got, known, tol)}")


def at_most(value: float, limit: float, *, of: str, known: Mapping[str, float] | None = None) -> None:
    """Hold that a cost stays within its limit. known: name of a known way to do it, to what that costs."""
    if value <= limit:
        return
    times = f", {value / limit:.3g} times as much" if limit else ""
    same = next((name for name, cost in (known or {}).items() if abs(value - cost) <= 0.1 * cost), None)
    named = f"\n  That is about what {same} costs." if same else ""
    raise Wrong(f"{of}: at most {_amount(limit)} allowed, got {_amount(value)}{times}{named}")


def in_torch(cost: Cost, *, of: str, values: int = 64) -> None:
    """Hold that the work was done in torch, where operations are promised: no others can be counted.

    values: how many may leave it, as lengths and maxima that Python reads do.
    """
    if sum(cost.left.values()) > values:
        ways = " and ".join(f"{count:,} values left it through {way}" for way, count in sorted(cost.left.items()))
        raise Wrong(f"{of}: this part's work stays in torch, where it is counted: {ways}")


def _amount(value: float) -> str:
    """A cost: whole, where it is large enough for fractions not to matter."""
    return f"{value:,.0f}" if value == int(value) or value >= 1000 else number(value)


@contextmanager
def refusal(kind: type[Exception], *, of: str) -> Iterator[None]:
    """Hold that the attempt refuses what is asked inside with an exception of that kind."""
    try:
        yield
    except (NotImplementedError, Fault):
        raise  # before `kind`: a stub raises a RuntimeError of this sort
    except kind:
        return
    except AssertionError:
        raise
    except Exception as error:
        raise Wrong(f"{of}: expected {kind.__name__}, got {type(error).__name__}: {error}") from error
    raise Wrong(f"{of}: expected {kind.__name__}, but nothing was raised")


def _recognised(got: Any, known: Mapping[str, Any] | None, tol: float | None) -> str:
    for name, value in (known or {}).items():
        wrong = value() if callable(value) else value
        if difference(got, wrong, tol=tol, dtype=False) is None:
            return f"\n  This is what {name} gives."
    return ""
