"""What no cage may read, also where it lies among Python's packages: the grader, the exercises, and learners' work."""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from grader.bank.catalog import Exercise
from grader.bank.places import INSTALLED
from grader.engine.view import PACKAGES, readable

_TREES = ("exercises", "solutions", "stubs", "tests", ".grader")
_HISTORY = ".git"
"""What lies in it is what was committed, solutions too."""
_GRADER = Path(__file__).resolve().parents[1]
_EXCHANGE = Path("/usr/local/share/nbgrader")
"""Where nbgrader has what all students have handed in, unless its configuration says otherwise."""


def hidden_paths(exercises: Iterable[Exercise]) -> list[Path]:
    """What lies beside these exercises, and every grader that is installed where a cage may read.

    A cage reads nothing of what lies elsewhere in any case.
    """
    houses = {root for one in exercises for root in (one.root, one.bank)}
    found = [path for root in sorted(houses) for path in beside(root)]
    found += [folder / name for folder in _package_folders() for name in (_GRADER.name, *INSTALLED)]
    return [path for path in dict.fromkeys((*found, _GRADER, _EXCHANGE)) if path.exists()]


def beside(root: Path) -> Iterator[Path]:
    """All that lies in the folder of a house or a course, since what is built of it, or copied, tells as much; and its
    history. Of a folder that is Python's own, too, no more than the house's; nothing where no cage reads anyway.
    """
    root, readables = root.resolve(), {Path(path).resolve() for path in readable()}
    if readables.isdisjoint((root, *root.parents)) or not root.is_dir():
        return
    yield from (root / tree for tree in _TREES) if root in readables else root.iterdir()
    yield from (folder / _HISTORY for folder in (root, *root.parents))


def _package_folders() -> Iterator[Path]:
    """Where packages lie: of this Python, of one that it builds on, and of conda's environments beside it."""
    yield from (Path(path) for path in sys.path if Path(path).name in PACKAGES)
    for prefix in map(Path, readable()):
        for above in ("", "local/", "envs/*/"):
            for name in PACKAGES:
                yield from prefix.glob(f"{above}lib*/python*/{name}")
