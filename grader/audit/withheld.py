"""Does a check look at the answers that it asks for? Code that runs beside a driver may take them away."""

from typing import Any

from grader.answering.request import Request
from grader.answering.runner import Runner


class Withheld:
    """Stands where a `Runner` stands, and answers one question of each check with nothing.

    number: which one, from 1. refuse: fail the check at this question instead, which tells who gets as far.
    """

    def __init__(self, inner: Runner, number: int, *, refuse: bool) -> None:
        self._inner = inner
        self._number = number
        self._refuse = refuse
        self._asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def begin(self, *args: Any) -> None:
        self._asked = 0
        self._inner.begin(*args)

    def ask(self, request: Request) -> Any:
        if request.calls:  # asked once a check has failed, to say more of it: nobody reads that here
            raise RuntimeError("not asked")
        value = self._inner.ask(request)
        self._asked += 1
        if self._asked != self._number:
            return value
        said, *rest = value if request.kind in ("cost", "gradients", "draws") else (value,)
        rows = said if request.kind == "each" else [said]
        assert not self._refuse or not any(map(_says, rows)), "this question is asked"
        given = [type(row)() if isinstance(row, list | tuple | dict) else None for row in rows]
        said = given if request.kind == "each" else given[0]
        return (said, *rest) if rest else said


def _says(value: Any) -> bool:
    """Whether an answer holds anything that can be taken away."""
    return value is not None and not (isinstance(value, list | tuple | dict) and not value)
