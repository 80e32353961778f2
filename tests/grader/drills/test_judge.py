"""What is right, which known mistake it is, and what is asked again."""

import pytest

from grader.drills import Blank, Bug, Choice, Number, Order, Predict, question
from grader.drills.judge import judged
from grader.drills.question import variant
from grader.drills.value import Unread

REST = {"hints": ("", ""), "why": ""}


def asked(kind):
    return variant(question(topic="t", level=1, source="s")(lambda draw: kind), 0)


BYTES = asked(Number(ask="?", answer=524288, unit="B", traps={"keys only": 262144, "query heads": 2097152}, **REST))
ROUGH = asked(Number(ask="?", answer=3.6, traps={"no bonus": 2.6}, **REST))
SHARE = asked(Number(ask="?", answer=25.0, unit="%", traps={"half": 50.0}, **REST))
CHOICE = asked(Choice(ask="?", answer="linear", traps={"squared": "quadratic", "none": "constant"}, **REST))
ORDER = asked(Order(ask="?", answer=["a", "b", "c"], traps={"reversed": ["c", "b", "a"]}, **REST))
MASK = asked(Blank(ask="?", code="j <= ____", given={"p": 3, "i": 4}, answer="p + i", traps={"from 0": "i"}, **REST))
WORD = asked(Blank(ask="?", code="x.sum(____)", answer="dim=-1", also=["axis=-1"], traps={"batch": "dim=0"}, **REST))
PRINTS = asked(
    Predict(ask="?", code="print(1)", answer="[1, 2.5]\n(3, 'a')", traps={"swapped": "(3, 'a')\n[1, 2.5]"}, **REST)
)
LIST = asked(Predict(ask="?", code="", answer="[1, -2, 'up']", traps={"nested": "[[1, -2, 'up']]"}, **REST))
PAIRS = asked(Predict(ask="?", code="", answer="[[0], [1, 2]]", traps={"flat": "[0, 1, 2]"}, **REST))
LINE = asked(
    Bug(ask="?", code="\na = 1\nb = a\nprint(b)\n", answer="b = a", mended="b = 2", prints="2",
        traps={"a number": "a = 1"}, **REST)
)  # fmt: skip


@pytest.mark.parametrize(
    ("one", "typed"),
    [
        (BYTES, "524,288"), (BYTES, "512 KiB"), (BYTES, "2*32*32*128*2"), (ROUGH, "3.63"), (ROUGH, "18/5"),
        (SHARE, "1/4 x"), (SHARE, "25"), (SHARE, "1/4"), (SHARE, "0.25"),
        (MASK, "i + p"), (MASK, "(p+1) + i - 1"), (MASK, "j <= p+i"), (MASK, "j<= i + p"),
        (WORD, "dim = -1"), (WORD, "axis=-1"), (WORD, "x.sum(dim=-1)"),
        (PRINTS, '[1,2.5] (3, "a")'), (PRINTS, "[1.0, 2.50]\n(3,'a')"),
        (PRINTS, "[1 2.5], [3 a]"), (LIST, "[1, -2, 'up']"), (LIST, "1, −2, up"), (LIST, "1 -2 UP"),
        (LIST, "(1,-2,up)"), (PAIRS, "[0], [1, 2]"), (PAIRS, "[[0] [1 2]]"), (LINE, "2"), (LINE, "line 2"),
    ],
)  # fmt: skip
def test_right(one, typed):
    assert judged(one, typed).right


@pytest.mark.parametrize(
    ("one", "typed", "trap"),
    [
        (BYTES, "262144", "keys only"),
        (BYTES, "524289", ""),
        (BYTES, "8 * 2**19", "bits for bytes"),
        (BYTES, "524288000", "× 1,000"),
        (BYTES, "512 KB", "KB for KiB"),
        (ROUGH, "3.5", ""),
        (ROUGH, "2.6", "no bonus"),
        (ROUGH, "1/3.6", "upside down: 1/x"),
        (ROUGH, "3600", "× 1,000"),
        (ROUGH, "-3.6", "the sign"),
        (MASK, "i", "from 0"),
        (MASK, "p", ""),
        (WORD, "dim=0", "batch"),
        (WORD, "keepdim", ""),
        (PRINTS, "(3,'a') [1, 2.5]", "swapped"),
        (PRINTS, "[1, 2.5]", ""),
        (LIST, "[[1, -2, up]]", "nested"),
        (LIST, "1 2 up", ""),
        (PAIRS, "0 1 2", "flat"),
        (PAIRS, "[0, 1, 2]", "flat"),
        (SHARE, "0.5", "half"),
        (SHARE, "0.5 %", ""),
        (PRINTS, "[1e999, -1e999] (3, 'a')", ""),
        (PRINTS, f"[{'9' * 350}, 2.5] (3, 'a')", ""),
        (LINE, "1", "a number"),
        (LINE, "3", ""),
    ],
)
def test_wrong_by_the_name_of_the_mistake(one, typed, trap):
    found = judged(one, typed)
    assert (found.right, found.trap) == (False, trap)


def test_gigabytes_for_gibibytes():
    gib = asked(Number(ask="?", answer=14 * 2**30, unit="B", traps={"half": 7 * 2**30}, **REST))
    assert judged(gib, "14 GB").trap == "GB for GiB"
    assert judged(gib, "14 GiB").right


def test_a_trap_comes_before_a_slip():
    both = asked(Number(ask="?", answer=100, unit="B", traps={"eight heads": 800}, **REST))
    assert judged(both, "800").trap == "eight heads"


def test_choices_and_orders_by_their_numbers():
    for place, option in enumerate(CHOICE.options, 1):
        assert judged(CHOICE, str(place)).right is (option == "linear")
        assert judged(CHOICE, "abc"[place - 1]).right is (option == "linear")
    right = [ORDER.options.index(item) + 1 for item in "abc"]
    for typed in (" ".join(map(str, right)), ",".join(map(str, right)), "".join(map(str, right))):
        assert judged(ORDER, typed).right
    assert judged(ORDER, " ".join(map(str, right[::-1]))).trap == "reversed"


@pytest.mark.parametrize(
    ("one", "typed", "said"),
    [
        (BYTES, "5 s", "asked is B"),
        (BYTES, "  ", "Write an answer"),
        (CHOICE, "4", "from 1 to 3"),
        (CHOICE, "linear", "from 1 to 3"),
        (ORDER, "1 2", "each number from 1 to 3 once"),
        (ORDER, "1 1 2", "each number from 1 to 3 once"),
        (MASK, "past + i", "the names here are p, i"),
        (MASK, "p" * 200, "at most 120"),
        (LINE, "0", "from 1 to 3"),
        (PRINTS, "1" * 401, "at most 400"),
    ],
)
def test_what_cannot_be_read_is_asked_again(one, typed, said):
    with pytest.raises(Unread) as caught:
        judged(one, typed)
    assert said in str(caught.value)


def test_a_sign_of_a_comment_before_the_gap_is_text():
    code = 'print("#", ____)  # one #'
    one = asked(Blank(ask="?", code=code, given={"p": 3}, answer="p + 1", traps={"p alone": "p"}, **REST))
    assert judged(one, 'print("#", 1 + p)').right
    assert judged(one, "p").trap == "p alone"
