"""A quiz: what is handed out tells nothing, each has numbers of their own, and what is odd earns nothing."""

import contextlib
import io
import json
import re
import sys
import unicodedata

import pytest
from click.testing import CliRunner
from quiz_world import DRILLS, IDS, STUDENTS, Judge, cells_of, course_in, house_with_drills, notebook

from conftest import HERE, ID
from grader.bank import places
from grader.bank.catalog import House
from grader.base.errors import HouseError
from grader.classroom import lab
from grader.classroom.quiz import SECRET, chosen_questions, read_handed_out, read_secret
from grader.classroom.quiz_course import write_quiz
from grader.classroom.roster import read_roster
from grader.cli.main import main
from grader.drills.own import own_variant
from grader.engine.judging import ServerError
from grader.submissions.quiz import answer_cell


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    return house_with_drills(tmp_path_factory.mktemp("quiz") / "house")


@pytest.fixture(scope="module")
def quiz(house):
    course = house.root.parent / "course"
    course.mkdir()
    (course / SECRET).write_text("5a" * 32)  # with another one, a number of ann's may be bob's, too
    return course_in(course, house)


@pytest.fixture(scope="module")
def judge(house, quiz):
    judge = Judge(house, quiz)
    yield judge
    judge.close()


@pytest.fixture(scope="module")
def right(house, quiz):
    """The right answers of a student, as values of Python."""

    def answers(student):
        secret = read_secret(quiz.parents[1])
        variants = {id: own_variant(house, secret, student, id) for id in IDS}
        found = {id: one.asked.answer for id, one in variants.items()}
        which, order = variants["dl_901.which"], variants["dl_901.order"]
        found["dl_901.which"] = which.options.index("this") + 1
        found["dl_901.order"] = [order.options.index(item) + 1 for item in order.asked.answer]
        found["dl_901.line"] = "2"
        return found

    return answers


def marks(result):
    return {part.name.partition(".")[2]: str(part.verdict) for part in result.parts}


# ---- what is handed out


def test_nothing_that_is_handed_out_tells_an_answer_a_secret_or_a_name(house, quiz, right):
    secret = read_secret(quiz.parents[1])
    assert {path.name for path in quiz.iterdir()} == {"quiz.ipynb", "questions.json"}
    for path in quiz.iterdir():
        text = path.read_text()
        assert secret not in text
        for student in STUDENTS:
            assert student not in text
            answers = right(student)
            for name in ("cache", "prints", "half"):
                assert not re.search(rf"\b{answers[f'dl_901.{name}']}\b", text)
    assert [cell["source"] for cell in cells_of(quiz) if "answer" in cell["source"][:8]] == [answer_cell(IDS)]


def test_each_has_numbers_of_their_own_and_the_same_ones_again(house, quiz, tmp_path):
    asked = read_handed_out(quiz)
    ann, bob = asked.of("ann"), asked.of("bob")
    assert all(one != other for one, other in zip(ann, bob, strict=True))
    assert asked.of("eve") is None
    assert asked.of("ANN ") == ann
    assert asked.of(unicodedata.normalize("NFD", "José")) == asked.of("José") is not None
    (tmp_path / "course").mkdir()
    (tmp_path / "course" / SECRET).write_text((quiz.parents[1] / SECRET).read_text())
    elsewhere = read_handed_out(course_in(tmp_path / "course", house, [*STUDENTS, "eve"], name="other"))
    assert elsewhere.of("ann") == ann  # by the secret, the name and the question, whatever else there is
    assert read_handed_out(course_in(tmp_path / "another", house)).of("ann") != ann


def printed(quiz, call, monkeypatch):
    setup = next(cell["source"] for cell in cells_of(quiz) if cell["metadata"].get("nbgrader", {}).get("grade_id"))
    monkeypatch.chdir(quiz)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(f"{setup}\n{call}", {})
    return out.getvalue()


