"""The practice page in JupyterLab, JupyterHub, Codespaces and Binder: an entry point of jupyter-server-proxy."""

import sys
from typing import Any


def entry() -> dict[str, Any]:
    """How jupyter-server-proxy starts the page, and where its tile in the launcher leads.

    A Unix socket, since a port is open to everybody on a shared machine.
    """
    return {
        "command": [sys.executable, "-m", "grader", "serve", "--unix-socket", "{unix_socket}"],
        "unix_socket": True,
        "timeout": 30,
        "launcher_entry": {"title": "Practice page"},
    }
