"""The report of an interview as one HTML file to keep: it needs nothing else, and nothing in it runs."""

import html
from collections.abc import Iterable

from grader.bank.catalog import House
from grader.base.text import plain
from grader.records.interviews import Asked, Coding, Interview, Reading
from grader.views.interview import (
    ENDS,
    begun,
    clock,
    coding_said,
    coding_title,
    coding_used,
    given,
    item_title,
    outcome_said,
    questions_said,
    right_answer,
    role_title,
)
from grader.views.render import mark_of

_STYLE = (
    ":root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;margin:24px auto;max-width:760px;"
    "padding:0 16px;overflow-wrap:anywhere}h1,h2{line-height:1.2}h2{margin-top:32px}"
    "table{border-collapse:collapse;width:100%}td,th{padding:4px 8px;text-align:left;border-bottom:1px solid #8886}"
    "td+td,th+th{text-align:right;white-space:nowrap}summary{cursor:pointer;padding:4px 0}"
    "details{border-bottom:1px solid #8886}pre{overflow-x:auto;white-space:pre-wrap;background:#8882;padding:8px}"
    ".source{opacity:.75;font-size:14px}@media print{details{break-inside:avoid}}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(house: House, number: int, interview: Interview) -> str:
    """The file."""
    title = _title(house, number, interview)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{_text(title)}</title>'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"{body(house, number, interview)}</html>\n"
    )


def body(house: House, number: int, interview: Interview) -> str:
    """What stands in the file, and in the practice page."""
    return "".join(
        (
            f"<h1>{_text(_title(house, number, interview))}</h1>",
            f"<p>{begun(interview)} · {interview.minutes} minutes · {_text(ENDS[interview.ended])}</p>",
            _questions(house, interview),
            _coding(house, interview),
            _reading(interview.reading),
            _not_asked(interview.not_asked),
        )
    )


def _title(house: House, number: int, interview: Interview) -> str:
    return f"Interview {number} · {role_title(house, interview)}"


def _questions(house: House, interview: Interview) -> str:
    rows = "".join(
        f"<tr><td>{_text(item_title(house, item))}</td><td>{right} of {of}</td></tr>"
        for item, (right, of) in interview.by_item.items()
    )
    table = f"<table><tr><th>Subject</th><th>Right</th></tr>{rows}</table>" if rows else ""
    each = "".join(_question(number, one) for number, one in enumerate(interview.asked, 1))
    return f"<h2>Questions</h2><p>{_text(questions_said(interview))}</p>{table}{each}"


def _question(number: int, one: Asked) -> str:
    found = f"{'✓' if one.right else '✗'} {outcome_said(one)}"
    asked, told = one.shown, one.told
    code = f"<pre>{_text(chr(10).join(asked.listing))}</pre>" if asked.code else ""
    options = "".join(f"<li>{_text(option)}</li>" for option in asked.options)
    options = f"<ol>{options}</ol>" if options else ""
    return (
        f"<details{'' if one.right else ' open'}><summary>{number}. {_text(asked.topic)} · {_text(found)}"
        f" · {clock(one.seconds)}</summary><p>{_text(asked.ask)} ({_text(asked.note)})</p>{code}{options}"
        f"<p>Yours: {_text(given(one))}<br>Right: {_text(right_answer(one))}</p><p>{_text(told.why)}</p>"
        f'<p class="source">{_text(told.source)}</p></details>'
    )


def _coding(house: House, interview: Interview) -> str:
    coding = interview.coding
    if coding is None:
        return f"<h2>The part</h2><p>{_text(interview.no_coding)}</p>" if interview.no_coding else ""
    return (
        f"<h2>The part</h2><p>{_text(coding_title(house, coding))}, {coding_used(coding)}</p>"
        f"<p>{mark_of(coding.verdict)} {_text(coding_said(coding))}</p>{_found(coding)}"
    )


def _found(coding: Coding) -> str:
    said = f"<p>{_text(coding.property)}</p>" if coding.property else ""
    said += f"<pre>{_text(coding.message)}</pre>" if coding.message else ""
    return said + (f"<p>{_text(coding.problem)}</p>" if coding.problem else "")


def _reading(reading: Iterable[Reading]) -> str:
    each = "".join(
        f"<li>{_text(one.about)}<br>{_text(one.place)}"
        + (f"<br>{_text(one.asks)}" if one.asks else "")
        + (f'<br><span class="source">{_text(one.source)}</span>' if one.source else "")
        + "</li>"
        for one in reading
    )
    return f"<h2>To read</h2><ol>{each}</ol>" if each else ""


def _not_asked(titles: Iterable[str]) -> str:
    each = "".join(f"<li>{_text(one)}</li>" for one in titles)
    return f"<h2>Not asked</h2><ul>{each}</ul>" if each else ""


def _text(text: str) -> str:
    return html.escape(plain(text, keep="\n"))
