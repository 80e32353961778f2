"""A few lines below a learner's file, run in the cage: they show values, and nothing of them stays."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

import msgspec

from grader.answering.request import Request
from grader.bank.catalog import Exercise
from grader.base.errors import EngineError
from grader.submissions.find import read_text
from grader.verdicts.bounds import cut_text, cut_told
from grader.verdicts.raised import Late
from grader.verdicts.trial import Tried

if TYPE_CHECKING:
    from grader.engine.batch import Engine

LONGEST = 4000
"""Characters of what is printed, and of each value."""
_MOST_SHOWN = 50
_LOOK_SECONDS = 0.05
_BELOW = """

def __trial__(lines):
    import ast, contextlib, io, traceback
    name, space, shown, problem, printed = "lines", globals(), [], "", io.StringIO()
    def sent(text):
        return text.encode(errors="backslashreplace").decode()
    try:
        nodes = ast.parse(lines, name).body
    except (MemoryError, RecursionError):
        nodes, problem = [], "not valid Python: nested too deep"
    except (SyntaxError, ValueError) as error:
        nodes, problem = [], f"line {getattr(error, 'lineno', 1)}: not valid Python: {getattr(error, 'msg', error)}"
    try:
        with contextlib.redirect_stdout(printed):
            for node in nodes:
                if isinstance(node, ast.Expr):
                    value = eval(compile(ast.Expression(node.value), name, "eval"), space)
                    shown += [] if value is None else [repr(value)]
                else:
                    exec(compile(ast.Module([node], []), name, "exec"), space)
    except SyntaxError as error:
        problem = f"line {error.lineno}: not valid Python: {error.msg}"
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]
        at = [f"line {one.lineno}" if one.filename == name else f"{one.filename.rpartition('/')[2]}:{one.lineno}"
              for one in frames if one.filename in (name, __file__)] or [f"line {node.lineno}"]
        problem = f"{', '.join(at)}: {''.join(traceback.format_exception_only(error)).strip()}"
    shown = [sent(one[:10_000]) for one in shown[:50]]
    return {"printed": sent(printed.getvalue()[:10_000]), "shown": shown, "problem": sent(problem[:10_000])}
"""
"""What is put below the file. It is the learner's own process: what it tells is shown to them, and judged by nobody."""


class _Newer(BaseException):
    """Something newer was asked for."""


class _Answer(msgspec.Struct):
    printed: str
    shown: list[str]
    problem: str


def try_lines(
    engine: "Engine", exercise: Exercise, text: str, lines: str, is_newer: Callable[[], bool] = lambda: False
) -> Tried | None:
    """What comes of the lines, or None where something newer was asked for meanwhile. Raises EngineError."""
    from grader.engine.channel import Caged, compiled  # torch comes with it

    own = read_text(exercise, text)
    if own.problem:
        return Tried(problem=own.problem)
    no_drivers = compiled("")  # lines ask for none, and a student edition has none
    caged = Caged(engine.control, exercise, own.text + _BELOW, drivers=no_drivers)
    part = msgspec.structs.replace(exercise.parts[0], forbidden=())  # who tries may call what they like
    try:
        caged.begin(part, 0)
        with _clock(exercise.limits.check_seconds, is_newer):
            value = caged.ask(Request(kind="call", target="__trial__", driver=False, args=(lines,), kwargs={}))
        answer = msgspec.convert(value, _Answer)
    except _Newer:
        return None
    except (EngineError, KeyboardInterrupt):
        raise
    except msgspec.ValidationError:
        return Tried(
            problem="The answer cannot be read: something in the file takes the place of what runs these lines."
        )
    except BaseException as error:  # whatever ends the learner's code
        told = cut_told(caged.explainer.learner(error, part))
        return Tried(problem=_without_ours(told.message))
    finally:
        caged.close()
    values = tuple(cut_text(one, LONGEST) for one in answer.shown[:_MOST_SHOWN])
    return Tried(cut_text(answer.printed, LONGEST), values, cut_text(answer.problem, LONGEST))


def _without_ours(message: str) -> str:
    """A message without the places that lie in what was put below the file."""
    head, *places = message.splitlines()
    return message if not any("in __trial__" in one for one in places) else head


@contextlib.contextmanager
def _clock(seconds: float, is_newer: Callable[[], bool]) -> Iterator[None]:
    """Raise inside when the time is over, or when something newer is asked for."""
    left = seconds / _LOOK_SECONDS

    def ring(number: int, frame: FrameType | None) -> None:
        nonlocal left
        left -= 1
        if is_newer():
            raise _Newer
        if left <= 0:
            raise Late(seconds)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, _LOOK_SECONDS, _LOOK_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
