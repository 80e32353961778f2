"""Frames on the socket between an asker and an answerer: data only, and a reader that trusts nothing.

A frame is its length (4 bytes, big endian) and a MessagePack body. What MessagePack lacks travels as extensions:
tuples, tensors and arrays (dtype, shape, raw bytes), large integers, dtypes. There is no pickle, and no type that runs
code.
"""

import math
import socket
import struct
from typing import Any

import msgspec
import numpy as np
import torch

LARGEST = 256 << 20
"""Bytes of the largest frame that is read."""
_DEEPEST = 40
_LENGTH = struct.Struct(">I")
_TUPLE, _TENSOR, _ARRAY, _INTEGER, _DTYPE = 1, 2, 3, 4, 5

_DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float16, torch.bfloat16,
        torch.float32, torch.float64, torch.complex64, torch.complex128, torch.float8_e4m3fn, torch.float8_e5m2,
        torch.uint16, torch.uint32, torch.uint64,
    )
}  # fmt: skip
_ARRAY_KINDS = "biufc"


class Malformed(Exception):
    """What arrived is no frame of ours; the message says why. Whoever sent it is not to be believed."""


class _Header(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    dtype: str
    shape: list[int]
    strides: list[int] | None


def pack(value: Any) -> bytes:
    """Data as the body of a frame; raises Malformed for what is no data, or nests too deep."""
    try:
        return _ENCODER.encode(_wrapped(value))
    except (RecursionError, OverflowError, TypeError, ValueError) as error:
        raise Malformed(f"cannot be sent: {error}") from None


def unpack(body: bytes | bytearray | memoryview, *, strides: bool = False) -> Any:
    """The data of a body, of exact types, its tensors in memory of their own. Raises Malformed, and nothing else.

    strides: whether tensors may come with strides; only what the asker sends does.
    """
    try:
        return _checked(msgspec.msgpack.decode(body, ext_hook=lambda code, data: _extension(code, data, strides)), 0)
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
    sock.sendall(_LENGTH.pack(len(body)))
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
    """Up to `size` bytes, fewer only where the stream ends. Grows with what arrives, not with what is announced."""
    data = bytearray()
    while len(data) < size:
        piece = sock.recv(min(size - len(data), 1 << 20))
        if not piece:
            break
        data += piece
    if data and len(data) < size and size == _LENGTH.size:
        raise Malformed("a frame that ends within its length")
    return data


def _wrapped(value: Any, depth: int = 0) -> Any:
    """`value` with everything that MessagePack lacks as extensions."""
    if depth > _DEEPEST:
        raise Malformed(f"nested more than {_DEEPEST} deep")
    if isinstance(value, torch.Tensor):
        return msgspec.msgpack.Ext(_TENSOR, _tensor_bytes(value))
    if isinstance(value, np.ndarray):
        header = _Header(value.dtype.str, list(value.shape), None)
        return msgspec.msgpack.Ext(_ARRAY, _with_header(header, np.ascontiguousarray(value).tobytes()))
    if isinstance(value, torch.dtype):
        return msgspec.msgpack.Ext(_DTYPE, str(value).removeprefix("torch.").encode())
    if isinstance(value, bool) or value is None or isinstance(value, float | str | bytes):
        return value
    if isinstance(value, int):
        if -(1 << 63) <= value < 1 << 64:
            return value
        return msgspec.msgpack.Ext(_INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))
    if isinstance(value, list):
        return [_wrapped(item, depth + 1) for item in value]
    if isinstance(value, tuple):
        return msgspec.msgpack.Ext(_TUPLE, _ENCODER.encode([_wrapped(item, depth + 1) for item in value]))
    if isinstance(value, dict):
        return {_wrapped(key, depth + 1): _wrapped(item, depth + 1) for key, item in value.items()}
    raise Malformed(f"cannot send {type(value).__name__}")


