"""Text of strangers and for people: what a terminal or a spreadsheet may see, and the nearest known name."""

import difflib
import re
from collections.abc import Iterable
from itertools import islice

_FORMULA = tuple("=+-@|%＝＋－＠")

_LONGEST_NAME = 100
_MOST_NAMES = 1000

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def plain(text: str, keep: str = "") -> str:
    """Text without commands to a terminal: characters that cannot be printed become escapes. keep: leave these."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else _escape(char) for char in text)


def plain_lines(text: str) -> str:
    """A stranger's text of several lines, as it may stand in a terminal, a file or a result: no command, no half
    character. Line ends and tabs stay.
    """
    return plain(text.replace("\r\n", "\n"), keep="\n\t")


def _escape(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def defused(cell: object) -> object:
    """A cell that no spreadsheet runs as a formula, and no terminal as a command."""
    if not isinstance(cell, str):
        return cell
    text = plain(cell)
    # Where the list separator is a semicolon, a spreadsheet begins a new cell at each one.
    text = re.sub(rf"(;\s*)(?=[{re.escape(''.join(_FORMULA))}])", r"\1'", text)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def shortened(text: str, longest: int) -> str:
    """The text where it is short enough, else its beginning and how long it is."""
    return text if len(text) <= longest else f"{text[:longest]}... ({len(text):,} characters)"


def nearest(typed: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or nothing. A stranger's file may hold many names, and long ones: some are looked at."""
    typed = typed[:_LONGEST_NAME]
    known = [name for name in islice(known, _MOST_NAMES) if len(name) <= _LONGEST_NAME]
    heads = [typed, typed[:-1] if len(typed) > 3 else typed]  # the second for a slip at the end
    begun = [name for head in heads if head for name in known if name.startswith(head)]
    inside = [name for name in known if len(typed) > 1 and typed in name]
    match = begun or difflib.get_close_matches(typed, known, n=1, cutoff=0.5) or inside
    return f" Did you mean '{match[0]}'?" if match else ""
