"""What `answer` of a quiz holds, as text: as if it had been typed. A driver, which runs beside the student's code."""

import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

LONGEST = 400
"""Characters of a text that is an answer."""
_LARGEST = 10**40
_MOST = 12


def typed(module: ModuleType, ids: Sequence[str]) -> Any:
    """For each question `["typed", text]`, `["odd", what is there instead]`, or None where it has no answer.

    A sentence in the place of all that, where `answer` is no dict.
    """
    answer = module.answer
    if callable(answer):
        answer = answer()  # what stands for a cell that is no Python raises a sentence here
    if not isinstance(answer, dict):
        return f"`answer` is {_named(answer)}. Keep the dict that the quiz begins with: {{question: answer}}."
    return [as_typed(answer[id]) if id in answer else None for id in ids]


def as_typed(value: Any) -> list[str] | None:
    """One answer, as of `typed`."""
    kind = type(value)
    if hasattr(kind, "item") and getattr(value, "ndim", None) == 0:  # a number of numpy or torch
        value = value.item()
        kind = type(value)
    if kind is str:
        if len(value) > LONGEST:
            return ["odd", f"a text of {len(value):,} characters; write at most {LONGEST}"]
        return ["typed", value.encode("utf-8", "replace").decode()]  # half a character cannot be sent
    if kind is int:
        return ["typed", str(value)] if abs(value) <= _LARGEST else ["odd", "a number larger than 10^40"]
    if kind is float:
        return ["typed", repr(value)] if math.isfinite(value) else ["odd", f"the number {value!r}"]
    if kind in (list, tuple) and 0 < len(value) <= _MOST and all(type(one) is int and 0 <= one < 100 for one in value):
        return ["typed", " ".join(map(str, value))]
    return None if value is None else ["odd", _named(value)]


def _named(value: Any) -> str:
    return f"a value of the type {str(type(value).__name__)[:40]}"
