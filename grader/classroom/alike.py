"""Students who wrote nearly the same, for a person to look at: it may be a copy, or the way that everybody is taught.

Each function is compared with the same function of the others, by the longest common subsequence of their tokens
(RapidFuzz); only what both have begun counts. Four exercises that two authors wrote whole, neither seeing the other's,
are 59 to 73 % alike.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

from grader.bank.catalog import House
from grader.bank.derived import stub_of
from grader.base.fair import processors
from grader.submissions.eyes import some
from grader.submissions.find import Submission
from grader.submissions.own import Own, own_tokens

ALIKE = 0.93
"""The share of tokens that two texts have in common from which a person should look."""
FEWEST_TOKENS = 400
"""That both wrote, about half an exercise: a small part is written alike by honest students."""
_COMMON = 0.2
"""A function that so many pairs of students wrote alike says nothing about any of them."""
_SAMPLE = 200
"""Students of whom that is looked at; with fewer than `_FEWEST_STUDENTS` it is not."""
_FEWEST_STUDENTS = 20
_ROWS = 256
"""Students that are compared with all others at a time: bounds the memory."""

Pair = tuple[int, int, float]
"""Two places in a sequence of texts, and the share that they have in common."""


class Alike(msgspec.Struct, frozen=True):
    """Students each of whom wrote nearly the same as another of them."""

    exercise: str
    students: list[str]
    share: float
    """The least of those from one to the next."""


def told(house: House, submissions: Sequence[Submission]) -> list[str]:
    """A sentence for each group of students, which says what to look at and claims nothing."""
    return [
        f"{one.exercise}: look at {' and '.join(some(one.students))} together. {one.share:.0%} of what they wrote is "
        "the same, but for names, comments and the order of functions. That may have honest reasons."
        for one in nearly_alike(house, submissions)
    ]


def nearly_alike(house: House, submissions: Sequence[Submission]) -> list[Alike]:
    """Those of each exercise whose texts are nearly the same, but not letter for letter; the most alike first."""
    by_exercise: dict[str, dict[str, list[Submission]]] = defaultdict(lambda: defaultdict(list))
    for one in submissions:
        if one.text and not one.problem and one.exercise in house.exercises:
            by_exercise[one.exercise][one.text].append(one)
    found = []
    for id, same in by_exercise.items():
        owns = own_tokens(list(same), stub_of(house.exercises[id]))
        students = [[one.student for one in handed] for handed in same.values()]
        found += [
            Alike(id, sorted(name for place in group for name in students[place]), share)
            for group, share in _groups(list(pairs(owns)))
        ]
    return sorted(found, key=lambda one: (-one.share, one.exercise, one.students))


def pairs(owns: Sequence[Own]) -> Iterator[Pair]:
    """Every two texts that are alike enough to be looked at."""
    functions = _encoded(owns)
    for name in _common(functions):
        del functions[name]
    for first in range(0, len(owns), _ROWS):
        rows = range(first, min(first + _ROWS, len(owns)))
        same, size = np.zeros((2, len(rows), len(owns) - first))
        for texts in functions.values():
            common, longest = _compared([texts[row] for row in rows], texts[first:])
            same, size = same + common, size + longest
        share = same / np.maximum(size, 1)
        for row, column in np.argwhere((share >= ALIKE) & (size >= FEWEST_TOKENS)):
            if row < column:
                yield first + int(row), first + int(column), float(share[row, column])


def _encoded(owns: Sequence[Own]) -> dict[str, list[str]]:
    """Each function's tokens of all texts, a character a token: RapidFuzz is quickest with these."""
    code: dict[str, str] = {}
    functions = {name: [""] * len(owns) for own in owns for name in own}
    for place, own in enumerate(owns):
        for name, tokens in own.items():
            functions[name][place] = "".join(code.setdefault(token, _character(len(code))) for token in tokens)
    return functions


def _character(number: int) -> str:
    """A character for the `number`th token; no honest class has more of them than there are characters."""
    return chr(min(number + 1, 0xD7FF))


def _compared(rows: Sequence[str], columns: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The tokens in common, and the mean of both lengths: 0 where one of both has not begun."""
    long, wide = (np.array([len(text) for text in texts], dtype=float) for texts in (rows, columns))
    workers = len(processors())
    common = cdist(rows, columns, scorer=LCSseq.similarity, dtype=np.uint16, workers=workers).astype(float)
    return common, np.where((long[:, None] > 0) & (wide > 0), (long[:, None] + wide) / 2, 0.0)


def _common(functions: Mapping[str, Sequence[str]]) -> list[str]:
    """The functions that a class writes alike."""
    found = []
    for name, texts in functions.items():
        begun = [text for text in texts if text]
        sample = begun[:: max(1, len(begun) // _SAMPLE)]
        if len(sample) >= _FEWEST_STUDENTS:
            common, size = _compared(sample, sample)
            others = ~np.eye(len(sample), dtype=bool)
            if ((common / size)[others] >= ALIKE).mean() > _COMMON:
                found.append(name)
    return found


def _groups(pairs: Sequence[Pair]) -> list[tuple[list[int], float]]:
    """The pairs put together where they share a text, and the least share among them."""
    group_of: dict[int, list[int]] = {}
    for one, other, _ in pairs:
        both = group_of.setdefault(one, [one]), group_of.setdefault(other, [other])
        if both[0] is not both[1]:
            both[0].extend(both[1])
            group_of |= dict.fromkeys(both[1], both[0])
    groups = {id(group): group for group in group_of.values()}
    return [
        (sorted(group), min(share for one, _, share in pairs if group_of[one] is group)) for group in groups.values()
    ]
