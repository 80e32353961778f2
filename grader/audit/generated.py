"""The mutants that cosmic-ray's operators make of a solution: every one is killed, or listed as equivalent."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from grader.audit.bench import MUTANT_CHECK_SECONDS, Bench, broken
from grader.audit.mutants import Equivalent, MutantFile, bare, compiles, spread
from grader.bank.catalog import Exercise
from grader.bank.source import holder, read_source, regions
from grader.base.bar import Bar
from grader.judging.pool import Variant, judge

_SCORE = 0.98
"""The least share of the generated mutants that must be killed, of those not equivalent."""


class Generated(msgspec.Struct, frozen=True):
    """One change that an operator of cosmic-ray makes to one line of a solution."""

    text: str
    line: int
    before: str
    after: str
    part: str

    def is_(self, known: Equivalent) -> bool:
        return bare(known.before) == bare(self.before) and bare(known.after) == bare(self.after)


# cosmic-ray replaces each operator by every other one. Shifts and bit operators die of a TypeError on floats and only
# flatter the score; `is` for `==` asks about Python's cache of small integers.
_BINARY = {
    "Add": ("Sub", "Mul"),
    "Sub": ("Add", "Mul"),
    "Mul": ("Add", "Div", "FloorDiv"),
    "Div": ("Mul", "FloorDiv", "Add"),
    "FloorDiv": ("Mul", "Div", "Mod"),
    "Mod": ("Mul", "FloorDiv", "Add"),
    "Pow": ("Mul", "Add", "Div"),
    "BitAnd": ("BitOr", "BitXor"),
    "BitOr": ("BitAnd", "BitXor"),
    "BitXor": ("BitAnd", "BitOr"),
    "LShift": ("RShift", "Mul"),
    "RShift": ("LShift", "FloorDiv"),
}

_LEFT_OUT = ("ReplaceBinaryOperator", "VariableReplacer", "VariableInserter", "RemoveDecorator")


def generate(solution: Path, limit: int | None = None) -> Iterator[Generated]:
    """The mutants of the marked regions of a solution, in the order of its lines; equal ones once.

    limit: see `spread`.
    """
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    text = read_source(solution)
    tree, marked, lines = get_ast(text), regions(text), text.splitlines()
    places = []
    for name in _operators():
        operator = get_operator(name)()
        count = 0
        for node in ast_nodes(tree):
            for start, _ in operator.mutation_positions(node):
                if any(begin < start[0] < end for begin, end in marked):
                    places.append((start[0], name, count))
                count += 1
    seen = set()
    for line, name, occurrence in spread(sorted(places), limit):
        mutated = mutate_code(text, get_operator(name)(), occurrence)
        if mutated is None or mutated in seen or not compiles(mutated):
            continue
        seen.add(mutated)
        changed = mutated.splitlines()
        # An operator may join or split lines: show all from the first to the last one that differ.
        first = next(i for i, (a, b) in enumerate(zip(lines, changed, strict=False)) if a != b)
        rest = next(i for i, (a, b) in enumerate(zip(lines[::-1], changed[::-1], strict=False)) if a != b)
        before = "\n".join(lines[first : len(lines) - rest]).strip()
        after = "\n".join(changed[first : len(changed) - rest]).strip()
        yield Generated(mutated, line, before, after, holder(text, line).split(".")[0])


def _operators() -> list[str]:
    from cosmic_ray.plugins import operator_names

    chosen = [name for name in operator_names() if not any(left in name for left in _LEFT_OUT) and not _mixes(name)]
    return chosen + [f"core/ReplaceBinaryOperator_{old}_{new}" for old, news in _BINARY.items() for new in news]


def _mixes(name: str) -> bool:
    """Whether an operator turns equality or order into identity, or the other way."""
    found = re.fullmatch(r"core/ReplaceComparisonOperator_(\w+)_(\w+)", name)
    return found is not None and (found[1] in ("Is", "IsNot")) != (found[2] in ("Is", "IsNot"))


class Tried(msgspec.Struct):
    """What became of the generated mutants."""

    made: int
    killed: int
    equivalent: int
    findings: list[str]

    @property
    def score(self) -> float:
        """Killed, of those not shown equivalent."""
        counted = self.made - self.equivalent
        return self.killed / counted if counted else 1.0

    @property
    def summary(self) -> str:
        counted = self.made - self.equivalent
        return f"{self.killed} of {counted} generated mutants killed ({self.score:.1%}), {self.equivalent} equivalent"


def try_mutants(bench: Bench, known: MutantFile, limit: int | None, say: Callable[[str], None]) -> Tried:
    """Judge the mutants of the marked regions, at most `limit` of them."""
    made = list(generate(bench.exercise.solution, limit))
    equal = [one for one in made if any(one.is_(entry) for entry in known.equivalent)]
    survivors, faults = _judged(bench, [one for one in made if one not in equal])
    tried = Tried(len(made), len(made) - len(equal) - len(survivors) - len(faults), len(equal), [])
    listed = [_survivor(bench.exercise, one) for one in sorted(survivors, key=lambda one: one.line)]
    if tried.score >= _SCORE:
        for line in listed:
            say("      survives: " + line.replace("\n", "\n      "))
        listed = []
    stale = _stale(known, made) if limit is None else []
    tried.findings = [*stale, *faults, *listed]
    return tried


def _judged(bench: Bench, mutants: Sequence[Generated]) -> tuple[list[Generated], list[str]]:
    """The mutants that no check notices, and a sentence for each that breaks a check itself."""
    variants = [
        Variant(str(i), one.text, first=(one.part,), stop_early=True, check_seconds=MUTANT_CHECK_SECONDS)
        for i, one in enumerate(mutants)
    ]
    survivors, faults = [], dict[str, str]()
    judged = judge(bench.collected, variants, jobs=bench.jobs, deadline=bench.exercise.limits.exercise_seconds)
    bar = Bar("generated mutants")
    for done, outcome in enumerate(judged, 1):
        bar.show(done, len(variants), bench.exercise.id)
        mutant = mutants[int(outcome.variant.name)]
        if outcome.passed:
            survivors.append(mutant)
        for bad in broken(outcome):
            said = f"the mutant of line {mutant.line} breaks the check {bad.id}: {bad.message}"
            faults[outcome.variant.name] = said
    return survivors, list(faults.values())


def _stale(known: MutantFile, made: Sequence[Generated]) -> list[str]:
    """A sentence for each entry of [[equivalent]] that is no mutant any more."""
    return [
        f"[[equivalent]] {entry.before!r} as {entry.after!r} matches no generated mutant: remove it."
        for entry in known.equivalent
        if not any(one.is_(entry) for one in made)
    ]


def _survivor(exercise: Exercise, one: Generated) -> str:
    return f"solutions/{exercise.id}/{exercise.stem}.py:{one.line} no check notices\n  - {one.before}\n  + {one.after}"
