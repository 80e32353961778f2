"""The questions of the house: `exercises/<id>/drills.py`, read when they are asked for."""

from functools import lru_cache
from pathlib import Path
from types import ModuleType

from grader.bank.catalog import Exercise, House, label_of
from grader.bank.source import read_source
from grader.base.errors import HouseError
from grader.drills.heads import drill_files
from grader.drills.question import Question


def questions_of(exercise: Exercise) -> list[Question]:
    """The questions of an exercise, in the order of its file; none where it has no file. Raises HouseError."""
    return _read(exercise.drills) if exercise.drills.is_file() else []


def question_of(house: House, id: str) -> Question:
    """The question of that id. Reads the file of its exercise, and no other. Raises HouseError."""
    label, _, name = id.partition(".")
    for path in (house.bank / "exercises").glob(f"{label}_*/drills.py"):
        for one in _read(path):
            if one.name == name:
                return one
    raise HouseError(f"There is no drill '{id}'.")


def all_questions(house: House) -> dict[str, Question]:
    """Every question of the house, by its id. Raises HouseError."""
    return {one.id: one for path in drill_files(house) for one in _read(path)}


def _read(path: Path) -> list[Question]:
    return _loaded(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=64)
def _loaded(path: Path, *_stamp: int) -> list[Question]:
    id = path.parent.name
    module = ModuleType(f"drills_of_{id}")
    module.__file__ = str(path)
    try:  # compiled anew: Python's kept file may be that of an edit in the same second
        exec(compile(read_source(path), str(path), "exec"), vars(module))
    except Exception as error:
        raise HouseError(f"exercises/{id}/drills.py cannot be loaded: {error!r}.") from error
    found = [one for one in vars(module).values() if isinstance(one, Question)]
    for one in found:
        one.exercise = label_of(id)
    return found
