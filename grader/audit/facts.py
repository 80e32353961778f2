"""What can be said of an exercise without running it: its facts, its files, how its checks are written."""

import ast
import re
from pathlib import Path

from grader.answering.forbidden import watchable
from grader.audit.bench import Section
from grader.bank.catalog import Exercise, House
from grader.bank.derived import build_exercise
from grader.bank.questions import read_questions
from grader.bank.source import definitions, lines_of, read_source
from grader.bank.standins import names_read
from grader.base.text import nearest
from grader.judging.collected import Collected


def facts(house: House, exercise: Exercise) -> Section:
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
        if not part.why.strip():
            found.append(f"{here} has no `why`: say in two sentences why the reference does it this way.")
        for name in part.forbidden:
            try:
                watchable(name)
            except (AttributeError, ModuleNotFoundError):
                found.append(f"{here}: there is no '{name}' to forbid.")
            except TypeError as error:
                found.append(f"{here}: {error}.")
    found += [f"{where}: {said}" for said in _hidden_predecessors(exercise)]
    found += _questions(exercise)
    names = [part.name for part in exercise.parts]
    found += [f"{where}: two parts are named '{name}'." for name in {n for n in names if names.count(n) > 1}]
    return found, f"{len(exercise.parts)} parts, {exercise.points} points, {exercise.minutes} minutes"


def _questions(exercise: Exercise) -> list[str]:
    """There are interview questions, and the statement shows them. Raises HouseError for a bad questions.toml."""
    where = f"exercises/{exercise.id}"
    found = (
        [] if read_questions(exercise) else [f"{where}/questions.toml asks nothing: give at least one [[question]]."]
    )
    readme = exercise.statement
    text = read_source(readme) if readme.is_file() else ""
    for block, said in (("questions", "the questions"), ("figure", "its figure")):
        wanted = text and (block == "questions" or exercise.pictures)
        if wanted and not re.search(rf"<!-- {block} -->.*<!-- /{block} -->", text, re.DOTALL):
            found.append(f"{where}/README.md has no place for {said}: <!-- {block} --> and <!-- /{block} -->.")
    return found


def _hidden_predecessors(exercise: Exercise) -> list[str]:
    """Parts whose reference uses another part that `after` does not name, so that nothing could stand in for it."""
    if not exercise.solution.is_file():
        return []
    owner = {name: part.name for part in exercise.parts for name in part.names}
    reads = names_read(read_source(exercise.solution))
    found = []
    for part in exercise.parts:
        used = {owner[name] for own in part.names for name in reads.get(own, ()) if name in owner}
        found += [
            f"part '{part.name}' uses '{name}': add that to its `after`."
            for name in sorted(used - {part.name, *exercise.before(part)})
        ]
    return found


def files(house: House, exercise: Exercise) -> Section:
    """All files of an exercise exist, there are no others, and the built ones are current."""
    found = []
    drawn = {"pictures.py", "figure.svg"} if exercise.pictures else set()
    if exercise.drills.is_file():
        drawn.add(exercise.drills.name)
    expected = {
        house.root / "exercises" / exercise.id: {
            "README.md", "exercise.toml", "questions.toml", f"{exercise.stem}.py", "test_examples.py", *drawn,
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
                found.append(f"{file.path.relative_to(house.root)} is not current: run `grader dev build`.")
    return found, "complete and current"


def _todos(path: Path, shown: str) -> list[str]:
    """What `grader dev new` left for an author to fill in."""
    lines = lines_of(read_source(path))
    return [f"{shown}:{i} still says TODO." for i, line in enumerate(lines, 1) if "TODO" in line]


def checks(exercise: Exercise, collected: Collected) -> Section:
    """Each part has checks, each check states its property in a sentence, and no check runs torch at import."""
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
