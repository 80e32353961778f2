"""Which questions there are, read from the text of their files: enough to choose one without running any of them."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import msgspec

from grader.bank.catalog import EXERCISE_ID, House, label_of
from grader.bank.source import read_source
from grader.base.errors import HouseError

_HEAD = re.compile(r"^@question\((.*?)\)\ndef (\w+)\(", re.MULTILINE | re.DOTALL)
_TOPIC = re.compile(r"\btopic=\"([^\"]*)\"")
_LEVEL, _REVISION = re.compile(r"\blevel=(\d+)"), re.compile(r"\brevision=(\d+)")
_STRING = re.compile(r"\"[^\"]*\"")


class Listed(Protocol):
    """What is known of a question without asking it: a `Question` has it, and its `Head`."""

    @property
    def id(self) -> str: ...
    @property
    def topic(self) -> str: ...
    @property
    def level(self) -> int: ...
    @property
    def revision(self) -> int: ...


class Head(msgspec.Struct, frozen=True):
    """A question as its decorator says it."""

    id: str
    topic: str
    level: int
    revision: int


def drill_files(house: House) -> list[Path]:
    """The files of all exercises that have questions, in order."""
    paths = sorted((house.bank / "exercises").glob("*/drills.py"))
    return [path for path in paths if EXERCISE_ID.fullmatch(path.parent.name)]


def heads(house: House) -> dict[str, Head]:
    """Every question of the house by its id, in the order of the files. Raises HouseError."""
    return {one.id: one for path in drill_files(house) for one in heads_of(path)}


def heads_of(path: Path) -> list[Head]:
    """The questions of one file. Raises HouseError."""
    try:
        text = read_source(path)
    except UnicodeDecodeError:
        raise HouseError(f"exercises/{path.parent.name}/drills.py cannot be read: it is not UTF-8 text.") from None
    except OSError as error:
        raise HouseError(f"exercises/{path.parent.name}/drills.py cannot be read: {error.strerror}.") from None
    return _heads(label_of(path.parent.name), text)


@lru_cache(maxsize=64)
def _heads(label: str, text: str) -> list[Head]:
    return [_head(f"{label}.{name}", given) for given, name in _HEAD.findall(text)]


def _head(id: str, given: str) -> Head:
    topic, numbers = _TOPIC.search(given), _STRING.sub("", given)
    level, revision = _LEVEL.search(numbers), _REVISION.search(numbers)
    return Head(id, topic[1] if topic else "", int(level[1]) if level else 1, int(revision[1]) if revision else 1)
