"""Interview questions as lines of text: 80 columns, plain."""

from collections.abc import Collection

from grader.bank.catalog import Exercise, Part
from grader.bank.questions import Question, read_questions
from grader.views.render import paragraph


def question_lines(exercise: Exercise, part: Part | None, known: Collection[str]) -> list[str]:
    """The questions about an exercise, or about one part of it, as `grader questions` prints them.

    known: the names of the parts whose why and whose answers are shown. Raises HouseError for a bad questions.toml.
    """
    asked = read_questions(exercise)
    how = "Earn" if exercise.solution.is_file() else "Let the examples pass of"  # in a student edition
    lines = [f"{exercise.id} · {exercise.title} · what an interviewer asks"]
    for one in [part] if part else exercise.parts:
        own = [question for question in asked if question.part == one.name]
        if own or part or one.name in known:
            lines += ["", one.name, *_about(one, own, one.name in known, how)]
    if part and all(question.part != part.name for question in asked):
        lines += ["", f"  No question is about this part alone. All of them: grader questions {exercise.number}"]
    return lines


def _about(part: Part, questions: list[Question], known: bool, how: str) -> list[str]:
    blocks = [paragraph(part.why, 2)] if known else []
    blocks += [
        [*paragraph(question.asks, 2), *(paragraph(question.answer, 6) if known else [])] for question in questions
    ]
    if not known:
        blocks.append([f"  {how} {part.name} to read on, or add --answers."])
    return [line for block in blocks if block for line in (*block, "")][:-1]
