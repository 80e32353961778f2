import ast
import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.answering.request import Request
from grader.answering.runner import Runner
from grader.bank import pieces
from grader.bank import source as source_module
from grader.bank.catalog import Part
from grader.bank.layout import Cell
from grader.submissions.ipython import plain_python
from grader.submissions.notebook import NotebookError, source_of_notebook

LARGEST = 1 << 20


def source(*cells, stem="running_mean", largest=LARGEST, **rest):
    return source_of_notebook(json.dumps({"cells": cells, "nbformat": 4, **rest}), stem, largest)


def code(text, **marks):
    metadata = {"nbgrader": {"schema_version": 3, **marks}} if marks else {}
    return {"cell_type": "code", "source": text, "metadata": metadata, "outputs": [], "execution_count": None}


def markdown(text, **marks):
    return {**code(text, **marks), "cell_type": "markdown"}


GIVEN = {"locked": True, "grade": False, "solution": False}
SOLUTION = {"locked": False, "grade": False, "solution": True}
TEST = {"locked": True, "grade": True, "solution": False}
MANUAL = {"locked": False, "grade": True, "solution": True}


# ---- which cells


def test_of_a_released_notebook_the_given_and_the_solution_cells_count():
    got = source(
        markdown("# Running mean", **GIVEN),
        code("import torch", **GIVEN),
        code("def f():\n    return 1", **SOLUTION),
        code("assert f() == 1", **TEST),
        code("f()  # tried out"),
        markdown("words", **SOLUTION),
        code("y = 'an essay'", **MANUAL),
        code("def g():\n    return 2\n", **SOLUTION),
    )
    assert got == "# cell 2\nimport torch\n\n# cell 3\ndef f():\n    return 1\n\n# cell 8\ndef g():\n    return 2\n"


def test_without_marks_every_code_cell_counts():
    assert source(code("a = 1"), markdown("b = 2"), code(""), code(["c = 3\n", "d = 4"])) == (
        "# cell 1\na = 1\n\n# cell 4\nc = 3\nd = 4\n"
    )


@pytest.mark.parametrize("marks", [{"solution": "true"}, {"solution": 1.5}, {"solution": None}, {"locked": "yes"}])
def test_a_mark_is_true_or_it_is_none(marks):
    with pytest.raises(NotebookError, match="no code in it that counts"):
        source(code("a = 1", **marks))


def test_a_file_written_by_a_cell_is_the_source():
    got = source(
        code("import torch"),
        code("%%writefile running_mean.py\nold = 1"),
        code("%%writefile other.py\nnot = this"),
        code("%%writefile ./running_mean.py\nimport torch\n\ndef f():\n    '''%time'''\n"),
        code('%%writefile -a "running_mean.py"\ndef g(): pass'),
        code("!python running_mean.py"),
    )
    assert got == "# cell 4\n\nimport torch\n\ndef f():\n    '''%time'''\n\n# cell 5\n\ndef g(): pass\n"


# ---- what is said of a line


LAYOUT = (
    Cell("given-1", (), "import torch\n\nSIZE = torch.zeros(3)\n\ndef given(x):\n    return x + missing\n"),
    Cell("answer-f", ("f",), "def f(x):\n    raise NotImplementedError  # TODO: your code\n"),
    Cell("answer-g", ("g",), "def g(x):\n    raise NotImplementedError  # TODO: your code\n"),
)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("\n\ndef f(x):\n    return x.nope", "AttributeError: 'int' object has no attribute 'nope'\n"
         "  cell 2, line 4 in f\n      return x.nope"),
        ("tried = 1\ndef f(x):\n    return 1 +", "cell 2, line 3 is not valid Python: invalid syntax"),
        ("def f(x):\n    raise NotImplementedError  # TODO: your code", "to write: f (cell 2, line 2)"),
        ("def f(x):\n    return given(x)", "NameError: name 'missing' is not defined\n  cell 2, line 2 in f\n"
         "      return given(x)\n  given code, line 6 in given\n      return x + missing"),
        ("def f(x):\n    return h(x)", "ZeroDivisionError: division by zero\n  cell 2, line 2 in f\n"
         "      return h(x)\n  cell 3, line 3 in h\n      return x / 0"),
        (None, "to write: f (a cell that is missing)"),
        ("def f(x):\n    break", "cell 2, line 2 is not valid Python: 'break' outside loop"),
        ("def f(x):\n    if x:\n    return 1", "cell 2, line 3 is not valid Python: expected an indented block after "
         "'if' statement on cell 2, line 2"),
        ("# cell 3 below is mine\n# cell 3\ndef f(x):\n    return x.nope", "AttributeError: 'int' object has no "
         "attribute 'nope'\n  cell 2, line 4 in f\n      return x.nope"),
        ("def f(x):\n    return 1\0", "cell 2 is not valid Python: source code string cannot contain null bytes"),
        ("def f(x):\n    raise ValueError('mine')  # what stands here is not valid Python", "ValueError: mine\n"
         "  cell 2, line 2 in f\n      raise ValueError('mine')  # what stands here is not valid Python"),
    ],
)  # fmt: skip
def test_a_line_is_named_by_its_cell(answer, said):
    cells = [released(LAYOUT[0].text, "given-1")] + ([released(answer, "answer-f")] if answer else [])
    cells += [code("%time\ndef h(x):\n    return x / 0"), released("def g(x):\n    return h(x)", "answer-g")]
    text = source_of_notebook(json.dumps({"cells": cells, "nbformat": 4}), "running_mean", LARGEST, LAYOUT)
    part = Part("f", 1, 1, (), ())
    runner = Runner(Path("/attempt/running_mean.py"), None, "put_together", text)
    runner.begin(part, 0)
    with pytest.raises(BaseException) as raised:
        runner.ask(Request("call", "f", False, (1,), {}))
    assert runner.explainer.learner(raised.value, part).message == said


