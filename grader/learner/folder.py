"""A practice folder: stubs, statements and examples of the installed exercises, written out and brought up to date.

What it holds else comes from where the exercises are installed: facts, drills, pictures, hidden checks, solutions.
"""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Literal

import msgspec

from grader import __version__
from grader.bank.catalog import Exercise, House
from grader.bank.derived import stub_of
from grader.bank.places import HANDED_OUT, installed_bank, is_bank, is_practice_folder
from grader.base.errors import HouseError
from grader.base.files import replace_file

_GIVEN = ("README.md", "figure.svg", "test_examples.py")
_CONFTEST = 'pytest_plugins = ["grader.plugin"]\n'
_PROJECT = '''# How pytest runs the katas of this folder. Written by `grader init`.
[tool.pytest.ini_options]
minversion = "8.2"
testpaths = ["exercises"]
# Plugins that other packages bring along cost start-up time and do nothing here.
addopts = """--strict-markers -p no:anyio -p no:hypothesispytest -p no:typeguard -p no:benchmark
    -p no:unraisableexception"""
'''


class HandedOut(msgspec.Struct):
    """What was written to a practice folder: by this `update` knows what somebody has changed since."""

    release: str = ""
    """Of the grader that wrote last."""
    revisions: dict[str, int] = {}
    """Exercise to the revision that was handed out last."""
    files: dict[str, str] = {}
    """Path below the folder to the hash of what was handed out last."""


class Change(msgspec.Struct, frozen=True):
    """What became of a file: new, replaced as it was, kept as the learner has it, or moved aside for the new one."""

    path: str
    done: Literal["written", "replaced", "kept", "moved aside"]
    exercise: Exercise | None = None
    """Whose file it is."""
    aside: str = ""
    """Where the learner's file is, if it was moved."""


def init(folder: Path) -> House:
    """Make a practice folder. Raises HouseError where there is something already, or where it cannot be written."""
    if is_practice_folder(folder):
        raise HouseError(f"{folder} is a practice folder already: `grader update` in it brings what is new.")
    if folder.exists() and not folder.is_dir():
        raise HouseError(f"{folder} is a file: name a new folder.")
    place = folder.resolve()
    for above in (place, *place.parents):
        if is_bank(above) or is_practice_folder(above):
            raise HouseError(f"{folder} lies in {above}, which has exercises of its own. Name a folder outside of it.")
    if installed_bank() is None:
        raise HouseError("No exercises are installed: install dl-kata again, as a whole.")
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise HouseError(f"{folder} is not empty: name a new folder.")
        (place / "exercises").mkdir(parents=True, exist_ok=True)
        _keep(place, HandedOut())  # from here on it is one, and `update` goes on where this is interrupted
    except OSError as error:
        raise HouseError(f"{error.filename or folder} cannot be written: {error.strerror}.") from None
    house = House(place)
    update(house)
    return house


def update(house: House) -> list[Change]:
    """Bring a practice folder up to what is installed: what was done, file by file.

    A file that nobody changed is replaced. Of files that were changed, a learner's stays as it is; a statement or
    examples move aside for the new ones. Raises HouseError.
    """
    if not house.is_practice_folder:
        raise HouseError(
            f"{house.root} is no practice folder: `git pull` brings what is new to a clone, and your teacher a new "
            "student edition."
        )
    known, done = _known(house.root), list[Change]()
    try:
        for path, data, exercise in _files(house):
            done += _bring(house, path, data, exercise, known)
        known.release, known.revisions = __version__, _revisions(house)
        _keep(house.root, known)
    except OSError as error:
        raise HouseError(
            f"{error.filename or house.root} cannot be written: {error.strerror}. What came before it is done; run "
            "`grader update` again when that is mended."
        ) from None
    return done


def is_behind(house: House) -> bool:
    """Whether other exercises or revisions are installed than the practice folder holds."""
    return house.is_practice_folder and _known(house.root).revisions != _revisions(house)


def _revisions(house: House) -> dict[str, int]:
    return {exercise.id: exercise.revision for exercise in house.exercises.values()}


def _files(house: House) -> Iterator[tuple[str, bytes, Exercise | None]]:
    """What belongs in the folder: path, content, and whose it is."""
    yield "conftest.py", _CONFTEST.encode(), None
    yield "pyproject.toml", _PROJECT.encode(), None
    for exercise in house.exercises.values():
        for name in _GIVEN:
            if (exercise.given / name).is_file():
                yield f"exercises/{exercise.id}/{name}", (exercise.given / name).read_bytes(), exercise
        yield exercise.attempt.relative_to(house.root).as_posix(), stub_of(exercise).encode(), exercise


def _bring(house: House, path: str, data: bytes, exercise: Exercise | None, known: HandedOut) -> Iterator[Change]:
    """Bring one file up to date; yields what was done, if anything."""
    place, new, before = house.root / path, _hash(data), known.files.get(path)
    there = place.read_bytes() if place.exists() else None
    known.files[path] = new
    if there is not None and _hash(there) == new:
        return
    if there is None:
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, data)
        yield Change(path, "written", exercise)
    elif _hash(there) == before:
        replace_file(place, data, place.stat().st_mode & 0o777)
        yield Change(path, "replaced", exercise)
    elif new == before:
        return
    elif exercise is None or place == exercise.attempt:
        yield Change(path, "kept", exercise)
    else:
        aside = _aside(place)
        place.rename(aside)
        replace_file(place, data)
        yield Change(path, "moved aside", exercise, aside.relative_to(house.root).as_posix())


def _aside(place: Path) -> Path:
    """A name beside a file that is free."""
    number = 1
    while os.path.lexists(aside := place.with_name(f"{place.name}.{number}.kept")):
        number += 1
    return aside


def _known(root: Path) -> HandedOut:
    """Raises HouseError where the file is damaged."""
    path = root / HANDED_OUT
    try:
        return msgspec.json.decode(path.read_bytes(), type=HandedOut)
    except OSError as error:
        raise HouseError(f"{path} cannot be read: {error.strerror}.") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise HouseError(
            f"{path} is damaged: {error}. Write {{}} into it and run `grader update`, which then overwrites no file of "
            "yours."
        ) from None


def _keep(root: Path, known: HandedOut) -> None:
    replace_file(root / HANDED_OUT, msgspec.json.format(msgspec.json.encode(known)) + b"\n")


def _hash(data: bytes) -> str:
    return sha256(data).hexdigest()
