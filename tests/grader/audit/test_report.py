"""Each fault that an author can leave in an exercise is planted, and must be named. One audit finds many faults."""

import re

import pytest
from click.testing import CliRunner

from grader.audit.report import Report
from grader.cli.main import main

ID = "dl_901_running_mean"
TOML, README, STUB = (f"exercises/{ID}/{name}" for name in ("exercise.toml", "README.md", "running_mean.py"))
QUESTIONS = f"exercises/{ID}/questions.toml"
SOLUTION = f"solutions/{ID}/running_mean.py"
CHECKS, DRIVERS, MUTANTS = (f"tests/{ID}/{name}" for name in ("test_running_mean.py", "drivers.py", "mutants.toml"))


@pytest.fixture(scope="module")
def healthy(homes):
    return homes().grader("dev", "audit", "--jobs", "2")


def test_a_healthy_exercise_is_clean(healthy):
    assert healthy.code == 0, healthy.said
    assert "✗" not in healthy.out
    assert re.findall(r"✓ (\w+)", healthy.out) == [
        "facts", "files", "checks", "stub", "solution", "answers", "mistakes", "stated", "examples",
        "wrong", "spoiled", "stale", "right", "twins", "generated",
    ]  # fmt: skip
    assert "8 wrong answers, each caught by the check it names" in healthy.out
    assert "2 right answers written differently, all accepted" in healthy.out


def test_the_score_of_the_generated_mutants_is_printed(healthy):
    found = re.search(r"(\d+) of (\d+) generated mutants killed \(100\.0%\), 1 equivalent", healthy.out)
    assert int(found[1]) == int(found[2]) > 15


def test_mutants_and_wrong_answers_can_be_sampled_or_left_out(homes):
    home = homes()
    sampled = home.grader("dev", "audit", "901", "--mutants", "5", "--wrong", "3")
    assert sampled.code == 0
    assert "3 wrong answers, each caught by the check it names" in sampled.out
    assert "2 right answers written differently, in the parts where they are, all accepted" in sampled.out
    assert re.search(r"\b[45] of [45] generated mutants killed", sampled.out)
    assert "generated" not in home.grader("dev", "audit", "901", "--mutants", "none").out


def test_a_sample_tries_each_right_answer_in_its_parts(homes):
    home = homes()
    home.edit(MUTANTS, ("    total = torch.zeros_like(x[0])", "    total = torch.ones_like(x[0])"))
    home.edit(MUTANTS, ('put = "self.total / self.count"', 'put = "self.total"'))
    done = home.grader("dev", "audit", "901", "--mutants", "none", "--wrong", "1", "--seeds", "1")
    assert done.code == 1
    for name, check in (("a loop", "test_mean_of_rows[1]"), ("a sum and a count", "test_stream_equals_whole")):
        assert f"the right answer '{name}, seed 0' is refused: {check} reads 'wrong'" in done.out


