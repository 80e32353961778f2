"""A script as it was handed in: its encoding, and what in it was only tried out."""

import ast
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import HERE, ID
from grader.bank.catalog import House
from grader.bank.layout import layout_of
from grader.submissions.notebook import source_of_notebook
from grader.submissions.script import ScriptError, text_of_script
from grader.submissions.statements import without_trials

EXERCISE = House(HERE / "house").exercises[ID]
NAMES = {"batch_mean", "RunningMean"}
RIGHT = EXERCISE.solution.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"# -*- coding: latin-1 -*-\na = '\xe4'\n", "# -*- coding: latin-1 -*-\na = 'ä'\n"),
        (b"#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\na = '\x80'\n", "#!/usr/bin/python\n"
         "# vim: set fileencoding=cp1252 :\na = '€'\n"),
        (b"# coding: koi8-r\na = '\xc1'", "# coding: koi8-r\na = 'а'"),
        (b"\xef\xbb\xbf# coding: utf-8\r\na = '\xc3\xa4'\r\n", "# coding: utf-8\r\na = 'ä'\r\n"),
        ("a = 'ä'".encode(), "a = 'ä'"),
        (b"a = 1\n\n# coding: latin-1\n", "a = 1\n\n# coding: latin-1\n"),
        (b"", ""),
    ],
)  # fmt: skip
def test_an_encoding_that_a_script_names_is_honoured(data, text):
    assert text_of_script(data, NAMES) == text


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"a = '\xe4'", "is not UTF-8 text"),
        (b"\n\n\n# coding: latin-1\na = '\xe4'", "is not UTF-8 text"),
        (b"# coding: klingon\na = 1", "names an encoding that Python does not know"),
        (b"# coding: hex\n6162", "is not text in the encoding that it names, hex"),
        (b"# coding: rot13\nn = 1", "is not text in the encoding that it names, rot13"),
        (b"# coding: ascii\na = '\xe4'", "is not text in the encoding that it names, ascii"),
        (b"# coding: utf-16\na = 12", "is not text in the encoding that it names"),
        (b"# coding: unicode_escape\na = '\\ud800'", "holds half a character"),
        (b"# coding: utf-7\na = '+2AA-'", "holds half a character"),
        (b"\xff\xfea\x00", "is not UTF-8 text"),
    ],
)
def test_another_encoding_is_a_sentence(data, says):
    with pytest.raises(ScriptError, match=says):
        text_of_script(data, NAMES)


@given(st.binary(max_size=60), st.sampled_from(["latin-1", "utf-7", "idna", "punycode", "utf-16", "zip", "mbcs", "\0"]))
def test_any_bytes_in_any_encoding(data, encoding):
    for head in (f"# coding: {encoding}\n".encode(), b""):
        with contextlib.suppress(ScriptError):
            text_of_script(head + data, NAMES).encode()


TRIED = [
    "import matplotlib.pyplot as plt",
    "from matplotlib import pyplot as plt\nplt.style.use('dark')\nfig, ax = plt.subplots()\nax.plot([1])\nplt.show()",
    "import seaborn, os",
    "import nothing_of_that_name\n\ndef plot(x):\n    nothing_of_that_name.show(x)",
    "from .other import helper",
    "print(batch_mean(None))",
    "assert batch_mean(None) is None, 'tried'",
    "import sys\nsys.exit(batch_mean(None))",
    "exit()",
    "input('who?')",
    "display(RunningMean)",
    "import nothing_of_that_name as n\nfor i in range(3):\n    n.log(i)\nwith n.no_grad():\n    pass",
    "import nothing_of_that_name as n\nif __name__ == '__main__':\n    n.main()",
]


@pytest.mark.parametrize("tried", TRIED)
@pytest.mark.parametrize("where", ["top", "bottom"])
def test_what_was_tried_out_costs_nothing_as_in_a_notebook(tried, where):
    """Executed, the file gives the answers; each line stays where it was; a notebook of the same text does so too."""
    text = f"{tried}\n{RIGHT}" if where == "top" else f"{RIGHT}\n{tried}\n"
    kept = without_trials(text, NAMES)
    assert kept.count("\n") == text.count("\n")
    notebook = json.dumps({"cells": [{"cell_type": "code", "source": text, "metadata": {}}]})
    for source in (kept, source_of_notebook(notebook, EXERCISE.stem, 1 << 20, layout_of(EXERCISE))):
        module = {"__name__": "attempt"}
        exec(compile(source, "attempt", "exec"), module)
        assert module["batch_mean"].__doc__.startswith("The mean over the first axis")


@pytest.mark.parametrize(
    "text",
    [
        RIGHT,
        "import torch\nimport numpy as np\nfrom collections import deque\n",
        "import nothing_of_that_name as n\n\ndef batch_mean(x):\n    return n.mean(x)\n",
        "import nothing_of_that_name as n\n\ndef helper(x):\n    return n(x)\n\nclass RunningMean:\n    f = helper\n",
        "from nothing_of_that_name import register\n\n@register\ndef batch_mean(x):\n    return x\n",
        "import nothing_of_that_name as n\nSIZE = n.SIZE\n\ndef batch_mean(x):\n    return SIZE\n",
        "TABLE = {}\n\ndef fill():\n    TABLE[1] = 2\n\nfill()\n\ndef batch_mean(x):\n    return TABLE[1]\n",
        "try:\n    import nothing_of_that_name as n\nexcept ImportError:\n    n = None\n",
        "def batch_mean(x):\n    print(x)\n    assert x\n    import nothing_of_that_name\n",
        "x = print\nx(1)\ntorch.manual_seed(0)\n",
        "def f(:\n",
        "import nothing_of_that_name\n\0",
    ],
)  # fmt: skip
def test_what_the_answers_need_stays(text):
    assert without_trials(text, NAMES) == text


def test_a_line_that_is_shared_stays():
    assert without_trials("print(1); a = 2\nprint(3)\n", {"a"}) == "print(1); a = 2\n\n"


def test_what_is_set_by_a_call_counts_in_a_notebook():
    cells = ["def append(self):\n    return 1", "setattr(RunningMean, 'append', append)",
             "globals()['batch_mean'] = len",
             "setattr(other, 'x', 1)"]  # fmt: skip
    notebook = json.dumps({"cells": [{"cell_type": "code", "source": cell, "metadata": {}} for cell in cells]})
    got = source_of_notebook(notebook, EXERCISE.stem, 1 << 20, layout_of(EXERCISE))
    ast.parse(got)
    assert "setattr(RunningMean" in got
    assert "globals()['batch_mean']" in got
    assert "setattr(other" not in got
