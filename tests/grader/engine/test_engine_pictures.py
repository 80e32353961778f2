"""Pictures of one text, made in the cage: what honest code gives, and what hostile code cannot."""

import json

import pytest

from conftest import ID

PICTURES = f"exercises/{ID}/pictures.py"
DRIVERS = """
import torch


def means(module):
    return torch.stack([module.batch_mean(torch.full((3, 2), float(i))) for i in range(4)])


def running(module):
    mean = module.RunningMean(1)
    return {"x": [0, 1, 2], "series": {"mean": [mean.update(torch.full((2, 1), float(i))).item() for i in range(3)]}}
"""
SCRIPT = """
import json, sys
from pathlib import Path

import msgspec

from grader.bank.catalog import House
from grader.engine.batch import Engine
from grader.engine.pictures import pictures

exercise = House(Path.cwd()).find("901")
with Engine([exercise]) as engine:
    made = list(pictures(engine, exercise, exercise.attempt.read_text()))
    torch = sys.modules["torch"]
    print(json.dumps({"made": msgspec.to_builtins(made), "threads": torch.get_num_threads()}))
"""


def declare(home, drivers=DRIVERS):
    home.declare_picture(drivers)
    home.declare_picture(
        part="RunningMean", kind="lines", axes=["batch", "mean"], driver="running", caption="It moves."
    )


def made(home):
    """By driver: the picture's data, or the first line of why there is none."""
    done = home.script(SCRIPT)
    assert done.code == 0, done.said
    told = {one["driver"]: one for one in json.loads(done.out)["made"]}
    return {
        name: one["picture"]["data"] if one.get("picture") else one["problem"].splitlines()[0]
        for name, one in told.items()
    }


@pytest.fixture
def drawn(home):
    declare(home)
    return home


def test_what_the_code_makes(drawn):
    drawn.solve()
    told = made(drawn)
    assert told["means"]["values"] == [[float(i)] * 2 for i in range(4)]
    assert told["running"]["series"] == {"mean": [0.0, 0.5, 1.0]}


def test_a_part_that_is_not_begun_says_where_to_write(drawn):
    assert made(drawn) == {
        "means": "to write: batch_mean (running_mean.py:20)",
        "running": "to write: RunningMean.update (running_mean.py:40)",
    }


RIGHT = "    return x.sum(0) / len(x)\n"


@pytest.mark.parametrize(
    ("put", "said"),
    [
        ("    while True:\n        pass\n", "still running after 2 s"),
        ("    import os\n    os._exit(3)\n", "the code ended its process with exit code 3"),
        ("    import os, signal\n    os.kill(os.getpid(), signal.SIGSEGV)\n", "ended by SIGSEGV"),
        ("    raise ValueError('<script>')\n", "ValueError: <script>"),
        ("    return torch.mean(x, 0)\n", "torch.mean is what this part is there to write"),
        ("    return x\n", "means gave no heat map, which takes values in two dimensions"),
        ("    return x.sum(0).expand(1 << 20, 2)[:, 0]\n", "a picture is made of at most 262,144 values"),
        ("    print('y' * (1 << 21))\n    return x.sum(0)\n", "more than 1,048,576 bytes printed"),
        ("    sys.exit()\n", "NameError: name 'sys' is not defined"),
    ],
    ids=lambda one: one.strip().splitlines()[0],
)
def test_hostile_code_costs_its_own_picture(drawn, put, said):
    drawn.solve((RIGHT, put))
    told = made(drawn)
    assert told["means"].startswith(said), told["means"]
    assert told["running"]


def test_numbers_that_are_none_are_gaps(drawn):
    drawn.solve((RIGHT, "    return x.sum(0) / (len(x) - len(x))\n"))
    told = made(drawn)
    assert told["means"]["values"] == [[None, None]] * 4
    assert told["running"]["series"] == {"mean": [None] * 3}


def test_a_file_that_does_not_load(drawn):
    drawn.attempt.write_text("def batch_mean(x:\n")
    assert all("is not valid Python" in one for one in made(drawn).values())


@pytest.mark.parametrize(
    ("drivers", "said"),
    [
        (None, "pictures.py cannot be read: No such file or directory. It makes the pictures of dl_901_running_mean."),
        ("def means(module:\n", "pictures.py is not valid Python"),
    ],
)
def test_drivers_that_are_missing_or_broken_are_named(home, drivers, said):
    declare(home)
    if drivers is None:
        (home.root / PICTURES).unlink()
    else:
        (home.root / PICTURES).write_text(drivers)
    done = home.grader("picture", "901")
    assert done.code == 2
    assert said in " ".join(done.err.split())


def test_the_command_shows_the_reference_once_the_part_is_earned(drawn):
    drawn.solve(("    return x.sum(0) / len(x)\n", "    return 2 * x.sum(0) / len(x)\n"))
    first = drawn.grader("picture", "901", "batch_mean")
    assert first.code == 0, first.said
    assert "batch_mean: yours" in first.out
    assert "the reference's" not in first.out
    assert "Heat map, 4 batches by 2 features, 0 to 6" in first.out
    drawn.solve()
    drawn.grader("check", "901")
    done = drawn.grader("picture", "901", "batch_mean")
    assert done.out.count("Heat map, 4 batches by 2 features, 0 to 3") == 2
    assert "batch_mean: the reference's" in done.out
    assert "RunningMean" not in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    ascii_only = drawn.cold("-m", "grader", "picture", "901", "batch_mean", PYTHONIOENCODING="ascii")
    assert ascii_only.out.isascii()
    assert ". 0   :+*# up to 3" in ascii_only.out
    assert "?" not in ascii_only.out


def test_the_page_needs_nothing_else(drawn):
    drawn.solve((RIGHT, "    raise ValueError('<script>alert(1)</script>')\n"))
    done = drawn.grader("picture", "901", "--html", "seen.html")
    assert done.out == "wrote seen.html\n"
    page = (drawn.root / "seen.html").read_text()
    assert "ValueError: &lt;script&gt;" in page
    assert "<script" not in page
    drawn.solve()
    drawn.grader("picture", "901", "--html", "seen.html")
    page = (drawn.root / "seen.html").read_text()
    assert page.count("<svg ") == 2
    assert "<table><tr><th>batch \\ feature</th>" in page
    assert "href=" not in page
    assert "src=" not in page


def test_an_exercise_without_pictures_and_a_part_that_there_is_not(home, drawn):
    assert "has no part 'batch_men'" in drawn.grader("picture", "901", "batch_men").err
    path = home.root / f"exercises/{ID}/exercise.toml"
    path.write_text(path.read_text().partition("\n[[picture]]")[0])
    assert "dl_901_running_mean has no pictures yet." in drawn.grader("picture", "901").err
