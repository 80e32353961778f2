"""Whether the machine may be to blame for what came of an attempt, seen from outside its cage.

What the code in a cage says proves nothing: it can raise what a busy machine raises. So a doubt has the attempt judged
again, and only what the grader's own processes met themselves is a proof.
"""

import contextlib
import os
import re
import signal
from pathlib import Path

from msgspec.structs import replace

from grader.base import fair
from grader.engine import share
from grader.judging.pool import Outcome
from grader.verdicts.doubt import Doubt
from grader.verdicts.raised import Raised
from grader.verdicts.result import PartResult, Result
from grader.verdicts.verdict import Verdict

_MANY = share.PROCESSES // 2
"""Who has so many processes is near its own limit."""
_TRIED = 8
_BUSY_PERCENT = 40.0
"""Where programs wait for as much of the time, more of them run than there are processors."""
_REFUSED = re.compile(r"\[Errno 11\]|can't start new thread|Resource temporarily unavailable|was killed by SIGKILL")
_NO_MEMORY = re.compile(r"\[Errno 12\]|can't allocate memory|[Cc]annot allocate memory")


STARVED = Doubt("other programs took the processors: there was no time to judge it", proved=True)
"""Of a clock that has waited for as long as it may."""


def of_exception(raised: Raised, most_processes: int, memory_mb: int) -> Doubt | None:
    """What speaks for the machine when the code raised this, having had so many processes; None where nothing does."""
    if raised.base == "MemoryError" or _NO_MEMORY.search(raised.said):
        short = available_mb() < memory_mb
        return Doubt(f"the machine has less than {memory_mb:,} MB of memory left", proved=True) if short else None
    if raised.base != "BlockingIOError" and not _REFUSED.search(raised.said):
        return None
    if most_processes >= _MANY:
        return None  # it has used up its own share
    refused = _forks_are_refused()
    return Doubt("the machine refused a process" if refused else "a process was refused or killed", proved=refused)


def of_timeout() -> Doubt | None:
    """What speaks for the machine when the time of a check is over, without what others were seen to take of it."""
    busy = fair.pressure() > _BUSY_PERCENT
    return Doubt("the machine was busy: there may have been no time to judge it", proved=False) if busy else None


def of_kill(oom_kills_before: int) -> Doubt:
    """What speaks for the machine when a process was killed that the keeper did not kill."""
    proved = oom_kills() > oom_kills_before
    return Doubt("the machine ran out of memory" if proved else "a process was killed", proved)


def _forks_are_refused() -> bool:
    """Whether this process, too, cannot have a few children."""
    pids = []
    try:
        for _ in range(_TRIED):
            pid = os.fork()
            if pid == 0:
                os.kill(os.getpid(), signal.SIGSTOP)  # it stays until it is killed
                os._exit(0)
            pids.append(pid)
    except OSError:
        return True
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            os.waitpid(pid, 0)
    return False


def oom_kills() -> int:
    """How many processes the kernel has killed for want of memory since it started; 0 where it does not say."""
    return _number(Path("/proc/vmstat"), "oom_kill ")


def available_mb() -> int:
    """Memory that programs may still have, in MiB; a great deal where nobody says."""
    return (_number(Path("/proc/meminfo"), "MemAvailable:") or 1 << 50) >> 10


def _number(file: Path, name: str) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return next((int(line.split()[1]) for line in file.read_text().splitlines() if line.startswith(name)), 0)
    return 0


def in_doubt(outcome: Outcome) -> bool:
    """Whether the machine may be to blame for a verdict, so that the submission is judged again."""
    failed = {check.part for check in outcome.checks if not check.passed}
    return bool(failed & outcome.said.doubts.keys()) or bool(
        outcome.died and (outcome.starved or not outcome.timed_out)
    )


def excused(outcome: Outcome, result: Result) -> Result:
    """A result in which no part is charged for what was the machine's doing, as far as that is proved."""
    return replace(result, parts=[_excused(part, outcome.said.doubts.get(part.name)) for part in result.parts])


def _excused(part: PartResult, doubt: Doubt | None) -> PartResult:
    if not doubt or not doubt.proved or part.verdict is Verdict.PASSED:
        return part
    checks = [
        check if check.passed else replace(check, verdict=Verdict.GRADER_ERROR, message=doubt.said)
        for check in part.checks
    ]
    return replace(part, verdict=Verdict.GRADER_ERROR, message=doubt.said, checks=checks)
