"""The figures of the statements: one declared picture of each solution, as `exercises/<id>/figure.svg`.

`grader dev build` writes them, with their words into the README. Numbers are rounded to three digits before they are
drawn, so that the last bits of another machine's arithmetic change nothing.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from grader.bank.catalog import DeclaredPicture, Exercise, House
from grader.bank.derived import Built, filled
from grader.bank.source import read_source
from grader.base.errors import HouseError
from grader.engine.batch import Engine
from grader.engine.pictures import pictures
from grader.verdicts.picture import Picture
from grader.views.picture import alt, svg

_DIGITS = 3


def with_figures(house: House, built: Sequence[Built]) -> list[Built]:
    """The built files, with the figures and with the READMEs that show them. Writes nothing.

    Raises HouseError for a picture that the solution does not give, EngineError where the machine has no cage.
    """
    shown = [one for one in house.exercises.values() if one.figure and one.solution.is_file()]
    if not shown:
        return list(built)
    files = {file.path: file for file in built}
    with Engine(shown) as engine:
        for exercise in shown:
            assert exercise.figure
            picture = _figure(engine, exercise, exercise.figure)
            place, readme = exercise.given / "figure.svg", exercise.statement
            files[place] = Built(place, svg(picture, alone=True))
            if readme in files:
                files[readme] = Built(readme, filled(files[readme].text, "figure", _block(picture)))
    return list(files.values())


def _figure(engine: Engine, exercise: Exercise, declared: DeclaredPicture) -> Picture:
    (made,) = pictures(engine, exercise, read_source(exercise.solution), [declared])
    if made.picture is None:
        raise HouseError(f"{exercise.id}: the figure {declared.driver} cannot be drawn: {made.problem}")
    return msgspec.convert(_rounded(msgspec.to_builtins(made.picture)), Picture)


def _rounded(value: Any) -> Any:
    """The same data, each number with three digits."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}")
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return value


def _block(picture: Picture) -> str:
    words = alt(picture).replace("[", "(").replace("]", ")")
    return f"![{words}](figure.svg)\n\n{picture.caption}\n"
