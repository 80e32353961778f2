"""Interview questions as lines of text: 80 columns or fewer, plain."""

from collections.abc import Collection

from grader.bank.catalog import Exercise, Part
from grader.bank.questions import Question, read_questions
from grader.views.columns import WIDTH, width_for
from grader.views.render import paragraph


def question_lines(exercise: Exercise, part: Part | None, known: Collection[str], columns: int = WIDTH) -> list[str]:
    """The questions about an exercise, or about one part of it, as `grader questions` prints them.

    known: the names of the parts whose why and whose answers are shown. columns: of the terminal. Raises HouseError for
    a bad questions.toml.
    """
    width = width_for(columns)
    asked = read_questions(exercise)
    how = "Earn" if exercise.solution.is_file() else "Let the examples pass of"  # in a student edition
    lines = paragraph(f"{exercise.id} · {exercise.title} · what an interviewer asks", 0, width)
    for one in [part] if part else exercise.parts:
        own = [question for question in asked if question.part == one.name]
        if own or part or one.name in known:
            lines += ["", one.name, *_about(one, own, one.name in known, how, width)]
    if part and all(question.part != part.name for question in asked):
        said = f"No question is about this part alone. All of them: grader questions {exercise.number}"
        lines += ["", *paragraph(said, 2, width)]
    return lines


def _about(part: Part, questions: list[Question], known: bool, how: str, width: int) -> list[str]:
    blocks = [paragraph(part.why, 2, width)] if known else []
    blocks += [
        [*paragraph(question.asks, 2, width), *(paragraph(question.answer, 6, width) if known else [])]
        for question in questions
    ]
    if not known:
        blocks.append(paragraph(f"{how} {part.name} to read on, or add --answers.", 2, width))
    return [line for block in blocks if block for line in (*block, "")][:-1]
