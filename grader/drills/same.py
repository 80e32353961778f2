"""Whether two answers to a question are the same, kind by kind."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from grader.drills.draw import Draw
from grader.drills.kinds import Blank, Kind, Number, Order, Predict
from grader.drills.units import written
from grader.drills.value import Unread, value_of

_POINTS = 6
_TOKEN = re.compile(r"[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?|[-+]?\.\d+(?:[eE][-+]?\d+)?|\w+|[^\w\s]", re.A)
_NUMBER = re.compile(r"[-+]?\.?\d")
_AS_TOLD = str.maketrans("(),;−–\"'’‘“”", "[]  --      ")


def same(asked: Kind, one: Any, other: Any, apart: float = 1) -> bool:
    """Whether two answers are one. apart: how many tolerances numbers may be apart, and still are."""
    if isinstance(asked, Number):
        return close(one, other, apart * asked.tolerance)
    if isinstance(asked, Order):
        return list(one) == list(other)
    if isinstance(asked, Blank):
        return same_expression(one, other, tuple(asked.given))
    if isinstance(asked, Predict):
        return same_told(one, other)
    return squeezed(one) == squeezed(other)


def close(one: float, other: float, tolerance: float) -> bool:
    """Whether two numbers differ by no more than a share of the larger. An infinite one is like itself alone."""
    return one == other or abs(one - other) <= tolerance * max(abs(one), abs(other)) < math.inf


def same_expression(one: str, other: str, names: Sequence[str]) -> bool:
    """Whether two pieces of code are one: equal values for all values of the names, or else the same text."""
    if _unspaced(one) == _unspaced(other):
        return True
    try:
        return all(close(value_of(one, point), value_of(other, point), 1e-9) for point in points(names))
    except Unread:
        return False


def points(names: Sequence[str]) -> Iterator[dict[str, int]]:
    """Values of names, to tell expressions apart."""
    for number in range(_POINTS):
        draw = Draw(f"point {number}")
        yield {name: draw.between(2, 40) for name in names}


def same_output(one: str, other: str) -> bool:
    """Whether two outputs are one, without regard to spaces, line ends, quotes, and how a number is written."""
    ones, others = _TOKEN.findall(_one_quote(one)), _TOKEN.findall(_one_quote(other))
    return len(ones) == len(others) and all(map(_same_token, ones, others))


def same_told(one: str, other: str) -> bool:
    """Whether two people tell the same output: no commas or quotes, `()` for `[]`, the outermost pair left out."""
    ones, others = _tokens_told(one), _tokens_told(other)
    if _is_one_list(ones) != _is_one_list(others):
        ones, others = (tokens[1:-1] if _is_one_list(tokens) else tokens for tokens in (ones, others))
    return len(ones) == len(others) and all(map(_same_token, ones, others))


def _tokens_told(text: str) -> list[str]:
    told = text.translate(_AS_TOLD)
    return [token if _NUMBER.match(token) else token.lower() for token in _TOKEN.findall(told)]


def _is_one_list(tokens: Sequence[str]) -> bool:
    """Whether the first bracket is closed by the last token."""
    depth = 0
    for place, token in enumerate(tokens):
        depth += {"[": 1, "]": -1}.get(token, 0)
        if depth == 0:
            return place > 0 and place == len(tokens) - 1
    return False


def _same_token(one: str, other: str) -> bool:
    if one == other:
        return True
    return bool(_NUMBER.match(one) and _NUMBER.match(other)) and close(float(one), float(other), 1e-9)


def squeezed(text: str) -> str:
    """A text with single spaces."""
    return " ".join(text.split())


def _unspaced(code: str) -> str:
    return re.sub(r"(?<=\W) +| +(?=\W)", "", squeezed(_one_quote(code)))


def _one_quote(text: str) -> str:
    return text.replace('"', "'")


def answers(asked: Kind) -> list[str]:
    """The right answer in the ways in which it might stand in a text."""
    if isinstance(asked, Number):
        plain = f"{asked.answer}" if isinstance(asked.answer, int) else f"{asked.answer:.4g}"
        return list(dict.fromkeys([plain, written(asked.answer)]))
    return [] if isinstance(asked, Order) else [asked.answer]


def stands_in(answer: str, text: str) -> bool:
    """Whether a text holds an answer as a word or number of its own."""
    return answer in text and bool(re.search(rf"(?<![\w.,]){re.escape(answer)}(?![\w]|[.,]\d)", text))
