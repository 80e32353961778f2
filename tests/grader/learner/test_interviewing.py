"""An interview in a house, with a clock of its own: what is kept after each step, and what of a process that ended."""

import shutil
import sqlite3
import subprocess
import sys

import pytest
from interviews import DRILLS, Clock, drills_on, right_of

from conftest import ID, environment
from grader.bank.catalog import House
from grader.base.errors import HouseError
from grader.classroom.release import write_release
from grader.drills.schedule import Answer
from grader.drills.value import Unread
from grader.learner.debrief import write_page
from grader.learner.examples import done_parts
from grader.learner.interviewing import Sitting, ended_before
from grader.learner.once import judge_once
from grader.records.interviews import Interviews
from grader.records.progress import ProgressError
from grader.verdicts.result import CheckResult, assemble
from grader.verdicts.verdict import Verdict


@pytest.fixture
def drilling(home):
    home.attempt.with_name("drills.py").write_text(DRILLS)
    return home


def sitting(home, role="ml", minutes=20, seed=1, clock=None):
    begun = Sitting(home.house, role, minutes, pytest.fail, clock=clock or Clock(), seed=seed)
    begun.begin()
    return begun


def kept(home, number=1):
    return Interviews(home.root).interviews()[number]


def through(one, typed=None):
    """Answer all questions; the way each was shown."""
    seen = []
    while shown := one.ask():
        seen.append(shown)
        one.take(right_of(one.house, shown) if typed == "right" else typed)
    return seen


def test_it_stands_in_the_progress_file_from_its_beginning(drilling):
    one = sitting(drilling)
    assert (one.number, kept(drilling)) == (1, one.interview)
    assert (kept(drilling).role, kept(drilling).minutes, kept(drilling).ended) == ("ml", 20, "")
    with sqlite3.connect(Interviews(drilling.root).path) as db:
        row = db.execute("select id, role, begun, minutes from interview").fetchone()
    assert row == (1, "ml", one.interview.begun, 20)


def test_each_answer_is_kept_with_its_interview_and_no_verdict_is_said(drilling):
    clock = Clock()
    one = sitting(drilling, clock=clock)
    shown = one.ask()
    assert one.ask() == shown  # it stays until it is taken
    clock.now += 12.5
    assert one.take("1") is None
    (answer,) = Interviews(drilling.root).answers()
    assert isinstance(answer, Answer)
    assert (answer.question, answer.seed, answer.typed, answer.verdict) == (shown.id, shown.seed, "1", "wrong")
    assert (answer.hints, answer.seconds, answer.interview) == (0, 12.5, 1)
    assert kept(drilling).asked[0].outcome == "wrong"
    assert one.ask().id != shown.id


def test_what_cannot_be_read_is_asked_again_on_the_same_clock(drilling):
    clock = Clock()
    one = sitting(drilling, clock=clock)
    shown = one.ask()
    clock.now += 80
    with pytest.raises(Unread):
        one.take("1,5")
    assert (one.ask(), one.left) == (shown, 10)
    assert not one.interview.asked


@pytest.mark.parametrize(
    ("typed", "seconds", "outcome", "used"),
    [("right", 90, "right", 90), ("right", 92, "right", 90), ("right", 93, "late", 90), (None, 90, "late", 90),
     (None, 89, "passed", 89), ("0", 91, "wrong", 90)],
)  # fmt: skip
def test_the_clock_of_a_question(drilling, typed, seconds, outcome, used):
    clock = Clock()
    one = sitting(drilling, clock=clock)
    shown = one.ask()
    clock.now += seconds
    one.take(right_of(drilling.house, shown) if typed == "right" else typed)
    assert (one.interview.asked[0].outcome, one.interview.asked[0].seconds) == (outcome, used)
    answer = Interviews(drilling.root).answers()[0]
    assert answer.verdict == ("right" if outcome == "right" else "wrong")
    assert (answer.typed == "") is (outcome in ("late", "passed"))


def test_who_is_right_is_asked_harder_questions_with_more_time(drilling):
    one = sitting(drilling)
    through(one, "right")
    levels = [asked.level for asked in one.interview.asked]
    assert levels == [1, 1, 2, 2, 3]
    assert [asked.outcome for asked in one.interview.asked] == ["right"] * 5
    assert one.ask() is None


def test_a_question_that_cannot_be_asked_is_no_answer(drilling):
    said = []
    drilling.attempt.with_name("drills.py").write_text(DRILLS.replace("a, b = draw", "a, b = 1 / 0, draw", 1))
    for seed in range(6):
        one = Sitting(drilling.house, "ml", 20, said.append, seed=seed)
        one.begin()
        assert "dl_901.sum_1" not in {shown.id for shown in through(one)}
        one.end("finished")
    assert said
    assert all("dl_901.sum_1 cannot be asked" in why for why in said)


