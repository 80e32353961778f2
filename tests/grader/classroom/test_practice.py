"""A notebook to practise in: the hidden checks run in the cage on what was typed into cells, and count."""

from itertools import groupby

import nbformat
import pytest
from nbclient import NotebookClient

from conftest import environment
from grader.classroom.lab import NotYet
from grader.classroom.practice import KernelSeat, text_of_cells, told
from grader.verdicts.verdict import Verdict

MEAN = """def batch_mean(x):
    if len(x) == 0:
        raise ValueError("the mean of nothing")
    return x.sum(0) / len(x)
"""
STREAM = """class RunningMean:
    def __init__(self, d):
        self.count, self.mean = 0, torch.zeros(d)

    def update(self, x):
        self.count += len(x)
        self.mean = self.mean + (x - self.mean).sum(0) / self.count
        return self.mean
"""


DRIVER = """
import torch


def means(module):
    return {"a": module.batch_mean(torch.tensor([[1.0], [0.0], [0.0]])).item()}
"""


def judged(home, cells, part):
    exercise = home.exercise
    text = text_of_cells(exercise, ["", *cells])
    result = KernelSeat(home.house, exercise).result(text, exercise.part(part))
    return told(home.house, exercise, exercise.part(part), result, text)


def test_what_was_typed_is_judged_and_counts(home):
    said, passed = judged(home, [MEAN], "batch_mean")
    assert passed
    assert "+30  batch_mean" in said
    assert home.progress.earned() == {"dl_901_running_mean": {"batch_mean"}}
    assert home.progress.history("dl_901_running_mean")[0].door == "notebook"


def test_a_wrong_answer_reads_as_everywhere(home):
    said, passed = judged(home, [MEAN.replace(" / len(x)", "")], "batch_mean")
    assert not passed
    assert "2 of 3 checks pass" in said
    assert "This is what a sum gives." in said


def test_the_later_of_two_cells_counts_and_helpers_and_magics_come_along(home):
    helper = "%time 1 + 1\ndef total(x):\n    return x.sum(0)\n"
    mean = MEAN.replace("x.sum(0)", "total(x)")
    said, passed = judged(home, [MEAN.replace("/", "*"), helper, mean, "check('batch_mean')"], "batch_mean")
    assert passed, said


def test_what_a_part_builds_on_is_judged_with_it(home):
    said, passed = judged(home, [MEAN.replace(" / len(x)", ""), STREAM], "RunningMean")
    assert passed, said


def test_nothing_typed_is_not_started(home):
    said, passed = judged(home, ["x = 1"], "batch_mean")
    assert not passed
    assert str(Verdict.NOT_STARTED) in said


def test_checks_that_cannot_be_read_are_no_fault_of_the_learner(home):
    home.checks.write_text("import no_such_package\n")
    with pytest.raises(NotYet, match="not your fault"):
        judged(home, [MEAN], "batch_mean")


def test_the_command_writes_it_once(home, cli):
    done = cli("notebook", "901")
    assert done.code == 0, done.said
    place = home.attempt.with_suffix(".ipynb")
    notebook = nbformat.read(place, as_version=4)
    sources = [cell.source for cell in notebook.cells]
    assert "    return x.sum(0) / len(x)" not in "\n".join(sources)
    assert 'check("batch_mean")' in sources
    assert not any("nbgrader" in cell.metadata for cell in notebook.cells)
    again = cli("notebook", "901")
    assert again.code == 2
    assert "is there already, and is left as it is" in again.err


def test_in_a_real_kernel(home, cli, monkeypatch):
    home.declare_picture(DRIVER, kind="bars", axes=["batch", "mean"], caption="Thirds.")
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    assert cli("notebook", "901").code == 0
    notebook = nbformat.read(home.attempt.with_suffix(".ipynb"), as_version=4)
    for cell in notebook.cells:
        if cell.source.startswith("def batch_mean"):
            cell.source = "import torch\n" + MEAN
        if cell.source.startswith("class RunningMean"):
            cell.source = STREAM.replace("+ (x", "- (x")
    client = NotebookClient(notebook, allow_errors=True, resources={"metadata": {"path": str(home.attempt.parent)}})
    client.execute()
    shown = {cell.source: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    earned, mine, my_words, reference, its_words = _in_order(shown['check("batch_mean")'])
    assert "+30  batch_mean" in earned
    assert earned.endswith("Means. Thirds.\n")
    assert mine.startswith("<svg")
    assert my_words == "Yours: Bar chart, 1 batch, mean all 0.333.\n"
    assert reference == mine
    assert its_words == "The reference's: Bar chart, 1 batch, mean all 0.333.\n"
    picture, bad = shown['check("RunningMean")']
    assert picture["data"]["image/svg+xml"].startswith("<svg")
    assert bad["ename"] == "NotYet"
    assert "0 of 1 checks pass" in "\n".join(bad["traceback"])


def test_pictures_of_a_wrong_answer_come_without_the_references_and_those_of_a_stub_not_at_all(home):
    home.declare_picture(DRIVER, kind="bars", axes=["batch", "mean"])
    part = home.exercise.part("batch_mean")
    seat = KernelSeat(home.house, home.exercise)
    seat.result(text_of_cells(home.exercise, ["", MEAN.replace(" / len(x)", "")]), part)
    (wrong,) = seat.pictures(part)
    assert (wrong.own.picture.data.values, wrong.reference) == ((1.0,), None)
    seat.result(text_of_cells(home.exercise, [""]), part)
    assert list(seat.pictures(part)) == []
    seat.result(text_of_cells(home.exercise, ["", MEAN, "import torch\n" + STREAM]), home.exercise.part("RunningMean"))
    assert list(seat.pictures(home.exercise.part("RunningMean"))) == []


def _in_order(outputs):
    """The texts and pictures that a cell shows. A kernel may hand over a text in pieces."""
    found = []
    for text, group in groupby(outputs, key=lambda one: "text" in one):
        pieces = [one["text"] if text else one["data"]["image/svg+xml"] for one in group]
        found += ["".join(pieces)] if text else pieces
    return found
