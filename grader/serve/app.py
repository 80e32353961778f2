"""The routes of the practice page. `wire` says what each takes and gives, `guard` who may ask."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from grader.bank.catalog import Exercise, House
from grader.base.errors import HouseError
from grader.drills.value import Unread
from grader.learner import desk
from grader.learner.first import changed_parts
from grader.learner.seat import Seat
from grader.records.progress import Progress, ProgressError
from grader.serve import files, reported, shown
from grader.serve.drills import Drills, NotOpen
from grader.serve.events import EventLog
from grader.serve.guard import Guard, Named
from grader.serve.interviews import InterviewHost, NotNow
from grader.serve.runs import OpenSeat, Runs
from grader.serve.wire import (
    Asked,
    Attempt,
    Attempts,
    AttemptText,
    DiskFile,
    Done,
    DrillWish,
    FileEvent,
    HintGiven,
    InterviewAnswer,
    InterviewWish,
    Keep,
    Kept,
    Nothing,
    PartNamed,
    Refused,
    Reset,
    RunAsked,
    RunTaken,
    Save,
    Saved,
    SeatState,
    Solution,
    Try,
    Typed,
    Wire,
)
from grader.views.picture import stylesheet

_STATIC = Path(__file__).parent / "static"
_DARK = ':root[data-shade="dark"]'
"""What the page says where it is dark."""
_LARGEST_BODY = 8 << 20
"""Bytes; a text of the largest file, each character of it escaped, takes less."""
_LOOK_SECONDS = 0.1
_SECOND_LOOKS = 300
"""Between two looks for seats that nobody uses."""
_LONGEST_NUMBER = 15
"""Digits; a browser counts no further."""
_MOST_TRIED = 100_000
A = TypeVar("A", bound=Asked)
Opens = Callable[[House, Exercise], Awaitable[OpenSeat]]


class Page:
    """What one server serves: a house, its events, its runs. Each handler runs to its end before another begins."""

    def __init__(self, house: House, open_seat: Opens = Seat.open) -> None:
        self.house = house
        self.log = EventLog()
        self.runs = Runs(house, self.log, open_seat)
        self.drills = Drills(house)
        self.interviews = InterviewHost(house, self.log, open_seat)
        self.watched = files.Watched(self.changed_outside)
        self._at_cursor: dict[str, str] = {}
        """Exercise id to the part that was judged first when a page asked last."""

    # ---- what happens by itself

    def changed_outside(self, exercise: Exercise, before: DiskFile, disk: DiskFile) -> None:
        """Somebody else wrote the file: tell it, and judge it as if it had been saved here."""
        self.log.say(FileEvent, id=exercise.id, hash=disk.hash, state=disk.state, by="disk")
        if disk.state == "there" and not disk.stub and not self.interviews.holds(exercise):
            changed = changed_parts(exercise, before.text, disk.text)
            part = self._at_cursor.get(exercise.id, "")
            self.runs.start(exercise, disk, changed[0] if changed and part not in changed else part)

    async def look_on(self) -> None:
        """Look at the files again and again, and at seats now and then."""
        for number in count():
            with suppress(OSError):  # a disk that is away for a moment
                self.watched.look()
            if number % _SECOND_LOOKS == 0:
                self.runs.dismiss_idle()
            await asyncio.sleep(_LOOK_SECONDS)

    # ---- routes

    async def map(self, request: Request) -> Wire:
        return shown.house_map(self.house)

    async def report(self, request: Request) -> Wire:
        return reported.report(self.house)

    async def kata(self, request: Request) -> Wire:
        exercise = self._exercise(request)
        disk = self._disk(exercise)
        seat: SeatState = "cold" if self.interviews.holds(exercise) else self.runs.warm(exercise)
        running = self.runs.running(exercise)
        return shown.kata(self.house, exercise, disk, seat=seat, running=running, n=self.log.n)

    async def file(self, request: Request) -> Wire:
        return self._disk(self._exercise(request))

    async def save(self, request: Request) -> Wire | Response:
        exercise, asked = self._exercise(request), await _read(request, Save)
        began = request.headers.get("if-match", "").strip('"')
        if not began:
            raise HTTPException(428, "A save names the text that it began from: If-Match: HASH.")
        written, disk = files.save(self.house, exercise, began, asked)
        if not written:
            return _answer(disk, 409)
        self.watched.know(exercise, disk)
        if disk.hash != began:
            self.log.say(FileEvent, id=exercise.id, hash=disk.hash, state=disk.state, by="page")
        return Saved(hash=disk.hash, n=self.log.n)

    async def keep(self, request: Request) -> Wire:
        exercise, asked = self._exercise(request), await _read(request, Keep)
        return Kept(number=files.keep(self.house, exercise, asked.text))

    async def run(self, request: Request) -> Wire | Response:
        exercise, asked = self._asking(request), await _read(request, RunAsked)
        part = exercise.part(asked.part).name if asked.part else ""
        if asked.only and not part:
            raise HTTPException(400, "Name the part that is to be judged alone.")
        disk = self._meant(exercise, asked.hash)
        if isinstance(disk, Response):
            return disk
        self._at_cursor[exercise.id] = part
        return RunTaken(run=self.runs.start(exercise, disk, part, asked.only), hash=disk.hash)

    async def try_lines(self, request: Request) -> Wire | Response:
        exercise, asked = self._exercise(request), await _read(request, Try)
        disk = self._meant(exercise, asked.hash)
        if isinstance(disk, Response):
            return disk
        if not asked.lines.strip():
            raise HTTPException(400, "There is no line to try.")
        if len(asked.lines) > _MOST_TRIED:
            raise HTTPException(400, f"Lines to try have at most {_MOST_TRIED:,} characters in all.")
        return RunTaken(run=self.runs.try_lines(exercise, disk, asked.lines), hash=disk.hash)

    async def stop(self, request: Request) -> Wire:
        number = _number(request.path_params["number"], "a run")
        if not self.runs.stop(number):
            raise HTTPException(404, f"Run {number} does not go on.")
        return Done()

    async def hint(self, request: Request) -> Wire:
        exercise, asked = self._asking(request), await _read(request, PartNamed)
        hint = desk.next_hint(self.house, exercise, asked.part)
        return HintGiven(part=hint.part, number=hint.number, of=hint.of, text=hint.text)

    async def give_up(self, request: Request) -> Wire:
        exercise, asked = self._asking(request), await _read(request, PartNamed)
        desk.give_up(self.house, exercise, desk.not_earned(self.house, exercise, asked.part))
        return Done()

    async def reset(self, request: Request) -> Wire:
        exercise, asked = self._exercise(request), await _read(request, Reset)
        disk = files.reset(self.house, exercise, exercise.part(asked.part).name if asked.part else "")
        self.watched.know(exercise, disk)
        self.log.say(FileEvent, id=exercise.id, hash=disk.hash, state=disk.state, by="page")
        return disk

    async def attempts(self, request: Request) -> Wire:
        kept = Progress(self.house.root).history(self._exercise(request).id)
        return Attempts(
            attempts=tuple(
                Attempt(
                    number=one.number, at=one.at, door=one.door, score=one.score, max_score=one.max_score,
                    hash=one.source, earned=one.earned,
                )
                for one in kept
            )
        )  # fmt: skip

    async def attempt(self, request: Request) -> Wire:
        number = _number(request.path_params["number"], "an attempt")
        return AttemptText(number=number, text=desk.attempt_text(self.house, self._exercise(request), number))

    async def solution(self, request: Request) -> Wire:
        exercise, name = self._asking(request), request.query_params.get("part", "")
        parts = [exercise.part(name)] if name else list(exercise.parts)
        if shown.edition(self.house) == "student":
            raise HTTPException(403, "This is a student edition, without solutions: ask your teacher.")
        missing = [part.name for part in parts if not shown.may_see(self.house, exercise, part)]
        if missing:
            raise HTTPException(403, f"Not earned yet: {', '.join(missing)}.")
        return Solution(part=name, text=desk.reference_text(exercise, name or None))

    async def drill(self, request: Request) -> Wire:
        return self.drills.next(await _read(request, DrillWish))

    async def drill_turn(self, request: Request) -> Wire:
        return self.drills.turn(request.path_params["turn"])

    async def drill_read(self, request: Request) -> Wire:
        return self.drills.read(request.path_params["turn"], (await _read(request, Typed)).typed)

    async def drill_hint(self, request: Request) -> Wire:
        await _read(request, Nothing)
        return self.drills.hint(request.path_params["turn"])

    async def drill_answer(self, request: Request) -> Wire:
        return self.drills.answer(request.path_params["turn"], (await _read(request, Typed)).typed)

    async def interview(self, request: Request) -> Wire:
        return self.interviews.desk()

    async def interview_begin(self, request: Request) -> Wire:
        asked = await _read(request, InterviewWish)
        return self.interviews.begin(asked.role, asked.minutes)

    async def interview_next(self, request: Request) -> Wire:
        await _read(request, Nothing)
        return self.interviews.next()

    async def interview_answer(self, request: Request) -> Wire:
        asked = await _read(request, InterviewAnswer)
        return self.interviews.answer(asked.place, None if asked.passes else asked.typed)

    async def interview_coding(self, request: Request) -> Wire:
        await _read(request, Nothing)
        return self.interviews.coding()

    async def interview_hand_in(self, request: Request) -> Wire:
        await _read(request, Nothing)
        return self.interviews.hand_in()

    async def interview_end(self, request: Request) -> Wire:
        await _read(request, Nothing)
        return self.interviews.end()

    async def interview_report(self, request: Request) -> Wire:
        number = _number(request.path_params["number"], "an interview")
        report = self.interviews.report(number)
        if report is None:
            raise HTTPException(404, f"There is no interview {number}.")
        return report

    async def events(self, request: Request) -> Wire | Response:
        given = request.query_params.get("after")
        after = None if given is None else _number(given, "an event")
        if "text/event-stream" not in request.headers.get("accept", ""):
            return await self.log.poll(after)
        held_back = {"X-Accel-Buffering": "no"}  # a proxy is to pass it on as it comes
        return StreamingResponse(self.log.stream(after), media_type="text/event-stream", headers=held_back)

    # ---- shared

    def _exercise(self, request: Request) -> Exercise:
        try:
            return self.house.find(request.path_params["id"])
        except HouseError as error:
            raise HTTPException(404, str(error)) from None

    def _asking(self, request: Request) -> Exercise:
        """The exercise that is to be judged, or told about: not while its part is on the clock of an interview."""
        exercise = self._exercise(request)
        if self.interviews.holds(exercise):
            raise HTTPException(403, "An interview goes on: no hints, and the verdict comes at its end.")
        return exercise

    def _meant(self, exercise: Exercise, hash: str) -> DiskFile | Response:
        """The text that a run is about; or what is on disk as the answer, where that is another one."""
        disk = self._disk(exercise)
        if disk.state != "there" or (hash and hash != disk.hash):
            return _answer(disk, 409)
        return disk

    def _disk(self, exercise: Exercise) -> DiskFile:
        """What is on disk, known from now on."""
        disk = files.on_disk(exercise)
        self.watched.watch(exercise, disk)
        return disk


def make_app(house: House, token: str, named: Named, open_seat: Opens = Seat.open, proxied: bool = False) -> Starlette:
    """The application. named: whether a `Host` is this server's. proxied: who comes through a proxy gets the token."""
    page = Page(house, open_seat)

    async def index(request: Request) -> Response:
        if proxied and "open" not in request.query_params:
            return RedirectResponse(f"./?open#token={token}", 303)
        try:
            text = (_STATIC / "index.html").read_text(encoding="utf-8")
        except OSError:
            return Response("The page is not built: static/index.html is missing.", 500, media_type="text/plain")
        return HTMLResponse(text.replace("{{nonce}}", request.state.nonce))

    async def pictures(request: Request) -> Response:
        return Response(stylesheet(_DARK), media_type="text/css", headers={"Cache-Control": "no-cache"})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        looking = asyncio.create_task(page.look_on())
        yield
        looking.cancel()
        page.log.close()
        await page.interviews.close()
        await page.runs.close()

    app = Starlette(
        routes=[
            Route("/", index),
            Route("/pictures.css", pictures),
            *_routes(page),
            Mount("/static", _Static(directory=_STATIC, check_dir=False)),
        ],
        lifespan=lifespan,
        exception_handlers={
            HTTPException: _refused,
            HouseError: _unusable,
            ProgressError: _unusable,
            NotOpen: _not_open,
            NotNow: _not_now,
            Unread: _unread,
            msgspec.DecodeError: _unreadable,
            ClientDisconnect: _cut_short,
            Exception: _broken,
        },
    )
    app.state.page = page
    again = "Open it again from JupyterLab." if proxied else "Open the address that `grader serve` printed."
    app.add_middleware(Guard, token=token, named=named, again=again)
    return app


