"""The report: what was done so far, over all exercises that were begun."""

from collections.abc import Iterable

from grader.bank.catalog import Exercise, House
from grader.bank.coverage import coverage_table
from grader.learner.drill import drill_marks
from grader.records.progress import Progress, ProgressError
from grader.serve import wire
from grader.serve.standing import Standing, sections
from grader.verdicts.result import Result


def report(house: House) -> wire.Report:
    """What was done so far, over all exercises that were begun."""
    standing, progress = Standing(house), Progress(house.root)
    table = coverage_table(house, standing.earned, drill_marks(house))
    exercises, mistakes = [], list[wire.Mistake]()
    for exercise in house.exercises.values():
        try:
            results, noted = progress.results(exercise.id), progress.noted(exercise.id)
        except ProgressError:  # the standing says why
            results, noted = [], {}
        if results or noted:
            exercises.append(_exercise_report(exercise, results, noted, standing))
            mistakes += _mistakes(exercise, [result for _, result in results])
    return wire.Report(
        roles=tuple(table.roles),
        sections=sections(house, table.items, standing),
        exercises=tuple(exercises),
        mistakes=tuple(sorted(mistakes, key=lambda one: -one.times)),
        warning=standing.warning or ("" if house.is_whole else _STUDENT),
    )


_STUDENT = "This is a student edition, without hidden checks: what is earned shows where your work is graded."


def _exercise_report(
    exercise: Exercise, results: list[tuple[str, Result]], noted: dict[tuple[str, str], int], standing: Standing
) -> wire.ExerciseReport:
    mine, line, had = set[str](), list[wire.PointsAt](), -1
    for at, result in results:
        mine |= {part.name for part in result.parts if part.earned}
        points = sum(part.points for part in exercise.parts if part.name in mine)
        if points != had:
            line.append(wire.PointsAt(at=at, points=points))
        had = points
    return wire.ExerciseReport(
        id=exercise.id,
        title=exercise.title,
        points=exercise.points,
        points_earned=sum(part.points for part in standing.earned_of(exercise)),
        line=tuple(line),
        attempts=len(results),
        hints=sum(count for (kind, _), count in noted.items() if kind == "hint"),
        gave_up=tuple(part for kind, part in noted if kind == "give up"),
    )


def _mistakes(exercise: Exercise, results: Iterable[Result]) -> list[wire.Mistake]:
    """Each known mistake that was found, with the number of attempts that made it."""
    times: dict[tuple[str, str], int] = {}
    for result in results:
        found = {
            (check.part, check.finding.mistake)
            for part in result.parts
            for check in part.checks
            if check.finding and check.finding.mistake
        }
        for one in found:
            times[one] = times.get(one, 0) + 1
    return [
        wire.Mistake(said=said, times=count, exercise=exercise.id, part=part) for (part, said), count in times.items()
    ]
