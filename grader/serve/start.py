"""Start the server of a house: one at a time, on this machine's own address, and tell where it runs."""

import contextlib
import fcntl
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import msgspec
import uvicorn
from starlette.applications import Starlette

from grader.bank.catalog import House
from grader.base.errors import HouseError
from grader.serve.app import make_app
from grader.serve.guard import anything, local, new_token

HOST = "127.0.0.1"
PORT = 8765
"""Where drafts that a browser keeps are found again; taken if it is free."""


class Address(msgspec.Struct):
    """Where the server of a house runs: `.grader/serve.json`, which only its owner reads."""

    url: str


class RunsAlready(HouseError):
    """A server of this house runs; `url` is its address."""

    def __init__(self, url: str) -> None:
        super().__init__(f"The practice page of this house runs already: {url}")
        self.url = url


def serve(house: House, port: int | None, ready: Callable[[str], None]) -> None:
    """Serve until Ctrl-C. ready: gets the address once it answers. port: None for the usual one, or any free one.

    Raises RunsAlready, and HouseError where the port is taken.
    """
    with _alone(house) as told, _bound(port) as bound:
        token = new_token()
        number = bound.getsockname()[1]
        url = f"http://{HOST}:{number}/#token={token}"
        told(Address(url=url))
        _run(make_app(house, token, local(number)), bound, lambda: ready(url))


def serve_proxied(house: House, path: Path) -> None:
    """Serve on a Unix socket, behind a proxy that says who may come (JupyterHub's)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as bound:
        before = os.umask(0o177)
        try:
            bound.bind(str(path))
        except OSError as error:
            raise HouseError(f"{path} cannot be made: {error.strerror}.") from None
        finally:
            os.umask(before)
        _run(make_app(house, new_token(), anything, proxied=True), bound, lambda: None)


def open_browser(house: House, url: str) -> threading.Thread | None:
    """Show the page, where there is a graphical browser to show it in; the thread that waits for it to begin.

    It is given a file that leads to the address: what it is started with, anybody on this machine may read.
    """
    leads = house.root / ".grader" / "serve.html"
    with contextlib.suppress(webbrowser.Error, OSError):
        browser = webbrowser.get()
        if isinstance(browser, webbrowser.GenericBrowser) and not isinstance(browser, webbrowser.BackgroundBrowser):
            return None  # one that would take the terminal for itself
        _write_private(leads, f'<!doctype html><meta http-equiv="refresh" content="0; url={url}">'.encode())
        begins = threading.Thread(target=browser.open, args=[leads.as_uri()], daemon=True)
        begins.start()
        return begins
    return None


class _Server(uvicorn.Server):
    """Ends at the first Ctrl-C: streams, which would hold it, are told to close."""

    def __init__(self, config: uvicorn.Config, app: Starlette, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._app.state.page.log.close()
        super().handle_exit(sig, frame)


def _run(app: Starlette, bound: socket.socket, ready: Callable[[], None]) -> None:
    config = uvicorn.Config(
        app, http="h11", loop="asyncio", ws="none", lifespan="on", log_level="warning", access_log=False,
        server_header=False, proxy_headers=False, timeout_graceful_shutdown=1,
    )  # fmt: skip
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when all is closed
        _Server(config, app, ready).run([bound])


@contextlib.contextmanager
def _alone(house: House) -> Iterator[Callable[[Address], None]]:
    """Hold this house's place; gives what tells others where it runs. Raises RunsAlready."""
    folder = house.root / ".grader"
    try:
        folder.mkdir(exist_ok=True)
        lock = os.open(folder / "serve.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise HouseError(f"{folder} cannot be written: {error.strerror}.") from None
    path = folder / "serve.json"
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunsAlready(_where(path)) from None
        yield lambda runs: _write_private(path, msgspec.json.encode(runs))
        path.unlink(missing_ok=True)
        path.with_suffix(".html").unlink(missing_ok=True)
    finally:
        os.close(lock)


def _where(path: Path) -> str:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Address).url
    except (OSError, msgspec.DecodeError):
        return "its address is not known yet. Try again."


def _write_private(path: Path, data: bytes) -> None:
    """The file is made anew, so that nobody has it open already, and nobody else may read it."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)


@contextlib.contextmanager
def _bound(port: int | None) -> Iterator[socket.socket]:
    """A socket on this machine's own address and no other. Raises HouseError where the port is taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as bound:
        if sys.platform != "win32":
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((HOST, PORT if port is None else port))
        except OSError as error:
            if port is not None:
                raise HouseError(
                    f"port {port} cannot be had: {error.strerror}. Without --port a free one is taken."
                ) from None
            bound.bind((HOST, 0))
        yield bound
