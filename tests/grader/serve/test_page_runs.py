"""The newest run wins, a cancelled one is no attempt, and whoever comes late hears what happened."""

import asyncio

import msgspec
import pytest
from serve_page import ID, FakeSeat, Seats, ended

from grader.base.errors import HouseError
from grader.base.files import digest
from grader.learner.seat import Cancelled, Checked, Fault, Pictured, Ready, TriedLines
from grader.serve import files, runs
from grader.serve.events import KEPT, EventLog
from grader.serve.runs import Runs
from grader.serve.wire import EndEvent, FileEvent
from grader.verdicts.bounds import LARGEST_RESULT, LONGEST_MESSAGE
from grader.verdicts.picture import Bars, Made, Picture
from grader.verdicts.result import CheckResult, assemble
from grader.verdicts.trial import Tried
from grader.verdicts.verdict import Verdict

pytest_plugins = ["serve_fixtures"]

RUN = f"/api/kata/{ID}/run"


def begin(client, **asked):
    answer = client.post(RUN, json=asked)
    assert answer.status_code == 200, answer.text
    return answer.json()["run"]


def kinds(events):
    return [one["kind"] for one in events]


def test_each_check_is_told_as_it_ends_and_the_result_is_kept(client, home, seats, until):
    home.solve()
    number = begin(client, part="RunningMean")
    seats[0].say(Ready(2))
    until("seat", after=2)
    run = seats[0].asked[0]
    assert (run.number, run.text, run.first, run.only) == (number, home.attempt.read_text(), ("RunningMean",), ())
    seats[0].say(Checked(number, 2, CheckResult("test_a", "RunningMean", "passed")))
    check, _ = until("check")
    assert (check["done"], check["total"], check["check"]["id"]) == (1, 2, "test_a")
    seats[0].say(ended(home.exercise, run, batch_mean="passed", RunningMean="wrong"))
    end, heard = until("end")
    assert kinds(heard) == ["seat", "run", "seat", "check", "end"]
    assert end["hash"] == digest(run.text) == end["result"]["source"]
    assert [(one["part"], one["points"]) for one in end["gained"]] == [("batch_mean", 30)]
    assert "number of rows" in end["gained"][0]["why"]
    assert end["next"]["part"] == "RunningMean"
    (kept,) = home.progress.history(ID)
    assert (kept.door, kept.score, kept.earned) == ("page", 30, ("batch_mean",))
    assert home.progress.source(kept.source) == run.text


def test_the_newest_run_wins(client, home, seats, until):
    old, new = begin(client), begin(client)
    asked = {run.number: run for run in seats[0].asked}
    seats[0].say(ended(home.exercise, asked[old], batch_mean="passed", RunningMean="passed"))  # nobody waits for it
    seats[0].say(ended(home.exercise, asked[new], batch_mean="wrong", RunningMean="wrong"))
    _, heard = until("end")
    assert [(one["kind"], one["run"]) for one in heard if "run" in one] == [
        ("run", old), ("cancelled", old), ("run", new), ("end", new),
    ]  # fmt: skip
    assert [one.score for one in home.progress.history(ID)] == [0]


def test_a_cancelled_run_is_no_attempt_even_if_its_result_comes_late(client, home, seats, until):
    number = begin(client)
    assert client.delete(f"/api/run/{number}").status_code == 200
    assert seats[0].stops == 1
    seats[0].say(Checked(number, 2, CheckResult("test_a", "batch_mean", "passed")))
    seats[0].say(ended(home.exercise, seats[0].asked[0], batch_mean="passed", RunningMean="passed"))
    seats[0].say(Cancelled(number))
    seats[0].say(Ready(2))  # after which all of it was heard
    _, heard = until("seat", after=3)
    assert kinds(heard) == ["seat"]
    assert home.progress.history(ID) == []
    assert client.delete(f"/api/run/{number}").status_code == 404


def test_what_failed_last_is_judged_before_the_rest(client, home, seats, until):
    begin(client)
    seats[0].say(ended(home.exercise, seats[0].asked[0], batch_mean="passed", RunningMean="wrong"))
    until("end")
    begin(client)
    assert seats[0].asked[1].first == ("RunningMean",)
    begin(client, part="batch_mean")
    assert seats[0].asked[2].first == ("batch_mean", "RunningMean")


