"""`grader drill`, from a pipe: no terminal, no colour, and sixty columns are enough."""

import json
import re
from datetime import date, timedelta

import pytest
from click.testing import CliRunner

from grader.cli.main import main
from grader.drills.load import questions_of
from grader.drills.schedule import Answer
from grader.learner.drill import Turn
from grader.records.drilled import Drilled
from grader.records.progress import EXAMPLES
from grader.verdicts.result import CheckResult, assemble
from grader.verdicts.verdict import Verdict

LONG_AGO = date.today() - timedelta(days=300)

DRILLS = """
from grader.drills import Blank, Choice, Number, question


@question(topic="mean.batch", level=1, source="Nobody 2026, 1")
def mean_of_two(draw):
    a, b = draw.between(5, 40), draw.between(50, 90)
    return Number(
        ask=f"The mean of {a} and {b}, two numbers that were drawn for nobody but you, a moment ago?",
        given=dict(a=a, b=b), answer=(a + b) / 2, traps={"the sum": float(a + b)},
        hints=("Add, then divide.", "(a + b) / 2"), why="A mean is a sum over a count.")


@question(topic="mean.running", level=1, source="Nobody 2026, 2")
def place(draw):
    return Blank(ask="The last place?", code="x[____]", given={"s": draw(3, 4), "q": 5}, answer="s - 1",
        traps={"one too far": "s"}, hints=("Count from 0.", "s - 1"), why="The first place is 0.")


@question(topic="mean.batch", level=1, source="Nobody 2026, 3")
def which(draw):
    return Choice(ask="Which?", answer="this", traps={"no": "that", "never": "neither"}, hints=("a", "b"), why="So.")
"""


@pytest.fixture
def drilling(home, monkeypatch):
    (home.root / "exercises" / "dl_901_running_mean" / "drills.py").write_text(DRILLS)
    monkeypatch.chdir(home.root)
    monkeypatch.setattr("grader.cli.drill.terminal_columns", lambda: 60)
    monkeypatch.setattr("grader.cli.talk.terminal_columns", lambda: 60)
    return home


def drill(*args, typed=""):
    return CliRunner().invoke(main, ["drill", *args], input=typed, catch_exceptions=False)


def test_a_sitting(drilling):
    done = drill(typed="h\n1,5\n10 s\n1\nskip\nskip\n")
    assert done.exit_code == 0
    lines = done.output.split("\n")
    assert max(map(len, lines)) <= 60
    assert lines[2] == "mean.batch                                   1 of 3 · dl_901"
    assert "  hint 1: Add, then divide." in lines
    assert "  A comma only stands between thousands" in done.output
    assert "'s' measures s; asked is a number without a unit." in done.output
    assert re.search(
        r"✗ wrong +[\d.]+ = \(\d+ \+ \d+\) / 2\n  A mean is a sum over a count.\n  Nobody 2026, 1 · again tomorrow",
        done.output,
    )
    assert "0 of 1 right. Go on: grader drill" in lines
    (kept,) = Drilled(drilling.root).answers()
    assert (kept.question, kept.typed, kept.verdict, kept.hints) == ("dl_901.mean_of_two", "1", "wrong", 1)


def test_topics_take_turns(drilling):
    assert re.findall(r"^(mean\.\w+) ", drill(typed="s\ns\ns\n").output, re.M) == [
        "mean.batch",
        "mean.running",
        "mean.batch",
    ]


def test_right_answers_and_traps_are_told(drilling):
    asked = json.loads(drill("--json").output)["questions"][0]
    assert "answer" not in asked
    assert asked["note"] == "to 1 %"
    done = drill("--topic", "mean.running", typed="s\n")
    assert "✗ one too far" in done.output  # `s` skips, but here it is a known mistake
    done = drill("--topic", "mean.running", "--all", typed="q\n")
    assert (
        "Nothing was answered. Go on: grader drill" in done.output
    )  # it is a name as well, but no answer that anybody gives: it ends the sitting
    done = drill("--topic", "mean.running", "--all", typed="s - 1\n")
    assert re.search(r"✓ right +s - 1", done.output)
    assert "1 of 1 right." in done.output


def test_what_was_answered_is_due_no_more(drilling):
    assert drill("--count").output == "0 due, 3 new\n"
    drill("--topic", "mean.running", typed="s - 1\n")
    assert drill("--count").output == "0 due, 2 new\n"
    assert drill("--due", "--count").output == "0 due\n"
    assert drill("--all", "--count").output == "0 due, 2 new, 1 not due yet\n"
    assert json.loads(drill("--json", "--count").output) == {"due": 0, "new": 2, "now": 1, "questions": []}
    assert drill("--topic", "mean.running").output == "Nothing is due. More all the same: grader drill --all\n"


def test_the_desk_says_how_many_are_due(drilling):
    def desk():
        return CliRunner().invoke(main, [], catch_exceptions=False).output

    assert "due" not in desk()
    card = questions_of(drilling.exercise)[0].id
    Drilled(drilling.root).answer(Answer(card, 1, 0, f"{LONG_AGO}T12:00:00.000+00:00", "1", "right", "", 0, 5.0))
    assert "1 drill is due: grader drill --due" in desk().split("\n")


