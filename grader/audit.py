"""Proof that an exercise is healthy: its stub, its solution, its wrong and right answers, its facts.

A finding is a sentence that says what is wrong, where, and what to do.
"""

import ast
import doctest
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import msgspec

from grader.build import build_exercise, stub_of
from grader.catalog import Exercise, House, HouseError, nearest
from grader.fair import processors
from grader.forbidden import resolve
from grader.misread import UNREAD
from grader.mutants import Generated, MutantFile, apply, generate, read_mutants
from grader.result import CheckResult, Verdict
from grader.source import definitions, lines_of, read_source
from grader.sweep import Collected, Outcome, Variant, judge, sweep

_FEWEST_MUTANTS = 8
_FEWEST_RIGHT = 2
_RIGHT_SEEDS = 2
_SCORE = 0.98
_WITHHELD = 3
_MUTANT_CHECK_SECONDS = 3.0
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

    @property
    def score(self) -> float:
        """Generated mutants killed, of those not shown equivalent."""
        counted = self.generated - self.equivalent
        return self.killed / counted if counted else 1.0


def audit(
    house: House,
    exercise: Exercise,
    *,
    seeds: int = 3,
    mutants: int | None = None,
    jobs: int | None = None,
    say: Say = print,
) -> Report:
    """Audit one exercise. mutants: how many generated ones to try, None for all. Raises RunError, HouseError."""
    report = Report(exercise.id)

    def section(name: str, findings: list[str], summary: str) -> None:
        report.findings += findings
        say(f"  {'✗' if findings else '✓'} {name:<10} {summary}")
        for finding in findings:
            say("      " + finding.replace("\n", "\n      "))

    say(f"{exercise.id}")
    _parses(house, exercise.solution)
    section("facts", *_facts(house, exercise))
    section("files", *_files(house, exercise))
    if any("is missing" in finding for finding in report.findings):
        return report

    def work(collected: Collected) -> None:
        bench = _Bench(exercise, collected, jobs or len(processors()))
        section("checks", *_checks(exercise, collected))
        section("stub", *_stub(bench))
        section("solution", *_solution(bench, seeds))
        section("answers", *_answers(bench))
        section("examples", *_examples(exercise))
        known = read_mutants(exercise.checks.parent / "mutants.toml")
        section("wrong", *_wrong(bench, known))
        section("right", *_right(bench, known, min(seeds, _RIGHT_SEEDS)))
        if mutants != 0:
            section("generated", *_generated(bench, known, mutants, report, say))

    sweep(house, exercise, work)
    return report


def _parses(house: House, path: Path) -> None:
    try:
        ast.parse(read_source(path))
    except FileNotFoundError:
        pass  # a finding of its own
    except (SyntaxError, UnicodeDecodeError) as error:
        raise HouseError(f"{path.relative_to(house.root)} is not valid Python: {error}.") from None


class _Bench(msgspec.Struct):
    """An exercise's checks, ready to judge variants of its solution."""

    exercise: Exercise
    collected: Collected
    jobs: int

    def judge(self, variants: list[Variant]) -> dict[str, Outcome]:
        deadline = self.exercise.limits.exercise_seconds
        return {
            outcome.variant.name: outcome
            for outcome in judge(self.collected, variants, jobs=self.jobs, deadline=deadline)
        }

    @property
    def solution(self) -> str:
        return read_source(self.exercise.solution)


Section = tuple[list[str], str]


def _facts(house: House, exercise: Exercise) -> Section:
    """exercise.toml against itself, the solution and the coverage table."""
    found = []
    where = f"exercises/{exercise.id}/exercise.toml"
    if exercise.points != 100:
        found.append(f"{where}: the points of the parts add up to {exercise.points}, not 100.")
    if house.task(exercise) is None:
        found.append(f"exercises/coverage.toml has no [[task]] for {exercise.id}: add one.")
    topics = house.coverage.topics
    defined = definitions(read_source(exercise.solution)) if exercise.solution.is_file() else {}
    for part in exercise.parts:
        here = f"{where}: part '{part.name}'"
        found += [f"{here}: no topic '{t}'.{nearest(t, topics)}" for t in part.topics if t not in topics]
        found += [
            f"{here}: the solution defines no '{n}'.{nearest(n, defined)}" for n in part.names if n not in defined
        ]
        if not part.topics:
            found.append(f"{here} covers no topic.")
        if len(part.hints) != 3:
            found.append(f"{here} has {len(part.hints)} hints; give three, from a nudge to nearly the answer.")
        for name in part.forbidden:
            try:
                resolve(name)
            except (AttributeError, ModuleNotFoundError):
                found.append(f"{here}: there is no '{name}' to forbid.")
    names = [part.name for part in exercise.parts]
    found += [f"{where}: two parts are named '{name}'." for name in {n for n in names if names.count(n) > 1}]
    return found, f"{len(exercise.parts)} parts, {exercise.points} points, {exercise.minutes} minutes"


