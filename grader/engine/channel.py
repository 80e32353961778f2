"""The asker's end: it sends questions to a caged answerer, and takes nothing that comes back for granted.

One answerer serves a submission for as long as it lives. What ends it costs the part that was asked, and the next part
gets a new one. A process a part would cost a fifth more, and each would load the file again.

A `Caged` stands where a `Runner` stands, so that the same checks run on both.
"""

import contextlib
import marshal
import os
import select
import signal
import socket
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

import msgspec

from grader.answering import wire
from grader.answering.cost import Cost
from grader.answering.ranks import on_ranks
from grader.answering.request import Request
from grader.bank.catalog import Exercise, Part
from grader.bank.standins import StandIns
from grader.base import fair
from grader.base.errors import EngineError
from grader.engine import cage, doubt, held
from grader.engine.disk import FILES
from grader.engine.messages import START_SECONDS, Ended, Entered, Hello, Job
from grader.verdicts.bounds import LONGEST_PRINTED
from grader.verdicts.doubt import Doubt
from grader.verdicts.explain import Explainer
from grader.verdicts.fault import NotData, Unusable
from grader.verdicts.raised import Raised, revive, stopped, timeout_seconds
from grader.verdicts.told import Told
from grader.verdicts.verdict import Verdict

_TOLD_SECONDS = 0.2
_TELLS = 0.9
"""The share of a check's time after which an answerer prints where its code stands."""


@cache
def drivers_beside(checks: Path) -> bytes:
    """The drivers beside a file of checks, compiled: in the parent of the askers, not by each answerer anew."""
    return compiled_drivers(checks.parent / "drivers.py")


def compiled_drivers(path: Path) -> bytes:
    """A file of drivers as an answerer takes it. Raises OSError, SyntaxError."""
    return compiled(path.read_text(encoding="utf-8"), path.name)


def compiled(text: str, name: str = "drivers.py") -> bytes:
    """Drivers as an answerer takes them; of an empty text none. Raises SyntaxError."""
    return marshal.dumps(compile(text, f"/attempt/{name}", "exec", dont_inherit=True))


