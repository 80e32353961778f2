"""`pytest exercises/...` as a learner sees it. Most run in a fork of a warm process; see warm.py."""

import re

import pytest

from grader.judging.verdict_of import seen_of
from grader.verdicts.verdict import Verdict

EXERCISE = "exercises/dl_901_running_mean"
FILE = f"{EXERCISE}/running_mean.py"
SOLUTION = "solutions/dl_901_running_mean/running_mean.py"
CHECKS = "tests/dl_901_running_mean/test_running_mean.py"
RIGHT_MEAN = "return x.sum(0) / len(x)"
ALL = ["test_mean_of_rows[1]", "test_mean_of_rows[5]", "test_mean_of_nothing", "test_stream_equals_whole"]


def part_line(said: str, part: str) -> str:
    """The line of the report that holds a part's verdict, its spaces made single."""
    (line,) = re.findall(rf"^  . {part} .*$", said, flags=re.MULTILINE)
    return " ".join(line.split())


def clean(done):
    """Nothing that belongs to the grader's insides."""
    return "Traceback" not in done.said and "INTERNALERROR" not in done.said and "/grader/" not in done.said


# ---- the three runs that every learner makes


@pytest.fixture(scope="module")
def untouched(homes):
    home = homes()
    return home, home.pytest(EXERCISE)


@pytest.fixture(scope="module")
def solved(homes):
    home = homes()
    home.solve()
    return home, home.pytest(EXERCISE)


@pytest.fixture(scope="module")
def half(homes):
    """RunningMean is wrong, batch_mean is right."""
    home = homes()
    home.solve(("* len(x) / self.count", "/ 2"))
    return home, home.pytest(EXERCISE)


def test_an_untouched_stub_is_not_started_and_says_where_to_begin(untouched):
    home, done = untouched
    lines = home.attempt.read_text().splitlines()
    first, second = (i for i, line in enumerate(lines, 1) if "TODO: your code" in line)
    assert done.code == 1
    assert clean(done), done.said
    assert part_line(done.out, "batch_mean") == f"○ batch_mean 30 not started running_mean.py:{first}"
    assert part_line(done.out, "RunningMean") == f"○ RunningMean 70 not started running_mean.py:{second}"
    assert "0 of 100 points" in done.out
    assert f"Begin with batch_mean in {FILE}" in done.out
    assert "4 not started" in done.out


def test_a_right_answer_earns_all(solved):
    _, done = solved
    assert done.code == 0
    assert "100 of 100 points" in done.out
    assert part_line(done.out, "batch_mean") == "✓ batch_mean 30 passed"
    assert part_line(done.out, "RunningMean") == "✓ RunningMean 70 passed"
    assert "4 passed" in done.out


def test_a_wrong_part_is_shown_with_its_property_and_the_other_keeps_its_points(half):
    home, done = half
    assert done.code == 1
    assert clean(done), done.said
    assert "30 of 100 points" in done.out
    assert part_line(done.out, "batch_mean") == "✓ batch_mean 30 passed"
    assert part_line(done.out, "RunningMean") == "✗ RunningMean 70 wrong 0 of 1 checks pass"
    assert "After each batch the mean is that of all rows so far." in done.out
    assert "RunningMean over batches of 2, 5, 1: entry [0]:" in done.out
    assert re.search(r"worst at  d=\d:  expected -?[\d.]+, got -?[\d.]+", done.out)
    assert f"again: pytest {FILE}::test_stream_equals_whole" in done.out
    assert home.progress.earned() == {"dl_901_running_mean": {"batch_mean"}}


@pytest.mark.parametrize("run", ["untouched", "half", "solved"])
def test_what_is_said_fits_80_columns_and_has_no_colour_in_a_pipe(run, request):
    _, done = request.getfixturevalue(run)
    assert "\x1b" not in done.said
    for line in done.out.splitlines():
        assert len(line) <= 80 or "again: pytest" in line  # a command is not broken


