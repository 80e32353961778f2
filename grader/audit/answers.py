"""What an exercise makes of answers: the stub, the solution, one that withholds, the wrong and the right ones."""

import msgspec

from grader.audit.bench import MUTANT_CHECK_SECONDS, Bench, Section, broken, said
from grader.audit.mutants import MutantFile, apply, spread
from grader.audit.withheld import Withheld
from grader.bank.derived import stub_of
from grader.bank.source import definition, definitions
from grader.base.errors import HouseError
from grader.base.text import nearest
from grader.judging.pool import Outcome, Variant
from grader.verdicts.verdict import QUIET, Verdict

_FEWEST_MUTANTS = 8

_FEWEST_RIGHT = 2


def stub(bench: Bench) -> Section:
    """The stub imports, passes nothing, and every part reads "not started"."""
    text = f"{stub_of(bench.exercise)}\npass\n"  # one statement more: a part that is the stub's own would not be run
    outcome = bench.judge([Variant("stub", text)])["stub"]
    found = [f"on the stub {check.id} {said(check)}" for check in outcome.checks if check.verdict not in QUIET]
    for part, ids in bench.collected.planned.items():
        first = next((check for check in outcome.checks if check.id in ids), None)
        if first and first.verdict is not Verdict.NOT_STARTED:
            found.append(f"the first check of '{part}' reads '{first.verdict}' on the stub, not 'not started'.")
    if outcome.died:
        found.append(f"the stub's checks did not end: {outcome.died}.")
    return found, "passes nothing, every part reads not started"


def solution(bench: Bench, seeds: int) -> Section:
    """The solution passes everything, with every seed, in any order, in less than half the limits."""
    variants = [
        Variant(f"seed {seed}, order {order}", bench.solution, seed=seed, order=order)
        for seed, order in [(0, "file"), (0, "reversed"), *((seed, "shuffled") for seed in range(1, seeds))]
    ]
    found, slowest, total = [], 0.0, 0.0
    slow: dict[str, float] = {}
    limits = bench.exercise.limits
    for name, outcome in bench.judge(variants).items():
        found += [f"with {name} {check.id} {said(check)}" for check in outcome.checks if check.verdict != "passed"]
        if outcome.died or len(outcome.checks) < len(bench.collected.items):
            found.append(
                f"with {name} {len(outcome.checks)} of {len(bench.collected.items)} checks reported. {outcome.died}"
            )
            continue
        total = max(total, sum(check.seconds for check in outcome.checks))
        for check in outcome.checks:
            slowest = max(slowest, check.seconds)
            if check.seconds > limits.check_seconds / 2:
                slow[check.id] = min(check.seconds, slow.get(check.id, check.seconds))
    for id, took in slow.items():
        seconds = min(took, _again(bench, id))
        if seconds > limits.check_seconds / 2:
            found.append(f"{id} takes {seconds:.1f} s, over half its limit of {limits.check_seconds:g} s.")
    if total > limits.exercise_seconds / 2:
        found.append(f"the checks take {total:.0f} s, over half the limit of {limits.exercise_seconds:g} s.")
    times = f"{total:.1f} s, the slowest check {slowest:.1f} s"
    summary = f"passes with {seeds} seed{'s' * (seeds > 1)}, in {len(variants)} orders; {times}"
    return found, summary


def _again(bench: Bench, id: str) -> float:
    """Seconds that a check takes by itself, the better of two: others may have had the processors before."""
    variants = [Variant(f"{id}, time {time}", bench.solution, only=(id,)) for time in (1, 2)]
    return min(sum(check.seconds for check in bench.judge([one])[one.name].checks) for one in variants)


def withheld(bench: Bench, first: int) -> Section:
    """No check passes if one of its first answers is taken away. first: how many of these are tried."""

    def judged(number: int, *, refuse: bool, only: tuple[str, ...] = ()) -> Variant:
        file, text = bench.collected.file, bench.solution
        return Variant(
            f"{number} {refuse}",
            text,
            channel=lambda: Withheld(file.in_process(text), number, refuse=refuse),
            only=only,
        )

    def by_number(variants: list[Variant]) -> dict[int, Outcome]:
        return {int(name.split()[0]): one for name, one in bench.judge(variants).items()}

    taken = by_number([judged(number, refuse=False) for number in range(1, first + 1)])
    passed = {
        number: tuple(check.id for check in one.checks if check.verdict is Verdict.PASSED)
        for number, one in taken.items()
    }
    refused = by_number([judged(number, refuse=True, only=ids) for number, ids in passed.items() if ids])
    found = [f"withholding answer {n}: {one.died}" for n, one in (*taken.items(), *refused.items()) if one.died]
    for number, one in refused.items():
        asks = sorted(check.id for check in one.checks if check.verdict is not Verdict.PASSED)
        found += [f"{id} passes without its answer {number}: it does not look at it." for id in asks]
    return found, f"each check looks at its first {first} answer{'s' * (first > 1)}"