def _routes(page: Page) -> list[Route]:
    kata = "/api/kata/{id}"
    table = [
        ("GET", "/api/map", page.map),
        ("GET", "/api/report", page.report),
        ("GET", kata, page.kata),
        ("GET", f"{kata}/file", page.file),
        ("PUT", f"{kata}/file", page.save),
        ("POST", f"{kata}/keep", page.keep),
        ("POST", f"{kata}/run", page.run),
        ("POST", f"{kata}/try", page.try_lines),
        ("POST", f"{kata}/hint", page.hint),
        ("POST", f"{kata}/give-up", page.give_up),
        ("POST", f"{kata}/reset", page.reset),
        ("GET", f"{kata}/attempts", page.attempts),
        ("GET", f"{kata}/attempts/{{number}}", page.attempt),
        ("GET", f"{kata}/solution", page.solution),
        ("DELETE", "/api/run/{number}", page.stop),
        ("POST", "/api/drill", page.drill),
        ("GET", "/api/drill/{turn}", page.drill_turn),
        ("POST", "/api/drill/{turn}/read", page.drill_read),
        ("POST", "/api/drill/{turn}/hint", page.drill_hint),
        ("POST", "/api/drill/{turn}/answer", page.drill_answer),
        ("GET", "/api/interview", page.interview),
        ("POST", "/api/interview", page.interview_begin),
        ("POST", "/api/interview/next", page.interview_next),
        ("POST", "/api/interview/answer", page.interview_answer),
        ("POST", "/api/interview/coding", page.interview_coding),
        ("POST", "/api/interview/hand-in", page.interview_hand_in),
        ("POST", "/api/interview/end", page.interview_end),
        ("GET", "/api/interview/{number}", page.interview_report),
        ("GET", "/api/events", page.events),
    ]
    return [Route(path, _speaking(handle), methods=[method]) for method, path, handle in table]


