"""Arithmetic as somebody types it: `2*32*(128+1)`, `2^19`, `1/3`, `sqrt(6)`, `ln(9)`. Read by hand, in bounded time.

Nothing is evaluated by Python: a text of 120 characters and values up to 10⁴⁰ bound the work; above the power of 64
numbers are floats.
"""

import math
import re
from collections.abc import Callable, Mapping

LONGEST = 120
_MOST_POWER = 64
"""The largest power of a whole number that is computed in full."""
_LARGEST = 1e40
_FUNCTIONS: Mapping[str, Callable[[float], float]] = {
    "sqrt": math.sqrt, "exp": math.exp, "ln": math.log, "log2": math.log2, "log10": math.log10,
    "floor": math.floor, "ceil": math.ceil,
}  # fmt: skip
CONSTANTS = {"e": math.e, "pi": math.pi}
_READ = "numbers, + - * / ** ( ), sqrt, exp and ln"

_ALIKE = str.maketrans(
    {"−": "-", "–": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "\u00a0": " ", "\u2009": " ", "\u202f": " "}
    | {"½": "(1/2)", "¼": "(1/4)", "¾": "(3/4)", "⅓": "(1/3)", "⅔": "(2/3)", "√": " sqrt ", "π": "pi"}
)
_FROM_A_MODULE = re.compile(r"\b(?:math|np|numpy|torch)\.(?=[a-z])")
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_TOKEN = re.compile(r"\s*((?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[A-Za-z_]\w*|\*\*|//|[-+*/%()^])", re.A)


class Unread(ValueError):
    """A typed answer that cannot be read; the message is a sentence that says what to write. Nothing is judged."""


def value_of(text: str, names: Mapping[str, float] | None = None) -> float:
    """The value of an expression of numbers, `+ - * / // % ** ^ ( )`, `sqrt` and other functions, and of `names`.

    An int where only whole numbers come in and no `/` is used; else a float, finite. Raises Unread.
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
    return _FROM_A_MODULE.sub("", raised.translate(_ALIKE)).strip()


class _Reader:
    """Reads one expression, from left to right: a sum of products of powers."""

    def __init__(self, text: str, names: Mapping[str, float]) -> None:
        self.names = names
        self.tokens = _tokens(spelled(text))
        self.at = 0

    def whole(self) -> float:
        found = self.sum()
        if self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token.isidentifier() and token not in {*self.names, *CONSTANTS, *_FUNCTIONS}:
                self.named(token)  # says that it is not known
            product = " Write a * between what is multiplied." if token == "(" or token[0].isalnum() else ""
            raise Unread(f"'{token}' is not expected there.{product}")
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
            base = float(base)
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
        if token in CONSTANTS:
            return CONSTANTS[token]
        if token in _FUNCTIONS:
            return self.function(token)
        if token == "log":
            raise Unread("'log' may have several bases: write ln, log2 or log10.")
        known = f"; the names here are {', '.join(self.names)}" if self.names else ""
        if token.isidentifier():
            raise Unread(f"'{token}' is not known{known}. Write {_READ}.")
        raise Unread(f"'{token}' is not expected there.")

    def function(self, name: str) -> float:
        inner = self.atom()
        try:
            return _FUNCTIONS[name](inner)
        except ValueError:
            what = "A root of a negative number" if name == "sqrt" else f"{name}({inner:g})"
            raise Unread(f"{what} is no number here.") from None

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
            raise Unread(f"'{text[at:].strip()[:1]}' cannot be read. Write {_READ}.")
        tokens.append(found[1])
        at = found.end()
    if not tokens:
        raise Unread("Write a number.")
    return tokens


def _bounded(value: float) -> float:
    if not abs(value) <= _LARGEST:  # infinite and NaN too
        raise Unread("This is larger than 10^40.")
    return value