def test_the_notebook_shows_a_student_their_questions_without_the_grader(quiz, monkeypatch, tmp_path):
    asked = read_handed_out(quiz)
    for name in ("ann", " José", unicodedata.normalize("NFD", "JOSÉ")):
        said = printed(quiz, f"questions({name!r})", monkeypatch)
        assert all(f"{id}\n{text}" in said for id, text in zip(IDS, asked.of(name), strict=True))
    assert "Nobody is called 'eve' here." in printed(quiz, "questions('eve')", monkeypatch)
    assert "put it beside it" in printed(quiz, f"import os; os.chdir({str(tmp_path)!r})\nquestions('ann')", monkeypatch)


def test_the_notebook_shows_an_answer_and_gives_no_points_where_a_kernel_runs_it(quiz, monkeypatch):
    call = "answer = {'a': '5 B', 'c': ' '}\ncheck('a')\ncheck('b')\ncheck('c')"
    assert printed(quiz, call, monkeypatch) == "a: you answer '5 B'.\nb: no answer yet\nc: no answer yet\n"
    assert printed(quiz, "check('a')\nanswer = 5\ncheck('a')", monkeypatch) == "a: no answer yet\n" * 2
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")  # nbgrader gives all points to a cell that only prints
    with pytest.raises(RuntimeError, match="docs/classroom"):
        printed(quiz, call, monkeypatch)


def test_the_notebook_says_how_a_number_will_be_read_where_it_can(house, quiz, monkeypatch):
    monkeypatch.setattr(lab, "find_bank", lambda: house)
    for value, said in (
        ("'512 KiB'", "'512 KiB'. It is read as 524,288 B."),
        ("2 * 32", "64. It is read as 64 B."),
        ("'1,5'", "'1,5'. It cannot be read. A comma only stands between thousands"),
        ("'5 s'", "'5 s'. It cannot be read. 's' measures s; asked is B."),
        ("True", "True. It is a value of the type bool. Write a text, or a number."),
    ):
        asked = printed(quiz, f"answer = {{'dl_901.cache': {value}}}\ncheck('dl_901.cache')", monkeypatch)
        assert asked.startswith(f"dl_901.cache: you answer {said}")
    call = "answer = {'dl_901.which': '99', 'dl_901.gone': 5}\ncheck('dl_901.which')\ncheck('dl_901.gone')"
    assert printed(quiz, call, monkeypatch) == "dl_901.which: you answer '99'.\ndl_901.gone: you answer 5.\n"
    monkeypatch.setitem(sys.modules, "grader.lab", None)  # as where it is not installed
    call = "answer = {'dl_901.cache': '1,5'}\ncheck('dl_901.cache')"
    assert printed(quiz, call, monkeypatch) == "dl_901.cache: you answer '1,5'\n"


@pytest.mark.parametrize("overwrite", [False, True])
def test_who_joins_is_asked_too_and_nobody_else_is_asked_anything_new(house, tmp_path, overwrite):
    """Nor does anybody lose the quiz where the command is run with the roster of another group, or of who is left."""
    before = read_handed_out(course_in(tmp_path, house))
    after = read_handed_out(course_in(tmp_path, house, ["bob", "eve"], overwrite=overwrite))
    assert after.of("eve")
    assert before.students.items() <= after.students.items()
    assert len(after.students) == 4


