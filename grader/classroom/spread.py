"""How the marks of a class are spread, and how well each part tells who knows an exercise from who does not."""

import statistics
from collections import defaultdict
from collections.abc import Sequence

import msgspec

from grader.classroom.marks import Graded, Marks

BINS = 10
_FEWEST = 10
"""With fewer students a correlation says nothing."""


class Points(msgspec.Struct, frozen=True):
    """What each student got for each exercise that was handed in, without what was taken away for being late."""

    got: dict[tuple[str, str], float]
    """(student, exercise) to points; nothing where a student handed in nothing."""
    worth: dict[str, float]
    """Exercise to its points."""
    late: dict[tuple[str, str], float]
    """(student, exercise) to what was taken away."""

    @property
    def students(self) -> list[str]:
        return sorted({student for student, _ in self.got})

    @property
    def full(self) -> float:
        """The points of all exercises that anybody handed in."""
        return sum(self.worth.values())

    def total(self, student: str) -> float:
        """Of all exercises. What was not handed in gives nothing."""
        return sum(self.got.get((student, id), 0.0) for id in self.worth)


class Spread(msgspec.Struct, frozen=True):
    """How the shares of the points are spread over those who handed in, from 0 to 1."""

    of: str
    students: int
    lowest: float
    median: float
    mean: float
    highest: float
    bins: list[int]
    """Students by tenths of the points; the last one holds all of them, too."""


def points_of(marks: Marks) -> Points:
    earned, worth = defaultdict[tuple[str, str], float](float), defaultdict[tuple[str, str], float](float)
    for one in marks.graded:
        earned[one.student, one.exercise] += one.earned
        worth[one.student, one.exercise] += one.points
    most = {id: max(points for (_, other), points in worth.items() if other == id) for _, id in worth}
    got = {key: max(0.0, earned[key] - marks.penalties.get(key, 0.0)) for key, points in worth.items() if points}
    return Points(got, {id: points for id, points in most.items() if points}, marks.penalties)


def spreads(points: Points, title_of: dict[str, str]) -> list[Spread]:
    """One row an exercise, and one for the totals where there are several."""
    rows = []
    for id in sorted(points.worth):
        shares = [got / points.worth[id] for (_, other), got in points.got.items() if other == id]
        rows.append(_spread(title_of[id], shares))
    if len(points.worth) > 1:
        rows.append(_spread("All of them", [points.total(student) / points.full for student in points.students]))
    return rows


def _spread(of: str, shares: Sequence[float]) -> Spread:
    bins = [0] * BINS
    for share in shares:
        bins[min(max(int(share * BINS), 0), BINS - 1)] += 1  # extra credit may give more than all
    mean = statistics.fmean(shares)
    return Spread(of, len(shares), min(shares), statistics.median(shares), mean, max(shares), bins)


def discrimination(graded: Sequence[Graded], exercise: str, part: str) -> float | None:
    """The correlation of having earned a part with the points of the exercise's other parts, from -1 to 1.

    None with fewer than ten students, or where all are alike in either.
    """
    own = {one.student: float(one.passed) for one in graded if (one.exercise, one.part) == (exercise, part)}
    rest = dict.fromkeys(own, 0.0)
    for one in graded:
        if one.exercise == exercise and one.part != part and one.student in rest:
            rest[one.student] += one.earned
    if len(own) < _FEWEST:
        return None
    try:
        return statistics.correlation([own[student] for student in own], [rest[student] for student in own])
    except statistics.StatisticsError:
        return None
