"""Each fault that an author can leave in a drill is planted, and must be named."""

import ast
import textwrap

import pytest

from grader.audit.claims import wrong_claims
from grader.audit.drills import guessed, look, look_alone
from grader.audit.mutated import Formula, survivors
from grader.drills import Choice, Number, question
from grader.drills.load import questions_of
from grader.drills.question import variant

DRILLS = "exercises/dl_901_running_mean/drills.py"
HEAD = "from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question\n"
GOOD = """
@question(topic="mean.batch", level=1, source="Nobody 2026, 1", readme="dl_901/1")
def mean_of_two(draw):
    a, b = draw.between(5, 40), draw.between(50, 90)
    return Number(
        ask=f"The mean of {a} and {b}?",
        given=dict(a=a, b=b),
        answer=(a + b) / 2,
        traps={"the sum": float(a + b)},
        hints=("Add, then divide by how many there are.", "(a + b) / 2"),
        why="A mean is a sum over a count.",
    )


@mean_of_two.second
def _(a, b):
    return a + (b - a) * 0.5
"""
PREDICT = """
@question(topic="mean.batch", level=1, source="Nobody 2026, 1")
def printed(draw):
    a = draw.between(5, 90)
    return Predict(ask="What is printed?", code=f"print({a} + 1, {a} - 1)", answer=f"{a + 1} {a - 1}",
        traps={"swapped": f"{a - 1} {a + 1}"}, hints=("Add.", "a + 1"), why="Sums come first.")
"""
BUG = """
@question(topic="mean.batch", level=1, source="Nobody 2026, 1")
def wrong_line(draw):
    a = draw.between(5, 90)
    lines = [f"a = {a}", "b = a * 2", "c = a * 2", "print(b + c)"]
    wrong = draw(1, 2)
    mended = lines[wrong]
    lines[wrong] = mended.replace("2", "3")
    return Bug(ask="It should print four times the first. Which line is wrong?", code="\\n".join(lines),
        answer=lines[wrong], mended=mended, prints=str(4 * a), traps={"a number": f"a = {a}"},
        hints=("Count.", "2 + 2"), why="Two and two are four.")
"""
BLANK = """
@question(topic="mean.batch", level=1, source="Nobody 2026, 1")
def gap(draw):
    n, i = draw("n", "size", "length"), draw("i", "j", "k")
    return Blank(ask="The place from the end?", code="place = ____", given={n: 9, i: 2}, answer=f"{n} - {i} - 1",
        traps={"one too far": f"{n} - {i}"}, hints=("From the end.", "n - i - 1"), why="The last is at -1.")


@gap.second
def _(**given):
    n, i = given.values()
    return list(range(n))[::-1][i]
"""


def found(home, text):
    (home.root / DRILLS).write_text(HEAD + textwrap.dedent(text))
    return look(home.house, questions_of(home.exercise), 200)[0]


def test_what_is_healthy_has_no_finding(home):
    assert found(home, GOOD + PREDICT + BUG + BLANK) == []


@pytest.mark.parametrize(
    ("text", "find", "put", "said"),
    [
        (GOOD, "mean.batch", "mean.bach", "there is no topic 'mean.bach'. Did you mean 'mean.batch'?"),
        (GOOD, "level=1", "level=4", "levels are 1, 2 and 3"),
        (GOOD, "level=1", "level=2 - 1", "its decorator is not read: write @question(...) with plain values"),
        (GOOD, "Nobody 2026, 1", "", "give its source"),
        (GOOD, "dl_901/1", "dl_901/9", "no statement asks 'dl_901/9': dl_901 asks 2 questions"),
        (GOOD, "dl_901/1", "dl_902/1", "no statement asks 'dl_902/1'"),
        (GOOD, 'readme="dl_901/1"', 'seed="000/15"', "no older collection asks '000/15'"),
        (GOOD, "a + (b - a) * 0.5", "a + (b - a) * 0.4", "the second computation gives"),
        (GOOD, "a + (b - a) * 0.5", "a / 0", "the second computation fails: ZeroDivisionError"),
        (GOOD, "a + (b - a) * 0.5", "(a + b) / 2", "the second computation is the formula again"),
        (GOOD, "@mean_of_two.second", "", "it has no second computation"),
        (GOOD, '{"the sum": float(a + b)}', '{"the sum": (a + b) / 2}', "'the sum' equals the answer"),
        (GOOD, '{"the sum": float(a + b)}', '{"the sum": 1.0 * a + b, "all": 1.0 * b + a}', "'all' equals 'the sum'"),
        (GOOD, '{"the sum": float(a + b)}', "{}", "it has no trap"),
        (GOOD, '{"the sum": float(a + b)}', '{"x": float("inf")}', "are to be finite"),
        (GOOD, "draw.between(5, 40), draw.between(50, 90)", "draw(5, 7), draw(50, 60)", "only 4 different answers"),
        (GOOD, 'f"The mean of', 'f"{(a + b) / 2:g}: the mean of', "stands in the question, after redrawing"),
        (GOOD, '"Add, then', 'f"{(a + b) / 2:g}. Add, then', "stands in hint 1"),
        (GOOD, '"A mean is', '"word " * 58 + "A mean is', "`why` has 66 words"),
        (GOOD, 'f"The mean', '"word " * 60 + f"The mean', "`ask` has 66 words"),
        (GOOD, '"A mean is', 'f"{a}. A mean is', "`why` holds the drawn number"),
        (GOOD, '"A mean is', '"Attention is invariant. A mean is', "a wrong claim; right is: attention is equivariant"),
        (GOOD, '"(a + b) / 2")', '"")', "it has no two hints"),
        (GOOD, "answer=", 'unit="Kb", answer=', "there is no unit 'Kb'"),
        (GOOD, "answer=(a + b) / 2", "answer=(a + b) / 2 + 0 * b", "a wrong formula gives the same: `0 * b` without"),
        (GOOD, "answer=", "answer=1 / 0, unit=", "cannot be asked with seed 0: ZeroDivisionError"),
        (PREDICT, '{a + 1} {a - 1}"', '{a + 1} {a - 2}"', "the code prints"),
        (PREDICT, "print({a}", "prnt({a}", "NameError"),
        (PREDICT, "print({a}", "\\n" * 13 + "print({a} {a}", "the code prints"),
        (PREDICT, "+ 1, {a}", "+ 1," + " " * 80 + "{a}", "columns; 12 of 80"),
        (BUG, 'replace("2", "3")', 'replace("2", "2 ")', "what should be wrong prints"),
        (BUG, "str(4 * a)", "str(5 * a)", "the code prints"),
        (BUG, 'f"a = {a}"},', '"a ="},', "has the line `a =` 0 times"),
        (BUG, "draw(1, 2)", "1", "different answers"),
        (BLANK, "____", "5", "its code has 0 gaps"),
        (BLANK, "[::-1][i]", "[i]", "the second computation gives"),
        (
            BLANK,
            '{n} - {i} - 1"',
            '{n} - {i} - 1 + 0 * {n}"',
            "gives the same: `0 * size` without `size`",
        ),
        (BLANK, 'f"{n} - {i} - 1"', '"len(x)"', "its answer is no arithmetic of `given`"),
    ],
)
def test_a_fault_is_named(home, text, find, put, said):
    assert find in text
    assert said in "\n".join(found(home, text.replace(find, put)))