class Caged:
    """Answers requests by running one file's code in a cage.

    control: the warm process's control socket. text: the learner's file. standins: what takes the place of definitions
    in it. drivers: compiled, in the place of those beside the checks. isolation: the level, once a cage has said it.
    means: what the cage's share of the machine rests on. doubts: part to why the machine may be to blame. on_loss: gets
    the seconds that others took, whenever the clock of a check is looked at.
    """

    def __init__(
        self,
        control: socket.socket,
        exercise: Exercise,
        text: str,
        standins: StandIns | None = None,
        drivers: bytes | None = None,
    ) -> None:
        self.explainer = Explainer(Path("/attempt", f"{exercise.stem}.py"), text, exercise.limits.memory_mb)
        self.raised: BaseException | None = None
        self.printed = ""
        self.isolation = ""
        self.means: dict[str, str] = {}
        self.doubts: dict[str, Doubt] = {}
        self.on_loss: Callable[[float], None] = lambda seconds: None
        self._oom_kills = doubt.oom_kills()
        self._lost = self._lost_told = 0.0
        self._control = control
        self._standins = standins
        self._exercise = exercise
        self._drivers = drivers_beside(exercise.checks) if drivers is None else drivers
        self._answerer: _Answerer | None = None
        self._over: dict[str, Unusable] = {}
        self._part: Part | None = None
        self._seed = 0
        self._begun = False

    def begin(self, part: Part | None, seed: int) -> None:
        """Get ready for one check of `part`. seed: of the attempt's own random numbers."""
        self.raised, self.printed = None, ""
        self._part, self._seed, self._begun = part, seed, False

    def ask(self, request: Request) -> Any:
        """The answer. What the learner's code raises, or what ends it, is remembered and goes through."""
        try:
            return self._ask(request)
        except EngineError as error:
            self._note(Doubt(str(error), proved=True))
            raise
        except fair.Starved:
            raise
        except BaseException as error:
            self.raised = error
            raise

    def clock(self) -> contextlib.AbstractContextManager[None]:
        """Lets the clock of a check leave out what others took of the processors."""
        return fair.check_clock(self.lost, self._starved)

    def lost(self) -> float:
        """Seconds that others took of the processors: from this process, and from its answerers."""
        lost = fair.own_wait() + self._lost + (self._answerer.lost() if self._answerer else 0.0)
        if lost > self._lost_told + _TOLD_SECONDS:
            self._lost_told = lost
            self.on_loss(lost)
        return lost

    def _starved(self) -> fair.Starved:
        self._note(doubt.STARVED)
        return fair.Starved(doubt.STARVED.said)

    def _note(self, found: Doubt | None) -> None:
        """Remember a doubt about the part that is asked; a proof stays."""
        part = self._part.name if self._part else ""
        if found and not (part in self.doubts and self.doubts[part].proved):
            self.doubts[part] = found

    def close(self) -> None:
        """End the answerer. A part that has failed for good stays so; for any other the next request starts anew."""
        if self._answerer:
            self._lost += self._answerer.lost()
            self._answerer.close()
        self._answerer = None

    def _ask(self, request: Request) -> Any:
        assert self._part, "a request before `begin`"
        over = self._over.get(self._part.name)
        if over:
            raise over
        try:
            if not self._answerer:
                self._answerer = self._start()
                self._begun = False
            message = msgspec.structs.asdict(request)
            if not self._begun:
                seconds = _TELLS * self._exercise.limits.check_seconds
                message["check"] = {"seed": self._seed, "forbidden": list(self._part.forbidden), "seconds": seconds}
                self._begun = True
            reply = self._without_print(request, self._answerer.ask(message))
        except _Over as ended:
            self._look_at_end(ended)
            self.close()
            over = self._over[self._part.name] = Unusable(ended.told(self._exercise))
            raise over from None
        except BaseException as error:  # the clock of the check
            self._stop(self._part, error)
            raise
        return self._believable(request, reply)

    def _without_print(self, request: Request, reply: Any) -> Any:
        """A reply without what the code printed meanwhile, which is kept: a stranger's text, and no more than that.

        What is asked a second time, for its calls, prints a second time, and that is not kept.
        """
        match reply:
            case {"printed": str(said), **rest}:
                if not request.calls:
                    self.printed = (self.printed + said)[-LONGEST_PRINTED:]
                return rest
        return reply

    def _stop(self, part: Part, error: BaseException) -> None:
        """End the code in the middle of a question, and let a timeout say where it stood."""
        self._over[part.name] = Unusable(Told(Verdict.TIMEOUT, "not run: an earlier check of this part was stopped"))
        answerer = self._answerer
        self.close()
        if answerer is None or timeout_seconds(error) is None:
            return
        self._note(doubt.of_timeout())
        ended = answerer.last_word()
        if ended and ended.how in ("memory", "processes", "output", "disk"):  # it was passed before the clock rang
            over = self._over[part.name] = Unusable(_Over(ended).told(self._exercise))
            raise over from None
        raised, importing = stopped(ended.printed if ended else "", self.explainer.path)
        error.raised = raised  # type: ignore[attr-defined]  # as `revive` does
        if importing:  # it would not end in the next part either
            over = self.explainer.loading(error)
            self._over = {one.name: over for one in self._exercise.parts}
            raise over from None

    def _start(self) -> "_Answerer":
        limits = self._exercise.limits
        cage_limits = cage.Limits(cpu_seconds=int(limits.exercise_seconds), memory_mb=limits.memory_mb)
        answerer = _Answerer(self._control, Job(cage_limits, fair.processors(), self._exercise.watches))
        self.isolation, self.means = str(answerer.entered.level), answerer.entered.means
        name, forbidden = self.explainer.path.name, self._exercise.forbidden
        hello = Hello(name, self.explainer.text, self._drivers, self._standins, forbidden)
        answerer.tell(msgspec.to_builtins(hello))
        return answerer

    def _look_at(self, raised: Raised) -> None:
        """Whether the machine, not the code, may be to blame for an exception."""
        most = self._answerer.most_processes() if self._answerer else 0
        self._note(doubt.of_exception(raised, most, self._exercise.limits.memory_mb))

    def _look_at_end(self, over: "_Over") -> None:
        """Whether the machine, not the code, may have ended an answerer."""
        killed = over.ended is not None and over.ended.how == "signal" and over.ended.number == signal.SIGKILL
        if killed or (over.ended is None and not over.said):
            self._note(doubt.of_kill(self._oom_kills))

    def _believable(self, request: Request, reply: Any) -> Any:
        """What a reply says, if it has the form of one."""
        match reply:
            case {"value": value, **rest} if not rest:
                return _of_kind(request, value)
            case {"raised": described, **rest} if not rest:
                try:
                    raised = msgspec.convert(described, Raised)
                except msgspec.ValidationError as error:
                    raise NotData(f"the answer is forged: {error}") from None
                if raised.base == "Unusable":
                    raise self.explainer.heard(raised)
                self._look_at(raised)
                if raised.base == "MemoryError":
                    self.close()  # what filled the memory may still lie there
                if raised.base == "NoLoopback" and not self._lacks_loopback(request):
                    raised = msgspec.structs.replace(raised, base="RuntimeError")  # the code's own doing
                raise revive(raised)
            case {"malformed": str(said), **rest} if not rest:
                raise NotData(f"the result {said[:500]}")
        raise NotData("the answer is forged")

    def _lacks_loopback(self, request: Request) -> bool:
        """Whether a request cannot be answered where the answerer is, since ranks need a loopback there."""
        asks_for_ranks = request.driver and request.target in _asking_for_ranks(self._drivers)
        return asks_for_ranks and not _has_loopback(cage.Level(self.isolation))


