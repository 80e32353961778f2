"""A Gradescope autograder: the folder that a teacher zips and uploads, and what runs there.

Gradescope unpacks it to /autograder/source and runs setup.sh once; for each submission it runs run_autograder, which
finds the student's files in /autograder/submission and leaves /autograder/results/results.json.
"""

import os
import shutil
import sys
from collections.abc import Mapping, Set
from pathlib import Path

from grader.bank.catalog import Exercise, House
from grader.bank.places import installed_bank
from grader.base.errors import HouseError
from grader.verdicts.result import Result

_PACKAGE = Path(__file__).resolve().parents[1]
_TREES = ("exercises", "solutions", "tests")
COURSE = "course"
"""Where a quiz lies in an autograder, as in the folder of a course."""

_DEEPEST = 5
_MOST_FOLDERS = 100
"""Looked into, in a folder of a submission."""

_SETUP = """#!/usr/bin/env bash
# Run once by Gradescope, when the image is built. Python 3.11 or newer, then torch, then the grader.
set -euo pipefail
cd /autograder/source
python=$(command -v python3.13 || command -v python3.12 || command -v python3.11 || true)
if [ -z "$python" ]; then
    apt-get update
    apt-get install -y python3.11 python3.11-venv
    python=python3.11
fi
"$python" -m venv .venv || { apt-get update; apt-get install -y "$(basename "$python")-venv"; "$python" -m venv .venv; }
.venv/bin/pip install --quiet -c constraints.txt torch
.venv/bin/pip install --quiet -c constraints.txt -e .
"""

_RUN = """#!/usr/bin/env bash
# Run by Gradescope for each submission. It writes no results where the grader itself fails: nobody is charged for that.
set -euo pipefail
cd "$(dirname "${{BASH_SOURCE[0]}}")"
exec source/.venv/bin/python -m {module} . {name}
"""


def write_autograder(folder: Path, house: House, exercise: Exercise) -> None:
    """Write the folder. Raises HouseError where that cannot be."""
    trees = {tree / Path(exercise.id): house.bank / tree / exercise.id for tree in map(Path, _TREES)}
    write_folder(folder, house, trees, "grader.classroom.gradescope", exercise.id)


def write_folder(folder: Path, house: House, more: Mapping[Path, Path], module: str, graded: str) -> None:
    """Write an autograder, which runs a module of the grader's for each submission. Raises HouseError.

    more: what it needs besides the grader, files and folders: where in it, to where they lie. graded: its name. What an
    autograder in this folder held of another exercise or quiz goes: nobody uploads checks or a secret unawares.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / "run_autograder").is_file():
        raise HouseError(f"{folder} is not empty, and no autograder: name a new folder.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for tree in (*_TREES, COURSE):
            shutil.rmtree(folder / tree, ignore_errors=True)
        (folder / "exercises").mkdir()
        _copy(_PACKAGE, folder / "grader")
        for target, source in more.items():
            _copy(source, folder / target)
        shutil.copy(house.bank / "exercises" / "coverage.toml", folder / "exercises")
        for name in ("pyproject.toml", "constraints.txt", "README.md"):
            shutil.copy((installed_bank() or _PACKAGE.parent) / name, folder)
        (folder / "conftest.py").write_text('pytest_plugins = ["grader.plugin"]\n')
        for name, text in (("setup.sh", _SETUP), ("run_autograder", _RUN.format(module=module, name=graded))):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
    except OSError as error:
        raise HouseError(f"{error.filename or folder} cannot be written: {error.strerror}.") from None


def _copy(source: Path, target: Path) -> None:
    if source.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        return
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))


def judge(root: Path, id: str) -> int:
    """Judge the one submission below `root`, as Gradescope lays it out; returns the exit code.

    It writes results/results.json, or nothing where the grader itself failed.
    """
    from grader.base.files import write_file
    from grader.base.seeds import new_seed
    from grader.engine.batch import Engine
    from grader.submissions.find import read_submission
    from grader.views.export import as_gradescope

    house = House(root / "source")
    exercise = house.exercises[id]
    names = {f"{exercise.stem}.py", f"{exercise.id}.ipynb", f"{exercise.stem}.ipynb"}
    submission = read_submission("", exercise, place_of(names, root / "submission"))
    results: list[Result] = []
    with Engine([exercise]) as engine:
        engine.judge(house, exercise, [submission], seed_of=lambda _: new_seed(), jobs=1, keep=results.append)
    (result,) = results
    if result.grader_failed:
        print("the grader failed; nobody is charged for it", file=sys.stderr)
        return 1
    write_file(root / "results" / "results.json", as_gradescope(result))
    return 0


def place_of(names: Set[str], folder: Path) -> Path:
    """The folder that holds a file of these names: where a student uploads a zip or a repository, it may lie deeper."""
    found = []
    for place, folders, files in os.walk(folder):
        deep = len(Path(place).relative_to(folder).parts)
        folders[:] = [
            name for name in folders[:_MOST_FOLDERS] if deep < _DEEPEST and name[0] not in "._" and name != "stubs"
        ]
        if names & {*files}:
            found.append(Path(place))
    return found[0] if len(found) == 1 or found[:1] == [folder] else folder


if __name__ == "__main__":
    sys.exit(judge(Path(sys.argv[1]).resolve(), sys.argv[2]))
