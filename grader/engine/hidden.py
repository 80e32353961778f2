"""What no cage may read, also where it lies among Python's packages: the grader, the exercises, and learners' work."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from grader.bank.catalog import Exercise
from grader.bank.places import INSTALLED
from grader.engine.view import PACKAGES, readable

_TREES = ("exercises", "solutions", "stubs", "tests", ".grader")
_GRADER = Path(__file__).resolve().parents[1]


def hidden_paths(exercises: Iterable[Exercise]) -> list[Path]:
    """The folders of these exercises, and of every grader that is installed where a cage may read.

    A cage reads nothing of them in any case where they lie elsewhere.
    """
    houses = {root for one in exercises for root in (one.root, one.bank)}
    found = [root / tree for root in sorted(houses) for tree in _TREES]
    found += [folder / name for folder in _package_folders() for name in (_GRADER.name, *INSTALLED)]
    return [path for path in dict.fromkeys((*found, _GRADER)) if path.is_dir()]


def _package_folders() -> Iterator[Path]:
    """Where packages lie: of this Python, of one that it builds on, and of conda's environments beside it."""
    yield from (Path(path) for path in sys.path if Path(path).name in PACKAGES)
    for prefix in map(Path, readable()):
        for above in ("", "local/", "envs/*/"):
            for name in PACKAGES:
                yield from prefix.glob(f"{above}lib*/python*/{name}")
