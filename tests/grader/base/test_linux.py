"""The system calls of the grader's own, each in a child that ends with it."""

import os
import signal
import sys

import pytest

from grader.base import linux

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="calls of Linux")


def in_a_child(work):
    """What `work` returns, a small number, in a fork."""
    if (pid := os.fork()) == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def may_signal(pid):
    try:
        os.kill(pid, 0)
    except PermissionError:
        return False
    return True


def test_signals_stay_inside():
    landlock = pytest.importorskip("landlock")
    try:
        if landlock.landlock_abi_version() < 6:
            pytest.skip("Linux before 6.12 does not keep them")
    except OSError:
        pytest.skip("a Linux without Landlock")
    outside = os.getpid()

    def work():
        linux.no_new_privileges()
        before = may_signal(outside)
        linux.keep_signals_inside()
        child = os.fork()
        if child == 0:
            signal.pause()
        inside = may_signal(os.getpid()) and may_signal(child)
        os.kill(child, signal.SIGKILL)
        return before * 4 + inside * 2 + may_signal(outside)

    assert in_a_child(work) == 4 + 2


def test_orphans_are_adopted():
    def work():
        linux.adopt_orphans()
        read, write = os.pipe()
        if os.fork() == 0:
            if os.fork() == 0:
                os.close(write)
                os.read(read, 1)  # until the other end is closed, by who adopts
                os._exit(5)
            os._exit(4)
        ended = os.waitstatus_to_exitcode(os.wait()[1])
        os.close(write)
        return ended * 10 + os.waitstatus_to_exitcode(os.wait()[1])

    assert in_a_child(work) == 45
