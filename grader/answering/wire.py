"""Frames on the socket between an asker and an answerer: data only, and a reader that trusts nothing.

A frame is its length (4 bytes, big endian) and a body: the length of a MessagePack text, the text, and the bytes of its
tensors one after the other. What MessagePack lacks travels as extensions: tuples, dicts whose keys are no strings,
tensors and arrays (dtype and shape), large integers, dtypes. There is no pickle, and no type that runs code.
"""

import contextlib
import math
import re
import socket
import struct
from typing import Annotated, Any

import msgspec
import numpy as np
import torch

LARGEST = 256 << 20
"""Bytes of the largest frame that is read."""
LARGEST_TEXT = 4 << 20
"""Bytes of a frame besides its tensors. The limit is low, since one such byte can become an object of 70 bytes."""
_DEEPEST = 40
_LONGEST_INTEGER = 1 << 12
_COPIED = 1 << 16
_SHORT = 1 << 12
_LENGTH = struct.Struct(">I")
_TUPLE, _TENSOR, _ARRAY, _INTEGER, _DTYPE, _PAIRS = 1, 2, 3, 4, 5, 6

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
        torch.float32, torch.float64, torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2,
        torch.uint16, torch.uint32, torch.uint64,
    )
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_OF_NUMPY = {
    _DTYPES[name]: np.dtype(name) for name in ("uint8", "int8", "int32", "int64", "float16", "float32", "float64")
}
"""The commonest of those that numpy has too, which makes tensors of bytes, and bytes of tensors, in half the time."""
_ARRAY_DTYPE = re.compile(r"[<>|=][biufc][0-9]{1,2}")
"""The dtypes that are passed to numpy's own parser, which reads whole expressions and may raise anything."""


class Malformed(Exception):
    """What arrived is not a valid frame; the message says why. The sender can no longer be trusted."""


_Shape = Annotated[list[Annotated[int, msgspec.Meta(ge=0, lt=1 << 40)]], msgspec.Meta(max_length=64)]


class _Header(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    dtype: str
    shape: _Shape
    strides: list[int] | None


def pack(value: Any) -> bytes:
    """Data as the body of a frame; raises Malformed for what is no data, nests too deep, or is too large."""
    blobs: list[bytes] = []
    try:
        text = _ENCODER.encode(_wrapped(value, blobs))
    except (RecursionError, OverflowError, TypeError, ValueError, RuntimeError) as error:
        raise Malformed(f"cannot be sent: {error}") from None
    if len(text) > LARGEST_TEXT:
        raise Malformed(f"cannot be sent: {len(text):,} bytes besides its tensors; at most {LARGEST_TEXT:,} are read")
    size = _LENGTH.size + len(text) + sum(map(len, blobs))
    if size > LARGEST:
        raise Malformed(f"cannot be sent: {size:,} bytes; at most {LARGEST:,} are read")
    return b"".join([_LENGTH.pack(len(text)), text, *blobs])


def unpack(body: bytes | bytearray | memoryview, *, strides: bool = False) -> Any:
    """The data of a body, of exact types, its tensors in memory of their own. Raises Malformed, and nothing else.

    strides: whether tensors may come with strides; only what the asker sends does.
    """
    try:
        return _Reader(memoryview(body), strides).read()
    except Malformed:
        raise
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, ValueError, TypeError, RuntimeError) as error:
        raise Malformed(f"{type(error).__name__}: {error}") from None
    except MemoryError:
        raise Malformed("more than fits in memory") from None


def send(sock: socket.socket, body: bytes) -> None:
    """Send one frame. Raises Malformed if it is larger than a reader takes."""
    if len(body) > LARGEST:
        raise Malformed(f"a frame of {len(body):,} bytes; at most {LARGEST:,} are read")
    head = _LENGTH.pack(len(body))
    if len(body) <= _COPIED:
        sock.sendall(head + body)  # in one piece: the other side is woken once
    else:
        sock.sendall(head)
        sock.sendall(body)


def receive(sock: socket.socket) -> bytearray | None:
    """The body of the next frame, or None where the other side has closed. Raises Malformed for one cut short."""
    head = _exactly(sock, _LENGTH.size)
    if not head:
        return None
    (size,) = _LENGTH.unpack(head)
    if size > LARGEST:
        raise Malformed(f"a frame of {size:,} bytes is announced; at most {LARGEST:,} are read")
    body = _exactly(sock, size)
    if len(body) < size:
        raise Malformed(f"a frame of {size:,} bytes ended after {len(body):,}")
    return body


def _exactly(sock: socket.socket, size: int) -> bytearray:
    """Up to `size` bytes, fewer only if the stream ends. Memory grows with what arrives, not with what is announced."""
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(min(size - len(data), 1 << 20))
        if not piece:
            break
        data += piece
    if data and len(data) < size and size == _LENGTH.size:
        raise Malformed("a frame that ends within its length")
    return data


