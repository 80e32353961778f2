"""A saved file is noticed whatever an editor does to save it, and never half written."""

import asyncio
import os

import pytest
from shared import PATIENCE

from grader.learner.saved import FileText, Look, read_saved, saves


def seen(path, *steps):
    """What is noticed: first what lies there, then after each step. steps: change the file."""

    async def look():
        noticed = []
        waiting = list(steps)
        async with asyncio.timeout(PATIENCE):
            async for saved in saves(path):
                noticed.append(saved)
                if not waiting:
                    break
                waiting.pop(0)()
        return noticed

    return asyncio.run(look())


def test_what_lies_there_is_told_at_once_and_each_change(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("1")
    assert seen(path, lambda: path.write_text("22"), lambda: path.write_text("1")) == [
        FileText("1"),
        FileText("22"),
        FileText("1"),
    ]


def test_a_rename_over_the_file_is_a_save(tmp_path):
    path, beside = tmp_path / "a.py", tmp_path / "4913"

    def as_vim_does():
        path.rename(tmp_path / "a.py~")
        beside.write_text("2")
        beside.rename(path)

    path.write_text("1")
    assert seen(path, as_vim_does)[-1] == FileText("2")


def test_a_touch_is_looked_at_and_is_no_save(tmp_path):
    path, looked = tmp_path / "a.py", []
    path.write_text("1")

    def touch_then_write():
        os.utime(path, ns=(1, 1))
        look = Look()
        looked.append([look.is_new(path), look.is_new(path), look.is_new(path)])
        path.write_text("2")

    assert seen(path, touch_then_write) == [FileText("1"), FileText("2")]
    assert looked == [[False, True, False]]  # when two looks agree, and once


def test_another_text_of_the_same_length_and_time_is_a_save(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("1")

    def over_it():
        facts = path.stat()
        with path.open("r+") as file:
            file.write("2")
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))

    assert seen(path, over_it) == [FileText("1"), FileText("2")]


def test_a_file_that_is_gone_and_comes_back(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("1")
    assert seen(path, path.unlink, lambda: path.write_text("1")) == [
        FileText("1"),
        FileText("", "is gone"),
        FileText("1"),
    ]


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda path: path.write_bytes(b"\xff\xfe"), "is not UTF-8 text"),
        (lambda path: path.mkdir(), "cannot be read: it is not a regular file"),
        (lambda path: path.symlink_to("/etc/passwd"), "cannot be read: it is a link, and links are not followed"),
        (lambda path: os.mkfifo(path), "cannot be read: it is not a regular file"),
        (lambda path: None, "is gone"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, make, problem):
    make(tmp_path / "a.py")
    assert read_saved(tmp_path / "a.py") == FileText("", problem)
