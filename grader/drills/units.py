"""Numbers with units: `14 GiB`, `524,288`, `7b`, `33 %`. What a number is read as, and how it is written."""

import re
from typing import NamedTuple

from grader.drills.value import CONSTANTS, LONGEST, Unread, spelled, value_of


class Unit(NamedTuple):
    """What a unit measures, and how much of the basic unit of that it is."""

    measures: str
    """The basic unit: `B`, `B/s`, `FLOP`, `FLOP/s`, `FLOP/B`, `s`, or "" for numbers without one."""
    scale: float


_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_BILLION = 10**9
_SHORT = {"k": 10**3, "K": 10**3, "M": 10**6, "m": 10**6, "G": 10**9, "B": _BILLION, "b": _BILLION, "T": 10**12}
_SHORT |= _BINARY | {"thousand": 10**3, "million": 10**6, "billion": _BILLION, "trillion": 10**12}
_NO_UNIT = Unit("", 1)

UNITS: dict[str, Unit] = {"%": Unit("", 0.01), "x": _NO_UNIT, "FLOP/B": Unit("FLOP/B", 1), "FLOPs/B": Unit("FLOP/B", 1)}
for _prefix, _scale in (_DECIMAL | _BINARY).items():
    UNITS[f"{_prefix}B"] = Unit("B", _scale)
    UNITS[f"{_prefix}B/s"] = Unit("B/s", _scale)
    UNITS[f"{_prefix}bit"] = UNITS[f"{_prefix}bits"] = Unit("B", _scale / 8)
    UNITS[f"{_prefix}bit/s"] = Unit("B/s", _scale / 8)
for _prefix, _scale in _DECIMAL.items():
    UNITS[f"{_prefix}FLOP"] = UNITS[f"{_prefix}FLOPs"] = Unit("FLOP", _scale)
    UNITS[f"{_prefix}FLOP/s"] = UNITS[f"{_prefix}FLOPs/s"] = UNITS[f"{_prefix}FLOPS"] = Unit("FLOP/s", _scale)
UNITS |= {"KB": Unit("B", 10**3), "bytes": Unit("B", 1), "byte": Unit("B", 1)}
UNITS |= {"s": Unit("s", 1), "ms": Unit("s", 1e-3), "us": Unit("s", 1e-6), "µs": Unit("s", 1e-6), "ns": Unit("s", 1e-9)}
UNITS |= {"min": Unit("s", 60), "h": Unit("s", 3600), "day": Unit("s", 86400), "days": Unit("s", 86400)}
_SPELLED_OUT = {
    "percent": "%", "per cent": "%", "times": "x", "fold": "x", "X": "x",
    "sec": "s", "second": "s", "seconds": "s", "msec": "ms", "millisecond": "ms", "milliseconds": "ms",
    "microseconds": "us", "nanoseconds": "ns", "minute": "min", "minutes": "min", "hour": "h", "hours": "h", "hrs": "h",
    "kilobytes": "kB", "megabytes": "MB", "gigabytes": "GB", "terabytes": "TB",
}  # fmt: skip
_BELOW = _SPELLED_OUT | {"byte": "B", "bytes": "B"}

_ENDS_IN_UNIT = re.compile(r"(.*?[\d.)]|)\s*((?:[A-Za-zµμ]+(?:/[A-Za-zµμ]+)?|%)(?:\s+[a-z]+)*)", re.DOTALL)
_TIMES = re.compile(r"(?<=[\d)])(?<!\b0)\s*[xX]\s*(?=[\d(.])")
"""An x between two factors: `2x10^9`, but not `0x10`."""
_WHOLE = re.compile(r"\d{1,3}(?:,\d{3})+(?![\d,])")


def unit_of(name: str) -> Unit:
    """The unit of that name. A word in small letters that is no unit, as `tokens`, counts things. Raises KeyError."""
    if name in UNITS:
        return UNITS[name]
    if re.fullmatch(r"|[a-z]{2,}( [a-z]{2,})*", name):
        return _NO_UNIT
    raise KeyError(name)


