"""Practice and graded mode say the same of the same answer, check by check, whatever the answer is.

GRADER_EVERY_MUTANT=1 compares all mutants and right answers of all real exercises, in place of a few of a few.
Run as a script this file judges every answer both ways and prints what was said.
"""

import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
from shared import PATIENCE, UNLIKE, once, said

from grader.bank.catalog import find_house

HERE = Path(__file__).resolve().parents[1]
REPOSITORY = HERE.parents[1]
BANK = "dl_901_running_mean"
EVERY = bool(os.environ.get("GRADER_EVERY_MUTANT"))
# Of nn_001 the few are answers that are too slow by far: which checks they still end differs from run to run.
REAL = list(find_house().exercises) if EVERY else [one for one in UNLIKE if one != "nn_001_backprop"]
FEW = 2

# What `batch_mean` may not call, torch.mean and torch.Tensor.mean, by other names: (module level, body).
FORBIDDEN = {
    "as it is": ("", "return torch.mean(x, 0)"),
    "as a method": ("", "return x.mean(0)"),
    "as an unbound method": ("", "return torch.Tensor.mean(x, 0)"),
    "by an alias": ("average = torch.mean", "return average(x, 0)"),
    "from an import": ("from torch import mean as average", "return average(x, 0)"),
    "by its name": ("", "return getattr(torch, 'me' + 'an')(x, 0)"),
    "by its name on the tensor": ("", "return getattr(x, 'me' + 'an')(0)"),
    "by a dictionary": ("", "return vars(torch)['mean'](x, 0)"),
    "by a partial": ("import functools", "return functools.partial(torch.mean, dim=0)(x)"),
    "by a method caller": ("import operator", "return operator.methodcaller('mean', 0)(x)"),
    "by a map": ("", "return torch.stack(list(map(torch.mean, x.t())))"),
    "by a private name": ("", "return torch._C._VariableFunctions.mean(x, 0)"),
    "in a function of its own": ("def average(x):\n    return x.mean(0)", "return average(x)"),
    "in a lambda": ("average = lambda x: x.mean(0)", "return average(x)"),
    "in a class": (
        "class Average(torch.nn.Module):\n    def forward(self, x):\n        return x.mean(0)", "return Average()(x)",
    ),
    "in a generator": ("", "return torch.stack([y for y in (column.mean() for column in x.t())])"),
    "by a partial in a thread": (
        "import functools, threading",
        "out = x.sum(0) / len(x)\n    thread = threading.Thread(target=functools.partial(torch.mean, x, 0))\n"
        "    thread.start()\n    thread.join()\n    return out",
    ),
    "in a thread": (
        "import threading",
        "out = []\n    thread = threading.Thread(target=lambda: out.append(x.mean(0)))\n"
        "    thread.start()\n    thread.join()\n    return out[0] if out else x.sum(0) / len(x)",
    ),
    "in a pool of threads": (
        "from concurrent.futures import ThreadPoolExecutor",
        "with ThreadPoolExecutor(1) as pool:\n        return pool.submit(torch.mean, x, 0).result()",
    ),
    "and the exception is swallowed": (
        "", "try:\n        return x.mean(0)\n    except BaseException:\n        return x.sum(0) / len(x)",
    ),
    "and another exception covers it": (
        "", "try:\n        return x.mean(0)\n    except BaseException:\n        raise ValueError('other') from None",
    ),
    "in text that is executed": ("", "return eval('x.mean(0)')"),
}  # fmt: skip
# Uses of the name that are no offence.
HONEST = {
    "in a comment": ("# torch.mean(x, 0)", "return x.sum(0) / len(x)  # x.mean(0)"),
    "in a string": ("name = 'torch.mean(x)'", "str('x.mean(0)'.split('.'))\n    return x.sum(0) / len(x)"),
    "as a variable": ("", "mean = x.sum(0) / len(x)\n    return mean"),
    "as a function of its own": ("def mean(x, axis):\n    return x.sum(axis) / len(x)", "return mean(x, 0)"),
    "as a method of its own": (
        "class Stream:\n    def mean(self, x):\n        return x.sum(0) / len(x)", "return Stream().mean(x)",
    ),
    "as a reference that is never called": ("unused = torch.mean", "torch.Tensor.mean\n    return x.sum(0) / len(x)"),
    "from another library": ("", "x.numpy().mean(0)\n    return x.sum(0) / len(x)"),
}  # fmt: skip
# In the part that may call it.
ALLOWED = "self.mean = self.mean + (x.mean(0) - self.mean) * len(x) / self.count"


def odd(body):
    """An exception of the learner's own kind."""
    return f"class Odd(Exception):\n    {body}\n"