def test_a_quiz_that_is_out_is_not_changed_unawares(house, tmp_path):
    course_in(tmp_path / "course", house)
    kept = (tmp_path / "course" / SECRET).read_text()
    assert (tmp_path / "course" / SECRET).stat().st_mode & 0o777 == 0o600
    changed = house_with_drills(tmp_path / "house")
    path = changed.root / "exercises" / ID / "drills.py"
    path.write_text(DRILLS.replace("Half of", "The half of"))
    with pytest.raises(HouseError, match=r"asks something else for dl_901\.half"):
        course_in(tmp_path / "course", changed)
    for ids in (IDS[:-1], IDS[::-1]):
        with pytest.raises(HouseError, match=r"asks other drills, or in another order: dl_901\.cache dl_901\.half"):
            write_quiz(tmp_path / "course", house, "week_1", ids, STUDENTS, False)
    course_in(tmp_path / "course", changed, ["ann"], overwrite=True)
    assert len(read_handed_out(tmp_path / "course/source/week_1").students) == 1, "the others were asked something else"
    (tmp_path / "course" / SECRET).unlink()
    with pytest.raises(HouseError, match="put it back from"):
        course_in(tmp_path / "course", changed, name="week_2")
    (tmp_path / "course" / SECRET).write_text(kept[:20])
    with pytest.raises(HouseError, match="missing or damaged"):
        course_in(tmp_path / "course", changed, name="week_2")


def test_a_damaged_file_of_questions_is_named(house, tmp_path):
    quiz = course_in(tmp_path, house)
    path = quiz / "questions.json"
    whole = path.read_text()
    for text in ("{", whole.replace('"dl_901.half",', ""), "[]"):
        path.write_text(text)
        with pytest.raises(HouseError, match=r"questions\.json is damaged"):
            read_handed_out(quiz)
        with pytest.raises(HouseError, match=r"questions\.json is damaged"):
            course_in(tmp_path, house)
    course_in(tmp_path, house, overwrite=True)
    assert path.read_text() == whole
    path.unlink()
    course_in(tmp_path, house)
    assert path.read_text() == whole


def test_a_quiz_takes_no_other_assignments_place(house, tmp_path):
    (tmp_path / "source" / "week_1").mkdir(parents=True)
    (tmp_path / "source" / "week_1" / "running_mean.ipynb").write_text("{}")  # renamed, as docs/classroom.md allows
    with pytest.raises(HouseError, match="is an assignment already, and no quiz"):
        course_in(tmp_path, house)
    assert len(list(tmp_path.rglob("*.*"))) == 1


def test_a_course_is_of_one_house_whatever_is_written_into_it(house, monkeypatch):
    """From a practice folder, too: there the exercises are those that are installed."""
    mine = house.root.parent / "mine"
    (mine / "exercises").mkdir(parents=True)
    (mine / "exercises" / "handed_out.json").write_text("{}")
    monkeypatch.setattr(places, "ABOVE", house.root)
    course_in(mine / "course", House(mine))
    assert f"c.GradeParts.house = {str(house.root)!r}" in (mine / "course" / "nbgrader_config.py").read_text()


# ---- the command


def quiz_command(house, monkeypatch, *args):
    monkeypatch.chdir(house.root)
    done = CliRunner().invoke(main, ["class", "quiz", *map(str, args)])
    return done.exit_code, done.output


def test_the_command_takes_drills_and_topics(house, tmp_path, monkeypatch):
    roster = tmp_path / "roster.csv"
    roster.write_text("First Name,Email,SID\nAnn,ann@uni.edu,7\n")
    code, said = quiz_command(house, monkeypatch, tmp_path / "course", roster, "mean.running", "dl_901.half")
    assert code == 0, said
    assert "6 drills for 1 student, known by the column 'email'." in said
    assert read_handed_out(tmp_path / "course" / "source" / "quiz").questions == (
        "dl_901.place", "dl_901.which", "dl_901.order", "dl_901.prints", "dl_901.line", "dl_901.half",
    )  # fmt: skip
    assert len(chosen_questions(house, ["mean"])) == len(IDS)
    code, said = quiz_command(house, monkeypatch, tmp_path / "course", roster, "kv")
    assert code == 2
    assert "'kv' is no drill" in said
    for typed, meant in (("mean.runing", "mean.running"), ("dl_901", "dl_901.cache"), ("dl_901.hlaf", "dl_901.half")):
        said = quiz_command(house, monkeypatch, tmp_path / "course", roster, typed)[1]
        assert f"Did you mean '{meant}'?" in said
    for name in (ID, "-x", "a/b", ""):
        code, said = quiz_command(house, monkeypatch, tmp_path / "course", roster, "mean", f"--name={name}")
        assert code == 2
        assert "cannot be the name of a quiz" in said


