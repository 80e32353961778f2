"""The answers of a quiz, from the code of a student that runs in the cage. What comes back is text, and no more."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from grader.answering import typed as driver
from grader.answering.request import Request
from grader.bank.catalog import Exercise, Limits, Part
from grader.base import fair
from grader.base.errors import EngineError
from grader.base.text import plain
from grader.engine.doubt import STARVED
from grader.judging.clock import clock
from grader.verdicts.bounds import cut_told
from grader.verdicts.doubt import Doubt
from grader.verdicts.told import Told
from grader.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from grader.engine.batch import Engine

_PART = Part(name="answer", points=1, minutes=1, topics=(), hints=())
_LIMITS = Limits(check_seconds=5.0, exercise_seconds=30.0)
_MOST_TRIES = 3


class Typed(msgspec.Struct, frozen=True):
    """The answer to one question."""

    text: str = ""
    """As it would have been typed."""
    odd: str = ""
    """What is there in the place of an answer."""


class AnswerSheet(msgspec.Struct, frozen=True):
    """What a student's text answers to the questions of a quiz."""

    answers: tuple[Typed, ...]
    isolation: str
    told: Told | None = None
    """Why nothing of it can be read: what the code raised, or what ended it."""


def typed_answers(engine: "Engine", text: str, stem: str, ids: Sequence[str], seed: int) -> AnswerSheet:
    """Run a student's text, which defines `answer`, and take its answers to these questions.

    stem: the file is called `<stem>.py` in messages. What the machine may be to blame for is tried again.
    Raises EngineError where the machine is to blame, and nothing is known of the text.
    """
    from grader.engine.channel import Caged, compiled_drivers  # torch comes with it

    engine.warm.await_ready()
    drivers = compiled_drivers(Path(driver.__file__))
    exercise = Exercise(f"dl_000_{stem}", Path(), Path(), "", "", 1, _LIMITS, (_PART,))
    for attempt in range(1, _MOST_TRIES + 1):
        caged = Caged(engine.control, exercise, text, drivers=drivers)
        caged.begin(_PART, seed)
        try:
            with clock(_LIMITS.check_seconds), caged.clock():
                value = caged.ask(Request("call", "typed", driver=True, args=(list(ids),), kwargs={}))
            return _believed(value, len(ids), caged.isolation)
        except KeyboardInterrupt:
            raise
        except EngineError as error:
            doubt = Doubt(str(error), proved=True)
        except fair.Starved:
            doubt = STARVED
        except BaseException as error:  # whatever ends the student's code
            found = caged.doubts.get(_PART.name)
            if not found or (attempt == _MOST_TRIES and not found.proved):
                told = cut_told(caged.explainer.learner(error, _PART))
                return AnswerSheet((), caged.isolation or str(engine.level), told)
            doubt = found
        finally:
            caged.close()
    raise EngineError(doubt.said)


def _believed(value: Any, count: int, isolation: str) -> AnswerSheet:
    """What a reply says, if it has the form of one: hostile code may send any data."""
    if type(value) is str:
        return AnswerSheet((), isolation, Told(Verdict.ERROR, plain(value[: driver.LONGEST])))
    if isinstance(value, list) and len(value) == count:
        answers = tuple(_answer(one) for one in value)
        if None not in answers:
            return AnswerSheet(tuple(filter(None, answers)), isolation)
    return AnswerSheet((), isolation, Told(Verdict.ERROR, "what the code says of `answer` cannot be read"))


def _answer(one: Any) -> Typed | None:
    match one:
        case None:
            return Typed()
        case ["typed", str(text)] if len(text) <= driver.LONGEST:
            return Typed(text=text)
        case ["odd", str(text)]:
            return Typed(odd=plain(text[: driver.LONGEST]))
    return None
