"""A result as lines of text, for pytest's terminal and for `grader check`: 80 columns, and readable without colour."""

import os
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from grader.bank.catalog import Exercise
from grader.base.text import plain, plain_lines
from grader.verdicts.result import CheckResult, PartResult, Result
from grader.verdicts.verdict import NOT_BEGUN, QUIET, Verdict
from grader.views.columns import WIDTH, width_for
from grader.views.signs import speaks

_INDENT = 6
_LONGEST_MESSAGE = 24
_LONGEST_PRINT = 8
_MOST_TOLD = 3  # a whole solution pasted at once is told in a few lines too
_MARKS: dict[str, str] = {
    Verdict.PASSED: "✓", Verdict.NOT_STARTED: "○", Verdict.WAITING: "·", Verdict.NOT_RUN: "·", "": "·",
}  # fmt: skip
_SIGNS = "✓✗○·─…"
_ASCII = str.maketrans({"✓": "+", "✗": "x", "○": "o", "·": "-", "─": "-", "…": "."})


@dataclass(frozen=True)
class Line:
    """A line for a terminal. Whatever it is made of, it holds no command to one."""

    text: str
    markup: dict[str, bool] = field(default_factory=dict)
    """pytest's names of styles: red, green, yellow, bold, light ..."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", plain(self.text, keep="\t"))


def result_lines(
    exercise: Exercise,
    result: Result,
    *,
    tree: str = "exercises",
    gained: Sequence[str] = (),
    encoding: str = "utf-8",
    columns: int = WIDTH,
) -> list[Line]:
    """What a learner reads after a run: each part with its verdict, the first failure of each, and what to do next.

    gained: the parts that this run is first to earn; they are told why the reference does it its way. columns: of the
    terminal; lines are folded at 80 of them, or at all where there are fewer.
    """
    width = width_for(columns)
    head = title_of(exercise)
    ran = [part for part in result.parts if part.checks or result.complete]
    tail = f"{result.score} of {sum(part.points for part in ran)} points"
    tail += "" if len(ran) == len(result.parts) else f" in {len(ran)} of {len(result.parts)} parts"
    lines = [Line(f"{head}{tail:>{max(width - len(head), len(tail) + 2)}}", {"bold": True})]
    broken, path = _broken(result), _path(exercise, tree)
    for part in result.parts:
        if part.checks or result.complete:
            lines.append(part_line(part, width))
            if not broken and part.first_failure and part.verdict not in NOT_BEGUN:
                lines += failure_lines(part.first_failure, width, path)
                lines.append(_again_line(exercise, part.first_failure, tree))
    if broken:
        lines += [Line(""), *failure_lines(broken, width, path)]
    lines += gained_lines(exercise, gained, width)
    lines += [Line(""), *_next_lines(exercise, result, tree, width)]
    return spoken_lines(lines, encoding)


def title_of(exercise: Exercise) -> str:
    """What an exercise is called in a head line: `dl_011 · KV cache`."""
    return f"{exercise.label} · {exercise.title}"


def spoken_lines(lines: list[Line], encoding: str) -> list[Line]:
    """The lines as a terminal of that encoding can show them."""
    return lines if speaks(_SIGNS, encoding) else [Line(line.text.translate(_ASCII), line.markup) for line in lines]


def part_text(part: PartResult, points: float | None = None) -> str:
    """A part of a result, for a reader who does not have the checks: points, verdict, and what is wrong.

    points: what it is worth, where a teacher has said something else.
    """
    points = part.points if points is None else points
    lines = [f"{part.name}: {part.verdict}, {points * part.earned / (part.points or 1):g} of {points:g} points"]
    if part.verdict in (Verdict.WAITING, Verdict.NOT_RUN):
        lines.append(f"  {plain(part.message)}")
    failure = part.first_failure
    if failure and part.verdict not in (Verdict.WAITING, Verdict.NOT_STARTED, Verdict.NOT_RUN):
        lines += [*_fold(failure.property), *message_lines(failure.message)]
        lines += [f"  {part.tally}"] if part.tally else []
    return "\n".join(lines)


def _broken(result: Result) -> CheckResult | None:
    """A failure that every part shares, such as a file that cannot be imported: shown once."""
    shared = len(result.parts) > 1 and all(part.of_file for part in result.parts)
    return result.parts[0].first_failure if shared else None


def part_line(part: PartResult, width: int = WIDTH, checks: str = "checks") -> Line:
    """A part on one line: its mark, points, verdict, and what fits behind it. checks: what its checks are called."""
    if part.verdict in NOT_BEGUN:
        note = _brief(part)
    elif part.verdict is Verdict.PASSED:
        note = part.message
    else:
        note = part.tally.replace("checks", checks)
    name, verdict = f"{part.name:<{26 if width >= WIDTH else 16}}", f"{part.verdict:<12}"
    forms = [(name, verdict, note), (part.name, f"{part.verdict} ", note), (part.name, part.verdict, "")]
    lines = [
        f"  {mark_of(part.verdict)} {name} {part.points:>3}  {verdict} {note}".rstrip() for name, verdict, note in forms
    ]
    return Line(next((line for line in lines if len(line) <= width), lines[-1]), style_of(part.verdict))


def _brief(part: PartResult) -> str:
    """What fits behind the verdict: where to begin, or what the part waits for."""
    failure = part.first_failure
    if failure and failure.place and failure.verdict is Verdict.NOT_STARTED:
        return failure.place.at
    if failure and failure.place and failure.verdict is Verdict.WAITING:
        return f"waits for {failure.place.function}"
    return part.message.splitlines()[0]


def failure_lines(check: CheckResult, width: int = WIDTH, path: str = "") -> list[Line]:
    """A check that failed: the property, what was found, what the code printed; of a whole file no property.

    path: to the learner's file from here, for places that a terminal can open; by default its name alone.
    """
    said = _opened(check.message, path) if path else check.message
    lines = [] if check.of_file else [Line(text, {"bold": True}) for text in _fold(check.property, width)]
    lines += [Line(text) for text in message_lines(said, width)]
    printed = plain_lines(check.printed).rstrip().splitlines()[-_LONGEST_PRINT:]
    lines += [Line(" " * _INDENT + "printed  " + text, {"light": True}) for text in printed]
    return lines


def message_lines(message: str, width: int = WIDTH, indent: int = _INDENT) -> list[str]:
    """What a check found; the end of a long message is left out."""
    folded = [line for raw in plain_lines(message).splitlines() for line in _fold(raw, width, indent)]
    return folded if len(folded) <= _LONGEST_MESSAGE else [*folded[:_LONGEST_MESSAGE], " " * indent + "…"]


def _again_line(exercise: Exercise, check: CheckResult, tree: str) -> Line:
    """How to run one check again."""
    path = _path(exercise, tree)
    again = f'pytest "{path}::{check.id}"' if re.search(r"[^\w-]", check.id) else f"pytest {path}::{check.id}"
    return Line(" " * _INDENT + f"again: {again}", {"light": True})


def gained_lines(exercise: Exercise, gained: Sequence[str], width: int = WIDTH) -> list[Line]:
    """What a part gives when it is first earned: points, why the reference does it this way, and its questions."""
    lines = [Line("")] if gained else []
    for number, name in enumerate(gained):
        part = exercise.part(name)
        lines.append(Line(f"  +{part.points}  {name}", {"green": True, "bold": True}))
        if number < _MOST_TOLD:
            lines += [Line(text) for text in paragraph(part.why, _INDENT, width)]
            lines.append(Line(f"{' ' * _INDENT}grader questions {exercise.number} {name}", {"light": True}))
    if len(gained) > _MOST_TOLD:
        lines.append(Line(f"  Why so, and what interviews ask: grader questions {exercise.number}", {"light": True}))
    return lines


def _path(exercise: Exercise, tree: str) -> str:
    """The learner's file as one types it here."""
    return f"{_folder(exercise, tree)}{exercise.stem}.py"


