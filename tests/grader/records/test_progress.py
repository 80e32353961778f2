import multiprocessing
import sqlite3
from pathlib import Path

import msgspec
import pytest
from shared import PATIENCE

from grader.base.files import digest
from grader.records.progress import Progress, ProgressError, source_of
from grader.verdicts.result import CheckResult, PartResult, Result
from grader.verdicts.verdict import Verdict

ID = "dl_901_running_mean"


def result(text, *earned, exercise=ID, ran=("a", "b")):
    """A result whose parts are a (30 points) and b (70); those of `ran` have a check, those of `earned` are earned."""
    parts = []
    for name, points in (("a", 30), ("b", 70)):
        verdict = Verdict.PASSED if name in earned else Verdict.WRONG if name in ran else Verdict.NOT_RUN
        checks = [CheckResult(f"test_{name}", name, verdict)] if name in ran else []
        parts.append(PartResult(name, points, points if name in earned else 0, verdict, "", checks))
    score = sum(part.earned for part in parts)
    return Result(exercise, 1, score, 100, parts, 0, "practice", 0.1, digest(text))


@pytest.fixture
def progress(tmp_path):
    return Progress(tmp_path)


def test_nothing_is_written_by_looking(progress, tmp_path):
    assert progress.earned() == {}
    assert progress.last_worked_on() == {}
    assert progress.history(ID) == []
    assert progress.events(ID, "hint") == 0
    assert progress.source("x") is None
    assert list(tmp_path.iterdir()) == []


def test_an_attempt_is_kept_with_its_source(progress):
    progress.record(result("x = 1\n", "a"), "x = 1\n", "pytest")
    (kept,) = progress.history(ID)
    assert (kept.number, kept.door, kept.score, kept.max_score, kept.earned) == (1, "pytest", 30, 100, ("a",))
    assert progress.source(kept.source) == "x = 1\n"
    assert progress.last_worked_on().keys() == {ID}


def test_an_earned_part_stays_earned(progress):
    progress.record(result("1", "a"), "1", "pytest")
    progress.record(result("2"), "2", "check")
    progress.record(result("3", "b", ran=("b",)), "3", "check")
    assert progress.earned() == {ID: {"a", "b"}}


def test_what_a_result_is_first_to_earn_is_said_once(progress):
    assert progress.record(result("1", "a"), "1", "pytest") == ("a",)
    assert progress.record(result("2", "a", "b"), "2", "check") == ("b",)
    assert progress.record(result("3"), "3", "pytest") == ()
    assert progress.record(result("4", "a", "b"), "4", "pytest") == ()
    assert progress.record(result("5", "a", exercise="dl_902_variance"), "5", "pytest") == ("a",)
    assert progress.record(result("6", ran=()), "6", "pytest") == ()


def test_the_same_text_is_kept_once_and_each_attempt_all_the_same(progress):
    for _ in range(3):
        progress.record(result("x"), "x", "pytest")
    assert len(progress.history(ID)) == 3
    with sqlite3.connect(progress.path) as db:
        assert db.execute("select count(*) from sources").fetchone() == (1,)


def test_a_run_of_nothing_is_no_attempt(progress):
    progress.record(result("x", ran=()), "x", "pytest")
    assert progress.history(ID) == []


def test_an_attempt_whose_text_is_unknown_counts_without_it(progress):
    progress.record(result("x", "a"), None, "pytest")
    assert progress.earned() == {ID: {"a"}}
    assert progress.source(progress.history(ID)[0].source) is None


def test_exercises_are_kept_apart(progress):
    progress.record(result("x", "a"), "x", "pytest")
    progress.record(result("y", "b", exercise="dl_902_variance"), "y", "pytest")
    assert progress.earned() == {ID: {"a"}, "dl_902_variance": {"b"}}
    assert len(progress.history(ID)) == 1


def test_events_are_counted_by_kind_and_part(progress):
    progress.note(ID, "hint", part="a")
    progress.note(ID, "hint", part="a")
    progress.note(ID, "give up", part="a")
    assert (progress.events(ID, "hint", "a"), progress.events(ID, "hint", "b")) == (2, 0)
    assert progress.events(ID, "give up", "a") == 1


def test_a_reset_stands_in_the_history_with_its_source(progress):
    progress.record(result("x"), "x", "pytest")
    progress.note(ID, "reset", text="before\n")
    progress.note(ID, "hint", part="a")
    kept = progress.history(ID)
    assert [(one.number, one.door) for one in kept] == [(1, "pytest"), (2, "reset")]
    assert progress.source(kept[1].source) == "before\n"


