"""What a student and a teacher see, in a real browser: JupyterLab, formgrader from assignment to feedback, the report.

Skipped where there is no chromium. GRADER_PICTURES=DIR keeps screenshots, to be looked at.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hostile_markup import TRAP, hostile
from nbgrader.api import Gradebook
from shared import PATIENCE, held_port, until
from test_nbgrader import Course, cell_of, notebook_wrong

from conftest import ID, environment

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PICTURES = os.environ.get("GRADER_PICTURES", "")

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    course = Course(tmp_path_factory.mktemp("browser"))
    course.hand_in("ada", course.right())
    notebook = course.right()
    cell_of(notebook, "answer-RunningMean")["source"] = notebook_wrong(notebook)
    course.hand_in("ben", notebook)
    course.hand_in("eve", hostile(course.released))
    folder = course.folder / "submitted" / "eve" / ID
    (folder / "page.html").write_text(f"<script>new Image().src = '{TRAP}page'</script>")
    (folder / "nbgrader_config.py").write_text(f"open({str(course.folder / 'trapped')!r}, 'w').close()\n")
    (course.folder / "mine").mkdir()
    shutil.copy(course.folder / "release" / ID / "running_mean.ipynb", course.folder / "mine")
    return course


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.fixture(scope="module")
def address(course, tmp_path_factory):
    """JupyterLab in the course's folder, with nbgrader's extensions, as its installation enables them."""
    held, port = held_port()
    own = tmp_path_factory.mktemp("jupyter")
    log = (own / "log").open("w+")
    process = subprocess.Popen(
        [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.port={port}",
         "--ServerApp.port_retries=0", "--IdentityProvider.token=secret"],
        cwd=course.folder, stdout=log, stderr=log, start_new_session=True,
        env=environment(
            PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", JUPYTER_CONFIG_DIR=str(own),
            JUPYTER_RUNTIME_DIR=str(own / "runtime"), IPYTHONDIR=str(own / "ipython"),
        ),
    )  # fmt: skip
    until(lambda: answers(port) or process.poll() is not None, "JupyterLab answers")
    assert process.poll() is None, Path(log.name).read_text()
    yield f"http://127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=PATIENCE)
    log.close()
    held.close()


@pytest.fixture(scope="module")
def page():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": 1200, "height": 1000}).new_page()
        page.set_default_timeout(1000 * PATIENCE)
        yield page
        browser.close()


def keep(page, name):
    if PICTURES:
        page.screenshot(path=str(Path(PICTURES) / f"{name}.png"), full_page=True)


def test_a_student_sees_what_passes(page, address):
    page.goto(f"{address}/lab/tree/mine/running_mean.ipynb?token=secret")
    cells = page.locator(".jp-Notebook .jp-Cell")
    cells.nth(1).wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    cells.nth(1).click()
    for _ in range(5):  # setup, given code, the part's heading, the stub, its check
        page.keyboard.press("Shift+Enter")
    page.get_by_text("batch_mean: 0 of 1 examples pass").wait_for()
    shown = page.locator(".jp-OutputArea-output", has_text="examples pass").inner_text()
    assert "✗ two rows" in shown
    assert "not written yet" in shown
    assert "Traceback" not in shown
    keep(page, "student")


@pytest.fixture(scope="module")
def graded(page, address):
    """Autograded by clicks in formgrader, and feedback made for ben; what each one's row says then."""
    page.goto(f"{address}/formgrader?token=secret")
    page.goto(f"{address}/formgrader/manage_submissions/{ID}")
    rows = {}
    for student in ("ada", "ben", "eve"):
        row = page.locator("tr", has_text=student)
        row.locator(".autograde a").click()
        page.locator(".modal.in", has_text="Success").get_by_role("button", name="OK").click()
        page.locator(".modal-backdrop").wait_for(state="detached")
        row.get_by_text("/ 105").wait_for()
        rows[student] = row.inner_text()
    keep(page, "submissions")
    for student in ("ben", "eve"):
        page.locator("tr", has_text=student).locator(".generate-feedback a").click()
        page.locator(".modal.in", has_text="Success").get_by_role("button", name="OK").click()
        page.locator(".modal-backdrop").wait_for(state="detached")
    return rows


def test_a_teacher_grades_in_formgrader(graded):
    assert "100 / 105" in graded["ada"]
    assert "30 / 105" in graded["ben"]


def test_a_teacher_reads_our_messages(page, address, graded):
    page.goto(f"{address}/formgrader/manage_students/ben/{ID}")
    page.get_by_role("link", name="running_mean").click()
    page.get_by_text("RunningMean: wrong, 0 of 70 points").first.wait_for()
    assert "checks pass" in page.inner_text("body")
    keep(page, "submission")


