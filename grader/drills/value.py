"""Arithmetic as somebody types it: `2*32*(128+1)`, `2^19`, `1/3`, `sqrt(6)`. Read by hand, in bounded time.

Nothing is evaluated by Python: a text of 120 characters, powers up to 64 and values up to 10⁴⁰ bound the work.
"""

import math
import re
from collections.abc import Mapping

LONGEST = 120
_MOST_POWER = 64
_LARGEST = 1e40

_ALIKE = str.maketrans(
    {"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "\u00a0": " ", "\u2009": " ", "\u202f": " "}
    | {"½": "0.5", "¼": "0.25", "⅓": "(1/3)", "√": "sqrt"}
)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_TOKEN = re.compile(r"\s*((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[A-Za-z_]\w*|\*\*|//|[-+*/%()^])", re.A)


class Unread(ValueError):
    """A typed answer that cannot be read; the message is a sentence that says what to write. Nothing is judged."""


def value_of(text: str, names: Mapping[str, float] | None = None) -> float:
    """The value of an expression of numbers, `+ - * / // % ** ^ ( )`, `sqrt`, and of `names`. Raises Unread.

    An int where only whole numbers come in and no `/` is used; else a float, finite.
    """
    if len(text) > LONGEST:
        raise Unread(f"This has {len(text):,} characters; write at most {LONGEST}.")
    try:
        return _bounded(_Reader(text, names or {}).whole())
    except ZeroDivisionError:
        raise Unread("This divides by 0.") from None
    except OverflowError:
        raise Unread("This is larger than 10^40.") from None


def spelled(text: str) -> str:
    """A text with the signs of this module: `×` and `·` are `*`, `2³⁰` is `2^30`."""
    raised = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda found: "^" + found[0].translate(_RAISED), text)
    return raised.translate(_ALIKE).strip()


class _Reader:
    """Reads one expression, from left to right: a sum of products of powers."""

    def __init__(self, text: str, names: Mapping[str, float]) -> None:
        self.names = names
        self.tokens = _tokens(spelled(text))
        self.at = 0

    def whole(self) -> float:
        found = self.sum()
        if self.at < len(self.tokens):
            raise Unread(f"'{self.tokens[self.at]}' is not expected there.")
        return found

    def sum(self) -> float:
        found = self.product()
        while sign := self.take("+", "-"):
            other = self.product()
            found = _bounded(found + other if sign == "+" else found - other)
        return found

    def product(self) -> float:
        found = self.signed()
        while sign := self.take("*", "/", "//", "%"):
            other = self.signed()
            if sign == "*":
                found *= other
            elif sign == "/":
                found = found / other
            else:
                found = found // other if sign == "//" else found % other
            _bounded(found)
        return found

    def signed(self) -> float:
        if sign := self.take("+", "-"):
            return self.signed() if sign == "+" else -self.signed()
        return self.power()

    def power(self) -> float:
        base = self.atom()
        if not self.take("**", "^"):
            return base
        exponent = self.signed()
        if abs(exponent) > _MOST_POWER:
            raise Unread(f"The power {exponent:g} is too large; powers up to {_MOST_POWER} are read.")
        if base < 0 and exponent != int(exponent):
            raise Unread("A root of a negative number is no number here.")
        result: float = base**exponent
        return _bounded(result)

    def atom(self) -> float:
        if self.take("("):
            found = self.sum()
            if not self.take(")"):
                raise Unread("A bracket ')' is missing.")
            return found
        if self.at >= len(self.tokens):
            raise Unread("This ends too early.")
        token = self.tokens[self.at]
        self.at += 1
        if token[0].isdigit() or token[0] == ".":
            return _bounded(int(token) if token.isdigit() else float(token))
        return self.named(token)

    def named(self, token: str) -> float:
        if token in self.names:
            return self.names[token]
        if token == "sqrt":
            inner = self.atom()
            if inner < 0:
                raise Unread("A root of a negative number is no number here.")
            return math.sqrt(inner)
        known = f"; the names here are {', '.join(self.names)}" if self.names else ""
        if token.isidentifier():
            raise Unread(f"'{token}' is not known{known}. Write numbers, + - * / ** ( ) and sqrt.")
        raise Unread(f"'{token}' is not expected there.")

    def take(self, *signs: str) -> str:
        """The next token, if it is one of these."""
        if self.at < len(self.tokens) and self.tokens[self.at] in signs:
            self.at += 1
            return self.tokens[self.at - 1]
        return ""


def _tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            raise Unread(f"'{text[at:].strip()[:1]}' cannot be read. Write numbers, + - * / ** ( ) and sqrt.")
        tokens.append(found[1])
        at = found.end()
    if not tokens:
        raise Unread("Write a number.")
    return tokens


def _bounded(value: float) -> float:
    if not abs(value) <= _LARGEST:  # infinite and NaN too
        raise Unread("This is larger than 10^40.")
    return value
