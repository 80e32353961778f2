"""The pictures of one text, made in the cage. A fork asks for each: this process runs no torch operation."""

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, NoReturn

import msgspec

from grader.bank.catalog import DeclaredPicture, Exercise
from grader.bank.derived import stub_of
from grader.base.child import begin_child, write_all
from grader.base.errors import EngineError, HouseError
from grader.verdicts.picture import Made

if TYPE_CHECKING:
    from grader.engine.batch import Engine

_LARGEST = 4 << 20
"""Bytes of a picture as it comes from a fork."""
_GRACE_SECONDS = 5.0
_LOOK_SECONDS = 0.05


def pictures(
    engine: "Engine",
    exercise: Exercise,
    text: str,
    declared: Iterable[DeclaredPicture] | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Made]:
    """Each declared picture of a text, or why there is none; by default all of the exercise, until it is cancelled.

    A picture gets the time of a check. Raises HouseError for a missing or broken `pictures.py`, EngineError where the
    machine has no cage.
    """
    from grader.engine.channel import compiled_drivers  # torch comes with it: here, and not in each fork

    declared = exercise.pictures if declared is None else tuple(declared)
    if not declared:
        return
    path = exercise.picture_drivers
    try:
        drivers = compiled_drivers(path)
    except OSError as error:
        raise HouseError(f"{path} cannot be read: {error.strerror}. It makes the pictures of {exercise.id}.") from None
    except (SyntaxError, ValueError) as error:
        raise HouseError(f"{path} is not valid Python: {error}.") from None
    stub = stub_of(exercise)
    engine.warm.await_ready()
    for one in declared:
        made = _made(engine, exercise, text, drivers, one, stub, is_cancelled)
        if is_cancelled():
            return
        yield made


def _made(
    engine: "Engine",
    exercise: Exercise,
    text: str,
    drivers: bytes,
    declared: DeclaredPicture,
    stub: str,
    is_cancelled: Callable[[], bool],
) -> Made:
    """One picture, by a fork that is killed when its time is over; the cage ends with it."""
    read, write = os.pipe()
    try:
        pid = os.fork()
    except OSError as error:
        os.close(read)
        os.close(write)
        raise EngineError(f"no process could be started: {error.strerror}") from None
    if pid == 0:
        os.close(read)
        _child(engine, exercise, text, drivers, declared, stub, write)
    os.close(write)
    seconds = exercise.limits.check_seconds
    try:
        data = _read(read, seconds + _GRACE_SECONDS, seconds, is_cancelled)
    finally:
        os.close(read)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if data is None:
        return Made(declared.part, declared.driver, problem=f"still running after {seconds:g} s")
    try:
        return msgspec.json.decode(data, type=Made)
    except msgspec.DecodeError:
        raise EngineError(f"the picture {declared.driver} could not be made: {data[:500].decode()}") from None


def _read(pipe: int, start_seconds: float, seconds: float, is_cancelled: Callable[[], bool]) -> bytes | None:
    """What the fork writes until it ends; None when it takes too long. Its first byte says that the answerer is up."""
    data, ends, is_up = b"", time.monotonic() + start_seconds, False
    while time.monotonic() < ends and not is_cancelled():
        if not select.select([pipe], [], [], _LOOK_SECONDS)[0]:
            continue
        piece = os.read(pipe, 1 << 16)
        if not piece:
            return data.lstrip()
        data += piece
        if not is_up:
            is_up, ends = True, time.monotonic() + seconds
        if len(data) > _LARGEST:
            break
    return None


def _child(
    engine: "Engine", exercise: Exercise, text: str, drivers: bytes, declared: DeclaredPicture, stub: str, write: int
) -> NoReturn:
    """What runs in the fork. It writes a picture as JSON, or else why the grader failed."""
    try:
        os.setpgid(0, 0)
        begin_child()
        import torch

        from grader.engine.channel import Caged
        from grader.judging.pictures import make

        torch.set_num_threads(1)
        os.write(write, b"\n")
        caged = Caged(engine.control, exercise, text, drivers=drivers)
        try:
            made = msgspec.json.encode(make(caged, exercise, declared, stub))
        except EngineError as error:
            made = str(error).encode()
        caged.close()
        write_all(write, made)
    finally:
        os._exit(0)