def test_one_part_alone(client, home, seats, until):
    begin(client, part="batch_mean", only=True)
    assert seats[0].asked[0].only == ("batch_mean",)
    assert client.post(RUN, json={"only": True}).status_code == 400


def test_a_run_of_a_text_that_is_no_longer_there_is_refused_with_what_is(client, home, seats):
    began = client.get(f"/api/kata/{ID}").json()["file"]["hash"]
    home.attempt.write_text("theirs = 1\n")
    answer = client.post(RUN, json={"hash": began})
    assert answer.status_code == 409
    assert answer.json()["text"] == "theirs = 1\n"
    assert seats[0].asked == []


def test_an_unknown_part_or_exercise_is_named(client, seats):
    answer = client.post(RUN, json={"part": "batch_meen"})
    assert answer.status_code == 400
    assert "Did you mean 'batch_mean'?" in answer.json()["error"]
    assert client.get("/api/kata/dl_999_nothing").status_code == 404
    assert client.get("/api/kata/..%2f..").status_code == 404
    assert seats == []


def test_a_save_from_outside_is_judged_too(client, home, seats, until):
    begin(client, part="RunningMean")
    home.solve()
    event, _ = until("run", after=2)
    assert event["hash"] == digest(home.solution)
    assert event["first"] == "RunningMean"  # as both parts have changed, the one at the cursor
    assert seats[0].asked[-1].text == home.solution


def test_of_a_save_from_outside_the_part_that_changed_is_judged_first(client, home, seats, until):
    home.solve()
    begin(client, part="RunningMean")
    home.solve(("return x.sum(0) / len(x)", "return x.sum(0) / 2"))
    assert until("run", after=2)[0]["first"] == "batch_mean"


def test_a_stub_that_comes_back_is_not_judged(client, home, seats, until):
    stub = home.attempt.read_text()
    home.attempt.write_text("x = 1\n")
    client.get(f"/api/kata/{ID}")
    home.attempt.write_text(stub)
    until("file")
    assert seats[0].asked == []


def test_a_fault_of_the_grader_is_no_attempt(client, home, seats, until):
    number = begin(client)
    seats[0].say(Fault(number, "the machine is full"))
    event, _ = until("fault")
    assert (event["run"], event["why"]) == (number, "the machine is full")
    assert home.progress.history(ID) == []
    assert client.get(f"/api/kata/{ID}").json()["running"] is None


def test_a_seat_that_ends_says_why_and_the_next_run_has_another(client, home, seats, until):
    number = begin(client)
    seats[0].say(Fault(number, "killed"))
    seats[0].say(None)
    event, heard = until("seat", after=2)
    assert (event["seat"], event["why"]) == ("failed", "killed")
    assert kinds(heard) == ["fault", "seat"]
    assert seats[0].closed
    begin(client)
    assert len(seats) == 2


def test_a_result_that_cannot_be_kept_is_told_all_the_same(client, home, seats, until):
    begin(client)
    home.progress.path.parent.mkdir(exist_ok=True)
    home.progress.path.write_bytes(b"this is no progress file" * 100)
    seats[0].say(ended(home.exercise, seats[0].asked[0], batch_mean="passed", RunningMean="passed"))
    event, _ = until("end")
    assert "Progress not recorded" in event["warning"]
    assert event["result"]["score"] == 100


def test_lines_that_are_tried_are_a_run_and_no_attempt(client, home, seats, until):
    old = begin(client)
    answer = client.post(f"/api/kata/{ID}/try", json={"lines": "1 + 1"})
    number = answer.json()["run"]
    assert (seats[0].asked[-1].lines, seats[0].asked[-1].text) == ("1 + 1", home.attempt.read_text())
    seats[0].say(TriedLines(number, Tried("", ("2",), "")))
    event, heard = until("tried")
    assert event["shown"] == ["2"]
    assert [(one["kind"], one["run"]) for one in heard if "run" in one] == [
        ("run", old), ("cancelled", old), ("run", number), ("tried", number),
    ]  # fmt: skip
    assert home.progress.history(ID) == []
    assert client.post(f"/api/kata/{ID}/try", json={"lines": " "}).status_code == 400
    assert client.post(f"/api/kata/{ID}/try", json={"lines": "1", "hash": "other"}).status_code == 409