# Answers that end the check or the process in ways that both modes have a word for.
ODD = {
    "raises": ("", "raise RuntimeError('no')"),
    "raises what nobody knows": ("class Odd(Exception): ...", "raise Odd('strange')"),
    "exits": ("import sys", "sys.exit(3)"),
    "recurses": ("", "return batch_mean(x)"),
    "writes to its argument": ("", "x += 1\n    return x.sum(0) / len(x)"),
    "returns nothing": ("", "return None"),
    "returns an object": ("", "return object()"),
    "returns a subclass": ("class Mine(torch.Tensor): ...", "return (x.sum(0) / len(x)).as_subclass(Mine)"),
    "returns a list": ("", "return (x.sum(0) / len(x)).tolist()"),
    "returns an array": ("", "return (x.sum(0) / len(x)).numpy()"),
    "returns half precision": ("", "return (x.sum(0) / len(x)).half()"),
    "returns a broadcast": ("", "return x.sum(0, keepdim=True) / len(x)"),
    "returns not a number": ("", "return x.sum(0) / len(x) * float('nan')"),
    "returns a view": ("", "return torch.stack([x.sum(0) / len(x)] * 2, 1)[:, 0]"),
    "returns a conjugate": ("", "return (x.sum(0) / len(x)).to(torch.complex128).conj()"),
    "returns odd keys": ("", "return {(1, 2): x, torch.float32: 1}"),
    "raises text of no encoding": ("", "raise ValueError('\\ud800 \\x1b[2J\\r')"),
    "raises what it cannot encode": ("", "'\\ud800'.encode()"),
    "raises several at once": ("", "raise ExceptionGroup('two', [ValueError(), KeyError()])"),
    "raises what has no text": (odd("def __str__(self): return 5"), "raise Odd"),
    "raises what raises when shown": (odd("def __str__(self): raise SystemExit"), "raise Odd"),
    "raises what shows itself for ever": (odd("def __str__(self):\n        while True: pass"), "raise Odd"),
    "raises what is shown for ever at import": (
        odd("def __str__(self):\n        while True: pass") + "\nraise Odd", "return x",
    ),
    "raises text of a type of its own": (
        "class Text(str):\n    def strip(self): return 5\n" + odd("def __str__(self): return Text('a\\x1b')"),
        "raise Odd",
    ),
    "raises what denies its traceback": (
        odd("__traceback__ = 5\n    raised = property(lambda self: 1 / 0)"), "raise Odd",
    ),
    "raises a type without a name": (
        "class Kind(type):\n    __name__ = __mro__ = 5\n\n\nclass Odd(Exception, metaclass=Kind): ...", "raise Odd",
    ),
    "raises what its parser would": (
        "", "e = SyntaxError('x')\n    e.filename, e.lineno, e.msg = __file__, 'abc', 5\n    raise e",
    ),
    "raises it at import": (
        "e = SyntaxError('x')\ne.filename, e.lineno, e.text = __file__, 'abc', 5\nraise e", "return x",
    ),
    "returns what cannot be shown": ("class Odd:\n    def __repr__(self): raise ValueError", "return Odd()"),
    "opens 100,000 brackets": ("", "return " + "[" * 100_000),
    "is nested too deep": ("", "return " + "-" * 100_000 + "1"),
    "returns text of no encoding": ("", "return '\\ud800'"),
    "returns a sparse tensor": ("", "return (x.sum(0) / len(x)).to_sparse()"),
    "returns a deep list": ("", "out = []\n    for _ in range(100): out = [out]\n    return out"),
    "returns a gradient": ("", "return (x.requires_grad_().sum(0) / len(x))"),
    "asks for memory": ("", "bytearray(1 << 50)"),
    "is not valid Python": ("def f(:", "return x"),
    "cannot be imported": ("import no_such_module", "return x"),
    "exits at import": ("raise SystemExit(0)", "return x"),
    "defines nothing": ("del torch", "return x"),
}  # fmt: skip


def written(solution, top, body):
    """The bank's solution with another `batch_mean`, and something before it."""
    head, rest = solution.split("def batch_mean", 1)
    signature, rest = rest.split("    return x.sum(0) / len(x)\n", 1)
    if "    ### BEGIN" in signature:
        assert "ValueError" in signature
    return f"{head}{top}\n\n\ndef batch_mean{signature}    {body}\n{rest}"


