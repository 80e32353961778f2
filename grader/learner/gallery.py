"""A learner's pictures: what their own code makes, and beside it, once a part is earned, what the reference makes."""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from grader.bank.catalog import DeclaredPicture, Exercise
from grader.bank.source import read_source
from grader.base.errors import HouseError
from grader.engine.pictures import pictures
from grader.verdicts.picture import Made

if TYPE_CHECKING:
    from grader.engine.batch import Engine


class Hung(msgspec.Struct, frozen=True):
    """A declared picture as it is shown."""

    declared: DeclaredPicture
    own: Made
    reference: Made | None = None


def gallery(
    engine: "Engine",
    exercise: Exercise,
    text: str,
    chosen: Iterable[DeclaredPicture],
    earned: Collection[str],
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Hung]:
    """The chosen pictures of a text, one after the other, until it is cancelled. Raises HouseError and EngineError.

    earned: the names of the parts whose reference is shown too.
    """
    beside = read_source(exercise.solution) if exercise.solution.is_file() else ""
    for one in chosen:
        for own in pictures(engine, exercise, text, [one], is_cancelled):
            shows_both = beside and one.part in earned
            reference = next(pictures(engine, exercise, beside, [one], is_cancelled), None) if shows_both else None
            yield Hung(one, own, reference)


def own_text(exercise: Exercise) -> str:
    """The learner's file. Raises HouseError where it cannot be read."""
    shown = exercise.attempt.relative_to(exercise.root)
    try:
        return read_source(exercise.attempt)
    except FileNotFoundError:
        raise HouseError(f"{shown} is missing: `grader reset {exercise.number}` writes it again.") from None
    except UnicodeDecodeError:
        raise HouseError(f"{shown} is not UTF-8 text: save it with that encoding.") from None
    except OSError as error:
        raise HouseError(f"{shown} cannot be read: {error.strerror}.") from None
