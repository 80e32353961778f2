"""From what a driver of pictures returned to a picture. The data comes from the learner's process: nothing is trusted.

What is too large to be drawn is binned, and the picture says so; what cannot be drawn is refused with a sentence.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import torch

from grader.bank.catalog import DeclaredPicture
from grader.base.text import plain
from grader.verdicts.picture import LARGEST, Data, Picture, bin_of, bins, coarser, sound

_MOST_VALUES = 1 << 18
"""Values that are looked at, before they are binned."""
_WIDEST = 128
"""Columns, and rows, of a map that is binned."""
_LONGEST_LABEL = 40

Values = list[list[float | None]]


class Unfit(Exception):
    """What came is no picture of its kind; the message says what it takes."""


def picture_of(declared: DeclaredPicture, value: Any) -> Picture:
    """The picture that a driver's answer is. Raises Unfit."""
    notes: list[str] = []
    try:
        told = _KINDS[declared.kind](value, declared, notes)
        data: Data = msgspec.convert({"kind": declared.kind, **told}, Data)  # the limits are looked at here
    except Unfit:
        raise
    except msgspec.ValidationError as error:
        raise Unfit(f"{declared.driver} gave no {_NAMES[declared.kind]}: {plain(str(error))}") from None
    except (TypeError, ValueError, KeyError, IndexError, OverflowError, AttributeError):
        raise Unfit(f"{declared.driver} gave no {_NAMES[declared.kind]}, which takes {_TAKES[declared.kind]}") from None
    return Picture(
        declared.title[:_LONGEST_LABEL], declared.axes, data, declared.caption, " ".join(dict.fromkeys(notes))
    )


_NAMES = {
    "heat": "heat map", "grid": "grid", "lines": "line chart", "gantt": "Gantt chart", "points": "scatter plot",
    "bars": "bar chart",
}  # fmt: skip
_TAKES = {
    "heat": "values in two dimensions, or a dict with `values`, `rows`, `columns`, `marks`",
    "grid": "rows of labels, or a dict with `cells`, `rows`, `columns`",
    "lines": "a dict with `x` and `series`, which are a dict of name to values",
    "gantt": "a dict with `lanes` and `spans`, each [lane, start, length, label]",
    "points": "(n, 2) values, or a dict with `points` and `groups`",
    "bars": "a dict with `names` and `values`, or of name to value",
}


def _heat(value: Any, declared: DeclaredPicture, notes: list[str]) -> dict[str, Any]:
    given = value if isinstance(value, dict) else {"values": value}
    _only(given, {"values", "rows", "columns", "marks"})
    values = [_numbers(row, notes) for row in _rows(given["values"])]
    rows, columns = _labels(given.get("rows", ())), _labels(given.get("columns", ()))
    marks = [(int(row), int(column)) for row, column in _listed(given.get("marks", ()))]
    high, wide = len(values), len(values[0]) if values else 0
    if high * wide > LARGEST["cells"] or max(high, wide) > _WIDEST:
        values = coarser(values, min(high, _WIDEST), _columns(high, wide))
        told = f"{high:,} by {wide:,} values, drawn as {len(values):,} by {len(values[0]):,}: each cell is an average."
        notes.append(told)
        marks = [(bin_of(row, high, len(values)), bin_of(column, wide, len(values[0]))) for row, column in marks]
        rows, columns = _thinned(rows, len(values)), _thinned(columns, len(values[0]))
        if not rows or not columns:  # the number that each bin begins with
            rows = rows or [str(i) for i in bins(high, len(values))[:-1]]
            columns = columns or [str(i) for i in bins(wide, len(values[0]))[:-1]]
    told_marks = [{"row": row, "column": column} for row, column in dict.fromkeys(marks)]
    return {"values": values, "rows": rows, "columns": columns, "marks": told_marks}


