"""A file of checks and the drivers beside it, as modules."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType


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
