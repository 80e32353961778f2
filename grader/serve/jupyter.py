"""The practice page in JupyterLab, JupyterHub, Codespaces and Binder: an entry point of jupyter-server-proxy."""

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

from grader.bank.places import is_bank, is_practice_folder


def entry() -> dict[str, Any]:
    """How jupyter-server-proxy starts the page, and where its tile in the launcher leads.

    A Unix socket, since a port is open to everybody on a shared machine.
    """
    return {
        "command": [sys.executable, "-m", "grader.serve.jupyter", "{unix_socket}"],
        "unix_socket": True,
        "timeout": 30,
        "launcher_entry": {"title": "Practice page"},
    }


def folder_to_serve(here: Path) -> Path:
    """Where the katas are, for a Jupyter that was started in a folder of theirs, or beside it: in a home, say.

    Where several lie beside each other, the first by name.
    """
    if any(map(_holds_katas, (here, *here.parents))):
        return here
    beside = (path for path in sorted(here.iterdir()) if path.is_dir() and _holds_katas(path))
    return next(beside, here)


def _holds_katas(folder: Path) -> bool:
    try:
        return is_bank(folder) or is_practice_folder(folder)
    except OSError:  # somebody else's
        return False


def main() -> NoReturn:
    os.chdir(folder_to_serve(Path.cwd()))
    os.execv(sys.executable, [sys.executable, "-m", "grader", "serve", "--unix-socket", sys.argv[1]])


if __name__ == "__main__":
    main()
