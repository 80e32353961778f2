import shutil

import pytest

from grader.bank.catalog import House, find_house
from grader.base.errors import HouseError
from grader.base.text import nearest

TOML = "exercises/dl_901_running_mean/exercise.toml"
COVERAGE = "exercises/coverage.toml"


def test_the_facts_of_an_exercise(home):
    exercise = home.exercise
    assert (exercise.number, exercise.stem, exercise.points, exercise.minutes) == ("901", "running_mean", 100, 15)
    assert exercise.attempt == home.root / "exercises/dl_901_running_mean/running_mean.py"
    assert exercise.solution == home.root / "solutions/dl_901_running_mean/running_mean.py"
    assert exercise.checks == home.root / "tests/dl_901_running_mean/test_running_mean.py"
    assert exercise.limits.check_seconds == 2
    assert exercise.limits.exercise_seconds == 120  # the default
    assert exercise.part("RunningMean").after == ("batch_mean",)
    assert exercise.part("batch_mean").names == ("batch_mean",)


def test_a_part_may_be_several_definitions(home):
    home.edit(TOML, ('name = "batch_mean"', 'name = "batch_mean"\ndefines = ["batch_mean", "other"]'))
    assert home.exercise.part("batch_mean").names == ("batch_mean", "other")


@pytest.mark.parametrize(
    "typed", ["901", "dl_901", "dl_901_running_mean", "running_mean", "exercises/dl_901_running_mean/"]
)
def test_an_exercise_is_found_by_what_people_type(home, typed):
    assert home.house.find(typed).id == "dl_901_running_mean"


def test_both_prefixes_have_exercises(home):
    for tree in ("exercises", "solutions", "tests"):
        shutil.move(home.root / tree / "dl_901_running_mean", home.root / tree / "nn_901_running_mean")
    assert {home.house.find(typed).id for typed in ("901", "nn_901", "running_mean")} == {"nn_901_running_mean"}
    assert home.house.find("901").number == "901"
    with pytest.raises(HouseError, match="dl_901_running_mean is still to come"):
        home.house.find("dl_901")


def test_a_number_that_two_have_names_both(home):
    folder = home.root / "exercises"
    shutil.copytree(folder / "dl_901_running_mean", folder / "nn_901_running_sum")
    assert list(home.house.exercises) == ["dl_901_running_mean", "nn_901_running_sum"]
    with pytest.raises(HouseError, match=r"'901' may be dl_901_running_mean or nn_901_running_sum: type dl_901"):
        home.house.find("901")
    for typed in ("nn_901", "running_sum"):
        assert home.house.find(typed).number == "nn_901"
    assert home.house.find("running_mean").number == "dl_901"


def test_a_leading_zero_does_not_matter(home):
    for tree in ("exercises", "solutions", "tests"):
        shutil.move(home.root / tree / "dl_901_running_mean", home.root / tree / "dl_021_running_mean")
    assert {home.house.find(typed).id for typed in ("21", "021", "dl_021")} == {"dl_021_running_mean"}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("runing_mean", "no exercise 'runing_mean'. Did you mean 'running_mean'?"),
        ("dl_901_running_men", "Did you mean 'dl_901_running_mean'?"),
        ("xyz", "no exercise 'xyz'. `grader list` shows all"),
        ("902", "dl_902_variance is still to come"),
        ("dl_902_variance", "dl_902_variance is still to come"),
        ("", "no exercise ''"),
    ],
)
def test_an_exercise_that_there_is_not_is_refused_with_the_nearest(home, typed, said):
    with pytest.raises(HouseError) as caught:
        home.house.find(typed)
    assert said in str(caught.value)


def test_an_unknown_part_is_refused_with_the_nearest(home):
    with pytest.raises(
        HouseError, match=r"dl_901_running_mean has no part 'RuningMean'\. Did you mean 'RunningMean'\?"
    ):
        home.exercise.part("RuningMean")


