"""Whatever an answer is, what is said of it has a size that can be kept, and says the same points."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import HERE, ID
from grader.bank.catalog import House
from grader.base.text import nearest, plain_lines
from grader.checks.compare import difference, other_kind
from grader.verdicts.bounds import LARGEST_RESULT, LONGEST_MESSAGE, LONGEST_WORD, cut_told
from grader.verdicts.finding import LARGEST_MAP, Finding
from grader.verdicts.raised import Raised
from grader.verdicts.result import CheckResult, assemble
from grader.verdicts.told import SourceLine, Told
from grader.verdicts.verdict import Verdict

EXERCISE = House(HERE / "house").exercises[ID]
LONG = "\x01" * 600_000


@pytest.mark.parametrize(
    ("got", "want"),
    [(LONG, 1.0), (LONG, "a"), (LONG.encode(), 1), ([LONG] * 3, [1, 2, 3]), ({LONG: 1}, {"a": 1}),
     ({"a": LONG}, {"a": 1}),
     ({str(i) * 99: i for i in range(9999)}, {"a": 1}),
     ([1] * 99_999, [1, 2]), (10**5000, 1), (LONG, [1]), (LONG, None)],
    ids=range(11),
)  # fmt: skip
def test_what_is_shown_of_a_value_is_short(got, want):
    found = difference(got, want)
    assert len(found.said) < 5000
    assert all(len(getattr(found.finding, name)) < 1000 for name in ("entry", "expected", "got"))
    assert len(other_kind(got, want) or "") < 5000


def filled(text, levels=""):
    """The checks of a result in which everything that an answer can fill is full."""
    line = SourceLine("cell 3", 3, text, text)
    finding = Finding(kind="values", of=text, entry=text, expected=text, got=text, mistake=text, levels=levels,
                      cells=(len(levels),))  # fmt: skip
    told = cut_told(Told(Verdict.WRONG, text, finding, (line,) * 4, line))
    return [
        CheckResult.of(f"test_{i}", part.name, told, property="p" * 200, printed=text[:2000])
        for part in EXERCISE.parts
        for i in (f"{part.name}_{number}" for number in range(52))
    ]


def whole(checks):
    planned = {part.name: [check.id for check in checks if check.part == part.name] for part in EXERCISE.parts}
    return assemble(EXERCISE, checks, planned, seed=1, isolation="full", source="0" * 64)


@pytest.mark.parametrize("char", ["\x01", "a", "ä", "\U0001f600", '"', "\ud800"])
def test_a_result_fits_whatever_fills_it(char):
    if char == "\ud800":  # as `verdict_of` leaves it
        char = char.encode("utf-8", "backslashreplace").decode()
    result = whole(filled(char * 9_000, "9" * LARGEST_MAP))
    assert len(msgspec.json.encode(result)) <= LARGEST_RESULT
    assert [(part.verdict, part.earned, len(part.checks)) for part in result.parts] == [
        ("wrong", 0, 52),
        ("wrong", 0, 52),
    ]
    for part in result.parts:
        assert part.first_failure.finding.levels == "9" * LARGEST_MAP
        assert part.message


def test_what_fits_stays_as_it_is():
    checks = filled("a" * 20, "99")
    result = whole(checks)
    assert [check for part in result.parts for check in part.checks] == checks


@given(st.text(max_size=30), st.integers(0, 400))
def test_what_is_told_is_plain_and_cut_where_it_is_too_long(text, times):
    told = cut_told(Told(Verdict.ERROR, text * times, lines=(SourceLine("a.py", 1, text * times, text * times),) * 9))
    assert len(told.message) <= LONGEST_MESSAGE + 40
    assert len(told.lines) <= 8
    assert all(len(line.text) <= LONGEST_WORD and len(line.function) <= LONGEST_WORD + 40 for line in told.lines)
    assert all(char.isprintable() or char in "\n\t" for char in told.message)
    if len(text * times) <= LONGEST_WORD:
        assert told.message == plain_lines(text * times)


@pytest.mark.parametrize("field", ["kind", "base", "verdict", "said"])
def test_a_description_of_an_exception_has_a_size(field):
    right = {"kind": "a", "base": "b", "said": "c", "lines": [], "own": True, "verdict": ""}
    assert msgspec.convert(right, Raised).kind == "a"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**right, field: "x" * 32_000_000}, Raised)


def test_the_nearest_name_is_looked_for_among_so_many():
    assert nearest("batch_maen", ["x" * 10**6, "batch_mean"]) == " Did you mean 'batch_mean'?"
    assert len(nearest("x" * 10**6, [f"name_{i}" for i in range(10**5)])) < 200
