"""Turn files into modules: attempts, solutions, checks and their drivers."""

import gc
import linecache
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from grader.bank.catalog import Exercise, find_house
from grader.bank.source import lines_of, read_source

_COMPILED = re.compile(r"torch\.(optim|utils\.checkpoint)\b|from torch\.utils import checkpoint")


@contextmanager
def importing() -> Iterator[None]:
    """Import large packages inside, with the garbage collector off: it would look through them for nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


def load_source(text: str, path: Path, name: str, given: Mapping[str, Any] | None = None) -> ModuleType:
    """Run `text` as the module `name` that claims to lie at `path`; what it raises goes through.

    given: names that it finds defined already.

    The module is registered while and after it runs, so that dataclasses and typing find it.
    """
    code = compile(text, str(path), "exec", dont_inherit=True)
    module = ModuleType(name)
    module.__file__ = str(path)
    module.__dict__.update(given or {})
    sys.modules[name] = module
    # Frames of this module show the text that ran, also where the file holds another.
    linecache.cache[str(path)] = (len(text), None, lines_of(text), str(path))
    exec(code, module.__dict__)
    return module


def needed_ahead(exercise: Exercise) -> list[str]:
    """Modules to import before the checks: the first optimizer or checkpoint imports them, which takes 1 s."""
    read = (exercise.checks.parent / "drivers.py", exercise.solution, exercise.picture_drivers)
    files = [path for path in read if path.is_file()]
    return ["torch._dynamo"] if any(_COMPILED.search(path.read_text(encoding="utf-8")) for path in files) else []


def solution(id: str) -> ModuleType:
    """The reference solution of an exercise, as a module. For the project's own tests."""
    exercise = find_house().find(id)
    return load_source(read_source(exercise.solution), exercise.solution, f"solutions.{exercise.id}")
