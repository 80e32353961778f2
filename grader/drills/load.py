"""The questions of the house: `exercises/<id>/drills.py`, read when they are asked for."""

from importlib.util import module_from_spec, spec_from_file_location

from grader.bank.catalog import Exercise, House
from grader.base.errors import HouseError
from grader.drills.question import Question


def questions_of(exercise: Exercise) -> list[Question]:
    """The questions of an exercise, in the order of its file; none where it has no file. Raises HouseError."""
    path = exercise.drills
    if not path.is_file():
        return []
    shown = path.relative_to(exercise.root)
    spec = spec_from_file_location(f"drills_of_{exercise.id}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise HouseError(f"{shown} cannot be loaded: {error!r}.") from error
    found = [one for one in vars(module).values() if isinstance(one, Question)]
    for one in found:
        one.exercise = exercise.label
    return found


def all_questions(house: House) -> dict[str, Question]:
    """Every question of the house, by its id. Raises HouseError."""
    return {one.id: one for exercise in house.exercises.values() for one in questions_of(exercise)}
