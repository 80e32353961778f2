"""Verdicts and sentences for what a learner's file can raise, in practice mode and without pytest around it."""

import linecache
import sys
from pathlib import Path

import pytest
import torch

from grader.answering.request import Request
from grader.answering.runner import Runner, steady
from grader.bank.catalog import Part
from grader.verdicts.explain import Explainer
from grader.verdicts.fault import Missing, Unusable
from grader.verdicts.raised import Raised
from grader.verdicts.verdict import Verdict

PART = Part("f", 1, 1, (), (), forbidden=("torch.mean",))
HEAD = "import torch\n\n\n"


def pair(told):
    return told.verdict, told.message


@pytest.fixture
def judged(tmp_path):
    """What is said of f(x) for a file of that text; None where f returns."""

    def run(text, part=PART):
        path = tmp_path / "answer.py"
        path.write_text(HEAD + text, encoding="utf-8")
        runner = Runner(path, None, "answer_under_test")
        runner.begin(part, 0)
        try:
            runner.ask(Request("call", "f", False, (torch.ones(2),), {}))
        except BaseException as error:
            assert runner.raised is error  # noqa: PT017
            return pair(runner.explainer.learner(error, part))
        finally:
            sys.modules.pop("answer_under_test", None)
            linecache.cache.pop(str(path), None)
        return None

    return run


def test_a_function_that_returns_is_not_judged(judged):
    assert judged("def f(x):\n    return x + 1\n") is None


def test_the_stubs_line_is_not_started(judged):
    said = judged("def f(x):\n    raise NotImplementedError  # TODO: your code\n")
    assert said == (Verdict.NOT_STARTED, "to write: f (answer.py:5)")


def test_a_part_as_in_the_stub_is_known_without_a_call(tmp_path):
    stub = "def f(x):\n    raise NotImplementedError  # TODO: your code\n"
    explainer = Explainer(tmp_path / "answer.py", stub)
    told = explainer.not_begun(PART, stub)
    assert pair(told) == (Verdict.NOT_STARTED, "to write: f (answer.py:2)")
    assert explainer.learner(Unusable(told), PART) == told
    assert (told.place.file, told.place.line, told.place.function) == ("answer.py", 2, "f")
    for begun in (stub.replace("# TODO", "#  TODO"), f"{stub}\nf = abs\n", "def f(x", "\0", ""):
        assert Explainer(tmp_path / "answer.py", begun).not_begun(PART, stub) is None


def test_a_breakpoint_that_nobody_answers_is_named(judged):
    verdict, said = judged("import bdb\n\ndef f(x):\n    raise bdb.BdbQuit\n")
    assert (verdict, said.splitlines()[0][:24]) == (Verdict.ERROR, "a breakpoint stands here")


def test_the_stub_of_a_method_is_named_with_its_class(judged):
    text = "class F:\n    def go(self):\n        raise NotImplementedError\n\ndef f(x):\n    return F().go()\n"
    part = Part("f", 1, 1, (), (), defines=("f", "F"))
    assert judged(text, part) == (Verdict.NOT_STARTED, "to write: F.go (answer.py:6)")


def test_another_parts_stub_is_waited_for(judged):
    verdict, said = judged("def g(x):\n    raise NotImplementedError\n\ndef f(x):\n    return g(x)\n")
    assert (verdict, said) == (Verdict.WAITING, "waits for g (answer.py:5)")


def test_a_part_not_begun_itself_does_not_wait(judged):
    stub = "raise NotImplementedError  # TODO: your code"
    text = f"def g(x):\n    {stub}\n\ndef f(x):\n    y = g(x)\n    {stub}\n"
    assert judged(text) == (Verdict.NOT_STARTED, "to write: f (answer.py:9)")


def test_torchs_own_not_implemented_error_is_an_error_of_the_answer(judged):
    verdict, said = judged("def f(x):\n    return torch.empty(2, device='meta').cpu()\n")
    assert verdict is Verdict.ERROR
    assert said.startswith("NotImplementedError: ")
    assert "answer.py:5 in f" in said


def test_only_the_learners_lines_are_shown(judged):
    verdict, said = judged("def g(x):\n    return x.reshape(7)\n\ndef f(x):\n    return g(x)\n")
    assert verdict is Verdict.ERROR
    assert said.splitlines() == [
        "RuntimeError: shape '[7]' is invalid for input of size 2",
        "  answer.py:8 in f",
        "      return g(x)",
        "  answer.py:5 in g",
        "      return x.reshape(7)",
    ]


def test_a_long_recursion_is_cut(judged):
    _, said = judged("def f(x):\n    return f(x)\n")
    assert said.startswith("RecursionError")
    assert said.count("answer.py:5") < 8


def test_a_long_message_is_cut(judged):
    _, said = judged("def f(x):\n    raise ValueError('line\\n' * 1000 + 'x' * 100_000)\n")
    assert len(said.splitlines()) < 20
    assert len(said) < 10_000


def test_a_forbidden_call_is_named_with_its_line_also_where_it_is_swallowed(judged):
    swallowed = "def f(x):\n    try:\n        torch.mean(x)\n    except BaseException:\n        return x\n"
    for text in ("def f(x):\n    return torch.mean(x)\n", swallowed):
        verdict, said = judged(text)
        assert verdict is Verdict.FORBIDDEN
        assert said.startswith("torch.mean is what this part is there to write")
        assert "torch.mean(x)" in said.splitlines()[-1]


def test_a_forbidden_call_is_free_in_another_part(judged):
    assert judged("def f(x):\n    return torch.mean(x)\n", Part("f", 1, 1, (), ())) is None


