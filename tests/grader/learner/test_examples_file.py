"""The visible examples under pytest, as a student edition and an editor run them."""

import shutil

import pytest

from conftest import ID

FOLDER = f"exercises/{ID}"
EXAMPLES = f"{FOLDER}/test_examples.py"
BY_NAME = """

@pytest.mark.parametrize("mean", [running_mean.batch_mean])
def test_it(mean):
    running_mean.batch_mean
"""


def ids(home):
    done = home.pytest("-q", "--collect-only", EXAMPLES)
    assert done.code == 0, done.said
    return [line for line in done.out.splitlines() if "::" in line]


@pytest.fixture
def parametrized(home):
    """With an example whose id is the name of what the learner wrote."""
    path = home.root / EXAMPLES
    path.write_text("import pytest\n" + path.read_text() + BY_NAME)
    home.solve()
    return home


def test_the_examples_of_several_exercises_run_together(home):
    home.solve()
    other = home.root / "exercises/dl_902_second_mean"
    shutil.copytree(home.attempt.parent, other)
    (other / "running_mean.py").rename(other / "second_mean.py")
    text = (other / "test_examples.py").read_text()
    (other / "test_examples.py").write_text(text.replace("running_mean", "second_mean"))
    done = home.pytest(EXAMPLES, f"exercises/{other.name}/test_examples.py")
    assert "2 passed" in done.out, done.said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def batch_mean(:\n", "running_mean.py:1 is not valid Python: invalid syntax"),
        ("import nosuch\n", "ModuleNotFoundError: No module named 'nosuch'\n  running_mean.py:1 in the module"),
        ("raise SystemExit(3)\n", "the code called sys.exit(3)\n  running_mean.py:1 in the module"),
        ("while True: pass\n", "importing running_mean.py did not end after 1 s"),
        (None, "running_mean.py is missing: `grader reset 901` writes it again."),
    ],
    ids=["no Python", "an import", "an exit", "a hang", "gone"],
)
def test_a_file_that_does_not_load_keeps_its_examples_and_is_told_in_a_sentence(parametrized, text, said):
    home = parametrized
    home.edit(f"{FOLDER}/exercise.toml", ("check_seconds = 2", "check_seconds = 1"))
    before = ids(home)
    assert f"{EXAMPLES}::test_it[batch_mean]" in before
    home.attempt.unlink() if text is None else home.attempt.write_text(text)
    assert ids(home) == before
    done = home.pytest(EXAMPLES)
    assert done.out.count(said) == 2, done.out
    assert "2 failed" in done.out
    assert "_pytest" not in done.said
    assert "examples_file.py" not in done.said


def test_the_time_that_torch_takes_to_load_is_not_the_learners(home):
    home.edit(f"{FOLDER}/exercise.toml", ("check_seconds = 2", "check_seconds = 0.5"))
    home.solve()
    done = home.cold("-m", "pytest", EXAMPLES)
    assert "1 passed" in done.out, done.said


def test_an_example_of_a_part_that_stands_as_in_the_stub_says_what_is_to_write(home):
    done = home.pytest(EXAMPLES)
    assert "to write: batch_mean (running_mean.py:" in done.out
    assert "NotImplementedError" not in done.out


def test_an_example_that_fails_is_shown_with_its_values(home):
    home.solve(("return x.sum(0) / len(x)", "return x.sum(0)"))
    done = home.pytest(EXAMPLES)
    assert "assert running_mean.batch_mean(torch.tensor([[1.0], [3.0]])).tolist() == [2.0]" in done.out
    assert "assert [4.0] == [2.0]" in done.out