@cache
def _asking_for_ranks(drivers: bytes) -> frozenset[str]:
    """The names of drivers that ask for ranks, themselves or through one another. drivers: compiled."""
    functions = {code.co_name: _names(code) for code in _inner(marshal.loads(drivers))}
    found = {on_ranks.__name__}
    while more := {name for name, used in functions.items() if used & found} - found:
        found |= more
    return frozenset(found)


def _inner(code: CodeType) -> list[CodeType]:
    return [one for one in code.co_consts if isinstance(one, CodeType)]


def _names(code: CodeType) -> set[str]:
    """The names that a function uses, in functions inside it too."""
    return set(code.co_names).union(*map(_names, _inner(code)))


def _has_loopback(level: cage.Level) -> bool:
    """Whether a cage of this level has sockets that others of it can reach."""
    if level is cage.Level.PROCESS:  # it has what this process has
        with contextlib.suppress(PermissionError):
            socket.socket().close()
            return True
        return False
    return level is cage.Level.FULL


class _Over(Exception):
    """An answerer has ended, and why."""

    def __init__(self, ended: Ended | None, said: str = "") -> None:
        super().__init__(said)
        self.ended = ended
        self.said = said

    def told(self, exercise: Exercise) -> Told:
        """The sentence for the learner."""
        ended = self.ended
        if ended is None:
            return Told(Verdict.ERROR, self.said or "the code closed its connection to the grader")
        match ended.how:
            case "processes":
                return Told(Verdict.CRASHED, f"more than {ended.number:,} processes and threads")
            case "memory":
                return Told(Verdict.MEMORY, f"more than {ended.number:,} MB of memory")
            case "output":
                return Told(Verdict.OUTPUT_LIMIT, f"more than {ended.number:,} bytes printed")
            case "disk":
                return Told(Verdict.OUTPUT_LIMIT, f"more than {ended.number:,} bytes or {FILES:,} files written")
            case "cpu":
                return Told(Verdict.TIMEOUT, f"more than {exercise.limits.exercise_seconds:g} s of CPU")
            case "signal":
                with contextlib.suppress(ValueError):
                    return Told(Verdict.CRASHED, f"ended by {signal.Signals(ended.number).name}")
                return Told(Verdict.CRASHED, f"ended by signal {ended.number}")
        return Told(Verdict.CRASHED, f"the code ended its process with exit code {ended.number}")


