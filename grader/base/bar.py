"""How far long work is."""

import sys
from typing import Any

from grader.base.terminal import wants_plain


class Bar:
    """One line on stderr that is gone when the work is done; nothing where stderr is no terminal.

    unit: of what is counted, as `checks`.
    """

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._line: Any = None
        self._shown = sys.stderr.isatty()

    def show(self, done: int, total: int, label: str = "") -> None:
        """Say that `done` of `total` are done. label: what is worked on."""
        if not self._shown:
            return
        if self._line is None:
            self._line = _line(self._unit, total)
            self._line.start()
        self._line.update(self._line.task_ids[0], completed=done, total=total, description=label, refresh=True)
        if done >= total:
            self.end()

    def end(self) -> None:
        """Take the line away."""
        if self._line is not None:
            self._line.stop()
        self._line = None


def _line(unit: str, total: int) -> Any:
    # Here, since most commands show none.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    line = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.completed:.0f} of {task.total:.0f} " + unit),
        TimeRemainingColumn(),
        console=Console(stderr=True, highlight=False, color_system=None if wants_plain() else "auto"),
        transient=True,
        auto_refresh=False,  # that would be a thread, in a process that forks
        redirect_stdout=False,
        redirect_stderr=False,
    )
    line.add_task("", total=total)
    return line
