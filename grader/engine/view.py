"""What a cage may read: the system's libraries, and Python with its packages, but nothing that is hidden there.

An installed grader lies among Python's packages, and so do its exercises with their solutions and checks.
"""

import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

PACKAGES = ("site-packages", "dist-packages")
"""What the folders are called that Python's packages lie in."""


class View(msgspec.Struct, frozen=True):
    """What may be read, and what of it is hidden. Absolute paths."""

    readable: tuple[str, ...]
    hidden: tuple[str, ...]
    """Without links."""

    @classmethod
    def without(cls, hidden: Iterable[str | Path] = ()) -> "View":
        """What a caged interpreter needs, without these files and folders. What it cannot do without is not hidden."""
        shown = readable()
        needed = [os.path.realpath(path) for path in shown]
        real = dict.fromkeys(os.path.realpath(path) for path in hidden)
        return cls(tuple(shown), tuple(one for one in real if not any(_is_below(path, one) for path in needed)))

    def covers(self) -> list[str]:
        """The hidden paths by every name that they have below what is readable, such as two names of one folder."""
        names = dict[str, None]()
        for path in self.readable:
            real = os.path.realpath(path)
            for one in self.hidden:
                if _is_below(one, real):
                    names[os.path.join(path, os.path.relpath(one, real))] = None
        return [name for name in names if os.path.lexists(name)]

    def grants(self) -> Iterator[tuple[str, bool]]:
        """What Landlock has to allow, for it knows no exception: each path, and whether all below it may be read.

        Of a folder that holds something hidden only the names may be read.
        """
        for path in dict.fromkeys(map(os.path.realpath, self.readable)):
            yield from self._granted(path)

    def _granted(self, path: str) -> Iterator[tuple[str, bool]]:
        if path in self.hidden:
            return
        holds = any(_is_below(one, path) for one in self.hidden)
        yield path, not holds
        if holds:
            with os.scandir(path) as entries:
                below = [entry.path for entry in entries if not entry.is_symlink()]  # it may lead to what is hidden
            for entry in below:
                yield from self._granted(entry)


def readable() -> list[str]:
    """The files and folders that a caged interpreter needs: the system's libraries, and Python with its packages."""
    wanted = ["/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/localtime"]
    wanted += [
        sys.prefix,
        sys.base_prefix,
        sys.exec_prefix,
        sysconfig.get_path("stdlib"),
        sysconfig.get_path("purelib"),
    ]
    wanted += [path for path in sys.path if os.path.basename(path) in PACKAGES]  # a .pth file may name one elsewhere
    return [path for path in dict.fromkeys(wanted) if os.path.exists(path)]


def _is_below(path: str, folder: str) -> bool:
    """Whether a path is that folder, or lies below it. Both absolute, without links."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")
