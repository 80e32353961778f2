"""No answer may have "grader error" at will: what it makes of a check is judged again, and beside the solution."""

import json

import pytest

PROBE = """
import json, sys
from pathlib import Path
from grader.bank.catalog import House
from grader.engine.batch import Engine
from grader.submissions.find import Submission

house = House(Path.cwd())
exercise = house.exercises["dl_901_running_mean"]
texts = json.loads(Path("texts.json").read_text())
sizes, lines, checks = [], {}, {}

def keep(result):
    import msgspec
    sizes.append(len(msgspec.json.encode(result)))
    ran = [check for part in result.parts for check in part.checks]
    checks[result.student] = {check.id: [check.verdict, check.message] for check in ran}
    lines[result.student] = {part.name: [part.verdict, part.message] for part in result.parts}

def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmRSS")).split()[1]) >> 10

with Engine([exercise]) as engine:
    asker = engine.asker(house, exercise)
    same = [Submission(name, exercise.id, text) for name, text in texts.items()]
    asker.judge(same[:1], seed_of=lambda _: 7, jobs=2, keep=keep)
    before = resident()
    asker.judge(same[1:], seed_of=lambda _: 7, jobs=2, keep=keep)
    print(json.dumps({"lines": lines, "checks": checks, "largest": max(sizes), "grown": resident() - before}))
"""
MEAN = "return x.sum(0) / len(x)"


def judged(home, texts):
    (home.root / "texts.json").write_text(json.dumps(texts))
    done = home.script(PROBE)
    assert done.code == 0, done.said
    return json.loads(done.out.splitlines()[-1])


def patched(home, body, before=""):
    """The solution with another body of batch_mean."""
    assert home.solution.count(MEAN) == 1
    return before + home.solution.replace(MEAN, body)


HOSTILE = {
    "deep expression": "raise ValueError(\n" + "+".join(["x.sum()"] * 2900) + "\n)",
    "deep brackets": "y = " + "[" * 90 + "]" * 90 + "\n    raise KeyError(x)",
    "chain of methods": "raise ValueError(x" + ".sum()" * 900 + ")",
    "deep dicts": "y = {}\n    for _ in range(30): y = {'a': y}\n    return y",
    "lone surrogate": "return '\\ud800' * 100",
    "surrogate in an exception": "raise ValueError('\\udc80' * 100)",
    "surrogate in a type": "raise type('A\\u0131\\x01', (ValueError,), {})('x')",
    "no loopback": "import grader.verdicts.fault as f; raise f.NoLoopback()",
    "engine error": "import grader.base.errors as e; raise e.EngineError('mine')",
    "unusable": "from grader.verdicts import fault, told; raise fault.Unusable(told.Told('grader error', 'mine'))",
    "usage error": "import pytest; raise pytest.UsageError('mine')",
    "long text": "return '\\x01' * 600_000",
    "long exception": "raise ValueError('\\x01' * 32_000_000)",
    "long type": "raise type('A' * 32_000_000, (ValueError,), {})('x')",
    "long key": "return {'\\x01' * 600_000: 1}",
    "many keys": "return {str(i): i for i in range(100_000)}",
    "long list": "return ['\\x01' * 99] * 9_000",
    "long print": "print('\\x01' * 50_000); return None",
    "huge integer": "return 10 ** 9000",
}  # fmt: skip


def test_no_answer_is_a_grader_error_and_none_is_large(home):
    texts = {"right": home.solution} | {name: patched(home, body) for name, body in HOSTILE.items()}
    literals = ",".join(str(k * (2**61 - 1)) for k in range(1, 40_000))  # all of one hash
    texts["slow to compile"] = f"x = {{{literals}}}\n{home.solution}"
    texts["deep at import"] = "x = " + "+".join(["1.0"] * 2900) + f"\nraise KeyError(x)\n{home.solution}"
    texts["definitions"] = "".join(f"def f{i}(): pass\n" for i in range(30_000)) + "raise ValueError\n"
    texts |= {f"right after {name}": home.solution for name in ("deep expression", "long text")}
    seen = judged(home, texts)
    for name, parts in seen["lines"].items():
        right = name.startswith("right")
        for part, (verdict, message) in parts.items():
            assert verdict != "grader error", (name, part, message)
            if part == "batch_mean":  # the other may be right beside the solution's
                assert (verdict == "passed") == right, (name, message)
            message.encode()
            assert len(message) < 9000
    assert seen["largest"] <= 256_000


def test_the_memory_of_the_grader_stays_flat(home):
    """Of fifty that each fill what they can: less than 30 MB more than after the first."""
    filler = patched(home, "return '\\x01' * 600_000")
    texts = {"first": filler} | {f"s{i}": filler.replace("600_000", str(600_000 + i)) for i in range(50)}
    assert judged(home, texts)["grown"] < 30


CHECK = """
@part("batch_mean")
def test_seven_rows(attempt):
    \"\"\"Fails as its file says.\"\"\"
    got = attempt.batch_mean(torch.ones(7, 3))
    {body}
"""
ODD = "return x.sum(0) / len(x) * (len(x) != 7)"


@pytest.mark.parametrize(
    ("body", "mean", "verdict"),
    [
        ("raise SystemExit(3)", MEAN, "grader error"),  # whoever is judged
        ("raise SystemExit(3)", ODD, "grader error"),
        ("if not got.any(): raise SystemExit(3)", ODD, "error"),  # at the will of the answer
        ("if not got.any(): raise SystemExit(3)", MEAN, "passed"),
        ("if not got.any():\n        while True: pass", ODD, "timeout"),  # slow to look at
        ("if not got.any(): import os; os._exit(3)", ODD, "error"),  # as if memory had run out
        ("if not got.any(): import os; os.kill(os.getpid(), 9)", ODD, "error"),
        ("import os; os._exit(3)", MEAN, "grader error"),
    ],
)
def test_what_the_solution_does_too_is_the_graders_fault_and_all_else_is_not(home, body, mean, verdict):
    home.check(CHECK.format(body=body))
    seen = judged(home, {"one": patched(home, mean)})
    got, message = seen["checks"]["one"]["test_seven_rows"]
    assert got == verdict
    if verdict == "error":
        assert message.startswith("this answer ends the check itself, each time that it is judged")


@pytest.mark.parametrize("times", [1, 2])
def test_what_a_machine_does_that_has_come_to_rest_since_is_charged_to_nobody(home, tmp_path, times):
    """The solution finds it at rest; so must the answer that was judged before."""
    body = f"""import os
    if len(os.listdir({str(tmp_path)!r})) < {times}:
        open(f"{tmp_path}/{{os.getpid()}}", "w")
        raise SystemExit(3)"""
    home.check(CHECK.format(body=body))
    assert judged(home, {"one": home.solution})["checks"]["one"]["test_seven_rows"] == ["passed", ""]
