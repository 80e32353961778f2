"""`results.jsonl` read back: of a student and an exercise the newest line counts. Changes no file."""

from pathlib import Path

import msgspec

from grader.catalog import HouseError
from grader.result import SCHEMA, Result

Kept = dict[tuple[str, str], Result]
"""(student, exercise) to the result that counts."""


def read_results(path: Path) -> tuple[Kept, int]:
    """The results of a file, and the length in bytes of its whole lines: what follows was cut short by a crash.

    Raises HouseError with the number of the line that is no result, and FileNotFoundError.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise HouseError(f"{path} cannot be read: {error.strerror}.") from None
    kept: Kept = {}
    whole = data[: data.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            result = msgspec.json.decode(line, type=Result)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise HouseError(
                f"{path}, line {number} is no result of this grader: {error}. Take that line out."
            ) from None
        if result.schema > SCHEMA:
            raise HouseError(f"{path}, line {number} was written by a newer grader (schema {result.schema}): update.")
        kept[result.student, result.exercise] = result
    return kept, len(whole)


def in_order(kept: Kept) -> list[Result]:
    """The results by student, then by exercise."""
    return [kept[key] for key in sorted(kept)]
