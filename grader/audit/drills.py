"""Is each drill right, fair and readable, whatever it draws? `docs/drills.md` lists the rules."""

import ast
import math
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from time import process_time
from typing import Any

import msgspec

from grader.audit.mutated import Formula, TooLong, gap_survivors, survivors, within
from grader.audit.unasked import OLDER
from grader.audit.variants import SECONDS, amiss, runs
from grader.bank.catalog import Exercise, House, find_house
from grader.bank.questions import read_questions
from grader.bank.source import read_source
from grader.base.errors import HouseError, RunError
from grader.base.text import nearest
from grader.drills.heads import Head, heads_of
from grader.drills.kinds import Blank, Bug, Choice, Kind, Number, Order, Predict
from grader.drills.load import all_questions, questions_of
from grader.drills.question import Question, Variant, variant
from grader.drills.same import close, same
from grader.drills.value import value_of

SEEDS = 1000
SAMPLE = 60
"""Seeds where the generated mutants are sampled too, as in CI."""
_SOURCE = 60
_PATIENCE = 2.0
"""Seconds of the processor for one question."""
_ANSWERS = {Choice: 2, Bug: 2}
_MANY_ANSWERS = 6
_MUTATED_ON = 40
_GUESSED = 0.01


class Audit:
    """What is found of one question over many seeds."""

    def __init__(self, house: House, question: Question, seeds: int) -> None:
        self.house, self.question, self.seeds = house, question, seeds
        self.found: dict[str, tuple[str, list[int]]] = {}
        """Each finding, by its words without the numbers: with the numbers of the first seed that shows it."""
        self.variants: dict[str, Variant] = {}
        """The different ones, by all that is shown and asked."""
        self.seconds: list[Any] = []
        self.mutants = 0

    def lines(self) -> list[str]:
        """Each finding once, with a seed that shows it."""
        try:
            self._facts()
            began = process_time()
            for seed in range(self.seeds):
                if process_time() - began > _PATIENCE:
                    self._say(f"{seed} seeds take more than {_PATIENCE:g} s: let it compute less.")
                    break
                one = variant(self.question, seed)
                if self.variants.setdefault(repr((one.asked, one.fault)), one) is one:
                    self._look(one)
            self._together()
        except HouseError as error:
            self._say(str(error).removeprefix(f"the question {self.question.id} "), -1)
        return [f"{self.question.id}: {said}{_seen(seeds)}" for said, seeds in self.found.values()]

    def _say(self, finding: str, seed: int = -1) -> None:
        key = re.sub(r"\d[\d.,]*", "0", finding) if seed >= 0 else finding
        self.found.setdefault(key, (finding, []))[1].append(seed)

    def _facts(self) -> None:
        card, topics = self.question, self.house.coverage.topics
        head = Head(card.id, card.topic, card.level, card.revision)
        if head not in heads_of(_file(card)):
            self._say("its decorator is not read: write @question(...) with plain values, right above its def.")
        if card.topic not in topics:
            self._say(f"there is no topic '{card.topic}'.{nearest(card.topic, topics)}")
        if card.level not in (1, 2, 3):
            self._say(f"its level is {card.level}; levels are 1, 2 and 3.")
        if not card.source.strip() or len(card.source) > _SOURCE:
            self._say(f"give its source: author, year and section, in at most {_SOURCE} characters.")
        for named in card.readme:
            label, _, number = named.partition("/")
            asked = next((len(read_questions(e)) for e in self.house.exercises.values() if e.label == label), 0)
            if not number.isdecimal() or not 1 <= int(number) <= asked:
                self._say(f"no statement asks '{named}': {label} asks {asked} questions.")
        for named in card.seeds:
            collection, _, number = named.partition("/")
            if not number.isdecimal() or not 1 <= int(number) <= OLDER.get(collection, 0):
                self._say(f"no older collection asks '{named}'.")

    def _look(self, one: Variant) -> None:
        said = list(amiss(one))
        if not said:
            try:
                said = list(self._computed(one))
            except (Exception, TooLong) as error:
                said = [f"the second computation fails: {error!r}."]
        for finding in said:
            self._say(finding, one.seed)

    def _computed(self, one: Variant) -> Iterator[str]:
        asked, compute = one.asked, self.question.computed
        if isinstance(asked, Predict | Bug) or (isinstance(asked, Blank) and asked.prints):
            yield from runs(asked)
            return
        if compute is None:
            yield "it has no second computation: give one with `.second`."
            return
        with within(SECONDS):
            second = compute(**asked.given)
        self.seconds.append(second)
        first = value_of(asked.answer, asked.given) if isinstance(asked, Blank) else asked.answer
        is_same = close(first, second, 1e-6) if isinstance(first, int | float) else same(asked, first, second)
        if not is_same:
            yield f"the second computation gives {second!r}, the answer is {first!r}."

    def _together(self) -> None:
        """What all variants show together."""
        asked = [one.asked for one in self.variants.values()]
        drawn = {repr(one.answer) for one in asked}
        least = _ANSWERS.get(type(asked[0]), _MANY_ANSWERS)
        if len(drawn) < least:
            self._say(f"only {len(drawn)} different answers are drawn; at least {least}: widen the ranges.")
        for number in _drawn_numbers(asked):
            self._say(f"`why` holds the drawn number {number}.")
        if not self.found and isinstance(asked[0], Number):
            self._mutate()
        if not self.found and isinstance(asked[0], Blank) and not asked[0].prints:
            self._wrong_formulas(*gap_survivors(list(self.variants.values()), self.seconds))

    def _mutate(self) -> None:
        path = _file(self.question)
        formula = Formula(self.question, _tree(path))
        for name in formula.shared():
            self._say(f"both computations use `{name}`: compute the second in another way.")
        if formula.is_repeated():
            self._say("the second computation is the formula again: count, simulate or build it.")
        variants = list(self.variants.values())[:_MUTATED_ON]
        self._wrong_formulas(*survivors(formula, variants, self.seconds[:_MUTATED_ON]))

    def _wrong_formulas(self, left: list[str], tried: int) -> None:
        self.mutants = tried
        for said in left:
            self._say(f"a wrong formula gives the same: {said}. Widen the ranges, or simplify the formula.")


