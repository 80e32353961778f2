"""The package as others get it: built, installed in clean environments outside of the clone, and used there.

An environment of these tests downloads nothing: a .pth file in it names the packages that are installed here, torch
among them, since a second torch would take gigabytes and minutes. The grader and its exercises are its own.
"""

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from hashlib import sha256
from pathlib import Path

import pytest
from shared import PATIENCE, REPOSITORY, once

from grader.bank.catalog import House
from grader.bank.derived import stub_of
from grader.bank.source import definition, read_source
from grader.engine.resume import versions

ID = "dl_017_amp"
OTHER = "nn_002_cnn"
EXERCISE = House(REPOSITORY).exercises[ID]
FILE = f"{EXERCISE.stem}.py"
MINE = "# what somebody has written into the clone\n"


class Place:
    """An environment, and a folder to work in."""

    def __init__(self, env, folder):
        self.env = Path(env)
        self.folder = Path(folder)
        self.bin = self.env / "bin"
        (self.packages,) = (self.env / "lib").glob("python*/site-packages")

    def run(self, *command, code=0, cwd=None, **more):
        """What a program of the environment prints."""
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]], cwd=cwd or self.folder, capture_output=True, text=True,
            timeout=PATIENCE, env=clean(**more), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr

    def grader(self, *args, **more):
        return self.run("python", "-m", "grader", *args, **more)


def clean(**more):
    """An environment of variables in which nothing leads to this clone, and pip asks nobody."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH", "TMPDIR") if name in os.environ}
    return {**kept, "PYTHONIOENCODING": "utf-8", "COLUMNS": "100", "PIP_NO_INDEX": "1", **more}


def share_packages(env):
    """Let an environment see what is installed here."""
    (packages,) = (Path(env) / "lib").glob("python*/site-packages")
    (packages / "installed-elsewhere.pth").write_text(sysconfig.get_path("purelib") + "\n")


def new_env(folder, *wanted):
    venv.create(folder, symlinks=True)
    share_packages(folder)
    options = ["--no-deps", "--no-build-isolation", "--no-compile", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", *options]
    subprocess.run([*command, *map(str, wanted)], check=True, env=clean(), capture_output=True, timeout=PATIENCE)


def made(folder):
    """A copy of what git has of this clone, with somebody's work in it, built and installed twice."""
    copy = folder / "clone"
    skipped = shutil.ignore_patterns("__pycache__", ".*", "*.ipynb")
    for name in ("exercises", "solutions", "grader"):
        shutil.copytree(REPOSITORY / name, copy / name, ignore=skipped)
    for tests in (REPOSITORY / "tests").glob("[dn][ln]_*"):
        shutil.copytree(tests, copy / "tests" / tests.name, ignore=skipped)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", "conftest.py", "constraints.txt"):
        shutil.copy(REPOSITORY / name, copy)
    (copy / "exercises" / ID / FILE).write_text(MINE)
    (copy / "exercises" / ID / f"{EXERCISE.stem}.ipynb").write_text(MINE)
    (copy / "tests" / "grader").mkdir()
    (copy / "tests" / "grader" / "test_own.py").write_text(MINE)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist"), str(copy)]
    subprocess.run(command, check=True, env=clean(), capture_output=True, timeout=PATIENCE)
    (wheel,) = (folder / "dist").glob("*.whl")
    (archive,) = (folder / "dist").glob("*.tar.gz")
    new_env(folder / "by-wheel", wheel)
    new_env(folder / "by-sdist", archive)
    return str(folder)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with `dist/` and both environments."""
    return Path(once(tmp_path_factory, "installed", lambda: made(tmp_path_factory.mktemp("installed"))))


@pytest.fixture
def place(built, tmp_path):
    """The environment of the wheel, and a practice folder."""
    Place(built / "by-wheel", tmp_path).grader("init", "my-katas")
    return Place(built / "by-wheel", tmp_path / "my-katas")


def attempt(place, text=None):
    """Hand in the solution, or a text."""
    path = place.folder / "exercises" / ID / FILE
    path.write_text(read_source(EXERCISE.solution) if text is None else text)
    return path


def installed(env):
    """Each file of ours to its hash."""
    packages = Place(env, env).packages
    files = [path for tree in ("grader", "dl_kata") for path in (packages / tree).rglob("*") if path.is_file()]
    ours = [path for path in files if path.suffix != ".pyc"]
    return {path.relative_to(packages).as_posix(): sha256(path.read_bytes()).hexdigest() for path in ours}


def test_wheel_and_source_distribution_install_the_same(built):
    files = installed(built / "by-wheel")
    assert files == installed(built / "by-sdist")
    for exercise in House(REPOSITORY).exercises.values():
        for path in (exercise.solution, exercise.checks, exercise.statement, exercise.drills, exercise.examples):
            name = f"dl_kata/{path.relative_to(REPOSITORY).as_posix()}"
            assert files[name] == sha256(path.read_bytes()).hexdigest()


def test_nobodys_work_and_no_test_of_the_grader_is_in_it(built):
    files = installed(built / "by-wheel")
    assert not [name for name in files if name.endswith((".ipynb", "mutants.toml")) or "test_own" in name]
    attempts = [f"dl_kata/exercises/{one.id}/{one.stem}.py" for one in House(REPOSITORY).exercises.values()]
    assert not set(attempts) & set(files)
    packages = Place(built / "by-wheel", built).packages
    assert MINE not in "".join(path.read_text() for path in (packages / "dl_kata").rglob("*.py"))


def test_what_a_verdict_depends_on_is_the_same_as_in_the_clone(place):
    program = f"""
