"""The Drill screen: questions that are open in some page. Their answers stay here until the learner has given one."""

from secrets import token_urlsafe

from grader.bank.catalog import House
from grader.drills.shown import read_back
from grader.drills.value import Unread
from grader.learner.drill import Turn, Wish, wanted
from grader.serve import wire
from grader.views.drill import again, what_was_found, why_nothing

_MOST_OPEN = 64
"""Questions that are kept; of more the oldest goes, as a page that nobody looks at any more would leave it."""


class NotOpen(KeyError):
    """The server does not know this question: it was started anew since, or has asked many others."""


class Drills:
    """The questions that pages have open, each under a name that nobody guesses and no other start gives."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._open: dict[str, _Open] = {}

    def next(self, asked: wire.DrillWish) -> wire.DrillNext:
        """The next question of a sitting. Raises HouseError, and ProgressError where nothing can be read."""
        wish = Wish(asked.topic, asked.role, asked.due, asked.all, asked.but)
        chosen = wanted(self._house, wish)
        if not chosen.queue:
            return wire.DrillNext(turn=None, lacks=chosen.lacks, why=why_nothing(chosen), topic=chosen.topic)
        place = len(asked.but) + 1
        one = _Open(Turn(self._house, chosen.queue[0]), place, place - 1 + chosen.to_ask)
        while len(self._open) >= _MOST_OPEN:
            del self._open[next(iter(self._open))]
        self._open[one.name] = one
        return wire.DrillNext(turn=one.told(), lacks="", why="", topic="")

    def turn(self, name: str) -> wire.DrillTurn:
        """A question as it stands. Raises NotOpen."""
        return self._named(name).told()

    def hint(self, name: str) -> wire.DrillTurn:
        """The question with one hint more. Raises NotOpen."""
        one = self._named(name)
        if one.verdict is None:
            one.turn.hint()
        return one.told()

    def read(self, name: str, typed: str) -> wire.ReadBack:
        """What was typed so far, as it is understood. Raises NotOpen."""
        variant = self._named(name).turn.variant
        try:
            return wire.ReadBack(said=read_back(variant, typed), problem="")
        except Unread as error:
            return wire.ReadBack(said="", problem=str(error))

    def answer(self, name: str, typed: str) -> wire.DrillTurn:
        """The question with its verdict; the first one, where it was answered before. Raises NotOpen, Unread."""
        one = self._named(name)
        if one.verdict is None:
            one.verdict = _verdict(one.turn, typed)
        return one.told()

    def _named(self, name: str) -> "_Open":
        try:
            return self._open[name]
        except KeyError:
            raise NotOpen(name) from None


class _Open:
    """A question that a page shows."""

    def __init__(self, turn: Turn, place: int, of: int) -> None:
        self.name = token_urlsafe(9)
        self.turn = turn
        self.verdict: wire.DrillVerdict | None = None
        self._place = place
        self._of = of

    def told(self) -> wire.DrillTurn:
        return wire.DrillTurn(
            turn=self.name, place=self._place, of=self._of, asked=self.turn.shown, hints=self.turn.hints_given,
            verdict=self.verdict,
        )  # fmt: skip


def _verdict(turn: Turn, typed: str) -> wire.DrillVerdict:
    warnings = list[str]()
    told, days = turn.answer(typed, warnings.append)
    return wire.DrillVerdict(
        typed=typed.strip(), found=what_was_found(told), told=told, again=again(days) if days is not None else "",
        warning=" ".join(warnings),
    )  # fmt: skip
