"""The student edition: what may be handed out, as a folder that pip installs."""

import json
import shutil
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from grader import __version__
from grader.bank.catalog import Exercise, House
from grader.bank.derived import stub_of
from grader.bank.places import STUDENT, installed_bank
from grader.base.errors import HouseError

_PACKAGE = Path(__file__).resolve().parents[1]
_SHOWN = ("README.md", "exercise.toml", "questions.toml", "test_examples.py")
_DRAWN = ("pictures.py", "figure.svg")

_PROJECT = """# The student edition of dl-kata, written by `grader release`. Install torch first, from where you like.
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "dl-kata-student"
version = "{version}"
description = "Deep-learning katas: stubs, statements and visible examples"
requires-python = ">=3.11"
dependencies = {dependencies}

[project.scripts]
grader = "grader.__main__:run"

[tool.setuptools]
packages = {packages}
package-dir = {{ "grader" = "grader", "{package}" = "." }}
include-package-data = false

[tool.setuptools.package-data]
{package} = ["exercises/**/*", "stubs/**/*"]
{data}

[tool.pytest.ini_options]
testpaths = ["exercises"]
"""

_README = """# Deep-learning katas, student edition

    python3 -m venv .venv && . .venv/bin/activate
    pip install torch
    pip install .

Each folder of `exercises/` holds a statement (`README.md`), a file to complete, and a few examples that you can see:

    pytest exercises/{id}

More checks run when your work is graded, and only they give points. What counts here is a part whose examples pass:
`grader` says what is next, `grader status` and `grader list` show how far you are.

    grader check {number}         runs the examples, a part at a time
    grader watch {number}         runs them each time that you save
    grader hint {number}          a hint
    grader picture {number}       pictures of what your code makes
    grader drill                  what interviewers ask, with numbers that change
    grader reset {number}         the stub again; your file is kept
    grader notebook {number}      the exercise as a notebook to practise in

In that notebook, and in those of your course, the cell below each part runs its examples; in that notebook it draws the
part's pictures too.

{list}
"""


def write_release(folder: Path, house: House, exercises: Sequence[Exercise]) -> int:
    """Write the student edition; returns the number of files. Raises HouseError where that cannot be.

    Learner's files are written as stubs, whatever the house holds. A folder that is no student edition is refused.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "stubs").is_dir():
        raise HouseError(f"{folder} is not empty, and no student edition: name a new folder.")
    count = 0
    try:
        for path, data in _files(house, exercises):
            place = folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
            count += 1
        shutil.rmtree(folder / "build", ignore_errors=True)
    except OSError as error:
        raise HouseError(f"{error.filename or folder} cannot be written: {error.strerror}.") from None
    return count


def _files(house: House, exercises: Sequence[Exercise]) -> Iterator[tuple[str, bytes]]:
    for source in sorted({*_PACKAGE.rglob("*.py"), *_data_files()}):
        yield f"grader/{source.relative_to(_PACKAGE)}", source.read_bytes()
    yield "exercises/coverage.toml", (house.bank / "exercises" / "coverage.toml").read_bytes()
    for exercise in exercises:
        stub = stub_of(exercise).encode()
        yield f"exercises/{exercise.id}/{exercise.stem}.py", stub
        yield f"stubs/{exercise.id}/{exercise.stem}.py", stub
        for name in (*_SHOWN, *(_DRAWN if exercise.pictures else ())):
            yield f"exercises/{exercise.id}/{name}", (exercise.given / name).read_bytes()
        if exercise.drills.is_file():  # practice: their answers are in the open
            yield f"exercises/{exercise.id}/drills.py", exercise.drills.read_bytes()
    yield "conftest.py", b'pytest_plugins = ["grader.plugin"]\n'
    yield "README.md", _readme(exercises).encode()
    yield "pyproject.toml", _project().encode()


def _readme(exercises: Sequence[Exercise]) -> str:
    lines = [f"* `{exercise.id}`: {exercise.summary}" for exercise in exercises]
    return _README.format(id=exercises[0].id, number=exercises[0].number, list="\n".join(lines))


def _own_project() -> dict[str, Any]:
    """This project's pyproject.toml."""
    own = (installed_bank() or _PACKAGE.parent) / "pyproject.toml"
    if not own.is_file():
        raise HouseError(f"{own} is missing: release from a new clone, or install dl-kata again.")
    return tomllib.loads(own.read_text(encoding="utf-8"))


def _data() -> dict[str, list[str]]:
    """What lies in the packages besides Python, as the page's files: package to patterns."""
    data: dict[str, list[str]] = _own_project()["tool"]["setuptools"]["package-data"]
    return data


def _data_files() -> Iterator[Path]:
    for package, patterns in _data().items():
        folder = _PACKAGE.parent.joinpath(*package.split("."))
        for pattern in patterns:
            yield from (path for path in folder.glob(pattern) if path.is_file())


def _project() -> str:
    """The student edition's own pyproject.toml: this project's dependencies but those of the cage."""
    kept = [one for one in _own_project()["project"]["dependencies"] if "sys_platform" not in one]
    listed = "[\n" + "".join(f'    "{one}",\n' for one in kept) + "]"
    rooms = [f"grader.{path.parent.name}" for path in sorted(_PACKAGE.glob("*/__init__.py"))]
    packages = json.dumps(["grader", *rooms, STUDENT])
    data = "\n".join(f'"{package}" = {json.dumps(patterns)}' for package, patterns in _data().items())
    return _PROJECT.format(version=__version__, dependencies=listed, package=STUDENT, packages=packages, data=data)
