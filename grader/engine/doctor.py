"""What this machine gives to grading, what each limit rests on, and what to do where it gives less than it could."""

import os
import platform
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import msgspec

from grader.base import fair
from grader.engine import cage, doubt, share

_GIB = 1 << 10
_LITTLE_MB = 4 * _GIB
_PYTHONS = ((3, 11), (3, 13))


class Fact(msgspec.Struct, frozen=True):
    """One thing that matters to grading."""

    name: str
    value: str
    todo: str = ""
    """What would make it better; empty where all is well."""


def facts() -> Iterator[Fact]:
    """What a teacher, or whoever helps one, wants to know of this machine. Grades nothing."""
    yield _python()
    yield _torch()
    yield _cores()
    yield _memory()
    level = cage.best_level()
    yield _isolation(level)
    means = share.prepare(level is cage.Level.FULL).means(1)
    by = {"keeper": "counted by a process of the grader", "uid": "counted by the kernel, by a user of their own"}
    for name in ("processes", "memory"):
        how = by.get(means[name], f"counted by the kernel, in a {means[name]}")
        yield Fact(f"{name} of a submission", how)
    own, _, cores = means["processors"].rpartition(", ")
    fair_share = "; the kernel gives each submission a share like any other program's" if own else ""
    yield Fact("processors of a submission", f"{cores} at a time{fair_share}")


def _python() -> Fact:
    first, last = _PYTHONS
    known = first <= sys.version_info[:2] <= last
    said = f"{platform.python_version()} on {platform.system()} {platform.release()}"
    return Fact("Python", said, "" if known else f"Take Python {first[0]}.{first[1]} to {last[0]}.{last[1]}.")


def _torch() -> Fact:
    try:
        return Fact("torch", version("torch"))
    except PackageNotFoundError:
        return Fact("torch", "not installed", "pip install -c constraints.txt torch")


def _cores() -> Fact:
    mine, there = len(fair.processors()), os.cpu_count() or 1
    return Fact("cores", f"{mine} of {there}: as many submissions are judged at a time, unless --jobs says otherwise")


def _memory() -> Fact:
    free = doubt.available_mb()
    todo = "A submission may take 2 GiB: judge fewer at a time, with --jobs." if free < _LITTLE_MB else ""
    return Fact("memory", f"{free / _GIB:.1f} GiB free", todo)


def _isolation(level: cage.Level) -> Fact:
    stronger = {cage.Level.PROCESS: cage.Level.LANDLOCK, cage.Level.LANDLOCK: cage.Level.FULL}.get(level)
    if not stronger:
        return Fact("isolation", str(level))
    said = cage.why_not(stronger)
    return Fact("isolation", f"{level}; {stronger} is refused: {said}", _advice(stronger, said))


def _advice(level: cage.Level, said: str) -> str:
    """What lets the machine grant a level that it refuses."""
    if sys.platform != "linux":
        return "Grade on Linux, or trust who handed in: see SECURITY.md."
    if level is cage.Level.LANDLOCK:
        return "Take Linux 5.13 or newer with Landlock, and the packages landlock and pyseccomp: see SECURITY.md."
    if said.startswith("unshare"):
        return (
            "Allow namespaces: docs/cluster.md, under Containers, has the flags; on Ubuntu, AppArmor may forbid them."
        )
    if said.startswith("mount /proc"):
        return "Let the container see all of /proc: docs/cluster.md, under Containers."
    if said.startswith("loopback"):
        return "Let the grader bring up a network of its own: in a container, --cap-add NET_ADMIN."
    return "docs/cluster.md, under Containers, says what each level needs."
