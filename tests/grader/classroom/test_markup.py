"""What a student wrote, rendered as formgrader renders it: text, and nothing that a page does something with."""

import base64
import re
from html.parser import HTMLParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

from grader.classroom.markup import passive, passive_cell

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n and so on").decode()
SHOWN = {
    "a": {"href", "class"}, "img": {"src", "alt"}, "code": {"class"}, "div": {"class"}, "span": {"class"},
    "ol": {"start"}, "li": {"class"}, "th": {"style"}, "td": {"style"},
    "input": {"class", "type", "disabled", "checked"},
    **{name: {"id"} for name in ("h1", "h2", "h3", "h4", "h5", "h6")},
    **{name: set() for name in ("p", "br", "hr", "em", "strong", "del", "pre", "ul", "blockquote", "table", "thead",
                                "tbody", "tr", "dl", "dt", "dd")},
}  # fmt: skip
"""Tags of a rendered answer, and the attributes that each may have."""
VALUES = {
    "href": r"#(%E2%81%A0.*|.*%E2%81%A0)?",  # to a heading of its own
    "id": r"(%E2%81%A0.*|.*%E2%81%A0)?",
    "src": r"data:image/(png|jpeg|gif);base64,[A-Za-z0-9+/=]+",
    "style": r"text-align:(left|right|center)",
    "type": "checkbox",
}
COMMANDS = re.compile(r"\\(href|url|class|style|data|cssId|html\w*|require|unicode|mmlToken|bbox|texttip|mathtip)\b")


class Page(HTMLParser):
    """Notes what in a page is more than text."""

    def __init__(self):
        super().__init__()
        self.found, self.text = [], ""

    def handle_starttag(self, tag, attributes):
        if tag not in SHOWN or not SHOWN[tag].issuperset(dict(attributes)):
            self.found.append((tag, attributes))
        self.found += [
            (tag, name, value)
            for name, value in attributes
            if name in VALUES and not re.fullmatch(VALUES[name], value or "", re.DOTALL)
        ]

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        self.found.append(("comment", data))

    handle_decl = handle_pi = unknown_decl = handle_comment


def active(markdown, attachments):
    """What a rendered cell holds beside text: tags, attributes, and commands that MathJax would follow."""
    html = MarkdownWithMath(renderer=IPythonRenderer(escape=False, attachments=attachments)).render(markdown)
    page = Page()
    page.feed(html)
    page.close()
    return page.found + COMMANDS.findall(page.text)


def shown(text, attached=None):
    markdown, attachments = passive_cell(text, attached)
    assert passive_cell(markdown, attachments) == (markdown, attachments)  # autograde reads what it wrote
    return markdown, active(markdown, attachments)


ATTACKS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg/onload=alert(1)>", "<!--><script>x</script>-->",
    "<iframe srcdoc='<script>x</script>'></iframe>", "<base href=//e.com>", "<style>*{display:none}</style>",
    "<meta http-equiv=refresh content='0;url=javascript:x'>", "<form action=/x><input name=y></form>",
    "<a href=javascript:x>y</a>", "<details open ontoggle=x>", "</div></div><script>x</script>", "<?x?>",
    "<![CDATA[x]]>", "<\ud800script>", "<\x00script>x", "<\x0cimg src=x onerror=y>", "<s\x00cript>x</s\x00cript>",
    "<javascript:alert(1)>", "<http://e.com/>", "<a@b.c>", "[x](javascript:alert(1))",
    "[x]( <javascript:alert(1)> 'y')", "[x](java\nscript:x)", "[x](&#106;avascript:x)",
    "[x](data:text/html;base64,eA==)", "[x](/formgrader?path=submitted/x)", "[x](page.html)",
    "![x](/formgrader?path=submitted/x)", "![x](http://e.com/?y)", "![x](attachment:none.png)",
    "![x](data:image/svg+xml,y)", "[x]\n\n[x]: javascript:y", "[x][y]\n\n> [y]: javascript:z 'w'",
    "[x]\n\n1. [x]:\n   javascript:y", "![x]\n\n[x]: /y", "[a\nb]\n\n[a\nb]: javascript:y",
    "[a\\]b]\n\n[a\\]b]: javascript:y", "[x]\n\nTerm\n: [x]: javascript:y", "http://e.com/x https://e.com www.e.com",
    "$\\href{javascript:x}{y}$", "&#36;&#92;href{javascript:x}{y}&dollar;", "\\\\(\\\\href{javascript:x}{y}\\\\)",
    "$$\\cssId{part-x}{\\class{y}{z}}$$", "\\begin{x}\\style{y}{z}\\end{x}", "# part-x", "#part-x", "> 1. ## part-x",
    "part-x\n---", "> part-x\n> ===", "- part-x\n  =", "#\tpart-*x*", "```mermaid\ngraph\n<script>x</script>\n```",
    "~~~\"><script>\nx\n~~~", "`<img src=x onerror=y>`", "| <b onclick=x>y</b> |\n| - |\n| [a](javascript:b) |",
    "    <script>x</script>", "<scr<script>ipt>", "<<script>x",
]  # fmt: skip
PIECES = [
    *ATTACKS, "<", ">", "&", "&lt;", "&#60;", "]", "[", "(", ")", "]:", "](", "!", "![", "\\", "`", "```", "~~~", "*",
    "_", "#", "=", "-", "\n", "\n\n", " ", "    ", "\t", "|", "$", "$$", "\\[", "\\]", "'", '"', ":", "://", "http",
    "javascript", "script", "img", "/", "a", "href", "onload=x", "attachment:", "attachment:a.png", "picture-1.png",
    "> ", "- ", "1. ", "\r", "\x0b", "\x1c", "\x85", "\u2028", "\u2060", "\ufeff", "\ud800", "\udc00", "\\begin{x}",
    "\\end{x}", "- [ ] ", "~~",
]  # fmt: skip


