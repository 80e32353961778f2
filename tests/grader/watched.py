"""The answering process with a cage that tells of each system call that it refuses.

`python watched.py FD LEVEL MODULE... --hide PATH...` takes the place of `python -m grader.engine.answerer LEVEL ...`.
The same calls are refused with the same errors, but by a process outside, which the kernel asks: it writes one line of
JSON to the pipe FD for each refusal that it has not told of yet, the name of the call and its arguments.
"""

import array
import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pyseccomp as seccomp

from grader.base import linux
from grader.engine import answerer, calls
from grader.engine.messages import CONTROL_FD
from grader.engine.warm import Warm

_SET_MODE_FILTER, _NEW_LISTENER = 1, 1 << 3
_NOTICE = struct.Struct("=QIIiIQ6Q")  # of seccomp_unotify(2): id, pid, flags, call, architecture, place, arguments
_ANSWER = struct.Struct("=QqiI")
_RECEIVE, _SEND = 0xC0502100, 0xC0182101


class Watched(Warm):
    """As `Warm`; `refused`, once it has ended, is what its cages refused: pairs of a call and its arguments."""

    def __init__(self, level, ahead=(), hidden=()):
        self._told, write = os.pipe()
        popen = subprocess.Popen

        def start(command, *, pass_fds, **more):
            begin = command.index("-m")
            command = [*command[:begin], __file__, str(write), *command[begin + 2 :]]
            return popen(command, pass_fds=[*pass_fds, write], **more)

        subprocess.Popen = start
        try:
            super().__init__(level, ahead, hidden)
        finally:
            subprocess.Popen = popen
            os.close(write)

    def end(self):
        super().end()
        with os.fdopen(self._told) as lines:  # to its end: until the last cage is gone
            self.refused = [tuple(json.loads(line)) for line in lines]


def main():
    told, watch = int(sys.argv.pop(1)), socket.socketpair()
    if os.fork() == 0:
        watch[1].close()
        os.close(CONTROL_FD)
        _look(watch[0], told)
        os._exit(0)
    os.close(told)
    watch[0].close()
    kept, closerange = watch[1].fileno(), os.closerange

    def all_but_ours(low, high):
        closerange(low, max(low, kept))
        closerange(max(low, kept + 1), high)

    os.closerange = all_but_ours
    calls.load = lambda **how: _load(watch[1], **how)
    answerer.main()


def _load(watch, *, hidden, own):
    general = calls.program(hidden=hidden, refused=_asked)
    program = linux.Program.of(calls.for_process(general, own))
    libc, number = ctypes.CDLL(None, use_errno=True), seccomp.resolve_syscall(seccomp.Arch.NATIVE, "seccomp")
    listener = libc.syscall(number, _SET_MODE_FILTER, _NEW_LISTENER, ctypes.byref(program))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    socket.send_fds(watch, [b"."], [listener])
    os.close(listener)


def _asked(error):
    return seccomp.NOTIFY


def _look(watch, told):
    """Answer the kernel for every cage, until none is left and none can come."""
    poll, known = select.poll(), set()
    poll.register(watch, select.POLLIN)
    open_ones = {watch.fileno()}
    while open_ones:
        for fd, events in poll.poll():
            if fd == watch.fileno():
                message, new, _, _ = socket.recv_fds(watch, 1, 1)
                for listener in new:
                    poll.register(listener, select.POLLIN)
                open_ones |= set(new)
                gone = not message
            else:
                if events & select.POLLIN:
                    _answer(fd, known, told)
                gone = bool(events & select.POLLHUP)
            if gone:
                poll.unregister(fd)
                open_ones.remove(fd)
                if fd != watch.fileno():
                    os.close(fd)


def _answer(listener, known, told):
    notice = array.array("B", bytes(_NOTICE.size))
    with contextlib.suppress(FileNotFoundError):  # who called is gone
        fcntl.ioctl(listener, _RECEIVE, notice)
        id, _, _, number, _, _, *arguments = _NOTICE.unpack(notice)
        error = errno.ENOSYS if number >= calls._FIRST_NEWER else errno.EPERM
        try:
            name = seccomp.resolve_syscall(seccomp.Arch.NATIVE, number).decode()
        except ValueError:
            name = str(number)
        if (name, *arguments[:3]) not in known:
            known.add((name, *arguments[:3]))
            os.write(told, json.dumps([name, arguments]).encode() + b"\n")
        fcntl.ioctl(listener, _SEND, _ANSWER.pack(id, 0, -error, 0))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
