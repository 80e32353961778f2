"""A course with a quiz of six kinds of drills, and a judge for what is handed in."""

import json
import shutil

from conftest import HERE, ID
from grader.bank.catalog import House
from grader.classroom.quiz_course import write_quiz
from grader.engine.judging import Judging
from grader.engine.server import Asked, Batch
from grader.submissions.quiz import answer_cell

DRILLS = """
from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question


@question(topic="mean.batch", level=1, source="Nobody 2026, 1")
def cache(draw):
    n = draw.between(1_000_000, 9_000_000)
    return Number(ask=f"{n} values of 2 B: how much?", given=dict(n=n), answer=2 * n, unit="B", traps={"one B": n},
        hints=("Bytes a value.", "2 n"), why="Each has two bytes.")


@question(topic="mean.batch", level=1, source="Nobody 2026, 1")
def half(draw):
    n = draw.between(1_000_000, 9_000_000)
    return Number(ask=f"Half of {n}?", given=dict(n=n), answer=n / 2, traps={"twice": 2.0 * n},
        hints=("Halve.", "n / 2"), why="So.")


@question(topic="mean.running", level=1, source="Nobody 2026, 2")
def place(draw):
    n = draw(*"abcdefghijklmnopqrstuvw")
    return Blank(ask=f"The last of {n}?", code=f"x[____]  # {n}", given={n: 5, "z": 2}, answer=f"{n} - z",
        traps={"one too far": n}, hints=("Count from 0.", "n - z"), why="So.")


@question(topic="mean.running", level=1, source="Nobody 2026, 3")
def which(draw):
    return Choice(ask=f"Which for {draw.between(1, 999)}?", answer="this", traps={"no": "that", "never": "neither"},
        hints=("a", "b"), why="So.")


@question(topic="mean.running", level=1, source="Nobody 2026, 3")
def order(draw):
    return Order(ask=f"Order, for {draw.between(1, 999)}?", answer=["p", "q", "r", "s", "t", "u"],
        traps={"reversed": ["u", "t", "s", "r", "q", "p"]}, hints=("a", "b"), why="So.")


@question(topic="mean.running", level=1, source="Nobody 2026, 3")
def prints(draw):
    n = draw.between(1_000_000, 9_000_000)
    return Predict(ask="What is printed?", code=f"print({n} + 1)", answer=str(n + 1), traps={"joined": f"{n}1"},
        hints=("a", "b"), why="So.")


@question(topic="mean.running", level=1, source="Nobody 2026, 3")
def line(draw):
    first, second = f"a = {draw.between(1, 9999)}", "b = 2"
    return Bug(ask="Which line?", code=f"{first}\\n{second}", answer=second, mended="b = 3", prints="",
        traps={"the first": first}, hints=("a", "b"), why="So.")
"""
NAMES = ("cache", "half", "place", "which", "order", "prints", "line")
IDS = [f"dl_901.{name}" for name in NAMES]
STUDENTS = ["ann", "bob", "José"]


def house_with_drills(root):
    shutil.copytree(HERE / "house", root, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (root / "exercises" / ID / "drills.py").write_text(DRILLS)
    return House(root)


def course_in(folder, house, students=STUDENTS, name="week_1", overwrite=False):
    write_quiz(folder, house, name, IDS, students, overwrite)
    return folder / "source" / name


def cells_of(quiz):
    """The cells of a quiz, each text in one piece."""
    cells = json.loads((quiz / "quiz.ipynb").read_text())["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells]


def notebook(quiz, source, *more):
    """The notebook with other text in its cell for answers, and more cells above it."""
    cells = []
    for cell in cells_of(quiz):
        if cell["source"] == answer_cell(IDS):
            extra = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
            cells += [{**extra, "id": f"own{number}", "source": text} for number, text in enumerate(more)]
            cell = {**cell, "source": source}
        cells.append(cell)
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


class Judge:
    """The process that judges, as nbgrader's own asks it."""

    def __init__(self, house, quiz):
        self.quiz = quiz
        self.judging = Judging(
            house.root, "process", 1, module=("grader.classroom.quizzed", str(house.root), str(quiz), "process")
        )

    def __call__(self, student, source, *more):
        return self.read(student, notebook(self.quiz, source, *more))

    def read(self, student, text):
        one = Asked(student, 0, notebook=text)
        return self.judging.result(Batch(self.quiz.name, [one]), one)

    def close(self):
        self.judging.close()
