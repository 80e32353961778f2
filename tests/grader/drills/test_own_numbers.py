"""Which variant a student is asked: by a secret, the same on every machine, another for everybody else."""

import unicodedata

import pytest

from grader.drills.own import known_as, seed_of


def test_a_seed_is_the_same_on_every_machine():
    assert seed_of("5ec7e7", "ann", "dl_011.bytes_a_token") == 263219222628568
    assert seed_of("5ec7e7", "José", "dl_011.bytes_a_token") == 194723008588859


def test_secret_student_and_question_each_give_another():
    asked = [("a", "ann", "q"), ("b", "ann", "q"), ("a", "bob", "q"), ("a", "ann", "r"), ("a", 'ann", "q', "")]
    assert len({seed_of(*one) for one in asked}) == len(asked)


@pytest.mark.parametrize("other", ["José@Uni.edu", " josé@uni.edu\n", unicodedata.normalize("NFD", "josé@uni.edu")])
def test_a_name_is_the_same_however_it_is_typed(other):
    assert known_as(other) == known_as("josé@uni.edu")
    assert seed_of("a", other, "q") == seed_of("a", "josé@uni.edu", "q")
    assert known_as("jose@uni.edu") != known_as(other)
