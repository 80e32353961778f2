"""`grader watch` on a terminal: the board of an exercise, and a key for each thing that one wants next."""

import asyncio
import difflib
import os
import shlex
import textwrap
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial

from grader.bank.catalog import Exercise, House
from grader.bank.source import definitions
from grader.base.errors import HouseError
from grader.base.text import plain
from grader.learner import desk
from grader.learner.saved import FileText
from grader.learner.seat import Checked, Ended, Fault, Ready, Said
from grader.learner.terminal import Terminal
from grader.learner.watch import Key, Watch
from grader.records.progress import Progress, ProgressError
from grader.verdicts.result import CheckResult
from grader.views.board import HELP, Board, screen
from grader.views.columns import WIDTH
from grader.views.render import Line, gained_lines, paragraph
from grader.views.words import counted

_MOST_WHY = 12
"""Lines of why the grader could not judge."""


class Screen:
    """What is shown of a watched exercise, and what keys change of it."""

    def __init__(self, watch: Watch, terminal: Terminal) -> None:
        self._watch, self._terminal = watch, terminal
        self.house, self.exercise = watch.house, watch.exercise
        self.chosen: Exercise | None = None
        """Another exercise to watch, once this one is left."""
        self._heard: list[CheckResult] = []
        self._total = 0
        self._focus = self.exercise.parts[0].name
        self._status = "warming up"
        self._gained: list[Line] = []
        self._extra: list[str] = []
        self._scroll = 0
        self._answer: Callable[[str], None] | None = None
        self._filter: str | None = None
        self._picked = 0

    async def show(self) -> None:
        """Until `q`, or until another exercise is chosen."""
        put = self._watch.events.put_nowait
        with self._terminal.taken(lambda name: put(Key(name)), lambda: put(Key(""))):
            while True:
                self._draw()
                event = await self._watch.events.get()
                if isinstance(event, Key):
                    if not await self._press(event.name) or self.chosen:
                        return
                elif isinstance(event, FileText):
                    self._begin(partial(self._watch.take, event))
                elif self._watch.concerns(event):
                    self._hear(event)

    @property
    def board(self) -> Board:
        """What there is to show."""
        running = self._watch.run is not None
        return Board(
            exercise=self.exercise,
            earned=self._watch.earned,
            only_examples=not self.house.is_whole,
            parts=tuple(self._watch.parts[p.name] for p in self.exercise.parts if p.name in self._watch.parts),
            heard=tuple(self._heard) if running else (),
            total=self._total if running else 0,
            focus=self._focus,
            status=self._watch.problem or self._status,
            gained=tuple(self._gained),
            extra=tuple(self._listed() if self._filter is not None else self._extra),
        )

    @property
    def _width(self) -> int:
        return min(self._terminal.size[0], WIDTH)

    def _draw(self) -> None:
        columns, lines = self._terminal.size
        self._terminal.show(screen(self.board, columns, lines, self._scroll, self._terminal.encoding))

    # What happens

    def _begin(self, ask: Callable[[], None]) -> None:
        """Ask for a run, and show that it goes on."""
        self._extra, self._gained, self._heard, self._total, self._scroll = [], [], [], 0, 0
        ask()
        if self._watch.run:
            self._status = "running"

    def _hear(self, said: Said) -> None:
        if isinstance(said, Ready):
            noun = "check" if self.house.is_whole else "example"
            self._status = counted(said.total, noun) if self._watch.run is None else self._status
        elif isinstance(said, Checked):
            self._heard.append(said.check)
            self._total = said.total
            self._status = f"running: {len(self._heard)} of {said.total}"
            if not said.check.passed and not any(one.part == self._focus and not one.passed for one in self._heard):
                self._focus = said.check.part
        elif isinstance(said, Ended):
            self._end(said)
        elif isinstance(said, Fault):
            self._watch.run = None
            self._status = "the grader could not judge"
            self._say(
                ["This is not your fault. What went wrong, in its last lines:", "", *said.why.splitlines()[-_MOST_WHY:]]
            )

    def _end(self, said: Ended) -> None:
        assert self._watch.run is not None
        alone, whole = self._watch.run.only, self.house.is_whole
        try:
            gained = self._watch.keep(said.result)
        except ProgressError as error:
            gained, self._extra = (), [str(error)]
        earned = self._watch.earned
        left = [part.name for part in said.result.parts if part.name not in earned and (part.planned or whole)]
        more = _to_go(left) if whole else "more checks when graded"
        weak = "" if said.result.isolation != "process" else " · weak isolation here"
        self._status = f"judged {datetime.now():%H:%M:%S}, {self.exercise.attempt.name} · {more}{weak}"
        failing = [name for name in self._failing() if name not in alone] or left
        if not self._fails(self._focus):
            self._focus = failing[0] if failing else self.exercise.parts[-1].name
        if gained:
            self._gained = gained_lines(self.exercise, gained, self._width)[1:]

    def _failing(self) -> list[str]:
        return [part.name for part in self.exercise.parts if self._fails(part.name)]

    def _fails(self, name: str) -> bool:
        part = self._watch.parts.get(name)
        return part is not None and part.fails

    # Keys

    async def _press(self, name: str) -> bool:
        """What a key does; False where it ends the watch."""
        if self._filter is not None:
            self._type(name)
            return True
        if self._answer is not None:
            answer, self._answer, self._extra = self._answer, None, []
            answer(name)
            return True
        if name == "q":
            return False
        page = self._terminal.size[1] - 4
        keys: dict[str, Callable[[], None]] = {
            "enter": lambda: self._begin(self._watch.ask), "n": self._next, "l": self._list, "h": self._hint,
            "p": lambda: self._begin(lambda: self._watch.ask(only=(self._focus,))), "d": self._difference,
            "s": self._stop, "x": self._ask_reset, "?": lambda: self._say(HELP),
            "down": lambda: self._move(1), "up": lambda: self._move(-1),
            " ": lambda: self._move(page), "b": lambda: self._move(-page),
        }  # fmt: skip
        if name == "o":
            await self._open()
        elif name in keys:
            keys[name]()
        else:
            self._extra, self._scroll = [], 0
        return True

    def _move(self, lines: int) -> None:
        self._scroll = max(0, self._scroll + lines)

    def _say(self, lines: Sequence[str]) -> None:
        """Show this in place of the parts, folded to the terminal."""
        folded = [part for line in lines for part in textwrap.wrap(line, self._width, drop_whitespace=False) or [""]]
        self._extra, self._gained, self._scroll = folded, [], 0

    def _next(self) -> None:
        """The next part that is to be mended or written; its failure is shown."""
        names = [part.name for part in self.exercise.parts]
        at = names.index(self._focus) + 1
        open_ = [name for name in names[at:] + names[:at] if self._fails(name) or name not in self._watch.earned]
        self._focus = open_[0] if open_ else self._focus
        self._say([])

    def _hint(self) -> None:
        try:
            given = desk.next_hint(self.house, self.exercise, self._focus)
        except (HouseError, ProgressError) as error:
            self._say([str(error)])
            return
        more = "h again: the next." if given.number < given.of else "That was the last."
        self._say(
            [
                f"{given.part} · hint {given.number} of {given.of}",
                "",
                *paragraph(given.text, 2, self._width),
                "",
                f"  {more}",
            ]
        )

    def _difference(self) -> None:
        """The file against the last attempt that was another text."""
        progress, now = Progress(self.house.root), self._watch.text
        try:
            texts = (progress.source(one.source) for one in reversed(progress.history(self.exercise.id)))
            before = next((text for text in texts if text is not None and text != now), None)
        except ProgressError as error:
            self._say([str(error)])
            return
        if before is None:
            self._say(["No other attempt is kept yet."])
            return
        changes = difflib.unified_diff(before.splitlines(), now.splitlines(), "the attempt before", "now", lineterm="")
        self._say([])
        self._extra = [plain(line) for line in changes]

    def _stop(self) -> None:
        if self._watch.run:
            self._status = "stopped; nothing was recorded"
        self._watch.stop()

    def _ask_reset(self) -> None:
        self._say(
            [
                f"Put the stub of {self.exercise.attempt.name} back? Your attempt is kept.",
                "",
                "y: yes, any other key: no",
            ]
        )
        self._answer = lambda name: self._reset() if name == "y" else None

    def _reset(self) -> None:
        try:
            desk.reset(self.house, self.exercise)
        except (HouseError, ProgressError) as error:
            self._say([str(error)])

    async def _open(self) -> None:
        """The editor that the environment names, at the failure in focus."""
        editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
        if not editor:
            self._say(["Set VISUAL or EDITOR to the command of your editor, as in: export VISUAL='code -w'"])
            return
        command = editor_command(editor, str(self.exercise.attempt), self._line())
        try:
            with self._terminal.lent():
                process = await asyncio.create_subprocess_exec(*command)
                await process.wait()
        except OSError as error:
            self._say([f"{plain(editor)} cannot be run: {error.strerror}."])

    def _line(self) -> int:
        """Where the part in focus fails, or begins; 1 where neither is known."""
        part = self._watch.parts.get(self._focus)
        failure = part.first_failure if part else None
        if failure and failure.place:
            return failure.place.line
        try:
            return definitions(self._watch.text)[self.exercise.part(self._focus).names[0]][0]
        except (SyntaxError, ValueError, KeyError, RecursionError, MemoryError):
            return 1

    # The list of exercises

    def _list(self) -> None:
        self._filter, self._picked, self._scroll = "", 0, 0

    def _found(self) -> list[Exercise]:
        wanted = (self._filter or "").lower()
        return [one for one in self.house.exercises.values() if wanted in f"{one.id} {one.title}".lower()]

    def _listed(self) -> list[str]:
        lines = [
            f"{'>' if i == self._picked else ' '} {one.label}  {one.title}" for i, one in enumerate(self._found())
        ] or ["  none"]
        room = max(1, self._terminal.size[1] - 6)
        first = max(0, min(self._picked - room // 2, len(lines) - room))  # what is chosen stays in sight
        return [
            f"Type to filter: /{self._filter}",
            "up, down: choose   Enter: watch it   Esc: back",
            "",
            *lines[first : first + room],
        ]

    def _type(self, name: str) -> None:
        found = self._found()
        if name == "escape":
            self._filter = None
        elif name == "enter" and found:
            self.chosen, self._filter = found[self._picked], None
        elif name in ("up", "down"):
            self._picked = max(0, min(len(found) - 1, self._picked + (1 if name == "down" else -1)))
        else:
            kept = self._filter or ""
            self._filter = kept[:-1] if name == "backspace" else kept + name if len(name) == 1 and name != "/" else kept
            self._picked = 0


def editor_command(editor: str, path: str, line: int) -> list[str]:
    """How to open a file at a line; of an editor whose words for that are not known, the file alone."""
    words = shlex.split(editor)
    name = os.path.basename(words[0]) if words else ""  # noqa: PTH119 - a command, no path of ours
    if name in ("vi", "vim", "nvim", "nano", "emacs", "emacsclient", "micro", "kak", "gedit"):
        return [*words, f"+{line}", path]
    if name in ("code", "codium", "cursor"):
        return [*words, "-g", f"{path}:{line}"]
    return [*words, path]


def _to_go(left: Sequence[str]) -> str:
    if not left:
        return "all parts earned"
    return f"{len(left)} {'part' if len(left) == 1 else 'parts'} to go"


async def watch_screen(house: House, exercise: Exercise, terminal: Terminal) -> Exercise:
    """Watch an exercise on a terminal, and others that are chosen there; the one that was watched last."""
    while True:
        async with Watch(house, exercise) as watch:
            shown = Screen(watch, terminal)
            await shown.show()
        if shown.chosen is None:
            return exercise
        exercise = shown.chosen
