from grader.learner.first import changed_parts, first_parts

STUB = "def batch_mean(x):\n    pass\n\n\nclass RunningMean:\n    pass\n"


def test_what_is_worked_on_comes_first_then_what_failed(home):
    exercise = home.exercise
    assert first_parts(exercise, ["RunningMean"], set()) == ("RunningMean",)
    assert first_parts(exercise, [], {"RunningMean"}) == ("RunningMean",)
    assert first_parts(exercise, ["batch_mean"], {"RunningMean"}) == ("batch_mean", "RunningMean")
    assert first_parts(exercise, [], set()) == ()


def test_a_part_comes_after_a_predecessor_that_failed(home):
    assert home.exercise.before(home.exercise.part("RunningMean")) == ("batch_mean",)
    assert first_parts(home.exercise, ["RunningMean"], {"batch_mean"}) == ("batch_mean", "RunningMean")


def test_the_parts_whose_code_changed(home):
    exercise = home.exercise
    assert changed_parts(exercise, STUB, STUB) == []
    assert changed_parts(exercise, STUB, STUB.replace("x", "y")) == ["batch_mean"]
    assert changed_parts(exercise, STUB, "# a comment\n" + STUB) == []
    assert changed_parts(exercise, STUB, STUB.split("class")[0]) == ["RunningMean"]


def test_no_part_is_known_of_what_is_not_python(home):
    for text in ("def f(:", "x = 1\x00", "(" * 5000):
        assert changed_parts(home.exercise, STUB, text) == []
