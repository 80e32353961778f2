"""The facts of the house: exercises, their parts, the coverage table. The only reader of TOML.

A house is a folder with `exercises/coverage.toml`. An exercise is one folder name in its three trees.
"""

import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any, Literal, TypeVar, get_args

import msgspec

from grader.bank.places import ABOVE, INSTALLED, bank_of, installed_bank, is_bank, is_practice_folder
from grader.base.errors import HouseError
from grader.base.files import read_file
from grader.base.text import nearest

Difficulty = Literal["easy", "medium", "hard"]
Kind = Literal["heat", "grid", "lines", "gantt", "points", "bars"]
"""Of a picture."""
Section = Literal["critical", "medium", "new", "practical", "underspecified", "covered"]
T = TypeVar("T")


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of everything read from TOML: immutable, and an unknown key is an error."""


class Limits(Facts, frozen=True):
    check_seconds: float = 10.0
    exercise_seconds: float = 120.0
    memory_mb: int = 2048


class Part(Facts, frozen=True):
    """One function or class that a learner writes; earned when all its checks pass."""

    name: str
    points: int
    minutes: int
    topics: tuple[str, ...]
    hints: tuple[str, ...]
    why: str = ""
    """Two sentences, read once it is earned: why the reference does it this way, what goes wrong otherwise."""
    after: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    defines: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The definitions that belong to this part."""
        return self.defines or (self.name,)


class DeclaredPicture(Facts, frozen=True):
    """A picture of what the learner's own code makes. docs/checks.md says what a driver returns for each kind."""

    part: str
    kind: Kind
    driver: str
    """A function in the exercise's `pictures.py`."""
    axes: tuple[str, str]
    """Rows and columns, x and y, lanes and time, or names and values."""
    caption: str
    """What to see in it."""
    log: tuple[Literal["x", "y"], ...] = ()
    """Axes of `lines` that grow by powers of ten; `y` also for the values of `bars`."""
    figure: bool = False
    """Whether the solution's picture stands in the statement."""

    @property
    def title(self) -> str:
        """`Attention map` of `attention_map`."""
        return self.driver.replace("_", " ").capitalize()


class _ExerciseFile(Facts, frozen=True):
    title: str
    summary: str
    revision: int
    part: tuple[Part, ...]
    limits: Limits = Limits()
    picture: tuple[DeclaredPicture, ...] = ()


