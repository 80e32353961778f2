"""Whether a terminal of some encoding can show the signs that a text is drawn with."""


def speaks(signs: str, encoding: str) -> bool:
    try:
        signs.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
