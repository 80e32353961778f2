"""Pictures on one HTML page that needs nothing else: SVG, words, and the numbers as tables."""

import html
from collections.abc import Sequence

from grader.base.text import plain
from grader.verdicts.picture import Picture
from grader.views.picture import alt, stylesheet, svg, table

_STYLE = (
    ":root{color-scheme:light dark}body{font:16px system-ui,sans-serif;margin:24px auto;max-width:860px;padding:0 16px}"
    "figure{display:inline-block;vertical-align:top;margin:0 16px 16px 0;max-width:400px}"
    "summary{cursor:pointer}table{border-collapse:collapse;font-size:13px}td,th{padding:2px 8px;text-align:right}"
    ".scroll{overflow-x:auto;max-width:400px}pre{white-space:pre-wrap}"
)


def page(title: str, sections: Sequence[tuple[str, Sequence[tuple[str, Picture | str]]]]) -> str:
    """The page. sections: a heading, and under it pictures, or why there is none, each with whose it is."""
    body = "".join(
        f"<h2>{_text(heading)}</h2>" + "".join(_figure(whose, one) for whose, one in shown)
        for heading, shown in sections
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}{stylesheet()}</style>'
        f"<h1>{_text(title)}</h1>{body}</html>\n"
    )


def _figure(whose: str, picture: Picture | str) -> str:
    if isinstance(picture, str):
        return f"<figure><figcaption>{_text(whose)}</figcaption><pre>{_text(picture)}</pre></figure>"
    told = table(picture)
    head = "".join(f"<th>{_text(one)}</th>" for one in told.head)
    rows = "".join("<tr>" + "".join(f"<td>{_text(one)}</td>" for one in row) + "</tr>" for row in told.rows)
    return (
        f"<figure><figcaption>{_text(whose)}. {_text(picture.caption)}</figcaption>{svg(picture)}"
        f"<details><summary>In words and numbers</summary><p>{_text(alt(picture))}</p>"
        f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div></details></figure>'
    )


def _text(text: str) -> str:
    return html.escape(plain(text, keep="\n"))