@pytest.mark.parametrize(
    ("text", "verdict", "said"),
    [
        ("def f(x):\n    return {1, 2}\n", Verdict.WRONG, "wrong kind of result: the result is a set"),
        ("def f(x):\n    x[0] = 5\n", Verdict.WRONG, "the call wrote to its argument 'x'; inputs must be left"),
        ("def f(x):\n    raise MemoryError\n", Verdict.MEMORY, "out of memory"),
        ("def f(x):\n    raise SystemExit\n", Verdict.ERROR, "the code called sys.exit(None)"),
        ("def f(x):\n    raise KeyError\n", Verdict.ERROR, "KeyError: (no message)"),
        ("def f(x):\n    return lost\n", Verdict.ERROR, "NameError: name 'lost' is not defined"),
        ("def g(x):\n    return x\n", Verdict.ERROR, "answer.py does not define 'f'."),
        ("def f(x, y):\n    return x\n", Verdict.ERROR, "TypeError: f() missing 1 required positional argument: 'y'"),
        ("f = None\n", Verdict.ERROR, "TypeError: 'NoneType' object is not callable"),
        ("x = (\n", Verdict.ERROR, "answer.py:4 is not valid Python"),
        ("import nowhere\n", Verdict.ERROR, "answer.py could not be imported\nModuleNotFoundError"),
        ("raise SystemExit(0)\n", Verdict.ERROR, "answer.py could not be imported\nthe code called sys.exit(0)"),
        ("def f(x):\n    exec('1 +')\n", Verdict.ERROR, "SyntaxError: invalid syntax"),
    ],
)
def test_verdict_and_sentence(judged, text, verdict, said):
    assert judged(text)[0] is verdict
    assert judged(text)[1].startswith(said)


@pytest.mark.parametrize(
    ("text", "beside"),
    [("def f(x, y):\n    return x\n", True), ("f = None\n", True), ("def f(x):\n    return lost\n", False)],
)
def test_an_error_in_none_of_their_lines_is_said_to_come_from_the_caller(judged, text, beside):
    assert judged(text)[1].endswith("what came back could not be used") == beside


@pytest.mark.parametrize("kind", [ChildProcessError, TimeoutError])
def test_a_rank_that_died_or_did_not_end_says_so_and_no_more(kind, tmp_path):
    explainer = Explainer(tmp_path / "answer.py", "")
    assert explainer.learner(kind("rank 1 of 2"), Part("f", 1, 1, (), ())).message == f"{kind.__name__}: rank 1 of 2"


def test_a_syntax_error_of_an_import_is_not_blamed_on_a_line_of_the_file(judged, tmp_path, monkeypatch):
    (tmp_path / "helper_of_test.py").write_text("def broken(\n")
    monkeypatch.syspath_prepend(tmp_path)
    _, said = judged("import helper_of_test\n")
    assert said.startswith("answer.py could not be imported\nSyntaxError")
    assert "answer.py:4" in said


def test_a_file_is_loaded_once_and_fails_each_check_alike(tmp_path):
    path = tmp_path / "answer.py"
    path.write_text("import torch\nprint('loaded')\nraise ValueError('mine')\n")
    runner = Runner(path, None, "answer_under_test")
    said = []
    for _ in range(2):
        with pytest.raises(Exception) as caught:
            runner.ask(Request("call", "f", False, (), {}))
        said.append(pair(runner.explainer.learner(caught.value, PART)))
    assert said[0] == said[1]
    assert said[0][0] is Verdict.ERROR


def test_a_text_is_judged_in_place_of_the_file(tmp_path):
    path = tmp_path / "answer.py"
    path.write_text("def f():\n    return 1\n")
    runner = Runner(path, None, "answer_under_test", "def f():\n    return 2\n")
    assert runner.ask(Request("call", "f", False, (), {})) == 2
    assert path.read_text() == "def f():\n    return 1\n"


def test_torchs_state_is_put_back_after_a_check():
    with steady():
        torch.set_default_dtype(torch.float64)
        torch.set_grad_enabled(False)
    assert torch.get_default_dtype() is torch.float32
    assert torch.is_grad_enabled()


def test_the_attempts_own_random_numbers_follow_the_seed(tmp_path):
    path = tmp_path / "answer.py"
    path.write_text("import torch\n\ndef f():\n    return torch.rand(2)\n")
    runner = Runner(path, None, "answer_under_test")
    drawn = []
    for seed in (3, 3, 4):
        runner.begin(PART, seed)
        drawn.append(runner.ask(Request("call", "f", False, (), {})).tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_a_forbidden_call_in_a_part_that_is_used_is_waited_for(judged):
    text = "def g(x):\n    return torch.mean(x)\n\n\ndef f(x):\n    return g(x)\n"
    verdict, said = judged(text, Part("f", 1, 1, (), (), after=("g",), forbidden=("torch.mean",)))
    assert verdict is Verdict.WAITING
    assert said.startswith("waits for g, which this part uses: torch.mean is called there")


@pytest.mark.parametrize(
    "text",
    ["x = " + "+".join(["y"] * 3000), "x = " + "-" * 90_000 + "1", "x = " + "(" * 3000 + "1" + ")" * 3000,
     "x" + ".a" * 50_000, "\0", "def f(:"],
    ids=range(6),
)  # fmt: skip
def test_of_a_text_that_cannot_be_read_the_sentence_says_less(text):
    """Never is it the grader's error, at whatever depth it is explained."""

    def at_depth(depth):
        return at_depth(depth - 1) if depth else Explainer(Path("/attempt/a.py"), text).learner(error, PART)

    for error in (ValueError("mine"), Missing("f"), NotImplementedError("mine"), KeyError("k")):
        error.raised = Raised(type(error).__name__, type(error).__name__, str(error), [1], True)
        told = at_depth(600)
        assert told.verdict in (Verdict.ERROR, Verdict.NOT_STARTED)
        assert told.message