def test_the_checks_of_a_wrong_part_can_be_run_again_by_the_line_that_is_printed(half):
    home, done = half
    command = re.search(r"again: pytest (.*)$", done.out, flags=re.MULTILINE)[1].strip('"')
    again = home.pytest(command)
    assert again.code == 1
    assert "1 wrong" in again.out


# ---- selection


@pytest.fixture(scope="module")
def wrong_mean(homes):
    """batch_mean forgets to divide: of its three checks, the one with five rows fails."""
    home = homes()
    home.solve((RIGHT_MEAN, "return x.sum(0)"))
    return home


@pytest.mark.parametrize(
    ("args", "cwd"),
    [
        ([], "."),
        (["exercises"], "."),
        ([EXERCISE], "."),
        ([FILE], "."),
        (["tests/dl_901_running_mean"], "."),
        ([CHECKS], "."),
        ([], EXERCISE),
        (["."], EXERCISE),
        (["running_mean.py"], EXERCISE),
        (["-p", "no:cacheprovider", "-q", "exercises"], "."),
        (["-x", "exercises", "--maxfail=9"], "."),
    ],
)
def test_the_whole_exercise_is_selected(solved, args, cwd):
    home, _ = solved
    done = home.pytest("--no-progress", *args, cwd=cwd)
    assert done.code == 0
    assert "100 of 100 points" in done.out
    assert "4 passed" in done.out


@pytest.mark.parametrize(
    ("args", "ran"),
    [
        ([f"{FILE}::test_mean_of_nothing"], 1),
        ([f"{FILE}::test_mean_of_rows"], 2),
        ([f"{FILE}::test_mean_of_rows[5]"], 1),
        ([EXERCISE, "-k", "nothing or rows[1]"], 2),
        ([EXERCISE, "-k", "not stream and not rows"], 1),
        ([f"{CHECKS}::test_mean_of_nothing"], 1),
    ],
)
def test_a_partial_selection_earns_nothing_it_did_not_prove_and_says_so(homes, solved, args, ran):
    home = homes()
    home.solve()
    done = home.pytest(*args)
    assert done.code == 0
    assert re.search(rf"\b{ran} passed", done.out)
    assert "0 of 30 points in 1 of 2 parts" in done.out
    assert f"0 of 2 parts ran in full. All of them: pytest {EXERCISE}" in done.out
    assert home.progress.earned() == {}


def test_a_selection_that_holds_a_whole_part_earns_that_part(home):
    home.solve()
    done = home.pytest(EXERCISE, "-k", "mean_of")
    assert "30 of 30 points in 1 of 2 parts" in done.out
    assert "1 of 2 parts ran in full" in done.out
    assert home.progress.earned() == {"dl_901_running_mean": {"batch_mean"}}
    home.pytest(EXERCISE, "-k", "stream")
    assert home.progress.earned() == {"dl_901_running_mean": {"batch_mean", "RunningMean"}}


def test_last_failed_runs_what_failed(homes):
    home = homes()
    home.solve((RIGHT_MEAN, "return x.sum(0)"))
    home.pytest(EXERCISE)
    again = home.pytest("--lf", EXERCISE)
    assert "2 passed" not in again.out
    assert re.search(r"collected \d+ items / \d+ deselected", again.out) or "run-last-failure" in again.out
    home.solve()
    assert home.pytest("--lf", EXERCISE).code == 0


def test_an_empty_selection_is_no_pass(home):
    home.solve()
    assert home.pytest(EXERCISE, "-k", "no_such_check").code == 5
    assert home.progress.history("dl_901_running_mean") == []


def test_two_workers_give_the_same_result(home):
    home.solve(("* len(x) / self.count", "/ 2"))
    done = home.pytest(EXERCISE, "-n", "2")
    assert done.code == 1
    assert "30 of 100 points" in done.out
    assert part_line(done.out, "RunningMean") == "✗ RunningMean 70 wrong 0 of 1 checks pass"
    assert [kept.score for kept in home.progress.history("dl_901_running_mean")] == [30]


