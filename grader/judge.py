"""From an exception to a verdict and a sentence. The learner sees their own lines, an author sees everything."""

import linecache
import re
import traceback
from pathlib import Path
from types import TracebackType

from grader import source
from grader.catalog import Part, nearest
from grader.fault import Changed, Forbidden, Missing, NotData, Unusable
from grader.result import Verdict

_LONGEST_ERROR = 12


class Judge:
    """Judges what came out of one learner's file.

    path: the file that the frames name. text: what ran.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text

    def loading(self, error: BaseException) -> Unusable:
        """What to say when the file itself does not load."""
        name = self.path.name
        if isinstance(error, SyntaxError) and error.filename == str(self.path):
            line = (error.text or "").strip()
            shown = f"\n    {line}" if line else ""
            return Unusable(Verdict.ERROR, f"{name}:{error.lineno} is not valid Python: {error.msg}{shown}")
        if isinstance(error, UnicodeDecodeError):
            return Unusable(Verdict.ERROR, f"{name} is not UTF-8 text: save it with that encoding")
        if isinstance(error, FileNotFoundError) and not error.__traceback__:
            return Unusable(Verdict.ERROR, str(error))
        if is_timeout(error):
            return Unusable(Verdict.TIMEOUT, self._hung(error, f"importing {name} did not end"))
        return Unusable(Verdict.ERROR, f"{name} could not be imported\n{self.told(error)}")

    def learner(self, error: BaseException, part: Part) -> tuple[Verdict, str]:
        """What to say of an exception that the learner's code raised during a check of `part`."""
        if isinstance(error, Unusable):
            return error.verdict, error.message
        if isinstance(error, Missing):
            return Verdict.ERROR, self._missing(str(error))
        if isinstance(error, NotData):
            return Verdict.WRONG, f"wrong kind of result: {error}"
        if isinstance(error, Changed):
            return Verdict.WRONG, f"the call wrote to its {error}; inputs must be left as they were"
        if isinstance(error, Forbidden):
            return Verdict.FORBIDDEN, f"{error}\n{self.lines(error.__traceback__)}".rstrip()
        if isinstance(error, MemoryError):
            return Verdict.MEMORY, f"out of memory\n{self.lines(error.__traceback__)}".rstrip()
        if is_timeout(error):
            return Verdict.TIMEOUT, self._hung(error, "still running")
        if isinstance(error, NotImplementedError):
            line = self._stub_line(error)
            if line:
                return self._to_write(line, part)
        return Verdict.ERROR, self.told(error)

    def told(self, error: BaseException) -> str:
        """The exception, and the learner's own frames only."""
        if isinstance(error, SystemExit):
            head = f"the code called sys.exit({error.code!r})"
        else:
            said = str(error).strip() or "(no message)"
            head = f"{type(error).__name__}: {said}"
        lines = head.splitlines()
        if len(lines) > _LONGEST_ERROR:
            lines = [*lines[:_LONGEST_ERROR], "..."]
        return "\n".join([*lines, *self.lines(error.__traceback__).splitlines()])

    def lines(self, trace: TracebackType | None) -> str:
        """The learner's frames of a traceback, innermost last; a long recursion is cut."""
        frames = [frame for frame in traceback.extract_tb(trace) if frame.filename == str(self.path)]
        if len(frames) > 4:
            frames = [frames[0], *frames[-3:]]
        return "\n".join(
            f"  {self.path.name}:{frame.lineno} in {source_name(self.text, frame.lineno or 0) or 'the module'}"
            f"\n      {(linecache.getline(frame.filename, frame.lineno or 0) or frame.line or '').strip()}"
            for frame in frames
        )

    def _stub_line(self, error: BaseException) -> int:
        """The line of the stub that raised, or 0: torch raises NotImplementedError of its own."""
        frames = traceback.extract_tb(error.__traceback__)
        last = frames[-1]
        lines = self.text.splitlines()
        if last.filename != str(self.path) or not last.lineno or last.lineno > len(lines):
            return 0
        return last.lineno if re.match(r"raise NotImplementedError\b", lines[last.lineno - 1].strip()) else 0

    def _to_write(self, line: int, part: Part) -> tuple[Verdict, str]:
        name = source_name(self.text, line)
        place = f"{name} ({self.path.name}:{line})"
        if name.split(".")[0] in part.names:
            return Verdict.NOT_STARTED, f"to write: {place}"
        own = self._first_stub(part)
        if own:  # it builds on another part, but has not been begun itself
            return Verdict.NOT_STARTED, f"to write: {source_name(self.text, own)} ({self.path.name}:{own})"
        return Verdict.WAITING, f"waits for {place}"

    def _first_stub(self, part: Part) -> int:
        """The first line of a part that is still the stub's, or 0."""
        spans = [span for name, span in source.definitions(self.text).items() if name in part.names]
        stubs = [i for i, line in enumerate(self.text.splitlines(), 1) if line.strip() == source.STUB]
        return next((line for line in stubs if any(first <= line <= last for first, last in spans)), 0)

    def _missing(self, name: str) -> str:
        known = source.definitions(self.text)
        return f"{self.path.name} does not define '{name}'.{nearest(name, known)} Keep the names of the stub."

    def _hung(self, error: BaseException, what: str) -> str:
        limit = re.search(r"[\d.]+", str(error))
        seconds = f"{float(limit[0]):g} s" if limit else "the limit"
        return f"{what} after {seconds}\n{self.lines(error.__traceback__)}".rstrip()


def is_timeout(error: BaseException) -> bool:
    """Whether pytest-timeout ended a check: it fails the test with this sentence."""
    return type(error).__name__ == "Failed" and str(error).startswith("Timeout (>")


def source_name(text: str, line: int) -> str:
    try:
        return source.holder(text, line)
    except SyntaxError:
        return ""