class _Answerer:
    """One caged process, from this side: a socket for data, and one on which its keeper says how it is."""

    def __init__(self, control: socket.socket, job: Job) -> None:
        self.data, data = socket.socketpair()
        self.status, status = socket.socketpair()
        file = held.new_ledger_file()
        ends = [data.fileno(), status.fileno(), *([file] if file >= 0 else [])]
        try:
            self._ledger = held.Ledger(file) if file >= 0 else None
            socket.send_fds(control, [msgspec.json.encode(job)], ends)
        except OSError as error:
            raise EngineError(f"the answering process has ended: {error}") from None
        finally:
            data.close()
            status.close()
            if file >= 0:
                os.close(file)
        self.entered = self._first_word()
        self._asked = 0

    def lost(self) -> float:
        """Seconds that others took of the processors from what is in the cage."""
        return self._ledger.lost() if self._ledger else 0.0

    def most_processes(self) -> int:
        """How many processes and threads were seen in the cage at once."""
        return self._ledger.most_processes() if self._ledger else 0

    def tell(self, message: dict[str, Any]) -> None:
        try:
            wire.send(self.data, wire.pack(message))
        except OSError:
            raise _Over(self.last_word()) from None

    def ask(self, message: dict[str, Any]) -> Any:
        """Send a request and wait for its reply, or for the end. The clock is the check's."""
        self._asked += 1
        self.tell({"number": self._asked, **message})
        while True:
            ready, _, _ = select.select([self.data, self.status], [], [])
            if self.data not in ready:
                raise _Over(self.last_word())
            match self._received():
                case {"number": int(number), **reply} if number >= self._asked:
                    return reply if number == self._asked else None
                case {"number": int()}:
                    continue  # a second reply to an earlier request: a forged one went before it
                case _:
                    return None

    def _received(self) -> Any:
        """The next frame; a hostile process may have written it."""
        try:
            body = wire.receive(self.data)
            if body is not None:
                return wire.unpack(body)
        except wire.Malformed as error:
            self.close()
            raise _Over(None, f"what the code's process sent cannot be read: {error}") from None
        except OSError:
            pass
        raise _Over(self.last_word())

    def close(self) -> None:
        """Closing the status socket makes the keeper kill everything inside."""
        with contextlib.suppress(OSError):
            self.status.shutdown(socket.SHUT_WR)
        self.data.close()

    def _first_word(self) -> Entered:
        body = None
        with contextlib.suppress(OSError, wire.Malformed):
            ready, _, _ = select.select([self.status], [], [], START_SECONDS)
            body = wire.receive(self.status) if ready else None
        if body is None:
            raise EngineError("no answerer could be started")
        entered = msgspec.json.decode(body, type=Entered)
        if entered.failed:
            raise EngineError(f"no cage could be entered: {entered.failed}")
        return entered

    def last_word(self) -> Ended | None:
        """How it ended, as its keeper reports; None if the keeper is gone too."""
        with contextlib.suppress(OSError, wire.Malformed, msgspec.DecodeError):
            ready, _, _ = select.select([self.status], [], [], START_SECONDS)
            body = wire.receive(self.status) if ready else None
            if body is not None:
                return msgspec.json.decode(body, type=Ended)
        return None


def _has_gradients(request: Request, value: Any) -> bool:
    """Whether a value is one of `gradients`: with a list of as many as there are arguments."""
    match value:
        case (_, [*grads]):
            return isinstance(value, tuple) and len(grads) == len(request.args)
    return False


def _of_kind(request: Request, value: Any) -> Any:
    """A value of the form that its kind of request has; raises NotData for another, which no honest answerer sends."""
    if request.kind == "call" or request.calls:
        return value
    if request.kind == "each" and isinstance(value, list) and len(value) == len(request.args):
        return value
    if isinstance(value, tuple) and len(value) == 2:
        first, second = value
        if request.kind == "gradients" and _has_gradients(request, value):
            return value
        if request.kind == "draws" and isinstance(first, dict) and isinstance(second, dict):
            return value
        if request.kind == "cost" and (request.upstream is None or _has_gradients(request, first)):
            with contextlib.suppress(msgspec.ValidationError):
                msgspec.convert(second, Cost)
                return first, second
    raise NotData(f"the answer to a question about {request.kind} is forged")
