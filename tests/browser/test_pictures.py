"""Pictures of what a learner's code makes, for those who see them and those who do not."""

import re

import pytest
from learner import Seen
from playwright.sync_api import expect

DECLARED = """
[[picture]]
part = "batch_mean"
kind = "heat"
axes = ["batch", "feature"]
driver = "means"
caption = "One row a batch."
"""
DRIVER = """
import torch


def means(module):
    return torch.stack([module.batch_mean(torch.full((3, 2), float(i))) for i in range(4)])
"""


@pytest.fixture
def drawn(context, house):
    """A page of a house that declares a picture."""
    house.declare(DECLARED, DRIVER)
    house.start()
    return Seen(context.new_page(), house)


def test_22_a_picture_has_a_name_words_numbers_and_arrows(drawn):
    drawn.served.write(("x.sum(0) / len(x)", "x.sum(0)"))
    page = drawn.open().page
    drawn.at("def batch_mean")
    page.keyboard.press("Control+Enter")
    shown = page.get_by_role("region", name="Pictures of batch_mean")
    picture = shown.get_by_role("img").first
    expect(picture).to_have_accessible_name(re.compile("Means", re.IGNORECASE))
    assert page.evaluate("getComputedStyle(document.querySelector('.picture text')).fill") != "rgb(0, 0, 0)"  # styled
    shown.get_by_text("In words and numbers").click()
    expect(shown).to_contain_text("Heat map, 4")
    expect(shown).to_contain_text("One row a batch.")
    grid = shown.get_by_role("grid")
    grid.locator("[tabindex='0']").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    expect(grid.locator(":focus")).to_have_text("6")  # row 2 of the batches: three times 2, not divided
    expect(shown.get_by_text("The reference's")).to_have_count(0)
    drawn.keep("picture")
    drawn.served.write()
    expect(shown.get_by_text("The reference's")).to_be_visible()
    expect(shown.get_by_text("Yours")).to_be_visible()
    drawn.keep("pictures")


def test_a_student_edition_runs_its_examples_and_draws(context, house):
    house.declare(DECLARED, DRIVER)
    right = house.solution.replace("if len(x) == 0:", "if False:")
    house.to_student_edition()
    house.start()
    house.write(text=right)
    seen = Seen(context.new_page(), house).open()
    page = seen.page
    expect(page.get_by_text("they give points")).to_be_visible()
    seen.at("def batch_mean")
    page.keyboard.press("Control+Enter")
    expect(seen.part("batch_mean").locator(".standing")).to_have_text("passed")
    expect(seen.part("RunningMean").locator(".standing")).to_have_text("not judged")
    expect(page.locator(".judged")).to_contain_text("this text · 1 example")
    expect(page.get_by_role("region", name="Pictures of batch_mean").get_by_role("img")).to_have_count(1)
    seen.keep("student")
    house.write(("x.sum(0) / len(x)", "x.sum(0)"), text=house.text)
    expect(seen.part("batch_mean").locator(".standing")).to_have_text("wrong, 0 of 1 examples pass")
    assert house.kept() == []
    seen.open("/")
    expect(page.get_by_role("region", name="Next")).to_contain_text("RunningMean")
