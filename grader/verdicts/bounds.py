"""What is said of an attempt: plain text, and not too long. Code of a stranger can make it any text of any size.

A check's own words are cut where they are made; a result as a whole is cut until its line is at most `LARGEST_RESULT`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from grader.base.text import plain, plain_lines, shortened
from grader.verdicts.told import Told

if TYPE_CHECKING:
    from grader.verdicts.result import CheckResult, PartResult, Result

LARGEST_RESULT = 256_000
"""Bytes of a result as JSON; with a student's name and a line end it stays below 256 KiB."""
LONGEST_MESSAGE = 8000
LONGEST_PRINTED = 2000
LONGEST_WORD = 200
"""Characters of a value, a name or a line of source."""
_MOST_LINES = 8


def cut_told(told: Told) -> Told:
    """What a learner is told, each text of it plain, and at most as long as it may be."""
    return _cut(told, LONGEST_MESSAGE, cut_text)


def cut_text(text: str, longest: int) -> str:
    """A stranger's text as it may be shown: plain, and cut where it is too long."""
    return shortened(plain_lines(text[:longest]) + text[longest:], longest)  # what is cut off need not be plain


def cut_printed(text: str) -> str:
    """The end of what an attempt printed, as plain text."""
    return plain_lines(text[-LONGEST_PRINTED:])[-LONGEST_PRINTED:]


def cut_result(result: "Result") -> "Result":
    """The result with less of what it says, where it is too large: its points and verdicts stay as they are.

    First the maps of all but the first failure of each part go, then texts are halved until all fits.
    """
    longest = LONGEST_MESSAGE
    while longest and len(msgspec.json.encode(result)) > LARGEST_RESULT:
        result = replace(result, parts=[_cut_part(part, longest) for part in result.parts])
        longest //= 2
    return result


def _cut_part(part: "PartResult", longest: int) -> "PartResult":
    first = part.first_failure
    checks = [_cut_check(check, longest, shown=check is first) for check in part.checks]
    return replace(part, message=part.message[:longest], checks=checks)


def _cut_check(check: "CheckResult", longest: int, shown: bool) -> "CheckResult":
    told = _cut(Told(check.verdict, check.message, check.finding, check.lines, check.place), longest, _beginning)
    finding = told.finding
    if finding and not shown:
        finding = replace(finding, levels="", cells=())
    return replace(
        check, message=told.message, finding=finding, lines=told.lines, place=told.place,
        printed=check.printed[-longest:],
    )  # fmt: skip


def _beginning(text: str, longest: int) -> str:
    return text[:longest]


def _cut(told: Told, longest: int, cut: Callable[[str, int], str]) -> Told:
    word, finding = min(LONGEST_WORD, longest), told.finding
    if finding:
        texts = {name: cut(getattr(finding, name), word) for name in ("of", "entry", "expected", "got", "mistake")}
        finding = replace(finding, **texts)
    lines = [
        replace(line, file=line.file[:word], function=cut(line.function, word), text=plain(line.text[:word])[:word])
        for line in (*told.lines[:_MOST_LINES], *([told.place] if told.place else []))
    ]
    place = lines.pop() if told.place else None
    return replace(told, message=cut(told.message, longest), finding=finding, lines=tuple(lines), place=place)