def _wrapped(value: Any, blobs: list[bytes], depth: int = 0) -> Any:
    """`value` with everything that MessagePack lacks as extensions, and the bytes of tensors appended to `blobs`."""
    if depth > _DEEPEST:
        raise Malformed(f"nested more than {_DEEPEST} deep")
    if type(value) in _ATOMS or (type(value) is int and value in _FITTING):
        return value
    if isinstance(value, torch.Tensor):
        return msgspec.msgpack.Ext(_TENSOR, _ENCODER.encode(_tensor_header(value, blobs)))
    # Below, what is plain is left out here: a call for each would cost more than all the rest.
    if isinstance(value, list):
        return [one if type(one) in _ATOMS else _wrapped(one, blobs, depth + 1) for one in value]
    if isinstance(value, tuple):
        inner = [one if type(one) in _ATOMS else _wrapped(one, blobs, depth + 1) for one in value]
        return msgspec.msgpack.Ext(_TUPLE, _ENCODER.encode(inner))
    if isinstance(value, dict):
        if {str}.issuperset(map(type, value)):
            return {key: one if type(one) in _ATOMS else _wrapped(one, blobs, depth + 1) for key, one in value.items()}
        flat = [_wrapped(one, blobs, depth + 1) for pair in value.items() for one in pair]
        return msgspec.msgpack.Ext(_PAIRS, _ENCODER.encode(flat))
    if isinstance(value, np.ndarray):
        if not _ARRAY_DTYPE.fullmatch(value.dtype.str):
            raise Malformed(f"cannot send an array of dtype {value.dtype}")
        blobs.append(np.ascontiguousarray(value).tobytes())
        return msgspec.msgpack.Ext(_ARRAY, _ENCODER.encode(_Header(value.dtype.str, list(value.shape), None)))
    if isinstance(value, torch.dtype):
        return msgspec.msgpack.Ext(_DTYPE, _dtype_name(value).encode())
    if isinstance(value, bool | float | str | bytes):  # also of a subclass: what arrives is not
        return value
    if isinstance(value, int):
        value = int(value)
        if value in _FITTING:
            return value
        raw = value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True)
        if len(raw) > _LONGEST_INTEGER:
            raise Malformed(f"cannot send an integer of {len(raw):,} bytes")
        return msgspec.msgpack.Ext(_INTEGER, raw)
    raise Malformed(f"cannot send {type(value).__name__}")


def _tensor_header(tensor: torch.Tensor, blobs: list[bytes]) -> _Header:
    size = tensor.numel() * tensor.element_size()
    if size > LARGEST:  # said before it is copied
        raise Malformed(f"cannot be sent: a tensor of {size:,} bytes; at most {LARGEST:,} are read")
    strides = None if tensor.is_contiguous() else list(tensor.stride())
    header = _Header(_dtype_name(tensor.dtype), list(tensor.shape), strides)
    if size and tensor.dtype in _OF_NUMPY:
        blobs.append(tensor.numpy(force=True).tobytes())
    elif size:
        dense = tensor.detach().resolve_conj().resolve_neg()
        # Not `flatten`: an axis of one element may have any stride, and such a tensor counts as contiguous.
        raw = dense.contiguous().as_strided((dense.numel(),), (1,))
        blobs.append(raw.view(torch.uint8).numpy().tobytes())
    return header


def _dtype_name(dtype: torch.dtype) -> str:
    if dtype not in _NAMES:
        raise Malformed(f"cannot be sent: dtype {str(dtype).removeprefix('torch.')}")
    return _NAMES[dtype]