from grader.bank.catalog import find_house
from grader.engine.resume import versions
import json
print(json.dumps(versions(find_house().exercises[{ID!r}])))
"""
    assert json.loads(place.run("python", "-c", program)) == versions(EXERCISE)


def test_the_lines_of_the_readme_make_a_practice_folder(built, tmp_path):
    readme = (REPOSITORY / "README.md").read_text()
    found = re.search(r"## Without a clone\n.*?```\n(.*?)```", readme, re.DOTALL)
    assert found, "the README no longer has its lines without a clone"
    shutil.copy(next((built / "dist").glob("*.whl")), tmp_path)
    first, *lines = found[1].splitlines()
    share = 'printf "%s\\n" "$ELSEWHERE" > "$(echo katas/lib/python3*/site-packages)/elsewhere.pth"'
    program = ["set -e", first, share, *lines]
    done = subprocess.run(
        ["bash", "-c", "\n".join(program)], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE,
        env=clean(ELSEWHERE=sysconfig.get_path("purelib"), PIP_NO_DEPS="1"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"my-katas holds {len(House(REPOSITORY).exercises)} exercises." in done.stdout
    assert "  check  pytest exercises/" in done.stdout
    assert (tmp_path / "my-katas" / "exercises" / ID / FILE).read_text() == stub_of(EXERCISE)


def test_outside_of_a_practice_folder_a_learner_is_told_how_to_make_one(place, tmp_path):
    said = place.grader("check", "17", code=2, cwd=tmp_path)
    assert "is not inside a practice folder. `grader init my-katas` makes one: go there." in said


def test_every_command_of_a_learner_works_in_it(place):
    stub = attempt(place, stub_of(EXERCISE))
    assert "0 of " in place.grader()
    assert ID in place.grader("list")
    assert "hint 1 of 3" in place.grader("hint", "17")
    assert "To see it anyway: grader solution 17 --give-up" in place.grader("solution", "17", code=1)
    reference = place.grader("solution", "17", "--give-up")
    assert definition(reference, EXERCISE.parts[0].name)
    attempt(place)
    assert "All 100 points." in place.grader("check", "17")
    assert "100 of 100 points" in place.grader("watch", "17", "--once")
    assert "Critical" in place.grader("status")
    assert "earned" in place.grader("status", "17")
    assert "what an interviewer asks" in place.grader("questions", "17")
    assert "due" in place.grader("drill", "--count")
    assert "No interview yet." in place.grader("interview", "--history")
    assert "the reference" in place.grader("picture", "17", EXERCISE.pictures[0].part)
    assert "wrote report.html" in place.grader("report")
    assert "is the stub again" in place.grader("reset", "17")
    assert stub.read_text() == stub_of(EXERCISE)
    assert "100/100" in place.grader("history", "17")
    assert place.grader("history", "17", "--show", "2").splitlines() == read_source(EXERCISE.solution).splitlines()
    assert (place.folder / ".grader" / "progress.sqlite").is_file()
    assert not (place.packages / "dl_kata" / ".grader").exists()


def test_every_command_of_the_readme_is_among_these():
    """It says that each works in a practice folder."""
    table = (REPOSITORY / "README.md").read_text().partition("| command | does |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`grader ([a-z]+)", table))
    assert {"check", "interview", "update"} <= named
    assert named - set(re.findall(r'grader"?(?:\(|, )"([a-z]+)"', Path(__file__).read_text())) == set()


def test_pytest_runs_the_hidden_checks_and_the_examples(place):
    pytest_ = ("python", "-m", "pytest", "-q")
    attempt(place)
    assert "100 of 100 points" in place.run(*pytest_, f"exercises/{ID}")
    assert "passed" in place.run(*pytest_, "test_examples.py", cwd=place.folder / "exercises" / ID)
    assert place.grader().startswith("100 of ")


def test_a_notebook_judges_what_was_typed(place):
    place.grader("notebook", "17")
    part = EXERCISE.parts[0].name
    program = f"""
