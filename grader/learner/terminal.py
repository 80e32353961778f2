"""A terminal that shows one screen and gives keys, one at a time; put back as it was at the end."""

import asyncio
import os
import shutil
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from grader.views.render import Line

_NAMES = {
    "\r": "enter", "\n": "enter", "\x1b": "escape", "\x7f": "backspace", "\x08": "backspace", "\x03": "q", "\x04": "q",
    "\x1b[A": "up", "\x1b[B": "down", "\x1b[5~": "b", "\x1b[6~": " ", "\x1bOA": "up", "\x1bOB": "down",
}  # fmt: skip
_STYLES = {"red": "31", "green": "32", "yellow": "33", "bold": "1", "light": "2"}
_SAVE, _RESTORE, _CLEAR = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l", "\x1b[H"


class Terminal:
    """The terminal of stdin and stdout. colour: whether styles are shown."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour
        self._before = termios.tcgetattr(0)
        self._key: Callable[[str], None] = lambda name: None

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        size = shutil.get_terminal_size()
        return size.columns, size.lines

    @property
    def encoding(self) -> str:
        return sys.stdout.encoding or "ascii"

    @contextmanager
    def taken(self, key: Callable[[str], None], resized: Callable[[], None]) -> Iterator[None]:
        """Inside, keys go to `key` by name (`a`, `enter`, `up`), and the screen is ours."""
        loop = asyncio.get_running_loop()
        self._key = key
        self._take()
        loop.add_signal_handler(signal.SIGWINCH, resized)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)
            self._give_back()

    @contextmanager
    def lent(self) -> Iterator[None]:
        """Inside, the terminal is another program's, such as an editor."""
        self._give_back()
        try:
            yield
        finally:
            self._take()

    def show(self, lines: Sequence[Line]) -> None:
        """Fill the screen with these lines."""
        text = "\r\n".join(f"\x1b[2K{self.styled(line)}" for line in lines)
        self._write(f"{_CLEAR}{text}")

    def styled(self, line: Line) -> str:
        """A line with its style, where the terminal shows any."""
        codes = [_STYLES[name] for name, is_on in line.markup.items() if is_on and name in _STYLES]
        return f"\x1b[{';'.join(codes)}m{line.text}\x1b[0m" if codes and self._colour else line.text

    def _take(self) -> None:
        tty.setcbreak(0)
        mode = termios.tcgetattr(0)
        mode[3] &= ~termios.ISIG  # Ctrl-C is a key, so that it ends like q
        termios.tcsetattr(0, termios.TCSADRAIN, mode)
        asyncio.get_running_loop().add_reader(0, self._read)
        self._write(_SAVE)

    def _give_back(self) -> None:
        asyncio.get_running_loop().remove_reader(0)
        self._write(_RESTORE)
        termios.tcsetattr(0, termios.TCSADRAIN, self._before)

    def _read(self) -> None:
        for name in names_of(os.read(0, 1024).decode(errors="ignore")) or ["q"]:  # nothing: the terminal is gone
            self._key(name)

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


def names_of(typed: str) -> list[str]:
    """The names of keys in what a terminal sent: `enter`, `up`, or the character itself."""
    names = []
    while typed:
        known = next((code for code in sorted(_NAMES, key=len, reverse=True) if typed.startswith(code)), typed[0])
        if known == "\x1b" and len(typed) > 1 and typed[1] in "[O":
            end = next((i for i, c in enumerate(typed[2:], 3) if c.isalpha() or c == "~"), len(typed))
            typed = typed[end:]  # a key that means nothing here, whole
            continue
        names.append(_NAMES.get(known, known))
        typed = typed[len(known) :]
    return names