@pytest.mark.filterwarnings("ignore:.*is. with:SyntaxWarning")  # where the file runs
def test_one_broken_cell_costs_its_own_part_alone(recwarn):
    """Also where a class was to be, that another cell builds on; and a cell that was tried out costs nothing."""
    odd = "def odd(x):\n    return x is 1"  # Python warns of it, and whoever grades should not have to read that
    cells = [
        code(odd),
        released(LAYOUT[0].text, "given-1"),
        released("class f:\n    continue", "answer-f"),
        code("class Sub(f):\n    pass\n\ndef scratch(x):\n    break"),
        code("class Sub(f):\n    pass"),
        released("def g(x):\n    return x + 1", "answer-g"),
    ]
    text = source_of_notebook(json.dumps({"cells": cells, "nbformat": 4}), "running_mean", LARGEST, LAYOUT)
    assert not recwarn.list
    runner = Runner(Path("/attempt/running_mean.py"), None, "put_together", text)
    runner.begin(Part("g", 1, 1, (), ()), 0)
    assert runner.ask(Request("call", "g", False, (1,), {})) == 2
    with pytest.raises(SyntaxError, match="cell 3, line 2 is not valid Python: 'continue' not properly in loop"):
        runner.ask(Request("call", "Sub", False, (1,), {}))


def test_a_script_is_no_notebook():
    text = "# cell 3 of my plan\ndef f(x):\n    return x.nope\n"
    runner = Runner(Path("/attempt/running_mean.py"), None, "a_script", text)
    runner.begin(Part("f", 1, 1, (), ()), 0)
    with pytest.raises(AttributeError) as raised:
        runner.ask(Request("call", "f", False, (1,), {}))
    assert "running_mean.py:3 in f" in runner.explainer.learner(raised.value, Part("f", 1, 1, (), ())).message


@pytest.mark.parametrize("first", ["", "# cell 1\n"])
def test_a_long_text_is_split_once_for_all_its_errors(first, monkeypatch):
    functions = "".join(f"def f{i}(x):\n    return f{i + 1}(x)\n" for i in range(4)) + "def f4(x): x.nope\n"
    part = Part("f0", 1, 1, (), ())
    runner = Runner(Path("/attempt/running_mean.py"), None, "long", first + "#\n" * 1000 + functions)
    runner.begin(part, 0)
    with pytest.raises(AttributeError) as raised:
        runner.ask(Request("call", "f0", False, (1,), {}))
    split = []
    for module in (pieces, source_module):
        monkeypatch.setattr(module, "lines_of", lambda text: split.append(text) or text.splitlines(keepends=True))
    for _ in range(20):
        runner.explainer.learner(raised.value, part)
    assert len(split) <= 2


def released(text, id):
    return code(text, grade_id=id)


# ---- IPython


@pytest.mark.parametrize(
    "line",
    ["%matplotlib inline", "!pip install torch", "!echo \"it's (", "?torch.mean", "torch.mean?", "torch.mean??  ",
     "files = !ls", "a, b = %sql select (", "%time f('", "%load_ext x"],
)  # fmt: skip
def test_a_command_becomes_pass_on_its_own_line(line):
    got = plain_python(f"a = 1\n{line}\nif a:\n    {line}\nb = 2").split("\n")
    assert got == ["a = 1", f"pass  # {line.strip()}", "if a:", f"    pass  # {line.strip()}", "b = 2"]
    ast.parse("\n".join(got))


