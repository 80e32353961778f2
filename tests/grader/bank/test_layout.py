import ast

import pytest

from grader.bank.catalog import Part, find_house
from grader.bank.layout import cells_of, layout_of
from grader.bank.source import read_source, stub
from grader.submissions.statements import counted, defined, needed

HOUSE = find_house()


def parts(*names, **defines):
    some = [Part(name=name, points=1, minutes=1, topics=(), hints=("",)) for name in names]
    more = [Part(name=n, points=1, minutes=1, topics=(), hints=("",), defines=tuple(d)) for n, d in defines.items()]
    return [*some, *more]


TEXT = '''"""Head."""
import math

LIMIT = 3


@cache
def f(x):
    ### BEGIN SOLUTION
    return x
    ### END SOLUTION


# about the helper
def _helper(x):
    ### BEGIN SOLUTION
    return x
    ### END SOLUTION


class G:
    def a(self):
        ### BEGIN SOLUTION
        return 1
        ### END SOLUTION


GIVEN = 1


def h(x):
    return GIVEN


def g2(x):
    ### BEGIN SOLUTION
    return 1
    ### END SOLUTION


TAIL = 2
'''


def test_a_text_is_its_cells():
    cells = cells_of(TEXT, parts("f", G=["G", "g2"]))
    assert "".join(cell.text for cell in cells) == TEXT
    assert [(cell.id, cell.names) for cell in cells] == [
        ("given-1", ()), ("answer-f", ("f",)), ("answer-G", ("G",)), ("given-2", ()), ("answer-G-2", ("g2",)),
        ("given-3", ()),
    ]  # fmt: skip


def test_a_helper_to_write_goes_with_the_part_that_follows():
    (answer,) = [cell for cell in cells_of(TEXT, parts("f", G=["G", "g2"])) if cell.id == "answer-G"]
    assert "# about the helper\ndef _helper(x):" in answer.text
    assert all(cell.is_answer for cell in cells_of(TEXT, parts("f", G=["G", "g2"])) if "### BEGIN" in cell.text)


@pytest.mark.parametrize("id", list(HOUSE.exercises))
def test_every_exercise_comes_apart_and_together(id):
    exercise = HOUSE.exercises[id]
    text = read_source(exercise.solution)
    layout = layout_of(exercise)
    assert "".join(cell.text for cell in layout) == stub(text)
    assert [cell.id for cell in layout] == [cell.id for cell in cells_of(text, exercise.parts)]
    for cell in cells_of(text, exercise.parts):
        ast.parse(cell.text)
        assert cell.is_answer or "### BEGIN SOLUTION" not in cell.text
    answered = {name for cell in layout for name in cell.names}
    assert answered == {name for part in exercise.parts for name in part.names}


def test_what_was_tried_out_does_not_count():
    text = "import os\nx = 1/0\nprint(f())\nfor i in range(3):\n    g(i)\nSIZE = 3\ndef f():\n    return SIZE\n"
    assert counted(text, needed([text], {"f"})) == "\n\n\n\n\nSIZE = 3\ndef f():\n    return SIZE\n"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("import plots\nplots.show(f(1))\ndef f(x):\n    return x\n", set()),
        ("import plots\ndef show():\n    plots.show()\ndef f(x):\n    return x\n", set()),
        ("import plots\nclass Show:\n    def go(self):\n        plots.show()\ndef f(x):\n    return x\n", set()),
        ("import torch as t\ndef g(x):\n    return t.abs(x)\ndef f(x):\n    return g(x)\n", {"t"}),
        ("import torch.nn\nclass G(torch.nn.Module):\n    pass\n", {"torch"}),
        ("import torch\nclass G:\n    @torch.no_grad()\n    def go(self):\n        pass\n", {"torch"}),
        ("from torch import Tensor\ndef g(x) -> Tensor:\n    return x\n", {"Tensor"}),
        ("import a\nall = {}\ndef known(g):\n    all[g.__name__] = g\n@known\ndef g():\n    a.b()\n", {"a", "all"}),
        ("from torch import *\ndef f(x):\n    return abs(x)\n", {"*"}),
    ],
)
def test_an_import_counts_where_something_that_counts_reads_it(text, kept):
    assert defined(counted(text, needed([text], {"f"}))) - {"f", "g", "G", "show", "Show", "known"} == kept


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("def f():\n    x = 1\n    return x\nx = 5", set()),  # a local of the same name
        ("def f():\n    return x\nx = y\ny = 5\nz = 6", {"x", "y"}),
        ("class A:\n    def f(self):\n        return [t for i in range(N)]\nN = 1\nt = 2\ni = 3", {"N", "t"}),
        ("class A(Base):\n    pass\nBase = 1", {"Base"}),
        ("@wrap\ndef f(x=default):\n    pass\nwrap = default = 1\nx = 2", {"wrap", "default"}),
        (
            "TABLE = {}\nfor k in KEYS:\n    TABLE[k] = 1\nKEYS = 'ab'\ndef f():\n    return TABLE",
            {"TABLE", "KEYS", "k"},
        ),
        ("A.f = 3\ndef g():\n    return A", {"A"}),
        ("try:\n    import fast\nexcept ImportError:\n    fast = None\ndef f():\n    return fast", {"fast"}),
    ],
)
def test_needed_are_the_globals_that_functions_read(text, names):
    tops = defined(text)
    asked = {"f", "g", "A"}
    assert needed([text], asked) & tops - {"f", "g", "A", "ImportError"} == names - {"A"}
    kept = counted(text, needed([text], asked))
    assert defined(kept) & tops == (names | {n for n in ("f", "g", "A") if n in tops})


def test_statements_of_one_line_stay_together():
    assert counted("SIZE = 3; print(SIZE)\nprint(1); f()\n", {"SIZE"}) == "SIZE = 3; print(SIZE)\n\n"
    many = "import os; y = (1,\n2); SIZE = (3,\n4)\nz = 1\n"
    assert counted(many, {"SIZE"}) == many.replace("z = 1", "")
    assert counted(many, {"z"}) == "\n\n\nz = 1\n"


def test_a_form_feed_is_no_line_end():
    assert counted("TOP = 1\n\x0cprint(1)\nSIZE = 3\n", {"TOP", "SIZE"}) == "TOP = 1\n\nSIZE = 3\n"


def test_an_unreadable_text_is_a_syntax_error():
    for function in (lambda: counted("f(", set()), lambda: needed(["f("], set()), lambda: defined("f(")):
        with pytest.raises(SyntaxError):
            function()