def test_the_command_says_what_became_of_each_file(house, tmp_path, monkeypatch):
    roster, course = tmp_path / "roster.csv", tmp_path / "course"
    roster.write_text("id\nann\n")
    code, said = quiz_command(house, monkeypatch, course, roster, "mean", "--name", "w")
    assert (code, said.endswith(f"--quiz {course}/source/w\n"), "generate_assignment w\n" in said) == (0, True, True)
    path = course / "source/w/quiz.ipynb"
    path.write_text(path.read_text().replace('"points": 1.0', '"points": 2.0'))
    roster.write_text("id\nbob\n")
    code, said = quiz_command(house, monkeypatch, course, roster, "mean", "--name", "w")
    assert (code, "1 changed by you, and left as it is. --overwrite moves yours to" in said) == (0, True), said
    assert f"1 student of before, not in {roster} now, can still be graded." in said
    code, said = quiz_command(house, monkeypatch, course, roster, "mean", "--name", "w", "--overwrite")
    assert (code, "generate_assignment w --force" in said) == (0, True), said


def test_the_command_of_the_page_and_its_answers_are_of_drills_that_there_are():
    house, page = House(HERE.parents[1]), (HERE.parents[1] / "docs/classroom.md").read_text()
    (words,) = re.findall(r"^grader class quiz ~/course roster.csv (.*) --name", page, re.M)
    chosen = chosen_questions(house, words.split())
    assert len(chosen) > len(words.split()), "some are topics"
    assert {*re.findall(r'^    "(dl_.*?)": ', page, re.M)} <= {*chosen}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"name\nann\n", "has no column 'id'"),
        (b"", "has no column 'id'"),
        (b"id\n", "names no student"),
        (b"id,x\nann,1\n,2\n", "line 3: the student has no name"),
        (b"id\nann\nbob\nANN \n", "line 4: ANN stands there twice"),
        ("id\nJos\u00e9".encode("latin-1"), "is not UTF-8 text"),
        (b'id\n"an\x00n', ""),
    ],
)
def test_a_roster_that_cannot_be_used_is_refused_by_line(tmp_path, data, said):
    path = tmp_path / "roster.csv"
    path.write_bytes(data)
    if not said:
        with contextlib.suppress(HouseError):
            read_roster(path)
        return
    with pytest.raises(HouseError, match=re.escape(said)):
        read_roster(path)


def test_rosters_as_programs_write_them(tmp_path):
    path = tmp_path / "roster.csv"
    path.write_bytes("\ufeffLast;ID;Email\r\nA;ann;a@b\r\n\r\nJ; José ;\r\n".encode())
    assert read_roster(path) == ("id", ["ann", "José"])
    with pytest.raises(HouseError, match="No such file"):
        read_roster(tmp_path / "none.csv")


# ---- what is handed in


def test_right_answers_of_each_kind_earn_all_and_a_neighbours_nothing(judge, right):
    result = judge("ann", f"answer = {right('ann')!r}")
    assert (result.score, result.max_score) == (7, 7), marks(result)
    assert result.isolation in ("full", "landlock", "process")
    copied = judge("bob", f"answer = {right('ann')!r}")
    by_luck = {"which", "line"}  # one of three, one of two
    assert {name for name, verdict in marks(copied).items() if verdict == "passed"} <= by_luck
    assert judge(unicodedata.normalize("NFD", "JOSÉ"), f"answer = {right('José')!r}").score == 7