@pytest.mark.parametrize(
    "text",
    [
        "x = (7\n     % 4)",
        "x = [\n    1\n    # a bracket ] in a comment\n% 4]",
        "x = '''\n%time\n!ls\n'''",
        'x = """\n%time "\n\\""" !ls\n""" % 3',
        "x = 7 \\\n% 4",
        "x = 'it\\'s (' # (\ny = 1 % 2",
        "x = 'one \\\n%two'",
        "x %= 3",
        "x = y != 3",
        "x = 'a?'",
        "x = ''\ny = \"\"\nz = (1\n% 2)",
    ],
)
def test_python_stays_as_it_is(text):
    ast.parse(text)
    assert plain_python(text) == text


def test_after_a_string_that_ends_nowhere_a_command_is_still_found():
    assert plain_python("x = 'cut\n%time y").split("\n")[1] == "pass  # %time y"


def test_a_command_may_go_on():
    assert plain_python("!ls \\\n  --all\na = 1") == "pass  # !ls \\\n# --all\na = 1"


@pytest.mark.parametrize("magic", ["%%time", "%%capture out", "\n\n%%time", "%%capture\n%%time"])
def test_what_runs_in_the_notebook_counts(magic):
    got = plain_python(f"{magic}\ndef f():\n    return 1")
    assert got.split("\n")[-2:] == ["def f():", "    return 1"]
    assert got.count("\n") == magic.count("\n") + 2
    ast.parse(got)


@pytest.mark.parametrize("magic", ["%%bash", "%%html", "%%timeit", "%%writefile other.py", "%%", "%%!", "%%script sh"])
def test_what_runs_elsewhere_does_not(magic):
    got = plain_python(f"{magic}\nrm -rf 'x\n\nb = 2")
    assert [line for line in got.split("\n") if line and not line.startswith("#")] == []
    assert got.count("\n") == 3


def test_a_cell_in_the_line_ends_of_windows():
    assert source(code("a = 1\r\n%time\r\nb = 2\rc = 3")) == "# cell 1\na = 1\npass  # %time\nb = 2\nc = 3\n"