def _columns(high: int, wide: int) -> int:
    """How many columns a map that is binned gets."""
    return min(wide, _WIDEST, LARGEST["cells"] // min(high, _WIDEST))


def _grid(value: Any, declared: DeclaredPicture, notes: list[str]) -> dict[str, Any]:
    given = value if isinstance(value, dict) else {"cells": value}
    _only(given, {"cells", "rows", "columns"})
    cells = [_labels(row) for row in _rows(given["cells"])]
    return {"cells": cells, "rows": _labels(given.get("rows", ())), "columns": _labels(given.get("columns", ()))}


def _lines(value: Any, declared: DeclaredPicture, notes: list[str]) -> dict[str, Any]:
    _only(value, {"x", "series"})
    series = {_label(name): _numbers(_listed(values), notes) for name, values in value["series"].items()}
    x = _numbers(_listed(value["x"]), notes)
    kept = [i for i, at in enumerate(x) if at is not None]
    if any(len(values) != len(x) for values in series.values()):
        raise Unfit(f"{declared.driver} gave series of other lengths than its {len(x):,} values of x")
    most = LARGEST["points"] // max(len(series), 1)
    step = -(-len(kept) // most) if kept else 1
    if step > 1:
        notes.append(f"Of {len(kept):,} values of {declared.axes[0]} each {step:,}th is drawn.")
    kept = kept[::step]
    told = {name: [values[i] for i in kept] for name, values in series.items()}
    return {"x": [x[i] for i in kept], "series": told, "log_x": "x" in declared.log, "log_y": "y" in declared.log}


def _gantt(value: Any, declared: DeclaredPicture, notes: list[str]) -> dict[str, Any]:
    _only(value, {"lanes", "spans"})
    lanes = _labels(value["lanes"])
    spans = [_span(one) for one in _listed(value["spans"])]
    if len(spans) > LARGEST["spans"]:
        whole = len(spans)
        spans = [one for lane in range(len(lanes)) for one in _joined(spans, lane, whole, len(lanes))]
        notes.append(f"{whole:,} spans, drawn as {len(spans):,}: neighbours in a lane are joined.")
    return {"lanes": lanes, "spans": spans}


def _span(one: Any) -> dict[str, Any]:
    lane, start, length, *label = _listed(one)
    return {"lane": int(lane), "start": sound(start), "length": sound(length), "label": _label(*label or [""])}


def _joined(spans: list[dict[str, Any]], lane: int, whole: int, lanes: int) -> list[dict[str, Any]]:
    """The spans of one lane, as many neighbours together as it takes."""
    own = sorted((one for one in spans if one["lane"] == lane), key=lambda one: one["start"] or 0.0)
    step = -(-whole // max(LARGEST["spans"] - lanes, 1))
    out = []
    for i in range(0, len(own), step):
        group = own[i : i + step]
        end = max(one["start"] + one["length"] for one in group)
        labels = {one["label"] for one in group}
        label = labels.pop() if len(labels) == 1 else "…"
        out.append({**group[0], "length": end - group[0]["start"], "label": label})
    return out


def _points(value: Any, declared: DeclaredPicture, notes: list[str]) -> dict[str, Any]:
    given = value if isinstance(value, dict) else {"points": value}
    _only(given, {"points", "groups"})
    rows = _rows(given["points"])
    groups = _labels(given.get("groups", ()))
    if groups and len(groups) != len(rows):
        raise Unfit(f"{declared.driver} gave {len(groups):,} groups for {len(rows):,} points")
    pairs = [tuple(_numbers([x, y], notes)) for x, y in rows]
    kept = [i for i, pair in enumerate(pairs) if None not in pair]
    step = -(-len(kept) // LARGEST["points"]) if kept else 1
    if step > 1:
        notes.append(f"Of {len(kept):,} points each {step:,}th is drawn.")
    kept = kept[::step]
    return {
        "x": [pairs[i][0] for i in kept],
        "y": [pairs[i][1] for i in kept],
        "groups": [groups[i] for i in kept] if groups else [],
    }


def _bars(value: Any, declared: DeclaredPicture, notes: list[str]) -> dict[str, Any]:
    if isinstance(value, dict) and not value.keys() & {"names", "values"}:
        value = {"names": list(value), "values": list(value.values())}
    given = value if isinstance(value, dict) else {"values": value}
    _only(given, {"names", "values"})
    values = _numbers(_listed(given["values"]), notes)
    names = _labels(given.get("names", range(len(values))))
    if len(names) != len(values):
        raise Unfit(f"{declared.driver} gave {len(names):,} names for {len(values):,} values")
    if len(values) > LARGEST["bars"]:
        ends = bins(len(values), LARGEST["bars"])
        notes.append(f"{len(values):,} values, drawn as {len(ends) - 1}: each bar is an average.")
        names = [_label(f"{names[a]} to {names[b - 1]}") for a, b in pairwise(ends)]
        values = coarser([values], 1, LARGEST["bars"])[0]
    return {"names": names, "values": values, "log": "y" in declared.log}


_KINDS: dict[str, Callable[[Any, DeclaredPicture, list[str]], dict[str, Any]]] = {
    "heat": _heat, "grid": _grid, "lines": _lines, "gantt": _gantt, "points": _points, "bars": _bars,
}  # fmt: skip


def _only(given: Any, known: set[str]) -> None:
    if not isinstance(given, dict) or set(given) - known:
        raise TypeError


def _listed(value: Any) -> list[Any]:
    """The entries of a list, a tuple, a range, or a tensor or array of one dimension or more."""
    if isinstance(value, torch.Tensor):
        value = (value.double() if value.is_floating_point() else value).numpy()
    size = value.size if isinstance(value, np.ndarray) else len(value)
    if size > _MOST_VALUES:
        raise Unfit(f"a picture is made of at most {_MOST_VALUES:,} values; {size:,} came")
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "c" or value.ndim == 0:
            raise TypeError
        return list(value.tolist())
    if not isinstance(value, list | tuple | range):
        raise TypeError
    return list(value)


def _rows(value: Any) -> list[list[Any]]:
    """The rows of what has two dimensions."""
    if isinstance(value, torch.Tensor | np.ndarray) and value.ndim != 2:
        raise TypeError
    rows = [_listed(row) for row in _listed(value)]
    if any(len(row) != len(rows[0]) for row in rows):
        raise TypeError
    if sum(map(len, rows)) > _MOST_VALUES:
        raise Unfit(f"a picture is made of at most {_MOST_VALUES:,} values; {sum(map(len, rows)):,} came")
    return rows


def _labels(values: Any) -> list[str]:
    return [_label(value) for value in _listed(values)]


def _label(value: Any) -> str:
    """A short text that no terminal and no page takes for more."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, int) and abs(value) > 10**12:
        return f"{float(value):.3g}" if abs(value) < 10**300 else "huge"
    if not isinstance(value, str | int):
        raise TypeError
    text = plain(str(value)[: 4 * _LONGEST_LABEL])
    return text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…"


def _thinned(labels: Sequence[str], size: int) -> list[str]:
    """For each bin the label that it begins with."""
    return [labels[i] for i in bins(len(labels), size)[:-1]] if labels else []


def _numbers(values: Sequence[Any], notes: list[str]) -> list[float | None]:
    """The numbers; None, with a note, for what cannot be drawn, and without one for a None: a gap that is meant."""
    out = [sound(value) for value in values]
    if any(value is not None and one is None for value, one in zip(values, out, strict=True)):
        notes.append(_NOT_DRAWN)
    return out


_NOT_DRAWN = "Where there is no number, it is NaN, infinite or too large to draw."
