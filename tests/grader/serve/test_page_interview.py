"""The Interview screen's server: one at a time, on its clock; nothing is told, judged or hinted before the end."""

import asyncio
import shutil

import every_drill
import pytest
from serve_page import HOME, ID, PORT, TOKEN, ended
from shared import until
from starlette.testclient import TestClient

from grader.learner.interviewing import GRACE
from grader.learner.seat import Fault
from grader.records.drilled import Drilled
from grader.records.interviews import Interviews
from grader.serve.app import make_app
from grader.serve.guard import local

pytest_plugins = ["serve_fixtures"]


@pytest.fixture
def interviewed(home):
    shutil.copy(every_drill.__file__, home.root / "exercises" / ID / "drills.py")
    return home


@pytest.fixture
def clock(client, interviewed):
    """The clock of the interviews; whoever waits for it waits until the test calls `over`."""
    table = client.page.interviews

    class Clock:
        now = 100.0
        waits = asyncio.Event()

        def over(self, seconds):
            self.now += seconds
            self.loop.call_soon_threadsafe(self.waits.set)

        async def pause(self, seconds):
            await self.waits.wait()

    clock = Clock()
    clock.loop = client.portal.call(_loop)
    table._clock, table._pause = lambda: clock.now, clock.pause
    return clock


async def _loop():
    return asyncio.get_running_loop()


def do(client, what="", status=200, **said):
    answer = client.post(f"/api/interview{what and '/' + what}", json=said)
    assert answer.status_code == status, answer.text
    return answer.json()


def begin(client, minutes=20):
    return do(client, role="ml", minutes=minutes)["now"]


def to_the_part(client, answer="1"):
    """Answer every question, and begin the part."""
    now = begin(client)
    while now["step"] == "question":
        said = "1 2 3" if now["asked"]["kind"] == "order" else answer
        now = do(client, "answer", place=now["place"], typed=said)["now"]
    assert now["step"] == "between"
    return do(client, "coding")["now"]


def test_a_whole_interview(client, interviewed, clock, seats, until):
    desk = client.get("/api/interview").json()
    assert (desk["now"], desk["kept"]) == (None, [])
    assert "First up to 6 questions, 10 minutes in all." in desk["lengths"][0]["rules"]
    now = to_the_part(client)
    assert (now["step"], now["exercise"], now["part"], now["left"]) == ("coding", ID, "batch_mean", 600.0)
    interviewed.solve()
    assert do(client, "hand-in")["now"]["step"] == "judging"
    until_asked(seats)
    assert (seats[0].asked[0].text, seats[0].asked[0].only) == (interviewed.attempt.read_text(), ("batch_mean",))
    seats[0].say(ended(interviewed.exercise, seats[0].asked[0], batch_mean="passed"))
    desk = wait_for_the_end(client)
    (line,) = desk["kept"]
    assert (line["number"], line["ended"], line["asked"]) == (1, "finished", 6)
    assert line["part"].startswith("batch_mean: passed")
    report = client.get("/api/interview/1").json()
    assert "<h1>Interview 1 · ML engineer</h1>" in report["html"]
    assert "SECRET why." in report["html"]
    assert (interviewed.root / report["path"]).read_text().endswith("</html>\n")
    assert len(Drilled(interviewed.root).answers()) == 6
    assert interviewed.progress.history(ID)[-1].door == "interview"
    assert seats[0].closed


def until_asked(seats):
    """Wait until a seat was opened and asked, which the server does by itself."""
    until(lambda: seats and seats[0].asked, "something was asked")


def wait_for_the_end(client):
    n = 0
    while True:
        desk = client.get("/api/interview").json()
        if desk["now"] is None:
            return desk
        n = client.get(f"/api/events?after={n}").json()["events"][-1]["n"]


def test_nothing_is_told_before_the_end(client, interviewed, clock):
    now, said = begin(client), list[str]()
    while now["step"] == "question":
        typed = "1 2 3" if now["asked"]["kind"] == "order" else "1"
        answer = client.post("/api/interview/answer", json={"place": now["place"], "typed": typed})
        said += [answer.text, client.get("/api/interview").text]
        now = answer.json()["now"]
    assert len(said) == 12
    assert not [one for one in said if "SECRET" in one or '"kept":[]' not in one]
    assert client.get("/api/interview/1").status_code == 400


def test_what_cannot_be_read_stays_on_the_clock(client, clock):
    now = begin(client)
    clock.over(30)
    refused = client.post("/api/interview/answer", json={"place": 1, "typed": ""})
    assert refused.status_code == 422
    again = client.get("/api/interview").json()["now"]
    assert (again["asked"], again["left"]) == (now["asked"], 60.0)


def test_an_answer_to_another_question_is_refused(client, interviewed, clock):
    begin(client)
    assert do(client, "answer", 409, place=2, typed="1")["error"] == "Another question is on the clock."
    assert do(client, "answer", place=1, passes=True)["now"]["place"] == 2
    assert do(client, "answer", 409, place=1, passes=True)
    assert len(Drilled(interviewed.root).answers()) == 1


