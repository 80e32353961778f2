"""Text and pictures of strangers, as markdown with which no page does anything: no tag, no link, no script.

Formgrader shows what a student wrote in the teacher's browser, on the page that can change every score. So a space goes
in wherever a browser, a reader of markdown or MathJax would take the text for more than text: `<script>` becomes
`< script>`, `[x](y)` becomes `[x] (y)`. Nothing else changes, and once done, doing it again changes nothing.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

_SIGNATURES = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF8"}
_MOST_ATTACHED = 4 << 20
"""Characters of the pictures of one cell."""
_MOST_PICTURES = 50
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LINE_ENDS = re.compile(r"\r\n?|[\x85\u2028\u2029]")
_TEX = "href|url|class|style|data|cssId|html[A-Za-z]*|require|unicode|mmlToken|bbox|texttip|mathtip|Tip|toggle"
"""Commands of MathJax that link, load, or reach for the page. `includegraphics` it does not know."""
_ACTIVE = rf"""
    (?<=<) (?=[A-Za-z/!?])                          # a tag, a comment, an address in angle brackets
  | (?<=&) (?=\#|[A-Za-z][A-Za-z0-9]*;)             # an entity: `&#92;href` would be a command of MathJax
  | (?<=\]) (?=\() (?!\(attachment:(?:PICTURES)\))  # a link, or a picture that is not attached
  | (?<=://) (?=\S) | (?<=\b[wW]{{3}}\.) (?=\S)     # an address, of which a page makes a link
  | (?<=\\) (?=(?:{_TEX})(?![A-Za-z]))
"""
_DEFINITION = re.compile(r"^[^A-Za-z\\\[\]\n]*+\[(?:[^\\\[\]]|\\.)*+\](?=:)", re.MULTILINE | re.DOTALL)
"""`[x]: address`, to which `[x]` is then a link."""
_NAMING = re.compile(
    r"""^[^A-Za-z_\n\#]*+\#++[ \t]*+ (?=[^ \t\n\u2060])                  # `# Title`
      | (?<=[^ \t\n\u2060]) (?=[ \t]*+\n[ \t>]*+[-=]+[ \t]*$)       # the line above `=====`
      | (?:```|~~~)[^\S\n]*+ (?=(?i:mermaid))              # code that is drawn by a script
    """,
    re.MULTILINE | re.VERBOSE,
)
_PICTURE = re.compile(r"!\[([^\[\]\n]*)\]\(attachment:([^\s()<>]+)\)")


def passive(text: str, pictures: Iterable[str] = ()) -> str:
    """The text with nothing active in it. pictures: names of attachments that it may show.

    An invisible character (U+2060) keeps a heading from having the name of something else: a page names a heading by
    its text, and formgrader looks for the field of a score by a name.
    """
    text = text.encode("utf-8", "replace").decode()  # first: half a character becomes `?`, and `<?` is active
    text = _NOT_TEXT.sub("", _LINE_ENDS.sub("\n", text))
    names = "|".join(map(re.escape, pictures)) or "(?!)"
    text = re.sub(_ACTIVE.replace("PICTURES", names), " ", text, flags=re.VERBOSE)
    text = _DEFINITION.sub(lambda found: f"{found[0]} ", text)
    return _NAMING.sub(lambda found: f"{found[0]}\u2060", text)


def passive_cell(text: str, attached: object) -> tuple[str, dict[str, dict[str, str]]]:
    """The text of a cell with nothing active in it, and the attachments of the cell that are pictures and are shown.

    attached: the cell's `attachments`, whatever that is. The pictures get names of ours.
    """
    found = _pictures(attached)
    names: dict[str, str] = {}

    def renamed(shown: re.Match[str]) -> str:
        name = unquote(shown[2], errors="replace")
        if name not in found:
            return shown[0]
        (kind,) = found[name]
        names.setdefault(name, f"picture-{len(names) + 1}.{kind.removeprefix('image/')}")
        return f"![{shown[1]}](attachment:{names[name]})"

    text = _PICTURE.sub(renamed, text)
    return passive(text, names.values()), {new: found[old] for old, new in names.items()}


def _pictures(attached: object) -> dict[str, dict[str, str]]:
    """The attachments that are pictures, by the name that the student gave them."""
    if not isinstance(attached, Mapping):
        return {}
    out: dict[str, dict[str, str]] = {}
    room = _MOST_ATTACHED
    for name, bundle in attached.items():
        picture = _picture(bundle) if isinstance(bundle, Mapping) else {}
        room -= sum(map(len, picture.values()))
        if picture and room >= 0 and len(out) < _MOST_PICTURES:
            out[str(name)] = picture
    return out


def _picture(bundle: Mapping[str, Any]) -> dict[str, str]:
    """The one picture of a bundle whose bytes are of the kind that it says, or nothing."""
    for kind, signature in _SIGNATURES.items():
        data = bundle.get(kind)
        if not isinstance(data, str) or len(data) > _MOST_ATTACHED:
            continue
        try:
            content = base64.b64decode("".join(data.split()), validate=True)
        except (binascii.Error, ValueError):
            continue
        if content.startswith(signature):
            return {kind: base64.b64encode(content).decode()}
    return {}
