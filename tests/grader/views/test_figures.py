"""The figures of statements, and every picture that the exercises declare, drawn from the solutions."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from conftest import ID
from grader.bank.catalog import House
from grader.verdicts.picture import Made
from grader.views.picture import svg, table, text_lines

ROOT = Path(__file__).resolve().parents[3]
HOUSE = House(ROOT)
DRAWN = [exercise for exercise in HOUSE.exercises.values() if exercise.pictures]
SCRIPT = f"""
import json
from pathlib import Path

import msgspec

from grader.bank.catalog import House
from grader.bank.derived import stub_of
from grader.engine.batch import Engine
from grader.engine.pictures import pictures

exercises = [one for one in House(Path({str(ROOT)!r})).exercises.values() if one.pictures]
with Engine(exercises) as engine:
    found = {{
        one.id: [list(pictures(engine, one, text)) for text in (one.solution.read_text(), stub_of(one))]
        for one in exercises
    }}
print(json.dumps(msgspec.to_builtins(found)))
"""


@pytest.fixture(scope="module")
def made(homes):
    """Exercise to what became of its pictures: on the solution, and on the stub."""
    done = homes().script(SCRIPT)
    assert done.code == 0, done.said
    return msgspec.convert(json.loads(done.out), dict[str, tuple[list[Made], list[Made]]])


def test_each_exercise_declares_at_least_three():
    assert [exercise.id for exercise in HOUSE.exercises.values() if len(exercise.pictures) < 3] == []


@pytest.mark.parametrize("exercise", DRAWN, ids=lambda one: one.id)
def test_every_picture_is_drawn_from_the_solution(made, exercise):
    solution, stub = made[exercise.id]
    for declared, one in zip(exercise.pictures, solution, strict=True):
        assert one.picture, one.problem
        assert not one.picture.note, "it is too large, or holds what is no number"
        assert (one.picture.title, one.picture.caption) == (declared.title, declared.caption)
        assert len(ET.fromstring(svg(one.picture, alone=True))) > 4
        assert all(len(line) <= 80 for line in text_lines(one.picture))
        assert table(one.picture).rows
    assert [one.problem.partition(":")[0] for one in stub] == ["to write"] * len(stub)


@pytest.mark.parametrize("exercise", DRAWN, ids=lambda one: one.id)
def test_each_statement_shows_its_figure(exercise):
    readme = exercise.attempt.with_name("README.md").read_text()
    block = readme.partition("<!-- figure -->\n")[2].partition("<!-- /figure -->")[0]
    assert readme.index("<!-- figure -->") < readme.index("## "), "the figure stands near the top"
    assert block.startswith("![")
    assert "](figure.svg)" in block
    assert exercise.figure.caption in block
    told = exercise.attempt.with_name("figure.svg").read_text()
    ET.fromstring(told)
    assert "prefers-color-scheme:dark" in told


DRIVER = """
import torch


def means(module):
    return {"a": module.batch_mean(torch.tensor([[1.0], [0.0], [0.0]])).item()}
"""


def test_build_writes_the_figure_and_knows_when_it_is_not_current(home):
    home.declare_picture(DRIVER, kind="bars", axes=["batch", "mean"], caption="Thirds.")
    readme = home.attempt.with_name("README.md")
    readme.write_text(
        readme.read_text().replace("<!-- parts -->", "<!-- figure -->\n<!-- /figure -->\n\n<!-- parts -->")
    )
    done = home.grader("dev", "build")
    assert f"wrote exercises/{ID}/figure.svg" in done.out
    assert "![Bar chart, 1 batch, mean all 0.333.](figure.svg)\n\nThirds.\n" in readme.read_text()
    assert home.grader("dev", "build", "--check").out == "All is current.\n"
    home.edit(f"exercises/{ID}/pictures.py", ("1.0", "2.0"))
    done = home.grader("dev", "build", "--check")
    assert done.code == 1
    assert f"exercises/{ID}/figure.svg is not current: run `grader dev build`." in done.out
    home.edit(f"exercises/{ID}/pictures.py", ("batch_mean", "batch_men"))
    done = home.grader("dev", "build")
    assert done.code == 2
    assert "the figure means cannot be drawn: running_mean.py does not define 'batch_men'" in done.err
