"""A question, and its variants: the same seed gives the same variant, everywhere."""

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import msgspec

from grader.base.errors import HouseError
from grader.drills.draw import Draw
from grader.drills.kinds import Choice, Kind, Order
from grader.drills.same import answers, same, stands_in

REDRAWS = 20
"""How often a variant is drawn where a trap equals the answer or another trap, or the question holds the answer."""

Make = Callable[[Draw], Kind]


class Question:
    """A card: what `@question` makes of a function that draws one variant."""

    def __init__(self, make: Make, topic: str, level: int, source: str, readme: Any, seed: Any, revision: int) -> None:
        self.make = make
        self.name = make.__name__
        self.topic = topic
        self.level = level
        self.source = source
        self.readme = _several(readme)
        self.seeds = _several(seed)
        self.revision = revision
        self.exercise = ""
        """The label of its exercise, as `dl_011`, once it is loaded."""
        self.computed: Callable[..., Any] | None = None
        """The second computation."""

    @property
    def id(self) -> str:
        """`dl_011.bytes_a_token`: its name in the progress file."""
        return f"{self.exercise}.{self.name}"

    def second(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        """Takes the second computation of the answer, for the audit alone: a function of what is `given`."""
        self.computed = compute
        return compute


def question(
    *,
    topic: str,
    level: int,
    source: str,
    readme: str | tuple[str, ...] = (),
    seed: str | tuple[str, ...] = (),
    revision: int = 1,
) -> Callable[[Make], Question]:
    """Makes a question of a function that draws.

    topic: an id of coverage.toml. level: 1 to 3. source: author, year, section. readme: the question of a statement
    that it answers, as `dl_011/2`. seed: the question of an older collection, as `000/12`. revision: raise it when the
    answer changes.
    """
    return lambda make: Question(make, topic, level, source, readme, seed, revision)


class Variant(msgspec.Struct, frozen=True):
    """A question as one seed asks it."""

    question: Question
    seed: int
    asked: Kind
    drawn_from: str
    """The seed of its draws."""
    options: tuple[str, ...] = ()
    """Of a Choice or an Order: what is shown, in that order."""
    fault: str = ""
    """What is wrong with it where redrawing did not help."""


def variant(question: Question, seed: int) -> Variant:
    """The question as a seed asks it. Raises HouseError where its author's code fails."""
    name = f"{question.name}:{question.revision}:{seed}"
    for attempt in range(REDRAWS):
        drawn_from = f"{name}:{attempt}"
        try:
            asked = question.make(Draw(drawn_from))
            fault = next(faults(asked), "")
        except Exception as error:
            raise HouseError(f"the question {question.id} cannot be asked with seed {seed}: {error!r}.") from error
        if not fault:
            break
    return Variant(question, seed, asked, drawn_from, _options(asked, f"{name}:options"), fault)


def faults(asked: Kind) -> Iterator[str]:
    """What makes a variant unfair, so that it is drawn anew."""
    named: list[tuple[str, Any]] = [
        ("the answer", asked.answer),
        *((f"'{name}'", t) for name, t in asked.traps.items()),
    ]
    for (one, a), (other, b) in combinations(named, 2):
        if same(asked, a, b, apart=2):
            yield f"{other} equals {one}: {_shown(a)}"
    if not isinstance(asked, Order):
        for place, text in (("the question", asked.ask), ("hint 1", asked.hints[0])):
            for answer in answers(asked):
                if stands_in(answer, text):
                    yield f"the answer, {answer}, stands in {place}"


def _options(asked: Kind, name: str) -> tuple[str, ...]:
    if isinstance(asked, Choice):
        return tuple(Draw(name).shuffled([asked.answer, *asked.traps.values()]))
    if isinstance(asked, Order):
        items, draw = list(asked.answer), Draw(name)
        shown = draw.shuffled(items)
        while shown == items and len(set(items)) > 1:
            shown = draw.shuffled(items)
        return tuple(shown)
    return ()


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _several(named: str | tuple[str, ...]) -> tuple[str, ...]:
    return (named,) if isinstance(named, str) else tuple(named)