def _speaking(handle: Callable[[Request], Awaitable[Wire | Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def spoken(request: Request) -> Response:
        said = await handle(request)
        return said if isinstance(said, Response) else _answer(said)

    return spoken


def _answer(said: Wire, status: int = 200) -> Response:
    return Response(msgspec.json.encode(said), status, media_type="application/json")


async def _read(request: Request, shape: type[A]) -> A:
    """The body of a request; a body that is too long is not read to its end."""
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_BODY:
            raise HTTPException(413, f"A request has at most {_LARGEST_BODY:,} bytes.")
    try:
        asked = msgspec.json.decode(bytes(body), type=shape)
    except UnicodeDecodeError:
        raise HTTPException(400, "A request is text in UTF-8.") from None
    json.loads(body, object_pairs_hook=_told_once)
    return asked


def _told_once(pairs: list[tuple[str, Any]]) -> None:
    """Of two values for one key the first would be lost, which may be somebody's text."""
    if len(dict(pairs)) < len(pairs):
        raise HTTPException(400, "The request gives two values for one key.")


def _number(given: str, what: str) -> int:
    """A number that a request gives: every one of them comes through here."""
    if not given.isascii() or not given.isdecimal() or len(given) > _LONGEST_NUMBER:
        raise HTTPException(400, f"The number of {what} has 1 to {_LONGEST_NUMBER} digits, from 0 to 9.")
    return int(given)


class _Static(StaticFiles):
    """The committed bundle. Its files keep their names, so a browser asks each time whether they are still the same."""

    async def get_response(self, path: str, scope: Any) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


# ---- what went wrong, as a sentence


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(Refused(error=error.detail), error.status_code)


async def _unusable(request: Request, error: Exception) -> Response:
    return _answer(Refused(error=str(error)), 400)


async def _not_open(request: Request, error: Exception) -> Response:
    return _answer(Refused(error="This question is not open any more. Ask for the next one."), 404)


async def _not_now(request: Request, error: Exception) -> Response:
    return _answer(Refused(error=str(error)), 409)


async def _unread(request: Request, error: Exception) -> Response:
    """What was typed is no answer: nothing is judged, and it is asked again."""
    return _answer(Refused(error=str(error)), 422)


async def _unreadable(request: Request, error: Exception) -> Response:
    return _answer(Refused(error=f"The request cannot be read: {error}."), 400)


async def _cut_short(request: Request, error: Exception) -> Response:
    """Nobody hears it: who asked has gone before the end of the request."""
    return _answer(Refused(error="The request was cut short, and nothing was done."), 400)


async def _broken(request: Request, error: Exception) -> Response:
    """Starlette raises the error again after this, so that the terminal shows it."""
    return _answer(Refused(error="The server failed; what went wrong stands in the terminal that runs it."), 500)