@pytest.mark.parametrize(
    ("name", "find", "put", "said"),
    [
        (TOML, "minutes = 5", "minuts = 5", ["unknown field `minuts`", "$.part[0]", "Did you mean 'minutes'?"]),
        (TOML, "check_seconds = 2", "chek_seconds = 2", ["$.limits", "Did you mean 'check_seconds'?"]),
        (TOML, "revision = 1", "", ["missing required field `revision`"]),
        (TOML, "points = 30", 'points = "30"', ["Expected `int`, got `str`", "$.part[0].points"]),
        (TOML, "points = 30", "points = ", ["is not valid TOML"]),
        (TOML, 'after = ["batch_mean"]', 'after = ["batch_men"]',
         ["part 'RunningMean' comes after 'batch_men'", "Did you mean 'batch_mean'?"]),
        (COVERAGE, 'difficulty = "hard"', 'difficulty = "hart"', ["Invalid enum value 'hart'", "$.task[1].difficulty"]),
        (COVERAGE, 'section = "medium"', 'sektion = "medium"', ["$.item[1]", "Did you mean 'section'?"]),
        (COVERAGE, 'id = "mean.batch"', 'ident = "mean.batch"', ["unknown field `ident`", "$.item[0].topic[0]"]),
    ],
)  # fmt: skip
def test_a_bad_key_or_value_is_named_with_file_and_place(home, name, find, put, said):
    home.edit(name, (find, put))
    with pytest.raises(HouseError) as caught:
        assert home.house.exercises and home.house.coverage  # noqa: PT018
    for words in [str(home.root / name), *said]:
        assert words in str(caught.value)


def test_a_file_that_is_not_utf8_is_named(home):
    (home.root / TOML).write_bytes(b'title = "\xff"')
    with pytest.raises(HouseError, match=r"exercise\.toml"):
        assert home.house.exercises


def test_a_badly_named_folder_is_refused(home):
    shutil.move(home.root / "exercises/dl_901_running_mean", home.root / "exercises/dl_9_x")
    with pytest.raises(HouseError, match="named like dl_020_beam_search"):
        assert home.house.exercises


def test_the_house_is_found_from_inside(home):
    deep = home.root / "exercises/dl_901_running_mean"
    assert find_house(deep).root == home.root.resolve()


def test_outside_of_any_house_the_one_of_the_package_is_meant(tmp_path):
    found = find_house(tmp_path)
    assert isinstance(found, House)
    assert (found.root / "grader" / "bank" / "catalog.py").is_file()


@pytest.mark.parametrize(
    ("typed", "said"), [("chek", " Did you mean 'check'?"), ("zzzz", ""), ("histroy", " Did you mean 'history'?")]
)
def test_nearest(typed, said):
    assert nearest(typed, ["check", "history", "hint"]) == said


PICTURE = """
[[picture]]
part = "batch_mean"
kind = "heat"
axes = ["row", "feature"]
driver = "moved_mean"
caption = "The mean moves."
"""


def declare(home, text=PICTURE):
    path = home.root / TOML
    path.write_text(path.read_text() + text)


def test_pictures_are_declared_and_one_is_the_figure(home):
    assert home.exercise.figure is None
    declare(home, PICTURE + PICTURE.replace("moved_mean", "other"))
    exercise = House(home.root).find("901")
    assert [one.title for one in exercise.pictures] == ["Moved mean", "Other"]
    assert exercise.figure.driver == "moved_mean"
    assert exercise.picture_drivers == exercise.attempt.parent / "pictures.py"
    path = home.root / TOML
    path.write_text(path.read_text() + "figure = true\n")
    assert House(home.root).find("901").figure.driver == "other"


@pytest.mark.parametrize(
    ("find", "put", "said"),
    [
        ("caption =", "captoin =", ["unknown field `captoin`", "$.picture[0]", "Did you mean 'caption'?"]),
        ('"heat"', '"heet"', ["Invalid enum value 'heet'", "$.picture[0].kind", "Did you mean 'heat'?"]),
        ('"batch_mean"', '"batch_men"',
         ["the picture 'moved_mean' is of 'batch_men', which is no part.", "Did you mean 'batch_mean'?"]),
        ('["row", "feature"]', '["row"]', ["$.picture[0].axes"]),
        ('"The mean moves."', '"The mean moves."\nlog = ["z"]', ["Invalid enum value 'z'"]),
        (PICTURE, PICTURE + PICTURE, ["two pictures have the driver 'moved_mean'"]),
    ],
)  # fmt: skip
def test_a_bad_declaration_of_a_picture_is_refused(home, find, put, said):
    declare(home, PICTURE.replace(find, put))
    with pytest.raises(HouseError) as caught:
        assert home.house.exercises
    for words in [str(home.root / TOML), *said]:
        assert words in str(caught.value)
