"""A line that somebody types, within a time."""

import os
import select
import sys
import termios
from contextlib import suppress


class TimeOver(Exception):
    """Nothing was handed in within the time."""


def line_within(seconds: float | None) -> str:
    """The next line of the terminal; None waits as long as it takes.

    Raises TimeOver, after which what was typed so far is forgotten, and EOFError at the end of the input.
    """
    sys.stdout.flush()
    typed = b""
    descriptor = sys.stdin.fileno()
    while not typed.endswith(b"\n"):  # a terminal gives one line at a time; Ctrl-D gives the half of one
        if not select.select([descriptor], [], [], None if seconds is None else max(seconds, 0.0))[0]:
            _forget(descriptor)
            raise TimeOver
        piece = os.read(descriptor, 1 << 16)
        if not piece:
            raise EOFError
        typed += piece
    return typed.decode("utf-8", "surrogateescape").rstrip("\r\n")


def _forget(descriptor: int) -> None:
    with suppress(termios.error):  # it is no terminal
        termios.tcflush(descriptor, termios.TCIFLUSH)