def _files(house: House, exercise: Exercise) -> Section:
    """Everything is there, nothing else is, and what is built is current."""
    found = []
    expected = {
        house.root / "exercises" / exercise.id: {
            "README.md", "exercise.toml", f"{exercise.stem}.py", "test_examples.py",
        },
        house.root / "solutions" / exercise.id: {f"{exercise.stem}.py"},
        house.root / "tests" / exercise.id: {f"test_{exercise.stem}.py", "drivers.py", "mutants.toml"},
    }  # fmt: skip
    for folder, names in expected.items():
        there = {path.name for path in folder.iterdir() if path.name != "__pycache__"} if folder.is_dir() else set()
        shown = folder.relative_to(house.root)
        found += [f"{shown}/{name} is missing." for name in sorted(names - there)]
        found += [f"{shown}/{name} belongs to no exercise: remove it." for name in sorted(there - names)]
        for name in sorted(names & there):
            if folder / name == exercise.attempt:
                continue  # its TODOs are the learner's
            found += _todos(folder / name, f"{shown}/{name}")
    if exercise.solution.is_file():
        for file in build_exercise(house, exercise):
            if not file.current and file.path.is_file():
                found.append(f"{file.path.relative_to(house.root)} is not current: run `grader build`.")
    return found, "complete and current"


def _todos(path: Path, shown: str) -> list[str]:
    """What `grader new` left for an author to fill in."""
    lines = lines_of(read_source(path))
    return [f"{shown}:{i} still says TODO." for i, line in enumerate(lines, 1) if "TODO" in line]


def _checks(exercise: Exercise, collected: Collected) -> Section:
    """Each part has checks; each check can be read by a learner; nothing runs at import."""
    found = [f"part '{name}' has no check." for name, ids in collected.planned.items() if not ids]
    for item in collected.items:
        if not (item.obj.__doc__ or "").strip():
            found.append(f"{item.name} has no docstring: state the property in one sentence.")
    for path in (exercise.checks, exercise.checks.parent / "drivers.py"):
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.Assert) and node.msg is None:
                found.append(f"{path.name}:{node.lineno}: an assert without a sentence tells a learner nothing.")
        for node in _at_import(tree):
            if _root(node.func) == "torch":
                found.append(f"{path.name}:{node.lineno}: runs torch at import; processes that fork may then hang.")
    found = list(dict.fromkeys(found))
    return found, f"{len(collected.items)} checks, {min(map(len, collected.planned.values()))} or more a part"


def _stub(bench: _Bench) -> Section:
    """The stub imports, passes nothing, and every part reads "not started"."""
    text = f"{stub_of(bench.exercise)}\npass\n"  # one statement more: a part that is the stub's own would not be run
    outcome = bench.judge([Variant("stub", text)])["stub"]
    found = [f"on the stub {check.id} {_said(check)}" for check in outcome.checks if not _idle(check)]
    for part, ids in bench.collected.planned.items():
        first = next((check for check in outcome.checks if check.id in ids), None)
        if first and first.verdict is not Verdict.NOT_STARTED:
            found.append(f"the first check of '{part}' reads '{first.verdict}' on the stub, not 'not started'.")
    if outcome.died:
        found.append(f"the stub's checks did not end: {outcome.died}.")
    return found, "passes nothing, every part reads not started"


def _solution(bench: _Bench, seeds: int) -> Section:
    """The solution passes everything, with every seed, in any order, in less than half the limits."""
    variants = [
        Variant(f"seed {seed}, order {order}", bench.solution, seed=seed, order=order)
        for seed, order in [(0, "file"), (0, "reversed"), *((seed, "shuffled") for seed in range(1, seeds))]
    ]
    found, slowest, total = [], 0.0, 0.0
    limits = bench.exercise.limits
    for name, outcome in bench.judge(variants).items():
        found += [f"with {name} {check.id} {_said(check)}" for check in outcome.checks if check.verdict != "passed"]
        if outcome.died or len(outcome.checks) < len(bench.collected.items):
            found.append(
                f"with {name} {len(outcome.checks)} of {len(bench.collected.items)} checks reported. {outcome.died}"
            )
            continue
        slow = max(outcome.checks, key=lambda check: check.seconds)
        slowest, total = max(slowest, slow.seconds), max(total, sum(check.seconds for check in outcome.checks))
        if slow.seconds > limits.check_seconds / 2:
            found.append(f"{slow.id} takes {slow.seconds:.1f} s, over half its limit of {limits.check_seconds:g} s.")
    if total > limits.exercise_seconds / 2:
        found.append(f"the checks take {total:.0f} s, over half the limit of {limits.exercise_seconds:g} s.")
    times = f"{total:.1f} s, the slowest check {slowest:.1f} s"
    summary = f"passes with {seeds} seed{'s' * (seeds > 1)}, in {len(variants)} orders; {times}"
    return found, summary


