"""From an exception to a verdict and a sentence. The learner sees their own lines, an author sees everything."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from grader.bank import pieces, source
from grader.bank.catalog import Part
from grader.base.text import nearest, shortened
from grader.verdicts.bounds import LONGEST_WORD
from grader.verdicts.fault import Unusable
from grader.verdicts.finding import Finding
from grader.verdicts.raised import Raised, described, timeout_seconds
from grader.verdicts.told import SourceLine, Told
from grader.verdicts.verdict import Verdict

_LONGEST_ERROR = 12
_OF_FORM = ("TypeError", "AttributeError", "ValueError", "IndexError", "KeyError")
"""What a caller meets that cannot use what came back. A rank that died, or did not end, says so itself."""
_BESIDE = "raised not in your lines but by what calls them: the call did not fit, or what came back could not be used"


class Explainer:
    """Says what came out of one learner's file.

    path: the file that the frames name. text: what ran. memory_mb: the limit that held, 0 for none of the grader's.
    """

    def __init__(self, path: Path, text: str, memory_mb: int = 0) -> None:
        self.path = path
        self.text = text
        self._no_memory = f"more than {memory_mb:,} MB of memory" if memory_mb else "out of memory"

    def loading(self, error: BaseException) -> Unusable:
        """The verdict and message for a file that cannot be imported."""
        name = self.path.name
        raised = described(error, self.path)
        if not raised.lines and isinstance(error, SyntaxError) and error.filename == str(self.path):
            said = pieces.placed(str(error.msg), self.text, name)
            at = error.lineno or 0
            line = self._line(at).strip()[:LONGEST_WORD]
            shown = f"\n    {line}" if line else ""
            return self._unusable(Verdict.ERROR, f"{self._at(at)} is not valid Python: {said}{shown}", [at])
        if not raised.lines and isinstance(error, MemoryError | RecursionError):
            return self._unusable(Verdict.ERROR, f"{name} is not valid Python: nested too deep to be read")
        if isinstance(error, UnicodeDecodeError):
            return self._unusable(Verdict.ERROR, f"{name} is not UTF-8 text: save it with that encoding")
        if isinstance(error, FileNotFoundError) and not error.__traceback__:
            return self._unusable(Verdict.ERROR, str(error))
        limit = timeout_seconds(error)
        if limit is not None:
            said = self._with_lines(f"importing {name} did not end after {limit:g} s", raised)
            return self._unusable(Verdict.TIMEOUT, said, raised.lines)
        return self._unusable(Verdict.ERROR, f"{name} could not be imported\n{self._sentence(raised)}", raised.lines)

    def heard(self, raised: Raised) -> Unusable:
        """What another process said when the file did not load there."""
        verdict = raised.verdict if raised.verdict in ("error", "timeout", "memory") else "error"
        return self._unusable(Verdict(verdict), raised.said, raised.lines)

    def _unusable(self, verdict: Verdict, message: str, numbers: Sequence[int] = ()) -> Unusable:
        return Unusable(Told(verdict, message, lines=self._lines(numbers), of_file=True), numbers)

    def learner(self, error: BaseException, part: Part) -> Told:
        """What to say of an exception that the learner's code raised during a check of `part`."""
        if isinstance(error, Unusable):
            return error.told
        raised = described(error, self.path)
        limit = timeout_seconds(error)
        if limit is not None:
            return self._tell(Verdict.TIMEOUT, f"still running after {limit:g} s", raised)
        match raised.base:
            case "Missing":
                return Told(Verdict.ERROR, self._missing(raised.said))
            case "NotData":
                return Told(Verdict.WRONG, f"wrong kind of result: {raised.said}", Finding(kind="form"))
            case "Changed":
                return Told(Verdict.WRONG, f"the call wrote to its {raised.said}; inputs must be left as they were")
            case "Forbidden":
                return self._forbidden(raised, part)
            case "Elsewhere":
                return self._tell(Verdict.WRONG, raised.said, raised)
            case "NoLoopback":
                said = "this machine isolates without a loopback network, which ranks talk over"
                return Told(Verdict.GRADER_ERROR, said)
            case "MemoryError":
                return self._tell(Verdict.MEMORY, self._no_memory, raised)
            case "RuntimeError" if "can't allocate memory" in raised.said:  # torch's way to say it
                return self._tell(Verdict.MEMORY, self._no_memory, raised)
            case "OSError" if raised.said.startswith("[Errno 12]"):  # the kernel's
                return self._tell(Verdict.MEMORY, self._no_memory, raised)
            case "NotImplementedError" if self._stub_line(raised):
                return self._to_write(self._stub_line(raised), part)
        beside = f"\n  {_BESIDE}" if raised.base in _OF_FORM and not raised.lines else ""
        return Told(Verdict.ERROR, self._sentence(raised) + beside, lines=self._lines(raised.lines))

    def _forbidden(self, raised: Raised, part: Part) -> Told:
        """A call that is forbidden here; where another part makes it, which is in use here, this one waits for that."""
        holder = self._holder(raised.lines[-1]) if raised.lines else ""
        if holder.split(".")[0] not in part.after:
            return self._tell(Verdict.FORBIDDEN, raised.said, raised)
        said = f"waits for {holder}, which this part uses: {raised.said.split(' is what ')[0]} is called there"
        return self._tell(Verdict.WAITING, said, raised)

    def not_begun(self, part: Part, stub: str) -> Told | None:
        """The message of every check of a part that is still the stub; None once the learner has begun it."""
        line = self._first_stub(part) if source.untouched(self.text, stub, part.names) else 0
        return self._not_started(line) if line else None

    def _not_started(self, line: int) -> Told:
        place = self._source_line(line)
        return Told(Verdict.NOT_STARTED, f"to write: {place.function} ({place.at})", place=place)

    def _tell(self, verdict: Verdict, said: str, raised: Raised) -> Told:
        return Told(verdict, self._with_lines(said, raised), lines=self._lines(raised.lines))

    def _sentence(self, raised: Raised) -> str:
        """The exception, and the learner's own lines only."""
        if self._is_refusal(raised):
            return raised.said.partition("\n")[0]
        if raised.base == "SystemExit":
            head = f"the code called sys.exit({raised.said})"
        elif raised.kind == "BdbQuit":
            head = "a breakpoint stands here, and nobody is there to answer it: take it out, or run pytest"
        else:
            head = f"{raised.kind}: {raised.said or '(no message)'}"
        lines = head.splitlines()
        if len(lines) > _LONGEST_ERROR:
            lines = [*lines[:_LONGEST_ERROR], "..."]
        return self._with_lines("\n".join(lines), raised)

    def _with_lines(self, said: str, raised: Raised) -> str:
        for line in self._lines(raised.lines):
            said += f"\n  {line.at} in {line.function or 'the module'}\n      {line.text}"
        return said

    def _lines(self, numbers: Sequence[int]) -> tuple[SourceLine, ...]:
        return tuple(self._source_line(number) for number in numbers)

    def _source_line(self, number: int) -> SourceLine:
        file, line = pieces.located(self.text, self.path.name, number)
        holder = shortened(self._holder(number), LONGEST_WORD)
        return SourceLine(file, line, holder, self._line(number).strip()[:LONGEST_WORD])

    def _line(self, number: int) -> str:
        return source.line_of(self.text)(number)

    def _is_refusal(self, raised: Raised) -> bool:
        """Whether the exception says that a cell of a notebook is not Python."""
        is_syntax = raised.base == "SyntaxError" and raised.lines and pieces.is_of_notebook(self.text)
        return bool(is_syntax) and pieces.is_refusal(self._line(raised.lines[-1]))

    def _stub_line(self, raised: Raised) -> int:
        """The line of the stub that raised, or 0: torch raises NotImplementedError of its own."""
        if not raised.own or not raised.lines:
            return 0
        line = raised.lines[-1]
        return line if re.match(r"raise NotImplementedError\b", self._line(line).strip()) else 0

    def _to_write(self, line: int, part: Part) -> Told:
        if self._holder(line).split(".")[0] in part.names:
            return self._not_started(line)
        own = self._first_stub(part)
        if own:  # it builds on another part, but has not been begun itself
            return self._not_started(own)
        place = self._source_line(line)
        return Told(Verdict.WAITING, f"waits for {place.function} ({place.at})", place=place)

    def _at(self, line: int) -> str:
        return pieces.place(self.text, self.path.name, line)

    def _first_stub(self, part: Part) -> int:
        """The first line of a part that is still the stub's, or 0."""
        spans = [span for name, span in self._definitions().items() if name in part.names]
        return next(
            (line for line in source.stub_lines(self.text) if any(first <= line <= last for first, last in spans)), 0
        )

    def _missing(self, name: str) -> str:
        known = self._definitions()
        name = shortened(name, LONGEST_WORD)
        return f"{self.path.name} does not define '{name}'.{nearest(name, known)} Keep the names of the stub."

    def _holder(self, line: int) -> str:
        return source.holder(self.text, line) if self._definitions() else ""

    def _definitions(self) -> Mapping[str, tuple[int, int]]:
        """Where each definition stands; none where the text is no Python, or nested too deep to be read from here."""
        try:
            return source.definitions(self.text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return {}
