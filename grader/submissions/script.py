"""The bytes of a script, to its text as Python would read it. Runs nothing."""

import io
import tokenize
from collections.abc import Set

from grader.submissions.statements import without_trials


class ScriptError(Exception):
    """Why bytes are no text. The message goes on where the file's name stopped: "is not UTF-8 text"."""


def text_of_script(data: bytes, names: Set[str]) -> str:
    """The learner's file. names: what the exercise asks for. Raises ScriptError, whatever the bytes are.

    The encoding is UTF-8, or what a comment in the first two lines names (`# -*- coding: latin-1 -*-`).
    """
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
    except SyntaxError as error:
        unknown = "unknown encoding" in str(error)
        raise ScriptError("names an encoding that Python does not know" if unknown else "is not UTF-8 text") from None
    try:
        text = data.decode(encoding)
        text.encode()
    except UnicodeEncodeError:
        raise ScriptError("holds half a character (a lone surrogate)") from None
    except (UnicodeError, LookupError, ValueError):
        named = "UTF-8 text" if encoding.startswith("utf-8") else f"text in the encoding that it names, {encoding}"
        raise ScriptError(f"is not {named}") from None
    return without_trials(text, names)
