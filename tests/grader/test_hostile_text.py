"""What a learner's code raises, returns and prints is a stranger's text: no door lets it command a terminal."""

import json
import subprocess
import sys

import pytest

from conftest import ID, environment
from grader.classroom.lab import NotYet
from grader.classroom.practice import KernelSeat, text_of_cells, told

EVIL = r"a\x1b]0;owned\x07b\x1b[2Jc\rd\u202ee\x9b1mf\u2028g"
HOSTILE = rf'''
import logging
import sys
import warnings

import torch

EVIL = "{EVIL}"


class Odd(Exception):
    pass


class Warned(UserWarning):
    pass


Odd.__name__ = Odd.__qualname__ = Warned.__name__ = EVIL


class Gone:
    def __del__(self):
        raise Odd(EVIL)


def batch_mean(x):
    Gone()
    print(EVIL, "\ud800")
    print(EVIL, file=sys.stderr)
    logging.warning(EVIL)
    warnings.warn(Warned(EVIL))
    raise Odd(EVIL + "\ud800")  # what hides in a line: {chr(0x202E)} {chr(0x9B)}


class RunningMean:
    def __init__(self, d):
        pass

    def update(self, x):
        return [EVIL + "\ud800", {{EVIL: 1}}]
'''
SEEN = r"\x1b]0;owned\x07"


def commands(text):
    """The characters of a text that are more than text."""
    return {char for char in text if not char.isprintable() and char not in "\n\t"}


@pytest.fixture
def hostile(home):
    """A house whose learner's file attacks whoever shows what comes of it."""
    home.declare_picture("import torch\n\n\ndef means(module):\n    return module.batch_mean(torch.ones(3, 2))\n")
    home.attempt.write_text(HOSTILE, encoding="utf-8")
    return home


def said(home, door, *args, **env):
    """What a command says, to the letter: read as text, a carriage return would be a line end."""
    getattr(home, door)(*args, **env)
    folder = home.root.parent / "said"
    return "".join((folder / name).read_bytes().decode() for name in ("out", "err"))


@pytest.mark.parametrize(
    "words",
    [
        "pytest exercises", "pytest --tb=long -rA exercises", f"pytest exercises/{ID}/test_examples.py",
        "grader check 901", "grader check 901 --json", "grader watch 901 --once", "grader watch 901 --once --json",
        "grader picture 901", "grader picture 901 --html page.html",
    ],
)  # fmt: skip
def test_no_command_of_a_learner_lets_it_through(hostile, words):
    door, *args = words.split()
    text = said(hostile, door, *args)
    page = hostile.root / "page.html"
    text += page.read_bytes().decode() if page.exists() else ""
    assert commands(text) == set()
    if "watch" not in words or "json" in words:
        assert SEEN in text.replace("\\\\", "\\"), text


def test_nor_does_grading_a_class(hostile):
    place = hostile.root / "submitted/ann" / ID
    place.mkdir(parents=True)
    (place / "running_mean.py").write_text(HOSTILE, encoding="utf-8")
    text = said(hostile, "grader", "grade", "submitted", "--out", "out")
    kept = (hostile.root / "out/results.jsonl").read_bytes().decode()
    assert SEEN in json.loads(kept)["parts"][0]["message"]
    assert commands(text + kept) == set()


def test_nor_does_a_notebook_in_which_one_practises(hostile):
    exercise = hostile.exercise
    part = exercise.parts[0]
    text = text_of_cells(exercise, ["", HOSTILE])
    shown, passed = told(hostile.house, exercise, part, KernelSeat(hostile.house, exercise).result(text, part), text)
    assert not passed
    assert SEEN in shown
    assert commands(shown) == set()


def test_nor_does_a_students_notebook():
    with pytest.raises(NotYet) as caught:
        raise NotYet("a\x1b[2J\r\nb\ud800")
    assert str(caught.value) == "a\\x1b[2J\nb\\ud800"


def test_nor_does_the_history_on_a_terminal_and_a_file_is_given_back_as_it_was(hostile):
    hostile.grader("check", "901")
    command = [sys.executable, "-m", "grader", "history", "901", "--show", "1"]
    seen = subprocess.run(
        ["script", "-qec", " ".join(command), "/dev/null"], cwd=hostile.root, capture_output=True, check=True,
        env=environment(TERM="dumb"),
    )  # fmt: skip
    assert commands(seen.stdout.decode().replace("\r\n", "\n")) == set()
    assert hostile.grader("history", "901", "--show", "1").out == HOSTILE
