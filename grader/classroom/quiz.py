"""A quiz: drills handed out for points, with numbers of each student's own.

One folder is handed out to all: a notebook, and a file with what each student is asked, found by the hash of a name. It
holds no seed and no answer. A secret of the course gives the numbers, again when it is graded.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from secrets import token_hex

import msgspec

from grader.bank.catalog import PREFIXES, House
from grader.base.errors import HouseError
from grader.base.files import read_file
from grader.base.text import nearest, plain
from grader.drills.heads import heads
from grader.drills.own import known_as, own_variant
from grader.drills.question import Variant
from grader.drills.shown import shown
from grader.views.drill import bare_lines

QUESTIONS = "questions.json"
"""Lies beside the notebook, and is handed out with it."""
SECRET = "quiz.secret"
"""Lies in the folder of the course, and is handed out to nobody."""
WRITE = "Write a text, or a number."
"""Said to who wrote anything else."""
_COLUMNS = 90
_LARGEST = 64 << 20


class HandedOut(msgspec.Struct, frozen=True):
    """What the students of a course are asked in a quiz."""

    quiz: str
    questions: tuple[str, ...]
    students: dict[str, tuple[str, ...]]
    """By `key_of` a student: each question as it is read, in their order."""

    def of(self, student: str) -> tuple[str, ...] | None:
        """What a student is asked; None for one who is not on the roster."""
        return self.students.get(key_of(student))


def key_of(student: str) -> str:
    """What a student is found by. The notebook computes it too: never change it."""
    return hashlib.sha256(known_as(student).encode("utf-8", "replace")).hexdigest()[:32]


def chosen_questions(house: House, words: Iterable[str]) -> list[str]:
    """The ids of the drills that are meant by ids, topics, and beginnings of topics. Raises HouseError."""
    known, found = heads(house), dict[str, None]()
    for word in words:
        of_topic = [id for id, one in known.items() if one.topic == word or one.topic.startswith(f"{word}.")]
        if word not in known and not of_topic:
            names = known if word.startswith(PREFIXES) else sorted({one.topic for one in known.values()})
            raise HouseError(
                f"'{word}' is no drill, as dl_011.bytes_a_token, and no topic with drills, as kv.memory."
                f"{nearest(word, names)} `grader status --topics` names the topics; drills are called as the functions "
                "in exercises/<id>/drills.py."
            )
        found |= dict.fromkeys([word] if word in known else of_topic)
    return list(found)


def handed_out(house: House, quiz: str, ids: Sequence[str], students: Iterable[str], secret: str) -> HandedOut:
    """What these students are asked. Raises HouseError."""
    texts = {
        key_of(student): tuple(text_of(own_variant(house, secret, student, id)) for id in ids) for student in students
    }
    return HandedOut(quiz, tuple(ids), texts)


def text_of(one: Variant) -> str:
    """A question as a student reads it."""
    return "\n".join(bare_lines(shown(one), _COLUMNS))


def read_handed_out(folder: Path) -> HandedOut:
    """What was handed out with the quiz of that folder. Raises HouseError."""
    path = folder / QUESTIONS
    try:
        found = msgspec.json.decode(read_file(path, _LARGEST), type=HandedOut)
        if any(len(texts) != len(found.questions) for texts in found.students.values()):
            raise msgspec.ValidationError("a student has too few questions")
        return found
    except OSError as error:
        raise HouseError(f"{plain(str(path))} cannot be read: {error.strerror}. It says who is asked what.") from None
    except msgspec.DecodeError as error:
        raise HouseError(f"{plain(str(path))} is damaged: {error}. Put it back as it was handed out.") from None


def read_secret(course: Path) -> str:
    """The secret of a course. Raises HouseError where it is missing: no other gives the same numbers."""
    path = course / SECRET
    try:
        secret = read_file(path, 1 << 12).decode("ascii").strip()
    except (OSError, UnicodeDecodeError):
        secret = ""
    if not re.fullmatch(r"[0-9a-f]{64}", secret):
        raise HouseError(
            f"{plain(str(path))} is missing or damaged. The numbers of each student are made with it: put it back from "
            "your backup. Without it a quiz that is handed out cannot be graded."
        )
    return secret


def new_secret(course: Path) -> str:
    """The secret of a course; a new one where there is none yet, and no quiz either. Raises HouseError."""
    path = course / SECRET
    if not os.path.lexists(path) and not any(course.glob(f"source/*/{QUESTIONS}")):
        course.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(token_hex(32) + "\n")
    return read_secret(course)