def test_a_part_is_written_in_the_learners_own_file_and_judged_once(drilling):
    clock = Clock()
    one = sitting(drilling, clock=clock)
    coding = one.begin_coding()
    assert (coding.exercise, coding.part, coding.allowed) == (ID, "batch_mean", 600)  # the other builds on it
    assert drilling.attempt.read_text().splitlines()[coding.line - 1].strip().startswith("raise NotImplementedError")
    drilling.solve()
    clock.now += 250
    text = one.hand_in()
    assert text == drilling.attempt.read_text()
    one.take_result(judge_once(drilling.house, one.exercise, text, one.to_judge), text)
    done = kept(drilling).coding
    assert (done.verdict, done.tally, done.seconds) == ("passed", "3 of 3 checks pass", 250)
    assert drilling.progress.earned() == {ID: {"batch_mean"}}
    assert drilling.progress.history(ID)[0].door == "interview"


def test_what_it_builds_on_is_judged_with_it(drilling):
    drilling.solve(("x.sum(0) / len(x)", "x.sum(0)"))
    one = sitting(drilling, seed=next(seed for seed in range(50) if part(drilling, seed) == "RunningMean"))
    assert one.begin_coding().part == "RunningMean"
    text = one.hand_in()
    assert one.to_judge == ("batch_mean", "RunningMean")
    one.take_result(judge_once(drilling.house, one.exercise, text, one.to_judge), text)
    assert one.coding.verdict == "passed"
    assert one.coding.message == "with the reference's batch_mean"


def part(home, seed):
    one = Sitting(home.house, "ml", 20, pytest.fail, seed=seed)
    one.begin()
    try:
        return one.begin_coding().part
    finally:
        one.end("left")


def result_of(exercise, **verdicts):
    """A result with one check a part, each of which ended so; of the parts that are named."""
    checks = [
        CheckResult(f"test_{name}", name, Verdict(verdict), "Found 7.", "It holds.")
        for name, verdict in verdicts.items()
    ]
    planned = {one.part: [one.id] for one in checks}
    return assemble(exercise, checks, planned, seed=0, isolation="full")


def test_a_wrong_part_is_told_with_its_message_and_is_read_about_first(drilling):
    one = sitting(drilling)
    one.begin_coding()
    one.take_result(result_of(drilling.exercise, batch_mean="wrong"), one.hand_in())
    assert (one.coding.verdict, one.coding.tally) == ("wrong", "0 of 1 checks pass")
    assert (one.coding.property, one.coding.message) == ("It holds.", "Found 7.")
    assert one.end("finished").reading[0].about == "batch_mean"


def test_a_failure_of_the_grader_is_no_verdict(drilling):
    one = sitting(drilling)
    one.begin_coding()
    one.take_result(result_of(drilling.exercise, batch_mean="grader error"), one.hand_in())
    assert one.coding.verdict == ""
    assert one.coding.problem.startswith("The grader could not judge it. This is not your fault;")


def test_nothing_that_was_written_is_changed(drilling):
    text = drilling.attempt.read_text() + "# mine\n"
    drilling.attempt.write_text(text)
    one = sitting(drilling)
    through(one)
    one.begin_coding()
    one.end("left")
    assert drilling.attempt.read_text() == text


def test_a_missing_file_begins_as_the_stub(drilling):
    stub = drilling.attempt.read_text()
    drilling.attempt.unlink()
    one = sitting(drilling)
    assert one.begin_coding().part == "batch_mean"
    assert drilling.attempt.read_text() == stub


@pytest.mark.parametrize("text", ["def x(:\n", "\udcff", "x = 1\n"])
def test_a_file_that_is_no_ground_to_build_on(drilling, text):
    drilling.attempt.write_bytes(text.encode(errors="surrogateescape"))
    one = sitting(drilling)
    coding = one.begin_coding()
    if text == "x = 1\n":
        assert coding.part == "batch_mean"
    else:
        assert coding is None
        assert "No part of 10 minutes or less" in kept(drilling).no_coding
    assert drilling.attempt.read_bytes() == text.encode(errors="surrogateescape")


def test_a_part_that_takes_longer_is_not_asked(drilling):
    drilling.edit(f"exercises/{ID}/exercise.toml", ("minutes = 5", "minutes = 11"))
    assert sitting(drilling).begin_coding() is None


def test_what_is_earned_comes_last(drilling):
    drilling.solve()
    drilling.progress.record(result_of(drilling.exercise, batch_mean="passed"), None, "check")
    assert {part(drilling, seed) for seed in range(8)} == {"RunningMean"}
    drilling.progress.record(result_of(drilling.exercise, RunningMean="passed"), None, "check")
    assert {part(drilling, seed) for seed in range(8)} == {"batch_mean", "RunningMean"}
    assert sitting(drilling).begin_coding().was_earned


def test_a_file_that_is_gone_when_the_time_is_over(drilling):
    clock = Clock()
    one = sitting(drilling, clock=clock)
    one.begin_coding()
    drilling.attempt.unlink()
    clock.now += 601
    assert one.hand_in() is None
    assert one.coding.problem == "running_mean.py cannot be read: No such file or directory."
    assert one.coding.seconds == 600