def _opened(message: str, path: str) -> str:
    """A message whose places, as `kv_cache.py:12`, name the file by its path."""
    name = path.rpartition("/")[2]
    return re.sub(rf"(?<![\w/.]){re.escape(name)}(?=:\d)", lambda _: path, message)


def _folder(exercise: Exercise, tree: str) -> str:
    """The exercise's folder with a slash behind it, as one types it here: nothing if this is the one."""
    if not Path.cwd().is_relative_to(exercise.root):
        return f"{tree}/{exercise.id}/"
    folder = os.path.relpath(exercise.root / tree / exercise.id)
    return "" if folder == "." else f"{folder}/"


def with_command(said: str, command: str, width: int, indent: int = 2) -> list[str]:
    """A sentence and what one may type after it, on a line of its own where one line is too short."""
    space = " " * indent
    line = f"{space}{said} {command}"
    return [line] if len(line) <= width else [*paragraph(said, indent, width), f"{space}  {command}"]


def _next_lines(exercise: Exercise, result: Result, tree: str, width: int) -> list[Line]:
    path = _folder(exercise, tree).rstrip("/") or "."
    if not result.complete:
        ran = sum(part.ran_in_full for part in result.parts)
        said = f"{ran} of {len(result.parts)} parts ran in full. All of them:"
        return [Line(text) for text in with_command(said, f"pytest {path}", width)]
    if result.earned:
        said, compare = f"All {result.max_score} points.", f"grader solution {exercise.number}"
        lines = with_command(f"{said} Compare with the reference:", compare, width)
        return [Line(text, {"green": True}) for text in (lines if tree == "exercises" else [f"  {said}"])]
    following = next((part for part in result.parts if part.verdict is not Verdict.PASSED), None)
    if following is None or tree != "exercises":
        return [Line(f"  {result.score} of {result.max_score} points.")]
    if broken := _broken(result):  # no part is to blame, so none is named, and no hint for it
        place = f"{_path(exercise, tree)}{_last_line_of(broken)}"
        said = "Next: mend it, and all parts are judged. It is"
        return [Line(text) for text in with_command(said, place, width)]
    fresh = all(part.verdict in QUIET for part in result.parts)
    said = f"{'Begin with' if fresh else 'Next:'} {following.name} in"
    return [
        *(Line(text) for text in with_command(said, f"{_path(exercise, tree)}{_line_of(following)}", width)),
        Line(f"  Stuck? grader hint {exercise.number} {following.name}"),
    ]


