"""What `grader watch` shows: the title, each part, the failure in focus, and the keys, cut to the terminal."""

from collections.abc import Sequence

import msgspec

from grader.bank.catalog import Exercise
from grader.verdicts.result import CheckResult, PartResult
from grader.verdicts.verdict import NOT_BEGUN, Verdict
from grader.views.columns import WIDTH
from grader.views.examples import examples_said
from grader.views.picture import text_lines, where_it_differs
from grader.views.render import Line, failure_lines, part_line, spoken_lines, title_of

KEYS = (
    "Enter run · n next · p part · l list · h hint · d diff · o open · s stop · ? keys · q quit",
    "Enter run n next p part l list h hint d diff o open s stop ? keys q quit",
    "Enter run n next p part h hint d diff o open ? keys q quit",
    "? keys  q quit",
)
HELP = (
    "Enter  judge the file again",
    "n      the next part to mend or to write",
    "p      judge only that part",
    "h      a hint for it; again: the next hint",
    "d      what has changed since the attempt before",
    "o      open the file in your editor, at the failure",
    "l      another exercise",
    "s      stop what runs",
    "x      put the stub back; your attempt is kept",
    "space  further down, b further up",
    "q      quit",
)


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to show of one exercise."""

    exercise: Exercise
    earned: frozenset[str]
    """Parts that are earned, by this run or before it; those whose examples passed, where only these are here."""
    only_examples: bool = False
    """Whether this is a student edition, which has no checks but the examples, and knows no points."""
    parts: tuple[PartResult, ...] = ()
    """As judged last, each; empty before the first run."""
    heard: tuple[CheckResult, ...] = ()
    """Checks of the run that goes on."""
    total: int = 0
    """Checks of that run; 0 where none goes on."""
    focus: str = ""
    """The part whose failure is shown."""
    status: str = ""
    """What was judged and when, or what is going on."""
    gained: tuple[Line, ...] = ()
    """What the run gave that no run gave before."""
    extra: tuple[str, ...] = ()
    """What a key asked for, such as a hint, in place of the parts."""

    @property
    def points(self) -> int:
        return sum(part.points for part in self.exercise.parts if part.name in self.earned)


def screen(board: Board, width: int, height: int, scroll: int = 0, encoding: str = "utf-8") -> list[Line]:
    """Exactly what a terminal of that size shows: the title, the body from line `scroll`, the status, the keys."""
    body = [Line(text) for text in board.extra] if board.extra else body_lines(board, min(width, WIDTH), encoding)
    room = max(1, height - 3)
    scroll = max(0, min(scroll, len(body) - room))
    shown = body[scroll : scroll + room]
    below = len(body) - scroll - len(shown)
    if below:
        shown[-1] = Line(f"      … {below + 1} more lines: space, b back", {"light": True})
    shown += [Line("")] * (room - len(shown))
    keys = next((text for text in KEYS if len(text) <= width), "")
    lines = [title_line(board, width), *shown, Line(board.status), Line(keys, {"light": True})]
    return spoken_lines([Line(_cut(line.text, width), line.markup) for line in lines], encoding)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def title_line(board: Board, width: int) -> Line:
    """The exercise at the left, the points at the right."""
    head = title_of(board.exercise)
    tail = f"{board.points} of {board.exercise.points} points"
    if board.only_examples:
        tail = examples_said(board.exercise, board.earned)
    return Line(f"{head}{tail:>{max(min(width, WIDTH) - len(head), len(tail) + 2)}}", {"bold": True})


def body_lines(board: Board, width: int = WIDTH, encoding: str = "utf-8") -> list[Line]:
    """Each part on a line, the failure of the one in focus below it; first what was gained, in short if one fails."""
    broken = next((part.first_failure for part in board.parts if part.of_file), None)
    if broken and all(part.of_file for part in board.parts) and not board.total:
        return [*board.gained, *failure_lines(broken, width)]
    lines, mends = [], False
    for part in running(board) if board.total else board.parts:
        lines.append(part_line(part, width, "examples" if board.only_examples else "checks"))
        failure = part.first_failure
        if part.name == board.focus and failure and part.verdict not in NOT_BEGUN:
            lines += [*failure_lines(failure, width), *_map_lines(failure, encoding, width), Line("")]
            mends = True
    lines = lines or [Line("  The checks are being read; the first run begins by itself.")]
    if not board.gained:
        return lines
    if not mends:
        return [*board.gained, Line(""), *lines]
    named = " ".join(" ".join(line.text.split()) for line in board.gained if line.markup.get("bold"))
    return [Line(f"  {named}", {"green": True, "bold": True}), *lines, Line(""), *board.gained]


def _map_lines(failure: CheckResult, encoding: str, width: int) -> list[Line]:
    """Where values differ, as a map without its words; nothing where that is one place, or no tensor."""
    differs = where_it_differs(failure.finding)
    if differs is None:
        return []
    indent = " " * 6
    lines = text_lines(differs, encoding, width - len(indent))
    words = len(lines) - 1 - lines[::-1].index("")
    return [Line(""), *(Line(indent + text) for text in (lines[0], *lines[2:words]))]


def running(board: Board) -> Sequence[PartResult]:
    """The parts while a run goes on: what has failed is said at once, the rest is as it was or still to come."""
    before = {part.name: part for part in board.parts}
    shown = []
    for part in board.exercise.parts:
        checks = [check for check in board.heard if check.part == part.name]
        failed = next((check for check in checks if not check.passed), None)
        if failed:
            was = PartResult(part.name, part.points, 0, failed.verdict, failed.message, checks, len(checks))
        elif checks:
            said = f"{len(checks)} pass so far"
            was = PartResult(part.name, part.points, 0, Verdict.NOT_RUN, said, checks, 0)
        else:
            was = before.get(part.name) or PartResult(part.name, part.points, 0, Verdict.NOT_RUN, "to come", [], 0)
        shown.append(was)
    return shown
