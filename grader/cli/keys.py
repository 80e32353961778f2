"""Words that are no answer where questions are answered at a terminal."""

from typing import Literal

_KEYS: dict[str, Literal["skip", "hint"]] = {
    "s": "skip", "skip": "skip", "h": "hint", "hint": "hint", "?": "hint",
}  # fmt: skip


def key_of(typed: str) -> Literal["", "skip", "hint"]:
    """What a word asks for, or "". Raises EOFError where no more is wanted, as at the end of the input."""
    word = typed.strip().lower()
    if word in ("q", "quit"):
        raise EOFError
    return _KEYS.get(word, "")