def test_pictures_come_after_the_end_until_something_newer_begins(client, home, seats, until):
    picture = Picture("Means", ("feature", "mean"), Bars(("a", "<b>"), (1.0, 2.0)), "What to see.")
    number = begin(client)
    run = seats[0].asked[0]
    told = ("batch_mean", "Means", "What to see.")
    seats[0].say(Pictured(number, *told, Made("batch_mean", "means", picture), None))  # before the end: of nothing
    seats[0].say(ended(home.exercise, run, batch_mean="passed", RunningMean="wrong"))
    seats[0].say(
        Pictured(number, *told, Made("batch_mean", "means", picture), Made("batch_mean", "means", problem="too slow"))
    )
    event, heard = until("picture")
    assert kinds(heard)[-2:] == ["end", "picture"]
    assert (event["part"], event["title"], event["caption"]) == told
    assert event["own"]["svg"].startswith("<svg ")
    assert "<b>" not in event["own"]["svg"]
    assert ["<b>", "2"] in event["own"]["rows"]
    assert (event["reference"]["svg"], event["reference"]["problem"]) == ("", "too slow")
    begin(client)
    seats[0].say(Pictured(number, *told, Made("batch_mean", "means", picture), None))
    seats[0].say(Ready(2))
    _, heard = until("seat", after=event["n"])
    assert kinds(heard) == ["run", "seat"]


# ---- seats


class House(Seats):
    """Runs of several exercises over fake seats, with a clock that a test moves."""

    def __init__(self, home):
        super().__init__()
        self.time = 0.0
        self.log = EventLog()
        self.runs = Runs(home.house, self.log, self.open, lambda: self.time)
        self.exercises = [msgspec.structs.replace(home.exercise, id=id) for id in (ID, "dl_902_other", "dl_903_third")]
        self.disk = files.on_disk(home.exercise)

    @property
    def open_ids(self):
        return [seat.exercise.id for seat in self if not seat.closed]