def _drawn_numbers(asked: Sequence[Kind]) -> list[str]:
    """Numbers in `why` that are given or the answer, and not in every `why`."""
    numbers = [set(re.findall(r"\d[\d,.]*\d|\d", one.why)) for one in asked]
    always = set.intersection(*numbers)
    drawn = set[str]()
    for one, found in zip(asked, numbers, strict=True):
        values = [value for value in (*one.given.values(), one.answer) if isinstance(value, int | float)]
        drawn |= (found - always) & {text for value in values for text in (f"{value:g}", f"{value}", f"{value:,}")}
    return sorted(drawn)


@lru_cache(maxsize=2)
def _tree(path: Path) -> ast.Module:
    return ast.parse(read_source(path))


def _file(question: Question) -> Path:
    return Path(question.make.__code__.co_filename)


def _seen(seeds: list[int]) -> str:
    if seeds[0] < 0:
        return ""
    return f" (seed {seeds[0]}{f' and {len(seeds) - 1} more' if seeds[1:] else ''})"


def guessed(questions: Sequence[Question]) -> list[str]:
    """Topics that random answers may complete: each question right on two days, on three where it is the only one."""
    found = []
    for topic in dict.fromkeys(one.topic for one in questions):
        asked = [variant(one, 0).asked for one in questions if one.topic == topic]
        days = 2 if len(asked) > 1 else 3
        chance = math.prod(_chance(one) for one in asked) ** days
        if chance >= _GUESSED:
            found.append(f"whoever guesses completes {topic} with a chance of {chance:.1%}: ask for a number there.")
    return found


def _chance(asked: Kind) -> float:
    """Of a random answer to be right."""
    if isinstance(asked, Choice):
        return 1 / (1 + len(asked.traps))
    if isinstance(asked, Order):
        return 1 / math.factorial(len(asked.answer))
    if isinstance(asked, Bug):
        return 1 / len(asked.lines)
    return 1e-3


def look_alone(exercise: Exercise, seeds: int) -> tuple[list[str], str]:
    """`look`, in a process of its own: what drills run may be torch's, and an audit forks."""
    command = [sys.executable, "-m", "grader.audit.drills", str(exercise.root), exercise.id, str(seeds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        raise RunError(f"the drills of {exercise.id} could not be audited: code {done.returncode}.")
    found, said = msgspec.json.decode(done.stdout, type=tuple[list[str], str])
    return found, said


def _main() -> None:
    root, id, seeds = sys.argv[1:]
    house = find_house(Path(root))
    try:
        told = look(house, questions_of(house.exercises[id]), int(seeds))
    except HouseError as error:
        told = [str(error)], ""
    print(msgspec.json.encode(told).decode())


def look(house: House, questions: Sequence[Question], seeds: int) -> tuple[list[str], str]:
    """All that is wrong with some questions, and a line that sums up."""
    found, mutants = list[str](), 0
    if any("import torch" in read_source(path) for path in {_file(one) for one in questions}):
        import torch  # noqa: F401 - takes longer than what is timed, and may not be cut short
    for one in questions:
        audit = Audit(house, one, seeds)
        found += audit.lines()
        mutants += audit.mutants
    topics = {one.topic for one in questions}
    if not found:
        found = guessed([one for one in all_questions(house).values() if one.topic in topics])
    return found, f"{len(questions)} questions on {len(topics)} topics, {seeds:,} seeds, {mutants} wrong formulas"


if __name__ == "__main__":
    _main()
