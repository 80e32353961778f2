"""From an exception to a verdict and a sentence. The learner sees their own lines, an author sees everything."""

import re
from pathlib import Path

from grader import pieces, source
from grader.catalog import Part, nearest
from grader.fault import Unusable
from grader.raised import Raised, described, timeout_seconds
from grader.result import Verdict

_LONGEST_ERROR = 12
_OF_FORM = ("TypeError", "AttributeError", "ValueError", "IndexError", "KeyError")
"""What a caller meets that cannot use what came back. A rank that died, or did not end, says so itself."""
_BESIDE = "raised not in your lines but by what calls them: the call did not fit, or what came back could not be used"


class Judge:
    """Judges what came out of one learner's file.

    path: the file that the frames name. text: what ran. memory_mb: the limit that held, 0 for none of the grader's.
    """

    def __init__(self, path: Path, text: str, memory_mb: int = 0) -> None:
        self.path = path
        self.text = text
        self._no_memory = f"more than {memory_mb:,} MB of memory" if memory_mb else "out of memory"

    def loading(self, error: BaseException) -> Unusable:
        """What to say when the file itself does not load."""
        name = self.path.name
        if isinstance(error, SyntaxError) and error.filename == str(self.path):
            line = (error.text or "").strip()
            shown = f"\n    {line}" if line else ""
            said = pieces.placed(str(error.msg), self.text, name)
            return Unusable(Verdict.ERROR, f"{self._at(error.lineno or 0)} is not valid Python: {said}{shown}")
        if isinstance(error, UnicodeDecodeError):
            return Unusable(Verdict.ERROR, f"{name} is not UTF-8 text: save it with that encoding")
        if isinstance(error, FileNotFoundError) and not error.__traceback__:
            return Unusable(Verdict.ERROR, str(error))
        raised = described(error, self.path)
        limit = timeout_seconds(error)
        if limit is not None:
            return Unusable(
                Verdict.TIMEOUT, self._with_lines(f"importing {name} did not end after {limit:g} s", raised)
            )
        return Unusable(Verdict.ERROR, f"{name} could not be imported\n{self._told(raised)}")

    def learner(self, error: BaseException, part: Part) -> tuple[Verdict, str]:
        """What to say of an exception that the learner's code raised during a check of `part`."""
        if isinstance(error, Unusable):
            return error.verdict, error.message
        raised = described(error, self.path)
        limit = timeout_seconds(error)
        if limit is not None:
            return Verdict.TIMEOUT, self._with_lines(f"still running after {limit:g} s", raised)
        match raised.base:
            case "Missing":
                return Verdict.ERROR, self._missing(raised.said)
            case "NotData":
                return Verdict.WRONG, f"wrong kind of result: {raised.said}"
            case "Changed":
                return Verdict.WRONG, f"the call wrote to its {raised.said}; inputs must be left as they were"
            case "Forbidden":
                return Verdict.FORBIDDEN, self._with_lines(raised.said, raised)
            case "NoLoopback":
                return Verdict.GRADER_ERROR, "this machine isolates without a loopback network, which ranks talk over"
            case "MemoryError":
                return Verdict.MEMORY, self._with_lines(self._no_memory, raised)
            case "RuntimeError" if "can't allocate memory" in raised.said:  # torch's way to say it
                return Verdict.MEMORY, self._with_lines(self._no_memory, raised)
            case "OSError" if raised.said.startswith("[Errno 12]"):  # the kernel's
                return Verdict.MEMORY, self._with_lines(self._no_memory, raised)
            case "NotImplementedError" if self._stub_line(raised):
                return self._to_write(self._stub_line(raised), part)
        beside = f"\n  {_BESIDE}" if raised.base in _OF_FORM and not raised.lines else ""
        return Verdict.ERROR, self._told(raised) + beside

    def not_begun(self, part: Part, stub: str) -> Unusable | None:
        """What every check of a part says while it stands as in the stub; None once it has been begun."""
        line = self._first_stub(part) if source.untouched(self.text, stub, part.names) else 0
        return Unusable(Verdict.NOT_STARTED, f"to write: {self._place(line)}") if line else None

    def _told(self, raised: Raised) -> str:
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
        for line in raised.lines:
            said += f"\n  {self._at(line)} in {self._holder(line) or 'the module'}\n      {self._line(line).strip()}"
        return said

    def _line(self, number: int) -> str:
        return source.line_of(self.text)(number)

    def _is_refusal(self, raised: Raised) -> bool:
        """Whether a cell of a notebook is no Python, and says so."""
        is_syntax = raised.base == "SyntaxError" and raised.lines and pieces.is_of_notebook(self.text)
        return bool(is_syntax) and pieces.is_refusal(self._line(raised.lines[-1]))

    def _stub_line(self, raised: Raised) -> int:
        """The line of the stub that raised, or 0: torch raises NotImplementedError of its own."""
        if not raised.own or not raised.lines:
            return 0
        line = raised.lines[-1]
        return line if re.match(r"raise NotImplementedError\b", self._line(line).strip()) else 0

    def _to_write(self, line: int, part: Part) -> tuple[Verdict, str]:
        if self._holder(line).split(".")[0] in part.names:
            return Verdict.NOT_STARTED, f"to write: {self._place(line)}"
        own = self._first_stub(part)
        if own:  # it builds on another part, but has not been begun itself
            return Verdict.NOT_STARTED, f"to write: {self._place(own)}"
        return Verdict.WAITING, f"waits for {self._place(line)}"

    def _place(self, line: int) -> str:
        return f"{self._holder(line)} ({self._at(line)})"

    def _at(self, line: int) -> str:
        return pieces.place(self.text, self.path.name, line)

    def _first_stub(self, part: Part) -> int:
        """The first line of a part that is still the stub's, or 0."""
        spans = [span for name, span in source.definitions(self.text).items() if name in part.names]
        return next(
            (line for line in source.stub_lines(self.text) if any(first <= line <= last for first, last in spans)), 0
        )

    def _missing(self, name: str) -> str:
        known = source.definitions(self.text)
        return f"{self.path.name} does not define '{name}'.{nearest(name, known)} Keep the names of the stub."

    def _holder(self, line: int) -> str:
        try:
            return source.holder(self.text, line)
        except SyntaxError:
            return ""
