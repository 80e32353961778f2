import json
import math
import random
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from grader.verdicts.finding import Finding
from grader.verdicts.picture import Bars, Gantt, Grid, Heat, Lines, Mark, Picture, Points, Span
from grader.views.picture import NotebookPicture, alt, stylesheet, svg, table, text_lines, where_it_differs

EVIL = "<img src=x onerror=alert(1)>\"'&]]>\x1b[2J\x00\u202e"
"""Markup, a terminal's commands, and characters that no XML may hold."""


def heat(values, row="query", column="key", **more):
    return Picture("Attention map", (row, column), Heat(tuple(map(tuple, values)), **more), "Row i sees the past.")


def kinds(text="", size=1):
    """A picture of each kind. text: in all its labels. size: how large, from 1 to 8."""
    label = text or "a"
    dice = random.Random(0)
    many = 8 * size
    values = tuple(tuple(dice.gauss(0, 1) for _ in range(many)) for _ in range(many))
    spans = tuple(Span(i % 4, float(i // 4 * 2 + i % 4), 2.0, f"{label[:30]}{i}") for i in range(min(500, 60 * size)))
    xs, ys = tuple(map(float, range(200 * size))), tuple(dice.random() + 0.1 for _ in range(200 * size))
    data = [
        Heat(values, *((label,) * many,) * 2, (Mark(1, 2, label), Mark(0, 0)), *((many / 2,) * 2,) * 2),
        Heat(((1.0, None), (None, 0.0))),
        Grid((tuple(f"{label[:30]}{i}" for i in range(many)),) * many, (label,) * many),
        Lines(xs, {label: ys, "b": tuple(None if i % 7 == 0 else y for i, y in enumerate(ys))}, log_y=size > 1),
        Gantt((label,) * 4, spans),
        Points(xs, ys, tuple(f"{label[:30]}{i % 9}" for i in range(len(xs)))),
        Bars(tuple(f"{label[:30]}{i}" for i in range(many)), tuple(v if i else None for i, v in enumerate(values[0]))),
    ]  # fmt: skip
    return [Picture(label, (label, label), one, label, label) for one in data]


@pytest.mark.parametrize("size", [1, 8])
def test_each_kind_is_an_svg_that_is_well_formed_and_small(size):
    for picture in kinds(size=size):
        told = svg(picture, alone=True)
        root = ET.fromstring(told)
        assert len(told) < 160_000, (type(picture.data), len(told))
        assert svg(picture, alone=True) == told
        assert root.attrib["viewBox"].startswith("0 0 400 ")
        names = root.attrib["aria-labelledby"].split()
        found = {one.attrib["id"]: one.text for one in root if "id" in one.attrib}
        assert [found[name] for name in names] == [picture.title, alt(picture)]


def test_nothing_is_drawn_outside():
    for picture in kinds(size=2):
        root = ET.fromstring(svg(picture))
        high = float(root.attrib["viewBox"].split()[3])
        for text in root.iter("{http://www.w3.org/2000/svg}text"):
            assert 0 <= float(text.attrib["x"]) <= 400
            assert 0 <= float(text.attrib["y"]) <= high, text.text


def test_strangers_text_is_text_only():
    for picture in kinds(EVIL[:40]):
        told = svg(picture, alone=True)
        root = ET.fromstring(told)  # which refuses what XML may not hold
        tags = {one.tag.rpartition("}")[2] for one in root.iter()}
        assert tags <= {"svg", "title", "desc", "style", "g", "path", "rect", "text"}
        attributes = {name for one in root.iter() for name in one.attrib}
        assert not {name for name in attributes if name.startswith("on") or "href" in name or name == "style"}
        assert "<img" not in told
        assert all("\x1b" not in line and "\u202e" not in line for line in text_lines(picture))


def test_no_style_and_no_reference_without_being_asked():
    for picture in kinds():
        told = svg(picture)
        assert "<style" not in told
        assert "url(" not in told + stylesheet()
        assert told.count("http") == 1  # the name of the format
    assert "prefers-color-scheme:dark" in svg(kinds()[0], alone=True)
    assert stylesheet("[data-theme=dark]").count("[data-theme=dark] .picture{") == 1


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_text_stands_out_from_every_area_and_areas_from_the_paper():
    light, dark = (
        dict(one.split(":") for one in block.split("}")[0].split(";") if one.startswith("--"))
        for block in stylesheet("[dark]").split(".picture{")[1:3]
    )
    light["--paper"] = "#ffffff"
    dark = light | dark
    for theme in (light, dark):
        ink, paper = theme["--ink"], theme["--paper"]
        assert contrast(theme["--dim"], paper) >= 4.5
        for name, colour in theme.items():
            if name in ("--hot", "--cold") or name.startswith("--k"):
                assert contrast(ink, colour) >= 4.5, (name, colour)
            if name in ("--hot", "--cold") or (name.startswith(("--k", "--s")) and name != "--soft"):
                assert contrast(colour, paper) >= 3, (name, colour)


@pytest.mark.parametrize("size", [1, 3, 8])
@pytest.mark.parametrize("text", ["", EVIL[:40], "語" * 40])
def test_text_fits_eighty_columns(text, size):
    for picture in kinds(text, size):
        for line in text_lines(picture):
            assert len(line) <= 80, line


@pytest.mark.parametrize("columns", [60, 72])
def test_a_narrow_terminal_gets_the_whole_picture(columns):
    for picture in kinds(size=8):
        for line in text_lines(picture, columns=columns):
            assert len(line) <= columns, line
    series = {"loss": tuple(map(float, range(200)))}
    told = text_lines(Picture("Loss", ("step", "loss"), Lines(tuple(map(float, range(200))), series)), columns=columns)
    assert len(told[3]) == columns - 2
    assert told[3].endswith("█")
    assert told[4].endswith(" 199")


@pytest.mark.parametrize("columns", [40, 44, 60, 80])
def test_no_point_is_cut_off(columns):
    points = Points((0.0, 1.0), (0.0, 1.0), ("left", "right"))
    told = text_lines(Picture("Points", ("width", "height"), points), columns=columns)
    top, bottom = (next(i for i, line in enumerate(told) if letter in line) for letter in ("B", "A"))
    assert top < bottom
    assert told[top].endswith("B")
    assert any(line.endswith("─ width →") for line in told)


def test_a_terminal_is_never_taken_to_be_narrower_than_forty_columns_or_wider_than_eighty():
    for picture in kinds(size=8):
        assert text_lines(picture, columns=10) == text_lines(picture, columns=40)
        assert text_lines(picture, columns=200) == text_lines(picture)


def test_text_is_ascii_where_the_terminal_has_no_more():
    for picture in kinds():
        told = "\n".join(text_lines(picture, "ascii"))
        assert told.isascii()
        assert "?" not in told
    assert text_lines(kinds()[0], "latin-1") == text_lines(kinds()[0], "ascii")


def test_a_map_as_text():
    picture = heat([[1, 0.5, 0], [0.1, 1, -1]], row_pieces=(1.0, 1.0), column_pieces=(1.0, 2.0))
    assert text_lines(picture)[:8] == [
        "Attention map",
        "",
        "  query key →",
        "        0 1 2",
        "      0 █ ▒ ·  ┘",
        "      1 ░ █ =  ┘",
        "        └┘└──┘",
        "  · 0   ░▒▓█ up to 1   -= below 0, = less than -0.5",
    ]


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (
            heat([[0.3, 0.4, 0.61, 0.2, 0, 0, 0], [0.3] * 5 + [0, 0], [0.3] * 6 + [0], [0.1] * 7]),
            "Heat map, 4 queries by 7 keys, 0 to 0.61, largest at query 0, key 2; zero right of the diagonal.",
        ),
        (heat([[2, 2], [2, 2]], "b", "box"), "Heat map, 2 b by 2 boxes, all 2."),
        (
            heat([[1, 0], [0, 1]]),
            "Heat map, 2 queries by 2 keys, 0 to 1, largest at query 0, key 0; zero off the diagonal.",
        ),
        (heat([[None]]), "Heat map, 1 query by 1 key, none of them a number."),
        (
            Picture("P", ("sequence", "block"), Grid((("A", "A", ""), ("B", "", "")))),
            "Grid, 2 sequences by 3 blocks: A 2, B 1, empty 3.",
        ),
        (
            Picture("P", ("step", "loss"), Lines((0.0, 1.0, 2.0), {"a": (3.0, 1.0, 2.0), "b": (None,) * 3})),
            "Line chart, loss over step 0 to 2: a from 3 to 2, smallest 1 at step 1; b has no value.",
        ),
        (
            Picture("P", ("stage", "tick"), Gantt(("s", "t"), (Span(0, 0.0, 2.0), Span(1, 2.0, 2.0)))),
            "Gantt chart, 2 stages, 2 spans, tick 0 to 4, each busy 50% of it.",
        ),
        (
            Picture("P", ("x", "y"), Points((1.0, 2.0), (0.0, 5.0), ("cat", "dog"))),
            "Scatter plot, 2 points in 2 groups (cat 1, dog 1), x 1 to 2, y 0 to 5.",
        ),
        (
            Picture("P", ("expert", "tokens"), Bars(("e0", "e1"), (0.0, 1234567.0)), note="Thinned."),
            "Bar chart, 2 experts, tokens 0 to 1.23e+06, largest e1. Thinned.",
        ),
        (Picture("P", ("x", "y"), Points((), ())), "Scatter plot without points."),
        (Picture("P", ("lane", "t"), Gantt(("a",), ())), "Gantt chart, 1 lane, no span."),
    ],
)  # fmt: skip
def test_words_by_rule(picture, said):
    assert alt(picture) == said
    assert svg(picture)
    assert text_lines(picture)


def test_the_numbers_as_a_table():
    told = table(heat([[0.5, None]], rows=("r",)))
    assert (told.head, [*told.rows]) == (("query \\ key", "0", "1"), [("r", "0.5", "none")])
    lines = table(Picture("P", ("step", "loss"), Lines((0.0,), {"a": (3.0,)})))
    assert (lines.head, [*lines.rows]) == (("step", "a"), [("0", "3")])
    for picture in kinds(size=2):
        told = table(picture)
        assert all(len(row) == len(told.head) for row in told.rows)


def test_a_notebook_gets_both_forms():
    bundle = NotebookPicture(kinds()[0])._repr_mimebundle_()
    assert bundle["image/svg+xml"].startswith("<svg ")
    assert "<style>" in bundle["image/svg+xml"]
    assert bundle["text/plain"] == repr(NotebookPicture(kinds()[0]))


def finding(levels, shape, axes, worst, **more):
    return Finding(
        kind="values", axes=axes, shape=shape, cells=more.pop("cells", shape), levels=levels, worst=worst,
        wrong=len(levels) - levels.count("0"), total=math.prod(shape), expected="0.5", got="-1.5", **more,
    )  # fmt: skip


def test_where_values_differ_over_the_two_axes_that_tell_most():
    levels = "".join("3" if s == t else "0" for _ in range(2) for t in range(3) for s in range(3))
    found = where_it_differs(finding(levels, (2, 3, 3), ("h", "t", "s"), (1, 2, 2), along={"t": (1, 2), "x": (9,)}))
    assert found.axes == ("t", "s")  # each alone tells nothing: the diagonal is wrong
    assert found.data.values == ((3, 0, 0), (0, 3, 0), (0, 0, 3))
    assert found.data.marks == (Mark(2, 2, "worst: h 1, t 2, s 2: expected 0.5, got -1.5"),)
    assert (found.data.row_pieces, found.data.column_pieces) == ((1.0, 2.0), ())
    assert alt(found) == (
        "Heat map of where values differ, t (3) by s (3), the worst over h: 6 of 18 are wrong; "
        "worst: h 1, t 2, s 2: expected 0.5, got -1.5."
    )
    assert msgspec.convert(msgspec.to_builtins(found), Picture) == found
    assert any("└" not in line and "┘" in line for line in text_lines(found))


@pytest.mark.parametrize(("pieces", "drawn"), [((0, 1, 0, 2), (1.0, 2.0)), ((-1, 4), ()), ((1, 1), ()), ((1,) * 9, ())])
def test_pieces_are_drawn_where_they_make_up_the_axis(pieces, drawn):
    found = where_it_differs(finding("900", (3,), ("t",), (0,), along={"t": pieces}))
    assert found.data.column_pieces == drawn


def test_axes_can_be_chosen():
    levels = "9000" + "0000"
    found = where_it_differs(finding(levels, (2, 2, 2), ("a", "b", "c"), (0, 0, 0)), axes=("c", "a"))
    assert found.axes == ("c", "a")
    assert found.data.values == ((9, 0), (0, 0))
    assert where_it_differs(finding(levels, (2, 2, 2), ("a", "b", "c"), (0, 0, 0)), axes=("c", "z")) is None


def test_a_binned_map_and_one_of_a_single_axis():
    found = where_it_differs(finding("0900", (10,), ("n",), (4,), cells=(4,)))
    assert (found.axes, found.data.values) == (("", "n"), ((0, 9, 0, 0),))
    assert found.data.columns == ("0", "2", "5", "7")
    assert found.data.marks[0].column == 1


@pytest.mark.parametrize(
    "broken",
    [
        None,
        Finding(kind="form"),
        finding("00", (2, 2), ("a", "b"), (0, 0)),
        finding("0x00", (2, 2), ("a", "b"), (0, 0)),
        finding("0100", (2, 2), ("a", "b"), (0, 7)),
        finding("0100", (2, 2), ("a",), (0, 0)),
        finding("1", (), (), (), cells=()),
    ],
)
def test_no_map_where_there_is_none(broken):
    assert where_it_differs(broken) is None


PLANES = json.loads((Path(__file__).resolve().parents[3] / "web" / "test" / "planes.json").read_text())


@pytest.mark.parametrize("case", PLANES, ids=lambda case: case["said"])
def test_the_axes_of_a_map_are_those_that_the_page_chooses(case):
    """The page has a rule of its own, in another language: web/test/levels.mjs reads the same cases."""
    names = tuple("abc"[: len(case["cells"])])
    place = tuple(0 for _ in names)
    finding = Finding(
        kind="values", axes=names, shape=tuple(case["cells"]), cells=tuple(case["cells"]), levels=case["levels"],
        worst=place, expected="1", got="2",
    )  # fmt: skip
    assert where_it_differs(finding).axes == tuple(names[axis] for axis in case["plane"])
