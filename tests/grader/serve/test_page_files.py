"""The file on disk is the truth, and nothing a learner wrote is lost."""

import json
import os
import stat
import threading

import pytest
from serve_page import ID

from grader.base.files import digest
from grader.learner import desk
from grader.learner.saved import _facts
from grader.serve import files
from grader.serve.wire import GONE, Save

pytest_plugins = ["serve_fixtures"]

FILE = f"/api/kata/{ID}/file"


def disk(client):
    return client.get(FILE).json()


def put(client, text, began, **more):
    return client.put(FILE, json={"text": text, **more}, headers={"If-Match": began})


def kept_texts(home):
    """Every text in the history, with why it was kept."""
    kept = home.progress.history(ID)
    return [(one.door, home.progress.source(one.source)) for one in kept]


def watched(home):
    """A watch that has looked at the file as it stands, and what it tells."""
    told = []
    watch = files.Watched(lambda exercise, before, now: told.append(now))
    watch.watch(home.exercise, files.on_disk(home.exercise))
    watch.look()
    watch.look()
    return watch, told


# ---- reading


def test_the_file_as_it_stands(client, home):
    assert disk(client) == {
        "state": "there", "text": home.attempt.read_text(), "hash": digest(home.attempt.read_text()), "stub": True,
        "why": "",
    }  # fmt: skip


def test_line_ends_and_form_feeds_stay(client, home):
    home.attempt.write_bytes("x = 1\r\ny = 'é'\r\n\x0c\n".encode())
    assert disk(client)["text"] == "x = 1\r\ny = 'é'\r\n\x0c\n"


def test_a_file_that_is_gone_is_named(client, home):
    home.attempt.unlink()
    now = disk(client)
    assert (now["state"], now["hash"], now["text"]) == ("gone", GONE, "")
    assert "running_mean.py is not there" in now["why"]


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda path: path.write_bytes(b"x = '\xe9'\n"), "not UTF-8"),
        (lambda path: (path.unlink(), path.symlink_to("/etc/passwd")), "link"),
        (lambda path: (path.unlink(), path.symlink_to("nowhere")), "link"),
        (lambda path: (path.unlink(), path.mkdir()), "not a regular file"),
        (lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
        (lambda path: path.write_bytes(b"#" * (1 << 20) + b"\n"), "bytes, more than"),
    ],
)
def test_what_is_no_text_is_named_and_never_written(client, home, make, word):
    make(home.attempt)
    before = _facts(home.attempt)
    now = disk(client)
    assert now["state"] == "unreadable"
    assert word in now["why"]
    assert put(client, "mine", now["hash"]).status_code == 409
    assert put(client, "mine", now["hash"], overrules=True).status_code == 409
    assert _facts(home.attempt) == before


def test_the_stub_is_written_over_no_text_only_after_it_was_moved_away(client, home):
    home.attempt.write_bytes(b"mine = '\xe9'\n")
    answer = client.post(f"/api/kata/{ID}/reset", json={}).json()
    assert answer["stub"]
    assert home.attempt.with_name("running_mean.py.1.kept").read_bytes() == b"mine = '\xe9'\n"


def test_nothing_is_read_or_written_through_a_folder_that_leads_out_of_the_house(client, home, tmp_path):
    folder = home.attempt.parent
    outside = tmp_path / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)
    before = (outside / "running_mean.py").read_bytes()
    now = disk(client)
    assert (now["state"], now["text"]) == ("unreadable", "")
    assert put(client, "mine", digest(before.decode())).status_code == 409
    assert client.post(f"/api/kata/{ID}/reset", json={}).status_code == 400
    assert (outside / "running_mean.py").read_bytes() == before


# ---- saving


def test_a_save_reaches_the_disk_and_is_told(client, home, events):
    answer = put(client, "x = 1\n", disk(client)["hash"])
    assert answer.json() == {"hash": digest("x = 1\n"), "n": 1}
    assert home.attempt.read_text() == "x = 1\n"
    assert events() == [
        {"kind": "file", "n": 1, "id": ID, "hash": digest("x = 1\n"), "state": "there", "by": "page"}
    ]  # fmt: skip


