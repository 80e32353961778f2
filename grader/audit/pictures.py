"""Is each declared picture drawn from the solution, soon, and small enough to be drawn as it is?"""

import ast
import sys

from grader.audit.bench import Section
from grader.bank.catalog import Exercise
from grader.bank.source import read_source
from grader.base.errors import EngineError, HouseError
from grader.base.text import nearest
from grader.engine.batch import Engine
from grader.engine.pictures import pictures as made_pictures
from grader.verdicts.picture import Made

_SECONDS = 1.0
_TRIES = 3
"""How often one that takes long is made again: the machine may have been busy."""
_MAY_IMPORT = {"torch", "numpy", *sys.stdlib_module_names}


def pictures(exercise: Exercise) -> Section:
    """Each picture has its driver, and each driver its picture; all of them are made from the solution."""
    path = exercise.picture_drivers
    if not path.is_file():
        return [f"{path.name} is missing: it makes the pictures that exercise.toml declares."], ""
    tree = ast.parse(read_source(path))
    there = [node.name for node in tree.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    declared = [one.driver for one in exercise.pictures]
    found = [f"pictures.py defines no '{name}'.{nearest(name, there)}" for name in declared if name not in there]
    found += [f"pictures.py: no [[picture]] has the driver '{name}'." for name in there if name not in declared]
    found += [
        f"pictures.py imports {name}: take torch, numpy, the standard library, and the module that is given."
        for name in _imported(tree)
        if name not in _MAY_IMPORT
    ]
    return found or _run(
        exercise
    ), f"{len(declared)} picture{'s' if declared[1:] else ''}, each drawn from the solution"


def _imported(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [one.name.split(".")[0] for one in node.names]
        if isinstance(node, ast.ImportFrom):
            names.append((node.module or ".").split(".")[0] if not node.level else "." * node.level)
    return names


def _run(exercise: Exercise) -> list[str]:
    text = read_source(exercise.solution)
    found = []
    try:
        with Engine([exercise]) as engine:
            for made in made_pictures(engine, exercise, text):
                for _ in range(_TRIES - 1):
                    if made.seconds > _SECONDS:
                        one = [one for one in exercise.pictures if one.driver == made.driver]
                        (made,) = made_pictures(engine, exercise, text, one)
                found += _amiss(made)
    except (EngineError, HouseError) as error:
        found.append(str(error))
    return found


def _amiss(made: Made) -> list[str]:
    here = f"the picture {made.driver}"
    if made.picture is None:
        return [f"{here} cannot be drawn from the solution: {made.problem}"]
    found = []
    if made.seconds > _SECONDS:
        found.append(f"{here} took {made.seconds:g} s; let it take {_SECONDS:g} s at most.")
    if made.picture.note:
        found.append(f"{here}: {made.picture.note} Give it less to draw.")
    return found
