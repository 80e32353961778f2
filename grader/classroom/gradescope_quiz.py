"""A quiz on Gradescope: the folder that a teacher uploads as the autograder, and what runs there for each submission.

Gradescope says who handed in, in /autograder/submission_metadata.json. That, and no file of the submission, decides
which numbers count.
"""

import sys
from pathlib import Path
from typing import Any

import msgspec

from grader.bank.catalog import House, label_of
from grader.bank.layout import QUIZ
from grader.base.errors import HouseError
from grader.classroom.gradescope import COURSE, place_of, write_folder
from grader.classroom.quiz import QUESTIONS, SECRET, read_handed_out, read_secret


def write_quiz_autograder(folder: Path, house: House, quiz: Path) -> str:
    """Write the folder, and return the name of the quiz. quiz: its folder. Raises HouseError where that cannot be."""
    quiz = quiz.resolve()
    course, handed_out = quiz.parent.parent, read_handed_out(quiz)
    read_secret(course)
    labels = {id.partition(".")[0] for id in handed_out.questions}
    drills = {
        Path("exercises", path.parent.name, path.name): path
        for path in (house.bank / "exercises").glob("*/drills.py")
        if label_of(path.parent.name) in labels
    }
    own = {Path(COURSE, "source", quiz.name, QUESTIONS): quiz / QUESTIONS, Path(COURSE, SECRET): course / SECRET}
    write_folder(folder, house, {**drills, **own}, "grader.classroom.gradescope_quiz", quiz.name)
    return quiz.name


def judge(root: Path, name: str) -> int:
    """Judge the one submission below `root`, as Gradescope lays it out; returns the exit code.

    It writes results/results.json, or nothing where the grader itself failed.
    """
    from grader.base.files import write_file
    from grader.base.seeds import new_seed
    from grader.classroom.quizzed import Quiz
    from grader.engine.batch import Engine
    from grader.submissions.quiz import HandedQuiz, read_quizzes
    from grader.views.export import as_gradescope

    quiz = Quiz(House(root / "source"), root / "source" / COURSE / "source" / name)
    student, problem = _student(root / "submission_metadata.json", quiz)
    place = place_of({f"{QUIZ}.py", f"{QUIZ}.ipynb"}, root / "submission")
    (submission,) = read_quizzes([HandedQuiz(student, name, quiz.ids, place=place)])
    if problem:
        submission = msgspec.structs.replace(submission, problem=problem)
    with Engine([], hidden=quiz.hidden) as engine:
        result = quiz.judge(engine, submission, student, new_seed())
    if result.grader_failed:
        print("the grader failed; nobody is charged for it", file=sys.stderr)
        return 1
    write_file(root / "results" / "results.json", as_gradescope(result))
    return 0


def _student(path: Path, quiz: Any) -> tuple[str, str]:
    """Who handed in, by the e-mail address or the student ID that is on the roster; and why nobody can be judged.

    Raises HouseError where Gradescope does not say who it was.
    """
    try:
        users = msgspec.json.decode(path.read_bytes())["users"]
        names = [[str(user[key]) for key in ("email", "sid") if user.get(key)] for user in users]
        first = names[0][0]
    except (OSError, msgspec.DecodeError, LookupError, TypeError, AttributeError):
        raise HouseError(f"{path} does not say who handed in.") from None
    if len(names) > 1:
        return "", "it was handed in by a group, and each of you has numbers of your own: hand in alone"
    known = [name for name in names[0] if quiz.handed_out.of(name) is not None]
    return (known or [first])[0], ""


def main() -> int:
    try:
        return judge(Path(sys.argv[1]).resolve(), sys.argv[2])
    except HouseError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