def _tensor_bytes(tensor: torch.Tensor) -> bytes:
    dense = tensor.detach()
    strides = None if dense.is_contiguous() else list(dense.stride())
    raw = dense.contiguous().flatten()
    header = _Header(str(tensor.dtype).removeprefix("torch."), list(tensor.shape), strides)
    return _with_header(header, raw.view(torch.uint8).numpy().tobytes() if raw.numel() else b"")


def _with_header(header: _Header, raw: bytes) -> bytes:
    head = _ENCODER.encode(header)
    return _LENGTH.pack(len(head)) + head + raw


def _extension(code: int, data: memoryview, strides: bool) -> Any:
    if code == _TUPLE:
        inner = msgspec.msgpack.decode(data, ext_hook=lambda code, data: _extension(code, data, strides))
        if not isinstance(inner, list):
            raise Malformed("a tuple that holds no list")
        return tuple(inner)
    if code == _TENSOR:
        return _tensor(*_split(data), strides)
    if code == _ARRAY:
        return _array(*_split(data))
    if code == _INTEGER:
        if len(data) > 1 << 12:
            raise Malformed(f"an integer of {len(data):,} bytes")
        return int.from_bytes(data, "big", signed=True)
    if code == _DTYPE:
        return _dtype(bytes(data[:32]).decode())
    raise Malformed(f"extension {code} is none of ours")


def _split(data: memoryview) -> tuple[_Header, memoryview]:
    (size,) = _LENGTH.unpack(data[: _LENGTH.size]) if len(data) >= _LENGTH.size else (1 << 31,)
    if size > len(data) - _LENGTH.size:
        raise Malformed("a tensor without a header")
    header = msgspec.msgpack.decode(data[_LENGTH.size : _LENGTH.size + size], type=_Header)
    if len(header.shape) > 64 or any(not 0 <= n < 1 << 40 for n in header.shape):
        raise Malformed(f"a tensor of shape {header.shape[:8]}")
    return header, data[_LENGTH.size + size :]


def _tensor(header: _Header, raw: memoryview, strides: bool) -> torch.Tensor:
    dtype, count = _dtype(header.dtype), math.prod(header.shape)
    if len(raw) != count * dtype.itemsize:
        raise Malformed(f"{len(raw):,} bytes for a tensor of {count:,} {header.dtype}")
    if count == 0:
        return torch.empty(header.shape, dtype=dtype)
    data = bytearray(raw)  # memory of its own, and writable
    if dtype is torch.bool:
        return (torch.frombuffer(data, dtype=torch.uint8) != 0).reshape(header.shape)
    tensor = torch.frombuffer(data, dtype=dtype).reshape(header.shape)
    if header.strides is None:
        return tensor
    if not strides or len(header.strides) != len(header.shape):
        raise Malformed("a tensor with strides")
    if any(step == 0 and n > 1 for n, step in zip(header.shape, header.strides, strict=True)):
        return tensor  # an expanded axis cannot be written to
    return torch.empty_strided(header.shape, header.strides, dtype=dtype).copy_(tensor)


def _array(header: _Header, raw: memoryview) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any]
    dtype = np.dtype(header.dtype)
    if dtype.kind not in _ARRAY_KINDS or dtype.hasobject or len(raw) != math.prod(header.shape) * dtype.itemsize:
        raise Malformed(f"an array of dtype {header.dtype!r} and {len(raw):,} bytes")
    if dtype.kind == "b":
        array = np.asarray(np.frombuffer(raw, dtype=np.uint8) != 0).reshape(header.shape)
        return array
    array = np.frombuffer(bytearray(raw), dtype=dtype).reshape(header.shape)
    return array


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
            _checked(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str | int | float | bool | bytes | tuple | None):
                raise Malformed(f"a key of type {type(key).__name__}")
            _checked(item, depth + 1)
    elif not isinstance(value, bool | int | float | str | bytes | torch.Tensor | np.ndarray | torch.dtype | None):
        raise Malformed(f"a value of type {type(value).__name__}")
    return value


_ENCODER = msgspec.msgpack.Encoder()