def test_the_end_says_what_to_read_and_what_was_not_asked(drilling):
    one = sitting(drilling)
    first = one.ask()
    one.take("0")
    done = one.end("left")
    assert kept(drilling) == done
    assert (done.ended, len(done.asked)) == ("left", 1)
    assert done.reading[0].path == f"exercises/{ID}/README.md"
    asked_of = drilling.house.coverage.asked_of("ml")
    assert sorted(done.not_asked) == sorted(
        item.title for item in asked_of if first.topic not in [topic.id for topic in item.topic]
    )
    assert len(done.not_asked) == len(asked_of) - 1
    assert one.end("finished") == done  # the first end counts


def test_there_is_one_at_a_time(drilling):
    one = sitting(drilling)
    other = Sitting(drilling.house, "llm", 20, pytest.fail)
    with pytest.raises(HouseError, match="in another window"):
        other.begin()
    assert ended_before(drilling.house) == {}  # it goes on
    one.end("left")
    other.begin()
    assert other.number == 2


KILLED = """
import os, signal, sys
from pathlib import Path
from grader.bank.catalog import House
from grader.learner.interviewing import Sitting

one = Sitting(House(Path.cwd()), "llm", 20, print, seed=3)
one.begin()
one.ask()
one.take("0")
one.ask()
if sys.argv[1] == "part":
    one.begin_coding()
print("ready", flush=True)
signal.pause()
"""


@pytest.mark.parametrize("where", ["question", "part"])
def test_a_process_that_is_killed_loses_nothing(drilling, where):
    command = [sys.executable, "-c", KILLED, where]
    with subprocess.Popen(command, cwd=drilling.root, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        assert ended_before(drilling.house) == {}
        process.kill()
    before = kept(drilling)
    assert (before.ended, len(before.asked)) == ("", 1)
    (number,) = found = ended_before(drilling.house)
    assert found[number] == kept(drilling)
    assert (kept(drilling).ended, kept(drilling).asked) == ("broken off", before.asked)
    assert (kept(drilling).coding is not None) is (where == "part")
    assert [answer.interview for answer in Interviews(drilling.root).answers()] == [1]
    assert ended_before(drilling.house) == {}
    assert "broken off" in write_page(drilling.house, 1, kept(drilling)).read_text()
    assert sitting(drilling).number == 2


def test_an_interview_of_a_newer_grader_is_left_as_it_is(drilling):
    sitting(drilling).end("left")
    with sqlite3.connect(Interviews(drilling.root).path) as db:
        db.execute("update interview set report = '{\"asked\": 7}'")
    assert Interviews(drilling.root).interviews() == {1: None}
    assert ended_before(drilling.house) == {}


def test_a_step_that_cannot_be_kept_is_said_and_the_interview_goes_on(drilling, monkeypatch):
    said = []
    one = Sitting(drilling.house, "ml", 20, said.append, seed=1)
    one.begin()
    one.ask()
    Interviews(drilling.root).path.write_bytes(b"damaged" * 1000)
    one.take("0")
    assert len(one.interview.asked) == 1
    assert one.end("left").ended == "left"
    assert said
    assert all("damaged" in why for why in said)
    assert Interviews(drilling.root).path.read_bytes() == b"damaged" * 1000
    with pytest.raises(ProgressError):
        Sitting(drilling.house, "ml", 20, said.append)


def test_drills_that_are_damaged_meanwhile_cost_no_report(drilling):
    one = sitting(drilling)
    one.ask()
    one.take("0")
    drilling.attempt.with_name("drills.py").write_bytes(b"\xff")
    assert one.end("left").ended == "left"
    assert kept(drilling).asked[0].outcome == "wrong"
    assert kept(drilling).not_asked


def test_a_role_that_is_not_known_or_asked_nothing_is_refused(drilling, home):
    with pytest.raises(HouseError, match="There is no role 'chef'"):
        Sitting(drilling.house, "chef", 20, print)
    drilling.attempt.with_name("drills.py").unlink()
    with pytest.raises(HouseError, match="no drills here that the role 'ml' is asked"):
        Sitting(home.house, "ml", 20, print)


def test_a_student_edition_tries_the_visible_examples(drilling, tmp_path):
    folder = tmp_path / "student"
    write_release(folder, drilling.house, [drilling.exercise])
    house = House(folder)
    one = Sitting(house, "ml", 20, pytest.fail, seed=1)
    one.begin()
    through(one)
    assert one.begin_coding().part == "batch_mean"
    one.exercise.attempt.write_text(drilling.solution)
    text = one.hand_in()
    one.take_result(judge_once(house, one.exercise, text, one.to_judge), text)
    assert (one.coding.verdict, one.coding.tally) == ("passed", "1 of 1 examples pass")
    assert one.coding.message == "These are its visible examples. More checks run where it is graded."
    assert done_parts(house) == {ID: {"batch_mean"}}


def test_each_statement_is_read_once_before_any_again(home):
    other = home.root / "exercises" / "dl_800_order"
    shutil.copytree(home.attempt.parent, other)
    (other / "drills.py").write_text(drills_on("mean.batch"))
    home.attempt.with_name("drills.py").write_text(drills_on("order.median", "order.quantile", "mean.running"))
    one = sitting(home)
    through(one)
    paths = [reading.path for reading in one.end("finished").reading]
    assert len(paths) == 3
    assert len(set(paths[:2])) == 2  # though the role is asked more about all others