# ---- bad input


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("1" * 5000, "is not JSON"),
        ("[]", "its JSON is not an object"),
        ("null", "its JSON is not an object"),
        ("{}", "has no list of cells"),
        ('{"cells": {}}', "has no list of cells"),
        ('{"worksheets": [{"cells": []}]}', "old format: open it in Jupyter"),
        ('{"cells": []}', "has no code in it"),
        ('{"cells": [3]}', "its cell 1 is not an object"),
        ('{"cells": [{"cell_type": "code", "source": 3}]}', "source of its cell 1 is no text"),
        ('{"cells": [{"cell_type": "code", "source": ["a", null]}]}', "source of its cell 1 is no text"),
        ('{"cells": [{"cell_type": ["code"], "source": "a"}]}', "has no code in it"),
        ('{"cells": [{"cell_type": "code", "source": "a", "metadata": [{"nbgrader": 1}]}]}', None),
        ('{"cells": [{"cell_type": "code", "source": "a", "metadata": {"nbgrader": [1]}}]}', None),
        ("[" * 100_000, "nested too deeply"),
        ('{"cells": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ("[" * 1_000_001, "more than 1,000,000 brackets"),
        (" " * (20 * 2**20 + 1), "more than 20,971,520"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_no_notebook_is_refused_with_a_sentence(text, says):
    if says is None:
        assert source_of_notebook(text, "running_mean", LARGEST) == "# cell 1\na\n"
        return
    with pytest.raises(NotebookError, match=says):
        source_of_notebook(text, "running_mean", LARGEST)


def test_half_a_character_is_a_question_mark():
    assert source(code("a = '\ud800'"), code("# \udfff")) == "# cell 1\na = '?'\n\n# cell 2\n# ?\n"


def test_too_many_cells():
    with pytest.raises(NotebookError, match="10,001 cells, more than 10,000"):
        source(*[code("")] * 10_001)


def test_too_much_code():
    assert len(source(code("a" * 89), largest=100)) == 99
    with pytest.raises(NotebookError, match="holds 101 bytes of code, more than 100"):
        source(code("ä" * 45 + "a"), largest=100)


@pytest.mark.parametrize(
    "text",
    [" " * 4_000_000 + "x", "a " * 1_000_000 + "\n", "%%time\n" * 200_000, "%x\n" * 200_000, '"' * 400_000 + "\n",
     '"""\\' * 200_000, "!\\\n" * 200_000, "([{" * 100_000 + "\n%" * 100_000, "'\\\n" * 200_000,
     "a?" * 200_000, "\n" * 1_000_000 + "%%time", "a." * 200_000, "x=\t" * 200_000],
    ids=lambda text: repr(text[:8]),
)  # fmt: skip
def test_time_is_linear_in_the_size(text):
    """Quadratic would take minutes."""
    began = time.process_time()
    plain_python(text)
    assert time.process_time() - began < 10


# ---- any input

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
flags = st.sampled_from([True, False, None, "true", 1])
marks = st.fixed_dictionaries({}, optional={"solution": flags, "locked": flags, "grade": flags}) | json_values
fragments = st.sampled_from(
    ["%", "%%", "!", "?", "\n", "\r\n", "\\", "\\\n", '"', "'", '"""', "'''", "(", ")", "[", "}", "#", "=", " ", "\t",
     "a", "if a:\n    ", "%%time\n", "%%writefile running_mean.py\n", "\ud800", "\0", "\f", "ä"]
)  # fmt: skip
cell_text = st.lists(fragments, max_size=30).map("".join)
cells = st.fixed_dictionaries(
    {},
    optional={
        "cell_type": st.sampled_from(["code", "markdown", "raw"]) | json_values,
        "source": cell_text | st.lists(cell_text | json_values, max_size=3) | json_values,
        "metadata": st.fixed_dictionaries({}, optional={"nbgrader": marks}) | json_values,
    },
)
notebooks = st.fixed_dictionaries({}, optional={"cells": st.lists(cells | json_values, max_size=6) | json_values})


def outcome(text):
    """The source as bytes, or the sentence; any other exception fails the test."""
    try:
        return source_of_notebook(text, "running_mean", LARGEST).encode()
    except NotebookError as error:
        return str(error)


@given(notebooks | json_values)
def test_any_json_gives_text_or_a_sentence(value):
    assert outcome(json.dumps(value))


@given(st.text())
def test_any_text_gives_text_or_a_sentence(text):
    assert outcome(text)


@given(st.data())
def test_a_damaged_notebook_gives_text_or_a_sentence(data):
    whole = json.dumps({"cells": [code("import torch", **GIVEN), code("def f():\n    return 1", **SOLUTION)]})
    at = data.draw(st.integers(0, len(whole)))
    to = data.draw(st.integers(at, len(whole)))
    assert outcome(whole[:at] + data.draw(st.text(max_size=5)) + whole[to:])


@given(cell_text)
def test_a_cell_keeps_its_lines(text):
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    got = plain_python(text)
    assert got.count("\n") == text.count("\n")
    for before, after in zip(text.split("\n"), got.split("\n"), strict=True):
        # What indents the first line is taken from all.
        assert before.endswith(after) or after.lstrip().startswith(("pass  # ", "# "))
        assert before.strip() in after


statements = st.sampled_from(
    ["a = 1", "b = 'it is'", 'c = "%s" % a', "def f(x):\n    '''Doc\n%time\n    '''\n    return (x\n%2)", "# %time (",
     "d = [1,\n2]", "class C:\n    x = 1", "if a:\n    b = 2\nelse:\n    b = 3", "e = a \\\n% 2", "f'{a!r}'"]
)  # fmt: skip
commands = st.sampled_from(["%time f('(", "!ls | grep '", "?f", "f?", "g = !ls [", "%%", "!a \\\n b ("])


@given(st.lists(st.tuples(st.booleans(), statements, commands), min_size=1, max_size=8))
def test_python_survives_and_commands_go(lines):
    text = "z = 0\n" + "\n".join(command if is_command else python for is_command, python, command in lines)
    want = ["z = 0"] + [python for is_command, python, _ in lines if not is_command]
    left = [line for line in ast.parse(plain_python(text)).body if not isinstance(line, ast.Pass)]
    assert ast.dump(ast.Module(left, [])) == ast.dump(ast.Module(ast.parse("\n".join(want)).body, []))


def test_nothing_is_executed(tmp_path):
    source(code(f"open({str(tmp_path / 'made')!r}, 'w')"), code(f"!touch {tmp_path / 'made'}"))
    assert list(tmp_path.iterdir()) == []
