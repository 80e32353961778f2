"""What passes between the page and its server, as data. `grader dev build` writes `web/src/wire.ts` from it.

All is JSON. A request carries `Authorization: Bearer TOKEN`; what is refused is answered by a status of 4xx and a
`Refused`. The routes, each under `api/`:

    GET    map                            HouseMap
    GET    report                         Report
    GET    kata/ID                        Kata
    GET    kata/ID/file                   DiskFile
    PUT    kata/ID/file   Save            Saved; 409 and a DiskFile where `If-Match` does not name what is on disk
    POST   kata/ID/keep   Keep            Kept
    POST   kata/ID/run    RunAsked        RunTaken; 409 and a DiskFile where the disk holds another text than it names
    POST   kata/ID/try    Try             RunTaken; 409 as above
    DELETE run/N                          Done
    POST   kata/ID/hint   PartNamed       HintGiven
    POST   kata/ID/give-up PartNamed      Done
    POST   kata/ID/reset  Reset           DiskFile
    GET    kata/ID/attempts               Attempts
    GET    kata/ID/attempts/N             AttemptText
    GET    kata/ID/solution?part=NAME     Solution; 403 until it is earned or given up; without a part: the whole file
    POST   drill          DrillWish       DrillNext
    GET    drill/TURN                     DrillTurn; 404 where that question is not open any more, as of those below
    POST   drill/TURN/read Typed          ReadBack
    POST   drill/TURN/hint Nothing        DrillTurn
    POST   drill/TURN/answer Typed        DrillTurn; 422 where what was typed cannot be read: it is asked again
    GET    interview                      InterviewDesk; so answer those below, 409 where something else is on the clock
    POST   interview      InterviewWish
    POST   interview/next Nothing         the next question, after one whose time was over
    POST   interview/answer InterviewAnswer; 422 where what was typed cannot be read
    POST   interview/coding Nothing       the part, after the questions
    POST   interview/hand-in Nothing
    POST   interview/end  Nothing
    GET    interview/N                    InterviewReport, once it has ended
    GET    events?after=N                 with `Accept: text/event-stream` a stream of events, each the JSON of one line
                                          `data: ...`; else `Events`, as soon as there is one, or empty after 20 s

A hash is what `DiskFile.hash` says, and nothing else; it is what `Result.source` holds of the text that was judged.
"""

from typing import Any, Literal

import msgspec

from grader.bank.coverage import Mark, RoleRow
from grader.drills.choose import Lack
from grader.drills.shown import Shown, Told
from grader.verdicts.result import CheckResult, Result

GONE = "gone"
"""The hash of a file that is not there."""


