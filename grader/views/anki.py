"""Drills as a deck for Anki: a note a question, with a card for each of three variants.

Ids are fixed and a note is known by its question, so that a deck that is imported again updates what is there.
"""

import importlib.util
import io
from collections.abc import Iterable, Iterator
from html import escape
from itertools import islice
from pathlib import Path

import msgspec

from grader.base.errors import HouseError
from grader.base.files import replace_file
from grader.base.text import plain
from grader.drills.judge import Judged
from grader.drills.question import Question, Variant, variant
from grader.drills.shown import Shown, mistakes, shown, told

VARIANTS = 3
"""A note has so many, where a question draws so many that differ."""
_TRIED = 40
_DECK, _MODEL = 1764510203, 1764510204  # Anki tells decks and kinds of notes apart by these: never change them
_NAME = "dl-kata drills"
_STYLE = """
.card { font-family: sans-serif; font-size: 18px; text-align: left; max-width: 40em; margin: 0 auto; }
.topic, .note, .source { opacity: 0.7; font-size: 14px; }
pre { font-size: 15px; overflow-x: auto; }
.answer { font-weight: bold; }
"""


class Note(msgspec.Struct, frozen=True):
    """A question as Anki keeps it: HTML."""

    id: str
    cards: tuple[tuple[str, str], ...]
    """Front and back of each variant."""
    tags: tuple[str, ...]


def note(question: Question) -> Note:
    """A question with its first variants that differ. Raises HouseError where it cannot be asked."""
    cards = tuple((_front(shown(one)), _back(one)) for one in islice(_different(question), VARIANTS))
    tags = f"topic::{question.topic.replace('.', '::')}", f"exercise::{question.exercise}", f"level::{question.level}"
    return Note(question.id, cards, tags)


def need_genanki() -> None:
    """Raises HouseError where the package that writes a deck is not installed."""
    if importlib.util.find_spec("genanki") is None:
        raise HouseError("This writes a deck for Anki with the package genanki: pip install genanki first.")


def write_deck(path: Path, notes: Iterable[Note]) -> int:
    """Write a deck, and return how many cards it has. Raises HouseError where that cannot be."""
    need_genanki()
    import genanki

    numbers = range(1, VARIANTS + 1)
    fields = ["Drill", *(f"{side} {number}" for number in numbers for side in ("Question", "Answer"))]
    templates = [
        {
            "name": f"Variant {number}",
            "qfmt": f"{{{{#Question {number}}}}}{{{{Question {number}}}}}{{{{/Question {number}}}}}",
            "afmt": f"{{{{FrontSide}}}}<hr id=answer>{{{{Answer {number}}}}}",
        }
        for number in numbers
    ]
    model = genanki.Model(_MODEL, _NAME, [{"name": name} for name in fields], templates, css=_STYLE)
    deck, count = genanki.Deck(_DECK, _NAME), 0
    for one in notes:
        sides = [side for card in one.cards for side in card]
        sides += [""] * (2 * VARIANTS - len(sides))
        id = genanki.guid_for(_NAME, one.id)
        deck.add_note(genanki.Note(model, [escape(one.id), *sides], guid=id, tags=list(one.tags)))
        count += len(one.cards)
    data = io.BytesIO()
    genanki.Package(deck).write_to_file(data)
    try:
        replace_file(path, data.getvalue())
    except OSError as error:
        raise HouseError(f"{plain(str(path))} cannot be written: {error.strerror}.") from None
    return count


def _different(question: Question) -> Iterator[Variant]:
    """Variants that ask differently, the same ones each time."""
    seen = set()
    for seed in range(_TRIED):
        one = variant(question, seed)
        asked = one.asked.ask, getattr(one.asked, "code", ""), one.options
        if asked not in seen:
            seen.add(asked)
            yield one


def _front(asked: Shown) -> str:
    lines = [
        f'<div class="topic">{_text(asked.topic)} · {_text(asked.exercise)}</div>',
        f'<p>{_text(asked.ask)} <span class="note">({_text(asked.note)})</span></p>',
    ]
    if asked.code:
        lines.append(f"<pre>{_text(chr(10).join(asked.listing))}</pre>")
    if asked.options:
        lines.append(f"<ol>{''.join(f'<li>{_text(option)}</li>' for option in asked.options)}</ol>")
    return "".join(lines)


def _back(one: Variant) -> str:
    said = told(one, Judged(True))
    traps = "".join(f"<li>{_text(name)}: {_piece(wrong)}</li>" for name, wrong in mistakes(one).items())
    return "".join(
        [
            f'<div class="answer">{_piece(said.answer)}</div>',
            f"<div>= {_text(said.worked)}</div>" if said.worked else "",
            f"<p>{_text(said.why)}</p>",
            f"<div>Not:</div><ul>{traps}</ul>",
            f'<div class="source">{_text(said.source)}</div>',
        ]
    )


def _piece(text: str) -> str:
    """An answer; what has several lines, or spaces that count, as it stands."""
    return f"<pre>{_text(text)}</pre>" if "\n" in text or "  " in text else _text(text)


def _text(text: str) -> str:
    """Text that stays text: no tag, and none of Anki's own marks in brackets, as `[sound:x]` and `[latex]`."""
    return escape(text).replace("[", "&#91;")
