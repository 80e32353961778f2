"""A check that raises something else than a failed assertion: is it at fault, or is the answer that it could not read?

A check that stumbles over an answer passes on the solution with the same inputs. One that does not is at fault itself.
"""

from collections.abc import Callable
from typing import Any

from grader.answering.request import Request
from grader.checks.attempt import Ask
from grader.checks.compare import other_kind
from grader.verdicts.finding import Finding
from grader.verdicts.told import Told
from grader.verdicts.verdict import Verdict


class Heard:
    """Passes questions on, counts them, and keeps the latest with its answer; or the one with a given number."""

    def __init__(self, ask: Ask, number: int = 0) -> None:
        self._ask = ask
        self._number = number
        self.count = 0
        self.asked: list[Request] = []
        """All of them, with the one that raised."""
        self.kept: tuple[Request, Any] | None = None

    def __call__(self, request: Request) -> Any:
        self.asked.append(request)
        value = self._ask(request)
        self.count += 1
        if self._number in (0, self.count):
            self.kept = request, value
        return value


def misread(heard: Heard, reference: Ask, check: Callable[[Ask], None], error: Exception) -> Told | None:
    """What to say of the answer that a check could not read; None where the check itself is at fault.

    heard: what the check asked of the attempt before it raised `error`. check: runs it once more, on what it is given.
    """
    if not heard.kept:
        return None
    right = Heard(reference, heard.count)
    try:
        check(right)
    except KeyboardInterrupt:
        raise
    except BaseException:  # also what pytest's own skip raises
        return None
    request, got = heard.kept
    whose = "" if request.driver else f"{request.target}: "
    other = other_kind(got, right.kept[1]) if right.kept else None
    said = other or f"the check cannot read it ({type(error).__name__}: {error})"
    return Told(Verdict.WRONG, f"wrong kind of result: {whose}{said}", Finding(kind="form" if other else "unread"))
