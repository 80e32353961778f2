"""One sitting of drills: what is asked, what was answered, what is kept. The terminal and the page talk around it."""

from collections.abc import Callable, Iterable, Mapping
from time import monotonic

import msgspec

from grader.bank.catalog import House, label_of
from grader.bank.coverage import Mark
from grader.base.errors import HouseError
from grader.base.now import now, today
from grader.base.seeds import new_seed
from grader.base.text import nearest, plain
from grader.drills.choose import NEW_A_DAY, NOTHING, Chosen, Past, choose, is_due
from grader.drills.heads import Listed, heads
from grader.drills.judge import judged
from grader.drills.load import question_of
from grader.drills.question import Variant, variant
from grader.drills.schedule import Answer, card_of
from grader.drills.shown import Shown, Told, shown, told
from grader.drills.topics import drilled_topics
from grader.records.drilled import Drilled
from grader.records.progress import ProgressError


class Wish(msgspec.Struct, frozen=True):
    """Which questions somebody wants."""

    topic: str = ""
    """An id, or the beginning of several: `kv` for all of `kv.memory`, `kv.latent` ..."""
    role: str = ""
    due: bool = False
    """Only those answered before."""
    all: bool = False
    """Also those that are not due yet."""
    but: tuple[str, ...] = ()
    """Ids of those that this sitting asked already, in their order."""


def wanted(house: House, wish: Wish) -> Chosen:
    """The questions for now; of new ones first those of the exercise that was worked on last.

    Raises HouseError for what is not known, ProgressError where nothing can be read.
    """
    questions = _heads(house)
    drilled = Drilled(house.root)
    past, begun = drilled.past(questions), drilled.last_worked_on()
    latest = {label_of(id): place for place, id in enumerate(sorted(begun, key=lambda id: begun[id], reverse=True))}
    asked = sorted(questions.values(), key=lambda one: latest.get(one.id.partition(".")[0], len(latest)))
    new = 0 if wish.due else None if wish.topic or wish.role or wish.all else NEW_A_DAY
    return choose(_of(house, asked, wish), past, all_=wish.all, new=new, but=wish.but)


def every(house: House, wish: Wish) -> list[Listed]:
    """All questions of a topic or a role, whatever was asked today; with `due` those that are due.

    Raises as `wanted`.
    """
    questions = _heads(house)
    found = _of(house, questions.values(), wish)
    past = Drilled(house.root).past(questions) if wish.due else None
    return [one for one in found if past is None or is_due(one, past)]


def _heads(house: House) -> Mapping[str, Listed]:
    questions = heads(house)
    if not questions:
        raise HouseError("There are no drills here yet.")
    return questions


def _of(house: House, questions: Iterable[Listed], wish: Wish) -> list[Listed]:
    """Of a topic or a role; those of a role by its weights, the weightiest first."""
    found = list(questions)
    if wish.topic:
        topics = [one.topic for one in found]
        found = [one for one in found if one.topic == wish.topic or one.topic.startswith(f"{wish.topic}.")]
        if not found and wish.topic in house.coverage.topics:
            raise HouseError(f"There is no drill on {wish.topic} yet.")
        if not found:
            known = dict.fromkeys([*(topic.partition(".")[0] for topic in topics), *topics])
            meant = nearest(wish.topic, known)
            raise HouseError(f"There is no topic '{wish.topic}'.{meant} `grader status --topics` names them all.")
    if wish.role:
        weights = house.coverage.topic_weights(house.coverage.find_role(wish.role).id)
        found = [one for one in found if one.topic in weights]
        found.sort(key=lambda one: -weights[one.topic])
    return found


def for_today(house: House) -> Chosen:
    """What there is to ask today; nothing where nobody can tell. Raises HouseError."""
    try:
        return wanted(house, Wish()) if heads(house) else NOTHING
    except ProgressError:  # said where what is earned was asked for
        return NOTHING


def drill_marks(house: House) -> dict[str, tuple[int, Mark]]:
    """Each topic that has questions, to how many, and whether they are drilled. Raises HouseError."""
    questions, drilled = heads(house), Drilled(house.root)
    try:
        past, answers = drilled.past(questions), drilled.answers()
    except ProgressError:  # said where what is earned was asked for
        past, answers = Past(today()), []
    topics = drilled_topics(questions.values(), answers, past.cards, past.today)
    return {topic: (one.questions, one.mark) for topic, one in topics.items()}


class Turn:
    """One question, from being shown until it is answered."""

    def __init__(self, house: House, listed: Listed, seed: int | None = None) -> None:
        self.house = house
        self.variant: Variant = variant(question_of(house, listed.id), new_seed() if seed is None else seed)
        self.hints = 0
        self._began = monotonic()

    @property
    def shown(self) -> Shown:
        return shown(self.variant)

    @property
    def hints_given(self) -> tuple[str, ...]:
        return self.variant.asked.hints[: self.hints]

    def hint(self) -> str:
        """The next hint; the last one again where both were given."""
        self.hints = min(self.hints + 1, 2)
        return self.hints_given[-1]

    def answer(self, typed: str, unkept: Callable[[str], None]) -> tuple[Told, int | None]:
        """The verdict, and in how many days it is asked again; None where that is not known. Raises Unread.

        unkept: told why where the answer could not be kept.
        """
        found, card = judged(self.variant, typed), self.variant.question
        kept = Answer(
            question=card.id,
            revision=card.revision,
            seed=self.variant.seed,
            at=now(),
            typed=plain(typed.strip()),
            verdict="right" if found.right else "wrong",
            trap=found.trap,
            hints=self.hints,
            seconds=round(monotonic() - self._began, 1),
        )
        return told(self.variant, found), self._keep(kept, unkept)

    def _keep(self, answer: Answer, unkept: Callable[[str], None]) -> int | None:
        drilled = Drilled(self.house.root)
        try:
            drilled.answer(answer)
            earlier = drilled.answers(answer.question)
        except ProgressError as error:
            unkept(str(error))
            return None
        card = card_of(earlier, self.variant.question.level)
        return (card.due - answer.day).days if card else None