@pytest.fixture(scope="module")
def faulty(homes):
    """An exercise with nearly every fault at once, those that hide no other."""
    home = homes()
    home.edit(
        TOML,
        ("points = 30", "points = 20"),
        ('"mean.batch"', '"mean.bach"'),
        ('"A sum, and a count.", ', ""),
        ('topics = ["mean.running"]', "topics = []"),
    )
    with (home.root / TOML).open("a") as file:
        file.write('\n[[part]]\nname = "median"\npoints = 5\nminutes = 1\ntopics = ["mean.batch"]\n')
        file.write('hints = ["a", "b", "c"]\nforbidden = ["torch.meen"]\n')
    home.edit("exercises/coverage.toml", ('id = "dl_901_running_mean"', 'id = "dl_903_running_mean"'))
    home.edit(README, ("# Running mean", "# Running mean\n\nTODO: a picture"), ("<!-- /questions -->", ""))
    (home.root / QUESTIONS).write_text("")
    home.edit(STUB, ("Running mean", "My running mean"))
    home.edit(
        SOLUTION,
        ("        tensor([2.], dtype=torch.float64)\n", "        tensor([9.], dtype=torch.float64)\n"),
        (
            "    Example:\n        >>> batch_mean(torch.tensor([[1.0, 2.0], [3.0, 6.0]]))\n        tensor([2., 4.])\n",
            "",
        ),
    )
    home.edit(f"exercises/{ID}/test_examples.py", ("== [2.0]", "== [3.0]"))
    (home.root / f"tests/{ID}/notes.txt").write_text("left over")
    home.edit(DRIVERS, ('"""Runs beside the learner\'s code."""', "import torch\n\nEYE = torch.eye(3)"))
    home.edit(CHECKS, ('    """An empty batch is refused."""\n', ""))
    home.check(
        '@part("batch_mean")\n@pytest.mark.parametrize("x", [torch.zeros(2)])\ndef test_of_zeros(attempt, x):\n'
        '    """Zeros have mean zero."""\n    assert attempt.batch_mean(x[None]).tolist() == [0, 0]\n'
    )
    home.check(
        '@part("batch_mean")\ndef test_of_some(attempt):\n    """Rows and their mean."""\n'
        "    for got in attempt.each('batch_mean', [(torch.ones(2, 1),), (torch.ones(3, 1),)]):\n"
        '        assert not got or got.tolist() == [1.0], "the mean of ones"\n'
    )
    home.edit(
        MUTANTS,
        ('put = "x.sum(0)"', 'put = "x.sum(0) / (len(x) + 0)"'),
        ('find = "if len(x) == 0:"', 'find = "if len(x) == 1:"'),
        ('name = "another exception"\ncaught_by = "test_mean_of_nothing"',
         'name = "another exception"\ncaught_by = "test_mean_of_nothin"'),
        ('put = "x.sum(1) / x.shape[1]"', 'put = "x.sum(1"'),
        ('name = "no computation at all"\ncaught_by = "test_mean_of_rows"',
         'name = "no computation at all"\ncaught_by = "test_stream_equals_whole"'),
        ("    return batch_mean(x)\n", "    return bach_mean(x)\n"),
        ("part = \"RunningMean.update\"\ncode", 'part = "RunningMean.updat"\ncode'),
        ("    return total / x.shape[0]", "    return total / (x.shape[0] + 1)"),
        ("self.count = self.total = 0", "self.count = self.total = (0"),
    )  # fmt: skip
    return home.grader("dev", "audit", "--mutants", "none")


def test_faults_are_an_exit_code_of_1_and_no_traceback(faulty):
    assert faulty.code == 1
    assert 'Traceback (most recent call last):\n  File "/' not in faulty.said


@pytest.mark.parametrize(
    "said",
    [
        f"{TOML}: the points of the parts add up to 95, not 100",
        f"{TOML}: part 'batch_mean': no topic 'mean.bach'. Did you mean 'mean.batch'?",
        f"{TOML}: part 'median': there is no 'torch.meen' to forbid",
        f"{TOML}: part 'batch_mean' has 2 hints; give three",
        f"{TOML}: part 'RunningMean' covers no topic",
        f"{TOML}: part 'median' has no `why`: say in two sentences",
        f"{QUESTIONS} asks nothing: give at least one [[question]]",
        f"{README} has no place for the questions: <!-- questions --> and <!-- /questions -->",
        f"{TOML}: part 'median': the solution defines no 'median'",
        "exercises/coverage.toml has no [[task]] for dl_901_running_mean",
        f"{README} is not current: run `grader dev build`",
        f"{README}:N still says TODO",
        f"{STUB} is not current: run `grader dev build`",
        f"tests/{ID}/notes.txt belongs to no exercise: remove it",
        "part 'median' has no check",
        "test_mean_of_nothing has no docstring",
        "drivers.py:N: runs torch at import",
        "test_running_mean.py:N: runs torch at import",
        "test_running_mean.py:N: an assert without a sentence",
        "'batch_mean' has no doctest",
        "test_of_some passes without its answer 1: it does not look at it",
        "a doctest of RunningMean fails",
        "test_examples.py fails on the solution",
        "'a sum' is not caught by test_mean_of_rows: it passes everything",
        "'nothing is accepted': the solution holds 'if len(x) == 1:' 0 times, not once",
        "'another exception': there is no check 'test_mean_of_nothin'. Did you mean 'test_mean_of_nothing'?",
        "'the other axis' is not valid Python once it is applied",
        "'forgets the past': the solution defines no 'RunningMean.updat'. Did you mean 'RunningMean.update'?",
        "the right answer 'a loop, seed 0' is refused: test_mean_of_rows[1] reads 'wrong'",
        "'a sum and a count' is not valid Python once it is applied",
    ],
)
def test_a_planted_fault_is_named(faulty, said):
    assert said in re.sub(r":\d+", ":N", re.sub(r"\s+", " ", faulty.out))


