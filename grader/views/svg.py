"""An SVG as text: a canvas that grows downwards. All text is escaped; there is no script and no outside reference.

The colours are CSS variables, in light and dark; each is chosen so that text stands out from every area (4.5:1) and
areas from the paper (3:1). A canvas is 400 units wide, so that its text can be read at 320 px.
"""

import hashlib
import html
import textwrap

from grader.base.text import plain

WIDTH = 400.0
_FONT, _SMALL = 13, 11
_CHAR = 0.58
"""The width of an average character, as a share of the font's size; of a wide one more."""
HUES = 8

_LIGHT = (
    "--paper:#fff;--ink:#1f2328;--dim:#57606a;--soft:#d0d7de;--hot:#e86813;--cold:#3f91e4;--k0:#3f91e4;--k1:#e86813;"
    "--k2:#2fa168;--k3:#b174dc;--k4:#a98b13;--k5:#2a9ca6;--k6:#e46479;--k7:#848f9e;"
    "--s0:#3f91e4;--s1:#e86813;--s2:#2fa168;--s3:#b174dc;--s4:#a98b13;--s5:#2a9ca6;--s6:#e46479;--s7:#848f9e"
)
"""k: areas that bear text, on which the ink stands out; s: lines and signs that bear none, the same in the dark."""
_DARK = (
    "--paper:#0d1117;--ink:#e6edf3;--dim:#9198a1;--soft:#30363d;--hot:#a74b0e;--cold:#1a67b4;--k0:#1a67b4;--k1:#a74b0e;"
    "--k2:#22734a;--k3:#8f39cd;--k4:#79640d;--k5:#1e7077;--k6:#c4233d;--k7:#5c6775"
)
_RULES = (
    f".picture{{max-width:100%;height:auto;font:{_FONT}px system-ui,-apple-system,'Segoe UI',sans-serif}}"
    ".picture text{fill:var(--ink)}.picture .dim{fill:var(--dim)}.picture .head{font-weight:600}"
    f".picture .small{{font-size:{_SMALL}px}}"
    ".picture .paper{fill:var(--paper)}.picture .soft{fill:var(--soft);fill-opacity:.45}"
    ".picture .zero{fill:var(--soft);fill-opacity:.2}"
    ".picture .hot{fill:var(--hot)}.picture .cold{fill:var(--cold)}"
    ".picture .rule{stroke:var(--soft);fill:none}.picture .axis{stroke:var(--dim);fill:none}"
    ".picture .mark{stroke:var(--ink);stroke-width:2;fill:none}.picture .none{stroke:var(--ink);fill:none}"
    + "".join(f".picture .k{i}{{fill:var(--k{i})}}.picture .d{i}{{fill:var(--s{i})}}" for i in range(HUES))
    + "".join(f".picture .s{i}{{stroke:var(--s{i});fill:none}}" for i in range(HUES))
)


def stylesheet(dark: str = "") -> str:
    """The style of all pictures. dark: the selector under which a page is dark; else the reader's system decides."""
    night = f"{dark} .picture{{{_DARK}}}" if dark else f"@media(prefers-color-scheme:dark){{.picture{{{_DARK}}}}}"
    return f".picture{{{_LIGHT}}}{night}{_RULES}"


def coordinate(value: float) -> str:
    """A length with two digits, as short as it can be written."""
    return f"{round(value, 2) + 0.0:g}"


def width_of(text: str, small: bool = False) -> float:
    """About how wide a text is."""
    size = _SMALL if small else _FONT
    return sum(size * (1.05 if ord(char) > 0x2E7F else _CHAR) for char in text)


def fitting(text: str, width: float, small: bool = False) -> str:
    """The text, or as much of it as fits with an ellipsis."""
    if width_of(text, small) <= width:
        return text
    while text and width_of(text + "…", small) > width:
        text = text[:-1]
    return text + "…" if text else ""


class Canvas:
    """Where a picture is drawn. y: how far down it reaches."""

    def __init__(self) -> None:
        self.y = 0.0
        self._parts: list[str] = []

    def add(self, name: str, content: str | None = None, /, **given: float | str) -> None:
        """An element. `klass` stands for class, and `_` in a name for `-`; content: its text."""
        shown = "".join(
            f' {("class" if key == "klass" else key.replace("_", "-"))}="{_escaped(_value(value))}"'
            for key, value in given.items()
        )
        self._parts.append(f"<{name}{shown}/>" if content is None else f"<{name}{shown}>{_escaped(content)}</{name}>")

    def text(self, x: float, y: float, content: str, klass: str = "", anchor: str = "start") -> None:
        """A text whose baseline is at y."""
        more = {"klass": klass} if klass else {}
        if anchor != "start":
            more["text_anchor"] = anchor
        self.add("text", content, x=x, y=y, **more)

    def rect(self, x: float, y: float, width: float, height: float, klass: str, **given: float | str) -> None:
        self.add("rect", x=x, y=y, width=width, height=height, klass=klass, **given)

    def path(self, d: str, klass: str, **given: float | str) -> None:
        self.add("path", d=d, klass=klass, **given)

    def line(self, x1: float, y1: float, x2: float, y2: float, klass: str) -> None:
        c = coordinate
        self.path(f"M{c(x1)} {c(y1)}L{c(x2)} {c(y2)}", klass)

    def paragraph(self, content: str, klass: str = "dim small") -> None:
        """Text over the whole width, in as many lines as it takes, below what is there."""
        small = "small" in klass
        size = _SMALL if small else _FONT
        for line in textwrap.wrap(plain(content), int((WIDTH - 16) / (size * _CHAR * 0.93))):
            self.y += size + 4
            self.text(8, self.y, line, klass)

    def open(self, **given: float | str) -> None:
        """Begin a group that carries data about what is in it."""
        shown = "".join(f' {key.replace("_", "-")}="{_escaped(_value(value))}"' for key, value in given.items())
        self._parts.append(f"<g{shown}>")

    def close(self) -> None:
        self._parts.append("</g>")

    def svg(self, title: str, words: str, alone: bool) -> str:
        """The whole. title, words: its name and its description. alone: with its style and on paper of its own."""
        title, words = plain(title), plain(words)
        name = "p" + hashlib.sha256(f"{title}{words}{''.join(self._parts)}".encode()).hexdigest()[:10]
        wide, high = coordinate(WIDTH), coordinate(self.y + 10)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="picture" width="{wide}" height="{high}" '
            f'viewBox="0 0 {wide} {high}" role="img" aria-labelledby="{name}-t {name}-d">'
            f'<title id="{name}-t">{_escaped(title)}</title><desc id="{name}-d">{_escaped(words)}</desc>'
        )
        style = f"<style>{stylesheet()}</style>" if alone else ""
        paper = f'<rect class="paper" width="{wide}" height="{high}"/>'
        return f"{head}{style}{paper}{''.join(self._parts)}</svg>\n"


def _value(value: float | str) -> str:
    return value if isinstance(value, str) else coordinate(value)


def _escaped(text: str) -> str:
    return html.escape(plain(text), quote=True)
