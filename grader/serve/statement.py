"""A statement as HTML: Markdown, of raw HTML only what folds a text or shows a picture, formulas as MathML."""

import base64
import html
import re
from collections.abc import Iterator
from functools import cache
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from urllib.parse import unquote

from latex2mathml.converter import convert
from markdown_it import MarkdownIt
from markdown_it.token import Token
from mdit_py_plugins.dollarmath import dollarmath_plugin

from grader.bank.catalog import EXERCISE_ID, Exercise
from grader.base.files import read_file

_LARGEST_PICTURE = 1 << 19
_PICTURES = {".svg": "image/svg+xml", ".png": "image/png"}
_BARE = {"details", "summary", "code", "kbd", "sub", "sup", "em", "strong", "br", "p", "div", "picture"}
"""Elements that raw HTML may open and close, without attributes."""
_WORDS = {"alt", "width", "height", "media"}
"""Attributes of `img` and `source` that stay as they are."""


def statement_html(text: str, exercise: Exercise) -> str:
    """The README of an exercise without its first heading. Pictures of its folder come along as `data:`."""
    tokens = _markdown().parse(text, {})
    if tokens and tokens[0].tag == "h1":
        del tokens[: next(i for i, one in enumerate(tokens) if one.type == "heading_close") + 1]
    for token in tokens:
        _point(token.children or [], exercise)
    _name_headings(tokens)
    return str(_markdown().renderer.render(tokens, _markdown().options, {"exercise": exercise}))


def paragraph_html(text: str) -> str:
    """A few sentences with code and formulas."""
    return str(_markdown().renderInline(" ".join(text.split())))


@cache
def _markdown() -> MarkdownIt:
    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    markdown.use(
        dollarmath_plugin, allow_space=False, allow_digits=False, allow_labels=False, double_inline=True,
        renderer=lambda latex, options: _formula(latex, options["display_mode"]),
    )  # fmt: skip
    for kind in ("html_block", "html_inline"):
        markdown.add_render_rule(kind, _raw)
    return markdown


def _formula(latex: str, block: bool) -> str:
    """MathML, or the text as it stands where it cannot be made."""
    latex = re.sub(r"^`(.*)`$", r"\1", latex.strip(), flags=re.DOTALL)  # GitHub's second way to write a formula
    try:
        made = "" if "\\href" in latex else convert(latex, display="block" if block else "inline")
    except Exception:  # its errors have no base of their own, and it raises others too
        made = ""
    return made or f"<code>{html.escape(latex)}</code>"


def _point(tokens: list[Token], exercise: Exercise) -> None:
    """Let each link and picture lead where the page can go: elsewhere there is only its text."""
    for token in tokens:
        if token.type == "image":
            data = _picture(str(token.attrs.get("src", "")), exercise)
            if data:
                token.attrs = {"src": data, "alt": ""}  # the renderer fills in the text
            else:
                token.type = "text"
    for opened, closed in _links(tokens):
        href = _where(str(opened.attrs.get("href", "")))
        opened.attrs = {"href": href} if href else {}
        if href.startswith("http"):
            opened.attrs |= {"target": "_blank", "rel": "noreferrer noopener"}
        if not href:
            opened.tag = closed.tag = "span"


def _links(tokens: list[Token]) -> Iterator[tuple[Token, Token]]:
    opened: list[Token] = []
    for token in tokens:
        if token.type == "link_open":
            opened.append(token)
        elif token.type == "link_close":
            yield opened.pop(), token


def _where(href: str) -> str:
    """The address on the page, or "" for what it does not have, such as a file of the house."""
    if re.match(r"https?://", href):
        return href
    if href.startswith("#"):
        return f"#s-{_slug(unquote(href[1:]))}"
    other = re.match(rf"\.\./({EXERCISE_ID.pattern})(/(README\.md)?)?$", href)
    return f"#/kata/{other[1]}" if other else ""


def _name_headings(tokens: list[Token]) -> None:
    for heading, inline in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrs["id"] = f"s-{_slug(inline.content)}"


def _slug(text: str) -> str:
    """As GitHub names a heading."""
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def _picture(src: str, exercise: Exercise) -> str:
    """A picture of the exercise's own folder as a `data:` address, or "" where there is none."""
    folder = exercise.given.resolve()
    try:
        path = (folder / unquote(src.partition("#")[0])).resolve()
        kind = _PICTURES.get(path.suffix)
        if not kind or not path.is_relative_to(folder):
            return ""
        data = read_file(path, _LARGEST_PICTURE)
    except (OSError, ValueError, RuntimeError):  # not there, no name of a file, a link that leads to itself
        return ""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _raw(renderer: Any, tokens: list[Token], index: int, options: Any, env: dict[str, Any]) -> str:
    """Raw HTML, rebuilt from what is allowed; all else is shown as the text that it is."""
    rebuilt = _Rebuilt(env.get("exercise"))
    rebuilt.feed(tokens[index].content)
    rebuilt.close()
    return "".join(rebuilt.parts)


class _Rebuilt(HTMLParser):
    def __init__(self, exercise: Exercise | None) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._exercise = exercise

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BARE:
            self.parts.append(f"<{tag}>")
        elif tag in ("img", "source") and self._exercise:
            self.parts.append(self._shown(tag, dict(attrs), self._exercise))
        else:
            self.handle_data(self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(f"</{tag}>" if tag in _BARE else html.escape(f"</{tag}>"))

    def handle_data(self, data: str) -> None:
        self.parts.append(html.escape(data))

    def _shown(self, tag: str, attrs: dict[str, str | None], exercise: Exercise) -> str:
        source = "src" if tag == "img" else "srcset"
        data = _picture(attrs.get(source) or "", exercise)
        if not data:
            return html.escape(attrs.get("alt") or "")
        kept = {source: data} | {name: value or "" for name, value in attrs.items() if name in _WORDS}
        return f"<{tag}{''.join(_attribute(name, value) for name, value in kept.items())}>"


def _attribute(name: str, value: str) -> str:
    return f' {name}="{html.escape(value)}"'
