"""Signs that a terminal of some encoding cannot show, and what stands in their place."""

_ASCII = str.maketrans(
    {
        "✓": "+", "✗": "x", "·": "*", "…": ".", "×": "x", "÷": "/", "−": "-", "²": "^2", "³": "^3", "⁹": "^9",
        "√": "sqrt ", "⌈": "ceil(", "⌉": ")", "⌊": "floor(", "⌋": ")", "≤": "<=", "≥": ">=", "→": "->", "α": "alpha",
        "○": "o",
    }
)  # fmt: skip


def speaks(signs: str, encoding: str) -> bool:
    """Whether a terminal of that encoding can show these."""
    try:
        signs.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def spoken(line: str, encoding: str) -> str:
    """A line as a terminal of that encoding can show it; between numbers `·` is a product."""
    return line if speaks(line, encoding) else line.translate(_ASCII)
