from grader.views.questions import question_lines
from grader.views.render import gained_lines


def test_answers_stand_with_what_is_earned_and_the_way_to_the_others(home):
    said = "\n".join(question_lines(home.exercise, None, {"batch_mean"}))
    assert "There is none: 0 / 0 is undefined." in said
    assert "divided by the number of rows" in said
    assert "Why is the mean of the means of batches" in said
    assert "Batches differ in size" not in said
    assert "  Earn RunningMean to read on, or add --answers." in said
    assert "Earn batch_mean" not in said


def test_of_one_part_only_its_own_are_shown(home):
    said = "\n".join(question_lines(home.exercise, home.exercise.part("batch_mean"), set()))
    assert "empty batch" in said
    assert "There is none" not in said
    assert "RunningMean" not in said


def test_a_part_without_a_question_says_so_and_why(home):
    home.edit("exercises/dl_901_running_mean/questions.toml", ('part = "batch_mean"', 'part = "RunningMean"'))
    one = home.exercise.part("batch_mean")
    said = "\n".join(question_lines(home.exercise, one, {"batch_mean"}))
    assert "divided by the number of rows" in said
    assert said.endswith("  No question is about this part alone. All of them: grader questions 901")
    assert "batch_mean" not in "\n".join(question_lines(home.exercise, None, set()))
    assert "No question" not in "\n".join(question_lines(home.exercise, None, {"batch_mean"}))


def test_nothing_is_wider_than_80_columns(home):
    home.edit("exercises/dl_901_running_mean/questions.toml", ("There is none:", "There is none: " + "words " * 60))
    known = {"batch_mean", "RunningMean"}
    assert max(map(len, question_lines(home.exercise, None, known))) in range(70, 81)
    for part in (None, home.exercise.parts[1]):
        assert max(map(len, question_lines(home.exercise, part, set(), columns=50))) in range(40, 51)


def test_what_is_earned_is_told_in_a_few_lines(home):
    lines = [line.text for line in gained_lines(home.exercise, ["batch_mean"])]
    assert lines == [
        "",
        "  +30  batch_mean",
        "      The sum is divided by the number of rows, since a batch may have any. A",
        "      fixed divisor is right for one size only.",
        "      grader questions 901 batch_mean",
    ]
    assert gained_lines(home.exercise, []) == []


def test_of_many_parts_earned_at_once_three_say_why(home):
    lines = [line.text for line in gained_lines(home.exercise, ["batch_mean"] * 5)]
    assert lines.count("  +30  batch_mean") == 5
    assert lines.count("      grader questions 901 batch_mean") == 3
    assert lines[-1] == "  Why so, and what interviews ask: grader questions 901"
