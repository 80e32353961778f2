"""What stands around the package: the workflows, the hooks before a commit, the version, the types."""

import re
import subprocess
import tomllib
from collections import Counter
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import grader
from grader.bank.catalog import find_house
from grader.classroom.release import write_release

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CI = ROOT / ".github" / "workflows" / "ci.yml"
HOOKS = ROOT / ".pre-commit-config.yaml"


def planned(target):
    """The command lines of a make target, nothing run."""
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.parametrize("path", [CI, HOOKS, ROOT / "docs/examples/github-classroom.yml"], ids=lambda path: path.name)
def test_it_is_valid_yaml_and_names_no_registry(path):
    assert yaml.safe_load(path.read_text())
    assert "://" not in path.read_text()


def test_ci_runs_on_every_python_and_system_that_is_promised():
    matrix = yaml.safe_load(CI.read_text())["jobs"]["test"]["strategy"]["matrix"]
    promised = PROJECT["project"]["requires-python"]
    assert promised == f">={matrix['python'][0]},<3.{int(matrix['python'][-1].split('.')[1]) + 1}"
    assert matrix["os"] == ["ubuntu-latest", "macos-latest"]


def test_ci_installs_as_make_does_and_runs_its_targets():
    steps = yaml.safe_load(CI.read_text())["jobs"]["test"]["steps"]
    lines = [line for step in steps for line in step.get("run", "").splitlines()]
    made = planned("test").replace(" --quiet --disable-pip-version-check", "")
    assert [line for line in lines if " pip " in line or "/pip " in line], "nothing is installed"
    for line in lines:
        if "/pip " in line:
            assert line in made, f"make test does not run {line!r}"
        elif line.startswith("make "):
            planned(line.split()[1])


def test_hooks_run_what_make_lint_runs():
    [repository] = yaml.safe_load(HOOKS.read_text())["repos"]
    assert repository["repo"] == "local"
    lint = planned("lint")
    for hook in repository["hooks"]:
        assert hook["language"] == "system"
        assert hook["entry"].removesuffix(" --force-exclude") in lint, f"make lint does not run {hook['entry']!r}"


def test_the_version_stands_in_one_place(tmp_path):
    assert "version" not in PROJECT["project"]
    assert version("dl-kata") == grader.__version__, "install again: make grade"
    house = find_house()
    write_release(tmp_path / "student", house, [house.find("13")])
    student = tomllib.loads((tmp_path / "student" / "pyproject.toml").read_text())
    assert student["project"]["version"] == grader.__version__


def test_the_package_says_that_it_has_types():
    assert (ROOT / "grader" / "py.typed").is_file()
    assert "py.typed" in PROJECT["tool"]["setuptools"]["package-data"]["grader"]


def test_contributing_shows_the_rooms_that_there_are():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    picture = text.partition("in this picture.")[2].partition("```")[2].partition("```")[0]
    shown = re.findall(r"^ (\w+) ", picture, re.MULTILINE)
    rooms = [path.parent.name for path in (ROOT / "grader").glob("*/__init__.py")]
    assert sorted(shown) == sorted(rooms)


def test_no_two_files_of_tests_share_a_name():
    """Their folders hold no `__init__.py`: in a whole run, pytest cannot collect the second of a name."""
    kept = subprocess.run(["git", "ls-files", "tests"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [Path(path).name for path in kept.splitlines() if "/house/" not in path and Path(path).match("test_*.py")]
    assert len(names) > 100
    assert [name for name, count in Counter(names).items() if count > 1] == []
