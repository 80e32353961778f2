"""The students of a course, from the CSV file in which nbgrader, Gradescope or a teacher keeps them."""

import csv
import io
from pathlib import Path

from grader.base.errors import HouseError
from grader.base.files import read_file
from grader.base.text import plain
from grader.drills.own import known_as

_LARGEST = 4 << 20
_COLUMNS = ("id", "email")
"""What a student is known by: nbgrader's column, else Gradescope's."""


def read_roster(path: Path) -> tuple[str, list[str]]:
    """The column that says what students are known by, and their names in it. Raises HouseError."""
    where = plain(str(path))
    try:
        text = read_file(path, _LARGEST).decode("utf-8-sig")
    except OSError as error:
        raise HouseError(f"{where} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise HouseError(f"{where} is not UTF-8 text: save it as 'CSV UTF-8'.") from None
    head = text.partition("\n")[0]
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=";" if head.count(";") > head.count(",") else ","))
    except csv.Error as error:
        raise HouseError(f"{where} is no CSV file: {error}.") from None
    names = [name.strip().casefold() for name in rows[0]] if rows else []
    column = next((name for name in _COLUMNS if name in names), "")
    if not column:
        raise HouseError(
            f"{where} has no column 'id' (as nbgrader has) or 'email' (as Gradescope has) in its first line."
        )
    return column, _students(where, rows, names.index(column))


def _students(where: str, rows: list[list[str]], column: int) -> list[str]:
    found = dict[str, str]()
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        name = row[column].strip() if column < len(row) else ""
        if not name:
            raise HouseError(f"{where}, line {number}: the student has no name in the column that is read.")
        if known_as(name) in found:
            raise HouseError(f"{where}, line {number}: {plain(name)} stands there twice.")
        found[known_as(name)] = name
    if not found:
        raise HouseError(f"{where} names no student.")
    return list(found.values())