def _line_of(part: PartResult) -> str:
    """Where a part is to be begun or mended, as `:12`; nothing where that is not known, or lies in a cell."""
    place = part.first_failure.place if part.first_failure else None
    return f":{place.line}" if place and place.line and place.file.endswith(".py") else ""


def _last_line_of(check: CheckResult) -> str:
    """Where a file could not be used, as `:12`; nothing where that is not known."""
    return f":{check.lines[-1].line}" if check.lines and check.lines[-1].file.endswith(".py") else ""


def _fold(text: str, width: int = WIDTH, indent: int = _INDENT) -> list[str]:
    """One line of a message, indented, folded at the width with its own indentation kept."""
    inner = " " * (indent + len(text) - len(text.lstrip()))
    if len(inner) >= indent + 4 and len(inner + text.strip()) > width:
        return [(inner + text.strip())[: width - 1] + "…"]  # a line of code: cut, not folded
    return textwrap.wrap(
        text.strip(), width, initial_indent=inner, subsequent_indent=inner + "  ", break_long_words=False,
        break_on_hyphens=False, drop_whitespace=True, replace_whitespace=False,
    ) or [""]  # fmt: skip


def paragraph(text: str, indent: int, width: int = WIDTH) -> list[str]:
    """Prose, wrapped at the width with one indentation; nothing for an empty text."""
    space = " " * indent
    return textwrap.wrap(
        " ".join(text.split()), width, initial_indent=space, subsequent_indent=space,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def mark_of(verdict: str) -> str:
    """The sign beside a verdict, or beside "", which is none."""
    return _MARKS.get(verdict, "✗")


def style_of(verdict: str) -> dict[str, bool]:
    """How a verdict is drawn, or "", which is none."""
    if verdict == Verdict.PASSED:
        return {"green": True}
    return {} if verdict in ("", *NOT_BEGUN) else {"red": True}
