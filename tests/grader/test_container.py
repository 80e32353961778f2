"""The Dockerfile, the devcontainer and the table of levels, as far as they can be tried without an engine."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from contained import CAPABILITIES
from shared import PATIENCE

from conftest import HERE, environment
from grader.engine import cage
from grader.engine.cage import Level

ROOT = HERE.parents[1]
LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
INSTRUCTIONS = [tuple(line.split(maxsplit=1)) for line in LINES if line and not line.startswith("#")]
ONE, OTHER = "seccomp=unconfined", "systempaths=unconfined"


def of(word):
    return [rest for name, rest in INSTRUCTIONS if name == word]


def is_sent(path):
    """Whether a file is sent to the build: the last line of .dockerignore that fits it says so."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().split():
        pattern = line.removeprefix("!")
        if pattern.startswith("**/"):
            fits = pattern[3:] in path.split("/")
        else:
            fits = any(fnmatch("/".join(path.split("/")[: n + 1]), pattern) for n in range(path.count("/") + 1))
        if fits:
            sent = line.startswith("!")
    return sent


def test_it_is_built_as_the_readme_says():
    known = {"FROM", "RUN", "ARG", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in INSTRUCTIONS} == known
    runs = [" ".join(line.split()).replace(" --no-cache-dir", "") for line in of("RUN")]
    readme = [line for line in (ROOT / "README.md").read_text().splitlines() if " venv " in line or "/pip " in line]
    assert readme[:3] == [line for line in runs if "venv" in line]
    assert "://" not in "".join(LINES), "no registry has its address here"
    python = re.fullmatch(r"python:3\.(\d+)-slim AS learner", of("FROM")[0])
    assert 11 <= int(python[1]) <= 13
    assert of("USER") == ["katas"]
    assert "useradd --create-home katas" in runs, "it is graded by an ordinary user"
    assert json.loads(of("ENTRYPOINT")[0]) == [f"{of('WORKDIR')[0]}/.venv/bin/grader"]


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """The files that the image holds, laid as its instructions say."""
    folder = tmp_path_factory.mktemp("image") / "katas"
    kept = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    for line in of("COPY"):
        *sources, to = line.split()
        for source in sources:
            files = [path for path in kept if (path == source or path.startswith(f"{source}/")) and is_sent(path)]
            assert files, f"COPY {source}: there is no such file"
            for path in files:
                place = folder / to / path.removeprefix(f"{source}/") if path != source else folder / to / source
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / path, place)
    return folder


def test_what_is_copied_is_enough_to_grade_and_no_more(image, tmp_path):
    id = "dl_011_kv_cache"
    there = tmp_path / "submitted" / "ann" / id
    there.mkdir(parents=True)
    shutil.copy(ROOT / "solutions" / id / "kv_cache.py", there)
    command, env = [sys.executable, "-m", "grader"], environment(PYTHONPATH=str(image))
    done = subprocess.run(
        [*command, "grade", "submitted", "--out", "results"], cwd=tmp_path, env=env, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (tmp_path / "results" / "results.jsonl").read_text().splitlines()
    assert json.loads(line)["score"] == 100
    assert {path.name for path in image.iterdir() if path.name[0] not in "._"} == {
        "constraints.txt", "pyproject.toml", "README.md", "LICENSE", "conftest.py", "grader", "exercises", "solutions",
        "tests",
    }  # fmt: skip
    assert not [name for name in ("grader", "browser", "reference") if (image / "tests" / name).exists()]


def test_a_devcontainer_is_the_learner_s_part_of_it():
    said = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    keys = {"name", "build", "remoteUser", "postCreateCommand", "customizations"}
    assert set(said) == keys, "as the format's schema names them"
    place = ROOT / ".devcontainer" / said["build"]["dockerfile"]
    assert place.resolve() == ROOT / "Dockerfile"
    assert (ROOT / ".devcontainer" / said["build"]["context"]).resolve() == ROOT
    assert said["build"]["target"] == of("FROM")[0].split()[-1]
    first = LINES[: LINES.index(next(line for line in LINES if line.endswith("AS grader")))]
    assert any(f"useradd --create-home {said['remoteUser']}" in line for line in first)
    assert any(re.search(r"\bgit\b.*\bmake\b", line) for line in first), "which make grade needs"
    target = said["postCreateCommand"].removeprefix("make ")
    subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)
    settings = said["customizations"]["vscode"]["settings"]
    assert settings["python.defaultInterpreterPath"] == "${containerWorkspaceFolder}/.venv/bin/python"
    assert settings["python.testing.pytestArgs"] == ["exercises"]


def rows():
    """The table of docs/cluster.md, each row as (user, flags, level)."""
    text = (ROOT / "docs" / "cluster.md").read_text().partition("| who runs in it |")[2]
    flags: list[str] = []
    for line in text.splitlines()[2:]:
        if not line.startswith("|"):
            return
        who, told, level = (cell.strip() for cell in line.strip("|").split("|"))
        quoted = re.findall(r"`(.+?)`", told)
        lists = [shlex.split(quoted[0])] if quoted and "the same" not in told else [[]]
        if "without one of the capabilities" in told:
            lists = [[flag for flag in flags if flag != lost] for lost in ("SYS_ADMIN", "NET_ADMIN")]
        elif "the same" in told:
            lists = [[flag for flag in flags if flag != quoted[0]]]
        flags = lists[0]
        for user in who.removeprefix("an ").split(" or an "):
            for given in lists:
                yield user, given, level


def test_the_table_has_the_rows_that_are_tried():
    assert [(user, level) for user, _, level in rows()] == [
        ("root", "landlock"), ("ordinary user", "landlock"), ("ordinary user", "full"), ("ordinary user", "landlock"),
        ("root", "full"), ("root", "landlock"), ("root", "landlock"),
    ]  # fmt: skip
    options = re.findall(r"--security-opt (\S+)", (ROOT / "docs" / "cluster.md").read_text().partition("| who")[0])
    assert [f for f in next(flags for _, flags, level in rows() if level == "full") if "=" in f] == options


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("setpriv") or cage.best_level() is not Level.FULL,
    reason="takes away what only root has, from a level that not every machine grants",
)
@pytest.mark.parametrize(("user", "flags", "level"), list(rows()))
def test_each_row_of_the_table_gives_its_level(home, user, flags, level):
    options = ["--filter"] * (ONE not in flags) + ["--mask"] * (OTHER not in flags)
    held = [*CAPABILITIES, *(one.lower() for one in flags if one.endswith("_ADMIN"))] if user == "root" else []
    bounds = ",".join(["-all", *(f"+{name}" for name in held)])
    who = [] if user == "root" else ["--reuid=12345", "--regid=12345", "--clear-groups"]
    script = str(Path(__file__).with_name("contained.py"))
    done = subprocess.run(
        ["unshare", "-m", sys.executable, script, *options, "--", "setpriv", f"--bounding-set={bounds}",
         "--inh-caps=-all", *who, sys.executable, "-m", "grader", "doctor", "--json"],
        cwd=home.root, env=environment(), capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    (said,) = [fact["value"] for fact in json.loads(done.stdout) if fact["name"] == "isolation"]
    assert said.split(";")[0] == level, said
