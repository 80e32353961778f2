"""What a role may be asked in this house, and what this learner knows of it."""

from grader.bank.catalog import House
from grader.base.errors import HouseError
from grader.drills.heads import heads
from grader.drills.schedule import recall
from grader.learner.interview import KNOWN, Candidate, candidates, topic_weights
from grader.records.drilled import Drilled


def pool_of(house: House, role: str) -> list[Candidate]:
    """The questions that a role may be asked. Raises HouseError where there is no such role, or no question."""
    roles = [one.id for one in house.coverage.role]
    if role not in roles:
        raise HouseError(f"There is no role '{role}'. Roles: {', '.join(roles)}.")
    questions = heads(house)
    standing = Drilled(house.root).standing(questions)
    recalls = {
        id: recall(card, standing.today)
        for id, card in standing.cards.items()
        if id in questions and card.revision == questions[id].revision
    }
    pool = candidates(house.coverage, role, questions.values(), recalls)
    if not pool:
        raise HouseError(f"There are no drills here that the role '{role}' is asked.")
    return pool


def weights_of(house: House, role: str, pool: list[Candidate]) -> dict[str, float]:
    """Every topic that a role is asked about to its weight; nothing is known of those without a question."""
    rows = [item for item in house.coverage.item if item.weights.get(role, 0)]
    return {topic.id: KNOWN * item.weights[role] for item in rows for topic in item.topic} | topic_weights(pool)