class Wire(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what the server says."""


class Asked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what the page asks: an unknown key is refused."""


class Refused(Wire, frozen=True):
    """Why something was not done: a sentence for a person."""

    error: str


class Done(Wire, frozen=True):
    """It was done, and there is nothing to say about it."""


Edition = Literal["whole", "student"]
"""`student`: without hidden checks and solutions, so that the visible examples are all that there is."""


# ---- the map

TopicState = Literal["earned", "tried", "open", "drilled", "fading", "drills", "coming", "gap", "elsewhere"]
"""`tried`: a part of it was judged and is not earned. `drills`: no part, but drills ask about it; `drilled`, `fading`:
how those stand. `coming`: an exercise is planned; `gap`: no part, no drill, and no plan.
"""


class TopicPart(Wire, frozen=True):
    """A part that covers a topic."""

    exercise: str
    title: str
    """Of the exercise."""
    part: str
    minutes: int
    points: int
    earned: bool
    after: tuple[str, ...]
    """The parts that it builds on."""


class MapTopic(Wire, frozen=True):
    """A square of a tile."""

    id: str
    title: str
    state: TopicState
    parts: tuple[TopicPart, ...]
    drills: int
    """How many drills ask about it."""
    drilled: Mark
    """`drilled`, `fading`, or neither."""


class Tile(Wire, frozen=True):
    """An item of the coverage table: what an interview asks about."""

    number: str
    title: str
    difficulty: str | None
    weights: dict[str, int]
    """Role to how often it is asked: 0 never, 1 rarely, 2 often, 3 almost always."""
    topics: tuple[MapTopic, ...]
    points_earned: int
    points: int


class MapSection(Wire, frozen=True):
    id: str
    title: str
    tiles: tuple[Tile, ...]


class NextPart(Wire, frozen=True):
    """What to do next."""

    exercise: str
    title: str
    part: str
    minutes: int
    points: int
    begun: bool
    """Whether anything of the exercise was tried before."""
    said: str
    """How its last run ended: `wrong, 4 of 8 checks pass`; empty where it was not run."""


class ExerciseCard(Wire, frozen=True):
    """An exercise in a list, such as Go to."""

    id: str
    number: str
    title: str
    summary: str
    difficulty: str | None
    minutes: int
    points: int
    points_earned: int
    parts: tuple[str, ...]
    needs: tuple[str, ...]
    """Titles of the exercises that it builds on."""


class Track(Wire, frozen=True):
    """An order to study in."""

    id: str
    title: str
    exercises: tuple[str, ...]


class HouseMap(Wire, frozen=True):
    """`GET map`."""

    edition: Edition
    first_visit: bool
    """Whether nothing was ever judged here."""
    points: int
    points_earned: int
    next: NextPart | None
    """None where all is earned."""
    roles: tuple[RoleRow, ...]
    sections: tuple[MapSection, ...]
    exercises: tuple[ExerciseCard, ...]
    drills: int
    """How many there are."""
    drills_due: int
    """How many of those answered before are due."""
    drills_new: int
    """How many that were never asked are for today."""
    tracks: tuple[Track, ...]
    """One with the id of a role is the order for who prepares for it."""
    warning: str = ""
    """Why progress is not shown, where its file cannot be read."""


# ---- a kata

SeatState = Literal["cold", "warming", "ready", "failed"]
"""Of what judges an exercise: `cold` is not there yet, or was sent away since nobody asked."""


class DiskFile(Wire, frozen=True):
    """A learner's file as it is on disk."""

    state: Literal["there", "gone", "unreadable"]
    """`unreadable`: not UTF-8, a link, too large, not a file; `why` says so."""
    text: str
    """Empty unless it is there. Line ends are as on disk."""
    hash: str
    """SHA-256 of the text in UTF-8, in hexadecimal; one that no text has where it is unreadable; `gone`."""
    stub: bool
    """Whether it is as it was handed out."""
    why: str = ""


class AskedInInterviews(Wire, frozen=True):
    """A question of an interview. Markdown made HTML; the answer is empty until the part is earned or given up."""

    asks: str
    answer: str


class KataPart(Wire, frozen=True):
    """A part of a kata, with what the learner may see of it."""

    name: str
    defines: tuple[str, ...]
    """The definitions in the file that belong to it: `KVCache`, or `save` and `load`."""
    points: int
    minutes: int
    after: tuple[str, ...]
    contract: str
    """Signature and docstring, as plain text, from the file as it was handed out."""
    earned: bool
    gave_up: bool
    """Whether the reference was looked at before the part was earned."""
    hints: int
    """How many there are."""
    hints_seen: tuple[str, ...]
    questions: tuple[AskedInInterviews, ...]
    why: str
    """Why the reference does it its way: HTML; empty until it is earned or given up."""


class Kata(Wire, frozen=True):
    """`GET kata/ID`. To open a kata begins to warm what judges it."""

    id: str
    number: str
    title: str
    summary: str
    edition: Edition
    file_name: str
    """`kv_cache.py`."""
    path: str
    """From the house: `exercises/dl_011_kv_cache/kv_cache.py`."""
    statement: str
    """HTML that this server made of the README, without its first heading. Pictures are `data:`; links are `https:`,
    `#/kata/ID` or `#s-HEADING`.
    """
    examples: str
    """The text of `test_examples.py`, the visible examples: in a student edition all that there is to run."""
    file: DiskFile
    points: int
    points_earned: int
    parts: tuple[KataPart, ...]
    last: Result | None
    """The last attempt, also one of `grader check`; the hash of what it judged is its `source`."""
    attempts: int
    seat: SeatState
    running: int | None
    """The run that goes on, or None."""
    n: int
    """The number of the newest event that is told here already: follow `events?after=n`."""
    warning: str = ""
    """Why progress is not shown, where its file cannot be read."""


class Save(Asked, frozen=True):
    """`PUT kata/ID/file`, with the header `If-Match: HASH` of the text that it began from."""

    text: str
    overrules: bool = False
    """Keep mine: the text on disk goes into the history before it is written over."""
    leaving: bool = False
    """Nobody will read the answer (`pagehide`): where it cannot be written, it goes into the history."""


class Saved(Wire, frozen=True):
    """The text is on disk."""

    hash: str
    n: int
    """Of the `file` event that says so."""


class Keep(Asked, frozen=True):
    """`POST kata/ID/keep`: a text that is about to go, such as the draft of somebody who loads what is on disk."""

    text: str


class Kept(Wire, frozen=True):
    """It stands in the history."""

    number: int


class RunAsked(Asked, frozen=True):
    """`POST kata/ID/run`: judge what is on disk. The newest run wins: it cancels one that goes on."""

    hash: str = ""
    """Of the text that is meant; where the disk holds another: 409. Empty: whatever is there."""
    part: str = ""
    """The part at the cursor: it is judged first."""
    only: bool = False
    """Judge that part alone."""


class Try(Asked, frozen=True):
    """`POST kata/ID/try`: run a few lines below what is on disk, in the cage. It is a run too: the newest wins."""

    lines: str
    hash: str = ""
    """As in `RunAsked`."""


class RunTaken(Wire, frozen=True):
    """A run was taken in hand; what comes of it are events."""

    run: int
    hash: str


class PartNamed(Asked, frozen=True):
    part: str


class HintGiven(Wire, frozen=True):
    """The next hint for a part; after the last one the last again."""

    part: str
    number: int
    """From 1."""
    of: int
    text: str


class Reset(Asked, frozen=True):
    """`POST kata/ID/reset`: the stub again. What was there is kept in the history."""

    part: str = ""
    """Empty: the whole file."""


class Attempt(Wire, frozen=True):
    """One line of the history, oldest first."""

    number: int
    """From 1."""
    at: str
    """ISO 8601, UTC."""
    door: str
    """What judged it: `page`, `watch`, `check`, `pytest`, `notebook`; or why it was kept: `reset`, `kept`."""
    score: int
    max_score: int
    """Points of the parts that ran; 0 for a text that was kept and not judged."""
    hash: str
    earned: tuple[str, ...]


class Attempts(Wire, frozen=True):
    attempts: tuple[Attempt, ...]


class AttemptText(Wire, frozen=True):
    number: int
    text: str


class Solution(Wire, frozen=True):
    """The reference, of one part or of all."""

    part: str
    text: str


# ---- drills


class DrillWish(Asked, frozen=True):
    """`POST drill`: the next question of a sitting."""

    topic: str = ""
    """An id, or the beginning of several: `kv`. Empty: any."""
    role: str = ""
    """Only what this role is asked, the weightiest first."""
    due: bool = False
    """Only what was answered before and is due."""
    all: bool = False
    """Also what is not due yet."""
    but: tuple[str, ...] = ()
    """The ids of those that this sitting asked already, answered or skipped, in their order."""


class Nothing(Asked, frozen=True):
    """A request that says nothing but its address."""


class Typed(Asked, frozen=True):
    """An answer, whole or begun."""

    typed: str


class ReadBack(Wire, frozen=True):
    """What was typed, as it is understood; whether it is right is not said."""

    said: str
    """`524,288 B`; empty where there is nothing to say."""
    problem: str
    """Why it cannot be read, as a sentence, or empty."""


class DrillVerdict(Wire, frozen=True):
    """What was found about an answer, and what only then may be known."""

    typed: str
    found: str
    """`right`, `wrong`, or the mistake that gives this answer."""
    told: Told
    again: str
    """`again tomorrow`; empty where that is not known."""
    warning: str
    """Why it could not be kept, or empty."""


class DrillTurn(Wire, frozen=True):
    """A question that is open."""

    turn: str
    """Its name, in addresses."""
    place: int
    """In the sitting, from 1."""
    of: int
    """How many there are to ask, with those that this sitting asked already."""
    asked: Shown
    hints: tuple[str, ...]
    """Those that were asked for, of two."""
    verdict: DrillVerdict | None
    """None until it is answered."""


class DrillNext(Wire, frozen=True):
    """The next question, or why there is none."""

    turn: DrillTurn | None
    lacks: Lack
    """Empty where there is one. `enough`: for today; `held`: the topic that is left was asked last; `skipped`: all that
    is left; `none`: nothing is due.
    """
    why: str
    """The same as a sentence."""
    topic: str
    """The topic that is `held`."""


# ---- interviews

InterviewStep = Literal["question", "waiting", "between", "coding", "judging"]
"""`waiting`: for the learner, after a question whose time was over; `between`: the questions and the part."""


class InterviewWish(Asked, frozen=True):
    """`POST interview`: begin one."""

    role: str
    minutes: int = 45


class InterviewAnswer(Asked, frozen=True):
    """An answer to the question on the clock. Nothing is said of it before the end."""

    place: int
    """Of that question, from 1: an answer to another one is refused."""
    typed: str = ""
    passes: bool = False
    """There is no answer: the learner passes it over, or its time is over."""


class InterviewNow(Wire, frozen=True):
    """An interview that goes on."""

    number: int
    role: str
    """Its title."""
    minutes: int
    step: InterviewStep
    place: int
    """Of the question on the clock, or how many were asked."""
    asked: Shown | None
    """The question on the clock."""
    exercise: str
    """Of the part on the clock, its id; empty before."""
    part: str
    title: str
    """`prefill of dl_011 · KV cache`."""
    was_earned: bool
    """Whether it was earned before."""
    seconds: float
    """What is on the clock had in all."""
    left: float
    said: str
    """What happened, as a sentence, or empty."""
    warning: str
    """Why something could not be kept, or empty."""


class InterviewLine(Wire, frozen=True):
    """An interview that has ended, as a line of a list."""

    number: int
    role: str
    """Its title."""
    begun: str
    """ISO 8601, UTC; empty where it cannot be read."""
    minutes: int
    ended: str
    """`finished`, `left before its end`; why it cannot be read."""
    right: int
    asked: int
    part: str
    """`prefill: wrong, 4 of 8 checks pass`; empty where there was none."""


class InterviewLength(Wire, frozen=True):
    minutes: int
    rules: str
    """How one of that length goes, in a few sentences."""


class InterviewDesk(Wire, frozen=True):
    """`GET interview`."""

    now: InterviewNow | None
    kept: tuple[InterviewLine, ...]
    """Those that have ended, the newest first."""
    lengths: tuple[InterviewLength, ...]
    """What may be chosen."""
    broken: tuple[int, ...]
    """Those that broke off with their process, and were ended just now."""
    warning: str
    """Why those that have ended are not shown, or empty."""


class InterviewReport(Wire, frozen=True):
    """`GET interview/N`."""

    number: int
    html: str
    """Its first heading is the title."""
    path: str
    """Where it lies as a file to keep, from the house; empty where that could not be written."""


# ---- the report


class PointsAt(Wire, frozen=True):
    """How many points were earned of an exercise since this moment."""

    at: str
    points: int


class ExerciseReport(Wire, frozen=True):
    id: str
    title: str
    points: int
    points_earned: int
    line: tuple[PointsAt, ...]
    attempts: int
    hints: int
    """How many hints were looked at."""
    gave_up: tuple[str, ...]


class Mistake(Wire, frozen=True):
    """A known mistake that was found in this learner's attempts."""

    said: str
    times: int
    """In how many attempts."""
    exercise: str
    part: str


class Report(Wire, frozen=True):
    """`GET report`."""

    roles: tuple[RoleRow, ...]
    sections: tuple[MapSection, ...]
    exercises: tuple[ExerciseReport, ...]
    """Those that were begun."""
    mistakes: tuple[Mistake, ...]
    """The commonest first."""
    warning: str = ""


# ---- events


class Event(Wire, tag_field="kind", frozen=True):
    """Base of the events. `n` counts them from 1, over all katas."""

    n: int


class HelloEvent(Event, tag="hello", frozen=True):
    """The first of each stream, with the number of the newest event so far."""

    start: str
    """Names this start of the server: where it is another one, what the page knows of runs is void."""


class ResyncEvent(Event, tag="resync", frozen=True):
    """Events were missed that are no longer kept: ask for map and kata again, and go on after `n`."""


class FileEvent(Event, tag="file", frozen=True):
    """The file on disk holds another text."""

    id: str
    hash: str
    state: Literal["there", "gone", "unreadable"]
    by: Literal["disk", "page"]
    """`disk`: not this server."""


class SeatEvent(Event, tag="seat", frozen=True):
    """What judges an exercise warms up, is ready, failed, or was sent away since nobody asked."""

    id: str
    seat: SeatState
    why: str = ""


class RunEvent(Event, tag="run", frozen=True):
    """A run was taken in hand."""

    id: str
    run: int
    hash: str
    total: int
    """How many checks there are; 0 while they are not known yet."""
    first: str
    """The part that is judged first; empty where none was named."""


class CheckEvent(Event, tag="check", frozen=True):
    """A check of a run ended."""

    id: str
    run: int
    done: int
    """How many have ended, with this one."""
    total: int
    check: CheckResult


class Gained(Wire, frozen=True):
    """A part that a run is first to earn."""

    part: str
    points: int
    why: str
    """HTML."""
    questions: tuple[AskedInInterviews, ...]


class EndEvent(Event, tag="end", frozen=True):
    """A run ended: this is its result, and it is in the history."""

    id: str
    run: int
    hash: str
    result: Result
    gained: tuple[Gained, ...]
    next: NextPart | None
    warning: str = ""
    """Why it could not be kept."""


class Drawing(Wire, frozen=True):
    """A picture of what code makes, or why there is none."""

    svg: str
    """An element of class `picture`, which is styled by `pictures.css` (beside `static/`, without the token). Its name
    and its words stand in it. Empty where there is none.
    """
    words: str
    """What is to be seen in it, for those who do not see it."""
    head: tuple[str, ...]
    """The same as a table of numbers: its columns."""
    rows: tuple[tuple[str, ...], ...]
    problem: str
    """Why there is none; the first line says it."""


class InterviewEvent(Event, tag="interview", frozen=True):
    """An interview began, went on or ended: ask for it again."""


class PictureEvent(Event, tag="picture", frozen=True):
    """A picture of what a text makes that was judged: it comes after the `end` of the run. One event a picture."""

    id: str
    run: int
    part: str
    title: str
    """`Attention map`: with the part it names the picture."""
    caption: str
    """What to see in it."""
    own: Drawing
    reference: Drawing | None
    """Of the reference, once the part is earned."""


class TriedEvent(Event, tag="tried", frozen=True):
    """What came of lines that were tried; with it the run ends. It is no attempt."""

    id: str
    run: int
    printed: str
    shown: tuple[str, ...]
    """The values of those lines that are expressions, as Python shows them."""
    problem: str
    """What went wrong, and where; empty where nothing did."""


class CancelledEvent(Event, tag="cancelled", frozen=True):
    """A run was stopped, or another one took its place: it is no attempt."""

    id: str
    run: int


class FaultEvent(Event, tag="fault", frozen=True):
    """The grader failed; nothing of it is charged to the learner."""

    id: str
    run: int
    why: str


AnyEvent = (
    HelloEvent
    | ResyncEvent
    | FileEvent
    | SeatEvent
    | RunEvent
    | CheckEvent
    | EndEvent
    | InterviewEvent
    | PictureEvent
    | TriedEvent
    | CancelledEvent
    | FaultEvent
)


class Events(Wire, frozen=True):
    """The answer to a long poll."""

    n: int
    """Ask for what comes after this."""
    start: str
    """As in `HelloEvent`."""
    events: tuple[AnyEvent, ...]


SPOKEN: tuple[Any, ...] = (
    Refused, Done, HouseMap, Kata, DiskFile, Save, Saved, Keep, Kept, RunAsked, Try, RunTaken, PartNamed, HintGiven,
    Reset, Attempts, AttemptText, Solution, DrillWish, Typed, ReadBack, DrillTurn, DrillNext,
    InterviewWish, InterviewAnswer, InterviewDesk, InterviewReport, Report, AnyEvent,
    Events,
)  # fmt: skip
"""What stands in `wire.ts`, with everything that these hold."""
