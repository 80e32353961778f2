import math

import numpy as np
import pytest
import torch

from grader.bank.catalog import DeclaredPicture
from grader.checks.picture import Unfit, picture_of
from grader.verdicts.picture import LARGEST, Mark, Span


def read(kind, value, **more):
    return picture_of(DeclaredPicture("part", kind, "some_driver", ("row", "column"), "See.", **more), value)


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([[1.0, 2.0]]),
        torch.tensor([[1.0, 2.0]], dtype=torch.bfloat16),
        np.array([[1, 2]]),
        [[1, 2.0]],
        ((1, 2),),
        {"values": [[1, 2]]},
    ],
)
def test_a_heat_map_of_whatever_holds_two_dimensions(value):
    picture = read("heat", value)
    assert picture.data.values == ((1.0, 2.0),)
    assert (picture.title, picture.axes, picture.caption, picture.note) == (
        "Some driver",
        ("row", "column"),
        "See.",
        "",
    )


def test_what_is_no_number_is_left_empty_and_said():
    picture = read("heat", torch.tensor([[1.0, math.nan], [-math.inf, 1.0]]))
    assert picture.data.values == ((1.0, None), (None, 1.0))
    assert picture.note == "Where there is no number, it is NaN, infinite or too large to draw."
    assert read("heat", [[None, 1]]).note == ""  # a gap that is meant
    assert read("bars", [10**400, 1]).data.values == (None, 1.0)


def test_a_large_map_is_binned_and_says_so():
    picture = read("heat", {"values": torch.ones(300, 400), "marks": [[299, 399], [299, 398]]})
    high, wide = len(picture.data.values), len(picture.data.values[0])
    assert high * wide <= LARGEST["cells"]
    assert picture.note == f"300 by 400 values, drawn as {high} by {wide}: each cell is an average."
    assert picture.data.marks == (Mark(high - 1, wide - 1),)
    assert picture.data.rows[-1] == str((high - 1) * 300 // high)
    assert len(read("heat", torch.ones(2, 3000)).data.values[0]) <= 128


def test_long_series_points_spans_and_bars_are_thinned_and_say_so():
    lines = read("lines", {"x": range(5000), "series": {"a": range(5000), "b": range(5000)}})
    assert len(lines.data.x) <= 1000
    assert lines.note == "Of 5,000 values of row each 5th is drawn."
    points = read("points", torch.zeros(4001, 2))
    assert len(points.data.x) <= 2000
    assert points.note
    spans = [[i % 3, i, 1, f"F{i}"] for i in range(3000)]
    gantt = read("gantt", {"lanes": ["a", "b", "c"], "spans": spans})
    assert len(gantt.data.spans) <= 500
    assert sum(span.length for span in gantt.data.spans if span.lane == 0) == pytest.approx(3000, rel=0.4)
    assert "neighbours in a lane are joined" in gantt.note
    bars = read("bars", list(range(1000)))
    assert len(bars.data.values) == 64
    assert bars.data.names[0] == "0 to 14"


def test_each_kind_takes_its_own_form():
    assert read("grid", [["a", None], [1, 2.5]]).data.cells == (("a", ""), ("1", "2.5"))
    spans = read("gantt", {"lanes": ["a"], "spans": [(0, 1, 2.0, "F"), [0, 3, 1]]}).data.spans
    assert spans == (Span(0, 1.0, 2.0, "F"), Span(0, 3.0, 1.0))
    assert read("points", {"points": [[1, 2]], "groups": ["g"]}).data.groups == ("g",)
    assert read("bars", {"a": 1, "b": torch.tensor([2.0]).item()}).data.names == ("a", "b")
    lines = read("lines", {"x": torch.arange(3), "series": {"a": [1, math.nan, 3]}}, log=("y",)).data
    assert (lines.log_x, lines.log_y, lines.series["a"]) == (False, True, (1.0, None, 3.0))


class Liar:
    def __len__(self):
        return 1 << 40

    def __iter__(self):
        return iter(())


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("heat", torch.zeros(2, 3, 4), "some_driver gave no heat map, which takes values in two dimensions"),
        ("heat", torch.zeros(3), "values in two dimensions"),
        ("heat", torch.zeros(2, 2, dtype=torch.complex64), "values in two dimensions"),
        ("heat", None, "values in two dimensions"),
        ("heat", "ab", "values in two dimensions"),
        ("heat", Liar(), "at most 262,144 values"),
        ("heat", torch.zeros(1).expand(1000, 1000), "at most 262,144 values; 1,000,000 came"),
        ("heat", torch.zeros(0, 3), "at least one"),
        ("heat", {"values": [[1]], "colour": "red"}, "values in two dimensions"),
        ("heat", {"values": [[1]], "marks": [[5, 5]]}, "outside the values"),
        ("heat", [[1, 2], [3]], "values in two dimensions"),
        ("grid", [[object()]], "rows of labels"),
        ("lines", {"x": [1, 2], "series": {"a": [1]}}, "series of other lengths than its 2 values of x"),
        ("lines", {"x": [1], "series": {str(i): [1] for i in range(9)}}, "9 series; from 1 to 8"),
        ("lines", {"x": [math.nan], "series": {"a": [1]}}, "0 values of x"),
        ("gantt", {"lanes": ["a"], "spans": [[0, 0, -1, "x"]]}, "longer than 0"),
        ("gantt", {"lanes": ["a"], "spans": [[0, math.nan, 1, "x"]]}, "float"),
        ("gantt", {"lanes": ["a"], "spans": [[0]]}, "`lanes` and `spans`"),
        ("points", torch.zeros(4, 3), r"\(n, 2\) values"),
        ("bars", {"names": ["a"], "values": [1, 2]}, "1 names for 2 values"),
    ],
)
def test_what_is_no_picture_is_refused_with_what_it_takes(kind, value, said):
    with pytest.raises(Unfit, match=said):
        read(kind, value)


def test_labels_are_short_and_say_nothing_to_a_terminal():
    grid = read("grid", [["\x1b[2J<script>", "x" * 10**6, "\ud800‮", 10**5000]])
    assert grid.data.cells[0] == ("\\x1b[2J<script>", "x" * 39 + "…", "\\ud800\\u202e", "huge")
