"""The report as one HTML file for A4 paper: it needs nothing else, and nothing in it runs."""

import html
from collections.abc import Sequence
from datetime import datetime

from grader.base.text import plain
from grader.serve.wire import ExerciseReport, Report
from grader.verdicts.picture import LARGEST, Lines, Picture
from grader.views.picture import alt, stylesheet, svg

_STYLE = (
    "@page{size:A4;margin:18mm}:root{color-scheme:light}body{font:10.5pt/1.4 system-ui,sans-serif;max-width:174mm;"
    "margin:8mm auto;padding:0 4mm}table{border-collapse:collapse;width:100%}td,th{padding:1mm 2mm;text-align:left;"
    "border-bottom:.2mm solid #bbb;vertical-align:top}td.n,th.n{text-align:right;white-space:nowrap}"
    "h2{margin:7mm 0 2mm;break-after:avoid}tr,figure{break-inside:avoid}figure{margin:0}svg{width:120mm;height:auto}"
)
_SIGNS = {"earned": "■", "tried": "◧", "open": "□", "coming": "·", "gap": "╳", "elsewhere": "○"}
_DAY = 24 * 60 * 60


def sheet(report: Report, now: datetime) -> str:
    """The file."""
    body = "".join((_head(report, now), _roles(report), _exercises(report), _mistakes(report), _topics(report)))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>dl-kata: report</title>'
        f"<style>{_STYLE}{stylesheet(':root.dark')}</style>{body}</html>\n"
    )


def _head(report: Report, now: datetime) -> str:
    points = sum(one.points_earned for one in report.exercises)
    attempts = sum(one.attempts for one in report.exercises)
    said = f"Points: {points}. Exercises begun: {len(report.exercises)}. Attempts: {attempts}. On {now:%Y-%m-%d}."
    warning = f"<p>{_text(report.warning)}</p>" if report.warning else ""
    return f"<h1>Report</h1><p>{said}</p>{warning}{_chart(report)}"


def _roles(report: Report) -> str:
    rows = [(one.title, f"{one.earned:.0%}", f"{one.collection:.0%}") for one in report.roles]
    return "<h2>What interviews ask</h2>" + _table(("Role", ">earned", ">this collection has"), rows)


def _chart(report: Report) -> str:
    """Points over days since the first attempt, a line an exercise; those with the most points, if there are many."""
    drawn = sorted((one for one in report.exercises if one.line), key=lambda one: -one.points_earned)[
        : LARGEST["series"]
    ]
    if not drawn:
        return "<p>No attempt yet.</p>"
    times = sorted({_seconds(at.at) for one in drawn for at in one.line})
    step = max(1, len(times) // 200)  # more do not show on paper
    shown = sorted({*times[::step], times[-1]})
    series = {one.title[:40]: tuple(_points_at(one, time) for time in shown) for one in drawn}
    days = tuple((time - times[0]) / _DAY for time in shown)
    picture = Picture("Points over time", ("days since the first attempt", "points"), Lines(days, series))
    return f"<figure>{svg(picture)}<figcaption>{_text(alt(picture))}</figcaption></figure>"


def _points_at(exercise: ExerciseReport, time: float) -> float | None:
    known = [one.points for one in exercise.line if _seconds(one.at) <= time]
    return float(known[-1]) if known else None


def _exercises(report: Report) -> str:
    rows = [
        (one.title, f"{one.points_earned} of {one.points}", str(one.attempts), str(one.hints), ", ".join(one.gave_up))
        for one in report.exercises
    ]
    head = ("Exercise", ">Points", ">Attempts", ">Hints", "Reference opened before it was earned")
    return f"<h2>Exercises</h2>{_table(head, rows)}" if rows else ""


def _mistakes(report: Report) -> str:
    rows = [(one.said, one.part, str(one.times)) for one in report.mistakes]
    return f"<h2>My commonest mistakes</h2>{_table(('What', 'Part', '>Attempts'), rows)}" if rows else ""


def _topics(report: Report) -> str:
    legend = "  ".join(f"{sign} {state}" for state, sign in _SIGNS.items())
    rows = [
        (tile.title, ";  ".join(f"{_SIGNS[topic.state]} {topic.title}" for topic in tile.topics))
        for section in report.sections
        for tile in section.tiles
    ]
    return f"<h2>Topics</h2><p>{legend}</p>{_table(('Item', 'Topics'), rows)}"


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A table; a heading that begins with `>` is of numbers."""
    classes = [' class="n"' if one.startswith(">") else "" for one in head]
    heads = "".join(f"<th{kind}>{_text(one.lstrip('>'))}</th>" for kind, one in zip(classes, head, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{_text(cell)}</td>" for kind, cell in zip(classes, row, strict=True)) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _text(text: str) -> str:
    return html.escape(plain(text))