def test_time_over_is_said_and_the_next_clock_waits_for_the_learner(client, interviewed, clock):
    begin(client)
    clock.over(90)
    now = do(client, "answer", place=1, passes=True)["now"]
    assert (now["step"], now["said"], now["asked"]) == ("waiting", "The time of this question is over.", None)
    clock.over(1000)
    assert do(client, "next")["now"]["left"] == 90.0
    clock.over(90 + GRACE + 1)
    assert do(client, "answer", place=2, typed="1")["now"]["step"] == "waiting"  # too late
    assert [one.verdict for one in Drilled(interviewed.root).answers()] == ["wrong", "wrong"]


def test_no_hint_no_run_and_no_solution_while_the_part_is_on_the_clock(client, interviewed, clock, seats):
    to_the_part(client)
    for path, body in (
        ("run", {}),
        ("try", {"lines": "1"}),
        ("hint", {"part": "batch_mean"}),
        ("give-up", {"part": "batch_mean"}),
    ):
        answer = client.post(f"/api/kata/{ID}/{path}", json=body)
        assert (path, answer.status_code) == (path, 200 if path == "try" else 403)
    assert client.get(f"/api/kata/{ID}/solution?part=batch_mean").status_code == 403
    do(client, "end")
    assert client.post(f"/api/kata/{ID}/hint", json={"part": "batch_mean"}).status_code == 200


def test_a_page_that_nobody_looks_at_hands_in_when_the_time_is_over(client, interviewed, clock, seats):
    to_the_part(client)
    clock.over(600 + GRACE + 1)
    until_asked(seats)
    seats[0].say(ended(interviewed.exercise, seats[0].asked[0], batch_mean="wrong"))
    assert wait_for_the_end(client)["kept"][0]["ended"] == "finished"


def test_a_fault_of_the_grader_is_none_of_the_learner(client, interviewed, clock, seats):
    to_the_part(client)
    do(client, "hand-in")
    until_asked(seats)
    seats[0].say(Fault(1, "The disk is full."))
    assert wait_for_the_end(client)["kept"][0]["part"] == "batch_mean: not judged"
    assert "This is not your fault; what went wrong: The disk is full." in client.get("/api/interview/1").json()["html"]


def test_leaving_ends_it(client, interviewed, clock):
    begin(client)
    desk = do(client, "end")
    assert (desk["now"], desk["kept"][0]["ended"]) == (None, "left before its end")
    for what in ("next", "coding", "hand-in", "end"):
        assert do(client, what, 409)["error"] == "No interview goes on."


def test_leaving_while_it_is_judged(client, interviewed, clock, seats):
    to_the_part(client)
    do(client, "hand-in")
    assert do(client, "end")["kept"][0]["ended"] == "left before its end"
    assert "You left while it was judged." in client.get("/api/interview/1").json()["html"]


def test_only_one_goes_on(client, interviewed, clock):
    begin(client)
    assert do(client, "", 409, role="ml")["error"] == "An interview goes on. End it first."


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"role": "chef"}, "There is no role 'chef'."),
        ({"role": "ml", "minutes": 5}, "An interview has 10 to 120 minutes."),
    ],
)
def test_what_cannot_be_begun_is_refused(client, interviewed, said, why):
    assert why in do(client, "", 400, **said)["error"]
    assert Interviews(interviewed.root).interviews() == {}


def test_a_house_without_drills_says_so(client):
    assert "There are no drills here" in do(client, "", 400, role="ml")["error"]


def test_a_server_that_ends_ends_it_and_nothing_is_lost(home, interviewed, seats):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with TestClient(make_app(home.house, TOKEN, local(PORT), seats.open), base_url=HOME, headers=headers) as client:
        begin(client)
        do(client, "answer", place=1, passes=True)
    (kept,) = Interviews(home.root).interviews().values()
    assert (kept.ended, len(kept.asked)) == ("broken off", 1)


def test_one_that_broke_off_is_ended_and_said_when_the_page_is_opened(client, interviewed):
    from grader.learner.interviewing import Sitting

    sitting = Sitting(interviewed.house, "ml", 20, pytest.fail)
    sitting.begin()
    sitting._lock.close()  # as the end of its process does
    desk = client.get("/api/interview").json()
    assert (desk["broken"], desk["kept"][0]["ended"]) == ([1], "broken off: its window or server was closed")
    assert client.get("/api/interview").json()["broken"] == []


def test_a_damaged_file_of_progress_is_said(client, interviewed):
    interviewed.progress.path.parent.mkdir(exist_ok=True)
    interviewed.progress.path.write_bytes(b"this is no progress file" * 100)
    assert "is damaged" in client.get("/api/interview").json()["warning"]
    assert "is damaged" in do(client, "", 400, role="ml")["error"]


def test_a_report_is_shown_where_its_file_cannot_be_written(client, interviewed, clock):
    (interviewed.root / ".grader").mkdir(exist_ok=True)
    (interviewed.root / ".grader" / "interviews").write_text("a file in the place of the folder")
    begin(client)
    do(client, "end")
    report = client.get("/api/interview/1").json()
    assert report["path"] == ""
    assert "<h1>Interview 1" in report["html"]


def test_there_is_no_report_of_what_never_was(client, interviewed):
    assert client.get("/api/interview/7").status_code == 404
    assert client.get("/api/interview/x").status_code == 400
