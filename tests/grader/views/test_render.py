import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.verdicts.result import CheckResult, assemble
from grader.verdicts.verdict import Verdict
from grader.views.render import result_lines

PLANNED = {"batch_mean": ["test_a", "test_b[x y]"], "RunningMean": ["test_c"]}


@pytest.fixture(scope="module")
def show(homes):
    """The lines for the verdicts of checks: id to verdict, or to (verdict, message)."""
    home = homes()

    def lines(said, tree="exercises", encoding="utf-8", **more):
        checks = []
        for id, verdict in said.items():
            verdict, message = verdict if isinstance(verdict, tuple) else (verdict, "")
            part = next(part for part, ids in PLANNED.items() if id in ids)
            checks.append(CheckResult(id, part, verdict, message, "It holds.", **more))
        result = assemble(home.exercise, checks, PLANNED, seed=0, isolation="practice")
        return [line.text for line in result_lines(home.exercise, result, tree=tree, encoding=encoding)]

    return lines


ALL = dict.fromkeys(("test_a", "test_b[x y]", "test_c"), Verdict.PASSED)


def test_all_earned(show):
    lines = show(ALL)
    assert lines[0].startswith("dl_901 · Running mean")
    assert lines[0].endswith("100 of 100 points")
    assert len(lines[0]) == 80
    assert lines[-1] == "  All 100 points. Compare with the reference: grader solution 901"
    assert "grader solution" not in "\n".join(show(ALL, tree="solutions"))


def test_the_first_failure_of_a_part_is_shown_with_its_property_and_how_to_run_it_again(show):
    lines = show(
        {**ALL, "test_b[x y]": (Verdict.WRONG, "f of x: 3 of 5 values differ\n  worst at  d=1")}, printed="hello\n"
    )
    assert "  ✗ batch_mean                  30  wrong        1 of 2 checks pass" in lines
    at = lines.index("      It holds.")
    assert lines[at + 1 : at + 5] == [
        "      f of x: 3 of 5 values differ",
        "        worst at  d=1",
        "      printed  hello",
        '      again: pytest "exercises/dl_901_running_mean/running_mean.py::test_b[x y]"',
    ]
    assert lines[-2:] == [
        "  Next: batch_mean in exercises/dl_901_running_mean/running_mean.py",
        "  Stuck? grader hint 901 batch_mean",
    ]


def test_a_failure_that_all_parts_share_is_shown_once(show):
    said = (Verdict.ERROR, "running_mean.py:3 is not valid Python")
    assert sum("not valid Python" in line for line in show(dict.fromkeys(ALL, said), of_file=True)) == 1


def test_a_part_of_the_checks_says_so(show):
    lines = show({"test_a": Verdict.PASSED, "test_c": Verdict.PASSED})
    assert any("70 of 100 points" in line for line in lines)
    assert "  · batch_mean                  30  not run      1 of 2 checks ran" in lines
    assert lines[-1] == "  1 of 2 parts ran in full. All of them: pytest exercises/dl_901_running_mean"


def test_an_encoding_without_the_marks_gets_ascii(show):
    said = {**ALL, "test_a": (Verdict.NOT_STARTED, "to write: batch_mean (running_mean.py:3)")}
    for encoding in ("ascii", "latin-1", "no such encoding"):
        assert "\n".join(show(said, encoding=encoding)).isascii()
    assert any(line.startswith("  o batch_mean") for line in show(said, encoding="ascii"))
    assert any(line.startswith("  ○ batch_mean") for line in show(said))


def test_a_long_message_is_cut(show):
    lines = show({**ALL, "test_a": (Verdict.WRONG, "\n".join(f"line {i}" for i in range(500)))}, printed="p\n" * 500)
    assert len(lines) < 60
    assert "      …" in lines


words = st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=1, max_size=20)
messages = st.lists(st.lists(words, max_size=30).map(" ".join), min_size=1, max_size=5).map("\n".join)


@given(message=messages, verdict=st.sampled_from([v for v in Verdict if v not in (Verdict.PASSED, Verdict.NOT_RUN)]))
def test_any_message_fits_80_columns_and_loses_no_word(show, message, verdict):
    lines = show({**ALL, "test_a": (verdict, message)})
    for line in lines:
        assert len(line) <= 80 or "again: pytest" in line
    if verdict is Verdict.WRONG:
        shown = " ".join(lines).split()
        assert all(word in shown for word in message.split())
