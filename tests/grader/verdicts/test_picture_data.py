import json
import math

import msgspec
import pytest

from grader.verdicts.picture import Bars, Heat, Lines, Picture, bin_of, bins, coarser, sound


def read(**data):
    """A picture as another process may send it."""
    return msgspec.json.decode(json.dumps({"title": "t", "axes": ["a", "b"], "data": data}).encode(), type=Picture)


def test_what_is_sent_is_what_comes_back():
    heat = read(kind="heat", values=[[1, None], [0.5, -2]], rows=["x", "y"], marks=[{"row": 1, "column": 0}])
    assert isinstance(heat.data, Heat)
    assert msgspec.json.decode(msgspec.json.encode(heat), type=Picture) == heat


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"kind": "heat", "values": []}, "at least one"),
        ({"kind": "heat", "values": [[]]}, "at least one"),
        ({"kind": "heat", "values": [[1, 2], [3]]}, "as many values as the others"),
        ({"kind": "heat", "values": [[0] * 65] * 64}, "4,160 cells; from 0 to 4,096"),
        ({"kind": "heat", "values": [[1e101]]}, "no number that can be drawn"),
        ({"kind": "heat", "values": [[1]], "rows": ["a", "b"]}, "2 row labels for 1"),
        ({"kind": "heat", "values": [[1]], "marks": [{"row": 0, "column": 1}]}, "outside the values"),
        ({"kind": "heat", "values": [[1]], "marks": [{"row": -1, "column": 0}]}, ">= 0"),
        ({"kind": "heat", "values": [[1, 2]], "column_pieces": [1, 0]}, "each longer than 0"),
        ({"kind": "heat", "values": [[1]], "script": "x"}, "unknown field `script`"),
        ({"kind": "grid", "cells": [["a" * 41]]}, "length <= 40"),
        ({"kind": "lines", "x": [1], "series": {}}, "0 series; from 1 to 8"),
        ({"kind": "lines", "x": [1, 2], "series": {"a": [1]}}, "1 values in the series 'a' for 2"),
        ({"kind": "lines", "x": [0] * 2001, "series": {"a": [0] * 2001}}, "2,001 values of x"),
        ({"kind": "gantt", "lanes": ["a"], "spans": [{"lane": 1, "start": 0, "length": 1}]}, "one of the lanes"),
        ({"kind": "gantt", "lanes": ["a"], "spans": [{"lane": 0, "start": 0, "length": 0}]}, "longer than 0"),
        ({"kind": "points", "x": [1, 2], "y": [1]}, "1 values of y for 2"),
        ({"kind": "bars", "names": ["a"], "values": [1, 2]}, "1 names for 2"),
        ({"kind": "film", "values": [1]}, "film"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_what_cannot_be_drawn_is_not_read(data, said):
    with pytest.raises(msgspec.ValidationError, match=said.replace("(", r"\(")):
        read(**data)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_kind_holds_a_number_that_is_not_finite(value):
    for make in (
        lambda: Heat(((value,),)),
        lambda: Bars(("a",), (value,)),
        lambda: Lines((value,), {"a": (1.0,)}),
        lambda: Lines((1.0,), {"a": (value,)}),
    ):
        with pytest.raises(ValueError, match="no number"):
            make()


def test_only_numbers_of_a_size_that_can_be_drawn_are_sound():
    assert [sound(one) for one in (1, True, -0.0, 10**400, math.nan, math.inf, "1", None)] == [
        1.0, 1.0, 0.0, None, None, None, None, None,
    ]  # fmt: skip
    assert math.copysign(1, sound(-0.0)) == 1


@pytest.mark.parametrize(("size", "most"), [(5, 3), (7, 7), (100, 9), (1, 4)])
def test_each_index_lies_in_the_bin_that_holds_it(size, most):
    ends = bins(size, most)
    for at in range(size):
        i = bin_of(at, size, len(ends) - 1)
        assert ends[i] <= at < ends[i + 1]


def test_a_coarser_map_joins_what_shares_a_bin():
    values = [[1.0, 3.0, None], [5.0, 7.0, None]]
    assert coarser(values, 1, 2) == [[3.0, 5.0]]
    assert coarser(values, 1, 3, max) == [[5.0, 7.0, None]]
    assert coarser(values, 9, 9) == values
