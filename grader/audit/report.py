"""Proof that an exercise is healthy: its stub, its solution, its wrong and right answers, its facts."""

import ast
from collections.abc import Callable
from pathlib import Path

import msgspec

from grader.answering.forbidden import get_ready
from grader.audit import answers, facts
from grader.audit.bench import Bench
from grader.audit.drills import SAMPLE as DRILL_SAMPLE
from grader.audit.drills import SEEDS as DRILL_SEEDS
from grader.audit.drills import look_alone as drills_alone
from grader.audit.examples import examples
from grader.audit.generated import try_mutants
from grader.audit.knowns import knowns
from grader.audit.mutants import read_mutants
from grader.audit.pictures import pictures
from grader.audit.spoiled import spoiled
from grader.audit.stale import stale
from grader.audit.stated import stated
from grader.audit.twins import twins
from grader.bank.catalog import Exercise, House
from grader.bank.source import read_source
from grader.base.errors import HouseError
from grader.base.fair import processors
from grader.judging.collected import collect_checks

_RIGHT_SEEDS = 2
_WITHHELD = 3
Say = Callable[[str], None]


class Report(msgspec.Struct):
    """What an audit found."""

    exercise: str
    findings: list[str] = []
    generated: int = 0
    killed: int = 0
    equivalent: int = 0

    @property
    def healthy(self) -> bool:
        return not self.findings


def audit(
    house: House,
    exercise: Exercise,
    *,
    seeds: int = 3,
    mutants: int | None = None,
    wrong: int | None = None,
    jobs: int | None = None,
    say: Say = print,
) -> Report:
    """Audit one exercise. Raises RunError, HouseError.

    mutants, wrong: how many to try of the generated ones and of the wrong answers written down; None for all.
    """
    report = Report(exercise.id)

    def section(name: str, findings: list[str], summary: str) -> None:
        report.findings += findings
        say(f"  {'✗' if findings else '✓'} {name:<10} {summary}")
        for finding in findings:
            say("      " + finding.replace("\n", "\n      "))

    say(f"{exercise.id}")
    _parses(house, exercise.solution)
    section("facts", *facts.facts(house, exercise))
    section("files", *facts.files(house, exercise))
    if any("is missing" in finding for finding in report.findings):
        return report

    bench = Bench(exercise, collect_checks(house, exercise), jobs or len(processors()))
    get_ready(*exercise.watches)  # once, not in the process of each answer
    section("checks", *facts.checks(exercise, bench.collected))
    section("stub", *answers.stub(bench))
    section("solution", *answers.solution(bench, seeds))
    section("answers", *answers.withheld(bench, min(seeds, _WITHHELD)))
    section("mistakes", *knowns(bench))
    section("stated", *stated(bench))
    section("examples", *examples(exercise))
    if exercise.pictures:
        section("pictures", *pictures(exercise))
    if exercise.drills.is_file():
        section("drills", *drills_alone(exercise, DRILL_SEEDS if mutants is None else DRILL_SAMPLE))
    known = read_mutants(exercise.checks.parent / "mutants.toml")
    section("wrong", *answers.wrong(bench, known, wrong))
    section("spoiled", *spoiled(bench, wrong))
    section("stale", *stale(bench, known, wrong))
    section("right", *answers.right(bench, known, min(seeds, _RIGHT_SEEDS), whole=wrong is None))
    section("twins", *twins(bench, known))
    if mutants != 0:
        found = try_mutants(bench, known, mutants, say)
        report.generated, report.killed, report.equivalent = found.made, found.killed, found.equivalent
        section("generated", found.findings, found.summary)
    return report


def _parses(house: House, path: Path) -> None:
    try:
        ast.parse(read_source(path))
    except FileNotFoundError:
        pass  # a finding of its own
    except (SyntaxError, UnicodeDecodeError) as error:
        raise HouseError(f"{path.relative_to(house.root)} is not valid Python: {error}.") from None