def test_a_result_can_be_read_back_whole(progress):
    one = result("x", "a")
    progress.record(one, "x", "check")
    with sqlite3.connect(progress.path) as db:
        (blob,) = db.execute("select result from attempts").fetchone()
    assert msgspec.json.decode(blob, type=Result) == one


def test_a_record_that_fails_half_way_leaves_nothing(progress):
    progress.record(result("x"), "x", "pytest")
    torn = msgspec.structs.replace(result("y", "a"), revision=None)  # refused by the table, after the source is in
    with pytest.raises(ProgressError):
        progress.record(torn, "y", "pytest")
    assert progress.earned() == {}
    assert progress.source(digest("y")) is None
    assert len(progress.history(ID)) == 1


def write(root, who, gate):
    gate.wait()
    for i in range(20):
        Progress(Path(root)).record(result(f"{who} {i}", "a"), f"{who} {i}", who)


def test_two_processes_writing_at_once_lose_nothing(progress, tmp_path):
    context = multiprocessing.get_context("spawn")  # a fork of a process that ran torch may hang
    gate = context.Barrier(2)
    writers = [context.Process(target=write, args=(str(tmp_path), who, gate)) for who in ("one", "two")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(PATIENCE)
    assert [writer.exitcode for writer in writers] == [0, 0]
    kept = progress.history(ID)
    assert len(kept) == 40
    assert {progress.source(one.source) for one in kept} == {f"{who} {i}" for who in ("one", "two") for i in range(20)}


def damaged(path):
    path.write_bytes(b"this is no database, whatever its name says " * 100)


def torn(path):
    """A file of ours whose pages are overwritten from some point on."""
    Progress(path.parent.parent).record(result("x", "a"), "x", "pytest")
    data = bytearray(path.read_bytes())
    data[100:] = b"\xff" * (len(data) - 100)
    path.write_bytes(data)


def newer(path):
    Progress(path.parent.parent).record(result("x", "a"), "x", "pytest")
    with sqlite3.connect(path) as db:
        db.execute("pragma user_version = 99")


def foreign(path):
    with sqlite3.connect(path) as db:
        db.execute("create table photos (name text)")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (damaged, "is damaged"),
        (torn, "is damaged"),
        (newer, "was written by a newer grader"),
        (foreign, "is no progress file of this grader"),
    ],
)
def test_a_file_that_cannot_be_used_is_reported_and_left_as_it_is(progress, spoil, said):
    progress.path.parent.mkdir()
    spoil(progress.path)
    before = progress.path.read_bytes()
    for use in (
        lambda: progress.record(result("y", "b"), "y", "pytest"),
        lambda: progress.note(ID, "hint", part="a"),
        progress.earned,
        progress.last_worked_on,
        lambda: progress.history(ID),
    ):
        with pytest.raises(ProgressError, match=said) as caught:
            use()
        assert str(progress.path) in str(caught.value)
    assert progress.path.read_bytes() == before
    assert [path.name for path in progress.path.parent.iterdir()] == ["progress.sqlite"]


def test_a_place_that_cannot_be_written_is_reported(progress, tmp_path):
    (tmp_path / ".grader").write_text("a file, not a folder")
    with pytest.raises(ProgressError, match="cannot be opened"):
        progress.record(result("x"), "x", "pytest")
    assert (tmp_path / ".grader").read_text() == "a file, not a folder"


def test_a_file_in_use_is_reported_and_not_waited_for_without_end(progress, monkeypatch):
    monkeypatch.setattr("grader.records.progress._WAIT_SECONDS", 0.05)
    progress.record(result("x"), "x", "pytest")
    other = sqlite3.connect(progress.path, isolation_level=None)
    other.execute("begin immediate")
    with pytest.raises(ProgressError, match="in use by another program"):
        progress.record(result("y"), "y", "pytest")
    other.execute("rollback")
    other.close()
    progress.record(result("y"), "y", "pytest")
    assert len(progress.history(ID)) == 2


def test_the_text_of_a_file_counts_only_while_it_is_what_was_judged(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("x = 1\n")
    assert source_of(path, digest("x = 1\n")) == "x = 1\n"
    assert source_of(path, digest("x = 2\n")) is None
    path.write_bytes(b"\xff")
    assert source_of(path, digest("x = 1\n")) is None
    path.unlink()
    assert source_of(path, digest("x = 1\n")) is None
