"""The words for how a check can end."""

from enum import StrEnum


class Verdict(StrEnum):
    PASSED = "passed"
    WRONG = "wrong"
    ERROR = "error"
    NOT_STARTED = "not started"
    WAITING = "waiting"
    FORBIDDEN = "forbidden"
    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASHED = "crashed"
    OUTPUT_LIMIT = "output limit"
    GRADER_ERROR = "grader error"
    NOT_RUN = "not run"
    """Unknown, since a check was not selected. It is never a pass."""


QUIET = (Verdict.NOT_STARTED, Verdict.WAITING)
"""No mistake of anybody's, and not shown in red."""
NOT_BEGUN = (*QUIET, Verdict.NOT_RUN)
"""Nothing can be said of what was written."""
