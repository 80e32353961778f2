"""A line that somebody types, at a terminal or into a pipe; if need be within a time."""

import signal
import sys
from contextlib import suppress
from importlib import import_module
from types import FrameType


class TimeOver(Exception):
    """Nothing was handed in within the time."""


def line_within(prompt: str, seconds: float | None) -> str:
    """The line that is typed behind a prompt, whose keys edit it; None waits as long as it takes.

    Raises TimeOver, after which what was typed so far is forgotten, and EOFError at the end of the input.
    """
    if sys.stdin.isatty():
        with suppress(ImportError):  # with it arrow keys edit what is typed; Windows has none
            import_module("readline")
    if seconds is None:
        return _line(prompt)
    if seconds <= 0:
        raise TimeOver
    before = signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        return _line(prompt)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def _line(prompt: str) -> str:
    sys.stdout.flush()
    try:
        return input(prompt)
    except UnicodeDecodeError:
        raise EOFError from None


def _ring(number: int, frame: FrameType | None) -> None:
    raise TimeOver
