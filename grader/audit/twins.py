"""Does each promise of a cost hold against answers that pay elsewhere? They are derived from the solution.

A twin gives the solution's values and breaks a promise of one part: its work runs in another thread, a copy of what
comes in stays alive, the work or the memory is taken in numpy, or only with gradients, or only without. It is expected
to be refused where the checks of the part look at such a cost, and only those checks run.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from grader.audit.bench import Bench, Section
from grader.audit.mutants import MutantFile
from grader.audit.promised import Promise, promises
from grader.audit.stale import KINDS as STALE
from grader.audit.wasteful import Around, Most, hoarder, spender, thread, wrap
from grader.judging.pool import Outcome, Variant
from grader.verdicts.result import CheckResult
from grader.verdicts.verdict import Verdict

_ANY: tuple[str, ...] = ()
_WORK = ("flops", "work", "calls")
_MEMORY = ("largest", "peak")
_KEPT = ("kept",)
_KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "thread": (_ANY, "works in a thread that it starts"),
    "hoarder": (_KEPT, "keeps a copy of what comes in"),
    "numpy work": (_WORK, "works in numpy, where no operation is counted"),
    "numpy memory": (_MEMORY, "holds large arrays of numpy"),
    "work with gradients": (_WORK, "does more work where a gradient is asked"),
    "work without gradients": (_WORK, "does more work where no gradient is asked"),
    "memory with gradients": (_MEMORY, "takes more memory where a gradient is asked"),
    "memory without gradients": (_MEMORY, "takes more memory where no gradient is asked"),
}
"""Kind of a twin to the fields of `Cost` that must show it, and what it does."""
_OF_VALUES = ("values", "shape", "dtype", "form", "unread")


class Twin(msgspec.Struct, frozen=True):
    """An answer with the solution's values that breaks a promise of one part."""

    kind: str
    part: str
    variant: Variant


def twins(bench: Bench, known: MutantFile) -> Section:
    """Each twin is refused by a check that looks at what it breaks, or is allowed with a reason."""
    allowed = {(one.twin, one.part) for one in known.allowed if one.twin not in STALE}
    made = [twin for part, promise in promises(bench).items() for twin in _of(bench, part, promise)]
    outcomes = bench.judge([twin.variant for twin in made])
    found, passing = [], set()
    for twin in made:
        outcome = outcomes[twin.variant.name]
        here = f"the twin '{twin.kind}' of '{twin.part}'"
        if outcome.passed:
            passing.add((twin.kind, twin.part))
            if (twin.kind, twin.part) not in allowed:
                found.append(f"{here} passes {', '.join(twin.variant.only)}: it {_KINDS[twin.kind][1]}.")
        elif _is_other(outcome):
            found.append(f"{here} is refused for another reason: {_said(outcome)}")
    stale = sorted(allowed - passing)
    found += [f"[[allowed]] twin = '{kind}' of '{part}' passes no check any more: remove it." for kind, part in stale]
    return found, f"{len(made)} twins, each refused where its cost is promised"


def _of(bench: Bench, part: str, promise: Promise) -> Iterator[Twin]:
    names = bench.exercise.part(part).names
    for kind, (fields, _) in _KINDS.items():
        checks = promise.checks(*fields)
        asks_for = {"with": True, "without": False}.get(kind.split()[1] if " " in kind else "")
        if not checks or (asks_for is not None and asks_for not in promise.modes):
            continue
        most = {check: msgspec.structs.asdict(promise.most[check]) for check in checks}
        text = f"{bench.solution}\n\nfrom grader.audit.twins import derive\n\n"
        text += f"derive(globals(), {kind!r}, {names!r}, {most!r})\n"
        # Ranks count in checks of values too, where nobody looks; the cost itself is held by the last ones.
        order = "file" if promise.has_limits else "reversed"
        yield Twin(kind, part, Variant(f"{kind} of {part}", text, order=order, only=checks, stop_early=True))


def derive(module: dict[str, Any], kind: str, names: list[str], most: dict[str, dict[str, int]]) -> None:
    """Make a twin of the solution whose names `module` holds. most: what the solution takes in each check."""
    wrap(module, list(names), _around(kind, {check: Most(**one) for check, one in most.items()}))


def _around(kind: str, most: dict[str, Most]) -> Around:
    match kind.split():
        case ["thread"]:
            return thread()
        case ["hoarder"]:
            return hoarder()
        case ["numpy", _]:
            return spender(kind, "always", most)
        case [spend, when, _]:
            return spender(spend, when, most)
    raise ValueError(kind)


def _failed(outcome: Outcome) -> CheckResult | None:
    return next((check for check in outcome.checks if check.verdict is not Verdict.PASSED), None)


def _is_other(outcome: Outcome) -> bool:
    """Whether a check has failed that found other values: then the twin shows nothing of its cost."""
    check = _failed(outcome)
    if check is None:
        return True
    return check.verdict in (Verdict.GRADER_ERROR, Verdict.TIMEOUT) or (
        check.finding is not None and check.finding.kind in _OF_VALUES
    )


def _said(outcome: Outcome) -> str:
    check = _failed(outcome)
    return f"{check.id} reads '{check.verdict}': {check.message}" if check else outcome.died