def test_the_desk_fits_the_terminal(drilling):
    checks = [CheckResult("test_a", "batch_mean", Verdict.OUTPUT_LIMIT, "It prints on and on.", "It holds.")]
    result = assemble(drilling.exercise, checks, {"batch_mean": ["test_a"]}, seed=0, isolation="full")
    drilling.progress.record(result, None, "check")
    said = CliRunner().invoke(main, [], catch_exceptions=False).output
    assert "last: output limit, 0 of 1 checks pass" in " ".join(said.split())
    assert max(map(len, said.split("\n"))) <= 60


def test_new_questions_on_what_was_worked_on_last_come_first(drilling):
    other = drilling.root / "exercises" / "dl_800_other"
    other.mkdir()
    (other / "drills.py").write_text(PREDICTED.replace("mean.batch", "count.rows"))
    assert json.loads(drill("--json").output)["questions"][0]["exercise"] == "dl_800"
    drilling.progress.note("dl_901_running_mean", EXAMPLES, part="batch_mean")
    assert json.loads(drill("--json").output)["questions"][0]["exercise"] == "dl_901"


def test_what_was_asked_last_waits(drilling):
    drill("--topic", "mean.running", typed="s - 1\n")
    drill(typed="5\n")
    assert drill().output == (
        "Only mean.batch is left, which was asked last. More of it\nall the same:\n  grader drill --topic mean.batch\n"
    )
    assert "1 of 1 ·" in drill("--topic", "mean.batch", typed="q\n").output


def test_enough_for_a_day(drilling, monkeypatch):
    monkeypatch.setattr("grader.drills.choose.A_DAY", 1)
    drill("--topic", "mean.running", typed="s - 1\n")
    assert "Enough for today" in drill().output


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--topic", "mean.runing"), "There is no topic 'mean.runing'. Did you mean 'mean.running'?"),
        (
            ("--topic", "meen"),
            "There is no topic 'meen'. Did you mean 'mean'? `grader status --topics` names them all.",
        ),
        (("--role", "m"), "There is no role 'm'. Roles: ml, llm. Did you mean 'ml'?"),
    ],
)
def test_what_is_not_known_is_refused(drilling, args, said):
    done = drill(*args)
    assert done.exit_code == 2
    assert said in done.output


def test_a_house_without_drills_says_so(home, monkeypatch):
    monkeypatch.chdir(home.root)
    assert "There are no drills here yet." in drill().output


@pytest.mark.parametrize("args", [[], ["status"], ["drill"], ["interview", "--role", "ml"]])
def test_drills_that_cannot_be_read_are_a_sentence(drilling, args):
    (drilling.root / "exercises" / "dl_901_running_mean" / "drills.py").write_bytes(b"\xff")
    done = CliRunner().invoke(main, args, catch_exceptions=False)
    assert done.exit_code == 2
    assert "exercises/dl_901_running_mean/drills.py cannot be read: it is not UTF-8 text." in done.output


def test_a_damaged_file_of_progress_is_said_and_kept(drilling):
    path = Drilled(drilling.root).path
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"damaged" * 1000)
    done = drill(typed="3\n")
    assert "is damaged" in done.output
    assert path.read_bytes() == b"damaged" * 1000


def test_a_learner_without_the_marks_hears_the_same(drilling):
    from grader.views.signs import spoken

    assert spoken("✓ right 2 · 3 ≤ 2³", "ascii") == "+ right 2 * 3 <= 2^3"


def test_the_coverage_table_counts_drills_beside_parts(drilling):
    for day in (1, 2):
        for name in ("mean_of_two", "which"):
            at = f"{LONG_AGO + timedelta(days=day)}T09:00:00.000+00:00"
            Drilled(drilling.root).answer(Answer(f"dl_901.{name}", 1, 1, at, "5", "right", "", 0, 9.0))
    runner = CliRunner()
    table = runner.invoke(main, ["status"], catch_exceptions=False).output
    assert re.search(r"1 +Averages .* 1/2 \S1 ", table)
    assert "Drills: topics drilled / with drills;" in table
    assert max(map(len, table.split("\n"))) <= 80
    topics = runner.invoke(main, ["status", "--topics"], catch_exceptions=False).output
    assert "\nmean.batch " in topics
    assert re.search(r"Mean of a batch +batch_mean +\S fading", topics)
    assert re.search(r"Mean of a stream +RunningMean +1 *\n", topics)
    made = json.loads(runner.invoke(main, ["status", "--json"], catch_exceptions=False).output)
    assert made["topics_drilled"] == 1


def test_bytes_that_are_no_text_are_answered_and_kept(drilling):
    path = drilling.root / "exercises" / "dl_901_running_mean" / "drills.py"
    path.write_text(PREDICTED)
    (card,) = questions_of(drilling.exercise)
    told, days = Turn(drilling.house, card).answer("\udcff", pytest.fail)  # as Python reads a byte that is no text
    assert (told.right, days) == (False, 1)
    assert Drilled(drilling.root).answers()[0].typed == "\\udcff"


PREDICTED = """
from grader.drills import Predict, question


@question(topic="mean.batch", level=1, source="Nobody 2026, 1")
def printed(draw):
    return Predict(ask="What?", code="print(1)", answer="1", traps={"no": "2"}, hints=("a", "b"), why="So.")
"""