def test_the_solutions_pass_and_count_for_no_one(home):
    for args in (["solutions"], ["solutions/dl_901_running_mean/running_mean.py"]):
        done = home.pytest(*args)
        assert done.code == 0
        assert "100 of 100 points" in done.out
        assert "grader solution" not in done.out
    assert not home.progress.path.exists()


def test_both_trees_at_once_are_told_apart(home):
    done = home.pytest("exercises", "solutions")
    assert done.code == 1
    assert "4 passed, 4 not started" in done.out or "4 not started, 4 passed" in done.out
    assert "100 of 100 points" in done.out
    assert re.search(r" 0 of 100 points", done.out)
    assert home.progress.earned() == {}


def test_the_visible_examples_run_by_name_and_are_left_alone_by_directory(solved):
    home, done = solved
    assert "test_examples" not in done.out
    named = home.pytest(f"{EXERCISE}/test_examples.py")
    assert named.code == 0
    assert "1 passed" in named.out
    assert "1 passed" in home.pytest("test_examples.py", cwd=EXERCISE).out


def test_the_visible_examples_are_collected_where_there_are_no_hidden_checks(homes):
    home = homes()
    home.solve()
    home.checks.unlink()
    (home.checks.parent / "drivers.py").unlink()
    home.checks.with_name("mutants.toml").unlink()
    for path in home.checks.parent.glob("__pycache__/*"):
        path.unlink()
    for folder in (home.checks.parent / "__pycache__", home.checks.parent):
        if folder.is_dir():
            folder.rmdir()
    done = home.pytest(EXERCISE)
    assert done.code == 0
    assert "test_examples.py" in done.out


def test_other_tests_are_none_of_the_graders_business(home):
    (home.root / "test_other.py").write_text("def test_fine():\n    pass\n\ndef test_not():\n    assert 1 == 2\n")
    done = home.pytest("test_other.py")
    assert "1 failed, 1 passed" in done.out
    assert "assert 1 == 2" in done.out


# ---- files that cannot be used

