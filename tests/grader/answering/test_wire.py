"""Data crosses whole; what a hostile process writes instead is Malformed or data, and takes little memory."""

import math
import socket
import struct
import tracemalloc
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from grader.answering import wire
from grader.answering.wire import Malformed

TUPLE, TENSOR, ARRAY, INTEGER, DTYPE, PAIRS = 1, 2, 3, 4, 5, 6
DTYPES = sorted(wire._DTYPES.values(), key=str)
ARRAY_DTYPES = ["?", "u1", "i1", "<i2", "<i4", "<i8", "<u8", ">i4", "<f2", "<f4", "<f8", ">f8", "<c8", "<c16"]
MIB = 1 << 20


# What may be sent


def bits(tensor):
    """What it is made of, NaN payloads and signs of zero included."""
    return torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor).flatten().view(torch.uint8).tolist()


def same(a, b):
    """Equal in type, structure and every bit."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and a.shape == b.shape and bits(a) == bits(b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    return a == b


shapes = st.lists(st.integers(0, 4), max_size=4)


@st.composite
def tensors(draw):
    """A tensor of any dtype and of any bits, laid out in any way."""
    dtype, shape = draw(st.sampled_from(DTYPES)), draw(shapes)
    size = math.prod(shape) * dtype.itemsize
    raw = bytearray(draw(st.binary(min_size=size, max_size=size)))
    if dtype is torch.bool:
        raw = bytearray(byte & 1 for byte in raw)
    tensor = torch.frombuffer(raw, dtype=dtype).reshape(shape) if raw else torch.empty(shape, dtype=dtype)
    for _ in range(draw(st.integers(0, 2))):
        how = draw(st.sampled_from(["transpose", "step", "expand", "select"]))
        if how == "transpose" and tensor.dim() >= 2:
            tensor = tensor.transpose(0, -1)
        elif how == "step" and tensor.dim():
            tensor = tensor[..., ::2]
        elif how == "expand":
            tensor = tensor.unsqueeze(0).expand(3, *tensor.shape)
        elif how == "select" and tensor.dim() and tensor.shape[-1]:
            tensor = tensor[..., 0]
    return tensor


@st.composite
def arrays(draw):
    dtype, shape = np.dtype(draw(st.sampled_from(ARRAY_DTYPES))), draw(shapes)
    size = math.prod(shape) * dtype.itemsize
    raw = draw(st.binary(min_size=size, max_size=size))
    raw = bytes(byte & 1 for byte in raw) if dtype.kind == "b" else raw
    array = np.frombuffer(raw, dtype=dtype).reshape(shape) if raw else np.empty(shape, dtype)
    return array.T if draw(st.booleans()) else array


numbers = st.booleans() | st.integers() | st.integers(-(1 << 900), 1 << 900) | st.floats(width=64)
atoms = st.none() | numbers | st.text() | st.binary() | st.sampled_from(DTYPES)
keys = st.recursive(atoms, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
data = st.recursive(
    atoms | tensors() | arrays(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=4)
        | st.dictionaries(keys, inner, max_size=4)
    ),
    max_leaves=12,
)


@given(data)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@example(torch.tensor(math.nan))
@example(torch.zeros(0, 3, 0))
@example(torch.zeros(1, dtype=torch.float64).expand(5))
@example({(1, "a"): 2, torch.float32: 3, None: 4, b"k": 5, 1.5: 6, True: 7, 1 << 80: 8})
@example(-0.0)
def test_all_data_crosses_bit_for_bit(value):
    assert same(wire.unpack(wire.pack(value), strides=True), value)


@given(tensors())
@settings(max_examples=200)
def test_strides_are_kept_where_they_can_be_written_to(tensor):
    got = wire.unpack(wire.pack(tensor), strides=True)
    axes = [(n, step) for n, step in zip(tensor.shape, tensor.stride(), strict=True) if n > 1]
    if tensor.numel() and all(step for _, step in axes):
        assert [(n, step) for n, step in zip(got.shape, got.stride(), strict=True) if n > 1] == axes
    if got.numel():
        got.zero_()  # memory of its own, and writable


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_each_dtype_crosses_in_each_shape(dtype):
    for shape in ((), (0,), (2, 0, 3), (3,), (2, 5)):
        tensor = torch.arange(math.prod(shape)).reshape(shape).to(dtype)
        got = wire.unpack(wire.pack(tensor))
        assert got.dtype is dtype
        assert same(got, tensor)


@pytest.mark.parametrize("view", [torch.Tensor.conj, lambda x: x.conj().imag], ids=["conjugate", "negative"])
def test_a_lazy_view_crosses_as_what_it_shows(view):
    shown = view(torch.tensor([1 + 2j, 3 - 4j]))
    assert torch.equal(wire.unpack(wire.pack(shown), strides=True), shown.clone())


def test_a_gradient_does_not_cross():
    assert not wire.unpack(wire.pack(torch.ones(2, requires_grad=True))).requires_grad


@pytest.mark.parametrize(
    "value",
    [
        object(), {1, 2}, [lambda: 0], {"a": range(3)}, np.array(["text"]), np.array([object()]),
        np.array(["2020-01-01"], dtype="M8[D]"), np.zeros(2, dtype="i4,f8"), torch.ones(2).to_sparse(),
        torch.complex32, 1 << 40_000, "\ud800", datetime.now(UTC),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_what_is_no_data_is_not_sent(value):
    for whole in (value, [value], {"a": (value,)}, {0: value}):
        with pytest.raises(Malformed, match=r"^cannot "):
            wire.pack(whole)


def test_a_tensor_of_a_dtype_that_is_not_read_is_not_sent():
    with pytest.raises(Malformed, match="cannot be sent: dtype float8_e8m0fnu"):
        wire.pack(torch.zeros(1, dtype=torch.float8_e8m0fnu))


def test_nesting_is_bounded_on_both_sides():
    def nested(depth, wrap):
        value = 0
        for _ in range(depth):
            value = wrap(value)
        return value

    for wrap in (lambda v: [v], lambda v: (v,), lambda v: {"a": v}, lambda v: {0: v}):
        value = nested(36, wrap)
        assert same(wire.unpack(wire.pack(value)), value)
        for depth in (60, 5_000):
            with pytest.raises(Malformed, match="nested more than"):
                wire.pack(nested(depth, wrap))
    loop = []
    loop.append(loop)
    with pytest.raises(Malformed):
        wire.pack(loop)


def test_text_that_is_too_large_is_not_sent():
    with pytest.raises(Malformed, match="besides its tensors"):
        wire.pack("x" * (wire.LARGEST_TEXT + 1))
    tensor = torch.zeros(2 * wire.LARGEST_TEXT, dtype=torch.uint8)
    assert same(wire.unpack(wire.pack(tensor)), tensor)


# What a hostile process may write


def body(text, blobs=b""):
    """A body by hand. text: what MessagePack can encode, or bytes that claim to be its encoding."""
    text = text if isinstance(text, bytes) else msgspec.msgpack.encode(text)
    return struct.pack(">I", len(text)) + text + blobs


def ext(code, inner):
    return msgspec.msgpack.Ext(code, inner if isinstance(inner, bytes) else msgspec.msgpack.encode(inner))


def is_data(value):
    """Whether it holds nothing but what the wire may carry, of exact types."""
    if type(value) in (list, tuple):
        return all(map(is_data, value))
    if type(value) is dict:
        return all(is_data(key) and is_data(item) for key, item in value.items())
    if type(value) is np.ndarray:
        return value.dtype.kind in "biufc" and not value.dtype.hasobject
    if type(value) is torch.Tensor:
        return value.is_contiguous() and value.grad_fn is None and not value.requires_grad
    return type(value) in (type(None), bool, int, float, str, bytes, torch.dtype)


def read(frame):
    """The data of a hostile frame, or None; any exception but Malformed fails the test."""
    try:
        value = wire.unpack(frame)
    except Malformed:
        return None
    assert is_data(value)
    return value


@given(st.binary(max_size=200))
@settings(max_examples=400)
def test_random_bytes_are_refused_or_are_data(frame):
    read(frame)
    read(body(frame))
    read(body(ext(TUPLE, frame)))
    read(body(ext(PAIRS, frame)))
    read(body(ext(TENSOR, frame), frame))


INTERESTING = [
    b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc9\xff\xff\xff\xff\x02", b"\xdb\xff\xff\xff\xff",
    b"\xc7\x0c\xff", b"\xc0", b"\xff",
]  # fmt: skip


@given(data, st.data())
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_a_frame_that_was_tampered_with_is_refused_or_is_data(value, draw):
    frame = bytearray(wire.pack(value))
    for _ in range(draw.draw(st.integers(1, 4))):
        at = draw.draw(st.integers(0, len(frame)))
        match draw.draw(st.sampled_from(["flip", "cut", "insert", "repeat", "interesting"])):
            case "flip" if at < len(frame):
                frame[at] ^= 1 << draw.draw(st.integers(0, 7))
            case "cut":
                del frame[at : at + draw.draw(st.integers(1, 9))]
            case "insert":
                frame[at:at] = draw.draw(st.binary(min_size=1, max_size=9))
            case "repeat":
                frame[at:at] = frame[at : at + 20]
            case "interesting":  # long announcements, extensions, nil, negative numbers
                frame[at : at + 1] = draw.draw(st.sampled_from(INTERESTING))
    read(bytes(frame))


@given(data)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_a_frame_that_is_cut_short_is_refused(value):
    frame = wire.pack(value)
    for end in {0, 1, 3, 4, 5, len(frame) // 2, len(frame) - 1} - {len(frame)}:
        with pytest.raises(Malformed):
            wire.unpack(frame[:end])


header = st.tuples(
    st.sampled_from([str(dtype).removeprefix("torch.") for dtype in DTYPES]) | st.text(max_size=9)
    | st.sampled_from([*ARRAY_DTYPES, "O", "V8", "U4", "<f8,<f8", "(2,)<f8", "f8,(", "i4,(2,", "M8[D]", "<f3", "|b8"]),
    st.lists(st.integers(0, 5) | st.integers(), max_size=5),
    st.none() | st.lists(st.integers(-3, 3), max_size=5),
)  # fmt: skip


@given(st.sampled_from([TENSOR, ARRAY]), header, st.binary(max_size=64))
@settings(max_examples=400)
def test_headers_are_not_believed(code, header, blobs):
    in_range = min(header[1], default=0) >= -(1 << 63) and max(header[1], default=0) < 1 << 64
    read(body(ext(code, header if in_range else header[:1]), blobs))


@given(
    st.integers(-128, 127),
    st.binary(max_size=40)
    | st.recursive(st.none() | st.integers(0, 9), st.lists, max_leaves=9).map(msgspec.msgpack.encode),
)
@settings(max_examples=300)
def test_every_extension_code_is_refused_or_is_data(code, inner):
    read(body(ext(code, inner)))
    read(body({"value": [ext(code, inner)]}))


def deep(depth, wrap, core=b"\xc0"):
    for _ in range(depth):
        core = wrap(core)
    return core


def tuple_of(core):
    return b"\xc9" + struct.pack(">Ib", len(core) + 1, TUPLE) + b"\x91" + core


HOSTILE = {
    "a header longer than the frame": struct.pack(">I", 1 << 31) + b"\xc0",
    "a text that is too large": body(b"\xdd" + struct.pack(">I", wire.LARGEST_TEXT) + b"\xc0" * wire.LARGEST_TEXT),
    "bytes of no tensor": body(None, b"left over"),
    "two texts": body(b"\xc0\xc0"),
    "an array of 4 billion announced": body(b"\xdd\xff\xff\xff\xff"),
    "a map of 4 billion announced": body(b"\xdf\xff\xff\xff\xff"),
    "a string of 4 GB announced": body(b"\xdb\xff\xff\xff\xff"),
    "bytes of 4 GB announced": body(b"\xc6\xff\xff\xff\xff"),
    "an extension of 4 GB announced": body(b"\xc9\xff\xff\xff\xff\x02"),
    "announcements within announcements": body(b"\xdd\xff\xff\xff\xff" * 1000),
    "lists 100,000 deep": body(b"\x91" * 100_000 + b"\xc0"),
    "maps 100,000 deep": body(b"\x81\xa1a" * 100_000 + b"\xc0"),
    "lists 60 deep": body(b"\x91" * 60 + b"\xc0"),
    "tuples 400 deep": body(deep(400, tuple_of)),
    "tuples 3,000 deep": body(deep(3000, tuple_of)),
    "a key that nests 60 deep": body(ext(PAIRS, [ext(TUPLE, b"\x91" + deep(60, tuple_of, b"\xc0")), 1])),
    "a time stamp": body(datetime(2020, 1, 1, tzinfo=UTC)),
    "a time stamp as a key": body(ext(PAIRS, [datetime(2020, 1, 1, tzinfo=UTC), 1])),
    "a time stamp within a key": body(ext(PAIRS, [ext(TUPLE, [datetime(2020, 1, 1, tzinfo=UTC)]), 1])),
    "an impossible time stamp": body(b"\xc7\x0c\xff" + b"\xff" * 12),
    "an extension of nobody's": body(ext(77, b"")),
    "a tuple that is a string": body(ext(TUPLE, "text")),
    "pairs of an odd number": body(ext(PAIRS, [1, 2, 3])),
    "a list as a key": body(ext(PAIRS, [[1], 2])),
    "a tensor as a key": body(ext(PAIRS, [ext(TENSOR, ("float32", (1,), None)), 2]), bytes(4)),
    "an integer of a million digits": body(ext(INTEGER, b"\x7f" * (1 << 19))),
    "a dtype of nobody's": body(ext(DTYPE, b"object")),
    "a dtype that is no text": body(ext(DTYPE, b"\xff\xfe")),
    "a huge shape with few bytes": body(ext(TENSOR, ("float64", (1 << 39, 1 << 39), None)), bytes(64)),
    "a huge shape of nothing": body(ext(TENSOR, ("float64", (0, *[1 << 39] * 12), None))),
    "a huge array of nothing": body(ext(ARRAY, ("<f8", (0, *[1 << 39] * 12), None))),
    "65 axes": body(ext(TENSOR, ("float64", (1,) * 65, None)), bytes(8)),
    "a negative size": body(ext(TENSOR, ("float64", (-1, -1), None)), bytes(8)),
    "a size beyond 64 bits": body(ext(TENSOR, ("float64", ((1 << 64) - 1,), None)), bytes(8)),
    "strides from the hostile side": body(ext(TENSOR, ("float32", (2, 2), (1, 2))), bytes(16)),
    "strides of a huge step": body(ext(TENSOR, ("float32", (2,), (1 << 50,))), bytes(8)),
    "strides of nothing": body(ext(TENSOR, ("float32", (0,), (1,)))),
    "strides of truth values": body(ext(TENSOR, ("bool", (2, 2), (1, 2))), bytes(4)),
    "a header with a field too many": body(ext(TENSOR, ("float32", (1,), None, "more")), bytes(4)),
    "a header that is a map": body(ext(TENSOR, {"dtype": "float32", "shape": [1]}), bytes(4)),
    "an array of objects": body(ext(ARRAY, ("|O", (1,), None)), bytes(8)),
    "an array of records": body(ext(ARRAY, ("<f8,<f8", (1,), None)), bytes(16)),
    "a dtype that numpy evaluates": body(ext(ARRAY, ("f8,(", (1,), None)), bytes(8)),
    "a dtype of 10,000 brackets": body(ext(ARRAY, ("(" * 10_000 + "f8", (1,), None)), bytes(8)),
    "a float of three bytes": body(ext(ARRAY, ("<f3", (1,), None)), bytes(3)),
    "text that is not UTF-8": body(b"\xa2\xff\xfe"),
    "the code that MessagePack never uses": body(b"\xc1"),
    "pickle": body(b"\x80\x04\x95" + b"cos\nsystem\n(S'true'\ntR."),
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_frame_is_malformed_and_costs_no_memory(name):
    frame = HOSTILE[name]
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            wire.unpack(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2 * MIB + 2 * len(frame)


def test_a_key_that_comes_twice_is_data_of_which_one_counts():
    assert wire.unpack(body(b"\x82\xa1a\x01\xa1a\x02")) == {"a": 2}
    assert wire.unpack(body(ext(PAIRS, [1, "first", 1, "second"]))) == {1: "second"}


def test_the_largest_text_becomes_a_bounded_heap_of_objects():
    """The worst that a byte can become is an empty list: 300 MiB for a text of 4 MiB, never a share of all there is."""
    count = 1 << 16
    frame = body(b"\xdd" + struct.pack(">I", count) + b"\x90" * count)
    tracemalloc.start()
    try:
        value = wire.unpack(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(value) == count
    assert peak / count * wire.LARGEST_TEXT < 400 * MIB


def test_a_tensor_costs_its_own_size_once():
    frame = bytearray(wire.pack(torch.zeros(8 * MIB, dtype=torch.uint8)))
    tracemalloc.start()
    try:
        wire.unpack(frame)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 9 * MIB


# Frames on a socket


def received(raw, close=True):
    """What `receive` says of raw bytes, and the most memory that it took."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(raw)
        if close:
            theirs.shutdown(socket.SHUT_WR)
        tracemalloc.start()
        try:
            return wire.receive(ours), tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


