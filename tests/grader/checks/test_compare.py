import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grader.checks import compare
from grader.checks.compare import TOLERANCE, other_kind
from grader.verdicts.finding import LARGEST_MAP

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex128, torch.int64, torch.bool]


def difference(got, want, **how):
    """What is said of two values, or None."""
    found = compare.difference(got, want, **how)
    return found and found.said


def normal(*shape, dtype=torch.float64, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@st.composite
def tensors(draw, min_dim=0, dtypes=DTYPES):
    shape = draw(st.lists(st.integers(1, 5), min_size=min_dim, max_size=4))
    dtype = draw(st.sampled_from(dtypes))
    base = normal(*shape, seed=draw(st.integers(0, 99))) * 10
    return base > 0 if dtype is torch.bool else base.to(dtype)


@given(tensors())
def test_a_tensor_agrees_with_itself(tensor):
    assert difference(tensor, tensor.clone()) is None


@given(tensors(dtypes=[torch.float64, torch.float32]), st.sampled_from([math.nan, math.inf, -math.inf]), st.data())
def test_a_tensor_with_nan_or_inf_agrees_with_itself_alone(tensor, odd, data):
    place = tuple(data.draw(st.integers(0, size - 1)) for size in tensor.shape)
    other = tensor.clone()
    other[place] = odd
    assert difference(other, other.clone()) is None
    assert difference(other, tensor) is not None
    assert difference(tensor, other) is not None


@given(tensors(), st.data())
def test_any_single_changed_element_is_found_and_located(want, data):
    place = tuple(data.draw(st.integers(0, size - 1)) for size in want.shape)
    got = want.clone()
    largest = 1.0 if want.dtype is torch.bool else float(want.abs().max())
    got[place] = ~got[place] if want.dtype is torch.bool else got[place] + max(1.0, 0.5 * largest)
    letters = ["b", "h", "t", "d"][: want.dim()]
    said = difference(got, want, axes=" ".join(letters))
    assert said is not None
    if want.numel() > 1:
        assert f"1 of {want.numel()} values differ" in said
        where = "  ".join(f"{letter}={i}" for letter, i in zip(letters, place, strict=True))
        assert f"worst at  {where}:" in said
        for letter, i, size in zip(letters, place, want.shape, strict=True):
            if size > 1:
                marks = "".join("x" if j == i else "." for j in range(size))
                assert f"wrong {letter:<4}{marks}" in said


@given(tensors(dtypes=[torch.float64, torch.float32, torch.float16]), st.data())
def test_an_error_within_the_tolerance_agrees_and_one_beyond_does_not(want, data):
    place = tuple(data.draw(st.integers(0, size - 1)) for size in want.shape)
    step = TOLERANCE[want.dtype] * float(want.abs().max())
    near, far = want.double().clone(), want.double().clone()
    near[place] += 0.5 * step
    far[place] += 3 * step
    assert difference(near, want, dtype=False) is None
    assert difference(far, want, dtype=False) is not None


def test_the_tolerance_can_be_set():
    assert difference(torch.tensor([1.1]), torch.tensor([1.0]), tol=0.2) is None
    assert difference(torch.tensor([1.0 + 1e-5]), torch.tensor([1.0]), tol=1e-6) is not None
    assert difference(1.1, 1.0, tol=0.2) is None


@pytest.mark.parametrize(
    ("got", "want", "said"),
    [
        (normal(2, 3).t(), normal(2, 3), "wrong shape\n  expected  t=2  d=3\n  got       t=3  d=2\n  The sizes are"),
        (normal(3), normal(1, 3), "got       (3,)"),
        (normal(1, 3), normal(4, 3), "expected  t=4  d=3\n  got       t=1  d=3"),
        (normal(2, 3).float(), normal(2, 3), "wrong dtype: expected float64, got float32"),
        (normal(2, 3).numpy(), normal(2, 3), "a tensor of shape t=2  d=3, got a numpy array of shape (2, 3)"),
        (None, normal(2, 3), "expected a tensor of shape t=2  d=3, got None"),
        ([1.0], normal(2, 3), "got a list of 1"),
        (2.0, torch.tensor(2.0), "got 2 (float)"),
        (normal(2, 3) * float("nan"), normal(2, 3), "6 of 6 values are NaN or Inf\n  first at  t=0  d=0"),
        (normal(2, 3) / 0, normal(2, 3), "6 of 6 values are Inf"),
    ],
)  # fmt: skip
def test_what_is_not_even_comparable_is_named(got, want, said):
    assert said in difference(got, want, axes="t d")


X = normal(3, 7)


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (X * 2, "Every value is 2 times the expected one"),
        (X / 7, "Every value is 0.142857 times the expected one"),
        (-X, "Every value is -1 times the expected one"),
        (X * 0, "All values are zero"),
        (X.roll(1, 1), "one too late along d"),
        (X.roll(-1, 0), "one too early along t"),
        (X.flip(1), "reversed along d"),
        (X + 1e-6 * X.abs().max() * normal(3, 7, seed=1).sign(), "in lower precision"),
    ],
)
def test_the_kind_of_a_mistake_is_named(got, said):
    assert said in difference(got, X, axes="t d")


