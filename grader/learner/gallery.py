"""A learner's pictures: what their own code makes, and beside it, once a part is earned, what the reference makes."""

from collections.abc import Collection
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


def gallery(engine: "Engine", exercise: Exercise, earned: Collection[str], part: str | None = None) -> list[Hung]:
    """The pictures of an exercise, or of one part. Raises HouseError and EngineError.

    earned: the names of the parts whose reference is shown too.
    """
    chosen = [one for one in exercise.pictures if part in (None, one.part)]
    if part:
        exercise.part(part)
    own = list(pictures(engine, exercise, own_text(exercise), chosen))
    shown = [one for one in chosen if one.part in earned] if exercise.solution.is_file() else []
    beside = {}
    if shown:
        beside = {made.driver: made for made in pictures(engine, exercise, read_source(exercise.solution), shown)}
    return [Hung(one, made, beside.get(one.driver)) for one, made in zip(chosen, own, strict=True)]


def own_text(exercise: Exercise) -> str:
    """The learner's file. Raises HouseError where it cannot be read."""
    shown = exercise.attempt.relative_to(exercise.root)
    try:
        return read_source(exercise.attempt)
    except FileNotFoundError:
        raise HouseError(f"{shown} is missing: `grader reset {exercise.number}` writes it again.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise HouseError(f"{shown} cannot be read as UTF-8 text: {error}.") from None