async def settled():
    """Let everything happen that waits for nothing."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_two_seats_at_most_and_one_that_runs_goes_last(home):
    async def story():
        house = House(home)
        first, second, third = house.exercises
        house.runs.warm(first)
        house.time = 1
        house.runs.warm(second)
        house.runs.start(first, house.disk)
        house.time = 2
        house.runs.warm(second)
        await settled()
        assert house.open_ids == [first.id, second.id]
        house.runs.warm(third)
        await settled()
        assert house.open_ids == [first.id, third.id]
        assert house.runs.running(first) == 1
        await house.runs.close()
        assert house.open_ids == []

    asyncio.run(story())


def test_a_seat_that_nobody_used_for_a_quarter_of_an_hour_goes(home):
    async def story():
        house = House(home)
        first, second, _ = house.exercises
        house.runs.warm(first)
        house.runs.start(second, house.disk)
        await settled()
        house.time = runs.IDLE_SECONDS + 1
        house.runs.dismiss_idle()
        await settled()
        assert house.open_ids == [second.id]  # it runs
        assert house.runs.warm(first) == "warming"
        await house.runs.close()

    asyncio.run(story())


def test_a_seat_that_cannot_be_opened_is_a_fault_of_the_run(home):
    async def story():
        async def refuse(house, exercise):
            raise HouseError("no checks here")

        log = EventLog()
        all_runs = Runs(home.house, log, refuse)
        all_runs.start(home.exercise, files.on_disk(home.exercise))
        await settled()
        assert [event.__struct_config__.tag for event in log.after(0)] == ["seat", "run", "fault", "seat"]
        assert log.after(0)[2].why == "no checks here"

    asyncio.run(story())


# ---- events


def test_who_missed_more_than_is_kept_is_told_so():
    async def story():
        log = EventLog()
        for number in range(KEPT + 5):
            log.say(FileEvent, id=ID, hash=str(number), state="there", by="disk")
        assert [event.hash for event in log.after(KEPT + 3)] == [str(KEPT + 3), str(KEPT + 4)]
        assert len(log.after(5)) == KEPT
        for missed in (0, 4, KEPT + 6):  # the last: of another start of the server
            (event,) = log.after(missed)
            assert (event.__struct_config__.tag, event.n) == ("resync", KEPT + 5)

    asyncio.run(story())


def test_large_events_are_kept_in_a_limited_room(monkeypatch):
    async def story():
        monkeypatch.setattr("grader.serve.events.KEPT_BYTES", 1000)
        log = EventLog()
        for number in range(9):
            log.say(FileEvent, id=ID, hash=str(number) * 300, state="there", by="disk")
        assert [event.hash[0] for event in log.after(7)] == ["7", "8"]
        assert [event.__struct_config__.tag for event in log.after(6)] == ["resync"]
        log.say(FileEvent, id=ID, hash="x" * 5000, state="there", by="disk")
        assert [event.hash[0] for event in log.after(9)] == ["x"]  # the newest is kept, whatever its size

    asyncio.run(story())


def test_a_stream_says_all_once_and_in_order_while_more_happens():
    async def story():
        log = EventLog()
        log.say(FileEvent, id=ID, hash="0", state="there", by="disk")
        heard = []

        async def listen():
            async for line in log.stream(0):
                heard.append(line)
                if len(heard) == 2:  # said while the stream is at work
                    log.say(FileEvent, id=ID, hash="1", state="there", by="disk")
                    log.say(FileEvent, id=ID, hash="2", state="there", by="disk")

        listening = asyncio.create_task(listen())
        await settled()
        log.say(FileEvent, id=ID, hash="3", state="there", by="disk")
        await settled()
        log.close()
        await listening
        assert heard[0].startswith(b'data: {"kind":"hello","n":1,')
        assert [line.split(b'"hash":"')[1][:1] for line in heard[1:]] == [b"0", b"1", b"2", b"3"]
        assert all(line.endswith(b"\n\n") and line.count(b"\n") == 2 for line in heard)

    asyncio.run(story())


def test_a_quiet_stream_beats_so_that_a_dead_line_is_noticed():
    async def story():
        log = EventLog()
        stream = log.stream(None, beat=0)
        assert (await anext(stream)).startswith(b"data: ")
        assert await anext(stream) == b":\n\n"

    asyncio.run(story())


def test_a_long_poll_without_news_ends_empty():
    async def story():
        log = EventLog()
        assert (await log.poll(0, patience=0)).events == ()
        assert (await log.poll(None)).n == 0

    asyncio.run(story())


def test_events_are_asked_for_by_number(client):
    assert client.get("/api/events?after=x").status_code == 400
    assert client.get("/api/events?after=-1").status_code == 400


def test_the_largest_event_of_a_result_is_little_more_than_the_result(home):
    """A result is cut to `LARGEST_RESULT`, and an event is to be 256 kB at most, but for what it says around it."""
    checks = [CheckResult(f"t{i}", "batch_mean", Verdict.WRONG, "m" * LONGEST_MESSAGE) for i in range(100)]
    result = assemble(home.exercise, checks, {"batch_mean": [one.id for one in checks]}, seed=0, isolation="full")
    event = EndEvent(n=1, id=ID, run=1, hash="h" * 64, result=result, gained=(), next=None)
    assert LARGEST_RESULT / 2 < len(msgspec.json.encode(event)) < LARGEST_RESULT + 1000


@pytest.mark.parametrize("first", [True, False])
def test_a_run_that_is_asked_for_while_the_seat_opens_is_judged_when_it_is_there(home, first):
    async def story():
        opened = asyncio.Event()

        async def slow(house, exercise):
            await opened.wait()
            seats.append(FakeSeat(exercise))
            return seats[-1]

        seats = []
        all_runs = Runs(home.house, EventLog(), slow)
        number = all_runs.start(home.exercise, files.on_disk(home.exercise))
        await settled()
        if first:
            all_runs.stop(number)
        opened.set()
        await settled()
        assert [run.number for run in seats[0].asked] == ([] if first else [number])
        await all_runs.close()

    asyncio.run(story())
