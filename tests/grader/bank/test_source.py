import ast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grader.bank.source import (
    BEGIN,
    END,
    STUB,
    MarkerError,
    definitions,
    holder,
    read_source,
    regions,
    replace_definition,
    stub,
    untouched,
)

MARKED = f'''def first(x):
    """Keep me."""
    {BEGIN}
    return x
    {END}


class Box:
    @property
    def size(self):
        {BEGIN}
        return 1
        {END}

    def twice(self):
        return 2
'''

# Lines of a body, some with characters that str.splitlines takes for an end of line and Python does not.
ODD = ["pass", "x = 1", "# a\x0cb", "# a\u2028b", "s = 'a\x1cb'", "s = 'a\x85b'", "", "y = 'ü'"]
bodies = st.lists(st.sampled_from(ODD), min_size=1, max_size=4)


def marked_function(name, body):
    return [f"def {name}(x):", "    '''Doc.'''", f"    {BEGIN}", *(f"    {line}" for line in body), f"    {END}"]


@st.composite
def solutions(draw):
    """A module of marked functions, and their names."""
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True, max_size=4))
    lines = draw(st.lists(st.sampled_from(["import math", "K = 2", "", "# between\u2028"]), max_size=3))
    for name in names:
        lines += ["", *marked_function(name, draw(bodies))]
    return "\n".join(lines) + "\n", names


def test_a_stub_keeps_all_but_the_regions():
    assert stub(MARKED) == (
        f'def first(x):\n    """Keep me."""\n    {STUB}\n\n\n'
        f"class Box:\n    @property\n    def size(self):\n        {STUB}\n\n    def twice(self):\n        return 2\n"
    )


@given(solutions())
def test_a_stub_is_python_and_raises_once_for_each_region(solution):
    text, names = solution
    built = stub(text)
    ast.parse(built)
    assert built.count(STUB) == len(names)
    assert BEGIN not in built
    assert END not in built
    assert list(definitions(built)) == names


@given(solutions())
def test_a_stub_of_a_stub_is_itself(solution):
    assert stub(stub(solution[0])) == stub(solution[0])


@given(st.lists(st.sampled_from([BEGIN, f"  {BEGIN}", END, "x = 1", f"# {BEGIN}", f"y = 2  {END}"]), max_size=12))
def test_markers_pair_up_or_the_line_is_named(lines):
    marks = [line.strip() for line in lines if line.strip() in (BEGIN, END)]
    paired = marks == [BEGIN, END] * (len(marks) // 2)
    if paired:
        found = regions("\n".join(lines))
        assert [lines[i - 1].strip() for pair in found for i in pair] == marks
    else:
        with pytest.raises(MarkerError, match=r"line \d+"):
            regions("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{BEGIN}\n{BEGIN}\n{END}", "line 2: a second .* of line 1"),
        (f"x\n{END}", "line 2: .* without a '### BEGIN"),
        (f"x\n\n{BEGIN}", "line 3: .* without an '### END"),
    ],
)
def test_unpaired_markers_are_named_with_their_line(text, said):
    with pytest.raises(MarkerError, match=said):
        regions(text)


def test_definitions_are_functions_classes_and_methods_with_their_decorators():
    text = (
        "@a\n@b\ndef first():\n    pass\n\n"
        "class Box:\n    x = 1\n    @c\n    async def size(self):\n        def inner(): ...\n"
    )
    assert definitions(text) == {"first": (1, 4), "Box": (6, 10), "Box.size": (8, 10)}


@given(solutions(), st.data())
def test_the_holder_of_a_line_is_the_definition_around_it(solution, data):
    text, names = solution
    assume(names)
    name = data.draw(st.sampled_from(names))
    first, last = definitions(text)[name]
    line = data.draw(st.integers(first, last))
    assert holder(text, line) == name


def test_the_holder_is_the_innermost_definition():
    assert holder(MARKED, 16) == "Box.twice"
    assert holder(MARKED, 8) == "Box"
    assert holder(MARKED, 6) == ""


@given(solutions(), st.data())
def test_replacing_a_definition_leaves_every_other_as_it_was(solution, data):
    text, names = solution
    assume(names)
    name = data.draw(st.sampled_from(names))
    changed = replace_definition(text, name, f"def {name}(x):\n    return 'new'\n")
    before, after = (
        {node.name: ast.dump(node) for node in ast.parse(each).body if hasattr(node, "name")}
        for each in (text, changed)
    )
    assert before.keys() == after.keys()
    assert {key for key in before if before[key] != after[key]} == {name}
    assert "return 'new'" in changed


def test_a_replaced_method_takes_the_place_and_indentation_of_the_old():
    changed = replace_definition(MARKED, "Box.twice", "def twice(self):\n    return 7")
    assert changed == MARKED.replace("return 2", "return 7")


def test_replacing_what_is_not_defined_is_an_error():
    with pytest.raises(KeyError):
        replace_definition(MARKED, "second", "def second(): pass")


def test_a_byte_order_mark_is_not_part_of_the_text(tmp_path):
    path = tmp_path / "a.py"
    path.write_bytes(b"\xef\xbb\xbfx = 1\n")
    assert read_source(path) == "x = 1\n"


def test_other_encodings_are_refused(tmp_path):
    path = tmp_path / "a.py"
    path.write_bytes("x = 'ü'\n".encode("latin-1"))
    with pytest.raises(UnicodeDecodeError):
        read_source(path)


HANDED_OUT = stub(MARKED)


@pytest.mark.parametrize(
    ("text", "still"),
    [
        (HANDED_OUT, True),
        (HANDED_OUT.replace("\n", "\r\n"), True),
        ("# my notes\n\n" + HANDED_OUT, True),
        (HANDED_OUT + "\n\ndef helper():\n    return 1\n", True),
        (replace_definition(HANDED_OUT, "Box.twice", "def twice(self):\n    return 2 * 1"), True),
        (replace_definition(HANDED_OUT, "first", "def first(x):\n    return x"), False),
        (HANDED_OUT + "\n\ndef first(x):\n    return x\n", False),
        (HANDED_OUT + "\n\nfirst = abs\n", False),
        ("from math import *\n" + HANDED_OUT, False),
        (HANDED_OUT.replace("def first", "def second"), False),
        (HANDED_OUT + "\n\ndef helper(x: float, n=3) -> float:\n    return x\n", True),
        (HANDED_OUT + "\n\n@adds_to(globals())\ndef helper():\n    return 1\n", False),
        (HANDED_OUT + "\n\nclass Patch:\n    Box.size = None\n", False),
        (HANDED_OUT + "\n\nclass Patch(metaclass=patching):\n    pass\n", False),
        (HANDED_OUT + "\n\ndef helper(x=globals().update(first=abs)):\n    pass\n", False),
        (HANDED_OUT + "\n\ndef helper(x: globals().update(first=abs)):\n    pass\n", False),
        (HANDED_OUT + "\n\nX = " + "1 + " * 3000 + "1\n", False),
        (HANDED_OUT + "\n\n((", False),
        ("\0", False),
    ],
)
def test_a_definition_is_untouched_where_nothing_could_have_bound_its_name_anew(text, still):
    assert untouched(text, HANDED_OUT, ("first",)) is still
