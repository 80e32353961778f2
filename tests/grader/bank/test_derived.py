import pytest

from grader.bank.derived import build, stub_of
from grader.bank.source import STUB
from grader.base.errors import HouseError

README = "exercises/dl_901_running_mean/README.md"
SOLUTION = "solutions/dl_901_running_mean/running_mean.py"


def stale(home):
    return [str(file.path.relative_to(home.root)) for file in build(home.house) if not file.current]


def test_all_is_current_after_a_build(home):
    assert stale(home) == []


def test_the_statement_gets_its_facts_and_its_table_of_parts(home):
    text = (home.root / README).read_text()
    assert "Priority 1 · easy · about 15 minutes · 100 points · 2 parts\n" in text
    assert "| `batch_mean` | 30 | 5 |  |\n| `RunningMean` | 70 | 10 | `batch_mean` |\n" in text


def test_only_the_generated_blocks_of_a_readme_are_replaced(home):
    path = home.root / README
    path.write_text("Mine.\n" + path.read_text().replace("30", "31") + "Mine too: 31.\n")
    (file,) = (file for file in build(home.house) if file.path == path)
    assert file.text.startswith("Mine.\n")
    assert file.text.endswith("Mine too: 31.\n")
    assert "| `batch_mean` | 30 |" in file.text


@pytest.mark.parametrize(
    ("name", "find", "put", "becomes_stale"),
    [
        ("exercises/dl_901_running_mean/exercise.toml", "points = 30", "points = 29", README),
        ("exercises/coverage.toml", 'difficulty = "easy"', 'difficulty = "hard"', README),
        (SOLUTION, "n >= 1", "n > 0", "exercises/dl_901_running_mean/running_mean.py"),
    ],
)
def test_a_changed_source_makes_what_is_built_from_it_stale(home, name, find, put, becomes_stale):
    home.edit(name, (find, put))
    assert stale(home) == [becomes_stale]


def test_a_changed_answer_alone_changes_no_stub(home):
    home.edit(SOLUTION, ("return x.sum(0) / len(x)", "return x.mean(0)"))
    assert stale(home) == []


def test_building_writes_nothing_by_itself(home):
    home.attempt.unlink()
    build(home.house)
    assert not home.attempt.exists()


def test_the_readme_of_the_house_lists_exercises_and_those_to_come(home):
    (home.root / "README.md").write_text("# All\n<!-- exercises -->\n<!-- /exercises -->\n")
    file = build(home.house)[-1]
    assert (
        "| [`dl_901_running_mean`](exercises/dl_901_running_mean/README.md) | Running mean | 1 | easy | 2 | 15 |"
        in file.text
    )
    assert "| `dl_902_variance` | Variance | 2 | hard | coming |  |" in file.text


def test_the_stub_has_one_gap_a_region_and_no_answer(home):
    text = stub_of(home.exercise)
    assert text.count(STUB) == 2
    assert "x.sum(0)" not in text


def test_a_missing_or_badly_marked_solution_is_named(home):
    home.edit(SOLUTION, ("    ### END SOLUTION\n\n\nclass", "\n\nclass"))
    with pytest.raises(HouseError, match=r"running_mean\.py: line \d+: a second '### BEGIN SOLUTION'"):
        build(home.house)
    (home.root / SOLUTION).unlink()
    with pytest.raises(HouseError, match=r"solutions/dl_901_running_mean/running_mean\.py is missing"):
        build(home.house)


def test_check_tells_stale_from_current_and_writes_nothing(home, cli):
    assert cli("dev", "build", "--check").code == 0
    home.solve()
    before = home.attempt.read_bytes()
    done = cli("dev", "build", "--check")
    assert done.code == 1
    assert "exercises/dl_901_running_mean/running_mean.py is no longer the stub" in done.out
    assert home.attempt.read_bytes() == before


def test_build_keeps_an_attempt_before_it_overwrites_it(home, cli):
    home.solve()
    before = home.attempt.read_text()
    assert cli("dev", "build").code == 0
    assert home.attempt.read_text() == stub_of(home.exercise)
    assert cli("history", "901", "--show", "1").out == before


def test_build_writes_what_is_missing(home, cli):
    home.attempt.unlink()
    done = cli("dev", "build")
    assert (done.code, done.out) == (0, "wrote exercises/dl_901_running_mean/running_mean.py\n")
    assert cli("dev", "build").out == "All is current.\n"