class _Reader:
    """Reads one body. Tensors take their bytes in the order in which they stand in the text."""

    def __init__(self, body: memoryview, strides: bool) -> None:
        (size,) = _LENGTH.unpack(body[: _LENGTH.size]) if len(body) >= _LENGTH.size else (1 << 32,)
        if size > len(body) - _LENGTH.size:
            raise Malformed("a frame without its text")
        if size > LARGEST_TEXT:
            raise Malformed(f"{size:,} bytes besides the tensors; at most {LARGEST_TEXT:,} are read")
        self._text = body[_LENGTH.size : _LENGTH.size + size]
        self._rest = body[_LENGTH.size + size :]
        self._strides = strides

    def read(self) -> Any:
        value = _checked(self._decoded(self._text), 0)
        if self._rest:
            raise Malformed(f"{len(self._rest):,} bytes of no tensor")
        return value

    def _decoded(self, text: memoryview | msgspec.Raw) -> Any:
        """A long text one level at a time, so that a map has no keys but strings.

        Keys of any kind, such as lists of numbers, can be chosen to hash alike: 4 MB of them keep the C code busy for
        many minutes, in which no clock is heard.
        """
        if len(text) <= _SHORT:
            return msgspec.msgpack.decode(text, ext_hook=self._extension)
        kind = memoryview(text)[:1].tobytes()
        if b"\x80" <= kind <= b"\x8f" or kind in (b"\xde", b"\xdf"):
            table = msgspec.msgpack.decode(text, type=dict[str, msgspec.Raw])
            return {key: self._decoded(raw) for key, raw in table.items()}
        if b"\x90" <= kind <= b"\x9f" or kind in (b"\xdc", b"\xdd"):
            with contextlib.suppress(msgspec.ValidationError):
                return _MATRIX.decode(text)  # what most lists are, in one go
            items: list[Any] = msgspec.msgpack.decode(text, type=list[msgspec.Raw])
            for i, raw in enumerate(items):
                items[i] = self._decoded(raw)  # in its place, so that never both are kept of all
            return items
        return msgspec.msgpack.decode(text, ext_hook=self._extension)

    def _extension(self, code: int, data: memoryview) -> Any:
        if code in (_TUPLE, _PAIRS):
            inner = self._decoded(data)
            if not isinstance(inner, list) or (code == _PAIRS and len(inner) % 2):
                raise Malformed("a tuple or a dict that holds no list")
            if code == _TUPLE:
                return tuple(inner)
            return {key: item for key, item in zip(inner[::2], inner[1::2], strict=True)}  # noqa: C416  # hears the clock
        if code in (_TENSOR, _ARRAY):
            header = msgspec.msgpack.decode(data, type=_Header)
            return self._tensor(header) if code == _TENSOR else self._array(header)
        if code == _INTEGER:
            if len(data) > _LONGEST_INTEGER:
                raise Malformed(f"an integer of {len(data):,} bytes")
            return int.from_bytes(data, "big", signed=True)
        if code == _DTYPE:
            return _dtype(bytes(data[:32]).decode())
        raise Malformed(f"extension {code} is none of ours")

    def _raw(self, header: _Header, itemsize: int) -> bytearray:
        """The bytes of the next tensor: memory of its own, and writable."""
        size = math.prod(header.shape) * itemsize
        if size > len(self._rest):
            raise Malformed(f"{len(self._rest):,} bytes for a {header.dtype} of shape {header.shape[:8]}")
        raw, self._rest = self._rest[:size], self._rest[size:]
        return bytearray(raw)

    def _tensor(self, header: _Header) -> torch.Tensor:
        dtype = _dtype(header.dtype)
        if header.strides is not None and (not self._strides or len(header.strides) != len(header.shape)):
            raise Malformed("a tensor with strides")
        raw = self._raw(header, dtype.itemsize)
        if not raw:
            return torch.empty(header.shape, dtype=dtype)
        if dtype in _OF_NUMPY:
            tensor = torch.from_numpy(np.ndarray(header.shape, _OF_NUMPY[dtype], raw))
        elif dtype is torch.bool:
            tensor = (torch.frombuffer(raw, dtype=torch.uint8) != 0).reshape(header.shape)
        else:
            tensor = torch.frombuffer(raw, dtype=dtype).reshape(header.shape)
        if header.strides is None:
            return tensor
        if any(step == 0 and n > 1 for n, step in zip(header.shape, header.strides, strict=True)):
            return tensor  # an expanded axis cannot be written to
        return torch.empty_strided(header.shape, header.strides, dtype=dtype).copy_(tensor)

    def _array(self, header: _Header) -> np.ndarray[Any, Any]:
        if not _ARRAY_DTYPE.fullmatch(header.dtype):
            raise Malformed(f"an array of dtype {header.dtype[:40]!r}")
        dtype = np.dtype(header.dtype)
        raw = self._raw(header, dtype.itemsize)
        if not raw:
            return np.empty(header.shape, dtype)
        array = np.frombuffer(raw, dtype=np.uint8) != 0 if dtype.kind == "b" else np.frombuffer(raw, dtype=dtype)
        return np.array(array).reshape(header.shape)  # of its own memory: what lies over a buffer counts as made


def _dtype(name: str) -> torch.dtype:
    if name not in _DTYPES:
        raise Malformed(f"no dtype {name!r}")
    return _DTYPES[name]


def _checked(value: Any, depth: int) -> Any:
    """Refuse what MessagePack allows and we do not send: deep nesting, keys that are no plain data, its time stamps."""
    if depth > _DEEPEST:
        raise Malformed(f"nested more than {_DEEPEST} deep")
    if isinstance(value, list | tuple):
        for item in value:
            if type(item) not in _LEAVES:
                _checked(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if type(key) not in _KEYS:
                raise Malformed(f"a key of type {type(key).__name__}")
            if type(key) is tuple:
                _checked(key, depth + 1)
            if type(item) not in _LEAVES:
                _checked(item, depth + 1)
    elif type(value) not in _LEAVES:
        raise Malformed(f"a value of type {type(value).__name__}")
    return value


_ATOMS = frozenset({type(None), bool, float, str, bytes})
_LEAVES = _ATOMS | {int, torch.Tensor, np.ndarray, torch.dtype}
_KEYS = _ATOMS | {int, tuple, torch.dtype}
_FITTING = range(-(1 << 63), 1 << 64)
"""The integers for which MessagePack has a form."""
_ENCODER = msgspec.msgpack.Encoder()
_MATRIX = msgspec.msgpack.Decoder(list[bool | int | float | str | list[bool | int | float | str | None] | None])