class Exercise(msgspec.Struct, frozen=True):
    """One exercise: its facts, and where its files lie."""

    id: str
    root: Path
    """Where the learner works: the folder with `exercises/`."""
    bank: Path
    """Where everything else of it lies: `root`, but for a practice folder the installed exercises."""
    title: str
    summary: str
    revision: int
    limits: Limits
    parts: tuple[Part, ...]
    pictures: tuple[DeclaredPicture, ...] = ()
    shared: bool = False
    """Whether an exercise of another prefix has the same number."""

    @property
    def forbidden(self) -> list[str]:
        """What any part forbids."""
        return sorted({name for part in self.parts for name in part.forbidden})

    @property
    def watches(self) -> list[list[str]]:
        """The sets of names that are watched for: while the file loads, then in the questions of each part."""
        sets = dict.fromkeys((tuple(self.forbidden), *(part.forbidden for part in self.parts)))
        return [list(names) for names in sets if names]

    @property
    def label(self) -> str:
        """`dl_011` of `dl_011_kv_cache`."""
        return label_of(self.id)

    @property
    def number(self) -> str:
        """What is short to type: `11` of `dl_011_kv_cache`; `nn_001` where there is a `dl_001` too."""
        return self.label if self.shared else str(number_of(self.id))

    @property
    def stem(self) -> str:
        """`kv_cache` of `dl_011_kv_cache`: the name of the learner's file."""
        return self.id.split("_", 2)[2]

    @property
    def attempt(self) -> Path:
        """The learner's file."""
        return self.root / "exercises" / self.id / f"{self.stem}.py"

    @property
    def given(self) -> Path:
        """The folder of what is given with the stub: facts, statement, examples, questions, drills, pictures."""
        return self.bank / "exercises" / self.id

    @property
    def solution(self) -> Path:
        return self.bank / "solutions" / self.id / f"{self.stem}.py"

    @property
    def released_stub(self) -> Path:
        """The stub as it was handed out, in a student edition, which has no solution to make it from."""
        return self.bank / "stubs" / self.id / f"{self.stem}.py"

    @property
    def checks(self) -> Path:
        return self.bank / "tests" / self.id / f"test_{self.stem}.py"

    @property
    def statement(self) -> Path:
        return self.given / "README.md"

    @property
    def own_statement(self) -> Path:
        """The statement that lies beside the learner's file: in a practice folder a copy."""
        return self.attempt.with_name(self.statement.name)

    @property
    def examples(self) -> Path:
        """The visible ones."""
        return self.given / "test_examples.py"

    @property
    def picture_drivers(self) -> Path:
        """What makes the declared pictures. Beside the stub, since the student edition draws them too."""
        return self.given / "pictures.py"

    @property
    def drills(self) -> Path:
        """Its questions with numbers that change. In the student edition too: they are practice."""
        return self.given / "drills.py"

    @property
    def figure(self) -> DeclaredPicture | None:
        """The picture that the statement shows: the one that says so, else the first."""
        return next((one for one in self.pictures if one.figure), next(iter(self.pictures), None))

    @property
    def points(self) -> int:
        return sum(part.points for part in self.parts)

    @property
    def minutes(self) -> int:
        return sum(part.minutes for part in self.parts)

    def need_files(self) -> None:
        """Raises HouseError where the solution or the hidden checks are missing."""
        for path in (self.solution, self.checks):
            if not path.is_file():
                raise HouseError(f"{path} is missing, so {self.id} cannot be graded. Put it back, as from a new clone.")

    def part(self, name: str) -> Part:
        """The part of that name; raises HouseError naming the nearest one."""
        for part in self.parts:
            if name == part.name:
                return part
        meant = nearest(name, [p.name for p in self.parts])
        raise HouseError(f"{self.id} has no part '{name}'.{meant} `grader status {self.number}` shows its parts.")

    def before(self, part: Part) -> tuple[str, ...]:
        """The names of all parts that a part builds on, themselves or through others, in the order of the exercise."""
        found: set[str] = set()
        waiting = list(part.after)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.part(name).after
        return tuple(one.name for one in self.parts if one.name in found)


class Role(Facts, frozen=True):
    id: str
    title: str


class Topic(Facts, frozen=True):
    id: str
    title: str


class Item(Facts, frozen=True):
    """A row of the coverage table: a gap of the interview programme, or a subject that older tasks cover."""

    number: str
    title: str
    section: Section
    weights: dict[str, int]
    topic: tuple[Topic, ...]
    seed_rating: Literal["good", "excellent", "practical"] | None = None
    seed_task: str | None = None


class Task(Facts, frozen=True):
    """An exercise that the gap list asks for, written already or still to come."""

    id: str
    title: str
    gaps: tuple[str, ...]
    priority: int
    difficulty: Difficulty
    needs: tuple[str, ...] = ()
    """Ids of the exercises that it builds on."""


class Track(Facts, frozen=True):
    """An order in which exercises are studied."""

    id: str
    title: str
    exercises: tuple[str, ...]
    after: str | None = None
    """The track that comes before it."""


class Coverage(Facts, frozen=True):
    role: tuple[Role, ...]
    task: tuple[Task, ...]
    item: tuple[Item, ...]
    track: tuple[Track, ...] = ()

    def tasks_of(self, item: Item) -> list[Task]:
        return [task for task in self.task if item.number in task.gaps]

    def find_role(self, id: str) -> Role:
        """Raises HouseError for a role that there is not."""
        known = {role.id: role for role in self.role}
        if id not in known:
            raise HouseError(f"There is no role '{id}'. Roles: {', '.join(known)}.{nearest(id, known)}")
        return known[id]

    def asked_of(self, role: str) -> list[Item]:
        """The items that a role is asked about, the weightiest first."""
        return sorted((item for item in self.item if item.weights.get(role)), key=lambda item: -item.weights[role])

    def topic_weights(self, role: str) -> dict[str, int]:
        """Each topic that a role is asked about to its weight, 1 to 3."""
        return {topic.id: item.weights[role] for item in self.asked_of(role) for topic in item.topic}

    @property
    def topics(self) -> dict[str, Topic]:
        return {topic.id: topic for item in self.item for topic in item.topic}