def read(text: str, asked: str = "") -> float:
    """The number that somebody typed, in the unit that was asked for. Raises Unread with a sentence that says why not.

    asked: the unit of the question; a number without a unit is meant in it. `B` alone is bytes where bytes are asked
    for, else a billion. GB is 10⁹ bytes, GiB 2³⁰.
    """
    if len(text) > LONGEST:
        raise Unread(f"This has {len(text):,} characters; write at most {LONGEST}.")
    text = re.sub(r"×\s*$|-fold\s*$", " x", text)
    typed, wanted = _without_commas(spelled(text).lstrip("=~≈ ")), unit_of(asked)
    typed = _TIMES.sub("*", re.sub(r"(?<=\d)[ _](?=\d{3}(?!\d))", "", typed))
    found = _ENDS_IN_UNIT.fullmatch(typed)
    if within := next((word for word in re.findall(r"[A-Za-z]+", found[1] if found else typed) if word in UNITS), ""):
        raise Unread(f"Write the unit once, at the end: here '{within}' stands within the number.")
    if not found or typed in CONSTANTS:
        return value_of(typed)
    if not found[1]:
        raise Unread(f"'{found[2]}' is no number. Write one, like 12.5 or 3*2**20.")
    number, unit = value_of(found[1]), _typed_unit(found[2].replace("μ", "µ"), asked, wanted)
    if unit is None:
        return number
    if unit.measures != wanted.measures:
        raise Unread(f"'{found[2]}' {_measuring(unit)}; asked is {_asking(asked, wanted)}.")
    return number if unit == wanted else _times(number, unit.scale, wanted.scale)


def _times(number: float, scale: float, unit: float) -> float:
    """number · scale / unit: a whole number where that is exact."""
    product = number * scale
    if isinstance(product, int) and isinstance(unit, int) and product % unit == 0:
        return product // unit
    return product / unit if unit != 1 else product


def _typed_unit(word: str, asked: str, wanted: Unit) -> Unit | None:
    """The unit that was typed; None where it is the one asked for, or a word for what is counted."""
    small, word = word.islower(), _in_short(word)
    if word == asked or _counts(word, asked, wanted):
        return None
    if word in ("B", "B/s") and wanted.measures == word:
        return UNITS[word]
    if word in _SHORT:
        if word == "m" and wanted.measures == "s":
            raise Unread("'m' may be minutes or milliseconds: write min or ms.")
        return Unit(wanted.measures, _SHORT[word] * _without_prefix(asked, wanted).scale)
    head, _, rest = word.partition(" ")
    if head in _SHORT and _counts(rest, asked, wanted):  # as in `7 B parameters`
        return Unit("", _SHORT[head])
    if word in UNITS:
        return UNITS[word]
    alike = [name for name in UNITS if name.lower() == word.lower()]
    fitting = {UNITS[name] for name in alike if UNITS[name].measures == wanted.measures}
    if small and len(fitting) == 1:
        return fitting.pop()
    meant = alike[-1] if alike else ""
    guess = f": is it {meant}?" if meant else "."
    raise Unread(f"'{word}' is no unit that is known here{guess} Asked is {_asking(asked, wanted)}.")


def _in_short(word: str) -> str:
    """A unit as it stands in the table: `FLOPs per byte` is FLOPs/B. Of `B/token`, what is counted falls away."""
    above, _, below = word.replace(" per ", "/").partition("/")
    above, below = _SPELLED_OUT.get(above, above), _BELOW.get(below, below)
    counted = len(below) > 1 and below.islower() and below not in UNITS
    return above if counted or not below else f"{above}/{below}"


def _counts(word: str, asked: str, wanted: Unit) -> bool:
    """Whether a word is the one for what is counted, be it one or several: `token`, `GPUs`."""
    named = (asked, asked.removesuffix("s"), f"{asked}s")
    return wanted == _NO_UNIT and bool(asked) and word.lower() in named


def _without_prefix(asked: str, wanted: Unit) -> Unit:
    """The unit that `3 G` is meant in: bytes, also where GB are asked for."""
    return UNITS.get(asked[1:], wanted) if asked[:1] in _DECIMAL else wanted


def _without_commas(text: str) -> str:
    """Commas between thousands fall away; any other is refused."""
    text = _WHOLE.sub(lambda found: found[0].replace(",", ""), text)
    if "," in text:
        raise Unread("A comma only stands between thousands, as in 524,288. Write a point for decimals: 1.5")
    return text


def _measuring(unit: Unit) -> str:
    return f"measures {unit.measures}" if unit.measures else "is no unit of that"


def _asking(asked: str, wanted: Unit) -> str:
    return asked if wanted.measures else f"a number ({asked})" if asked else "a number without a unit"


def written(value: float, unit: str = "") -> str:
    """A number for people: whole ones in full with commas, others to four digits; then its unit."""
    if isinstance(value, int):
        number = f"{value:,}"
    else:
        number = f"{float(f'{value:.4g}'):,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    return f"{number} {unit}".strip()