def test_feedback_is_a_page_that_a_student_can_read(page, course, graded):
    page.goto((course.folder / "feedback" / "ben" / ID / "running_mean.html").as_uri())
    assert "RunningMean: wrong, 0 of 70 points" in page.inner_text("body")
    keep(page, "feedback")


class Watched:
    """A page of the teacher's browser, and what it asked for beside reading: a trap that ran, a score that was set."""

    def __init__(self, page):
        self.page, self.trapped = page.context.new_page(), []
        self.page.set_default_timeout(1000 * PATIENCE)
        self.page.on("request", lambda one: self._asked(one.method, one.url))

    def _asked(self, method, url):
        if TRAP in url or "formgrader?path" in url or ("/formgrader/" in url and method != "GET"):
            self.trapped.append(f"{method} {url}")

    def open(self, url):
        self.page.goto(url)
        self.page.wait_for_load_state("networkidle")


@pytest.fixture
def watched(page, graded):
    watched = Watched(page)
    yield watched
    watched.page.close()


def submission_of(course, student):
    """The name that formgrader gives to a student's notebook, and its points."""
    with Gradebook(f"sqlite:///{course.folder}/gradebook.db") as book:
        one = book.find_submission_notebook("running_mean", ID, student)
        return one.id, one.score


def test_markup_of_a_student_does_nothing_in_formgrader(course, address, graded, watched):
    assert "0 / 105" in graded["eve"]
    id, _ = submission_of(course, "eve")
    for place in (
        "manage_assignments", f"manage_submissions/{ID}", "gradebook", f"gradebook/{ID}",
        f"gradebook/{ID}/running_mean", "manage_students", "manage_students/eve", f"manage_students/eve/{ID}",
        f"submissions/{id}/",
    ):  # fmt: skip
        watched.open(f"{address}/formgrader/{place}")
    page = watched.page
    page.wait_for_function("formgrader.grades && formgrader.grades.loaded")
    assert page.evaluate("document.getElementById('part-RunningMean').tagName") == "INPUT"
    cells = page.locator("#notebook-container").first
    assert "< script>eval(atob(" in cells.inner_text()  # a teacher sees what it was
    for tag in ("script", "iframe", "svg", "style", "link", "object", "embed", "video", "img", "form", "base", "meta"):
        assert cells.locator(tag).count() == 0, tag
    assert not [link for link in hrefs(cells) if not link.startswith("#")]
    keep(page, "hostile")
    assert watched.trapped == []
    assert submission_of(course, "eve") == (id, 0)
    assert not (course.folder / "trapped").exists()


def hrefs(place):
    return place.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href') || '#')")


def test_nor_in_feedback_nor_in_jupyterlab(course, address, watched):
    watched.open((course.folder / "feedback" / "eve" / ID / "running_mean.html").as_uri())
    cells = watched.page.locator("#notebook-container").first
    assert "< script>eval(atob(" in cells.inner_text()
    assert cells.locator("script, iframe, svg, style, link, object, embed, img").count() == 0
    assert not [link for link in hrefs(cells) if not link.startswith("#")]
    watched.page.goto(f"{address}/lab/tree/autograded/eve/{ID}/running_mean.ipynb?reset&token=secret")
    watched.page.locator(".jp-Notebook .jp-Cell .jp-RenderedMarkdown").first.wait_for()
    cells = watched.page.locator(".jp-Notebook .jp-RenderedMarkdown")
    assert cells.locator("script, iframe, object, embed, img, a[href*=javascript]").count() == 0
    assert watched.trapped == []
    assert submission_of(course, "eve")[1] == 0


def test_the_same_scripts_run_where_nothing_is_mended(course, address, watched):
    """The traps are real: in a notebook as it was handed in, one of them sets the scores."""
    id, score = submission_of(course, "ben")
    path = course.folder / "autograded" / "ben" / ID / "running_mean.ipynb"
    notebook = json.loads(path.read_text())
    raw = cell_of(hostile(course.released), "question")["source"]
    cell_of(notebook, "question")["source"] = raw[: raw.index("![x]")]  # what needs no attachment
    path.chmod(0o644)
    path.write_text(json.dumps(notebook))
    with watched.page.expect_response(lambda one: one.request.method == "PUT" and one.ok):
        watched.page.goto(f"{address}/formgrader/submissions/{id}/")
    assert any(f"{TRAP}question" in one for one in watched.trapped)
    watched.page.wait_for_load_state("networkidle")
    assert submission_of(course, "ben")[1] > score


def test_the_report_is_read_by_keyboard_and_in_print(page, course, graded):
    course.run("grader", "class", "report", str(course.folder), "-o", "report.html", cwd=course.house)
    page.goto((course.house / "report.html").as_uri())
    assert page.title() == "course: what the class knows"
    reached = []
    for _ in range(3):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.getAttribute('role')"))
    assert reached == ["region"] * 3
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.querySelector('.wide')).overflowX") == "visible"
    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400  # tables scroll by themselves
    keep(page, "report")