def test_a_save_over_another_text_is_refused_with_that_text(client, home):
    began = disk(client)["hash"]
    home.attempt.write_text("theirs = 1\n")
    answer = put(client, "mine = 1\n", began)
    assert answer.status_code == 409
    assert answer.json()["text"] == "theirs = 1\n"
    assert home.attempt.read_text() == "theirs = 1\n"


def test_of_two_tabs_the_second_hears_of_the_first(client, home):
    began = disk(client)["hash"]
    assert put(client, "first = 1\n", began).status_code == 200
    assert put(client, "second = 1\n", began).json()["text"] == "first = 1\n"


def test_keep_mine_puts_theirs_into_the_history_first(client, home):
    home.attempt.write_text("theirs = 1\n")
    assert put(client, "mine = 1\n", disk(client)["hash"], overrules=True).status_code == 200
    assert home.attempt.read_text() == "mine = 1\n"
    assert kept_texts(home) == [("kept", "theirs = 1\n")]


def test_keep_mine_still_writes_over_no_text_that_was_not_seen(client, home):
    began = disk(client)["hash"]
    home.attempt.write_text("newer = 1\n")
    assert put(client, "mine = 1\n", began, overrules=True).status_code == 409
    assert home.attempt.read_text() == "newer = 1\n"


def test_where_the_history_cannot_be_written_nothing_is_written_over(client, home):
    home.attempt.write_text("theirs = 1\n")
    home.progress.path.parent.mkdir(exist_ok=True)
    home.progress.path.write_bytes(b"this is no progress file" * 100)
    answer = put(client, "mine = 1\n", disk(client)["hash"], overrules=True)
    assert answer.status_code == 400
    assert "damaged" in answer.json()["error"]
    assert home.attempt.read_text() == "theirs = 1\n"


def test_a_draft_that_gives_way_is_kept(client, home):
    assert client.post(f"/api/kata/{ID}/keep", json={"text": "draft = 1\n"}).json() == {"number": 1}
    assert kept_texts(home) == [("kept", "draft = 1\n")]
    assert client.get(f"/api/kata/{ID}/attempts/1").json()["text"] == "draft = 1\n"


def test_who_leaves_loses_nothing(client, home):
    began = disk(client)["hash"]
    home.attempt.write_text("theirs = 1\n")
    assert put(client, "mine = 1\n", began, leaving=True).status_code == 409
    assert kept_texts(home) == [("kept", "mine = 1\n")]


def test_a_file_that_is_gone_is_written_again_by_who_knows_it(client, home):
    began = disk(client)["hash"]
    home.attempt.unlink()
    assert put(client, "mine = 1\n", began).status_code == 409
    assert put(client, "mine = 1\n", GONE).status_code == 200
    assert home.attempt.read_text() == "mine = 1\n"


def test_mode_and_byte_order_mark_stay(client, home):
    home.attempt.write_bytes(b"\xef\xbb\xbfx = 1\n")
    home.attempt.chmod(0o640)
    assert put(client, "x = 2\n", disk(client)["hash"]).status_code == 200
    assert home.attempt.read_bytes() == b"\xef\xbb\xbfx = 2\n"
    assert stat.S_IMODE(home.attempt.stat().st_mode) == 0o640


def test_a_save_that_fails_leaves_the_file_and_no_rest(client, home, monkeypatch):
    before, began = home.attempt.read_text(), disk(client)["hash"]

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    answer = put(client, "mine = 1\n", began)
    assert answer.status_code == 400
    assert "No space left" in answer.json()["error"]
    assert home.attempt.read_text() == before
    assert not list(home.attempt.parent.glob(".*.part"))


def test_what_comes_between_reading_and_moving_into_place_is_not_lost(home, monkeypatch):
    began = files.on_disk(home.exercise).hash
    fsync = os.fsync

    def and_meanwhile(descriptor):
        home.attempt.write_text("theirs = 1\n")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", and_meanwhile)
    written, now = files.save(home.house, home.exercise, began, Save(text="mine = 1\n"))
    assert (written, now.text) == (False, "theirs = 1\n")


