"""A house that is served, and its page as a learner uses it."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from grader.bank.catalog import House
from grader.bank.source import read_source
from grader.drills.schedule import Answer
from grader.learner.desk import attempt_text
from grader.records.drilled import Drilled
from grader.records.progress import Progress

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.append(str(REPOSITORY / "tests" / "grader"))
from shared import held_port  # noqa: E402  # of the other tests: these lie beside them, not below

ID = "dl_901_running_mean"
EVERY_DRILL = REPOSITORY / "tests" / "grader" / "every_drill.py"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE = 300.0
"""Seconds after which a test gives up: only what hangs takes so long, and nothing is right or wrong by it."""
PICTURES = os.environ.get("PICTURES", "")
"""A folder to keep screenshots in."""


def until(holds, what="it"):
    """Wait until `holds()` is true."""
    ends = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < ends, f"{what} did not come to be"
        time.sleep(0.02)  # between two looks at what another process does; no test hangs on its length


class Served:
    """A house, and the server of its practice page, at the same port each time that it is started."""

    def __init__(self, root: Path, file: str = f"{ID}/running_mean.py") -> None:
        self.root = root
        self.id, _, self._name = file.partition("/")
        self.url = ""
        self._held, self.port = held_port()
        self._process: subprocess.Popen | None = None

    # ---- the server

    def start(self) -> None:
        command = [sys.executable, "-m", "grader", "serve", "--no-browser", "--port", str(self.port)]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        self._process = subprocess.Popen(
            command, cwd=self.root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        said = ""
        for line in self._process.stdout:
            said += line
            if "#token=" in line:
                self.url = next(word for word in line.split() if "#token=" in word)
                return
        raise AssertionError(f"the server did not start:\n{said}")

    def stop(self, how=signal.SIGINT) -> None:
        if self._process and self._process.poll() is None:
            self._process.send_signal(how)
            self._process.wait(timeout=PATIENCE)

    def end(self) -> None:
        self.stop()
        self._held.close()

    @property
    def address(self) -> str:
        """Without the token."""
        return f"http://127.0.0.1:{self.port}/"

    # ---- the house

    @property
    def file(self) -> Path:
        return self.root / "exercises" / self.id / self._name

    @property
    def text(self) -> str:
        return self.file.read_text(encoding="utf-8")

    @property
    def data(self) -> bytes:
        """What is in the file: nothing, while there is none."""
        try:
            return self.file.read_bytes()
        except FileNotFoundError:
            return b""

    @property
    def solution(self) -> str:
        text = read_source(self.root / "solutions" / self.id / self._name)
        return "".join(line for line in text.splitlines(True) if not line.strip().startswith("###"))

    def write(self, *edits: tuple[str, str], text: str | None = None) -> str:
        """Write the file as an editor does: the solution, with each (find, put) done once."""
        text = self.solution if text is None else text
        for find, put in edits:
            assert text.count(find) == 1, f"{find!r} stands there {text.count(find)} times"
            text = text.replace(find, put)
        beside = self.file.with_suffix(".new")
        beside.write_text(text, encoding="utf-8")
        beside.rename(self.file)
        return text

    def gate(self) -> Path:
        """A check that ends only once the returned path exists. Call it before the kata is opened."""
        gate = self.root / "gate"
        checks = self.root / "tests" / ID / "test_running_mean.py"
        checks.write_text(
            checks.read_text()
            + f"""

@part("RunningMean")
def test_waits(attempt, draw):
    \"\"\"It waits for the test.\"\"\"
    import pathlib, time
    while not pathlib.Path({str(gate)!r}).exists():
        time.sleep(0.01)
    assert attempt.run(drivers.stream, [draw.normal(2, 3)])
"""
        )
        self.patient()
        return gate

    def patient(self) -> None:
        """No check is over its time."""
        facts = self.root / "exercises" / ID / "exercise.toml"
        facts.write_text(facts.read_text().replace("check_seconds = 2", "check_seconds = 600"))

    def declare(self, pictures: str, drivers: str) -> None:
        """Declare pictures, as in `exercise.toml`. drivers: the text of `pictures.py`."""
        facts = self.file.with_name("exercise.toml")
        facts.write_text(facts.read_text() + pictures)
        facts.with_name("pictures.py").write_text(drivers)

    def lay_drills(self) -> None:
        """Give the house a drill of every kind."""
        shutil.copy(EVERY_DRILL, self.file.with_name("drills.py"))

    def answers(self) -> list[Answer]:
        """What was answered in drills, oldest first."""
        return Drilled(self.root).answers()

    def to_student_edition(self) -> None:
        """Take away what a student edition has not."""
        stub = House(self.root).exercises[self.id].released_stub
        stub.parent.mkdir(parents=True)
        shutil.copy(self.file, stub)
        for tree in ("solutions", "tests"):
            shutil.rmtree(self.root / tree)

    def kept(self, judged: bool = False) -> list[str]:
        """The texts in the history, oldest first. judged: those alone that were judged."""
        house = House(self.root)
        exercise = house.exercises[self.id]
        history = Progress(self.root).history(self.id)
        return [attempt_text(house, exercise, one.number) for one in history if one.max_score or not judged]

    def judged(self) -> list[str]:
        """The texts that were judged, oldest first."""
        return self.kept(judged=True)


class Seen:
    """What a test does with a page, in the words of a learner."""

    def __init__(self, page, served: Served) -> None:
        self.page = page
        self.served = served

    def open(self, screen: str = f"/kata/{ID}") -> "Seen":
        self.page.goto(f"{self.served.url}&to={screen}")
        if "/kata/" in screen:
            self.code.wait_for()
        return self

    @property
    def code(self):
        return self.page.locator(".pane-code .cm-content")

    def shown(self) -> str:
        """The text in the editor; short files are drawn whole."""
        lines = self.page.locator(".pane-code .cm-line")
        return "\n".join(lines.all_text_contents())

    def line(self, text: str):
        """The line of the editor that holds this."""
        return self.page.locator(".cm-line", has_text=text).first

    def at(self, text: str) -> None:
        """Put the cursor at the end of the line that holds this."""
        self.line(text).click()
        self.page.keyboard.press("End")

    def type(self, text: str) -> None:
        self.page.keyboard.insert_text(text)

    def run(self) -> None:
        """Run, and wait until the run has ended."""
        ended = len(self.served.judged())
        self.page.keyboard.press("Control+Enter")
        until(lambda: len(self.served.judged()) > ended, "the end of the run")
        self.page.get_by_role("button", name="Run", exact=False).first.wait_for()
        self.page.locator(".judged", has_text="judged: this text").wait_for()  # the page has heard of it too

    def part(self, name: str):
        return self.page.locator(f".part[data-part={name}]")

    def on_disk(self, text: str) -> None:
        """Wait until this is in the file."""
        until(lambda: text in self.served.text, f"{text!r} on disk")

    def cannot_save(self) -> None:
        """From now on no save reaches the server."""
        self.page.route("**/file", lambda route: route.abort() if route.request.method == "PUT" else route.continue_())

    def can_save(self) -> None:
        self.page.unroute("**/file")

    def keep(self, name: str) -> None:
        """A picture of the page for somebody to look at."""
        if PICTURES:
            self.page.screenshot(path=str(Path(PICTURES) / f"{name}.png"))