import json, sys
from pathlib import Path
sys.stdout.reconfigure(encoding="utf-8")
from grader.lab import practice
import grader.classroom.practice as practising
practising.show_pictures = lambda pictures: list(pictures)   # no notebook to show them in
text = Path(sys.argv[1]).read_text()
practice({ID!r}, {{"In": ["", text]}})({part!r})
"""
    place.run("python", "-c", "import nbformat; nbformat.read('amp.ipynb', 4)",
              cwd=place.folder / "exercises" / ID)  # fmt: skip
    said = place.run("python", "-c", program, str(EXERCISE.solution))
    assert f"+{EXERCISE.parts[0].points}  {part}" in said


def test_the_page_shows_the_statement_and_saves_to_the_folder(place):
    command = [str(place.bin / "python"), "-m", "grader", "serve", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, cwd=place.folder, stdout=subprocess.PIPE, text=True, env=clean()) as page:
        try:
            found = re.search(r"http://127\.0\.0\.1:(\d+)/#token=(\S+)", page.stdout.readline())
            line = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=PATIENCE)

            def asked(path):
                line.request("GET", path, headers={"Authorization": f"Bearer {found[2]}"})
                answer = line.getresponse()
                body = answer.read().decode()
                assert answer.status == 200, body
                return body

            assert "<script" in asked("/")
            assert json.loads(asked("/api/map"))["next"]["exercise"] in House(REPOSITORY).exercises
            kata = json.loads(asked(f"/api/kata/{ID}"))
            assert "<svg" in kata["statement"] or "data:image/svg+xml" in kata["statement"]
            assert json.loads(asked(f"/api/kata/{ID}/file"))["text"] == stub_of(EXERCISE)
        finally:
            page.terminate()


THIEF = """
import runpy
import sys
from pathlib import Path

for _folder in sys.path:
    for _path in Path(_folder).glob("dl_kata/solutions/*/amp.py"):
        globals().update(runpy.run_path(str(_path)))
"""


def test_a_class_is_graded_without_a_clone_and_the_installed_solutions_help_nobody(place):
    for student, text in (("ann", read_source(EXERCISE.solution)), ("bob", stub_of(EXERCISE) + THIEF)):
        path = place.folder / "submitted" / student / ID / FILE
        path.parent.mkdir(parents=True)
        path.write_text(text)
    away = place.folder.parent
    said = place.grader("grade", "my-katas/submitted", "--out", "results", "--seed", "7", cwd=away)
    lines = map(json.loads, (away / "results" / "results.jsonl").read_text().splitlines())
    kept = {line["student"]: line for line in lines}
    if kept["bob"]["isolation"] == "process":
        pytest.skip("this machine has no cage")
    assert (kept["ann"]["score"], kept["bob"]["score"]) == (100, 0), said
    assert {part["verdict"] for part in kept["bob"]["parts"]} <= {"not started", "error"}
    place.grader("export", "gradescope-autograder", "autograder", "--exercise", "17", cwd=away)
    assert (away / "autograder" / "solutions" / ID / FILE).is_file()
    place.grader("course", "course", "--only", "17", cwd=away)
    assert f"c.GradeParts.house = '{place.packages / 'dl_kata'}'" in (away / "course/nbgrader_config.py").read_text()


def test_a_student_edition_is_the_same_without_checks(place, tmp_path):
    place.grader("release", "student", "--only", "17", "--only", OTHER)
    shutil.move(place.folder / "student", tmp_path / "student")
    new_env(tmp_path / "env", tmp_path / "student")
    student = Place(tmp_path / "env", tmp_path)
    names = [path.name for path in student.packages.rglob("*") if path.is_file()]
    assert "drivers.py" not in names
    assert "### BEGIN SOLUTION" not in (student.packages / f"dl_kata_student/stubs/{ID}/{FILE}").read_text()
    student.grader("init", "kata")
    student.folder /= "kata"
    assert "Student edition: the visible examples of 0 of" in student.grader()
    attempt(student)
    assert "examples of" in student.grader("check", "17", EXERCISE.parts[0].name)
    assert "passed" in student.run("python", "-m", "pytest", "-q", f"exercises/{ID}")
    assert "This is a student edition, without solutions" in student.grader("solution", "17", code=2)
    assert "is the stub again" in student.grader("reset", "17")
    assert student.grader("update").startswith("All is as in")


def test_an_upgrade_keeps_attempts_and_brings_what_is_new(built, tmp_path):
    new_env(tmp_path / "env", next((built / "dist").glob("*.whl")))
    place = Place(tmp_path / "env", tmp_path)
    bank, hidden = place.packages / "dl_kata", tmp_path / "later"
    shutil.move(bank / "exercises" / OTHER, hidden)  # as in an older release
    place.grader("init", "my-katas")
    place.folder /= "my-katas"
    attempt(place)
    place.grader("check", "17")
    shutil.move(hidden, bank / "exercises" / OTHER)
    facts, solution = bank / f"exercises/{ID}/exercise.toml", bank / f"solutions/{ID}/{FILE}"
    revision = EXERCISE.revision + 1
    facts.write_text(facts.read_text().replace(f"revision = {EXERCISE.revision}", f"revision = {revision}", 1))
    solution.write_text(read_source(solution) + "\n\n# The end.\n")
    assert "grader update" in place.grader()
    said = place.grader("update")
    assert f"{OTHER}: new" in said
    assert f"{ID}: revision {revision} has a new stub. Your file stays as it is" in said
    assert (place.folder / "exercises" / ID / FILE).read_text() == read_source(EXERCISE.solution)
    assert "100/100" in place.grader("history", "17")
    assert "not started" in place.run("python", "-m", "pytest", f"exercises/{OTHER}", code=1)
