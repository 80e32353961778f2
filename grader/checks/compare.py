"""Do two values agree, and if not, where along which axis? The answer is a sentence that teaches, and the facts of it.

`difference` is the one comparison; `vocabulary` turns what it says into a failing check.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import torch

from grader.base.text import shortened
from grader.checks.levels import levels_of
from grader.verdicts.finding import Finding, Kind

# Largest error allowed, relative to the largest expected value. Wide enough for another order of summation.
TOLERANCE = {
    torch.float64: 1e-9,
    torch.complex128: 1e-9,
    torch.float32: 1e-4,
    torch.complex64: 1e-4,
    torch.float16: 2e-2,
    torch.bfloat16: 2e-2,
}
_NUMBER_TOLERANCE = 1e-9
_WIDEST_MAP = 48
_LONGEST_INTEGER = 10**30
_LONGEST_TEXT = 200
"""Characters of a text that a message shows of an answer."""
_MOST_KEYS = 8


class Difference(msgspec.Struct, frozen=True):
    """How a value differs from the expected one."""

    said: str
    """In a few lines, for a learner."""
    finding: Finding


def difference(
    got: Any,
    want: Any,
    *,
    axes: str = "",
    tol: float | None = None,
    dtype: bool = True,
    along: Mapping[str, Sequence[int]] | None = None,
    path: str = "",
) -> Difference | None:
    """What is wrong with `got`, or None where it agrees with `want`.

    axes: the letters of the axes of `want`, such as "b h t d".
    along: for an axis, the lengths of the pieces it was built from; drawn under the map of wrong positions.
    """
    if isinstance(want, torch.Tensor):
        return _tensors(got, want, axes.split(), tol, dtype, along or {}, path)
    if isinstance(want, np.ndarray):
        if not isinstance(got, np.ndarray):
            return _differs(path, f"expected {_kind(want)}, got {_kind(got)}")
        return _tensors(torch.from_numpy(got), torch.from_numpy(want), axes.split(), tol, dtype, along or {}, path)
    if isinstance(want, Mapping):
        return _dicts(got, want, path, axes=axes, tol=tol, dtype=dtype, along=along)
    if isinstance(want, list | tuple):
        return _lists(got, want, path, axes=axes, tol=tol, dtype=dtype, along=along)
    return _scalars(got, want, tol, path)


def other_kind(got: Any, want: Any, path: str = "") -> str | None:
    """How `got` differs from `want` in kind (None for a tensor, two values for three), whatever the numbers are."""
    if isinstance(got, list | tuple) and isinstance(want, list | tuple) and len(got) == len(want):
        found = (other_kind(a, b, f"{path}[{i}]") for i, (a, b) in enumerate(zip(got, want, strict=True)))
    elif isinstance(got, dict) and isinstance(want, dict) and got.keys() == want.keys():
        found = (other_kind(got[key], want[key], f"{path}[{key!r}]") for key in want)
    elif type(got) is type(want) and not isinstance(want, torch.Tensor | list | tuple | dict):
        return None
    else:
        same = _kind(got) == _kind(want)
        return None if same else _within(path, f"expected {_kind(want)}, got {_kind(got)}")
    return next((said for said in found if said), None)


def number(value: Any) -> str:
    """A number as messages print it."""
    if isinstance(value, bool) or not isinstance(value, int | float | complex):
        return _quoted(value)
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < _LONGEST_INTEGER else f"an integer of {value.bit_length():,} bits"
    return f"{value:.6g}"


def _quoted(value: Any) -> str:
    """A value as Python writes it; of a long text the beginning, which is cut before it is quoted."""
    if isinstance(value, str | bytes) and len(value) > _LONGEST_TEXT:
        return f"{value[:_LONGEST_TEXT]!r}... ({len(value):,} {'bytes' if isinstance(value, bytes) else 'characters'})"
    return shortened(repr(value), 2 * _LONGEST_TEXT)


def _listed(keys: Sequence[Any]) -> str:
    more = f" and {len(keys) - _MOST_KEYS:,} more" if len(keys) > _MOST_KEYS else ""
    return ", ".join(map(_quoted, keys[:_MOST_KEYS])) + more


def _expected(want: Any, got: Any) -> str:
    shown = _shown(want, got)
    return f"expected {shown[0]}, got {shown[1]}"


def _shown(want: Any, got: Any) -> tuple[str, str]:
    """Two numbers, `1.5` and `2`, with as many digits as it takes to tell them apart."""
    shown = number(want), number(got)
    for digits in (9, 12, 17):
        if shown[0] == shown[1] and isinstance(want, float) and isinstance(got, float):
            shown = f"{want:.{digits}g}", f"{got:.{digits}g}"
    return shown


def _dicts(got: Any, want: Mapping[Any, Any], path: str, **how: Any) -> Difference | None:
    if not isinstance(got, dict):
        return _differs(path, f"expected a dict, got {_kind(got)}")
    missing = [key for key in want if key not in got]
    extra = [key for key in got if key not in want]
    if missing or extra:
        said = [f"{name} {_listed(keys)}" for name, keys in (("misses", missing), ("adds", extra)) if keys]
        return _differs(path, f"the dict has other keys: it {' and '.join(said)}")
    found = (difference(got[key], want[key], path=f"{path}[{key!r}]", **how) for key in want)
    return next((said for said in found if said), None)


def _lists(got: Any, want: Sequence[Any], path: str, **how: Any) -> Difference | None:
    if not isinstance(got, list | tuple):
        return _differs(path, f"expected a {type(want).__name__} of {len(want)}, got {_kind(got)}")
    if all(isinstance(item, int | float | str | bool | None) for item in want):
        wrong = [i for i, (a, b) in enumerate(zip(got, want, strict=False)) if _scalars(a, b, how["tol"], "")]
        if len(got) != len(want) or wrong:
            at = wrong[0] if wrong else min(len(got), len(want))
            facts = {"shape": (len(want),), "wrong": len(wrong) or abs(len(got) - len(want)), "total": len(want)}
            kind: Kind = "values" if len(got) == len(want) else "shape"
            one = _told_apart(lambda values, how: _at(values, at, how), want, got)
            facts |= {"worst": (at,), "expected": one[0], "got": one[1]}
            head = f"wrong from entry {at} on" if wrong[1:] else f"wrong at entry {at}"
            if len(got) != len(want):
                head = f"{len(got)} entries instead of {len(want)}"
            if len(want) <= 24 and len(got) <= 24:
                rows = _told_apart(_row, want, got)
                return _differs(path, f"{head}\n  expected  {rows[0]}\n  got       {rows[1]}", kind, **facts)
            return _differs(path, f"{head}: expected {one[0]}, got {one[1]}", kind, **facts)
        return None
    if len(got) != len(want):
        return _differs(path, f"expected {len(want)} entries, got {len(got)}", "shape", shape=(len(want),))
    found = (difference(a, b, path=f"{path}[{i}]", **how) for i, (a, b) in enumerate(zip(got, want, strict=True)))
    return next((said for said in found if said), None)


def _scalars(got: Any, want: Any, tol: float | None, path: str) -> Difference | None:
    if isinstance(want, float) and isinstance(got, torch.Tensor) and got.dim() == 0:
        got = got.item()
    if isinstance(want, float) and isinstance(got, int | float) and not isinstance(got, bool):
        got = _float(got)
        if math.isnan(want) or math.isinf(want):
            same = got == want or (math.isnan(want) and math.isnan(got))
        else:
            same = abs(got - want) <= (_NUMBER_TOLERANCE if tol is None else tol) * max(abs(want), 1e-300)
            same = same or (want == 0 and abs(got) <= (_NUMBER_TOLERANCE if tol is None else tol))
        if same:
            return None
        ratio = _ratio(got / want) if want and math.isfinite(want) and math.isfinite(got) else ""
        return _differs(path, f"{_expected(want, got)}{ratio}", "values", **_one(want, got))
    if type(got) is not type(want):
        return _differs(path, f"expected {_valued(want)}, got {_valued(got)}")
    if got != want:
        ratio = (
            _ratio(_float(got) / _float(want)) if isinstance(want, int) and not isinstance(want, bool) and want else ""
        )
        return _differs(path, f"{_expected(want, got)}{ratio}", "values", **_one(want, got))
    return None


def _one(want: Any, got: Any) -> dict[str, Any]:
    """The facts of a single wrong value."""
    shown = _shown(want, got)
    return {"wrong": 1, "total": 1, "expected": shown[0], "got": shown[1]}


def _tensors(
    got: Any,
    want: torch.Tensor,
    axes: list[str],
    tol: float | None,
    dtype: bool,
    along: Mapping[str, Sequence[int]],
    path: str,
) -> Difference | None:
    facts: dict[str, Any] = {"shape": tuple(want.shape)}
    if not isinstance(got, torch.Tensor):
        return _differs(path, f"expected a tensor of shape {_shape(want.shape, axes)}, got {_kind(got)}", **facts)
    letters = axes if len(axes) == want.dim() else [f"axis{i}" for i in range(want.dim())]
    facts["axes"] = tuple(letters)
    if got.shape != want.shape:
        swapped = sorted(got.shape) == sorted(want.shape)
        note = "\n  The sizes are right, in another order." if swapped else ""
        got_axes = letters if got.dim() == want.dim() else []
        rows = f"  expected  {_shape(want.shape, letters)}\n  got       {_shape(got.shape, got_axes)}"
        return _differs(path, f"wrong shape\n{rows}{note}", "shape", **facts)
    if dtype and got.dtype != want.dtype:
        said = f"wrong dtype: expected {_dtype(want.dtype)}, got {_dtype(got.dtype)}"
        return _differs(path, said, "dtype", expected=_dtype(want.dtype), got=_dtype(got.dtype), **facts)
    if got.numel() == 0 or (got.dtype == want.dtype and torch.equal(got, want)):
        return None
    allowed = _allowed(got, want, tol)
    wrong = _wrong(got, want, allowed)
    if not wrong.any():
        return None
    facts |= {"along": {axis: tuple(pieces) for axis, pieces in along.items() if axis in letters}}
    return _where(got, want, wrong, allowed, path, facts)


def _allowed(got: torch.Tensor, want: torch.Tensor, tol: float | None) -> float:
    """The largest absolute error that still agrees; 0 for what must agree exactly."""
    if not (want.is_floating_point() or want.is_complex()):
        return 0.0
    if tol is None:
        tol = max(TOLERANCE.get(want.dtype, 1e-1), TOLERANCE.get(got.dtype, 0.0))
    sizes = _wide(want).abs()
    size = float(sizes.max())
    if not math.isfinite(size):
        finite = sizes[torch.isfinite(sizes)]
        size = float(finite.max()) if finite.numel() else 0.0
    return tol * (size or 1.0)


def _wrong(got: torch.Tensor, want: torch.Tensor, allowed: float) -> torch.Tensor:
    """Which elements are further from `want` than is allowed."""
    a, b = _wide(got), _wide(want)
    if not (want.is_floating_point() or want.is_complex()):
        return a != b
    error = (a - b).abs()
    if float(error.max()) <= allowed and bool(torch.isfinite(b).all()):  # what nearly all are
        return torch.zeros_like(error, dtype=torch.bool)
    same = (a == b) | (torch.isnan(a) & torch.isnan(b))
    return ~torch.where(torch.isfinite(b), error <= allowed, same)


def _where(
    got: torch.Tensor, want: torch.Tensor, wrong: torch.Tensor, allowed: float, path: str, facts: dict[str, Any]
) -> Difference:
    """The difference of two tensors of one shape: how many elements, which is the worst, where along which axis."""
    axes, along = list(facts["axes"]), facts["along"]
    count, total = int(wrong.sum()), wrong.numel()
    error = torch.where(wrong, (_wide(got) - _wide(want)).abs(), torch.zeros((), dtype=torch.float64))
    bad = ~torch.isfinite(_wide(got)) & torch.isfinite(_wide(want))
    if bad.any():
        place = tuple(int(i) for i in bad.nonzero()[0])
        names = "NaN or Inf" if bool(torch.isnan(_wide(got)).any()) else "Inf"
        lines = [f"{int(bad.sum()):,} of {total:,} values are {names}"]
    else:
        worst = int(torch.nan_to_num(error, nan=math.inf).argmax())
        place = tuple(int(i) for i in np.unravel_index(worst, tuple(want.shape)))
        lines = [f"{count:,} of {total:,} values differ"]
    shown = _shown(want[place].item(), got[place].item())
    levels, cells = levels_of(error, wrong, allowed)
    facts |= {"wrong": count, "total": total, "worst": place, "expected": shown[0], "got": shown[1]}
    facts |= {"levels": levels, "cells": cells}
    symptom = _symptom(got, want, axes)
    if total == 1 and not bad.any():
        return _differs(path, f"expected {shown[0]}, got {shown[1]}{symptom}", "values", **facts)
    lines.append(
        f"  {'first' if bad.any() else 'worst'} at  {_place(place, axes)}:  expected {shown[0]}, got {shown[1]}"
    )
    for i, letter in enumerate(axes):
        lines += _map(wrong, i, letter, along.get(letter))
    return _differs(path, "\n".join(lines) + symptom, "values", **facts)


def _map(wrong: torch.Tensor, axis: int, letter: str, pieces: Sequence[int] | None) -> list[str]:
    """One line that marks the wrong positions along an axis, if only some are wrong."""
    others = [i for i in range(wrong.dim()) if i != axis]
    marks = wrong.any(dim=others) if others else wrong
    if bool(marks.all()) or len(marks) > _WIDEST_MAP:
        return []
    drawn = "".join("x" if mark else "." for mark in marks.tolist())
    built = f"     built as {' | '.join(map(str, pieces))}" if pieces else ""
    return [f"  wrong {letter:<3} {drawn}{built}"]


def _symptom(got: torch.Tensor, want: torch.Tensor, axes: list[str]) -> str:
    """A computed fact that names the kind of mistake, or "". It is never a guess."""
    if (
        got.is_complex()
        or not want.is_floating_point()
        or not bool(torch.isfinite(_wide(got)).all() & torch.isfinite(_wide(want)).all())
    ):
        return ""
    a, b = _wide(got).flatten().double(), _wide(want).flatten()  # got may hold integers where dtypes do not count
    size = b.abs().max()
    if size == 0:
        return ""
    error = (a - b).abs().max() / size
    if want.dtype == torch.float64 and error < 1e-5:
        near = f"Right to {float(error):.0e} of the largest value"
        return f"\n  {near}: computed in lower precision somewhere, or with another small constant."
    if not bool(a.any()):
        return "\n  All values are zero."
    ratio = float((a @ b) / (b @ b))
    if a.numel() > 1 and ratio and bool(((a - ratio * b).abs() <= 1e-5 * abs(ratio) * size).all()):
        return f"\n  Every value is {ratio:.6g} times the expected one."
    for axis, letter in enumerate(axes):
        for name, moved in (
            ("reversed", want.flip(axis)),
            ("one too late", want.roll(1, axis)),
            ("one too early", want.roll(-1, axis)),
        ):
            if want.shape[axis] > 1 and not _wrong(got, moved, _allowed(got, moved, 1e-5)).any():
                return f"\n  The values are right but {name} along {letter}."
    return ""


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.to(torch.float64) if tensor.is_floating_point() else tensor.to(torch.int64)


def _within(path: str, said: str) -> str:
    return f"entry {path}: {said}" if path else said


def _differs(path: str, said: str, kind: Kind = "form", **facts: Any) -> Difference:
    return Difference(_within(path, said), Finding(kind=kind, entry=path, **facts))


def _place(index: tuple[int, ...], axes: list[str]) -> str:
    return "  ".join(f"{letter}={i}" for letter, i in zip(axes, index, strict=True)) or "the value"


def _shape(shape: Sequence[int], axes: list[str]) -> str:
    if len(axes) == len(shape):
        return "  ".join(f"{letter}={size}" for letter, size in zip(axes, shape, strict=True)) or "() (a scalar)"
    return str(tuple(shape))


def _dtype(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _kind(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a numpy array of shape {value.shape}"
    if isinstance(value, list | tuple | dict):
        return f"a {type(value).__name__} of {len(value)}"
    return _valued(value)


def _valued(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, torch.Tensor | np.ndarray | list | tuple | dict):
        return _kind(value)
    return f"{number(value)} ({type(value).__name__})"


def _float(value: float) -> float:
    """A number as a float; an integer beyond its range as an infinity."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _ratio(ratio: float) -> str:
    """How many times too large or too small, if that is a number such as 2, 3 or 16."""
    for times in (2, 3, 4, 8, 16, 32, 64):
        for exact, said in ((times, f" ({times} times too large)"), (1 / times, f" ({times} times too small)")):
            if abs(ratio - exact) <= 1e-6 * exact:
                return said
    return ""


Show = Callable[[Any], str]


def _told_apart(shown: Callable[[Sequence[Any], Show], str], want: Sequence[Any], got: Sequence[Any]) -> list[str]:
    """Both as messages print them; if they then look alike, such as 2 and 2.0, as Python writes them."""
    short, exact = ([shown(values, how) for values in (want, got)] for how in (number, _exact))
    return exact if short[0] == short[1] else short


def _exact(value: Any) -> str:
    return repr(value) if isinstance(value, float | complex) else number(value)


def _row(values: Sequence[Any], how: Show) -> str:
    return "[" + ", ".join(how(value) for value in values) + "]"


def _at(values: Sequence[Any], index: int, how: Show) -> str:
    return how(values[index]) if index < len(values) else "nothing"
