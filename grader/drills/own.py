"""Numbers of each student's own: which variant of a drill a student is asked, by a secret of the course."""

import hashlib
import hmac
import json
import unicodedata

from grader.bank.catalog import House
from grader.drills.load import question_of
from grader.drills.question import Variant, variant


def known_as(student: str) -> str:
    """A student's name, the same however it is typed: in capitals or not, and with `é` as one character or as two."""
    return unicodedata.normalize("NFC", student.strip()).casefold()


def seed_of(secret: str, student: str, question: str) -> int:
    """The seed of a question for a student. Nobody knows it who does not know the secret."""
    asked = json.dumps([known_as(student), question]).encode()
    return int.from_bytes(hmac.digest(secret.encode(), asked, hashlib.sha256)[:6], "big")


def own_variant(house: House, secret: str, student: str, question: str) -> Variant:
    """A question as this student is asked it. Raises HouseError where there is no such question."""
    return variant(question_of(house, question), seed_of(secret, student, question))
