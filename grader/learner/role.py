"""What a role may be asked in this house, and what this learner knows of it."""

from grader.bank.catalog import House
from grader.base.errors import HouseError
from grader.drills.heads import heads
from grader.drills.schedule import recall
from grader.learner.interview import KNOWN, Candidate, candidates, likelihoods
from grader.records.drilled import Drilled


def pool_of(house: House, role: str) -> list[Candidate]:
    """The questions that a role may be asked. Raises HouseError where there is no such role, or no question."""
    house.coverage.find_role(role)
    questions = heads(house)
    past = Drilled(house.root).past(questions)
    recalls = {
        id: recall(card, past.today)
        for id, card in past.cards.items()
        if id in questions and card.revision == questions[id].revision
    }
    pool = candidates(house.coverage, role, questions.values(), recalls)
    if not pool:
        raise HouseError(f"There are no drills here that the role '{role}' is asked.")
    return pool


def weights_of(house: House, role: str, pool: list[Candidate]) -> dict[str, float]:
    """Every topic that a role is asked about to its weight; nothing is known of those without a question."""
    unknown = {topic: KNOWN * weight for topic, weight in house.coverage.topic_weights(role).items()}
    return unknown | likelihoods(pool)