def test_a_helper_of_both_computations_is_named(home):
    helped = GOOD.replace("(a + b) / 2,", "half(a + b),", 1).replace("a + (b - a) * 0.5", "half(b) + half(a)")
    told = "\n".join(found(home, "\ndef half(x):\n    return x / 2\n" + helped))
    assert "both computations use `half`" in told
    assert "a wrong formula gives the same: `x * 2` for `x / 2`" in told


def test_what_runs_for_ever_is_ended(home, monkeypatch):
    monkeypatch.setattr("grader.audit.drills.SECONDS", 0.05)
    monkeypatch.setattr("grader.audit.drills._PATIENCE", 0.1)
    told = "\n".join(found(home, GOOD.replace("return a + (b - a) * 0.5", "while True: pass")))
    assert "the second computation fails: TooLong()" in told
    assert "seeds take more than 0.1 s: let it compute less" in told


def test_mutants_are_believed_only_where_the_formula_itself_runs(home):
    (home.root / DRILLS).write_text(HEAD + GOOD)
    (card,) = questions_of(home.exercise)
    formula = Formula(card, ast.parse(GOOD))
    some = [variant(card, seed) for seed in range(3)]
    assert survivors(formula, some, [card.computed(**one.asked.given) for one in some]) == ([], 6)
    assert survivors(formula, some, [0, 0, 0])[0] == ["none, since its function cannot be run by itself"]


def test_who_guesses_completes_no_topic():
    def choice(draw):
        return Choice(ask="?", answer="a", traps={"b": "b", "c": "c"}, hints=("", ""), why="")

    def number(draw):
        return Number(ask="?", answer=5, traps={"b": 3}, hints=("", ""), why="")

    cards = [question(topic="t", level=1, source="s")(make) for make in (choice, number)]
    assert "completes t with a chance of 3.7%" in guessed(cards[:1])[0]
    assert guessed(cards) == []


def test_an_audit_looks_in_a_process_of_its_own(home):
    (home.root / DRILLS).write_text(HEAD + GOOD)
    assert look_alone(home.exercise, 50) == ([], "1 questions on 1 topics, 50 seeds, 6 wrong formulas")
    (home.root / DRILLS).write_text(HEAD + "1 / 0")
    assert "cannot be loaded: ZeroDivisionError" in look_alone(home.exercise, 50)[0][0]


def test_the_command_says_what_is_wrong(home, cli):
    (home.root / DRILLS).write_text(HEAD + GOOD.replace("level=1", "level=9"))
    done = cli("dev", "audit", "901", "--drills")
    assert done.code == 1
    assert "dl_901.mean_of_two: its level is 9" in done.out
    (home.root / DRILLS).write_text(HEAD + GOOD)
    done = cli("dev", "audit", "901", "--drills")
    assert (done.code, done.out) == (0, "✓ 1 questions on 1 topics, 1,000 seeds, 6 wrong formulas\n")


def test_what_is_not_asked_yet_is_listed(home, cli):
    (home.root / DRILLS).write_text(HEAD + GOOD + GOOD.replace("mean_of_two", "again").replace("dl_901/1", "dl_901/2"))
    done = cli("dev", "audit", "--drills")
    assert done.code == 0
    topics, older = done.out.splitlines()[:2]
    assert topics.startswith("· 5 topics with fewer than 2 drills: mean.running, spread.variance")
    assert older.startswith("· 65 questions of older collections that no drill names: 000/1, 000/2")
    (home.root / DRILLS).write_text(HEAD + GOOD)
    assert "· 1 questions of statements that no drill names: dl_901/2" in cli("dev", "audit", "--drills").out


def test_right_claims_pass():
    assert not wrong_claims("RMSNorm equals LayerNorm on centred input. Attention is equivariant.")
    assert wrong_claims("Jamba has one in five attention layers")