def test_an_answer_may_be_computed_or_typed(judge, right):
    n = right("ann")["dl_901.cache"] // 2
    for value in (
        f"2 * {n}",
        f"np.int64(2) * {n}",
        f"'{2 * n / 1024!r} KiB'",
        f"'{2 * n:,}'",
        f"'2*{n}'",
        f"{2.0 * n}",
    ):
        result = judge("ann", f"answer = {{'dl_901.cache': {value}}}", "import numpy as np", "import matplotlib as m")
        assert marks(result)["cache"] == "passed", (value, result.parts[0].message)
        assert result.score == 1


ODD = {
    "'1000000000 s'": "measures s; asked is B",
    "'1,5'": "A comma only stands between thousands",
    "True": "a value of the type bool",
    "float('nan')": "the number nan",
    "float('inf')": "the number inf",
    "'nan'": "'nan' is no number",
    "10**5000": "a number larger than 10^40",
    "-10**39": "is not right",
    "'9**9**9'": "larger than 10^40",
    "'9'*10_000_000": "a text of 10,000,000 characters",
    "'(' * 120": "This ends too early",
    "Liar()": "a value of the type Liar",
    "Same()": "a value of the type Same",
    "Text('5')": "a value of the type Text",
    "Whole(5)": "a value of the type Whole",
    "deep": "a value of the type list",
    "[[1]]": "a value of the type list",
    "b'5'": "a value of the type bytes",
    "{'a': 1}": "a value of the type dict",
    "lambda: 5": "a value of the type function",
    "1j": "a value of the type complex",
    "'\\ud800'": "'?'",
    "np.array([1])": "a value of the type ndarray",
    "np.True_": "a value of the type bool",
    "'\\x1b[2J5'": "cannot be read",
}
HOSTILE = """
import numpy as np
class Same:
    def __eq__(self, other): return True
    def __hash__(self): return 1
    def __getattr__(self, name): return self
class Liar(dict):
    def __contains__(self, key): return True
    def __getitem__(self, key): return "5"
class Text(str):
    def __eq__(self, other): return True
    def __len__(self): return 1
    __hash__ = str.__hash__
class Whole(int):
    def __eq__(self, other): return True
    __hash__ = int.__hash__
deep = []
for _ in range(10_000): deep = [deep]
"""


@pytest.mark.parametrize("value", ODD)
def test_what_is_odd_earns_nothing_and_says_why(judge, value):
    result = judge("ann", f"{HOSTILE}\nanswer = dict.fromkeys({IDS}, {value})")
    assert (result.score, [part.earned for part in result.parts]) == (0, [0] * 7)
    assert set(marks(result).values()) <= {"wrong", "error"}
    assert ODD[value] in result.parts[0].message
    assert all(part.message.split("\n")[0].isprintable() for part in result.parts)


WHOLE = {
    "answer = 5": ("error", "`answer` is a value of the type int"),
    "answer = {'dl_901.cache' 5}": ("error", "cell 5, line 1 is not valid Python"),
    "answer = {'dl_901.cache': 1 / 0}": ("error", "ZeroDivisionError"),
    "answer = {'a': __import__('os')._exit(0)}": ("crashed", "exit code 0"),
    "answer = {'a': __import__('time').sleep(99)}": ("timeout", "after 5 s"),
    "answer = {'a': bytes([1]) * (9 << 30)}": ("error", "MemoryError"),
    "class A:\n    def __call__(self): raise SystemExit(0)\nanswer = A()": ("error", "sys.exit(0)"),
    "answer = [('typed', '5')] * 7": ("error", "of the type list"),
}  # fmt: skip


@pytest.mark.parametrize("source", WHOLE)
def test_what_cannot_be_read_as_a_whole_earns_nothing_and_says_why(judge, source):
    verdict, said = WHOLE[source]
    result = judge("ann", source)
    assert result.score == 0
    assert set(marks(result).values()) == {verdict}
    assert said in result.parts[0].message


