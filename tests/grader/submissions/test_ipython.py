"""Our reader of IPython's cells beside IPython's own, which takes time quadratic in hostile text."""

import ast
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.inputtransformer2 import TransformerManager

from grader.submissions.ipython import plain_python

LINES = (
    "x = 1", "def f(a):", "    return a", "    !ls", "!ls -la", "%time f(2)", "%matplotlib inline", "y = !ls", "?f",
    "f?", "f??", "z = %sql select", "# a comment", "", "s = '''", "%in a string", "'''", "t = (1 +", "    2)",
    "if x:", "    pass", "    %time x", "print('%s!' % x)", "u = x %  2", "w = [", "    '!ls',", "]", "!echo a \\",
    "    b",
)  # fmt: skip


class _Commands(ast.NodeTransformer):
    """Statements that call IPython become `pass`."""

    def generic_visit(self, node):
        if isinstance(node, ast.stmt) and not hasattr(node, "body"):
            asks = [one.id for one in ast.walk(node) if isinstance(one, ast.Name) and one.id == "get_ipython"]
            if asks:
                return ast.Pass()
        return super().generic_visit(node)


def meaning(text):
    """The statements of a text, or nothing where it is not Python."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return None
    return ast.dump(_Commands().visit(tree))


def alike(cell):
    """Whether both read a cell alike; one that IPython takes for no Python says nothing."""
    theirs, ours = meaning(TransformerManager().transform_cell(cell)), meaning(plain_python(cell))
    return theirs is None or theirs == ours


@pytest.mark.parametrize(
    "cell",
    [
        "x = 1\n!ls\ny = 2\n", "if x:\n    !ls\n", "def f():\n    y = !ls\n    return y\n", "a = '''\n!ls\n'''\n",
        "f?\n", "  x = 1\n  !ls\n",
        "x = (1,\n%time\n)\n", "%time f(\n", "!echo a \\\n  b\nx = 1\n", "'%s' % 3\n", "z = %sql select 1\nw = 2\n",
    ],
)  # fmt: skip
def test_a_cell_means_to_us_what_it_means_to_ipython(cell):
    assert alike(cell)


def ends(cell):
    """Whether each bracket and string of these lines ends: what IPython makes of others depends on its mood."""
    return all(cell.count(a) == cell.count(b) for a, b in ("()", "[]")) and cell.count("'''") % 2 == 0


@given(st.lists(st.sampled_from(LINES), max_size=9).map("\n".join).filter(ends))
def test_any_lines_together_mean_the_same(cell):
    assert alike(cell)


def test_the_comparison_can_fail():
    assert meaning("x = 1\n!ls\n".replace("!ls", "ls()")) != meaning(plain_python("x = 1\n!ls\n"))
    assert meaning(TransformerManager().transform_cell("!ls\n")) == meaning("pass\n")


def test_time_is_linear_in_the_size_of_the_text():
    """Counted in the reader's own steps, as cpu time of this process: twenty times the text, at most sixty the time."""

    def seconds(text):
        began = time.process_time()
        plain_python(text)
        return time.process_time() - began

    for piece in ("a." * 50, "(" * 40 + "'", " " * 99 + "%", "x = 'a\\\\" * 9, "!" * 60 + "\\\n", "'''\n"):
        small, large = min(seconds(piece * 500) for _ in range(3)), seconds(piece * 10_000)
        assert large <= 60 * max(small, 1e-3), piece