UNUSABLE = {
    "syntax": ("def batch_mean(x:\n    return x\n", ["running_mean.py:1 is not valid Python", "def batch_mean(x:"]),
    "tabs": ("def f():\n    x = 1\n\ty = 2\n", ["running_mean.py:3 is not valid Python"]),
    "import": (
        "import no_such_package\n",
        ["could not be imported", "ModuleNotFoundError: No module named 'no_such_package'", "running_mean.py:1"],
    ),
    "raise": (
        "x = 1\nraise RuntimeError('mine')\n",
        ["could not be imported", "RuntimeError: mine", "running_mean.py:2"],
    ),
    "exit": ("import sys\nsys.exit(0)\n", ["could not be imported", "the code called sys.exit(0)"]),
    "null": ("x = 1\x00\n", ["null byte"]),
    "latin": ("x = 'ü'\n".encode("latin-1"), ["running_mean.py is not UTF-8 text"]),
    "utf16": ("x = 1\n".encode("utf-16"), ["running_mean.py is not UTF-8 text"]),
    "surrogate": ("raise ValueError('\\udc80')\n", ["could not be imported", "ValueError: \\udc80"]),
    "unprintable": (
        "class Sly(Exception):\n    def __str__(self):\n        1 / 0\n\nraise Sly\n",
        ["could not be imported", "Sly: (its text cannot be shown: ZeroDivisionError)"],
    ),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_a_file_that_does_not_load_is_an_error_with_its_place_and_a_sentence(home, case):
    text, said = UNUSABLE[case]
    home.attempt.write_bytes(text if isinstance(text, bytes) else text.encode())
    done = home.pytest(EXERCISE)
    assert done.code == 1
    assert clean(done), done.said
    assert " 0 of 100 points" in done.out
    for words in said:
        assert words in done.out
    for part in ("batch_mean", "RunningMean"):
        assert part_line(done.out, part).endswith(" error")
    assert "with an error" in done.out
    assert home.progress.earned() == {}
    assert len(home.progress.history("dl_901_running_mean")) == 1


def test_an_empty_file_misses_each_name(home):
    home.attempt.write_text("")
    done = home.pytest(EXERCISE)
    assert done.code == 1
    assert clean(done), done.said
    assert "running_mean.py does not define 'batch_mean'." in done.out
    assert " error " in part_line(done.out, "batch_mean")
    assert part_line(done.out, "RunningMean") == "· RunningMean 70 waiting waits for batch_mean"


def test_an_error_that_all_parts_share_is_told_once(home):
    home.attempt.write_text("def batch_mean(x:\n")
    assert home.pytest(EXERCISE).out.count("is not valid Python") == 1


def test_a_file_with_a_byte_order_mark_or_windows_line_ends_is_python(home):
    home.solve()
    text = home.attempt.read_text()
    home.attempt.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert home.pytest(EXERCISE).code == 0


def test_a_line_is_named_as_editors_count_it(home):
    """U+2028, pasted from a chat, ends a line for str.splitlines and for no editor of Python."""
    stub = home.attempt.read_text()
    home.attempt.write_text("# pasted\u2028here\n" + stub, encoding="utf-8")
    line = 1 + next(i for i, line in enumerate(stub.split("\n"), 1) if "TODO" in line)
    done = home.pytest(EXERCISE)
    assert part_line(done.out, "batch_mean") == f"○ batch_mean 30 not started running_mean.py:{line}"


# ---- wrong answers of every sort; batch_mean's body is replaced

BODIES = {
    "a sum": (
        "return x.sum(0)",
        "wrong",
        ["Every value is 5 times", "This is what a sum gives", "batch_mean of x n=5 d=3"],
    ),
    "an object": ("return object()", "wrong", ["wrong kind of result: the result is an object"]),
    "a subclass": (
        "class T(torch.Tensor): pass\n    return (x.sum(0) / len(x)).as_subclass(T)",
        "wrong",
        ["wrong kind of result: the result is a T"],
    ),
    "a parameter": ("return torch.nn.Parameter(x.sum(0) / len(x))", "passed", []),
    "None": ("x.sum(0) / len(x)", "wrong", ["expected a tensor of shape d=3, got None"]),
    "dtype": ("return x.sum(0).float() / len(x)", "wrong", ["wrong dtype: expected float64, got float32"]),
    "shape": ("return x.sum(0, keepdim=True) / len(x)", "wrong", ["wrong shape", "expected  d=3", "got       (1, 3)"]),
    "NaN": ("return x.sum(0) / 0 * 0", "wrong", ["3 of 3 values are NaN or Inf"]),
    "written to": ("x /= len(x)\n    return x.sum(0)", "wrong", ["batch_mean wrote to its argument 'x'"]),
    "a missing name": ("return mean_of(x)", "error", ["NameError: name 'mean_of' is not defined", "running_mean.py:"]),
    "an exception": ("return x.sum(7)", "error", ["IndexError: Dimension out of range", "return x.sum(7)"]),
    "its own assert": (
        "assert len(x) > 9\n    return x",
        "error",
        ["AssertionError: (no message)", "assert len(x) > 9"],
    ),
    "exits": ("import sys\n    sys.exit(3)", "error", ["the code called sys.exit(3)"]),
    "recursion": ("return batch_mean(x)", "error", ["RecursionError: maximum recursion depth exceeded"]),
    "a swallowed call": (
        "try:\n        return torch.mean(x, 0)\n    except BaseException:\n        return x.sum(0) / len(x)",
        "forbidden",
        ["torch.mean is what this part is there to write"],
    ),
    "a forbidden method": ("return x.mean(0)", "forbidden", ["torch.Tensor.mean is what", "return x.mean(0)"]),
    "no memory": ("raise MemoryError", "memory", ["out of memory"]),
    "a skip": ("import pytest\n    pytest.skip('done')", "error", ["done"]),
    "an expected failure": ("import pytest\n    pytest.xfail('later')", "error", ["later"]),
}


@pytest.mark.parametrize("case", BODIES)
def test_what_a_function_can_do_wrong(home, case):
    body, verdict, said = BODIES[case]
    home.solve((RIGHT_MEAN, body))
    done = home.pytest(f"{FILE}::test_mean_of_rows[5]")
    assert done.code == (verdict != "passed")
    assert clean(done), done.said
    if verdict != "passed":
        assert f" {verdict} " in part_line(done.out, "batch_mean")
    for words in said:
        assert words in done.out
    assert all(len(line) <= 80 or "again: pytest" in line for line in done.out.splitlines())
    assert home.progress.earned() == {}


def test_an_argument_that_is_rearranged_is_wrong_too(home):
    home.check(
        '@part("batch_mean")\ndef test_of_lists(attempt):\n    """A list is left alone."""\n'
        "    agree(attempt.batch_mean([torch.ones(3), torch.ones(3)]), 2, of='a list')\n"
    )
    home.solve((RIGHT_MEAN, "x[0] = 1\n    return len(x)"))
    done = home.pytest(f"{FILE}::test_of_lists")
    assert "batch_mean wrote to its argument 'x'" in done.out


def test_what_the_code_prints_is_shown_with_the_failure(home):
    home.solve((RIGHT_MEAN, "print('shape', tuple(x.shape))\n    return x.sum(0)"))
    done = home.pytest(EXERCISE)
    assert "printed  shape (5, 3)" in done.out


def test_a_missing_class_is_named_with_the_nearest_name(home):
    home.solve(("class RunningMean:", "class RuningMean:"))
    done = home.pytest(EXERCISE)
    assert "does not define 'RunningMean'. Did you mean 'RuningMean'?" in " ".join(done.out.split())
    assert part_line(done.out, "batch_mean") == "✓ batch_mean 30 passed"


def test_a_part_is_run_by_its_name(solved):
    home, _ = solved
    done = home.pytest(EXERCISE, "-k", "batch_mean")
    assert part_line(done.out, "batch_mean") == "✓ batch_mean 30 passed"
    assert "3 passed, 1 deselected" in done.out


def test_a_part_of_which_some_checks_ran_says_so(home):
    home.solve((RIGHT_MEAN, "return x.sum(0)"))
    done = home.pytest(EXERCISE, "-x")
    assert re.search(r"1 of 2 checks pass, of 3 in all", part_line(done.out, "batch_mean"))
    assert "0 of 2 parts ran in full" in done.out


def test_a_missing_file_is_named_with_what_brings_it_back(home):
    home.attempt.unlink()
    done = home.pytest(EXERCISE)
    assert done.code == 4
    assert "running_mean.py is missing: `grader reset dl_901` writes it again." in done.err


def test_checks_of_an_untouched_part_are_not_run(home):
    stub = home.attempt.read_text()
    check = (
        '@part("batch_mean")\ndef test_that_asks_nothing(attempt):\n    """It runs."""\n    assert False, "it ran"\n'
    )
    home.checks.write_text(f"{home.checks.read_text()}\n\n{check}")
    assert "it ran" not in home.pytest(EXERCISE, "-k", "asks_nothing").out
    home.attempt.write_text(stub + "\n\nbatch_mean = abs\n")
    assert "it ran" in home.pytest(EXERCISE, "-k", "asks_nothing").out


def test_a_check_may_ask_for_ours_through_a_fixture_of_its_own(home):
    home.solve((RIGHT_MEAN, "return x.sum(0)"))
    check = """
@pytest.fixture
def told(attempt, reference, draw):
    x = draw.normal(4, 3)
    return attempt.batch_mean(x), reference.batch_mean(x)


@part("batch_mean")
def test_through_a_fixture(told):
    \"\"\"It is the mean.\"\"\"
    agree(*told, of="the mean of four rows")
"""
    home.checks.write_text(home.checks.read_text() + check)
    assert "1 wrong" in home.pytest(EXERCISE, "-k", "through_a_fixture").out
    home.solve()
    assert "1 passed" in home.pytest(EXERCISE, "-k", "through_a_fixture").out


def test_a_name_bound_below_its_stub_counts(home):
    stub = home.attempt.read_text()
    mean = home.solution[home.solution.index("def batch_mean") : home.solution.index("class RunningMean")]
    home.attempt.write_text(stub + "\n\n" + mean.replace("batch_mean", "_mean") + "\n\nbatch_mean = _mean\n")
    done = home.pytest(EXERCISE)
    assert part_line(done.out, "batch_mean") == "✓ batch_mean 30 passed"


def test_a_part_waits_for_the_one_that_it_builds_on(home):
    home.solve((RIGHT_MEAN, "return x.sum(0)"), ("* len(x) / self.count", ""))  # wrong itself, too
    done = home.pytest(EXERCISE)
    assert part_line(done.out, "RunningMean") == "· RunningMean 70 waiting waits for batch_mean"


def test_a_part_that_is_written_waits_for_one_not_begun(home):
    stub = home.attempt.read_text()
    head, tail = stub[: stub.index("class RunningMean")], home.solution[home.solution.index("class RunningMean") :]
    home.attempt.write_text(head + tail.replace("* len(x) / self.count", ""))  # written, and wrong
    done = home.pytest(EXERCISE)
    assert " not started running_mean.py:" in part_line(done.out, "batch_mean")
    assert part_line(done.out, "RunningMean") == "· RunningMean 70 waiting waits for batch_mean"


def test_a_change_of_torchs_global_state_does_not_leak_into_the_next_check(home):
    body = "torch.set_default_dtype(torch.float16)\n    torch.set_grad_enabled(False)\n    return x.sum(0) / len(x)"
    home.solve((RIGHT_MEAN, body))
    home.check(
        '@part("RunningMean")\ndef test_state(attempt):\n    """Torch is as it was."""\n'
        "    assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled(), 'it leaked'\n"
    )
    assert home.pytest(EXERCISE).code == 0


def test_inputs_are_the_same_each_time_and_follow_the_seed(home):
    home.solve((RIGHT_MEAN, "print('first', x[0, 0].item())\n    return x"))
    first, again = (re.findall(r"first \S+", home.pytest(f"{FILE}::test_mean_of_rows[5]").out) for _ in range(2))
    other = re.findall(r"first \S+", home.pytest("--grader-seed=1", f"{FILE}::test_mean_of_rows[5]").out)
    assert first
    assert first == again
    assert first != other


# ---- time


def test_an_import_that_never_ends_is_stopped(home):
    home.attempt.write_text("n = 0\nwhile True:\n    n += 1\n")
    done = home.pytest(EXERCISE)
    assert done.code == 1
    assert clean(done), done.said
    assert "importing running_mean.py did not end after 2 s" in done.out
    assert " timeout" in part_line(done.out, "batch_mean")
    assert " timeout" in part_line(done.out, "RunningMean")


def test_a_call_that_never_ends_is_stopped_once_and_the_other_part_is_graded(home):
    home.solve((RIGHT_MEAN, "while len(x) == 5: pass\n    return x.sum(0) / len(x)"))
    home.edit(CHECKS, ("for n in (2, 5, 1)", "for n in (2, 4, 1)"))
    done = home.pytest(EXERCISE)
    assert done.code == 1
    assert clean(done), done.said
    assert "still running after 2 s" in done.out
    assert "while len(x) == 5: pass" in done.out
    assert " timeout 1 of 3 checks pass" in part_line(done.out, "batch_mean")  # the third would pass, and is not run
    assert part_line(done.out, "RunningMean") == "✓ RunningMean 70 passed"
    assert "70 of 100 points" in done.out


def test_a_clock_that_rings_inside_a_destructor_rings_again(home):
    loop = "kept = Kept()\n    del kept\n    while True: pass\n    return x"
    slow = "import time\n\n\nclass Kept:\n    def __del__(self):\n        end = time.process_time() + 3\n"
    home.solve((RIGHT_MEAN, loop))
    home.attempt.write_text(slow + "        while time.process_time() < end: pass\n\n\n" + home.attempt.read_text())
    done = home.pytest(f"{FILE}::test_mean_of_rows[5]")
    assert done.code == 1
    assert "still running after 2 s" in done.out
    assert "while True: pass" in done.out


# ---- checks with faults of their own


def test_a_check_with_a_fault_of_its_own_is_a_grader_error_with_a_traceback(home):
    home.solve()
    home.check('@part("batch_mean")\ndef test_fault(attempt):\n    """Never holds."""\n    {}["no such key"]\n')
    done = home.pytest(EXERCISE)
    assert done.code == 1
    assert " grader error " in part_line(done.out, "batch_mean")
    assert "the check itself failed, not the attempt: KeyError: 'no such key'" in done.out
    assert "tests/dl_901_running_mean/test_running_mean.py" in done.out  # the traceback
    assert "wrong" not in part_line(done.out, "batch_mean")
    assert part_line(done.out, "RunningMean") == "✓ RunningMean 70 passed"


def test_a_check_that_fails_on_the_solution_too_is_at_fault_itself(home):
    home.solve((RIGHT_MEAN, "return None"))
    home.check(
        '@part("batch_mean")\ndef test_fault(attempt, draw):\n    """Never holds."""\n'
        "    attempt.batch_mean(draw.normal(3, 2))\n    {}['no such key']\n"
    )
    done = home.pytest(f"{FILE}::test_fault")
    assert "the check itself failed, not the attempt: KeyError: 'no such key'" in done.out
    assert "grader error" in part_line(done.out, "batch_mean")


READS = '''
@part("batch_mean")
def test_reads(attempt, draw):
    """The mean has one number a column."""
    x = draw.normal(3, 2)
    {asks}
    assert mean.shape == (2,), "another shape"
'''


@pytest.mark.parametrize(
    ("asks", "gives", "said"),
    [
        ("mean = attempt.batch_mean(x)", "return None", "expected a tensor of shape (2,), got None"),
        (
            "_, mean = attempt.each('batch_mean', [(x,), (x[:1],)])",
            "return x.sum(0) / 3 if len(x) == 3 else [1.0]",
            "entry [1]: expected a tensor of shape (2,), got a list of 1",
        ),
        (
            "mean = attempt.batch_mean(x); mean[1 + int(mean[0] > x.max())]",
            "return x.sum(0) / len(x) + 9",
            "the check cannot read it (IndexError: index 2 is out of bounds for dimension 0 with size 2)",
        ),
    ],
    ids=["none", "in a row", "by its value"],
)
def test_an_answer_that_a_check_cannot_read_is_wrong_and_no_fault_of_the_grader(home, asks, gives, said):
    home.solve((RIGHT_MEAN, gives))
    home.check(READS.format(asks=asks))
    assert home.pytest(f"{SOLUTION}::test_reads").code == 0
    for done in (home.pytest(f"{FILE}::test_reads"), home.grader("check", "901", "--json")):
        assert done.code == 1
        assert "Traceback" not in done.said
        assert "grader error" not in done.said
        assert f"wrong kind of result: batch_mean: {said}" in " ".join(done.out.split())


def test_a_fault_in_a_checks_fixture_is_a_grader_error(home):
    home.solve()
    home.check(
        "@pytest.fixture\ndef broken():\n    raise OSError('no disk')\n\n\n"
        '@part("batch_mean")\ndef test_fault(attempt, broken):\n    """Never holds."""\n'
    )
    done = home.pytest(EXERCISE)
    assert done.code == 1
    assert " grader error " in part_line(done.out, "batch_mean")
    assert "no disk" in done.out


@pytest.mark.parametrize(
    "how", ["pytest.skip('not here')", "pytest.importorskip('no_such_package')", "pytest.xfail('x')"]
)
def test_a_skipped_check_is_no_pass(home, how):
    home.solve()
    home.check(f'@part("batch_mean")\ndef test_skips(attempt):\n    """Perhaps."""\n    {how}\n')
    done = home.pytest(EXERCISE)
    assert done.code == 1
    assert " grader error " in part_line(done.out, "batch_mean")
    assert "70 of 100 points" in done.out


@pytest.mark.parametrize("mark", ["skip", "skip(reason='later')", "skipif(True, reason='later')", "xfail"])
def test_a_check_marked_as_skipped_or_expected_to_fail_is_no_pass(home, mark):
    home.solve()
    body = "assert attempt is None, 'never'" if mark == "xfail" else "pass"
    home.check(f'@pytest.mark.{mark}\n@part("batch_mean")\ndef test_marked(attempt):\n    """Perhaps."""\n    {body}\n')
    done = home.pytest(EXERCISE)
    assert done.code == 1
    assert "✓ batch_mean" not in done.out
    assert "70 of 100 points" in done.out


def test_a_check_without_a_part_or_of_an_unknown_one_is_refused(home):
    home.check("def test_homeless(attempt):\n    pass\n")
    assert "test_homeless belongs to no part: add @part(name)" in home.pytest(EXERCISE).out
    home.edit(CHECKS, ("def test_homeless", '@part("bach_mean")\ndef test_homeless'))
    assert "has no part 'bach_mean'. Did you mean 'batch_mean'?" in " ".join(home.pytest(EXERCISE).out.split())


def test_a_bad_key_in_the_facts_is_named(home):
    home.edit(f"{EXERCISE}/exercise.toml", ("points = 30", "pionts = 30"))
    done = home.pytest(EXERCISE)
    assert done.code == 2
    assert "Did you mean 'points'?" in done.said
    assert "INTERNALERROR" not in done.said


# ---- progress


def test_a_run_is_recorded_with_its_source(solved):
    home, _ = solved
    kept = home.progress.history("dl_901_running_mean")
    assert (kept[0].door, kept[0].score, kept[0].earned) == ("pytest", 100, ("batch_mean", "RunningMean"))
    assert home.progress.source(kept[0].source) == home.attempt.read_text()


def test_an_earned_part_stays_earned_when_a_later_run_fails(home):
    home.solve()
    home.pytest(EXERCISE)
    home.attempt.write_text("def broken(\n")
    assert home.pytest(EXERCISE).code == 1
    assert home.progress.earned() == {"dl_901_running_mean": {"batch_mean", "RunningMean"}}


def test_a_run_can_go_unrecorded(home):
    home.pytest("--no-progress", EXERCISE)
    assert not home.progress.path.exists()


def test_a_progress_file_that_cannot_be_used_is_reported_and_the_run_goes_on(home):
    home.solve()
    home.progress.path.parent.mkdir()
    home.progress.path.write_bytes(b"not a database " * 99)
    before = home.progress.path.read_bytes()
    done = home.pytest(EXERCISE)
    assert done.code == 0
    assert "100 of 100 points" in done.out
    assert "Progress not recorded" in done.out
    assert "INTERNALERROR" not in done.said
    assert home.progress.path.read_bytes() == before


# ---- terminals


def test_a_terminal_without_unicode_gets_ascii(home):
    """In a process of its own, since the encoding is settled when Python starts."""
    home.solve((RIGHT_MEAN, "raise ValueError('zu groß · ✓')"))
    done = home.cold("-m", "pytest", EXERCISE, PYTHONIOENCODING="ascii")
    assert done.code == 1
    assert done.said.isascii()
    assert "  x batch_mean" in done.out
    assert "dl_901 - Running mean" in done.out
    assert "ValueError: zu gro" in done.out


def test_a_report_without_a_check_of_ours_carries_nothing():
    assert seen_of(object()) is None
    assert Verdict.PASSED == "passed"
