"""Judges what was handed in for a quiz: `python -m grader.classroom.quizzed HOUSE FOLDER LEVEL`.

FOLDER is the quiz in the folder of a course, `source/<quiz>`. Questions and answers are those of
`grader.engine.server`. A student's code runs in the cage; what comes out is text, judged as if it had been typed.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from grader import __version__
from grader.bank.catalog import House
from grader.bank.layout import QUIZ
from grader.base.errors import EngineError, HouseError, RunError
from grader.base.text import plain
from grader.classroom.quiz import WRITE, HandedOut, read_handed_out, read_secret, text_of
from grader.drills.judge import judged
from grader.drills.own import own_variant
from grader.drills.question import Variant
from grader.drills.value import Unread
from grader.engine.hidden import hidden_paths
from grader.engine.server import Answer, Batch, Judged, Refused, open_ends, refuse_all
from grader.submissions.find import Submission
from grader.submissions.quiz import HandedQuiz, read_quizzes
from grader.verdicts.finding import Finding
from grader.verdicts.result import CheckResult, PartResult, Result
from grader.verdicts.verdict import Verdict

if TYPE_CHECKING:
    from grader.engine.batch import Engine
    from grader.engine.typed import AnswerSheet, Typed


_UNREAD = "an answer that cannot be read"


class Quiz:
    """A quiz that is handed out. house: of the drills. folder: its own, in the folder of a course."""

    def __init__(self, house: House, folder: Path) -> None:
        self.house = house
        self.name = folder.name
        self.handed_out: HandedOut = read_handed_out(folder)
        self._course = folder.resolve().parent.parent
        self._secret = read_secret(self._course)

    @property
    def ids(self) -> tuple[str, ...]:
        return self.handed_out.questions

    @property
    def hidden(self) -> list[Path]:
        """What no cage may read, wherever it lies: who could read the secret could compute every answer."""
        return [self._course, *hidden_paths(self.house.exercises.values())]

    def variants(self, student: str) -> list[Variant] | None:
        """What a student is asked; None for one who is not on the roster.

        Raises HouseError where that is not what was handed out: the drills have changed since, or the secret has.
        """
        texts = self.handed_out.of(student)
        if texts is None:
            return None
        found = [own_variant(self.house, self._secret, student, id) for id in self.ids]
        for id, one, text in zip(self.ids, found, texts, strict=True):
            if text_of(one) != text:
                raise HouseError(
                    f"{id} asks something else now than when the quiz '{self.name}' was handed out, so nothing was "
                    "graded. Grade with the version of the katas that wrote the quiz, and with the same quiz.secret."
                )
        return found

    def judge(self, engine: "Engine", submission: Submission, student: str, seed: int) -> Result:
        """The result of one submission: a part for each question. Raises HouseError as `variants`."""
        from grader.engine.typed import typed_answers

        variants, level = self.variants(student), str(engine.level)
        problem = submission.problem
        if variants is None and not problem:
            problem = (
                f"'{plain(student)}' is not on the roster of this quiz. If the name has changed, grade this under the "
                "one that stands there: another name has other numbers."
            )
        if variants is None or problem:
            return self._result([_part(id, Verdict.ERROR, problem, of_file=True) for id in self.ids], submission, level)
        try:
            sheet = typed_answers(engine, submission.text, QUIZ, self.ids, seed)
        except EngineError as error:
            return self._result([_part(id, Verdict.GRADER_ERROR, str(error)) for id in self.ids], submission, level)
        return self._result(_parts(self.ids, variants, sheet), submission, sheet.isolation)

    def _result(self, parts: list[PartResult], submission: Submission, isolation: str) -> Result:
        score = sum(part.earned for part in parts)
        return Result(
            exercise=self.name, revision=1, score=score, max_score=len(parts), parts=parts, seed=0, isolation=isolation,
            seconds=0.0, source=submission.source, student=submission.student, versions={"grader": __version__},
        )  # fmt: skip


def _parts(ids: Sequence[str], variants: Sequence[Variant], sheet: "AnswerSheet") -> list[PartResult]:
    if sheet.told:
        return [_part(id, sheet.told.verdict, sheet.told.message, of_file=True) for id in ids]
    return [_answered(*each) for each in zip(ids, variants, sheet.answers, strict=True)]


def _answered(id: str, one: Variant, typed: "Typed") -> PartResult:
    """The verdict on one answer; what is wrong stands above the question, which a notebook does not show."""
    verdict, said, mistake = _verdict(one, typed)
    return _part(id, verdict, f"{said}\n{text_of(one)}" if verdict is not Verdict.PASSED else "", mistake=mistake)


def _verdict(one: Variant, typed: "Typed") -> tuple[Verdict, str, str]:
    """The verdict, a sentence for who answered, and the mistake in words that fit everybody's numbers."""
    if typed.odd:
        return Verdict.ERROR, f"The answer is {typed.odd}. {WRITE}", _UNREAD
    if not typed.text.strip():
        return Verdict.NOT_STARTED, "No answer.", ""
    written = f"'{plain(typed.text.strip())}'"
    try:
        found = judged(one, typed.text)
    except Unread as error:
        return Verdict.ERROR, f"{written} cannot be read. {plain(str(error))}", _UNREAD
    if found.right:
        return Verdict.PASSED, "", ""
    return Verdict.WRONG, f"{written} is not right.{f' The mistake: {found.trap}.' if found.trap else ''}", found.trap


def _part(id: str, verdict: Verdict, message: str, of_file: bool = False, mistake: str = "") -> PartResult:
    finding = Finding(kind="unread" if mistake == _UNREAD else "values", mistake=mistake) if mistake else None
    check = CheckResult("the answer", id, verdict, message, finding=finding, of_file=of_file)
    return PartResult(id, 1, int(verdict is Verdict.PASSED), verdict, message, [check], 1)


def answer_text(part: PartResult, points: float) -> str:
    """What a graded cell shows of an answer. points: what it is worth."""
    head = f"{part.name}: {part.verdict}, {points * part.earned:g} of {points:g} points"
    return "\n".join([head, *(f"  {line}" for line in part.message.splitlines())])


def main() -> None:
    """Serve until stdin closes, or until no question has come for too long."""
    from grader.engine.batch import Engine
    from grader.engine.cage import Level

    root, folder, level = sys.argv[1:]
    questions, say = open_ends()
    try:
        quiz = Quiz(House(Path(root)), Path(folder))
        with Engine([], Level(level), quiz.hidden) as engine:
            while batch := questions.next():
                _judge(quiz, engine, batch, say)
    except (RunError, HouseError) as error:
        refuse_all(questions, say, f"the quiz could not be graded; what went wrong:\n{error}")


def _judge(quiz: Quiz, engine: "Engine", batch: Batch, say: Callable[[Answer], None]) -> None:
    read = read_quizzes([HandedQuiz(one.student, quiz.name, quiz.ids, one.notebook or "") for one in batch.asked])
    for one, submission in zip(batch.asked, read, strict=True):
        try:
            say(Judged([batch.key(one)], quiz.judge(engine, submission, one.student, one.seed)))
        except HouseError as error:
            say(Refused([batch.key(one)], str(error)))


if __name__ == "__main__":
    main()
