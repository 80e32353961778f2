"""All built text: stubs from solutions, generated blocks of the READMEs. `--check` says whether it is current."""

import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from grader.bank.catalog import Exercise, House
from grader.bank.questions import folded, read_questions
from grader.bank.source import MarkerError, read_source, stub
from grader.base.errors import HouseError
from grader.base.files import reason


class Built(msgspec.Struct, frozen=True):
    """A file as it should be."""

    path: Path
    text: str

    @property
    def current(self) -> bool:
        return self.path.is_file() and self.path.read_bytes() == self.text.encode()


def build(house: House) -> list[Built]:
    """Every generated file of a house, as it should be. Writes nothing."""
    built = [file for exercise in house.exercises.values() for file in build_exercise(house, exercise)]
    readme = house.root / "README.md"
    if readme.is_file():
        built.append(Built(readme, filled(readme.read_text(), "exercises", _exercise_table(house))))
    return built


def build_exercise(house: House, exercise: Exercise) -> list[Built]:
    """The stub of an exercise, and its statement with the generated blocks filled."""
    built = [Built(exercise.attempt, stub_of(exercise))]
    readme = exercise.statement
    if readme.is_file():
        text = filled(readme.read_text(), "facts", _facts(house, exercise))
        text = filled(text, "parts", _part_table(exercise))
        built.append(Built(readme, filled(text, "questions", folded(read_questions(exercise)))))
    return built


def stub_of(exercise: Exercise) -> str:
    """The learner's file as it is handed out; raises HouseError for a solution that is missing or badly marked."""
    try:
        if not exercise.solution.is_file() and exercise.released_stub.is_file():
            return read_source(exercise.released_stub)
        return stub(read_source(exercise.solution))
    except FileNotFoundError:
        raise HouseError(f"{exercise.solution} is missing: it is the source of the stub.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise HouseError(f"{exercise.solution} cannot be read: {reason(error)}.") from None
    except MarkerError as error:
        raise HouseError(f"{exercise.solution}: {error}.") from None


def filled(text: str, block: str, content: str) -> str:
    """`text` with what stands between `<!-- block -->` and `<!-- /block -->` replaced."""
    pattern = rf"(<!-- {block} -->).*?(<!-- /{block} -->)"
    return re.sub(pattern, lambda found: f"{found[1]}\n{content}{found[2]}", text, flags=re.DOTALL)


def _facts(house: House, exercise: Exercise) -> str:
    task = house.task(exercise)
    known = f"Priority {task.priority} · {task.difficulty} · " if task else ""
    return f"{known}about {exercise.minutes} minutes · {exercise.points} points · {len(exercise.parts)} parts\n"


def _part_table(exercise: Exercise) -> str:
    rows = [("Part", "Points", "Minutes", "After")]
    for part in exercise.parts:
        after = ", ".join(f"`{name}`" for name in part.after)
        rows.append((f"`{part.name}`", str(part.points), str(part.minutes), after))
    return _table(rows)


def _exercise_table(house: House) -> str:
    rows = [("Exercise", "Title", "Priority", "Difficulty", "Parts", "Minutes")]
    for task in house.coverage.task:
        exercise = house.exercises.get(task.id)
        name = f"[`{task.id}`](exercises/{task.id}/README.md)" if exercise else f"`{task.id}`"
        parts, minutes = (str(len(exercise.parts)), str(exercise.minutes)) if exercise else ("coming", "")
        rows.append((name, task.title, str(task.priority), task.difficulty, parts, minutes))
    return _table(rows)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    head, *body = rows
    lines = [head, ("---",) * len(head), *body]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