def test_the_mistake_is_named_and_the_answer_is_not(judge, right):
    answer = right("ann")["dl_901.cache"]
    (part, *_) = judge("ann", f"answer = {{'dl_901.cache': {answer // 2}}}").parts
    assert f"'{answer // 2}' is not right. The mistake: one B." in part.message
    assert f"{answer // 2} values of 2 B: how much?" in part.message
    assert part.mistake == "one B"  # which a report counts
    assert judge("ann", "answer = {'dl_901.cache': '1,5'}").parts[0].mistake == "an answer that cannot be read"
    assert str(answer) not in part.message
    assert f"{answer:,}" not in part.message


def test_what_is_not_answered_is_not_started(judge, quiz):
    for text in (
        notebook(quiz, answer_cell(IDS)),
        notebook(quiz, ""),
        notebook(quiz, "answer = {}", "answer = {'dl_901.cache': ''}"),
        notebook(quiz, "answer = {'dl_901.cache': None}"),
    ):
        assert set(marks(judge.read("ann", text)).values()) == {"not started"}
    assert "No answer." in judge("ann", "answer = {}").parts[0].message


def test_the_last_cell_that_is_written_counts_and_not_a_copy_of_the_stub(judge, right):
    answers = f"answer = {right('ann')!r}"
    assert judge("ann", answer_cell(IDS), answers).score == 7
    assert judge("ann", "answer = {}", answers).score == 0
    assert set(marks(judge("ann", answer_cell(IDS), "answer = {'a' 5}")).values()) == {"error"}
    assert judge("ann", f"{answers}\nprint(answer)\nassert False").score == 7


@pytest.mark.parametrize("change", ["answer[{!r}] = {!r}", "answer.update({{{!r}: {!r}}})"])
def test_answers_may_be_put_into_what_was_handed_out(judge, right, change):
    lines = "\n".join(change.format(*item) for item in right("ann").items())
    assert judge("ann", lines, answer_cell(IDS)).score == 7  # in a cell of their own
    assert judge("ann", f"{answer_cell(IDS)}\n{lines}").score == 7


def test_no_notebook_is_a_sentence(judge):
    for text in ("{", "[]", '{"cells": 5}', json.dumps({"cells": [5]})):
        result = judge.read("ann", text)
        assert result.score == 0
        assert result.problem.startswith("what was handed in is no"), result.problem


def test_who_is_not_on_the_roster_is_told_so(judge, right):
    result = judge("anne", f"answer = {right('ann')!r}")
    assert result.score == 0
    assert "'anne' is not on the roster of this quiz. If the name has changed" in result.problem


def test_no_secret_and_no_drill_is_there_where_a_cage_may_read(in_view):
    house = house_with_drills(in_view / "house")
    quiz = course_in(in_view / "course", house)
    judge = Judge(house, quiz)
    paths = [in_view / "course" / SECRET, quiz / "questions.json", house.exercises[ID].solution]
    paths[0].chmod(0o644)  # as its owner sees it: a cage of root's is another user
    assert all(path.is_file() for path in paths)
    for path in paths:
        told = f"try:\n    told = open({str(path)!r}).read(300)\nexcept OSError as error:\n    told = repr(error)"
        result = judge("ann", f"{told}\nanswer = {{'dl_901.prints': told}}")
        if result.isolation == "process":
            pytest.skip("this machine hides nothing")
        (said,) = [part.message for part in result.parts if part.name == "dl_901.prints"]
        assert "Error(" in said.split("is not right")[0]
    judge.close()


def test_nothing_is_graded_where_the_secret_or_the_drills_are_others(house, tmp_path):
    quiz = course_in(tmp_path / "course", house)
    secret = tmp_path / "course" / SECRET
    for text, said in (("", "missing or damaged"), ("0" * 64, "asks something else now"), (None, "missing or damaged")):
        secret.unlink() if text is None else secret.write_text(text)
        judge = Judge(house, quiz)
        with pytest.raises(ServerError, match=said):
            judge("ann", "answer = {}")
        judge.close()
