"""An exception of the learner's code as data: what it was, what it said, through which of their lines it went."""

import builtins
import re
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeGuard, TypeVar

import msgspec

from grader.base.text import plain, plain_lines
from grader.verdicts.fault import FAULTS, Unusable

_LONGEST_SAID = 4000
_LONGEST_KIND = 200
_MOST_LINES = 4
_FRAME = re.compile(r'^  File "([^"\n]*)", line ([0-9]{1,6}) in (.*)', re.MULTILINE)
E = TypeVar("E", bound=BaseException)
_LineNumber = Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)]
"""Also of code that lies about its lines; a much larger number has no form in JSON."""


class Raised(msgspec.Struct, frozen=True):
    kind: Annotated[str, msgspec.Meta(max_length=_LONGEST_KIND)]
    """The name of its type, the learner's own or a built-in one."""
    base: Annotated[str, msgspec.Meta(max_length=_LONGEST_KIND)]
    """The nearest type that both sides know: a built-in, or one of `fault`."""
    said: Annotated[str, msgspec.Meta(max_length=2 * _LONGEST_SAID)]
    lines: Annotated[list[_LineNumber], msgspec.Meta(max_length=_MOST_LINES)]
    """The learner's lines that it went through, outermost first; a long recursion is cut."""
    own: bool
    """Whether the last of all frames is the learner's."""
    verdict: Annotated[str, msgspec.Meta(max_length=_LONGEST_KIND)] = ""
    """Of an Unusable; `lines` are then those that it tells of."""


def describe(error: BaseException, path: Path) -> Raised:
    """An exception as data, its text plain. path: the file that the learner's frames name."""
    frames = list(traceback.walk_tb(_TRACEBACK(error)))
    own = [max(0, line or 0) for frame, line in frames if frame.f_code.co_filename == str(path)]
    return Raised(
        kind=plain(name_of(type(error)))[:_LONGEST_KIND],
        base=_base(type(error)),
        said=plain_lines(said_by(error).strip()[:_LONGEST_SAID])[:_LONGEST_SAID],
        lines=_cut(error.numbers if _is(error, Unusable) else own),
        own=bool(frames) and frames[-1][0].f_code.co_filename == str(path),
        verdict=str(error.told.verdict) if _is(error, Unusable) else "",
    )


_NAME, _MRO = (type.__dict__[name].__get__ for name in ("__name__", "__mro__"))
_TRACEBACK = BaseException.__dict__["__traceback__"].__get__
"""What a class of the learner's own cannot answer in its own way."""


def _is(error: BaseException, kind: type[E]) -> TypeGuard[E]:
    """As `isinstance`, which would ask the error itself."""
    return issubclass(type(error), kind)


def name_of(kind: type) -> str:
    """The name of a type, whatever the type itself says."""
    return str.__str__(_NAME(kind))


def said_by(error: BaseException) -> str:
    """What an exception says, as it says it; where it cannot say it, a remark in parentheses.

    The clock of a check, if it rings meanwhile, goes through.
    """
    try:
        # Of a type of the learner's own, such a text is copied as one of `str` itself.
        return str.__str__(str(error.code if _is(error, SystemExit) else error))
    except BaseException as worse:  # a __str__ of the learner's own
        if timeout_seconds(worse) is not None:
            raise
        return f"(its text cannot be shown: {name_of(type(worse))})"


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
    error = next(_made(known, raised.said))
    error.raised = raised  # type: ignore[attr-defined]
    return error


def _made(kind: type[BaseException], said: str) -> Iterator[BaseException]:
    """An exception of a type, and of what it is made from: UnicodeDecodeError and its like want more arguments."""
    for one in kind.__mro__:
        with suppress(TypeError):
            yield one(_Verbatim(said) if one is KeyError else said)


def described(error: BaseException, path: Path) -> Raised:
    """The description that an exception carries, or a new one."""
    return carried(error) or describe(error, path)


def carried(error: BaseException) -> Raised | None:
    """The description that an exception carries."""
    with suppress(Exception):  # of a class of the learner's own even a look may fail
        found = error.raised  # type: ignore[attr-defined]  # as `revive` and a runner set it
        return found if type(found) is Raised else None
    return None


class Late(BaseException):
    """A clock of our own has rung: the time of a check is over."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"more than {seconds:g} s")
        self.seconds = seconds


def timeout_seconds(error: BaseException) -> float | None:
    """The limit at which a clock ended a check, or None: ours, or pytest-timeout's, which fails it with a sentence."""
    if _is(error, Late):
        return error.seconds
    found = re.match(r"Timeout \(>([\d.]+)s\)", str(error)) if name_of(type(error)) == "Failed" else None
    return float(found[1]) if found else None


def _base(kind: type) -> str:
    for ancestor in _MRO(kind):
        name = name_of(ancestor)
        if ancestor is getattr(builtins, name, None) or FAULTS.get(name) is ancestor:
            return name
    return "RuntimeError"
