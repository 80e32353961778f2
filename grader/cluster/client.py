"""The asking side of a cluster: connects to the scheduler, and gives each worker an engine for as long as it asks."""

import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from secrets import token_hex
from urllib.parse import urlsplit

from distributed import Client
from distributed.security import Security

from grader.base.errors import HouseError
from grader.base.text import plain
from grader.cluster.address import scheduler_address
from grader.cluster.flow import Flow, gone, unfit
from grader.cluster.worker import EnginePlugin
from grader.engine.cage import Level

_CONNECT_SECONDS = 15
_LEAVE_SECONDS = 5
_PORT = 8786
"""Dask's own, where an address names none."""


@contextlib.contextmanager
def connected(where: str, require: Level, wanted: Callable[[str], dict[str, str]]) -> Iterator[tuple[Flow, int]]:
    """A way to ask the workers of a cluster, and how many of them there are now; more may join at any time.

    where: an address or a scheduler file. require: the least isolation; a cluster has Landlock at least, for without it
    a submission could reach the scheduler. wanted: of an exercise, the versions that count. Keys and certificates are
    those of Dask's own configuration. Raises HouseError, and EngineError where the scheduler goes away.
    """
    address = scheduler_address(where)
    level = max(require, Level.LANDLOCK, key=lambda level: level.strength)
    for logger in ("distributed", "distributed.client"):  # what they say of workers that come and go
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    security = Security()
    try:
        _reach(address, security)
        client = Client(address, security=security, timeout=_CONNECT_SECONDS, set_as_default=False, name="dl-kata")
    except OSError as error:
        raise HouseError(f"No scheduler answers at {plain(address)}: {plain(str(error.strerror or error))}.") from None
    name = f"dl-kata-{token_hex(4)}"  # of this run alone: others may ask the same workers
    try:
        yield Flow(client, name, wanted), _prepared(client, name, level)
    finally:
        with contextlib.suppress(Exception):  # the scheduler may be gone
            if client.status == "running":
                client.unregister_worker_plugin(name)
        client.close(timeout=_LEAVE_SECONDS)


def _reach(address: str, security: Security) -> None:
    """Say hello, as a client would: Dask's own says less of what is wrong, and takes longer. Raises OSError."""
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port or _PORT), _CONNECT_SECONDS) as link:
        if parts.scheme == "tls":
            context = security.get_connection_args("client").get("ssl_context")
            if not context:
                raise OSError("tls:// needs keys, which Dask's configuration here does not name: see docs/cluster.md")
            with context.wrap_socket(link):
                pass


def _prepared(client: Client, name: str, level: Level) -> int:
    """Let each worker, now and later, start an engine; how many there are now."""
    try:
        client.register_plugin(EnginePlugin(str(level)), name=name)
        return len(client.nthreads())
    except OSError as error:
        raise gone() from error
    except Exception as error:
        raise unfit(error) from None