def answers(exercise, some):
    """Name to text. some: of how many mutants; None for all, and all right answers."""
    from grader.audit.mutants import apply, read_mutants
    from grader.bank.derived import stub_of
    from grader.bank.source import read_source

    solution = read_source(exercise.solution)
    path = exercise.checks.parent / "mutants.toml"
    found = read_mutants(path)
    mutants = found.mutant if some is None else found.mutant[:: max(1, len(found.mutant) // some)][:some]
    rights = found.right if some is None else found.right[:1]
    texts = {"the solution": solution, "the stub": stub_of(exercise)}
    texts |= {f"mutant: {one.name}": apply(solution, one, path) for one in mutants}
    texts |= {f"right: {one.name}": apply(solution, one, path) for one in rights}
    caught = {f"mutant: {one.name}": one.caught_by for one in mutants}
    if exercise.id == BANK:
        for kind, cases in (("forbidden", FORBIDDEN), ("honest", HONEST), ("odd", ODD)):
            texts |= {f"{kind}: {name}": written(solution, *case) for name, case in cases.items()}
        find = "self.mean = self.mean + (batch_mean(x) - self.mean) * len(x) / self.count"
        assert solution.count(find) == 1
        texts["honest: in the part that may"] = solution.replace(find, ALLOWED)
    return texts, caught


def judged(root, id, some):
    """Each answer, judged both ways with the same seed: name to what each mode says of each check."""
    from grader.bank.catalog import House
    from grader.engine.batch import Engine
    from grader.engine.channel import Caged
    from grader.judging.collected import collect_checks
    from grader.judging.pool import Variant, judge

    house = House(root)
    exercise = house.exercises[id]
    texts, caught = answers(exercise, some)
    seen = {name: {} for name in texts}
    with Engine([exercise]) as engine:
        collected = collect_checks(house, exercise)
        variants = [Variant(f"practice|{name}", text, seed=11) for name, text in texts.items()]
        variants += [
            Variant(f"graded|{name}", text, seed=11, channel=partial(Caged, engine.control, exercise, text))
            for name, text in texts.items()
        ]
        for outcome in judge(collected, variants, jobs=2, deadline=PATIENCE):
            mode, name = outcome.variant.name.split("|", 1)
            seen[name][mode] = [[one.id, one.verdict, one.message] for one in outcome.checks] or outcome.died
        seen["planned"] = sorted(id for ids in collected.planned.values() for id in ids)
    planned = seen.pop("planned")
    return {"seen": seen, "caught": caught, "planned": planned}


# The tests' side

WAYS = ("graded", "practice")
# The same verdict in other words: what the wire says of it; the limit that practice mode has not; the line at fault,
# which Python reads from the file at the path of the text, here the solution's.
OTHER_WORDS = {
    f"odd: {name}"
    for name in ("returns text of no encoding", "asks for memory", "raises what is shown for ever at import")
}
NO_LINE = {"by a partial in a thread"}  # none of the learner's lines is running when the call is made


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    """What both modes say of the answers to an exercise."""

    def judge(id):
        def work():
            folder = tmp_path_factory.mktemp("modes")
            root = REPOSITORY
            if id == BANK:
                root = folder / "house"
                shutil.copytree(HERE / "house", root, ignore=shutil.ignore_patterns("__pycache__", ".*"))
            some = None if EVERY or id == BANK else FEW
            command = [sys.executable, str(Path(__file__)), str(root), id, json.dumps(some)]
            return said(command, folder, seconds=2400 if EVERY else PATIENCE)

        return once(tmp_path_factory, f"modes {id}", work)

    return judge


@pytest.mark.parametrize("id", [BANK, *REAL])
def test_both_modes_say_the_same_of_each_check(outcome, id):
    shown = outcome(id)
    for name, modes in shown["seen"].items():
        graded, practice = ([check[: 2 if name in OTHER_WORDS else 3] for check in modes[way]] for way in WAYS)
        assert graded == practice, name
        assert sorted(check[0] for check in modes["graded"]) == shown["planned"], name


@pytest.mark.parametrize("id", [BANK, *REAL])
def test_verdicts_are_as_they_should_be(outcome, id):
    shown = outcome(id)
    for name, modes in shown["seen"].items():
        verdicts = {check[0]: check[1] for check in modes["graded"]}
        if name == "the solution" or name.startswith(("right: ", "honest: ")):
            assert set(verdicts.values()) == {"passed"}, (name, modes["graded"])
        elif name == "the stub":
            assert set(verdicts.values()) <= {"not started", "waiting"}, verdicts
        elif name.startswith("mutant: "):
            of_check = [verdict for id, verdict in verdicts.items() if id.split("[")[0] == shown["caught"][name]]
            assert of_check, name
            assert set(of_check) != {"passed"}, name


@pytest.mark.parametrize("name", FORBIDDEN)
def test_a_forbidden_call_is_caught_with_its_line(outcome, name):
    checks = {id: (verdict, text) for id, verdict, text in outcome(BANK)["seen"][f"forbidden: {name}"]["graded"]}
    for id in ("test_mean_of_rows[1]", "test_mean_of_rows[5]"):
        verdict, message = checks[id]
        assert verdict == "forbidden", message
        assert message.startswith(("torch.mean is what this part", "torch.Tensor.mean is what this part"))
        assert name in NO_LINE or "\n  running_mean.py:" in message, message
        assert name in NO_LINE or message.splitlines()[-1].strip() in "\n".join(FORBIDDEN[name]), message
    assert checks["test_mean_of_nothing"][0] == "passed"  # which ends before the call


@pytest.mark.parametrize("name", [*HONEST, "in the part that may"])
def test_an_honest_use_of_the_name_is_no_offence(outcome, name):
    assert {check[1] for check in outcome(BANK)["seen"][f"honest: {name}"]["graded"]} == {"passed"}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_answer_earns_nothing_but_what_is_right(outcome, name):
    modes = outcome(BANK)["seen"][f"odd: {name}"]
    verdicts = [check[1] for check in modes["graded"] if check[0].startswith("test_mean_of_rows")]
    right = name in ("returns a view", "returns a gradient")
    assert ("passed" in verdicts) == right, modes["graded"]
    assert "grader error" not in verdicts


if __name__ == "__main__":
    sys.path.insert(0, str(REPOSITORY))
    print(json.dumps(judged(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))))