def test_a_wrong_answer_that_another_check_catches_is_told_which(homes):
    home = homes()
    home.edit(MUTANTS, ('name = "counts batches, not rows"\ncaught_by = "test_stream_equals_whole"',
                        'name = "counts batches, not rows"\ncaught_by = "test_mean_of_rows"'))  # fmt: skip
    done = home.grader("dev", "audit", "--mutants", "none")
    assert done.code == 1
    assert (
        "'counts batches, not rows' is not caught by test_mean_of_rows: only test_stream_equals_whole fail." in done.out
    )


@pytest.fixture(scope="module")
def weak(homes):
    """Checks that hold of anything, depend on their order or on the seed, or break."""
    home = homes()
    text = home.checks.read_text()
    home.checks.write_text(
        text.replace(
            "@part(",
            'SEEN = []\n\n\n@part("RunningMean")\ndef test_of_nothing(attempt):\n    """It holds of anything."""\n'
            '    SEEN.append(1)\n    assert attempt is not None, "never"\n\n\n'
            '@part("batch_mean")\ndef test_in_order(attempt):\n    """It wants another to have run."""\n'
            '    attempt.batch_mean(torch.ones(1, 3))\n    assert SEEN, "nothing was seen"\n\n\n'
            '@part("batch_mean")\ndef test_of_luck(attempt, draw):\n    """It holds for some seeds."""\n'
            '    attempt.batch_mean(torch.ones(1, 3))\n    assert draw.random.random() < 0.8, "bad luck"\n\n\n@part(',
            1,
        )
    )
    return home.grader("dev", "audit", "--mutants", "none", "--seeds", "12")


@pytest.mark.parametrize(
    "said",
    [
        r"on the stub test_of_nothing reads 'passed'",
        r"the first check of 'RunningMean' reads 'passed' on the stub, not 'not started'",
        r"with seed 0, order reversed test_in_order reads 'wrong': nothing was seen",
        r"with seed \d+, order shuffled test_of_luck reads 'wrong': bad luck",
    ],
)
def test_a_weak_check_is_named(weak, said):
    assert weak.code == 1
    assert re.search(said, weak.out)


def test_a_generated_mutant_that_survives_is_shown_with_its_line(homes):
    home = homes()
    text = home.checks.read_text()
    start, end = text.index('@part("batch_mean")\ndef test_mean_of_nothing'), text.index('@part("RunningMean")')
    home.checks.write_text(text[:start] + text[end:])
    home.edit(MUTANTS, ("if len(x) <= 0:", "if len(x) <= 7:"))
    done = home.grader("dev", "audit")
    line = 1 + home.solution[: home.solution.index("if len(x) == 0")].count("\n")
    assert done.code == 1
    assert f"{SOLUTION}:{line} no check notices\n        - if len(x) == 0:\n        + if len(x) == -1:" in done.out
    assert "[[equivalent]] 'if len(x) == 0:' as 'if len(x) <= 7:' matches no generated mutant: remove it" in done.out


def test_a_check_that_breaks_on_a_mutant_has_not_killed_it(homes):
    home = homes()
    broken = '@part("batch_mean")\ndef test_breaks(attempt):\n    """It breaks."""\n'
    broken += "    [0][int(attempt.batch_mean(torch.tensor([[1.0], [3.0]])).item() != 2)]\n\n\n"
    text = home.checks.read_text()
    first = text.index('@part("batch_mean")')
    home.checks.write_text(text[:first] + broken + text[first:])
    done = home.grader("dev", "audit")
    assert done.code == 1
    assert re.search(r"the mutant of line \d+ breaks the check test_breaks: .*IndexError", done.out)
    killed, tried = re.search(r"(\d+) of (\d+) generated mutants killed", done.out).groups()
    assert int(killed) < int(tried)


def test_a_mutant_that_loops_for_ever_is_killed_and_counts_as_caught(homes):
    home = homes()
    home.edit(TOML, ("check_seconds = 2", "check_seconds = 2\nexercise_seconds = 6"))
    home.edit(MUTANTS, ('put = "x.sum(0)"', 'put = "loop()"'))
    endless = (
        # Apart: before 3.13 what rings in a loop may pass by the handler around it.
        "def spin():\n    while True: pass\n\n\n"
        "def loop():\n    while True:\n        try: spin()\n        except BaseException: pass\n"
    )
    home.edit(SOLUTION, ("def batch_mean", endless + "\n\ndef batch_mean"))
    home.edit(STUB, ("def batch_mean", endless + "\n\ndef batch_mean"))
    done = home.grader("dev", "audit", "--mutants", "none")
    assert done.code == 0, done.said