def test_the_same_text_again_writes_nothing(client, home):
    before = home.attempt.stat()
    assert put(client, home.attempt.read_text(), disk(client)["hash"]).status_code == 200
    after = home.attempt.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_save_that_names_no_text_is_refused(client, home):
    before = home.attempt.read_text()
    assert client.put(FILE, json={"text": "mine"}).status_code == 428
    assert home.attempt.read_text() == before


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[]", 400), (b"{}", 400), (b'{"text": 1}', 400), (b'{"text": "", "more": 1}', 400),
        (b'{"text": "\\ud800"}', 400), (b"[" * 100_000, 400), (b'"' + b"x" * (9 << 20) + b'"', 413),
        (json.dumps({"text": "#" * (1 << 20) + "\n"}).encode(), 400),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_used_gets_a_sentence(client, home, body, status):
    before = home.attempt.read_text()
    headers = {"If-Match": disk(client)["hash"], "Content-Type": "application/json"}
    answer = client.put(FILE, content=body, headers=headers)
    assert answer.status_code == status
    assert answer.json()["error"].endswith(".")
    assert home.attempt.read_text() == before


# ---- what others write


def test_what_somebody_else_saves_is_told_once(home):
    watch, told = watched(home)
    home.attempt.write_text("theirs = 1\n")
    for _ in range(4):
        watch.look()
    assert [now.text for now in told] == ["theirs = 1\n"]


def test_a_rename_as_vim_does_it_is_told(home):
    watch, told = watched(home)
    home.attempt.rename(home.attempt.with_name("running_mean.py~"))
    watch.look()
    home.attempt.write_text("theirs = 1\n")
    for _ in range(3):
        watch.look()
    assert [now.text for now in told] == ["theirs = 1\n"]  # and not that it was gone for a moment


def test_a_file_is_read_when_two_looks_agree(home):
    watch, told = watched(home)
    home.attempt.write_text("half of th")
    watch.look()
    home.attempt.write_text("half of the text = 1\n")
    watch.look()
    assert told == []
    watch.look()
    assert [now.text for now in told] == ["half of the text = 1\n"]


def test_another_text_of_the_same_length_and_time_is_told(home):
    home.attempt.write_text("a = 1\n")
    watch, told = watched(home)
    facts = home.attempt.stat()
    with home.attempt.open("r+") as file:
        file.write("b = 1\n")
    os.utime(home.attempt, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    watch.look()
    assert [now.text for now in told] == ["b = 1\n"]


def test_a_touch_without_another_text_is_no_news(home):
    watch, told = watched(home)
    os.utime(home.attempt, ns=(1, 1))
    for _ in range(3):
        watch.look()
    assert told == []


def test_a_file_that_goes_and_one_that_becomes_a_link_are_told(home):
    watch, told = watched(home)
    home.attempt.unlink()
    for _ in range(3):
        watch.look()
    home.attempt.symlink_to("/etc/passwd")
    for _ in range(3):
        watch.look()
    assert [now.state for now in told] == ["gone", "unreadable"]
    assert all(now.text == "" for now in told)


@pytest.mark.parametrize("resets", [False, True])
def test_what_the_page_writes_is_no_news_from_outside(client, home, events, resets):
    home.attempt.write_text("mine = 1\n")
    looked, look = threading.Semaphore(0), client.page.watched.look
    client.page.watched.look = lambda: (look(), looked.release())
    if resets:
        client.get(f"/api/kata/{ID}/file")
        client.post(f"/api/kata/{ID}/reset", json={})
    else:
        put(client, "x = 1\n", disk(client)["hash"])
    for _ in range(4):
        looked.acquire()
    assert [event["by"] for event in events()] == ["page"]


# ---- reset


def test_a_reset_keeps_the_attempt(client, home):
    home.solve()
    solved = home.attempt.read_text()
    answer = client.post(f"/api/kata/{ID}/reset", json={"part": ""}).json()
    assert answer["stub"]
    assert desk.is_stub(home.exercise)
    assert kept_texts(home) == [("reset", solved)]
    assert client.get(f"/api/kata/{ID}/attempts/1").json()["text"] == solved


def test_a_reset_of_one_part_leaves_the_rest(client, home):
    home.solve()
    text = client.post(f"/api/kata/{ID}/reset", json={"part": "batch_mean"}).json()["text"]
    assert text.count("raise NotImplementedError") == 1
    assert "self.count += len(x)" in text


def test_a_part_that_cannot_be_found_is_not_reset(client, home):
    home.attempt.write_text("x = (\n")
    answer = client.post(f"/api/kata/{ID}/reset", json={"part": "batch_mean"})
    assert answer.status_code == 400
    assert home.attempt.read_text() == "x = (\n"
