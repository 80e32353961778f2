import ast
from pathlib import Path

import pytest

from grader.audit.generated import generate
from grader.audit.mutants import Edit, Equivalent, Mutant, Right, apply, read_mutants
from grader.bank.source import BEGIN, END
from grader.base.errors import HouseError

WHERE = Path("mutants.toml")
SOLUTION = f"""LIMIT = 3 + 4


def clip(x, low):
    {BEGIN}
    if x < low:
        return low
    return x + LIMIT * 2
    {END}


class Box:
    def size(self):
        {BEGIN}
        return self.a - self.b
        {END}
"""


def mutant(**change):
    return Mutant(name="m", caught_by="test_x", **change)


def test_a_text_is_replaced():
    assert apply(SOLUTION, mutant(find="x < low", put="x > low"), WHERE) == SOLUTION.replace("x < low", "x > low")


def test_a_definition_is_replaced_and_may_bring_others():
    code = "import math\n\ndef helper(x):\n    return x\n\ndef clip(x, low):\n    return helper(x)\n"
    names = {}
    exec(apply(SOLUTION, mutant(part="clip", code=code), WHERE), names)
    assert names["clip"](5, 9) == 5
    changed = apply(SOLUTION, mutant(part="Box.size", code="def size(self):\n    return 7\n"), WHERE)
    exec(changed, names)
    assert names["Box"]().size() == 7


def test_a_text_that_stands_elsewhere_too_is_replaced_in_one_definition_alone():
    twice = SOLUTION.replace("return self.a - self.b", "return self.a + LIMIT")
    changed = apply(twice, mutant(part="Box.size", find="+ LIMIT", put="- LIMIT"), WHERE)
    assert "return self.a - LIMIT" in changed
    assert "return x + LIMIT * 2" in changed
    with pytest.raises(HouseError, match="'Box' holds 'self' 2 times, not once"):
        apply(twice, mutant(part="Box", find="self", put="x"), WHERE)


def test_several_edits_are_one_change():
    edits = (Edit(find="x < low", put="x <= low"), Edit(part="Box.size", code="def size(self): return 1"))
    changed = apply(SOLUTION, Right(name="r", edits=edits), WHERE)
    assert "x <= low" in changed
    assert "def size(self): return 1" in changed


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"find": "low", "put": "x"}, "'m': the solution holds 'low' 3 times, not once"),
        ({"find": "nowhere", "put": "x"}, "the solution holds 'nowhere' 0 times, not once"),
        ({"part": "clap", "code": ""}, "the solution defines no 'clap'. Did you mean 'clip'?"),
        ({"find": "x"}, "needs `find` and `put`, with a `part` or without; or `part` and `code`; or `edits`"),
        ({"part": "clip"}, "needs `find` and `put`"),
        ({"find": "x < low", "put": "a", "part": "clip", "code": "b"}, "needs `find` and `put`"),
        ({}, "needs `find` and `put`"),
        ({"find": "x < low", "put": "x < "}, "'m' is not valid Python once it is applied"),
    ],
)
def test_an_edit_that_does_not_apply_is_named(change, said):
    with pytest.raises(HouseError) as caught:
        apply(SOLUTION, mutant(**change), WHERE)
    assert said in str(caught.value)


def test_an_unknown_key_of_the_file_is_named(tmp_path):
    path = tmp_path / "mutants.toml"
    path.write_text('[[mutant]]\nname = "a"\ncaught_by = "t"\nfnd = "x"\n')
    with pytest.raises(HouseError, match=r"unknown field `fnd`.*Did you mean 'find'"):
        read_mutants(path)


def test_a_mutant_must_say_what_catches_it(tmp_path):
    path = tmp_path / "mutants.toml"
    path.write_text('[[mutant]]\nname = "a"\nfind = "x"\nput = "y"\n')
    with pytest.raises(HouseError, match="caught_by"):
        read_mutants(path)


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    path = tmp_path_factory.mktemp("solution") / "clip.py"
    path.write_text(SOLUTION)
    return list(generate(path))


def test_generated_mutants_are_python_and_unlike_each_other_and_the_solution(generated):
    texts = [one.text for one in generated]
    assert len(set(texts)) == len(texts) > 10
    assert SOLUTION not in texts
    for text in texts:
        ast.parse(text)


def test_generated_mutants_change_the_marked_regions_alone(generated):
    assert all("LIMIT = 3 + 4" in one.text for one in generated)
    assert {one.line for one in generated} == {6, 8, 15}
    assert {one.part for one in generated} == {"clip", "Box"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("if x < low:", "if x <= low:"),
        ("if x < low:", "if x > low:"),
        ("if x < low:", "if not x < low:"),
        ("return x + LIMIT * 2", "return x - LIMIT * 2"),
        ("return x + LIMIT * 2", "return x + LIMIT / 2"),
        ("return x + LIMIT * 2", "return x + LIMIT * 3"),
        ("return self.a - self.b", "return self.a + self.b"),
    ],
)
def test_the_usual_slips_are_among_them(generated, before, after):
    assert any(one.is_(Equivalent(before, after, "")) for one in generated)


def test_operators_that_only_die_of_a_type_error_are_left_out(generated):
    assert not any("<<" in one.after or " is " in one.after or " | " in one.after for one in generated)


def test_an_equivalent_is_known_by_its_lines_whatever_the_spaces(generated):
    one = generated[0]
    assert one.is_(Equivalent(f"  {one.before} ", one.after.replace(" ", ""), "why"))
    assert not one.is_(Equivalent(one.after, one.before, "why"))
