"""The questions of the house: `exercises/<id>/drills.py`, read when they are asked for."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from grader.bank.catalog import EXERCISE_ID, Exercise, House, label_of
from grader.base.errors import HouseError
from grader.drills.question import Question


def questions_of(exercise: Exercise) -> list[Question]:
    """The questions of an exercise, in the order of its file; none where it has no file. Raises HouseError."""
    return _read(exercise.drills) if exercise.drills.is_file() else []


def all_questions(house: House) -> dict[str, Question]:
    """Every question of the house, by its id. Raises HouseError.

    The facts of the exercises are not read for it: thirty files of them take longer than to ask a question.
    """
    paths = sorted((house.root / "exercises").glob("*/drills.py"))
    return {one.id: one for path in paths if EXERCISE_ID.fullmatch(path.parent.name) for one in _read(path)}


def _read(path: Path) -> list[Question]:
    id = path.parent.name
    spec = spec_from_file_location(f"drills_of_{id}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise HouseError(f"exercises/{id}/drills.py cannot be loaded: {error!r}.") from error
    found = [one for one in vars(module).values() if isinstance(one, Question)]
    for one in found:
        one.exercise = label_of(id)
    return found
