"""The vocabulary of checks: what a test in `tests/<id>/` says about the values that an attempt returned.

See docs/checks.md. A plain `assert condition, "sentence"` belongs to it too.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from grader.answering.cost import Cost
from grader.checks.compare import Difference, difference, number
from grader.checks.knowns import listener
from grader.verdicts.fault import Fault
from grader.verdicts.finding import Finding
from grader.verdicts.raised import described

__all__ = ["Wrong", "agree", "agree_one_of", "at_most", "in_torch", "part", "refusal"]


class Wrong(AssertionError):
    """A check that does not hold; the message is what the learner reads. finding: the same as data."""

    def __init__(self, said: str, finding: Finding | None = None) -> None:
        super().__init__(said)
        self.finding = finding


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
    found = difference(got, want, axes=axes, tol=tol, dtype=dtype, along=along)
    if found is None:
        listener.note(want, known, tol, of)
    else:
        only_dtype = dtype and difference(got, want, tol=tol, dtype=False) is None
        raise _wrong(of, "", found, [] if only_dtype else _recognised(got, known, tol))


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
    found = {name: difference(got, want, axes=axes, tol=tol, dtype=dtype) for name, want in wants.items()}
    fitting = next((name for name, wrong in found.items() if wrong is None), None)
    if fitting is not None:
        listener.note(wants[fitting], known, tol, of)
        return fitting
    (name, first), *_ = found.items()
    assert first
    others = ", ".join(f"'{other}'" for other in list(wants)[1:])
    raise _wrong(
        f"{of}, as '{name}'", f"\n  Nor is it {others}." if others else "", first, _recognised(got, known, tol)
    )


def at_most(value: float, limit: float, *, of: str, known: Mapping[str, float] | None = None) -> None:
    """Hold that a cost stays within its limit. known: name of a known way to do it, to what that costs."""
    if value <= limit:
        return
    times = f", {value / limit:.3g} times as much" if limit else ""
    alike = [name for name, cost in (known or {}).items() if abs(value - cost) <= 0.1 * cost]
    named = _said(alike, "That is about what {} costs.", "{} and {} both cost about that.")
    finding = Finding(kind="cost", of=of, expected=_amount(limit), got=_amount(value), mistake=_mistake(alike))
    raise Wrong(f"{of}: at most {_amount(limit)} allowed, got {_amount(value)}{times}{named}", finding)


def in_torch(cost: Cost, *, of: str, values: int = 64) -> None:
    """Hold that the work was done in torch, where operations are promised: no others can be counted.

    values: how many may leave it, as lengths and maxima that Python reads do.
    """
    if sum(cost.left.values()) > values:
        ways = " and ".join(f"{count:,} values left it through {way}" for way, count in sorted(cost.left.items()))
        finding = Finding(kind="cost", of=of, expected=_amount(values), got=_amount(sum(cost.left.values())))
        raise Wrong(f"{of}: this part's work stays in torch, where it is counted: {ways}", finding)


def _amount(value: float) -> str:
    """A cost as text; without decimals if it is large."""
    return f"{value:,.0f}" if value == int(value) or value >= 1000 else number(value)


@contextmanager
def refusal(kind: type[Exception], *, of: str) -> Iterator[None]:
    """Hold that a call inside raises an exception of that kind."""
    try:
        yield
    except (NotImplementedError, Fault):
        raise  # before `kind`: a stub raises a RuntimeError of this sort
    except kind:
        return
    except AssertionError:
        raise
    except Exception as error:
        raised = described(error, Path())
        finding = Finding(kind="refusal", of=of, expected=kind.__name__, got=raised.kind)
        raise Wrong(f"{of}: expected {kind.__name__}, got {raised.kind}: {raised.said}", finding) from error
    finding = Finding(kind="refusal", of=of, expected=kind.__name__)
    raise Wrong(f"{of}: expected {kind.__name__}, but nothing was raised", finding)


def _wrong(of: str, also: str, found: Difference, alike: Sequence[str]) -> Wrong:
    named = _said(alike, "This is what {} gives.", "Both {} and {} give this.")
    finding = msgspec.structs.replace(found.finding, of=of, mistake=_mistake(alike))
    return Wrong(f"{of}: {found.said}{also}{named}", finding)


def _recognised(got: Any, known: Mapping[str, Any] | None, tol: float | None) -> list[str]:
    """The names of the known mistakes that give exactly this."""
    values = {name: value() if callable(value) else value for name, value in (known or {}).items()}
    return [name for name, wrong in values.items() if difference(got, wrong, tol=tol, dtype=False) is None]


def _said(alike: Sequence[str], one: str, two: str) -> str:
    """A line that names the mistake, or the two, that what came may be; of more nothing can be said."""
    said = {1: one, 2: two}.get(len(alike))
    return f"\n  {said.format(*alike)}" if said else ""


def _mistake(alike: Sequence[str]) -> str:
    """The one mistake that it is; empty where it may be another."""
    return alike[0] if len(alike) == 1 else ""
