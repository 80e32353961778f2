"""Pictures of what a learner's code makes, for those who see them and those who do not."""

import itertools
import re

import pytest
from learner import ID, Seen
from playwright.sync_api import expect

KINDS = {
    "heat": ("means", "torch.stack([module.batch_mean(torch.full((3, 2), float(i))) for i in range(4)])"),
    "grid": ("labels", "[['a', HOSTILE], ['b', str(one(module))]]"),
    "lines": ("growth", "{'x': [0, 1, 2], 'series': {HOSTILE: [0.0, one(module), 2.0]}}"),
    "gantt": ("schedule", "{'lanes': [HOSTILE, 'second'], 'spans': [[0, 0, one(module), HOSTILE], [1, 1, 2, 'b']]}"),
    "points": ("plane", "{'points': [[0.0, 0.0], [one(module), 2.0]], 'groups': [HOSTILE, 'right']}"),
    "bars": ("sizes", "{HOSTILE: one(module), 'two': 2.0}"),
}
"""Kind to the driver of a picture of it, and what that returns."""
DECLARED = "".join(
    f"""
[[picture]]
part = "batch_mean"
kind = "{kind}"
axes = ["batch", "feature"]
driver = "{driver}"
caption = "One row a batch."
"""
    for kind, (driver, _) in KINDS.items()
)
DRIVERS = """
import torch

HOSTILE = "<img src=x onerror='window.hit=1'>"


def one(module):
    return module.batch_mean(torch.ones(3, 1)).item()
""" + "".join(f"\n\ndef {driver}(module):\n    return {value}\n" for driver, value in KINDS.values())


@pytest.fixture
def drawn(context, house):
    """A page of a house that declares a picture."""
    house.declare(DECLARED, DRIVERS)
    house.start()
    return Seen(context.new_page(), house)


def test_22_each_picture_has_a_name_words_numbers_and_arrows(drawn):
    drawn.served.write(("x.sum(0) / len(x)", "x.sum(0)"))
    page = drawn.open().page
    drawn.at("def batch_mean")
    page.keyboard.press("Control+Enter")
    shown = page.get_by_role("region", name="Pictures of batch_mean")
    expect(shown.get_by_role("article")).to_have_count(len(KINDS))
    assert page.evaluate("getComputedStyle(document.querySelector('.picture text')).fill") != "rgb(0, 0, 0)"  # styled
    for (driver, _), one in zip(KINDS.values(), shown.get_by_role("article").all(), strict=True):
        expect(one.get_by_role("img")).to_have_accessible_name(re.compile(driver, re.IGNORECASE))
        one.get_by_text("In words and numbers").click()
        grid = one.get_by_role("grid")
        grid.locator("[tabindex='0']").focus()
        for key in ("ArrowDown", "ArrowRight"):
            page.keyboard.press(key)
        expect(grid.locator(":focus")).to_have_attribute("data-at", "1,1")
    heat = shown.get_by_role("article").first
    expect(heat).to_contain_text("Heat map, 4")
    expect(heat).to_contain_text("One row a batch.")
    heat.get_by_role("grid").locator("[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    expect(heat.locator(":focus")).to_have_text("6")  # row 2 of the batches: three times 2, not divided
    assert page.evaluate("window.hit") is None
    assert page.locator("main img").count() == 0
    expect(shown.get_by_text("The reference's")).to_have_count(0)
    drawn.keep("picture")
    drawn.served.write()
    expect(shown.get_by_text("The reference's")).to_have_count(len(KINDS))
    expect(shown.get_by_text("Yours")).to_have_count(len(KINDS))
    drawn.keep("pictures")


def test_a_student_edition_runs_its_examples_and_draws(context, house):
    house.declare(DECLARED, DRIVERS)
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
    expect(page.get_by_role("region", name="Pictures of batch_mean").get_by_role("img")).to_have_count(len(KINDS))
    seen.keep("student")
    page.get_by_text("Try a few lines below the file").click()
    page.get_by_label("Lines to try").fill("batch_mean(torch.ones(2, 3))")
    page.get_by_role("button", name="Try", exact=True).click()
    expect(page.get_by_role("group", name="What came of it")).to_contain_text("tensor([1., 1., 1.])")
    house.write(("x.sum(0) / len(x)", "x.sum(0)"), text=house.text)
    expect(seen.part("batch_mean").locator(".standing")).to_have_text("wrong, 0 of 1 examples pass")
    assert house.kept() == []
    seen.open("/")
    expect(page.get_by_role("region", name="Next")).to_contain_text("RunningMean")


@pytest.mark.parametrize(("axes", "first"), [('axes="d", ', "d=0"), ("", "0")])
def test_numbers_above_a_heat_map_do_not_run_into_each_other(context, house, axes, first):
    """An axis without a letter is called axis0, which has no room above a cell: the line below says it."""
    checks = house.root / "tests" / ID / "test_running_mean.py"
    checks.write_text(checks.read_text().replace('axes="d", of=f"batch_mean', f'{axes}of=f"batch_mean'))
    house.start()
    house.write(("x.sum(0) / len(x)", "x.sum(0)"))
    seen = Seen(context.new_page(), house).open()
    seen.run()
    heads = seen.page.get_by_role("grid", name="Where values differ").first.get_by_role("columnheader")
    expect(heads).to_have_count(3)
    expect(heads.first).to_have_text(first)
    ends = heads.evaluate_all(
        "heads => heads.map(one => { const range = document.createRange(); range.selectNodeContents(one); "
        "return [range.getBoundingClientRect().left, range.getBoundingClientRect().right]; })"
    )
    assert all(right <= left for (_, right), (left, _) in itertools.pairwise(ends)), ends