def wrong(bench: Bench, known: MutantFile, limit: int | None = None) -> Section:
    """Each wrong answer of mutants.toml is caught by the check that it names. limit: see `spread`."""
    found, variants = [], []
    where = bench.exercise.checks.parent / "mutants.toml"
    names = {check.split("[")[0] for ids in bench.collected.planned.values() for check in ids}
    if len(known.mutant) < _FEWEST_MUTANTS:
        found.append(f"mutants.toml has {len(known.mutant)} wrong answers; give at least {_FEWEST_MUTANTS}.")
    called = [one.name for one in (*known.mutant, *known.right)]
    found += [f"mutants.toml has two entries named '{name}'." for name in {n for n in called if called.count(n) > 1}]
    for mutant in known.mutant:
        if mutant.caught_by not in names:
            found.append(f"'{mutant.name}': there is no check '{mutant.caught_by}'.{nearest(mutant.caught_by, names)}")
            continue
        try:
            text = apply(bench.solution, mutant, where)
        except HouseError as error:
            found.append(str(error))
            continue
        first = Variant(
            mutant.name, text, first=(mutant.caught_by,), stop_early=True, check_seconds=MUTANT_CHECK_SECONDS
        )
        variants.append(first)
    variants = spread(variants, limit)
    # The named check alone, then, for those that it lets pass, all of them: to say what fails instead.
    outcomes = bench.judge(variants)
    escaped = [v for v in variants if v.first[0] not in _failed(outcomes[v.name])]
    outcomes |= bench.judge([msgspec.structs.replace(v, first=(), stop_early=False) for v in escaped])
    for variant in variants:
        outcome = outcomes[variant.name]
        if variant in escaped:
            failed = dict.fromkeys(_failed(outcome))
            instead = outcome.died or (f"only {', '.join(failed)} fail." if failed else "it passes everything.")
            found.append(f"'{variant.name}' is not caught by {variant.first[0]}: {instead}")
        found += [f"'{variant.name}' breaks the check {bad.id}: {bad.message}" for bad in broken(outcome)[:1]]
    return found, f"{len(variants)} wrong answers, each caught by the check it names"


def _failed(outcome: Outcome) -> list[str]:
    """The names of the checks that did not pass, or that never ended, without their parameters."""
    failed = [check.id for check in outcome.checks if check.verdict is not Verdict.PASSED]
    return [id.split("[")[0] for id in (*failed, outcome.running) if id]


def right(bench: Bench, known: MutantFile, seeds: int, *, whole: bool = True) -> Section:
    """Each right answer that is written differently passes everything.

    Unless whole: passes the checks of the parts that it writes differently, which takes a tenth of the time.
    """
    found = []
    if len(known.right) < _FEWEST_RIGHT:
        found.append(f"mutants.toml has {len(known.right)} right answers written differently; give {_FEWEST_RIGHT}.")
    variants = []
    for right in known.right:
        try:
            text = apply(bench.solution, right, bench.exercise.checks.parent / "mutants.toml")
        except HouseError as error:
            found.append(str(error))
            continue
        only = () if whole else _changed(bench, text)
        variants += [Variant(f"{right.name}, seed {seed}", text, seed=seed, only=only) for seed in range(seeds)]
    for name, outcome in bench.judge(variants).items():
        failed = next((check for check in outcome.checks if check.verdict is not Verdict.PASSED), None)
        if outcome.died or failed:
            why = f"{failed.id} {said(failed)}" if failed else outcome.died
            found.append(f"the right answer '{name}' is refused: {why}")
    where = "" if whole else ", in the parts where they are"
    return found, f"{len(known.right)} right answers written differently{where}, all accepted"


def _changed(bench: Bench, text: str) -> tuple[str, ...]:
    """The parts whose definitions are others than the solution's."""
    known = definitions(text)
    return tuple(
        part.name
        for part in bench.exercise.parts
        if any(name in known and definition(text, name) != definition(bench.solution, name) for name in part.names)
    )
