"""What the drills of the whole house do not ask yet: topics, and the questions of statements and older collections."""

from collections import Counter
from collections.abc import Iterable

from grader.bank.catalog import House
from grader.bank.questions import read_questions
from grader.drills.question import Question

OLDER = {"000": 14, "001": 20, "002": 31}
"""How many questions the older collections ask."""
_A_TOPIC = 2


def unasked(house: House, questions: Iterable[Question]) -> list[str]:
    """A line for each kind of thing that is not asked yet; none where all is. Raises HouseError."""
    cards = list(questions)
    topics = Counter(one.topic for one in cards)
    named = {name for one in cards for name in (*one.readme, *one.seeds)}
    statements = [
        f"{exercise.label}/{number}"
        for exercise in house.exercises.values()
        for number in range(1, len(read_questions(exercise)) + 1)
    ]
    older = [f"{collection}/{number}" for collection, count in OLDER.items() for number in range(1, count + 1)]
    found = {
        f"topics with fewer than {_A_TOPIC} drills": [id for id in house.coverage.topics if topics[id] < _A_TOPIC],
        "questions of statements that no drill names": [one for one in statements if one not in named],
        "questions of older collections that no drill names": [one for one in older if one not in named],
    }
    return [f"{len(those)} {what}: {', '.join(those)}" for what, those in found.items() if those]
