import pytest

from grader.bank.catalog import find_house
from grader.bank.derived import build_exercise
from grader.bank.questions import folded, read_questions
from grader.base.errors import HouseError
from grader.views.questions import question_lines

FILE = "exercises/dl_901_running_mean/questions.toml"


def test_the_questions_in_the_order_of_the_file(home):
    first, second = read_questions(home.exercise)
    assert (first.part, second.part) == ("RunningMean", "batch_mean")
    assert first.asks.startswith("Why is the mean of the means")
    assert second.answer.startswith("There is none")


def test_an_exercise_without_the_file_has_none(home):
    (home.root / FILE).unlink()
    assert read_questions(home.exercise) == ()


@pytest.mark.parametrize(
    ("find", "put", "said"),
    [
        ('asks = "What is', 'ask = "What is', "unknown field `ask`"),
        ('asks = "What is', 'ask = "What is', "Did you mean 'asks'?"),
        ('part = "batch_mean"', 'part = "bach_mean"', "'bach_mean', which is no part. Did you mean 'batch_mean'?"),
        ('part = "batch_mean"', "", "missing required field `part`"),
        ('answer = "There is none: ', 'answer = "  " # "', "'What is the mean of an empty batch?' has no answer"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_name(home, cli, find, put, said):
    home.edit(FILE, (find, put))
    with pytest.raises(HouseError) as caught:
        read_questions(home.exercise)
    assert said in str(caught.value)
    assert "questions.toml" in str(caught.value)
    done = cli("questions", "901")
    assert (done.code, done.out) == (2, "")


def test_the_statement_folds_each_answer_below_its_question(home):
    text = home.exercise.attempt.with_name("README.md").read_text()
    block = text.partition("<!-- questions -->")[2].partition("<!-- /questions -->")[0]
    assert block.count("<details>") == block.count("</details>") == 2
    assert (
        "<details><summary>What is the mean of an empty batch?</summary>\n\nThere is none: 0 / 0 is undefined. "
        "Refuse it, or the NaN reaches every later mean. (`batch_mean`)\n</details>\n"
    ) in block


def test_a_question_is_html_where_it_is_the_summary(home):
    home.edit(FILE, ("`x.mean()` of all?", "`x < y` & so on?"))
    assert "not <code>x &lt; y</code> &amp; so on?</summary>" in folded(read_questions(home.exercise))


def test_a_changed_answer_makes_the_statement_stale(home):
    home.edit(FILE, ("There is none", "There never is one"))
    stale = [file.path.name for file in build_exercise(home.house, home.exercise) if not file.current]
    assert stale == ["README.md"]


HOUSE = find_house()


@pytest.mark.parametrize("id", HOUSE.exercises)
def test_every_part_says_why_and_every_statement_asks(id):
    exercise = HOUSE.exercises[id]
    assert [part.name for part in exercise.parts if not part.why.isascii()] == []
    assert [part.name for part in exercise.parts if not 60 <= len(part.why) <= 480] == []
    assert read_questions(exercise)
    for known in (set(), {part.name for part in exercise.parts}):
        assert max(map(len, question_lines(exercise, None, known))) <= 80
