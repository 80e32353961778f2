"""An exception of the learner's code as data: what it was, what it said, through which of their lines it went."""

import builtins
import re
import traceback
from pathlib import Path
from typing import Annotated

import msgspec

from grader.verdicts.fault import FAULTS, Fault, Unusable

_LONGEST_SAID = 4000
_LONGEST_KIND = 200
_MOST_LINES = 4
_FRAME = re.compile(r'^  File "([^"\n]*)", line ([0-9]{1,6}) in (.*)', re.MULTILINE)


class Raised(msgspec.Struct, frozen=True):
    kind: Annotated[str, msgspec.Meta(max_length=_LONGEST_KIND)]
    """The name of its type, the learner's own or a built-in one."""
    base: Annotated[str, msgspec.Meta(max_length=_LONGEST_KIND)]
    """The nearest type that both sides know: a built-in, or one of `fault`."""
    said: Annotated[str, msgspec.Meta(max_length=2 * _LONGEST_SAID)]
    lines: Annotated[list[int], msgspec.Meta(max_length=_MOST_LINES)]
    """The learner's lines that it went through, outermost first; a long recursion is cut."""
    own: bool
    """Whether the last of all frames is the learner's."""
    verdict: Annotated[str, msgspec.Meta(max_length=_LONGEST_KIND)] = ""
    """Of an Unusable; `lines` are then those that it tells of."""


def describe(error: BaseException, path: Path) -> Raised:
    """An exception as data. path: the file that the learner's frames name."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [line for frame, line in frames if frame.f_code.co_filename == str(path)]
    try:
        said = str(error.code) if isinstance(error, SystemExit) else str(error)
    except BaseException as worse:  # a __str__ of the learner's own
        said = f"(its text cannot be shown: {type(worse).__name__})"
    return Raised(
        kind=type(error).__name__[:_LONGEST_KIND],
        base=_base(type(error)),
        said=said.strip()[:_LONGEST_SAID],
        lines=_cut(error.numbers if isinstance(error, Unusable) else own),
        own=bool(frames) and frames[-1][0].f_code.co_filename == str(path),
        verdict=str(error.told.verdict) if isinstance(error, Unusable) else "",
    )


def stopped(printed: str, path: Path) -> tuple[Raised, bool]:
    """The line that ran when the time was over, and whether the file was being imported.

    printed: with what `faulthandler` said in it, the innermost frame first.
    """
    last = printed.rpartition("(most recent call first):")[2]  # it says so again and again
    own = [(int(line), name) for file, line, name in reversed(_FRAME.findall(last)) if file == str(path)]
    raised = Raised(kind="Failed", base="RuntimeError", said="", lines=_cut([line for line, _ in own]), own=False)
    return raised, bool(own) and own[0][1] == "<module>"


def _cut(lines: list[int]) -> list[int]:
    return [lines[0], *lines[1 - _MOST_LINES :]] if len(lines) > _MOST_LINES else lines


class _Verbatim(str):
    """A text that a KeyError, which shows the repr of its key, shows as it is."""

    def __repr__(self) -> str:
        return str(self)


def revive(raised: Raised) -> BaseException:
    """An exception of the nearest type that this side knows, which carries its description as `raised`.

    What a hostile process sends names at most a built-in exception: anything else becomes a RuntimeError.
    """
    known = FAULTS.get(raised.base) or getattr(builtins, raised.base, None)
    if not (isinstance(known, type) and issubclass(known, Exception)) or known is Unusable:
        known = RuntimeError
    error: BaseException
    try:
        error = known(_Verbatim(raised.said) if known is KeyError else raised.said)
    except TypeError:  # UnicodeDecodeError and its like want more arguments
        error = RuntimeError(raised.said)
    error.raised = raised  # type: ignore[attr-defined]
    return error


def described(error: BaseException, path: Path) -> Raised:
    """The description that an exception carries, or a new one."""
    carried = getattr(error, "raised", None)
    return carried if isinstance(carried, Raised) else describe(error, path)


def timeout_seconds(error: BaseException) -> float | None:
    """The limit at which pytest-timeout ended a check (it fails the test with this sentence), or None."""
    found = re.match(r"Timeout \(>([\d.]+)s\)", str(error)) if type(error).__name__ == "Failed" else None
    return float(found[1]) if found else None


def _base(kind: type) -> str:
    for ancestor in kind.__mro__:
        if ancestor is getattr(builtins, ancestor.__name__, None) or (
            issubclass(ancestor, Fault) and FAULTS.get(ancestor.__name__) is ancestor
        ):
            return ancestor.__name__
    return "RuntimeError"
