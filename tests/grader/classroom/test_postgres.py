"""nbgrader's gradebook in a real PostgreSQL server, which these tests start and end: two assistants at once."""

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from shared import PATIENCE
from test_nbgrader import Course, cell_of, notebook_wrong

from conftest import ID, environment
from grader.bank.catalog import House
from grader.base.errors import HouseError
from grader.classroom.gradebook import read_course

PASSWORD = "not-to-be-shown"


def program(name):
    """Where a program of the server lies; Debian keeps them out of the way."""
    debian = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(debian[-1]) if debian else None)


def missing():
    if not (program("initdb") and program("pg_ctl")):
        return "no PostgreSQL server is installed (Debian: apt-get install postgresql)"
    return "" if importlib.util.find_spec("psycopg2") else "psycopg2 is not installed"


pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "-")


@pytest.fixture(scope="module")
def db_url():
    """The address of an empty database. The server listens at a socket in a folder of its own, and on no port."""
    folder = Path(tempfile.mkdtemp(prefix="gradebook-"))
    user = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    if user:  # the server refuses to run as root
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)

    def run(name, *args):
        log = folder / "said"
        with log.open("ab") as said:  # no pipe: the server would hold it
            done = subprocess.run([program(name), *args], cwd=folder, stdout=said, stderr=said, check=False, **user)
        assert done.returncode == 0, log.read_text()

    data = str(folder / "data")
    try:
        run("initdb", "-D", data, "-U", "teacher", "--auth=trust", "--no-sync", "--encoding=UTF8")
        run("pg_ctl", "-D", data, "-w", "-o", f"-k {folder} -c listen_addresses= -F", "start")
        yield f"postgresql+psycopg2://teacher:{PASSWORD}@/postgres?host={folder}"
    finally:
        with contextlib.suppress(AssertionError):
            run("pg_ctl", "-D", data, "-w", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def course(tmp_path_factory, db_url):
    """A course whose gradebook is there, and in which nothing is graded yet."""
    source = tmp_path_factory.mktemp("postgres")

    class There(Course):
        def nbgrader(self, *args, code=0):
            config = self.folder / "nbgrader_config.py"
            if "db_url" not in config.read_text():
                config.write_text(f"{config.read_text()}\nc.CourseDirectory.db_url = {db_url!r}\n")
            return super().nbgrader(*args, code=code)

    return There(source)


def test_two_assistants_grade_one_class_at_once(course, tmp_path):
    """Each has students of their own, and one whom both grade.

    nbgrader looks for a student's submission and then makes it: who is second to make it is told of an error, and goes
    on with the next. That one is graded, by the other.
    """
    points = {}
    for student in ("a1", "a2", "both", "c1", "c2"):
        notebook, right = course.right(), student != "c1"
        if not right:
            cell_of(notebook, "answer-RunningMean")["source"] = notebook_wrong(notebook)
        course.hand_in(student, notebook)
        points[student] = 100 if right else 30
    env = environment(PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    running = {}
    for students in ("[ab]*", "[bc]*"):
        command = [sys.executable, "-m", "nbgrader", "autograde", ID, f"--CourseDirectory.student_id={students}"]
        with (tmp_path / students).open("wb") as said:
            running[students] = subprocess.Popen(command, cwd=course.folder, stdout=said, stderr=said, env=env)
    for students, one in running.items():
        if one.wait(timeout=PATIENCE):
            said = (tmp_path / students).read_text()
            assert "UniqueViolation" in said, said
            assert re.findall(r"for student '(.*)'", said) == ["both"], said
            course.nbgrader("autograde", ID)
    assert not (course.folder / "gradebook.db").exists()
    assert course.scores() == points

    said = course.run("grader", "class", "report", str(course.folder), "-o", "report.html", cwd=course.house)
    assert "5 students in report.html" in said
    page = (course.house / "report.html").read_text()
    assert page.count("100 of 100") == 2 * 4, "of the exercise, and in all"
    assert PASSWORD not in page


def test_the_report_finds_the_database_in_the_user_s_own_configuration(course, db_url, tmp_path, monkeypatch):
    """Where an address with a password belongs: not into the folder of the course."""
    elsewhere = tmp_path / "course"
    shutil.copytree(course.folder / "autograded", elsewhere / "autograded")
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(tmp_path))
    house = House(course.house)
    with pytest.raises(HouseError, match=r"has no gradebook\.db"):
        read_course(house, elsewhere)
    (tmp_path / "nbgrader_config.json").write_text(f'{{"CourseDirectory": {{"db_url": "{db_url}"}}}}')
    assert len({one.student for one in read_course(house, elsewhere).graded}) == 5


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"postgresql+psycopg2://teacher:{PASSWORD}@/postgres?host=/nowhere", "cannot be read: connection to server"),
        (f"postgresql+pg8000://teacher:{PASSWORD}@/postgres", "needs the package pg8000, which is not installed"),
        (f"nonsense {PASSWORD}", "is no address of a database"),
        (f"nonsense://teacher:{PASSWORD}@/postgres", "cannot be read: Can't load plugin"),
    ],
)
def test_a_database_that_cannot_be_read_is_a_sentence_without_the_password(course, tmp_path, url, said):
    (tmp_path / "nbgrader_config.py").write_text(f"c = get_config()\nc.CourseDirectory.db_url = {url!r}\n")
    with pytest.raises(HouseError, match=said) as caught:
        read_course(House(course.house), tmp_path)
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)
