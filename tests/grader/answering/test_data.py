import enum
import math
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grader.answering.data import copied, identical, plain
from grader.verdicts.fault import NotData

floats = st.floats(allow_nan=True, width=32)


@st.composite
def tensors(draw):
    shape = draw(st.lists(st.integers(0, 3), max_size=3))
    dtype = draw(st.sampled_from([torch.float64, torch.float32, torch.int64, torch.bool]))
    values = draw(st.lists(floats, min_size=math.prod(shape), max_size=math.prod(shape)))
    tensor = (
        torch.tensor(values, dtype=torch.float64).nan_to_num(0, 1, -1) if dtype is torch.int64 else torch.tensor(values)
    )
    tensor = tensor.clamp(-9, 9).to(dtype).reshape(shape)
    return tensor.transpose(0, -1) if shape and draw(st.booleans()) else tensor


atoms = st.none() | st.booleans() | st.integers() | floats | st.text(max_size=3) | st.binary(max_size=3)
keys = st.integers() | st.text(max_size=2)
data = st.recursive(
    atoms | tensors() | st.just(torch.float16) | tensors().map(lambda t: t.contiguous().numpy()),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


def leaves(value):
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in leaves(item)]
    return [value]


@given(data)
def test_data_is_identical_to_its_copies(value):
    assert identical(value, plain(value))
    assert identical(value, copied(value))
    assert type(plain(value)) is type(value)


def test_a_parameter_is_identical_to_its_copies():
    parameter = torch.nn.Parameter(torch.ones(2))
    assert identical([parameter], copied([parameter]))
    assert not identical([parameter], [torch.zeros(2)])
    assert identical(OrderedDict(a=1), copied(OrderedDict(a=1)))


@given(data)
def test_copies_share_no_memory(value):
    for copy in (plain(value), copied(value)):
        for mine, theirs in zip(leaves(value), leaves(copy), strict=True):
            if isinstance(mine, torch.Tensor) and mine.numel():
                assert mine.untyped_storage().data_ptr() != theirs.untyped_storage().data_ptr()
            if isinstance(mine, np.ndarray):
                assert not np.shares_memory(mine, theirs)


@given(data, data)
def test_any_two_pieces_of_data_can_be_compared(a, b):
    assert identical(a, b) is identical(b, a)


@given(tensors().filter(lambda t: t.numel() > 0), st.data())
def test_one_changed_element_is_seen(tensor, data):
    changed = tensor.clone()
    place = tuple(data.draw(st.integers(0, size - 1)) for size in tensor.shape)
    changed[place] = ~changed[place] if tensor.dtype is torch.bool else changed[place].nan_to_num(0) + 1
    assert not identical([tensor], [changed])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
        (torch.zeros(2), torch.zeros(1, 2)),
        (torch.zeros(2), 0),
        (0, torch.zeros(2)),
        (torch.zeros(2), np.zeros(2, dtype=np.float32)),
        (np.zeros(2), [0.0, 0.0]),
        ([1, 2], [1]),
        ({"a": 1}, {"b": 1}),
        ({"a": 1}, [1]),
        ([1], 1),
        ("a", "b"),
    ],
)
def test_what_differs_is_not_identical(a, b):
    assert not identical(a, b)
    assert not identical(b, a)


def test_copies_keep_strides():
    column = torch.arange(12.0).reshape(3, 4).t()
    assert copied(column).stride() == column.stride()
    assert copied([column[:, ::2]])[0].stride() == column[:, ::2].stride()


def test_a_copy_of_an_expanded_tensor_can_be_written_to():
    copy = copied(torch.zeros(1, 3).expand(4, 3))
    copy[0, 0] = 1
    assert copy.sum() == 1


class Colour(enum.IntEnum):
    RED = 1


class Sly(torch.Tensor):
    pass


class Many(int):
    pass


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (object(), "the result is an object"),
        ([1, {"k": {2}}], r"the result\[1\]\['k'\] is a set"),
        (torch.ones(2).as_subclass(Sly), "is a Sly"),
        (torch.ones(2, 2).to_sparse(), "of layout torch.sparse_coo; return a dense one"),
        (np.array([object()]), "is a ndarray|is an ndarray"),
        (Colour.RED, "is a Colour"),
        (Many(3), "is a Many"),
        ({Pair: 1}, "a key of the result is a type"),
        (lambda: 1, "is a function"),
        (iter([1]), "is a list_iterator"),
    ],
)
def test_what_is_no_data_is_refused_and_named(value, said):
    with pytest.raises(NotData, match=said):
        plain(value)


def test_bottomless_nesting_is_refused():
    loop, ring = [], {}
    loop.append(loop)
    ring["ring"] = ring
    for value in (loop, ring):
        with pytest.raises(NotData, match="nested more than 32 deep"):
            plain(value)


def test_plain_rebuilds_containers_and_parameters_as_their_exact_types():
    value = plain(
        {
            "p": torch.nn.Parameter(torch.ones(2)),
            "o": OrderedDict(a=Pair(1, 2)),
            "n": np.float64(3),
            "s": torch.Size([4]),
        }
    )
    assert type(value["p"]) is torch.Tensor
    assert not value["p"].requires_grad
    assert type(value["o"]) is dict
    assert type(value["o"]["a"]) is tuple
    assert type(value["n"]) is float
    assert type(value["s"]) is tuple