def test_frames_cross_a_socket_one_by_one():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for value in (None, [1, "a"], torch.arange(5.0)):
            wire.send(theirs, wire.pack(value))
        theirs.close()
        for value in (None, [1, "a"], torch.arange(5.0)):
            assert same(wire.unpack(wire.receive(ours)), value)
        assert wire.receive(ours) is None


def test_a_frame_may_be_empty():
    assert received(struct.pack(">I", 0))[0] == b""


@pytest.mark.parametrize("size", [wire.LARGEST + 1, (1 << 32) - 1])
def test_an_announcement_that_is_too_large_is_refused_at_once(size):
    with pytest.raises(Malformed, match="is announced"):
        received(struct.pack(">I", size), close=False)


def test_an_announcement_takes_no_memory_before_the_bytes_are_there():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(struct.pack(">I", wire.LARGEST) + b"few")
        theirs.shutdown(socket.SHUT_WR)
        tracemalloc.start()
        try:
            with pytest.raises(Malformed, match="ended after 3"):
                wire.receive(ours)
            assert tracemalloc.get_traced_memory()[1] < 3 * MIB
        finally:
            tracemalloc.stop()


@given(st.binary(max_size=3) | st.binary(max_size=30).map(lambda raw: struct.pack(">I", len(raw) + 1) + raw))
def test_a_frame_that_ends_too_soon_is_malformed(raw):
    if raw:
        with pytest.raises(Malformed):
            received(raw)
    else:
        assert received(raw)[0] is None


def test_a_frame_that_nobody_reads_is_not_sent():
    class Large(bytes):
        def __len__(self):
            return wire.LARGEST + 1

    ours, theirs = socket.socketpair()
    with ours, theirs, pytest.raises(Malformed, match="at most"):
        wire.send(ours, Large())
