"""Every statement as its readers see it: formulas drawn in every place, diagrams that fit, references with a link.

GitHub reads Markdown before formulas: it takes away the backslash before a sign, and may read underlines as emphasis
(github/markup#1746). JupyterLab knows `$...$` and `$$...$$` only.
"""

import re
from pathlib import Path

import pytest

from grader.bank.catalog import House
from grader.serve.statement import statement_html

HOUSE = House(Path(__file__).resolve().parents[2])
EXERCISES = list(HOUSE.exercises.values())
WIDEST_DIAGRAM = 90

each_statement = pytest.mark.parametrize("exercise", EXERCISES, ids=lambda one: one.id)


def text_of(exercise):
    return exercise.attempt.with_name("README.md").read_text()


def formulas(text):
    """The formulas of a statement, without their dollars."""
    prose = re.sub(r"^```.*?^```$|`[^`\n]+`", "", text, flags=re.DOTALL | re.MULTILINE)
    return [block or inline for block, inline in re.findall(r"\$\$(.+?)\$\$|\$([^$\n]+)\$", prose, re.DOTALL)]


def formula_faults(text, exercise):
    """What a reader of the page or of GitHub would see of the formulas that is no formula."""
    page = statement_html(text, exercise)
    drawn = re.findall(r"<math.*?</math>", page, re.DOTALL)
    prose = re.sub(r"<(pre|code|math)\b.*?</\1>", "", page, flags=re.DOTALL)
    found = formulas(text)
    faults = [f"{len(found)} formulas, and the page draws {len(drawn)}"] if len(found) != len(drawn) else []
    faults += ["a $ stands in the text"] if "$" in prose else []
    faults += ["```math, which JupyterLab does not draw"] if "```math" in text else []
    faults += [f"the page does not know a word of {one}" for one in drawn if "\\" in one]
    for one in found:
        faults += [f"GitHub drops a backslash of {one}"] if re.search(r"\\[^a-zA-Z\s]", one) else []
        faults += [f"GitHub may read emphasis in {one}"] if re.search(r"(?<![a-zA-Z0-9'])_|\*", one) else []
        faults += [f"braces do not match in {one}"] if one.count("{") != one.count("}") else []
    return faults


def wide_lines(text):
    diagrams = re.findall(r"^```.*?\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [line for diagram in diagrams for line in diagram.splitlines() if len(line) > WIDEST_DIAGRAM]


def unlinked(text):
    """The works in the references to which no link leads. Works in one entry are parted by `;` or `·`."""
    _, heading, references = text.partition("\n## References\n")
    assert heading, "it has no references"
    works = re.split(r"\n[*-] |;\s+(?=[\[A-Z])|\s·\s", f"\n{references.strip()}")[1:]
    return [work for work in works if not re.search(r"\]\(https?://[^)\s]+\)", work)]


@each_statement
def test_every_formula_is_drawn(exercise):
    assert formula_faults(text_of(exercise), exercise) == []


@each_statement
def test_it_has_a_formula_on_its_first_page_or_below(exercise):
    assert formulas(text_of(exercise))


@each_statement
def test_no_diagram_is_wider_than_a_page(exercise):
    assert wide_lines(text_of(exercise)) == []


@each_statement
def test_every_reference_has_a_link(exercise):
    assert unlinked(text_of(exercise)) == []


@each_statement
def test_the_first_page_names_the_part_to_begin_with(exercise):
    begin = re.search(r"^Begin with `(\w+)[`(]", text_of(exercise).partition("\n## What to write\n")[0], re.MULTILINE)
    assert begin
    assert exercise.part(begin[1])


def test_one_address_has_one_author():
    """A number that was typed wrong mostly leads to what another statement calls by its right name."""
    authors = {}
    for exercise in EXERCISES:
        for said, address in re.findall(r"\[([A-Z]\w+)[^\]]*\]\((https://arxiv[^)]+)\)", text_of(exercise)):
            authors.setdefault(address, set()).add(said)
    assert {address: names for address, names in authors.items() if len(names) > 1} == {}


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("$\\nosuchword x$", "does not know a word"),
        ("$x^{$", "draws 0"),
        ("$a \\, b$", "drops a backslash"),
        ("$(a)_{b} (c)_{d}$", "read emphasis"),
        ("$\\frac{1}{2$", "braces"),
        ("it costs $5", "a $ stands"),
        ("```math\nx\n```", "JupyterLab"),
    ],
)
def test_a_bad_formula_is_found(formula, said):
    assert any(said in fault for fault in formula_faults(f"# T\n\n{formula}\n", EXERCISES[0]))


def test_a_wide_diagram_and_a_reference_without_a_link_are_found():
    wide = "x" * (WIDEST_DIAGRAM + 1)
    assert wide_lines(f"{wide}\n\n```\nx\n{wide}\n```\n") == [wide]
    linked = "* [A 2020](https://arxiv.org/abs/2001.00001), *one*: section 2"
    assert unlinked(f"\n## References\n\n{linked}.\n") == []
    assert unlinked(f"\n## References\n\n{linked}; B 2021, *two*.\n- C 2022, *three*.\n") == [
        "B 2021, *two*.", "C 2022, *three*.",
    ]  # fmt: skip
