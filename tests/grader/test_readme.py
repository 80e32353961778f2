"""The README's claims, run: its commands exist, its links lead somewhere, its demonstration is what a learner sees."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from grader.audit.mutants import apply, read_mutants
from grader.bank.catalog import House
from grader.bank.derived import stub_of
from grader.bank.source import read_source
from grader.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")),
)


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """The house as it is handed out: every learner's file is the stub."""
    folder = tmp_path_factory.mktemp("clone")
    for tree in ("exercises", "solutions", "tests"):
        skipped = shutil.ignore_patterns("__pycache__", "grader", "reference")
        shutil.copytree(ROOT / tree, folder / tree, ignore=skipped)
    for name in ("conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder / name)
    house = House(folder)
    for exercise in house.exercises.values():
        exercise.attempt.write_text(stub_of(exercise))
    return house


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_command_exists_with_its_options(document):
    text = (ROOT / document).read_text()
    commands = re.findall(r"`(?:\.venv/bin/)?grader((?: [^`]*)?)`|^(?:\.venv/bin/)?grader( .*)$", text, re.MULTILINE)
    words = [(" ".join(found)).split() for found in commands]
    assert words or document != "README.md", "the README names no command"
    for typed in words:
        if not typed or typed == ["error"]:  # the verdict
            continue
        command = main.commands.get(typed[0])
        assert command, f"{document}: there is no `grader {typed[0]}`"
        if isinstance(command, click.Group):
            command = command.commands.get(typed[1])
            assert command, f"{document}: there is no `grader {typed[0]} {typed[1]}`"
        known = {flag for parameter in command.params if isinstance(parameter, click.Option) for flag in parameter.opts}
        for word in typed[1:]:
            if word.startswith("--"):
                assert word.split("=")[0] in known, f"{document}: `grader {typed[0]}` has no {word}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_link_leads_somewhere(document):
    place = ROOT / document
    links = re.findall(r"\]\(([^)#]+)\)", place.read_text())
    missing = [link for link in links if not link.startswith("http") and not (place.parent / link).exists()]
    assert not missing


def test_the_lines_without_make_are_what_make_does(tmp_path):
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    planned = subprocess.run(["make", "-n", "grade"], cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    typed = re.search(r"Without make:\n\n```\n(.*?)```", README, re.DOTALL)
    assert typed, "the README no longer has its lines without make"
    for line in typed[1].splitlines():
        last = line.replace("pip install", "pip install --quiet --disable-pip-version-check")
        assert last in planned, f"make grade does not run {line!r}"


def test_the_demonstration_is_what_a_learner_sees(clone):
    found = re.search(r"<!-- demo: (.+?) -->\n```\n(.*?)```", README, re.DOTALL)
    assert found, "the README no longer has its demonstration"
    exercise = clone.find("11")
    known = read_mutants(exercise.checks.parent / "mutants.toml")
    mutant = next(one for one in known.mutant if one.name == found[1])
    exercise.attempt.write_text(apply(read_source(exercise.solution), mutant, exercise.checks))
    command = [sys.executable, "-m", "pytest", f"exercises/{exercise.id}", "--no-progress"]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, cwd=clone.root, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    shown = [line for line in done.stdout.splitlines() if "✓" not in line]
    begin = shown.index(found[2].splitlines()[0])
    assert shown[begin : begin + len(found[2].splitlines())] == found[2].splitlines()


def test_the_attacks_are_as_many_as_it_says():
    (said,) = re.findall(r"(\d+) attacks\s+on the grader", README)
    assert int(said) == len(list((ROOT / "tests/grader/attacks").glob("*.py")))


def test_the_readme_stays_short():
    assert len([line for line in README.splitlines() if not line.startswith("| [")]) <= 146  # a row an exercise aside
