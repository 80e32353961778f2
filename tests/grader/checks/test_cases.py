import pytest
import torch

from grader.checks.cases import DTYPES, compositions, of_type


def test_compositions_are_all_ways_to_cut():
    assert compositions(0) == [[]]
    assert compositions(3) == [[3], [1, 2], [2, 1], [1, 1, 1]]
    for n in range(1, 8):
        ways = compositions(n)
        assert len(ways) == len(set(map(tuple, ways))) == 2 ** (n - 1)
        assert all(sum(way) == n and min(way) > 0 for way in ways)


def test_a_dtype_by_its_name():
    assert [of_type(name) for name in DTYPES] == [torch.float64, torch.float32]
    with pytest.raises(AssertionError):
        of_type("zeros")