def test_a_missing_file_is_named_and_ends_the_audit(homes):
    home = homes()
    (home.root / DRIVERS).unlink()
    done = home.grader("dev", "audit")
    assert done.code == 1
    assert f"{DRIVERS} is missing" in done.out


@pytest.mark.parametrize(
    ("name", "find", "put", "code", "said"),
    [
        (SOLUTION, "return x.sum(0)", "return x.sum(0", 2, f"{SOLUTION} is not valid Python"),
        (CHECKS, "import drivers", "import driver", 3, "cannot be collected"),
        (MUTANTS, "[[equivalent]]", "[[equivalnt]]", 2, "Did you mean 'equivalent'?"),
        (SOLUTION, "    ### END SOLUTION\n\n\nclass", "\n\nclass", 2, "a second '### BEGIN SOLUTION'"),
    ],
)  # fmt: skip
def test_what_cannot_even_be_audited_is_one_sentence(homes, name, find, put, code, said):
    home = homes()
    home.edit(name, (find, put))
    done = home.grader("dev", "audit", "--mutants", "none")
    assert done.code == code
    assert said in done.said
    assert 'File "/work' not in done.said.replace(str(home.root), "")


def test_the_total_of_several_stands_below_them(monkeypatch):
    def audited(house, exercises, **options):
        return [Report(exercise.id, generated=10, killed=7, equivalent=2) for exercise in exercises]

    monkeypatch.setattr("grader.audit.beside.audits", audited)
    done = CliRunner().invoke(main, ["dev", "audit", "11", "13"])
    assert done.output == "in all: 14 of 16 generated mutants killed (87.5%)\n"


def test_known_mistakes_that_nobody_can_tell_apart_are_found(homes):
    home = homes()
    known = 'known={"a sum": x.sum(0), "n times it": x.mean(0) * n, "the mean": x.mean(0)}'
    home.edit(CHECKS, ('known={"a sum": x.sum(0)}', known))
    done = home.grader("dev", "audit", "--mutants", "none")
    assert done.code == 1
    assert "test_mean_of_rows: the known mistakes 'a sum' and 'n times it' give the same" in done.out
    assert "test_mean_of_rows: the known mistake 'the mean' is the right value on each input" in done.out


def test_what_is_checked_and_not_said_is_found(homes):
    home = homes()
    home.edit(TOML, ('forbidden = ["torch.mean"', 'forbidden = ["torch.cumsum", "torch.mean"'))
    for name in (SOLUTION, STUB):
        home.edit(name, (" float32 and float64 work alike.", ""))
    done = home.grader("dev", "audit", "--mutants", "none")
    assert done.code == 1
    assert "the stub of 'batch_mean' does not say that torch.cumsum is forbidden" in done.out
    assert "the stub of 'batch_mean' does not speak of what test_mean_of_rows[1] asks for, float64" in done.out


def test_a_cost_whose_words_the_stub_does_not_say_is_found(homes):
    home = homes()
    checks = (home.root / CHECKS).read_text().replace("import agree,", "import agree, in_torch,")
    (home.root / CHECKS).write_text(checks)
    home.check('''@part("batch_mean")
def test_mean_stays_in_torch(attempt, draw):
    """A mean takes few operations, in torch."""
    x = draw.normal(40, 30)
    got, cost = attempt.cost("batch_mean", x)
    agree(got, x.mean(0), axes="d", of="batch_mean")
    held(cost)


def held(cost):
    in_torch(cost, of="a mean")
''')
    for name in (SOLUTION, STUB):
        home.edit(name, ("x: (n, d), n >= 1. Returns (d,).", "x: (n, d), n >= 1. Returns (d,). At most 9 operators."))
    done = home.grader("dev", "audit", "--mutants", "none")
    assert done.code == 1
    assert "the stub of 'batch_mean' does not say that its work stays in torch, as test_mean_stays_in_torch" in done.out
    assert "the stub of 'batch_mean' counts operators: say there, or on top, that views are counted too" in done.out
