"""Turn files into modules: attempts, solutions, checks and their drivers."""

import gc
import importlib
import importlib.util
import linecache
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from grader.catalog import Exercise, find_house
from grader.source import lines_of, read_source

_COMPILED = re.compile(r"torch\.(optim|utils\.checkpoint)\b|from torch\.utils import checkpoint")


@contextmanager
def importing() -> Iterator[None]:
    """Import large packages inside: none of it is garbage, and to look for some, then or later, takes long."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()


def load_source(text: str, path: Path, name: str) -> ModuleType:
    """Run `text` as the module `name` that claims to lie at `path`; what it raises goes through.

    The module is registered while and after it runs, so that dataclasses and typing find it.
    """
    code = compile(text, str(path), "exec", dont_inherit=True)
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    # Frames of this module show the text that ran, also where the file holds another.
    linecache.cache[str(path)] = (len(text), None, lines_of(text), str(path))
    exec(code, module.__dict__)
    return module


def needed_ahead(exercise: Exercise) -> list[str]:
    """What an exercise imports at its first use of an optimizer or a checkpoint, 1 s: not on a check's clock."""
    files = [path for path in (exercise.checks.parent / "drivers.py", exercise.solution) if path.is_file()]
    return ["torch._dynamo"] if any(_COMPILED.search(path.read_text(encoding="utf-8")) for path in files) else []


def solution(id: str) -> ModuleType:
    """The reference solution of an exercise, as a module. For the project's own tests."""
    exercise = find_house().find(id)
    return load_source(read_source(exercise.solution), exercise.solution, f"solutions.{exercise.id}")


def load_checks(test_file: Path) -> tuple[ModuleType, ModuleType | None]:
    """A fresh copy of a test module, and of the `drivers` beside it, so that `from . import drivers` works.

    Fresh, because pytest registers the fixtures of a module object once, and both trees need them.
    """
    package = ModuleType(f"checks_{test_file.parent.name}_{len(sys.modules)}")
    package.__path__ = [str(test_file.parent)]
    sys.modules[package.__name__] = package
    importlib.invalidate_caches()
    drivers = None
    if (test_file.parent / "drivers.py").is_file():
        drivers = importlib.import_module(f"{package.__name__}.drivers")
    # Loaded past pytest's hook, which would add its own explanation to the sentence of an assert.
    spec = importlib.util.spec_from_file_location(f"{package.__name__}.{test_file.stem}", test_file)
    assert spec, test_file
    assert spec.loader, test_file
    checks = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = checks
    spec.loader.exec_module(checks)
    return checks, drivers
