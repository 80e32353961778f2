"""Which visible examples belong to which part: a student edition counts by them, so that each part needs one."""

import pytest

from grader.bank.catalog import find_house
from grader.bank.examples import examples_of


@pytest.mark.parametrize("exercise", find_house().exercises.values(), ids=lambda one: one.id)
def test_every_part_has_an_example(exercise):
    text = exercise.attempt.with_name("test_examples.py").read_text()
    assert [part.name for part in exercise.parts if not examples_of(text, exercise, part)] == []