PREFIXES = ("dl", "nn")
"""Of ids: deep learning with torch, and neural networks from scratch with numpy."""
EXERCISE_ID = re.compile(rf"({'|'.join(PREFIXES)})_\d{{3}}_[a-z0-9_]+")


def label_of(id: str) -> str:
    """`dl_011` of `dl_011_kv_cache`."""
    return "_".join(id.split("_")[:2])


def number_of(id: str) -> int:
    """11 of `dl_011_kv_cache`."""
    return int(id.split("_")[1])


class House:
    """The folder that holds the three trees; or a practice folder, whose exercises are those that are installed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def bank(self) -> Path:
        """Where the exercises lie: `root`, but for a practice folder what is installed. Raises HouseError."""
        return bank_of(self.root)

    @cached_property
    def exercises(self) -> dict[str, Exercise]:
        """Every exercise that has an `exercise.toml`, by id, in order."""
        ids = [id for prefix in PREFIXES for id in _folders(self.bank, f"{prefix}_*")]
        return {id: read_exercise(self.root, id) for id in ids}

    @cached_property
    def coverage(self) -> Coverage:
        return read_toml(self.bank / "exercises" / "coverage.toml", Coverage)

    @property
    def is_practice_folder(self) -> bool:
        return is_practice_folder(self.root)

    @property
    def is_whole(self) -> bool:
        """Whether hidden checks and solutions are here; a student edition has those of no exercise."""
        return (self.bank / "solutions").is_dir()

    def need_whole(self) -> None:
        """Raises HouseError in a student edition."""
        if not self.is_whole:
            raise HouseError("This is a student edition, without hidden checks and solutions: a teacher's command.")

    def need_own_exercises(self) -> None:
        """Raises HouseError where the exercises are installed, and nobody is to write to them."""
        if self.is_practice_folder or self.root.name in INSTALLED:
            raise HouseError("Exercises are written in a clone of the repository: an author's command.")

    def task(self, exercise: Exercise) -> Task | None:
        return next((task for task in self.coverage.task if task.id == exercise.id), None)

    def chosen(self, typed: Iterable[str]) -> list[Exercise]:
        """The exercises that someone means, each once; all where nothing was typed."""
        return list(dict.fromkeys(self.find(one) for one in typed)) or list(self.exercises.values())

    def chosen_parts(self, typed: Iterable[str]) -> dict[str, tuple[str, ...]]:
        """The ids of the exercises that someone means, each with its parts that are named behind it: `11 prefill 1`."""
        chosen: dict[str, tuple[str, ...]] = {}
        for word in typed:
            if chosen and not self._meant(word):
                id = list(chosen)[-1]
                chosen[id] += (self.exercises[id].part(word).name,)
            else:
                chosen.setdefault(self.find(word).id, ())
        return chosen

    def _meant(self, typed: str) -> list[Exercise]:
        meant = _bare(typed)
        return [exercise for exercise in self.exercises.values() if meant in _names(exercise.id)]

    def find(self, typed: str) -> Exercise:
        """The exercise that someone means by `11`, `011`, `dl_011`, `kv_cache` or `dl_011_kv_cache`, or by the path of
        its folder or its file.
        """
        meant, found = _bare(typed), self._meant(typed)
        if len(found) > 1:
            raise HouseError(
                f"'{typed}' may be {' or '.join(e.id for e in found)}: type {found[0].label}, for example."
            )
        if found:
            return found[0]
        for task in self.coverage.task:
            if meant in _names(task.id):
                raise HouseError(f"{task.id} is still to come. `grader list` shows what there is.")
        known = [name for e in self.exercises.values() for name in (e.id, e.stem, e.number)]
        raise HouseError(f"There is no exercise '{typed}'.{nearest(typed, known)} `grader list` shows all.")


def _bare(typed: str) -> str:
    """What was typed without the path around it: `kv_cache` for `exercises/dl_011_kv_cache/kv_cache.py`."""
    path = PurePath(typed)
    return path.stem if path.suffix == ".py" else path.name if path.parent.name == "exercises" else typed.strip("/")


def _names(id: str) -> set[str]:
    """What may be typed for an exercise."""
    number = number_of(id)
    return {id, label_of(id), id.split("_", 2)[2], str(number), f"{number:03}"}


def _folders(root: Path, pattern: str) -> list[str]:
    """The names of the folders of exercises that fit a pattern, in order."""
    return sorted(path.parent.name for path in (root / "exercises").glob(f"{pattern}/exercise.toml"))


def read_exercise(root: Path, id: str) -> Exercise:
    """Read one `exercise.toml`; raises HouseError with file, key and nearest known name."""
    bank = bank_of(root)
    path = bank / "exercises" / id / "exercise.toml"
    if not EXERCISE_ID.fullmatch(id):
        raise HouseError(f"{path.parent}: an exercise folder is named like dl_020_beam_search.")
    facts = read_toml(path, _ExerciseFile)
    for part in facts.part:
        for other in part.after:
            if other not in {p.name for p in facts.part}:
                raise HouseError(
                    f"{path}: part '{part.name}' comes after '{other}', which is no part."
                    f"{nearest(other, [p.name for p in facts.part])}"
                )
    for picture in facts.picture:
        if picture.part not in {p.name for p in facts.part}:
            raise HouseError(
                f"{path}: the picture '{picture.driver}' is of '{picture.part}', which is no part."
                f"{nearest(picture.part, [p.name for p in facts.part])}"
            )
    drivers = [picture.driver for picture in facts.picture]
    for driver in drivers:
        if drivers.count(driver) > 1:
            raise HouseError(f"{path}: two pictures have the driver '{driver}': give each a driver of its own.")
    shared = len(_folders(bank, f"[a-z][a-z]_{number_of(id):03}_*")) > 1
    own = facts.title, facts.summary, facts.revision, facts.limits, facts.part, facts.picture
    return Exercise(id, root, bank, *own, shared)


def find_house(start: Path | None = None) -> House:
    """The house that holds `start` (default: the current folder), or else the clone that holds this package."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if is_bank(folder) or is_practice_folder(folder):
            return House(folder)
    if is_bank(ABOVE):
        return House(ABOVE)
    if installed_bank():
        raise HouseError(f"{here} is not inside a practice folder. `grader init my-katas` makes one: go there.")
    raise HouseError(f"{here} is not inside a kata repository. Go to the folder that you cloned, and try again.")