@pytest.mark.parametrize("text", ATTACKS)
def test_nothing_of_a_student_is_more_than_text(text):
    assert shown(text)[1] == []


@settings(max_examples=1000, deadline=None)
@given(some.lists(some.sampled_from(PIECES) | some.text(max_size=3), max_size=12).map("".join))
@example("<![a](attachment:a.png)")
@example("![<script>](attachment:a.png) ![\"onload=x](attachment:a.png 'b')")
@example("![a](attachment:b.png)\n![a](attachment:picture-1.png)\n![a[b]](attachment:picture-2.png)")
def test_nor_is_any_mixture_of_it(text):
    assert shown(text, {"a.png": {"image/png": PNG}, "b.png": {"image/svg+xml": PNG}})[1] == []


def test_without_the_mend_each_is_seen():
    """The judge above can see: raw, most of these are more than text."""
    seen = [text for text in ATTACKS if "attachment:" not in text and "\ud800" not in text and active(text, {})]
    assert len(seen) > len(ATTACKS) * 3 // 4, set(ATTACKS) - set(seen)


@pytest.mark.parametrize("text", [
    "A *mean* of `n` means is **not** the mean: $\\frac{1}{n}\\sum_i x_i < \\bar x$, as n < m.\n\n* one\n* two\n\n> so",
    "```python\nfor x in xs[1:]:  # a comment\n    if a[i] < 3 and b & c:\n        d[x] = y\n```",
    "| a | b |\n| --- | :-: |\n| 1 | 2 |\n\n---\n\n1. first\n2. second\n\n- [x] done",
    "$$\\begin{aligned} a &= b \\\\ c &< d \\end{aligned}$$ and \\\\(x\\\\), at 3:15, AT&T ~~no~~ Größe 中文 🙂",
])  # fmt: skip
def test_an_ordinary_answer_stays_as_it_is(text):
    assert passive(text) == text


def test_a_space_keeps_the_rest_readable():
    assert passive("i<n, see [the paper](https://arxiv.org/abs/1) or <b>this</b>") == (
        "i< n, see [the paper] (https:// arxiv.org/abs/1) or < b>this< /b>"
    )
    assert passive("# Why\n\ntext").replace("\u2060", "") == "# Why\n\ntext"


def test_a_picture_is_shown_where_its_bytes_are_one():
    text = "![my plot](attachment:my%20plot.png) ![no](attachment:page.png) ![no](attachment:x.svg)"
    attached = {
        "my plot.png": {"image/svg+xml": "<svg onload=x>", "image/png": PNG[:9] + "\n" + PNG[9:], "text/html": "<b>"},
        "page.png": {"image/png": base64.b64encode(b"<script>x</script>").decode()},
        "x.svg": {"image/svg+xml": "<svg onload=x>"},
        "unused.png": {"image/png": PNG},
        "\ud800": {"image/png": "\ud800"},
        "list": [1],
    }
    markdown, attachments = passive_cell(text, attached)
    assert markdown == ("![my plot](attachment:picture-1.png) ![no] (attachment:page.png) ![no] (attachment:x.svg)")
    assert attachments == {"picture-1.png": {"image/png": PNG}}
    assert shown(text, attached)[1] == []
    for odd in (None, [], "x", {"a": None}, {"a": {"image/png": 3}}, {1: {"image/png": PNG}}):
        assert passive_cell("![x](attachment:a)", odd) == ("![x] (attachment:a)", {})


def test_the_pictures_of_a_cell_have_a_limit():
    large = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(1_600_000)).decode()
    attached = {f"{n}.png": {"image/png": large} for n in range(3)}
    markdown, attachments = passive_cell("".join(f"![](attachment:{n}.png)" for n in range(3)), attached)
    assert list(attachments) == ["picture-1.png"]
    assert markdown.count("] (") == 2
    many = {f"{n}.png": {"image/png": PNG} for n in range(1000)}
    assert len(passive_cell("".join(f"![](attachment:{name})" for name in many), many)[1]) == 50


def test_it_takes_time_by_the_length_only():
    """A line of each piece, and each piece on a line of its own: with a square in it these would take hours."""
    for piece in (*PIECES, "[\\", "\\[", "\\]", "[x]", "- \n", "\n---", " \n", "&a", "www.", "![](attachment:", "``` "):
        passive_cell(piece * (100_000 // len(piece)), {"a.png": {"image/png": PNG}})
        passive_cell(f"{piece}\n" * (100_000 // len(piece)), {"a.png": {"image/png": PNG}})