def test_integers_beside_expected_floats_are_compared_where_dtypes_do_not_count():
    got = torch.tensor([3, -5, 7])
    assert "Every value is 2 times" in difference(got, got.double() / 2, dtype=False)
    assert "3 of 3 values differ" in difference(got, normal(3), dtype=False)


def test_an_unrelated_value_is_given_no_kind():
    said = difference(normal(3, 7, seed=5), X, axes="t d")
    assert "21 of 21 values differ" in said
    assert not any(kind in said for kind in ("Every value", "zero", " along ", "precision"))


def test_the_map_says_which_positions_are_wrong_and_how_they_were_built():
    got = X.clone()
    got[:, 4:] += 100
    said = difference(got, X, axes="t d", along={"d": [4, 3]})
    assert "12 of 21" not in said
    assert "9 of 21 values differ" in said
    assert "wrong d   ....xxx     built as 4 | 3" in said
    assert "wrong t" not in said


def test_integers_and_bools_agree_exactly():
    big = 2**53
    assert difference(torch.tensor([big + 1]), torch.tensor([big])) is not None
    assert difference(torch.tensor([True]), torch.tensor([False])) is not None
    assert difference(big + 1, big) is not None


def test_an_empty_tensor_agrees_with_one_of_its_shape_alone():
    assert difference(torch.zeros(0, 3), torch.zeros(0, 3)) is None
    assert difference(torch.zeros(3, 0), torch.zeros(0, 3)) is not None


def test_an_expected_zero_allows_rounding_and_no_more():
    assert difference(torch.full((2,), 1e-12, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)) is None
    assert difference(torch.full((2,), 1e-3, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)) is not None
    assert difference(1e-12, 0.0) is None
    assert difference(1e-3, 0.0) is not None


@pytest.mark.parametrize(
    ("got", "want", "said"),
    [
        (4, 2, "expected 2, got 4 (2 times too large)"),
        (1.0, 8.0, "(8 times too small)"),
        (True, 1, "expected 1 (int), got True (bool)"),
        (1, True, "expected True (bool), got 1 (int)"),
        (2.0, 2, "expected 2 (int), got 2 (float)"),
        (True, 1.0, "expected 1 (float), got True (bool)"),
        (math.nan, 1.0, "got nan"),
        (math.inf, 1.0, "got inf"),
        (1.0, math.nan, "expected nan"),
        (None, "a", "expected 'a' (str), got None"),
        ("b", "a", "expected 'a', got 'b'"),
        ([1, 2, 4], [1, 2, 3], "wrong at entry 2\n  expected  [1, 2, 3]\n  got       [1, 2, 4]"),
        ([1.0, 2], [1, 2], "wrong at entry 0\n  expected  [1, 2]\n  got       [1.0, 2]"),
        ([*range(29), 0.1 + 0.2], [*range(29), 0.3 + 1e-8], "expected 0.30000001, got 0.30000000000000004"),
        ([0.0] * 30, [0.0] * 29 + [0], "wrong at entry 29: expected 0, got 0.0"),
        ([1, 2], [1, 2, 3], "2 entries instead of 3"),
        ([1, 2, 3, 4], [1, 2, 3], "4 entries instead of 3"),
        (3, [1, 2], "expected a list of 2, got 3 (int)"),
        ([], [1], "0 entries instead of 1"),
        (list(range(30)), [*range(29), 0], "wrong at entry 29: expected 0, got 29"),
        ({"a": 1, "c": 2}, {"a": 1, "b": 2}, "it misses 'b' and adds 'c'"),
        ([1], {"a": 1}, "expected a dict, got a list of 1"),
        ({"a": [X, X * 2]}, {"a": [X, X]}, "entry ['a'][1]: 21 of 21 values differ"),
        ([X], [X, X], "expected 2 entries, got 1"),
        (torch.ones(2), np.ones(2), "expected a numpy array of shape (2,), got a tensor of shape (2,)"),
        (None, np.ones((2, 3)), "expected a numpy array of shape (2, 3), got None"),
        (np.ones(2) * 2, np.ones(2), "Every value is 2 times"),
    ],
)
def test_what_is_wrong_with_other_data(got, want, said):
    assert said in difference(got, want)


@pytest.mark.parametrize(
    "value",
    [
        *(0, 2, 0.0, -3.5, math.nan, math.inf, "a", b"a", None, True, torch.float16, [], {}),
        *([1, None, "x"], np.arange(3), {"a": [1, {"b": (2.0, X)}]}),
    ],
)
def test_data_agrees_with_itself(value):
    assert difference(value, value) is None


