"""What the page shows of house, exercises and progress, as data. Reads; writes nothing."""

from collections.abc import Iterable, Sequence

from grader.bank.catalog import Exercise, House, Part, Track
from grader.bank.coverage import coverage_table
from grader.bank.derived import stub_of
from grader.bank.questions import Question, read_questions
from grader.bank.source import STUB, definition, read_source
from grader.bank.tracks import along, needs
from grader.base.errors import HouseError
from grader.base.files import read_file, reason
from grader.learner import desk
from grader.learner.drill import drill_marks, for_today
from grader.records.progress import Progress, ProgressError
from grader.serve import wire
from grader.serve.standing import Standing, sections
from grader.serve.statement import paragraph_html, statement_html
from grader.verdicts.picture import Made
from grader.views.picture import alt, svg, table


def edition(house: House) -> wire.Edition:
    """Whether the hidden checks and the solutions are here."""
    return "whole" if house.is_whole else "student"


# ---- the map


def house_map(house: House) -> wire.HouseMap:
    """The map of all that interviews ask, with what is earned of it."""
    standing = Standing(house)
    marks, today = drill_marks(house), for_today(house)
    table = coverage_table(house, standing.earned, marks)
    return wire.HouseMap(
        edition=edition(house),
        first_visit=not standing.worked_on,
        points=table.points,
        points_earned=table.points_earned,
        next=_next(house, standing),
        roles=tuple(table.roles),
        sections=sections(house, table.items, standing),
        exercises=tuple(_card(house, exercise, standing) for exercise in house.exercises.values()),
        drills=sum(count for count, _ in marks.values()),
        drills_due=today.due,
        drills_new=today.new,
        tracks=tuple(_track(house, track) for track in house.coverage.track),
        warning=standing.warning,
    )


def _track(house: House, track: Track) -> wire.Track:
    return wire.Track(id=track.id, title=track.title, exercises=tuple(one.id for one in along(house, track)))


def next_part(house: House) -> wire.NextPart | None:
    """What to do next."""
    return _next(house, Standing(house))


def _next(house: House, standing: Standing) -> wire.NextPart | None:
    following = desk.following(house, standing.done, standing.worked_on)
    if following is None:
        return None
    exercise, part = following.exercise, following.part
    return wire.NextPart(
        exercise=exercise.id, title=exercise.title, part=part.name, minutes=part.minutes, points=part.points,
        begun=following.begun, said=following.said,
    )  # fmt: skip


def _card(house: House, exercise: Exercise, standing: Standing) -> wire.ExerciseCard:
    task, mine = house.task(exercise), standing.earned_of(exercise)
    return wire.ExerciseCard(
        id=exercise.id,
        number=exercise.number,
        title=exercise.title,
        summary=exercise.summary,
        difficulty=task.difficulty if task else None,
        minutes=exercise.minutes,
        points=exercise.points,
        points_earned=sum(part.points for part in mine),
        parts=tuple(part.name for part in exercise.parts),
        needs=tuple(one.title for one in needs(house, exercise)),
    )


# ---- a kata


def kata(
    house: House, exercise: Exercise, disk: wire.DiskFile, *, seat: wire.SeatState, running: int | None, n: int
) -> wire.Kata:
    """All that the page of one exercise begins with. disk, seat, running, n: what the server knows of it now."""
    standing, progress = Standing(house), Progress(house.root)
    noted: dict[tuple[str, str], int] = {}
    last, attempts, warning = None, 0, standing.warning
    try:
        noted, last = progress.noted(exercise.id), progress.last_result(exercise.id)
        attempts = len(progress.history(exercise.id))
    except ProgressError as error:
        warning = f"Progress not shown: {error.why}"
    mine, questions = standing.earned_of(exercise), read_questions(exercise)
    return wire.Kata(
        id=exercise.id,
        number=exercise.number,
        title=exercise.title,
        summary=exercise.summary,
        edition=edition(house),
        file_name=exercise.attempt.name,
        path=exercise.attempt.relative_to(house.root).as_posix(),
        statement=_statement(exercise),
        examples=_examples(exercise),
        file=disk,
        points=exercise.points,
        points_earned=sum(part.points for part in mine),
        parts=tuple(_kata_part(exercise, part, part in mine, noted, questions) for part in exercise.parts),
        last=last,
        attempts=attempts,
        seat=seat,
        running=running,
        n=n,
        warning=warning,
    )


def gained(exercise: Exercise, names: Iterable[str]) -> tuple[wire.Gained, ...]:
    """What the parts that were earned just now give."""
    asked = read_questions(exercise)
    return tuple(
        wire.Gained(
            part=name,
            points=exercise.part(name).points,
            why=paragraph_html(exercise.part(name).why),
            questions=_questions(asked, name, answered=True),
        )
        for name in names
    )


def drawing(made: Made) -> wire.Drawing:
    """A picture for the page."""
    if made.picture is None:
        return wire.Drawing(svg="", words="", head=(), rows=(), problem=made.problem)
    told = table(made.picture)
    return wire.Drawing(
        svg=svg(made.picture), words=alt(made.picture), head=told.head, rows=tuple(told.rows), problem=""
    )


def may_see(house: House, exercise: Exercise, part: Part) -> bool:
    """Whether the reference of a part may be shown: once it is earned, or given up."""
    progress = Progress(house.root)
    earned = progress.earned().get(exercise.id, set())
    return part.name in earned or progress.events(exercise.id, "give up", part.name) > 0


def _kata_part(
    exercise: Exercise,
    part: Part,
    earned: bool,
    noted: dict[tuple[str, str], int],
    questions: Sequence[Question],
) -> wire.KataPart:
    gave_up = not earned and noted.get(("give up", part.name), 0) > 0
    seen = noted.get(("hint", part.name), 0)
    return wire.KataPart(
        name=part.name,
        defines=part.names,
        points=part.points,
        minutes=part.minutes,
        after=part.after,
        contract=_contract(exercise, part),
        earned=earned,
        gave_up=gave_up,
        hints=len(part.hints),
        hints_seen=part.hints[:seen],
        questions=_questions(questions, part.name, answered=earned or gave_up),
        why=paragraph_html(part.why) if earned or gave_up else "",
    )


def _questions(asked: Sequence[Question], part: str, answered: bool) -> tuple[wire.AskedInInterviews, ...]:
    return tuple(
        wire.AskedInInterviews(asks=paragraph_html(one.asks), answer=paragraph_html(one.answer) if answered else "")
        for one in asked
        if one.part == part
    )


def _contract(exercise: Exercise, part: Part) -> str:
    """Signatures and docstrings of a part, from the stub."""
    try:
        stub = stub_of(exercise)
        code = "\n\n".join(definition(stub, name).rstrip() for name in part.names)
    except (HouseError, KeyError, SyntaxError):
        return ""
    return "\n".join(line for line in code.splitlines() if line.strip() != STUB)


def _statement(exercise: Exercise) -> str:
    path = exercise.statement
    try:
        return statement_html(read_file(path, links=True).decode(), exercise)
    except (OSError, UnicodeDecodeError) as error:
        return paragraph_html(f"{path.name} cannot be read: {reason(error)}.")


def _examples(exercise: Exercise) -> str:
    try:
        return read_source(exercise.examples)
    except (OSError, UnicodeDecodeError):
        return ""
