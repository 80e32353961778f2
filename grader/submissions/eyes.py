"""What a person should look at after a batch: sentences, so that nothing counts 0 in silence."""

from collections.abc import Iterable, Sequence

from grader.submissions.find import Found
from grader.verdicts.result import Result
from grader.verdicts.verdict import NOT_BEGUN

_MOST_NAMED = 10


def needs_eyes(found: Found, results: Iterable[Result]) -> list[str]:
    """What could not be read, was left out, is renamed, is the same as another's, or made the grader fail."""
    results = list(results)
    out = [f"{one.student}/{one.exercise}: {one.problem}." for one in found.submissions if one.problem]
    out += [f"{one.student}/{one.exercise}: {one.note}." for one in found.submissions if one.note]
    out += [f"{sentence} It is left out." for sentence in found.refused]
    same = identical(
        (one.exercise, one.source, one.student)
        for one in results
        if not one.problem and any(part.verdict not in NOT_BEGUN for part in one.parts)
    )
    out += [letter_for_letter(exercise, some(names)) for exercise, names in same]
    out += [f"{one.student}/{one.exercise}: the grader failed on it. Grade it again." for one in results
            if one.grader_failed]  # fmt: skip
    return out


def identical(handed: Iterable[tuple[str, str, str]]) -> list[tuple[str, list[str]]]:
    """Exercises with the students who handed in one and the same text.

    handed: an exercise, the hash of a text that is more than its stub, and a student.
    """
    same: dict[tuple[str, str], dict[str, None]] = {}
    for exercise, source, student in handed:
        same.setdefault((exercise, source), {})[student] = None
    return [(exercise, [*names]) for (exercise, _), names in same.items() if len(names) > 1]


def letter_for_letter(exercise: str, names: Sequence[str]) -> str:
    """The sentence for such students."""
    return f"{' and '.join(names)} handed in the same for {exercise}, letter for letter."


def unusable(results: Iterable[Result]) -> list[str]:
    """Whose whole file could not be used, and why, where only the results are at hand."""
    return [f"{one.student}/{one.exercise}: {' '.join(one.problem.split())}." for one in results if one.problem]


def some(names: Sequence[str]) -> list[str]:
    """The names, or the first ten and how many more there are."""
    more = [f"{len(names) - _MOST_NAMED} others"] if len(names) > _MOST_NAMED else []
    return [*names[:_MOST_NAMED], *more]