def test_tuples_and_lists_are_the_same_to_a_learner():
    assert difference((1, 2), [1, 2]) is None
    assert difference([X, X], (X, X)) is None


@pytest.mark.parametrize("dtype", [torch.uint16, torch.float8_e4m3fn, torch.float16])
def test_any_dtype_can_be_told_from_another(dtype):
    got, want = torch.ones(2).to(dtype), torch.ones(2, dtype=torch.int64)
    assert difference(got, want) == f"wrong dtype: expected int64, got {str(dtype).removeprefix('torch.')}"
    assert difference(got, want, dtype=False) is None
    assert difference(torch.tensor([2048.0], dtype=torch.float16), torch.tensor([2049]), dtype=False)


def test_a_scalar_tensor_may_stand_for_an_expected_number():
    assert difference(torch.tensor(2.0), 2.0) is None
    assert difference(torch.tensor([2.0]), 2.0) is not None


@pytest.mark.parametrize("huge", [10**400, -(10**400), 10**5000], ids=["large", "negative", "larger"])
@pytest.mark.parametrize("want", [1.0, 7, [1, 2], [1.0, 2.0]])
def test_an_absurdly_large_integer_is_wrong_and_shown_in_short(huge, want):
    said = difference([huge, huge] if isinstance(want, list) else huge, want)
    assert said
    assert len(said) < 200


@pytest.mark.parametrize(
    ("got", "want", "said"),
    [
        (None, normal(2), "expected a tensor of shape (2,), got None"),
        ([1, 2], (3, 4), None),
        ([1, 2, 3], (3, 4), "expected a tuple of 2, got a list of 3"),
        ([1, [None]], [2, [normal(1)]], "entry [1][0]: expected a tensor of shape (1,), got None"),
        ({"a": "x"}, {"a": 1.5}, "entry ['a']: expected 1.5 (float), got 'x' (str)"),
        ({"a": 1.0}, {"a": 1.5}, None),
        ({"b": 1.0}, {"a": 1.5}, None),
        (normal(2, seed=1), normal(2), None),
        (normal(3), normal(2), "expected a tensor of shape (2,), got a tensor of shape (3,)"),
        (1, 1.0, "expected 1 (float), got 1 (int)"),
    ],
)
def test_another_kind_of_value_is_named_by_its_place(got, want, said):
    assert other_kind(got, want) == said


def finding(got, want, **how):
    return compare.difference(got, want, **how).finding


def test_what_differs_is_there_as_data():
    got = X.clone()
    got[1, 4:] += torch.tensor([1e-8, 1.0, math.nan], dtype=torch.float64)
    found = finding(got, X, axes="t d", along={"d": [4, 3]}, tol=1e-9)
    assert (found.kind, found.axes, found.shape, found.wrong, found.total) == ("values", ("t", "d"), (3, 7), 3, 21)
    assert found.worst == (1, 6)
    assert (found.expected, found.got) == (f"{X[1, 6].item():.6g}", "nan")
    assert found.along == {"d": (4, 3)}
    assert found.cells == (3, 7)
    assert found.levels[:11] + found.levels[14:] == "0" * 18
    assert 1 <= int(found.levels[11]) < int(found.levels[12]) <= 9 == int(found.levels[13])


@pytest.mark.parametrize("shape", [(5000,), (97, 101), (3, 64, 64), (2, 3, 5, 700), (1, 1, 70_000)])
def test_a_large_map_is_binned_and_loses_no_error(shape):
    want, got = torch.zeros(shape, dtype=torch.float64), torch.zeros(shape, dtype=torch.float64)
    got[tuple(size - 1 for size in shape)] = 1.0
    found = finding(got, want)
    assert math.prod(found.cells) == len(found.levels) <= LARGEST_MAP
    assert found.levels == "0" * (len(found.levels) - 1) + "9"


@pytest.mark.parametrize(
    ("got", "want", "facts"),
    [
        (3, 4, {"kind": "values", "expected": "4", "got": "3", "total": 1}),
        ([1, 2], [1, 3], {"kind": "values", "worst": (1,), "expected": "3", "got": "2", "wrong": 1, "total": 2}),
        ([1], [1, 3], {"kind": "shape", "worst": (1,), "expected": "3", "got": "nothing"}),
        (None, 1.5, {"kind": "form"}),
        ({"a": X}, {"a": X + 1}, {"kind": "values", "entry": "['a']", "wrong": 21}),
        (X.float(), X, {"kind": "dtype", "expected": "float64", "got": "float32"}),
        (X[:2], X, {"kind": "shape", "shape": (3, 7)}),
        (torch.tensor([1, 2]), torch.tensor([1, 5]), {"kind": "values", "levels": "09", "cells": (2,)}),
    ],
)
def test_every_kind_of_difference_has_its_facts(got, want, facts):
    found = finding(got, want)
    assert {name: getattr(found, name) for name in facts} == facts