def find_bank(start: Path | None = None) -> House:
    """As `find_house`; where that finds nothing, the installed exercises, for what keeps nothing beside them."""
    try:
        return find_house(start)
    except HouseError:
        bank = installed_bank()
        if bank is None:
            raise
        return House(bank)


def read_toml(path: Path, shape: type[T]) -> T:
    """A TOML file as data of a strict shape; raises HouseError that names file, key and the nearest known key."""
    try:
        return msgspec.toml.decode(read_file(path, links=True), type=shape)
    except FileNotFoundError:
        raise HouseError(f"{path} is missing.") from None
    except msgspec.ValidationError as error:
        unknown = re.search(r"unknown field `(.+?)`", str(error))
        kind = re.search(r"Invalid enum value '(.+?)'.*picture\[", str(error))
        known = nearest(unknown[1], _keys(shape)) if unknown else nearest(kind[1], get_args(Kind)) if kind else ""
        raise HouseError(f"{path}: {error}.{known}") from None
    except OSError as error:
        raise HouseError(f"{path} cannot be read: {error.strerror}.") from None
    except (msgspec.DecodeError, ValueError, RecursionError) as error:  # too many digits, too many brackets
        raise HouseError(f"{path} is not valid TOML: {error}.") from None


def _keys(shape: Any) -> set[str]:
    """Every key that may stand in a file of that type, at any depth."""
    names: set[str] = set()
    for field in msgspec.structs.fields(shape):
        names.add(field.encode_name)
        for inner in (field.type, *getattr(field.type, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
                names |= _keys(inner)
    return names