def _examples(exercise: Exercise) -> Section:
    """Each part has a doctest that runs on the solution, and so do the visible examples."""
    from grader.load import load_source

    found = []
    text = read_source(exercise.solution)
    read, write = os.pipe()
    if os.fork() == 0:  # this process must run no torch operation
        try:
            import torch

            torch.set_num_threads(1)
            module = load_source(text, exercise.solution, f"doctest.{exercise.id}")
            os.write(write, msgspec.json.encode(_doctests(exercise, module))[: 1 << 16])
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        data = pipe.read()
    os.wait()
    found += msgspec.json.decode(data, type=list[str]) if data else ["the solution's doctests crashed."]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"{exercise.stem}.py").write_text(text)
        Path(folder, "test_examples.py").write_text((exercise.attempt.parent / "test_examples.py").read_text())
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", folder, folder]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        if done.returncode:
            found.append(f"test_examples.py fails on the solution:\n{done.stdout.strip()[-1500:]}")
    return found, "doctests of every part and the visible examples run on the solution"


def _doctests(exercise: Exercise, module: ModuleType) -> list[str]:
    found = []
    tests = {test.name: test for test in doctest.DocTestFinder().find(module, "m", globs=dict(vars(module)))}
    for part in exercise.parts:
        for name in part.names:
            own = [test for key, test in tests.items() if key == f"m.{name}" or key.startswith(f"m.{name}.")]
            if not any(test.examples for test in own):
                found.append(f"'{name}' has no doctest.")
    for test in tests.values():
        said = io.StringIO()
        runner = doctest.DocTestRunner(verbose=False)
        runner.run(test, out=said.write)
        if runner.failures:
            found.append(f"a doctest of {test.name.removeprefix('m.')} fails:\n{said.getvalue().strip()[:1000]}")
    return found


def _answers(bench: _Bench) -> Section:
    """No check passes where one of its first answers is withheld."""
    from grader.withheld import Withheld

    def variant(number: int, *, refuse: bool) -> Variant:
        file, text = bench.collected.file, bench.solution
        return Variant(
            f"{number} {refuse}", text, channel=lambda: Withheld(file.in_process(text), number, refuse=refuse)
        )

    numbers = range(1, _WITHHELD + 1)
    outcomes = bench.judge([variant(number, refuse=refuse) for number in numbers for refuse in (True, False)])
    found = [f"withholding answer {name.split()[0]}: {one.died}" for name, one in outcomes.items() if one.died]
    for number in numbers:
        asks, passes = (
            {check.id for check in outcomes[f"{number} {refuse}"].checks if (check.verdict is Verdict.PASSED) != refuse}
            for refuse in (True, False)
        )
        found += [f"{id} passes without its answer {number}: it does not look at it." for id in sorted(asks & passes)]
    return found, f"each check looks at its first {_WITHHELD} answers"


def _wrong(bench: _Bench, known: MutantFile) -> Section:
    """Each wrong answer of mutants.toml is caught by the check that it names."""
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
        first = Variant(mutant.name, text, order=mutant.caught_by, stop_early=True, check_seconds=_MUTANT_CHECK_SECONDS)
        variants.append(first)
    # The named check alone, then, for those that it lets pass, all of them: to say what fails instead.
    outcomes = bench.judge(variants)
    escaped = [v for v in variants if v.order not in _failed(outcomes[v.name])]
    outcomes |= bench.judge([msgspec.structs.replace(v, order="file", stop_early=False) for v in escaped])
    for variant in variants:
        outcome = outcomes[variant.name]
        if variant in escaped:
            failed = dict.fromkeys(_failed(outcome))
            instead = outcome.died or (f"only {', '.join(failed)} fail." if failed else "it passes everything.")
            found.append(f"'{variant.name}' is not caught by {variant.order}: {instead}")
        found += [f"'{variant.name}' breaks the check {bad.id}: {bad.message}" for bad in _broken(outcome)[:1]]
    return found, f"{len(variants)} wrong answers, each caught by the check it names"


