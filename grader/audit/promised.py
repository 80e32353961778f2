"""Which costs do the checks of a part look at? Heard while they run on the solution, in a fork that listens."""

import functools
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

import grader.answering.cost
import grader.checks.attempt
from grader.answering.cost import Cost, Meter
from grader.answering.request import Request
from grader.answering.runner import Runner
from grader.audit.bench import Bench
from grader.audit.wasteful import Most, current_check, noting, wrap
from grader.judging.pool import Variant

_COUNTED = frozenset(Cost.__struct_fields__)
_OWN = grader.answering.cost.__file__.rpartition("/")[0]


class Look(msgspec.Struct, frozen=True):
    """A check has looked at a field of a cost, or has called a part with or without gradients."""

    check: str
    field: str = ""
    amount: int = 0
    part: str = ""
    differentiable: bool = False
    is_limit: bool = False
    """Whether the amount is what the check allows."""


class Promise(msgspec.Struct):
    """What the checks of one part ask of its cost."""

    fields: dict[str, set[str]] = {}
    """The id of a check to the fields of `Cost` that it looks at."""
    most: dict[str, Most] = {}
    """The id of a check to what it allows, or to what the solution takes where no limit was heard."""
    modes: set[bool] = set()
    """Whether its checks, of its cost or not, call it with gradients, without, or both."""
    has_limits: bool = False
    """Whether a limit was heard: of what ranks count, checks see numbers alone."""

    def checks(self, *fields: str) -> tuple[str, ...]:
        """The ids of the checks that look at one of the fields, or at any."""
        return tuple(check for check, seen in self.fields.items() if not fields or seen & set(fields))


def promises(bench: Bench) -> dict[str, Promise]:
    """Part to what its checks ask of its cost; parts of which no cost is asked are left out."""
    part_of = {check: part for part, ids in bench.collected.planned.items() for check in ids}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "looks.jsonl")
        path.touch()
        parts = {part.name: part.names for part in bench.exercise.parts}
        text = f"{bench.solution}\n\nfrom grader.audit.promised import hear\n\n"
        text += f"hear(globals(), {parts!r}, {str(path)!r})\n"
        file = bench.collected.file
        checks = vars(bench.collected.items[0].module)
        bench.judge([Variant("promises", text, channel=lambda: Listening(file.in_process(text), path, checks))])
        looks = [msgspec.json.decode(line, type=Look) for line in path.read_bytes().splitlines()]
    found: dict[str, Promise] = {}
    for look in looks:
        part = part_of.get(look.check, "")
        promise = found.setdefault(part, Promise())
        if not look.field:
            if look.part == part:
                promise.modes.add(look.differentiable)
            continue
        promise.has_limits |= look.is_limit
        promise.fields.setdefault(look.check, set()).add(look.field)
        before = promise.most.get(look.check, Most())
        if look.field in Most.__struct_fields__ and look.amount > getattr(before, look.field):
            before = msgspec.structs.replace(before, **{look.field: look.amount})
        promise.most[look.check] = before
    return {part: promise for part, promise in found.items() if promise.fields}


class Listening:
    """Stands where a `Runner` stands, in a fork: from now on each look at a cost is written to a file."""

    def __init__(self, inner: Runner, path: Path, checks: dict[str, Any]) -> None:
        self._inner = inner
        _is_asked_for_a_cost.clear()
        noted = _noted(path)
        for module in (grader.answering.cost, grader.checks.attempt):
            setattr(module, "Cost", noted)  # noqa: B010  # mypy refuses an assignment to a class
        kept = Meter.kept

        def heard(meter: Meter, *owned: Any) -> int:
            size = kept(meter, *owned)
            if not _is_asked_for_a_cost:  # then the driver has made the meter, and weighs for itself
                _write(path, Look(current_check(), "kept", size))
            return size

        setattr(Meter, "kept", heard)  # noqa: B010
        if "at_most" in checks:
            checks["at_most"] = _limits_heard(checks["at_most"], path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def ask(self, request: Request) -> Any:
        _is_asked_for_a_cost[:] = [None] if request.kind == "cost" else []
        _latest.clear()
        try:
            return self._inner.ask(request)
        finally:
            _is_asked_for_a_cost.clear()


_is_asked_for_a_cost: list[None] = []


_BYTES = 8
"""A check may ask for values where bytes are counted."""
_latest: dict[str, int] = {}
"""The fields that have been looked at, with what the solution takes."""


def _limits_heard(at_most: Callable[..., None], path: Path) -> Callable[..., None]:
    def heard(value: float, limit: float, **said: Any) -> None:
        for field, amount in _latest.items():
            for unit in (1, _BYTES):
                if value == amount / unit:
                    _write(path, Look(current_check(), field, int(unit * limit), is_limit=True))
        at_most(value, limit, **said)

    return heard


def _noted(path: Path) -> type[Cost]:
    class Noted(Cost):
        def __getattribute__(self, name: str) -> Any:
            value = super().__getattribute__(name)
            if name in _COUNTED and not sys._getframe(1).f_code.co_filename.startswith(_OWN):
                amount = _latest[name] = sum(value.values()) if isinstance(value, dict) else value
                if name != "calls":  # of single operators, unless a limit is heard for all
                    _write(path, Look(current_check(), name, amount))
            return value

    return Noted


def _write(path: Path, look: Look) -> None:
    with path.open("ab") as file:
        file.write(msgspec.json.encode(look) + b"\n")


def hear(module: dict[str, Any], parts: Mapping[str, Sequence[str]], path: str) -> None:
    """Write down in which modes the parts of the solution are called."""
    seen: set[Look] = set()

    def note(part: str, differentiable: bool) -> None:
        look = Look(current_check(), part=part, differentiable=differentiable)
        if look not in seen:
            seen.add(look)
            _write(Path(path), look)

    for part, names in parts.items():
        wrap(module, list(names), noting(functools.partial(note, part)))
