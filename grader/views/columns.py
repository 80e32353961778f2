"""How wide a text for a terminal is: 80 columns, or as many as there are."""

import shutil
import sys

WIDTH = 80
_NARROWEST = 40
"""Columns that a text takes at least, also where a terminal has fewer."""


def terminal_columns() -> int:
    """Of the terminal; 80 where there is none."""
    return shutil.get_terminal_size((WIDTH, 24)).columns if sys.stdout.isatty() else WIDTH


def width_for(columns: int) -> int:
    """The columns that a text takes in a terminal of so many."""
    return max(_NARROWEST, min(columns, WIDTH))