def _failed(outcome: Outcome) -> list[str]:
    """The names of the checks that did not pass, or that never ended, without their parameters."""
    failed = [check.id for check in outcome.checks if check.verdict is not Verdict.PASSED]
    return [id.split("[")[0] for id in (*failed, outcome.running) if id]


def _broken(outcome: Outcome) -> list[CheckResult]:
    """The checks that failed themselves, and those that stumbled over an answer and have no sentence for it."""
    return [check for check in outcome.checks if check.verdict is Verdict.GRADER_ERROR or UNREAD in check.message]


def _right(bench: _Bench, known: MutantFile, seeds: int) -> Section:
    """Each right answer that is written differently passes everything."""
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
        variants += [Variant(f"{right.name}, seed {seed}", text, seed=seed) for seed in range(seeds)]
    for name, outcome in bench.judge(variants).items():
        failed = next((check for check in outcome.checks if check.verdict is not Verdict.PASSED), None)
        if outcome.died or failed:
            said = f"{failed.id} {_said(failed)}" if failed else outcome.died
            found.append(f"the right answer '{name}' is refused: {said}")
    return found, f"{len(known.right)} right answers written differently, all accepted"


def _generated(bench: _Bench, known: MutantFile, limit: int | None, report: Report, say: Say) -> Section:
    """The mutants that cosmic-ray's operators make of the marked regions are killed, or listed as equivalent."""
    made = list(generate(bench.exercise.solution))
    if limit is not None and limit < len(made):
        made = [made[i * len(made) // limit] for i in range(limit)]  # spread over the file, the same each time
    equal = [one for one in made if any(one.is_(entry) for entry in known.equivalent)]
    tried = {str(i): one for i, one in enumerate(made) if one not in equal}
    variants = [
        Variant(key, one.text, order=one.part, stop_early=True, check_seconds=_MUTANT_CHECK_SECONDS)
        for key, one in tried.items()
    ]
    survivors, broken, began = [], dict[str, str](), time.monotonic()
    terminal = sys.stderr.isatty()
    judged = judge(bench.collected, variants, jobs=bench.jobs, deadline=bench.exercise.limits.exercise_seconds)
    for done, outcome in enumerate(judged, 1):
        if terminal:
            left = (time.monotonic() - began) / done * (len(variants) - done)
            sys.stderr.write(f"\r\x1b[K  {done} of {len(variants)} generated mutants, {left:.0f} s left\r")
        if outcome.passed:
            survivors.append(tried[outcome.variant.name])
        for bad in _broken(outcome):
            at = tried[outcome.variant.name].line
            broken[outcome.variant.name] = f"the mutant of line {at} breaks the check {bad.id}: {bad.message}"
    if terminal:
        sys.stderr.write("\r\x1b[K")
    report.generated, report.equivalent = len(made), len(equal)
    report.killed = len(variants) - len(survivors) - len(broken)
    summary = (
        f"{report.killed} of {len(variants)} generated mutants killed ({report.score:.1%}), {len(equal)} equivalent"
    )
    listed = [_survivor(bench.exercise, one) for one in sorted(survivors, key=lambda one: one.line)]
    if limit is None:
        used = [entry for entry in known.equivalent if any(one.is_(entry) for one in made)]
        stale = [
            f"[[equivalent]] {e.before!r} as {e.after!r} matches no generated mutant: remove it."
            for e in known.equivalent
            if e not in used
        ]
    else:
        stale = []
    if report.score >= _SCORE:
        for line in listed:
            say("      survives: " + line.replace("\n", "\n      "))
        listed = []
    return [*stale, *broken.values(), *listed], summary


def _survivor(exercise: Exercise, one: Generated) -> str:
    return f"solutions/{exercise.id}/{exercise.stem}.py:{one.line} no check notices\n  - {one.before}\n  + {one.after}"


def _said(check: CheckResult) -> str:
    return f"reads '{check.verdict}': {check.message}"


def _idle(check: CheckResult) -> bool:
    return check.verdict in (Verdict.NOT_STARTED, Verdict.WAITING)


def _at_import(tree: ast.Module) -> list[ast.Call]:
    """The calls that run when a module is imported: outside of functions, and in decorators and defaults."""
    calls: list[ast.Call] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for inner in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)):
                visit(inner)
            return
        if isinstance(node, ast.Lambda):
            return
        if isinstance(node, ast.Call):
            calls.append(node)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(tree)
    return calls


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
