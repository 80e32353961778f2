"""What happened, in order, for every page that listens. The newest are kept; who missed more than these is told so."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from secrets import token_hex
from typing import Any, TypeVar

import msgspec

from grader.serve.wire import AnyEvent, Event, Events, HelloEvent, ResyncEvent

KEPT = 2000
KEPT_BYTES = 32 << 20
_BEAT_SECONDS = 15.0
_POLL_SECONDS = 20.0
E = TypeVar("E", bound=Event)


class EventLog:
    """The events of one start of the server. All of it belongs to one event loop."""

    def __init__(self) -> None:
        self.start = token_hex(8)
        self.n = 0
        self._kept: deque[tuple[AnyEvent, bytes]] = deque()
        self._bytes = 0
        self._more = asyncio.Event()
        self._closed = False

    def say(self, kind: type[E], **fields: Any) -> E:
        """An event of this kind happened."""
        self.n += 1
        event = kind(n=self.n, **fields)
        line = _line(event)
        self._kept.append((event, line))  # type: ignore[arg-type]  # every kind that is said is one of AnyEvent
        self._bytes += len(line)
        while len(self._kept) > KEPT or (self._bytes > KEPT_BYTES and len(self._kept) > 1):
            self._bytes -= len(self._kept.popleft()[1])
        self._wake()
        return event

    def after(self, n: int) -> list[AnyEvent]:
        """The events after number n; a `ResyncEvent` alone where some of them are not kept, or n is to come."""
        return [event for event, _ in self._after(n)]

    def close(self) -> None:
        """End every stream: the server goes."""
        self._closed = True
        self._wake()

    async def stream(self, n: int | None, beat: float = _BEAT_SECONDS) -> AsyncIterator[bytes]:
        """Server-sent events after number n (None: from now on), for ever; a line of comment while nothing happens."""
        yield _line(HelloEvent(n=self.n, start=self.start))
        n = self.n if n is None else n
        while not self._closed:
            more = self._more
            for event, line in self._after(n):
                yield line
                n = event.n
            if not await _set_within(more, beat):
                yield b":\n\n"

    async def poll(self, n: int | None, patience: float = _POLL_SECONDS) -> Events:
        """The events after number n, as soon as there is one; none after so many seconds. None: at once, none."""
        if n is None:
            return Events(n=self.n, start=self.start, events=())
        if n == self.n and not self._closed:
            await _set_within(self._more, patience)
        return Events(n=self.n, start=self.start, events=tuple(self.after(n)))

    def _after(self, n: int) -> list[tuple[AnyEvent, bytes]]:
        if n > self.n or n < self.n - len(self._kept):
            lost = ResyncEvent(n=self.n)
            return [(lost, _line(lost))]
        return list(self._kept)[len(self._kept) - (self.n - n) :]

    def _wake(self) -> None:
        self._more.set()
        self._more = asyncio.Event()


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        return await asyncio.wait_for(event.wait(), seconds)
    return False


def _line(event: Event) -> bytes:
    return b"data: " + msgspec.json.encode(event) + b"\n\n"
