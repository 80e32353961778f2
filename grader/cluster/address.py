"""Where the scheduler of a cluster is, and whether it is safe to talk to it."""

import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from grader.base.errors import HouseError
from grader.base.text import plain


class _SchedulerFile(msgspec.Struct):
    """What `dask scheduler --scheduler-file` writes, as far as it matters here."""

    address: str


def scheduler_address(where: str) -> str:
    """The address that someone means: `tls://host:8786`, or the name of a scheduler file. Raises HouseError."""
    address = where if "://" in where else _address_in(where)
    need_safe(address, "the scheduler")
    return address


def need_safe(address: str, whose: str) -> None:
    """Raises HouseError where others on the network could read what is said at an address, or say something."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname or "", parts.port
        host.encode("idna")  # as it is asked for
    except UnicodeError:
        raise HouseError(f"'{plain(address)}' is no address of {whose}: no machine can have that name.") from None
    except ValueError as error:
        raise HouseError(f"'{plain(address)}' is no address of {whose}: {error}.") from None
    if host and (parts.scheme == "tls" or (parts.scheme == "tcp" and _is_loopback(host))):
        return
    if not host or parts.scheme != "tcp":
        raise HouseError(f"'{plain(address)}' is no address of {whose}: write tls://HOST:PORT.")
    raise HouseError(
        f"{plain(address)}, the address of {whose}, is not encrypted: who reaches that port could run code on the "
        "workers and here. Use tls://, as docs/cluster.md says under Dask; plain tcp:// is for 127.0.0.1 only."
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address_in(file: str) -> str:
    """The address in a scheduler file. Raises HouseError."""
    try:
        return msgspec.json.decode(Path(file).read_bytes(), type=_SchedulerFile).address
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "that is no name of a file"
        raise HouseError(
            f"'{plain(file)}' is no address, such as tls://host:8786, and no scheduler file that can be read: {why}."
        ) from None
    except msgspec.DecodeError as error:
        raise HouseError(f"{plain(file)} is no scheduler file: {error}.") from None
