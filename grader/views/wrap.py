"""Sentences in lines that fit."""

import re
import textwrap

_GLUE = "\N{NO-BREAK SPACE}"
_ONE_THING = re.compile(r"(?<=\d) (?=[%×·/]|[kMGT]?i?B\b)|(?<=[×·/]) (?=\d)")
_TYPED = re.compile(r"`[^`\n]*`")


def wrapped(text: str, columns: int, first: str = "  ", others: str = "  ") -> list[str]:
    """A text in lines. What is one thing stays together: `1 %`, `8 × 8`, `2 B`, a path, what stands in backquotes."""
    whole = _TYPED.sub(lambda found: found[0].replace(" ", _GLUE), _ONE_THING.sub(_GLUE, text))
    lines = textwrap.wrap(
        whole, columns, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(_GLUE, " ") for line in lines]
